/* tokenizer.json to struct tokenizer: the model (vocabulary and merges), and the order of the rest. */
#include <malloc.h>
#include <string.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/mem.h"
#include "router/text/tokenizer_model.h"
#include "router/text/tokenizer_part.h"

#define FILE_BYTES_MAX (256u << 20)
#define MERGES_MAX     (1u << 24)
#define METASPACE      "\xe2\x96\x81"

static enum status read_vocab(const json_t *json, struct vocab *vocab, struct err *err)
{
    const char *key;
    const json_t *value;
    if (!json_is_object(json))
        return err_set(err, STATUS_INVALID, "model.vocab is %s, not an object",
                       json_type_name(json));
    for (void *at = json_object_iter((json_t *)(uintptr_t)json); at;
         at = json_object_iter_next((json_t *)(uintptr_t)json, at)) {
        json_int_t id;
        key = json_object_iter_key(at);
        value = json_object_iter_value(at);
        id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= VOCAB_IDS_MAX)
            return err_set(err, STATUS_INVALID,
                           "model.vocab gives \"%.60s\" something that is not an id below %u", key,
                           VOCAB_IDS_MAX);
        TRY(vocab_add(vocab, str_from(key), (uint32_t)id, err));
    }
    return STATUS_OK;
}

/* A merge is "a b" or ["a", "b"]. */
static bool merge_sides(const json_t *merge, struct str *left, struct str *right)
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
        *left = part_str(a);
        *right = part_str(b);
        return json_is_string(a) && json_is_string(b);
    }
    if (json_is_string(merge)) {
        struct str line = part_str(merge);
        const char *space = memchr(line.data, ' ', line.len);
        if (!space)
            return false;
        *left = (struct str){line.data, (size_t)(space - line.data)};
        *right = (struct str){space + 1, line.len - left->len - 1};
        return !memchr(right->data, ' ', right->len);
    }
    return false;
}

static bool starts_with_metaspace(struct str text)
{
    return text.len >= sizeof(METASPACE) - 1 &&
           memcmp(text.data, METASPACE, sizeof(METASPACE) - 1) == 0;
}

static bool ends_with_metaspace(struct str text)
{
    size_t n = sizeof(METASPACE) - 1;
    return text.len >= n && memcmp(text.data + text.len - n, METASPACE, n) == 0;
}

static enum status read_merge(struct tokenizer *t, const json_t *merge, uint32_t rank,
                              struct buf *joined, struct err *err)
{
    struct str left = {0}, right = {0};
    uint32_t left_id, right_id, id;
    size_t skip;
    if (!merge_sides(merge, &left, &right))
        return err_set(err, STATUS_INVALID, "merge %u is not a pair of tokens", rank);
    buf_clear(joined);
    buf_append(joined, left.data, left.len);
    skip = MIN(t->symbols.prefix_len, right.len); /* a merge drops the right side's prefix */
    buf_append(joined, right.data + skip, right.len - skip);
    left_id = vocab_find_key(&t->vocab, left);
    right_id = vocab_find_key(&t->vocab, right);
    id = vocab_find_key(&t->vocab, (struct str){joined->data, joined->len});
    if (left_id == VOCAB_NONE || right_id == VOCAB_NONE || id == VOCAB_NONE)
        return err_set(err, STATUS_INVALID,
                       "merge %u (\"%.40s\") makes or takes a token that is not in the vocabulary",
                       rank, joined->len ? joined->data : "");
    bpe_put(&t->bpe, left_id, right_id, rank, id);
    t->cut_metaspace &= !starts_with_metaspace(right) || ends_with_metaspace(left);
    return STATUS_OK;
}

static enum status read_merges(const json_t *json, struct tokenizer *t, struct err *err)
{
    enum status status = STATUS_OK;
    struct buf joined = {0};
    uint32_t rank = 0;
    if (!json_is_array(json))
        return err_set(err, STATUS_INVALID, "model.merges is %s, not a list", json_type_name(json));
    if (json_array_size(json) > MERGES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "model.merges has more than %u entries", MERGES_MAX);
    bpe_init(&t->bpe, json_array_size(json));
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *merge = json_array_get(json, i);
        if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0)
            continue; /* an old file's header line */
        TRY_OUT(read_merge(t, merge, rank++, &joined, err));
    }
out:
    buf_release(&joined);
    return status;
}

static enum status read_affix(const json_t *model, const char *name,
                              char out[SYMBOLS_AFFIX_MAX + 1], size_t *len, struct err *err)
{
    const char *text = NULL;
    TRY(json_get_string(model, name, &text, err));
    *len = text ? strlen(text) : 0;
    if (*len > SYMBOLS_AFFIX_MAX)
        return err_set(err, STATUS_UNSUPPORTED,
                       "model.%s \"%.40s\" is longer than %d bytes, which is not supported", name,
                       text, SYMBOLS_AFFIX_MAX);
    memcpy(out, text ? text : "", *len + 1);
    return STATUS_OK;
}

/* The model's switches. They decide, with the other parts, whether tokens are bytes. */
static enum status read_switches(const json_t *model, struct tokenizer *t, struct err *err)
{
    const char *type = "BPE";
    double dropout = 0;
    struct symbols *s = &t->symbols;
    struct pretoken *p = &t->pretoken;
    if (!json_is_object(model))
        return err_set(err, STATUS_INVALID, "model is %s, not an object", json_type_name(model));
    TRY(json_get_string(model, "type", &type, err));
    if (strcmp(type, "BPE") != 0)
        return err_set(err, STATUS_UNSUPPORTED, "the model \"%.60s\" is not supported; BPE is",
                       type);
    TRY(json_get_number(model, "dropout", 0, 1, &dropout, err));
    if (dropout > 0)
        return err_set(err, STATUS_UNSUPPORTED, "model.dropout %g is not supported", dropout);
    TRY(json_get_bool(model, "byte_fallback", &s->byte_fallback, err));
    TRY(json_get_bool(model, "fuse_unk", &s->fuse_unk, err));
    TRY(json_get_bool(model, "ignore_merges", &t->ignore_merges, err));
    TRY(read_affix(model, "continuing_subword_prefix", s->prefix, &s->prefix_len, err));
    TRY(read_affix(model, "end_of_word_suffix", s->suffix, &s->suffix_len, err));
    t->bytes = t->decoder.plain && p->stage_count && p->stages[p->stage_count - 1].alphabet &&
               !s->byte_fallback && !s->prefix_len && !s->suffix_len;
    for (size_t i = 0; i < t->normalizer.count; i++)
        t->bytes &= t->normalizer.steps[i].kind != NORMALIZER_BYTES;
    for (size_t i = 0; i + 1 < p->stage_count; i++)
        t->bytes &= !p->stages[i].alphabet;
    if (t->bytes)
        p->stage_count--;
    t->vocab.bytes = t->bytes;
    t->cut_metaspace = !t->bytes && !t->ignore_merges && !s->prefix_len && !s->suffix_len;
    return STATUS_OK;
}

/* Is there a symbol for every text, so that the unknown token is never needed? */
static bool knows_all_bytes(const struct tokenizer *t)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        if (t->bytes ? t->bpe.byte_ids[byte] == BPE_NONE : t->symbols.byte_ids[byte] == VOCAB_NONE)
            return false;
    }
    return t->bytes || t->symbols.byte_fallback;
}

static enum status read_model(const json_t *model, struct tokenizer *t, struct err *err)
{
    const char *unk = NULL;
    uint32_t id;
    TRY(json_get_string(model, "unk_token", &unk, err));
    TRY(read_vocab(json_object_get(model, "vocab"), &t->vocab, err));
    TRY(read_merges(json_object_get(model, "merges"), t, err));
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        t->bpe.byte_ids[byte] = vocab_find_bytes(&t->vocab, &c, 1, hash_bytes(&c, 1));
    }
    symbols_init(&t->symbols, &t->vocab);
    t->cut_metaspace &= vocab_find_key(&t->vocab, STR(METASPACE)) != VOCAB_NONE;
    t->bpe.fuse_unk = t->symbols.fuse_unk;
    id = unk ? vocab_find_key(&t->vocab, str_from(unk)) : VOCAB_NONE;
    t->bpe.unk_id = t->symbols.unk_id = id;
    t->cut_metaspace &= id != VOCAB_NONE || knows_all_bytes(t); /* else its neighbours may meet */
    if (unk && id == VOCAB_NONE && !knows_all_bytes(t))
        return err_set(err, STATUS_INVALID, "unk_token \"%.60s\" is not in the vocabulary", unk);
    return STATUS_OK;
}

static void make_pieces(struct tokenizer *t)
{
    t->piece_ends = mem_array(t->vocab.id_count ? t->vocab.id_count : 1, sizeof(*t->piece_ends));
    for (uint32_t id = 0; id < t->vocab.id_count; id++) {
        if (t->vocab.tokens[id].flags & VOCAB_PRESENT)
            token_decoder_piece(&t->decoder, vocab_spelling(&t->vocab, id), &t->piece_text);
        t->piece_ends[id] = (uint32_t)t->piece_text.len;
    }
}

/* "truncation" and "padding" are left alone: a server asks for neither, and the libraries that load
 * such files switch both off before each call. */
enum status tokenizer_read(const json_t *root, struct tokenizer *t, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, STATUS_INVALID, "the file is %s, not an object", json_type_name(root));
    TRY(normalizer_load(json_object_get(root, "normalizer"), &t->normalizer, err));
    TRY(pretoken_load(json_object_get(root, "pre_tokenizer"), &t->pretoken, err));
    TRY(token_decoder_load(json_object_get(root, "decoder"), &t->decoder, err));
    TRY(read_switches(json_object_get(root, "model"), t, err));
    TRY(read_model(json_object_get(root, "model"), t, err));
    TRY(tokenizer_read_added(json_object_get(root, "added_tokens"), t, t->vocab.count, err));
    TRY(tokenizer_read_post(json_object_get(root, "post_processor"), t, err));
    if (!t->bytes)
        make_pieces(t);
    return STATUS_OK;
}

enum status tokenizer_load(const char *dir, struct tokenizer **out, struct err *err)
{
    enum status status = STATUS_OK;
    struct tokenizer *t = mem_zalloc(sizeof(*t));
    char *path = path_join(dir, "tokenizer.json");
    struct buf text = {0};
    json_t *root = NULL;

    TRY_OUT(file_read(path, FILE_BYTES_MAX, &text, err));
    t->hash = hash_bytes(text.data, text.len);
    status = json_parse(text.data ? text.data : "", text.len, &root, err);
    buf_release(&text);
    if (status == STATUS_OK)
        status = tokenizer_read(root, t, err);
    if (status != STATUS_OK)
        err_prefix(err, status, "%s", path);
out:
    json_decref(root);
    buf_release(&text);
    mem_free(path);
    malloc_trim(0); /* the parsed file was many times the size of what is kept */
    if (status != STATUS_OK) {
        tokenizer_free(t);
        t = NULL;
    }
    *out = t;
    return status;
}
