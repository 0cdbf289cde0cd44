#include "router/text/tokenizer.h"

#include <string.h>

#include "common/hash.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "router/text/detokenizer.h"
#include "router/text/tokenizer_model.h"

#define TEXT_BYTES_MAX   (1u << 30)
#define CACHE_WORDS      (1u << 15)
#define CACHE_WORD_BYTES 28
#define CACHE_IDS        8
#define METASPACE        "\xe2\x96\x81"
#define METASPACE_BYTES  3

/* A word that was merged before; one cache line. A newer word of the same slot replaces it. */
struct cached_word {
    uint8_t len, count; /* len 0: empty */
    char word[CACHE_WORD_BYTES + 2];
    uint32_t ids[CACHE_IDS];
};

struct tokenizer_scratch {
    struct buf lossy; /* the text made valid */
    struct normalizer_scratch normalizer;
    struct pretoken_scratch pretoken;
    struct bpe_scratch bpe;
    struct cached_word *cache; /* CACHE_WORDS slots by hash */
};

/* What the word callback needs. */
struct encoding {
    const struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct token_list *out;
};

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    vocab_release(&t->vocab);
    added_set_release(&t->raw);
    added_set_release(&t->normal);
    normalizer_release(&t->normalizer);
    pretoken_release(&t->pretoken);
    token_decoder_release(&t->decoder);
    buf_release(&t->piece_text);
    mem_free(t->piece_ends);
    bpe_release(&t->bpe);
    token_list_release(&t->before);
    token_list_release(&t->behind);
    mem_free(t);
}

struct tokenizer_scratch *tokenizer_scratch_new(const struct tokenizer *tokenizer)
{
    struct tokenizer_scratch *scratch = mem_zalloc(sizeof(*scratch));
    pretoken_scratch_init(&scratch->pretoken);
    scratch->cache = mem_aligned(CACHE_WORDS * sizeof(*scratch->cache), sizeof(*scratch->cache));
    return scratch;
}

void tokenizer_scratch_free(struct tokenizer_scratch *scratch)
{
    if (!scratch)
        return;
    buf_release(&scratch->lossy);
    normalizer_scratch_release(&scratch->normalizer);
    pretoken_scratch_release(&scratch->pretoken);
    bpe_scratch_release(&scratch->bpe);
    mem_free(scratch->cache);
    mem_free(scratch);
}

/* ---- token lists ------------------------------------------------------------------------------- */

static void token_list_reserve(struct token_list *list, size_t more)
{
    if (list->cap - list->count >= more)
        return;
    list->cap = MAX(list->cap * 2, MAX(list->count + more, (size_t)32));
    list->ids = mem_realloc(list->ids, list->cap * sizeof(*list->ids));
}

void token_list_push(struct token_list *list, uint32_t id)
{
    token_list_reserve(list, 1);
    list->ids[list->count++] = id;
}

static void token_list_append(struct token_list *list, const uint32_t *ids, size_t count)
{
    if (count == 0)
        return;
    token_list_reserve(list, count);
    memcpy(list->ids + list->count, ids, count * sizeof(*ids));
    list->count += count;
}

void token_list_release(struct token_list *list)
{
    mem_free(list->ids);
    *list = (struct token_list){0};
}

/* ---- encode ------------------------------------------------------------------------------------ */

/* The ids of one word, appended; `hash` is hash_bytes of it. */
static size_t merge_word(const struct encoding *e, const char *word, size_t len, uint64_t hash)
{
    const struct tokenizer *t = e->tokenizer;
    struct token_list *out = e->out;
    size_t count = 1;
    uint32_t id = t->ignore_merges ? vocab_find_bytes(&t->vocab, word, len, hash) : VOCAB_NONE;
    uint32_t *ids;
    token_list_reserve(out, t->bytes ? len : symbols_max(&t->symbols, len));
    ids = out->ids + out->count;
    if (id != VOCAB_NONE) {
        *ids = id;
    } else if (t->bytes) {
        count = bpe_word(&t->bpe, &e->scratch->bpe, word, len, ids);
    } else {
        count = symbols_of(&t->symbols, &t->vocab, word, len, ids);
        count = bpe_merge_all(&t->bpe, &e->scratch->bpe, ids, count);
    }
    out->count += count;
    return count;
}

static void encode_word(void *ctx, const char *word, size_t len)
{
    const struct encoding *e = ctx;
    uint64_t hash = hash_bytes(word, len);
    struct cached_word *slot;
    size_t count;
    if (len > CACHE_WORD_BYTES) {
        merge_word(e, word, len, hash);
        return;
    }
    slot = &e->scratch->cache[hash >> 32 & (CACHE_WORDS - 1)];
    if (slot->len == len && memcmp(slot->word, word, len) == 0) {
        token_list_append(e->out, slot->ids, slot->count);
        return;
    }
    count = merge_word(e, word, len, hash);
    if (count <= CACHE_IDS) {
        slot->len = (uint8_t)len;
        slot->count = (uint8_t)count;
        memcpy(slot->word, word, len);
        memcpy(slot->ids, e->out->ids + e->out->count - count, count * sizeof(*slot->ids));
    }
}

/* A word in which no merge crosses the border in front of a "▁": each part on its own, so that a
 * whole text without a pre-tokenizer is as many cached words, not one long one. */
static void encode_parts(void *ctx, const char *word, size_t len)
{
    size_t from = 0, at = 0;
    const char *hit;
    while ((hit = memmem(word + at, len - at, METASPACE, METASPACE_BYTES))) {
        size_t start = (size_t)(hit - word);
        if (start > at) {
            encode_word(ctx, word + from, start - from);
            from = start;
        }
        at = start + METASPACE_BYTES;
    }
    encode_word(ctx, word + from, len - from);
}

/* A piece between two tokens of the raw set. `first`: the input starts with it. */
static enum status encode_piece(struct encoding *e, struct str piece, bool first, struct err *err)
{
    const struct tokenizer *t = e->tokenizer;
    struct tokenizer_scratch *s = e->scratch;
    struct added_cut cut = {.set = &t->normal};
    uint32_t id, cp;
    size_t origin = first ? (size_t)utf8_decode(piece.data, piece.len, &cp) : 0;
    struct str part;
    TRY(normalizer_run(&t->normalizer, &s->normalizer, piece, &origin, &cut.text, err));
    while (added_next(&cut, &part, &id)) {
        size_t at = (size_t)(part.data - cut.text.data);
        if (id != ADDED_NONE)
            token_list_push(e->out, id);
        else
            TRY(pretoken_split(&t->pretoken, &s->pretoken, part, origin > at ? origin - at : 0,
                               t->cut_metaspace ? encode_parts : encode_word, e, err));
    }
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *scratch,
                             struct str text, bool add_special, struct token_list *out,
                             struct err *err)
{
    struct encoding e = {t, scratch, out};
    struct added_cut cut = {.set = &t->raw, .text = text};
    struct str piece;
    uint32_t id;
    if (text.len > TEXT_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "the text has %zu bytes, the limit is %u", text.len,
                       TEXT_BYTES_MAX);
    if (!utf8_valid(text.data, text.len)) {
        buf_clear(&scratch->lossy);
        utf8_append_lossy(&scratch->lossy, text.data, text.len);
        cut.text = (struct str){scratch->lossy.data, scratch->lossy.len};
    }
    if (add_special)
        token_list_append(out, t->before.ids, t->before.count);
    while (added_next(&cut, &piece, &id)) {
        if (id != ADDED_NONE)
            token_list_push(out, id);
        else
            TRY(encode_piece(&e, piece, piece.data == cut.text.data, err));
    }
    if (add_special)
        token_list_append(out, t->behind.ids, t->behind.count);
    return STATUS_OK;
}

/* ---- decode ------------------------------------------------------------------------------------ */

struct str tokenizer_token_bytes(const struct tokenizer *t, uint32_t id, bool skip_special)
{
    uint32_t flags = id < t->vocab.id_count ? t->vocab.tokens[id].flags : 0;
    if (!(flags & VOCAB_PRESENT) || (skip_special && flags & VOCAB_SPECIAL))
        return STR("");
    if (!t->bytes) {
        uint32_t start = id ? t->piece_ends[id - 1] : 0;
        return (struct str){t->piece_text.data ? t->piece_text.data + start : "",
                            t->piece_ends[id] - start};
    }
    return vocab_spelling(&t->vocab, id);
}

const struct token_decoder *tokenizer_decoder(const struct tokenizer *t)
{
    return t->bytes ? NULL : &t->decoder;
}

bool tokenizer_spelling(const struct tokenizer *t, uint32_t id, bool skip_special,
                        struct str *token)
{
    uint32_t flags = id < t->vocab.id_count ? t->vocab.tokens[id].flags : 0;
    if (!(flags & VOCAB_PRESENT) || (skip_special && flags & VOCAB_SPECIAL))
        return false;
    *token = vocab_spelling(&t->vocab, id);
    return true;
}

void tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count,
                      bool skip_special, struct buf *out)
{
    struct detokenizer detokenizer;
    detokenizer_init(&detokenizer, t, skip_special);
    detokenizer_push(&detokenizer, ids, count, out);
    detokenizer_finish(&detokenizer, out);
    detokenizer_release(&detokenizer);
}

uint32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->vocab.id_count;
}

bool tokenizer_find(const struct tokenizer *t, struct str token, uint32_t *id)
{
    uint32_t found = vocab_find_key(&t->vocab, token);
    if (found != VOCAB_NONE)
        *id = found;
    return found != VOCAB_NONE;
}

uint64_t tokenizer_hash(const struct tokenizer *t)
{
    return t->hash;
}
