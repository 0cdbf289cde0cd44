/* The "pre_tokenizer" of a tokenizer.json to stages. */
#include <string.h>

#include "router/text/pretoken.h"
#include "router/text/tokenizer_part.h"
#include "router/text/tokenizer_unicode.h"

/* What ByteLevel(use_regex) splits with: GPT-2's pattern. */
#define BYTE_LEVEL_REGEX                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define FIXED_LENGTH 5 /* when the file does not say */

struct loader {
    struct pretoken *pretoken;
    struct err *err;
};

static enum status next_stage(struct loader *loader, enum pretoken_kind kind,
                              struct pretoken_stage **out)
{
    if (loader->pretoken->stage_count == PRETOKEN_STAGES_MAX)
        return err_set(loader->err, STATUS_UNSUPPORTED, "the pre-tokenizer has more than %d steps",
                       PRETOKEN_STAGES_MAX);
    *out = &loader->pretoken->stages[loader->pretoken->stage_count++];
    memset(*out, 0, sizeof(**out));
    (*out)->kind = kind;
    return STATUS_OK;
}

/* `fallback`: a file may leave the behaviour out. */
static enum status load_behavior(const json_t *json, const char *part, const char *fallback,
                                 enum pretoken_behavior *out, struct err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = fallback;
    TRY(json_get_string(json, "behavior", &name, err));
    for (size_t i = 0; name && i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum pretoken_behavior)i;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_UNSUPPORTED, "%s's behavior \"%s\" is not supported", part,
                   name ? name : "none");
}

static enum status load_split(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    const char *pattern = NULL;
    bool literal = false;
    TRY(next_stage(loader, PRETOKEN_REGEX, &stage));
    TRY(load_behavior(json, "Split", NULL, &stage->behavior, loader->err));
    TRY(json_get_bool(json, "invert", &stage->invert, loader->err));
    TRY(part_pattern(json, "Split", &pattern, &literal, loader->err));
    return regex_compile(pattern, literal, &stage->regex, loader->err);
}

static enum status load_digits(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    bool individual = false;
    TRY(next_stage(loader, PRETOKEN_CHARS, &stage));
    TRY(json_get_bool(json, "individual_digits", &individual, loader->err));
    stage->test = unicode_numeric_char;
    stage->behavior = individual ? PRETOKEN_ISOLATED : PRETOKEN_CONTIGUOUS;
    return STATUS_OK;
}

static enum status load_punctuation(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    TRY(next_stage(loader, PRETOKEN_CHARS, &stage));
    stage->test = unicode_punctuation_char;
    return load_behavior(json, "Punctuation", "Isolated", &stage->behavior, loader->err);
}

static enum status load_whitespace_split(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    (void)json;
    TRY(next_stage(loader, PRETOKEN_CHARS, &stage));
    stage->test = unicode_space_char;
    stage->behavior = PRETOKEN_REMOVED;
    return STATUS_OK;
}

static enum status load_whitespace(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    (void)json;
    return next_stage(loader, PRETOKEN_WORDS, &stage);
}

static enum status load_bert(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    TRY(load_whitespace_split(loader, json));
    TRY(next_stage(loader, PRETOKEN_CHARS, &stage));
    stage->test = unicode_punctuation_char;
    stage->behavior = PRETOKEN_ISOLATED;
    return STATUS_OK;
}

static enum status load_delimiter(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    TRY(next_stage(loader, PRETOKEN_CHARS, &stage));
    stage->behavior = PRETOKEN_REMOVED;
    return part_char(json, "CharDelimiterSplit", "delimiter", &stage->cp, loader->err);
}

static enum status load_fixed(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    int64_t length = FIXED_LENGTH;
    TRY(next_stage(loader, PRETOKEN_FIXED, &stage));
    TRY(json_get_int(json, "length", 1, INT32_MAX, &length, loader->err));
    stage->length = (size_t)length;
    return STATUS_OK;
}

static enum status load_metaspace(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    TRY(next_stage(loader, PRETOKEN_METASPACE, &stage));
    stage->split = true;
    stage->behavior = PRETOKEN_MERGED_WITH_NEXT;
    TRY(part_char(json, "Metaspace", "replacement", &stage->cp, loader->err));
    TRY(pretoken_load_prepend(json, &stage->prepend, loader->err));
    return json_get_bool(json, "split", &stage->split, loader->err);
}

/* Two stages: the space in front and the split, then the alphabet. */
static enum status load_byte_level(struct loader *loader, const json_t *json)
{
    struct pretoken_stage *stage = NULL;
    bool prefix = true, use_regex = true;
    TRY(json_get_bool(json, "add_prefix_space", &prefix, loader->err));
    TRY(json_get_bool(json, "use_regex", &use_regex, loader->err));
    if (prefix || use_regex) {
        TRY(next_stage(loader, PRETOKEN_BYTES, &stage));
        stage->prepend = prefix ? PRETOKEN_ALWAYS : PRETOKEN_NEVER;
        stage->split = use_regex;
        if (use_regex)
            TRY(regex_compile(BYTE_LEVEL_REGEX, false, &stage->regex, loader->err));
    }
    TRY(next_stage(loader, PRETOKEN_BYTES, &stage));
    stage->alphabet = true;
    return STATUS_OK;
}

static enum status load_step(struct loader *loader, const json_t *json, int depth)
{
    static const struct {
        const char *type;
        enum status (*load)(struct loader *loader, const json_t *json);
    } known[] = {
        {"Split", load_split},
        {"Digits", load_digits},
        {"ByteLevel", load_byte_level},
        {"Metaspace", load_metaspace},
        {"Punctuation", load_punctuation},
        {"Whitespace", load_whitespace},
        {"WhitespaceSplit", load_whitespace_split},
        {"BertPreTokenizer", load_bert},
        {"CharDelimiterSplit", load_delimiter},
        {"FixedLength", load_fixed},
    };
    const char *type = NULL;
    const json_t *steps;
    TRY(part_type(json, "a pre-tokenizer", &type, loader->err));
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(type, known[i].type) == 0)
            return known[i].load(loader, json);
    }
    if (strcmp(type, "Sequence") != 0)
        return part_unsupported("pre-tokenizer", type,
                                "Sequence, Split, Digits, ByteLevel, Metaspace, Punctuation, "
                                "Whitespace, WhitespaceSplit, BertPreTokenizer, "
                                "CharDelimiterSplit and FixedLength",
                                loader->err);
    TRY(part_steps(json, "pre-tokenizer", "pretokenizers", depth, &steps, loader->err));
    for (size_t i = 0; i < json_array_size(steps); i++)
        TRY(load_step(loader, json_array_get(steps, i), depth + 1));
    return STATUS_OK;
}

enum status pretoken_load_prepend(const json_t *json, enum pretoken_prepend *prepend,
                                  struct err *err)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *name = "always";
    bool prefix = true;
    TRY(json_get_string(json, "prepend_scheme", &name, err));
    TRY(json_get_bool(json, "add_prefix_space", &prefix, err)); /* how older files say "never" */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *prepend = (enum pretoken_prepend)i;
            if (!prefix && *prepend != PRETOKEN_NEVER)
                break;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_INVALID, "Metaspace's prepend_scheme \"%.60s\"%s is not possible",
                   name, prefix ? "" : " without add_prefix_space");
}

enum status pretoken_load(const json_t *json, struct pretoken *pretoken, struct err *err)
{
    struct loader loader = {.pretoken = pretoken, .err = err};
    return !json || json_is_null(json) ? STATUS_OK : load_step(&loader, json, 0);
}
