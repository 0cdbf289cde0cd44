#include "router/text/detokenizer.h"

#include <string.h>

#include "common/utf8.h"

void detokenizer_init(struct detokenizer *d, const struct tokenizer *tokenizer, bool skip_special)
{
    memset(d, 0, sizeof(*d));
    d->tokenizer = tokenizer;
    d->skip_special = skip_special;
    token_stream_init(&d->stream, tokenizer_decoder(tokenizer));
}

void detokenizer_keep(struct detokenizer *d, uint32_t id)
{
    CHECK(d->kept_count < DETOKENIZER_KEPT_MAX);
    d->kept[d->kept_count++] = id;
}

static bool is_kept(const struct detokenizer *d, uint32_t id)
{
    for (uint32_t i = 0; i < d->kept_count; i++)
        if (d->kept[i] == id)
            return true;
    return false;
}

void detokenizer_push(struct detokenizer *d, const uint32_t *ids, size_t count, struct buf *out)
{
    size_t certain;
    for (size_t i = 0; i < count; i++) {
        struct str token;
        if (!tokenizer_spelling(d->tokenizer, ids[i], d->skip_special && !is_kept(d, ids[i]),
                                &token))
            continue;
        if (d->stream.decoder)
            token_stream_push(&d->stream, token, out);
        else
            buf_append(&d->held, token.data, token.len);
    }
    if (d->held.len == 0)
        return;
    /* The cut is in front of a first byte, so both sides are made valid as the whole would be. */
    certain = d->held.len - utf8_incomplete_tail(d->held.data, d->held.len);
    utf8_append_lossy(out, d->held.data, certain);
    buf_consume(&d->held, certain);
}

void detokenizer_finish(struct detokenizer *d, struct buf *out)
{
    if (d->stream.decoder)
        token_stream_finish(&d->stream, out);
    utf8_append_lossy(out, d->held.data, d->held.len);
    buf_clear(&d->held);
}

void detokenizer_release(struct detokenizer *d)
{
    buf_release(&d->held);
    token_stream_release(&d->stream);
}
