/* The "pre_tokenizer" of a tokenizer.json: Split, Digits, ByteLevel, and sequences of them. */
#include <string.h>

#include "router/pretoken.h"

/* What ByteLevel(use_regex) splits with: GPT-2's pattern. */
#define BYTE_LEVEL_REGEX                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define NESTING_MAX 8

struct loader {
    struct pretoken *pretoken;
    bool closed; /* ByteLevel was read: characters are bytes from there on */
    struct err *err;
};

static enum status next_stage(struct loader *loader, struct pretoken_stage **out)
{
    if (loader->closed)
        return err_set(loader->err, STATUS_UNSUPPORTED,
                       "the pre-tokenizer has a step behind ByteLevel, which is not supported");
    if (loader->pretoken->stage_count == PRETOKEN_STAGES_MAX)
        return err_set(loader->err, STATUS_UNSUPPORTED, "the pre-tokenizer has more than %d steps",
                       PRETOKEN_STAGES_MAX);
    *out = &loader->pretoken->stages[loader->pretoken->stage_count++];
    memset(*out, 0, sizeof(**out));
    return STATUS_OK;
}

static enum status load_behavior(const json_t *json, enum pretoken_behavior *out, struct err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = NULL;
    TRY(json_get_string(json, "behavior", &name, err));
    for (size_t i = 0; name && i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum pretoken_behavior)i;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_UNSUPPORTED, "Split's behavior \"%s\" is not supported",
                   name ? name : "none");
}

static enum status load_split(struct loader *loader, const json_t *json)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = NULL, *literal = NULL;
    struct pretoken_stage *stage = NULL;
    TRY(next_stage(loader, &stage));
    TRY(load_behavior(json, &stage->behavior, loader->err));
    TRY(json_get_bool(json, "invert", &stage->invert, loader->err));
    if (!json_is_object(pattern))
        return err_set(loader->err, STATUS_INVALID, "Split's pattern is %s, not an object",
                       json_type_name(pattern));
    TRY(json_get_string(pattern, "Regex", &regex, loader->err));
    TRY(json_get_string(pattern, "String", &literal, loader->err));
    if (!regex == !literal)
        return err_set(loader->err, STATUS_INVALID, "Split's pattern is neither Regex nor String");
    return pretoken_regex(regex ? regex : literal, !regex, &stage->regex, &stage->jit, loader->err);
}

static enum status load_digits(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    bool individual = false;
    TRY(next_stage(loader, &stage));
    TRY(json_get_bool(json, "individual_digits", &individual, loader->err));
    stage->kind = PRETOKEN_DIGITS;
    stage->behavior = individual ? PRETOKEN_ISOLATED : PRETOKEN_CONTIGUOUS;
    return STATUS_OK;
}

static enum status load_byte_level(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    bool use_regex = true;
    TRY(next_stage(loader, &stage));
    loader->closed = true;
    stage->prefix_space = true;
    TRY(json_get_bool(json, "add_prefix_space", &stage->prefix_space, loader->err));
    TRY(json_get_bool(json, "use_regex", &use_regex, loader->err));
    if (use_regex)
        return pretoken_regex(BYTE_LEVEL_REGEX, false, &stage->regex, &stage->jit, loader->err);
    if (!stage->prefix_space)
        loader->pretoken->stage_count--; /* nothing left to do */
    return STATUS_OK;
}

static enum status load_step(struct loader *loader, const json_t *json, int depth)
{
    const char *type = NULL;
    const json_t *steps = json_object_get(json, "pretokenizers");
    if (!json_is_object(json))
        return err_set(loader->err, STATUS_INVALID, "a pre-tokenizer is %s, not an object",
                       json_type_name(json));
    TRY(json_get_string(json, "type", &type, loader->err));
    if (type && strcmp(type, "Split") == 0)
        return load_split(loader, json);
    if (type && strcmp(type, "Digits") == 0)
        return load_digits(loader, json);
    if (type && strcmp(type, "ByteLevel") == 0)
        return load_byte_level(loader, json);
    if (!type || strcmp(type, "Sequence") != 0)
        return err_set(loader->err, STATUS_UNSUPPORTED,
                       "the pre-tokenizer \"%s\" is not supported; Sequence, Split, Digits and "
                       "ByteLevel are",
                       type ? type : "without a type");
    if (!json_is_array(steps) || depth == NESTING_MAX)
        return err_set(loader->err, STATUS_INVALID,
                       "a pre-tokenizer Sequence has no list of steps or is nested too deeply");
    for (size_t i = 0; i < json_array_size(steps); i++)
        TRY(load_step(loader, json_array_get(steps, i), depth + 1));
    return STATUS_OK;
}

enum status pretoken_load(const json_t *json, struct pretoken *pretoken, struct err *err)
{
    struct loader loader = {.pretoken = pretoken, .err = err};
    if (!json || json_is_null(json))
        return err_set(err, STATUS_UNSUPPORTED,
                       "there is no pre-tokenizer; only byte-level tokenizers are supported");
    TRY(load_step(&loader, json, 0));
    if (!loader.closed)
        return err_set(err, STATUS_UNSUPPORTED,
                       "the pre-tokenizer does not end with ByteLevel; only byte-level tokenizers "
                       "are supported");
    return STATUS_OK;
}
