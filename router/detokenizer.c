#include "router/detokenizer.h"

#include <string.h>

#include "common/utf8.h"

void detokenizer_init(struct detokenizer *d, const struct tokenizer *tokenizer, bool skip_special)
{
    memset(d, 0, sizeof(*d));
    d->tokenizer = tokenizer;
    d->skip_special = skip_special;
}

void detokenizer_push(struct detokenizer *d, const uint32_t *ids, size_t count, struct buf *out)
{
    size_t certain;
    for (size_t i = 0; i < count; i++) {
        struct str token = tokenizer_token_bytes(d->tokenizer, ids[i], d->skip_special);
        buf_append(&d->held, token.data, token.len);
    }
    /* The cut is in front of a first byte, so both sides are made valid as the whole would be. */
    certain = d->held.len - utf8_incomplete_tail(d->held.data, d->held.len);
    utf8_append_lossy(out, d->held.data, certain);
    buf_consume(&d->held, certain);
}

void detokenizer_finish(struct detokenizer *d, struct buf *out)
{
    utf8_append_lossy(out, d->held.data, d->held.len);
    buf_clear(&d->held);
}

void detokenizer_release(struct detokenizer *d)
{
    buf_release(&d->held);
}
