/* Added tokens and post-processor of a tokenizer.json. */
#include <string.h>

#include "common/mem.h"
#include "router/text/tokenizer_model.h"
#include "router/text/tokenizer_part.h"

#define TEMPLATE_IDS_MAX     64
#define ADDED_TEXT_BYTES_MAX 4096

/* ---- added tokens ------------------------------------------------------------------------------ */

struct added_entry {
    struct str text;
    struct buf normal; /* its normal form, when that is another text */
    struct added_token token;
    bool normalized, special, changed;
};

static enum status read_added_entry(const json_t *json, struct added_entry *entry, struct err *err)
{
    const json_t *content = json_object_get(json, "content");
    int64_t id = -1;
    memset(entry, 0, sizeof(*entry));
    entry->normalized = true; /* as in the package: unless special */
    if (!json_is_string(content))
        return err_set(err, STATUS_INVALID, "an added token's content is %s, not a string",
                       json_type_name(content));
    entry->text = part_str(content);
    if (entry->text.len > ADDED_TEXT_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "an added token is longer than %d bytes",
                       ADDED_TEXT_BYTES_MAX);
    TRY(json_get_int(json, "id", 0, VOCAB_IDS_MAX - 1, &id, err));
    TRY(json_get_bool(json, "special", &entry->special, err));
    entry->normalized = !entry->special;
    TRY(json_get_bool(json, "normalized", &entry->normalized, err));
    TRY(json_get_bool(json, "lstrip", &entry->token.lstrip, err));
    TRY(json_get_bool(json, "rstrip", &entry->token.rstrip, err));
    TRY(json_get_bool(json, "single_word", &entry->token.single_word, err));
    if (id < 0)
        return err_set(err, STATUS_INVALID, "an added token has no id");
    entry->token.id = (uint32_t)id;
    return STATUS_OK;
}

/* The package ignores the file's ids: a token that the vocabulary has keeps its id there, the others
 * are numbered on from the vocabulary's size. A file that says otherwise would be read differently
 * by whoever trusts it, so it is refused. */
static enum status place_added(struct tokenizer *t, const struct added_entry *entry, uint32_t *next,
                               struct err *err)
{
    uint32_t id = vocab_find_key(&t->vocab, entry->text), expected = id == VOCAB_NONE ? *next : id;
    if (expected != entry->token.id)
        return err_set(
            err, STATUS_INVALID, "added token \"%.*s\" has the id %u, but by its place it is %u",
            (int)MIN(entry->text.len, (size_t)60), entry->text.data, entry->token.id, expected);
    if (id == VOCAB_NONE) {
        TRY(vocab_add(&t->vocab, entry->text, expected, err));
        t->vocab.tokens[expected].flags |= VOCAB_ADDED;
        ++*next;
    }
    if (entry->special)
        t->vocab.tokens[expected].flags |= VOCAB_SPECIAL;
    return STATUS_OK;
}

/* A token that is looked for in normalised text is looked for, and decoded, in its normal form. */
static enum status normalize_added(const struct tokenizer *t, struct normalizer_scratch *scratch,
                                   struct added_entry *entry, struct err *err)
{
    struct str normal;
    if (!entry->normalized)
        return STATUS_OK;
    TRY(normalizer_run(&t->normalizer, scratch, entry->text, NULL, &normal, err));
    if (normal.len == 0) /* the package finds nothing between any two characters, and cuts there */
        return err_set(err, STATUS_UNSUPPORTED,
                       "added token \"%.*s\" is nothing once normalized, which is not supported",
                       (int)MIN(entry->text.len, (size_t)60), entry->text.data);
    entry->changed = !str_eq(normal, entry->text);
    if (entry->changed)
        buf_append(&entry->normal, normal.data, normal.len);
    return STATUS_OK;
}

static struct str added_pattern(const struct added_entry *entry)
{
    return entry->changed
               ? (struct str){entry->normal.data ? entry->normal.data : "", entry->normal.len}
               : entry->text;
}

/* Decoding goes by the new spelling, and so does the question whether a token is special. */
static enum status respell_added(struct tokenizer *t, const struct added_entry *entries,
                                 size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t id = entries[i].token.id;
        bool special = false;
        if (entries[i].text.len == 0 || !entries[i].changed)
            continue;
        vocab_respell(&t->vocab, id, added_pattern(&entries[i]));
        for (size_t k = 0; k < count; k++) {
            if (k != i && entries[k].normalized && entries[k].text.len &&
                str_eq(added_pattern(&entries[k]), added_pattern(&entries[i])) &&
                !str_eq(entries[k].text, entries[i].text))
                return err_set(err, STATUS_UNSUPPORTED,
                               "added tokens \"%.*s\" and \"%.*s\" are the same once normalized, "
                               "which is not supported",
                               (int)MIN(entries[k].text.len, (size_t)60), entries[k].text.data,
                               (int)MIN(entries[i].text.len, (size_t)60), entries[i].text.data);
            special |= entries[k].special && str_eq(entries[k].text, added_pattern(&entries[i]));
        }
        t->vocab.tokens[id].flags &= ~(uint32_t)VOCAB_SPECIAL;
        t->vocab.tokens[id].flags |= special ? VOCAB_SPECIAL : 0;
    }
    return STATUS_OK;
}

/* The tries: special tokens first, so that of two equal texts the special one is found. */
static void index_added(struct tokenizer *t, const struct added_entry *entries, size_t count)
{
    for (int special = 1; special >= 0; special--) {
        for (size_t i = 0; i < count; i++) {
            const struct added_entry *e = &entries[i];
            if (e->special == (bool)special)
                added_set_add(e->normalized ? &t->normal : &t->raw, added_pattern(e), e->token);
        }
    }
}

enum status tokenizer_read_added(const json_t *json, struct tokenizer *t, uint32_t model_count,
                                 struct err *err)
{
    enum status status = STATUS_OK;
    struct normalizer_scratch scratch = {0};
    struct added_entry *entries;
    uint32_t next = model_count;
    size_t count = json_array_size(json);
    if (!json || json_is_null(json))
        return STATUS_OK;
    if (!json_is_array(json) || count > VOCAB_IDS_MAX)
        return err_set(err, STATUS_INVALID, "added_tokens is %s, not a list of a bearable length",
                       json_type_name(json));
    entries = mem_array(count ? count : 1, sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        TRY_OUT(read_added_entry(json_array_get(json, i), &entries[i], err));
        if (entries[i].text.len == 0)
            continue; /* never found, takes no id */
        TRY_OUT(normalize_added(t, &scratch, &entries[i], err));
        TRY_OUT(place_added(t, &entries[i], &next, err));
    }
    TRY_OUT(respell_added(t, entries, count, err));
    index_added(t, entries, count);
out:
    for (size_t i = 0; i < count; i++)
        buf_release(&entries[i].normal);
    normalizer_scratch_release(&scratch);
    mem_free(entries);
    return status;
}

/* ---- post-processor ---------------------------------------------------------------------------- */

/* Appends what a special token of the template stands for: special_tokens[name].ids. */
static enum status template_ids(const json_t *specials, const char *name, const struct tokenizer *t,
                                struct token_list *out, struct err *err)
{
    const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
    if (!json_is_array(ids) || json_array_size(ids) > TEMPLATE_IDS_MAX)
        return err_set(err, STATUS_INVALID, "the template's special token \"%.60s\" has no ids",
                       name);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= t->vocab.id_count)
            return err_set(
                err, STATUS_INVALID,
                "the template's special token \"%.60s\" has an id outside the vocabulary", name);
        token_list_push(out, (uint32_t)json_integer_value(id));
    }
    return STATUS_OK;
}

static enum status read_template(const json_t *json, struct tokenizer *t, struct err *err)
{
    const json_t *single = json_object_get(json, "single");
    const json_t *specials = json_object_get(json, "special_tokens");
    size_t texts = 0;

    if (t->templated)
        return err_set(err, STATUS_UNSUPPORTED, "two templates in a row are not supported");
    t->templated = true;
    if (!json_is_array(single) || json_array_size(single) > TEMPLATE_IDS_MAX)
        return err_set(err, STATUS_INVALID, "TemplateProcessing has no list \"single\"");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        const json_t *sequence = json_object_get(piece, "Sequence");
        const char *id = NULL;
        TRY(json_get_string(special ? special : sequence, "id", &id, err));
        if (!id || (!special && strcmp(id, "A") != 0))
            return err_set(err, STATUS_INVALID, "a piece of the template \"single\" is unknown");
        if (special)
            TRY(template_ids(specials, id, t, texts ? &t->behind : &t->before, err));
        else
            texts++;
    }
    if (texts != 1)
        return err_set(err, STATUS_UNSUPPORTED, "a template with %zu texts is not supported",
                       texts);
    return STATUS_OK;
}

/* Roberta and Bert: [name, id] in front, [name, id] behind. */
static enum status read_sep_cls(const json_t *json, struct tokenizer *t, struct err *err)
{
    static const char *const members[] = {"cls", "sep"};
    if (t->templated)
        return err_set(err, STATUS_UNSUPPORTED, "two templates in a row are not supported");
    t->templated = true;
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const json_t *id = json_array_get(json_object_get(json, members[i]), 1);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= t->vocab.id_count)
            return err_set(err, STATUS_INVALID,
                           "the post-processor's \"%s\" has no id of the vocabulary", members[i]);
        token_list_push(i ? &t->behind : &t->before, (uint32_t)json_integer_value(id));
    }
    return STATUS_OK;
}

static enum status read_post(const json_t *json, struct tokenizer *t, int depth, struct err *err)
{
    const json_t *steps;
    const char *type;
    TRY(part_type(json, "a post-processor", &type, err));
    if (strcmp(type, "ByteLevel") == 0)
        return STATUS_OK; /* it only moves offsets */
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(json, t, err);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return read_sep_cls(json, t, err);
    if (strcmp(type, "Sequence") != 0)
        return part_unsupported("post-processor", type,
                                "Sequence, TemplateProcessing, ByteLevel, RobertaProcessing and "
                                "BertProcessing",
                                err);
    TRY(part_steps(json, "post-processor", "processors", depth, &steps, err));
    for (size_t i = 0; i < json_array_size(steps); i++)
        TRY(read_post(json_array_get(steps, i), t, depth + 1, err));
    return STATUS_OK;
}

enum status tokenizer_read_post(const json_t *json, struct tokenizer *t, struct err *err)
{
    return !json || json_is_null(json) ? STATUS_OK : read_post(json, t, 0, err);
}
