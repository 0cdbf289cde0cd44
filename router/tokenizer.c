#include "router/tokenizer.h"

#include <string.h>

#include "common/hash.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "router/tokenizer_model.h"

#define TEXT_BYTES_MAX (1u << 30)
#define CACHE_WORDS (1u << 15)
#define CACHE_WORD_BYTES 28
#define CACHE_IDS 8

/* A word that was merged before; one cache line. A newer word of the same slot replaces it. */
struct cached_word {
    uint8_t len, count; /* len 0: empty */
    char word[CACHE_WORD_BYTES + 2];
    uint32_t ids[CACHE_IDS];
};

struct tokenizer_scratch {
    struct buf lossy, normal; /* the text made valid; a piece of it in its normal form */
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
    pretoken_release(&t->pretoken);
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
    buf_release(&scratch->normal);
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
    token_list_reserve(out, len);
    if (id != VOCAB_NONE)
        out->ids[out->count] = id;
    else
        count = bpe_word(&t->bpe, &e->scratch->bpe, word, len, out->ids + out->count);
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

/* A piece between two tokens of the raw set. */
static enum status encode_piece(struct encoding *e, struct str piece, struct err *err)
{
    const struct tokenizer *t = e->tokenizer;
    struct tokenizer_scratch *s = e->scratch;
    struct added_cut cut = {.set = &t->normal, .text = piece};
    struct str part;
    uint32_t id;
    buf_clear(&s->normal);
    if (unicode_normalize(t->form, piece, &s->normal))
        cut.text = (struct str){s->normal.data, s->normal.len};
    while (added_next(&cut, &part, &id)) {
        if (id != ADDED_NONE)
            token_list_push(e->out, id);
        else
            TRY(pretoken_split(&t->pretoken, &s->pretoken, part, encode_word, e, err));
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
            TRY(encode_piece(&e, piece, err));
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
    return vocab_bytes(&t->vocab, id);
}

void tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count,
                      bool skip_special, struct buf *out)
{
    struct buf bytes = {0};
    for (size_t i = 0; i < count; i++) {
        struct str token = tokenizer_token_bytes(t, ids[i], skip_special);
        buf_append(&bytes, token.data, token.len);
    }
    utf8_append_lossy(out, bytes.data, bytes.len);
    buf_release(&bytes);
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
