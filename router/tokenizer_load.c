/* tokenizer.json to struct tokenizer: the model (vocabulary and merges), and the order of the rest. */
#include <malloc.h>
#include <string.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/mem.h"
#include "router/tokenizer_model.h"

#define FILE_BYTES_MAX (256u << 20)
#define MERGES_MAX (1u << 24)

static struct str json_str(const json_t *value)
{
    return (struct str){json_string_value(value), json_string_length(value)};
}

static enum status read_vocab(const json_t *json, struct vocab *vocab, struct err *err)
{
    const char *key;
    const json_t *value;
    if (!json_is_object(json))
        return err_set(err, STATUS_INVALID, "model.vocab is %s, not an object", json_type_name(json));
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
        *left = json_str(a);
        *right = json_str(b);
        return json_is_string(a) && json_is_string(b);
    }
    if (json_is_string(merge)) {
        struct str line = json_str(merge);
        const char *space = memchr(line.data, ' ', line.len);
        if (!space)
            return false;
        *left = (struct str){line.data, (size_t)(space - line.data)};
        *right = (struct str){space + 1, line.len - left->len - 1};
        return !memchr(right->data, ' ', right->len);
    }
    return false;
}

static enum status read_merge(struct tokenizer *t, const json_t *merge, uint32_t rank,
                              struct buf *joined, struct err *err)
{
    struct str left = {0}, right = {0};
    uint32_t left_id, right_id, id;
    if (!merge_sides(merge, &left, &right))
        return err_set(err, STATUS_INVALID, "merge %u is not a pair of tokens", rank);
    buf_clear(joined);
    buf_append(joined, left.data, left.len);
    buf_append(joined, right.data, right.len);
    left_id = vocab_find_key(&t->vocab, left);
    right_id = vocab_find_key(&t->vocab, right);
    id = vocab_find_key(&t->vocab, (struct str){joined->data, joined->len});
    if (left_id == VOCAB_NONE || right_id == VOCAB_NONE || id == VOCAB_NONE)
        return err_set(err, STATUS_INVALID,
                       "merge %u (\"%.40s\") makes or takes a token that is not in the vocabulary",
                       rank, joined->len ? joined->data : "");
    bpe_put(&t->bpe, left_id, right_id, rank, id);
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

/* Members that change the result and that we do not do. */
static enum status refuse_extras(const json_t *model, struct err *err)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout = 0;
    bool byte_fallback = false;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *text = NULL;
        TRY(json_get_string(model, texts[i], &text, err));
        if (text && *text)
            return err_set(err, STATUS_UNSUPPORTED, "model.%s \"%.40s\" is not supported", texts[i],
                           text);
    }
    TRY(json_get_number(model, "dropout", 0, 1, &dropout, err));
    if (dropout > 0)
        return err_set(err, STATUS_UNSUPPORTED, "model.dropout %g is not supported", dropout);
    TRY(json_get_bool(model, "byte_fallback", &byte_fallback, err));
    if (byte_fallback)
        return err_set(err, STATUS_UNSUPPORTED, "model.byte_fallback is not supported; only "
                                                "byte-level tokenizers are");
    return STATUS_OK;
}

static enum status read_model(const json_t *model, struct tokenizer *t, struct err *err)
{
    const char *type = "BPE", *unk = NULL;
    if (!json_is_object(model))
        return err_set(err, STATUS_INVALID, "model is %s, not an object", json_type_name(model));
    TRY(json_get_string(model, "type", &type, err));
    if (strcmp(type, "BPE") != 0)
        return err_set(err, STATUS_UNSUPPORTED, "the model \"%.60s\" is not supported; BPE is", type);
    TRY(refuse_extras(model, err));
    TRY(json_get_bool(model, "ignore_merges", &t->ignore_merges, err));
    TRY(json_get_string(model, "unk_token", &unk, err));
    TRY(read_vocab(json_object_get(model, "vocab"), &t->vocab, err));
    TRY(read_merges(json_object_get(model, "merges"), t, err));
    TRY(json_get_bool(model, "fuse_unk", &t->bpe.fuse_unk, err));
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        t->bpe.byte_ids[byte] = vocab_find_bytes(&t->vocab, &c, 1, hash_bytes(&c, 1));
    }
    if (unk) {
        t->bpe.unk_id = vocab_find_key(&t->vocab, str_from(unk));
        if (t->bpe.unk_id == VOCAB_NONE)
            return err_set(err, STATUS_INVALID, "unk_token \"%.60s\" is not in the vocabulary", unk);
    }
    return STATUS_OK;
}

/* "truncation" and "padding" are left alone: a server asks for neither, and the libraries that load
 * such files switch both off before each call. */
enum status tokenizer_read(const json_t *root, struct tokenizer *t, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, STATUS_INVALID, "the file is %s, not an object", json_type_name(root));
    TRY(read_model(json_object_get(root, "model"), t, err));
    TRY(tokenizer_read_normalizer(json_object_get(root, "normalizer"), &t->form, err));
    TRY(tokenizer_read_added(json_object_get(root, "added_tokens"), t, t->vocab.count, err));
    TRY(pretoken_load(json_object_get(root, "pre_tokenizer"), &t->pretoken, err));
    TRY(tokenizer_read_post(json_object_get(root, "post_processor"), t, err));
    return tokenizer_read_decoder(json_object_get(root, "decoder"), err);
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
