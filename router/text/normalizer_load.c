/* The "normalizer" of a tokenizer.json to steps. */
#include <string.h>

#include "common/mem.h"
#include "router/text/normalizer.h"
#include "router/text/tokenizer_part.h"

static enum status next_step(struct normalizer *normalizer, enum normalizer_kind kind,
                             struct normalizer_step **out, struct err *err)
{
    if (normalizer->count == NORMALIZER_STEPS_MAX)
        return err_set(err, STATUS_UNSUPPORTED, "the normalizer has more than %d steps",
                       NORMALIZER_STEPS_MAX);
    *out = &normalizer->steps[normalizer->count++];
    memset(*out, 0, sizeof(**out));
    (*out)->kind = kind;
    return STATUS_OK;
}

static enum status load_prepend(struct normalizer *normalizer, const json_t *json, struct err *err)
{
    struct normalizer_step *step = NULL;
    const char *text = NULL;
    TRY(json_get_string(json, "prepend", &text, err));
    if (!text)
        return err_set(err, STATUS_INVALID, "Prepend has no \"prepend\"");
    TRY(next_step(normalizer, NORMALIZER_PREPEND, &step, err));
    step->text = mem_strdup(text);
    return STATUS_OK;
}

static enum status load_replace(struct normalizer *normalizer, const json_t *json, struct err *err)
{
    struct normalizer_step *step = NULL;
    const char *text = NULL, *pattern = NULL;
    bool literal = false;
    TRY(json_get_string(json, "content", &text, err));
    TRY(part_pattern(json, "Replace", &pattern, &literal, err));
    if (!text || !*pattern)
        return err_set(err, STATUS_UNSUPPORTED,
                       "Replace without a pattern or content is not supported");
    TRY(next_step(normalizer, NORMALIZER_REPLACE, &step, err));
    step->text = mem_strdup(text);
    if (!literal)
        return regex_compile(pattern, false, &step->regex, err);
    step->pattern = mem_strdup(pattern);
    return STATUS_OK;
}

static enum status load_strip(struct normalizer *normalizer, const json_t *json, struct err *err)
{
    struct normalizer_step *step = NULL;
    TRY(next_step(normalizer, NORMALIZER_STRIP, &step, err));
    TRY(json_get_bool(json, "strip_left", &step->left, err));
    return json_get_bool(json, "strip_right", &step->right, err);
}

/* Clean, spaces around ideographs, NFD and no accents, lowercase: a step each. */
static enum status load_bert(struct normalizer *normalizer, const json_t *json, struct err *err)
{
    struct normalizer_step *step = NULL;
    bool clean = false, chinese = false, lowercase = false, accents;
    TRY(json_get_bool(json, "clean_text", &clean, err));
    TRY(json_get_bool(json, "handle_chinese_chars", &chinese, err));
    TRY(json_get_bool(json, "lowercase", &lowercase, err));
    accents = lowercase; /* when the file says null */
    TRY(json_get_bool(json, "strip_accents", &accents, err));
    if (clean) {
        TRY(next_step(normalizer, NORMALIZER_BERT, &step, err));
        step->clean = true;
    }
    if (chinese) {
        TRY(next_step(normalizer, NORMALIZER_BERT, &step, err));
        step->chinese = true;
    }
    if (accents) {
        TRY(next_step(normalizer, NORMALIZER_FORM, &step, err));
        step->form = UNICODE_NFD;
        TRY(next_step(normalizer, NORMALIZER_BERT, &step, err));
        step->accents = true;
    }
    return lowercase ? next_step(normalizer, NORMALIZER_LOWERCASE, &step, err) : STATUS_OK;
}

static enum status load_simple(struct normalizer *normalizer, const char *type, bool *known,
                               struct err *err)
{
    static const struct {
        const char *type;
        enum normalizer_kind kind;
        enum unicode_form form;
    } simple[] = {
        {"NFC", NORMALIZER_FORM, UNICODE_NFC},
        {"NFD", NORMALIZER_FORM, UNICODE_NFD},
        {"NFKC", NORMALIZER_FORM, UNICODE_NFKC},
        {"NFKD", NORMALIZER_FORM, UNICODE_NFKD},
        {"Lowercase", NORMALIZER_LOWERCASE, UNICODE_NONE},
        {"StripAccents", NORMALIZER_STRIP_ACCENTS, UNICODE_NONE},
        {"Nmt", NORMALIZER_NMT, UNICODE_NONE},
        {"ByteLevel", NORMALIZER_BYTES, UNICODE_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(simple); i++) {
        struct normalizer_step *step = NULL;
        if (strcmp(type, simple[i].type) != 0)
            continue;
        *known = true;
        TRY(next_step(normalizer, simple[i].kind, &step, err));
        step->form = simple[i].form;
    }
    return STATUS_OK;
}

static enum status load_step(struct normalizer *normalizer, const json_t *json, int depth,
                             struct err *err)
{
    const json_t *steps;
    const char *type;
    bool known = false;
    TRY(part_type(json, "a normalizer", &type, err));
    TRY(load_simple(normalizer, type, &known, err));
    if (known)
        return STATUS_OK;
    if (strcmp(type, "Prepend") == 0)
        return load_prepend(normalizer, json, err);
    if (strcmp(type, "Replace") == 0)
        return load_replace(normalizer, json, err);
    if (strcmp(type, "Strip") == 0)
        return load_strip(normalizer, json, err);
    if (strcmp(type, "BertNormalizer") == 0)
        return load_bert(normalizer, json, err);
    if (strcmp(type, "Sequence") != 0)
        return part_unsupported("normalizer", type,
                                "Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, "
                                "Strip, StripAccents, Nmt, BertNormalizer and ByteLevel",
                                err);
    TRY(part_steps(json, "normalizer", "normalizers", depth, &steps, err));
    for (size_t i = 0; i < json_array_size(steps); i++)
        TRY(load_step(normalizer, json_array_get(steps, i), depth + 1, err));
    return STATUS_OK;
}

enum status normalizer_load(const json_t *json, struct normalizer *normalizer, struct err *err)
{
    return !json || json_is_null(json) ? STATUS_OK : load_step(normalizer, json, 0, err);
}
