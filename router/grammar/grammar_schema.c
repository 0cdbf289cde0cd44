/* JSON schemas. A keyword that narrows what is valid and is not done here is refused by name; an
 * unknown one is an annotation, as the standard says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "router/grammar/grammar.h"
#include "router/grammar/grammar_formats.h"
#include "router/grammar/grammar_json.h"
#include "router/grammar/grammar_regex.h"

#define REFS_MAX  64
#define DEPTH_MAX 64
#define COUNT_MAX 1000 /* characters, items */

struct reference {
    const json_t *target;
    uint32_t rule; /* NFA_NONE: put in place */
    bool done;
};

struct schema {
    struct nfa *nfa;
    struct json_rules rules;
    const json_t *root;
    struct reference refs[REFS_MAX];
    uint32_t ref_count, depth;
    struct arena arena;
    struct err *err;
};

static enum status put(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to);

static enum status refuse(struct schema *s, const char *keyword, const char *why)
{
    return err_set(s->err, STATUS_UNSUPPORTED, "the schema's %s is not supported%s%s", keyword,
                   why[0] ? ": " : "", why);
}

static enum status invalid(struct schema *s, const char *keyword, const char *why)
{
    return err_set(s->err, STATUS_INVALID, "the schema's %s %s", keyword, why);
}

/* Every name is a string: some generators say so of each map. */
static bool any_name(const json_t *names)
{
    const char *type = json_string_value(json_object_get(names, "type"));
    return json_is_true(names) ||
           (json_is_object(names) &&
            json_object_size(names) == (type && strcmp(type, "string") == 0));
}

static enum status check_keywords(struct schema *s, const json_t *schema)
{
    static const char *const refused[] = {"not",
                                          "if",
                                          "then",
                                          "else",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "dependencies",
                                          "patternProperties",
                                          "minProperties",
                                          "maxProperties",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "unevaluatedItems",
                                          "unevaluatedProperties",
                                          "additionalItems",
                                          "$dynamicRef",
                                          "$recursiveRef"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (json_object_get(schema, refused[i]))
            return refuse(s, refused[i], "");
    const json_t *names = json_object_get(schema, "propertyNames");
    if (names && !any_name(names))
        return refuse(s, "propertyNames", "");
    if (json_is_true(json_object_get(schema, "uniqueItems")))
        return refuse(s, "uniqueItems", "");
    return STATUS_OK;
}

/* A whole number of a keyword, clamped to COUNT_MAX where that narrows. */
static enum status get_count(struct schema *s, const json_t *schema, const char *keyword,
                             bool least, uint32_t *out)
{
    const json_t *value = json_object_get(schema, keyword);
    if (!value)
        return STATUS_OK;
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (number < 0 || number != floor(number))
        return invalid(s, keyword, "must be a whole number that is not negative");
    if (least && number > COUNT_MAX)
        return refuse(s, keyword, "it is above 1000");
    *out = (uint32_t)MIN(number, (double)COUNT_MAX);
    return STATUS_OK;
}

/* ---- strings ---- */

static enum status put_pattern(struct schema *s, struct str text, uint32_t min, uint32_t max,
                               uint32_t from, uint32_t *to)
{
    struct regex regex;
    TRY(regex_parse(text, &s->arena, &regex, s->err));
    uint32_t at = regex_put_json_text(s->nfa, json_char(&s->rules, from, '"'), &regex, min, max);
    if (at == NFA_NONE)
        return refuse(s, "pattern", "nothing of such a length matches");
    *to = json_char(&s->rules, at, '"');
    return STATUS_OK;
}

static enum status put_string(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *pattern = json_object_get(schema, "pattern");
    const char *format = json_string_value(json_object_get(schema, "format"));
    const char *regex = format ? grammar_format(format) : NULL;
    uint32_t min = 0, max = UINT32_MAX;
    TRY(get_count(s, schema, "minLength", true, &min));
    TRY(get_count(s, schema, "maxLength", false, &max));
    if (max < min)
        return invalid(s, "maxLength", "is below minLength");
    if (pattern && regex)
        return refuse(s, "pattern", "together with a format");
    if (pattern && !json_is_string(pattern))
        return invalid(s, "pattern", "must be a string");
    if (pattern)
        return put_pattern(s, (struct str){json_string_value(pattern), json_string_length(pattern)},
                           min, max, from, to);
    if (regex) {
        char *whole = arena_printf(&s->arena, "^(?:%s)$", regex);
        return put_pattern(s, str_from(whole), min, max, from, to);
    }
    *to = json_string_of(&s->rules, from, min, max);
    return STATUS_OK;
}

/* ---- numbers ---- */

static enum status get_bounds(struct schema *s, const json_t *schema, struct json_bounds *out)
{
    static const char *const names[] = {"minimum", "maximum", "exclusiveMinimum",
                                        "exclusiveMaximum"};
    *out = (struct json_bounds){-INFINITY, INFINITY, false, false};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const json_t *value = json_object_get(schema, names[i]);
        if (!value)
            continue;
        if (!json_is_number(value))
            return json_is_boolean(value) ? refuse(s, names[i], "draft 4's bool")
                                          : invalid(s, names[i], "must be a number");
        double number = json_number_value(value);
        bool open = i >= 2, lower = i % 2 == 0;
        if (lower && (number > out->min || (number == out->min && open))) {
            out->min = number;
            out->min_open = open;
        } else if (!lower && (number < out->max || (number == out->max && open))) {
            out->max = number;
            out->max_open = open;
        }
    }
    return STATUS_OK;
}

static enum status put_number(struct schema *s, const json_t *schema, bool integer, uint32_t from,
                              uint32_t *to)
{
    struct json_bounds bounds;
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple && !(integer && json_number_value(multiple) == 1.0))
        return refuse(s, "multipleOf", "");
    TRY(get_bounds(s, schema, &bounds));
    bool some = integer ? json_integer_of(&s->rules, from, &bounds, to)
                        : json_number_of(&s->rules, from, &bounds, to);
    return some ? STATUS_OK : refuse(s, "minimum", "no number that can be written here fits");
}

/* ---- arrays ---- */

/* Through a rule, so that the item is spelled out once for all its places. */
static enum status put_item(struct schema *s, const json_t *item, uint32_t *rule, uint32_t from,
                            uint32_t *to)
{
    if (*rule == NFA_NONE) {
        uint32_t end;
        *rule = nfa_rule(s->nfa);
        TRY(put(s, item, s->nfa->rules[*rule].start, &end));
        nfa_empty(s->nfa, end, s->nfa->rules[*rule].end);
    }
    *to = nfa_call(s->nfa, from, *rule);
    return STATUS_OK;
}

static enum status put_array(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *items = json_object_get(schema, "items");
    const json_t *prefix = json_object_get(schema, "prefixItems");
    uint32_t min = 0, max = UINT32_MAX, fixed = (uint32_t)json_array_size(prefix);
    struct nfa *nfa = s->nfa;
    TRY(get_count(s, schema, "minItems", true, &min));
    TRY(get_count(s, schema, "maxItems", false, &max));
    if (json_is_array(items))
        return refuse(s, "items", "as a list; prefixItems is");
    if (json_is_false(items) || (fixed > 0 && !items))
        max = MIN(max, fixed);
    if (max < min)
        return refuse(s, "maxItems", "it is below minItems");
    uint32_t at = json_space(&s->rules, json_char(&s->rules, from, '[')), item_rule = NFA_NONE;
    uint32_t close = nfa_state(nfa), loop_from = MAX(min, fixed);
    if (min == 0)
        nfa_empty(nfa, at, close);
    for (uint32_t i = 0; i < max && !nfa->too_large; i++) {
        bool loops = max == UINT32_MAX && i >= loop_from;
        const json_t *item = i < fixed ? json_array_get(prefix, i) : items;
        uint32_t start = nfa_state(nfa), end;
        nfa_empty(nfa, i > 0 ? json_mark(&s->rules, at, ',') : at, start);
        if (s->rules.compact && i >= fixed)
            TRY(put_item(s, item, &item_rule, start, &end));
        else
            TRY(put(s, item, start, &end));
        if (i + 1 >= min)
            nfa_empty(nfa, json_space(&s->rules, end), close);
        if (loops) {
            nfa_empty(nfa, json_mark(&s->rules, end, ','), start);
            break;
        }
        at = end;
    }
    *to = json_char(&s->rules, close, ']');
    return STATUS_OK;
}

/* ---- objects ---- */

static bool is_required(const json_t *required, const char *name)
{
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *item = json_string_value(json_array_get(required, i));
        if (item && strcmp(item, name) == 0)
            return true;
    }
    return false;
}

/* Where the next member's key may begin: as the first one, or behind another. */
struct members {
    uint32_t first, more; /* NFA_NONE: not possible */
};

static enum status put_member(struct schema *s, const char *name, const json_t *schema, bool needed,
                              struct members *at)
{
    struct nfa *nfa = s->nfa;
    uint32_t key = nfa_state(nfa), end, more = nfa_state(nfa);
    if (at->first != NFA_NONE)
        nfa_empty(nfa, at->first, key);
    if (at->more != NFA_NONE)
        nfa_empty(nfa, json_mark(&s->rules, at->more, ','), key);
    json_t *text = json_string(name);
    uint32_t value = json_mark(&s->rules, json_literal(&s->rules, key, text), ':');
    json_decref(text);
    TRY(put(s, schema, value, &end));
    nfa_empty(nfa, end, more);
    if (!needed && at->more != NFA_NONE)
        nfa_empty(nfa, at->more, more);
    at->more = more;
    if (needed)
        at->first = NFA_NONE;
    return STATUS_OK;
}

/* Any number of keys with values of one schema. */
static enum status put_map(struct schema *s, const json_t *values, uint32_t open, uint32_t *to)
{
    struct nfa *nfa = s->nfa;
    uint32_t key = nfa_state(nfa), close = nfa_state(nfa), end;
    nfa_empty(nfa, open, key);
    nfa_empty(nfa, open, close);
    uint32_t at = json_mark(&s->rules, json_string_of(&s->rules, key, 0, UINT32_MAX), ':');
    TRY(put(s, values, at, &end));
    nfa_empty(nfa, json_mark(&s->rules, end, ','), key);
    nfa_empty(nfa, json_space(&s->rules, end), close);
    *to = json_char(&s->rules, close, '}');
    return STATUS_OK;
}

/* Properties come in the schema's order; others than the declared ones are not written. */
static enum status put_object(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *properties = json_object_get(schema, "properties"), *property;
    const json_t *required = json_object_get(schema, "required");
    const json_t *others = json_object_get(schema, "additionalProperties");
    const char *name;
    if (properties && !json_is_object(properties))
        return invalid(s, "properties", "must be an object");
    uint32_t open = json_space(&s->rules, json_char(&s->rules, from, '{'));
    if (json_object_size(properties) == 0 && json_array_size(required) == 0 &&
        !json_is_false(others))
        return put_map(s, others, open, to);
    struct members at = {open, NFA_NONE};
    json_object_foreach((json_t *)(uintptr_t)properties, name, property)
        TRY(put_member(s, name, property, is_required(required, name), &at));
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *needed = json_string_value(json_array_get(required, i));
        if (!needed)
            return invalid(s, "required", "must be a list of strings");
        if (json_object_get(properties, needed))
            continue;
        if (json_is_false(others))
            return refuse(s, "required", "it names what additionalProperties forbids");
        TRY(put_member(s, needed, others, true, &at));
    }
    uint32_t close = nfa_state(s->nfa);
    if (at.first != NFA_NONE)
        nfa_empty(s->nfa, at.first, close);
    if (at.more != NFA_NONE)
        nfa_empty(s->nfa, json_space(&s->rules, at.more), close);
    *to = json_char(&s->rules, close, '}');
    return STATUS_OK;
}

/* ---- references ---- */

/* "#", "#/$defs/Name"; NULL when there is nothing. */
static const json_t *resolve(const struct schema *s, const char *pointer)
{
    const json_t *at = s->root;
    if (pointer[0] != '#')
        return NULL;
    for (pointer++; *pointer == '/' && at;) {
        char name[256];
        size_t len = 0;
        for (pointer++; *pointer && *pointer != '/' && len + 1 < sizeof(name); pointer++) {
            char c = *pointer;
            if (c == '~' && (pointer[1] == '0' || pointer[1] == '1'))
                c = *++pointer == '0' ? '~' : '/';
            name[len++] = c;
        }
        name[len] = '\0';
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(name, NULL, 10))
                               : json_object_get(at, name);
    }
    return *pointer ? NULL : at;
}

/* Whether `target` is reached again from within; `budget` bounds the walk. */
static bool reaches(const struct schema *s, const json_t *from, const json_t *target,
                    uint32_t *budget)
{
    const char *key;
    json_t *value;
    if (*budget == 0)
        return true;
    --*budget;
    if (json_is_array(from)) {
        for (size_t i = 0; i < json_array_size(from); i++)
            if (reaches(s, json_array_get(from, i), target, budget))
                return true;
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)from, key, value) {
        if (strcmp(key, "$defs") == 0 || strcmp(key, "definitions") == 0)
            continue;
        const json_t *next = value;
        if (strcmp(key, "$ref") == 0 && json_is_string(value))
            next = resolve(s, json_string_value(value));
        if (next == target || reaches(s, next, target, budget))
            return true;
    }
    return false;
}

static enum status put_reference(struct schema *s, const char *pointer, uint32_t from, uint32_t *to)
{
    const json_t *target = resolve(s, pointer);
    uint32_t i = 0, budget = 20000;
    if (!target)
        return refuse(s, "$ref",
                      pointer[0] == '#' ? "there is nothing there" : "outside the schema");
    while (i < s->ref_count && s->refs[i].target != target)
        i++;
    if (i == s->ref_count) {
        if (s->ref_count == REFS_MAX)
            return refuse(s, "$ref", "more than 64 of them");
        bool nests = reaches(s, target, target, &budget);
        s->refs[s->ref_count++] =
            (struct reference){target, nests ? nfa_rule(s->nfa) : NFA_NONE, false};
    }
    struct reference *ref = &s->refs[i];
    if (ref->rule == NFA_NONE)
        return put(s, target, from, to);
    if (!ref->done) {
        uint32_t end;
        ref->done = true; /* before its body, which names it */
        TRY(put(s, target, s->nfa->rules[ref->rule].start, &end));
        nfa_empty(s->nfa, end, s->nfa->rules[ref->rule].end);
    }
    *to = nfa_call(s->nfa, from, ref->rule);
    return STATUS_OK;
}

/* ---- alternatives ---- */

static enum status put_each(struct schema *s, const json_t *list, const char *keyword,
                            uint32_t from, uint32_t *to)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return invalid(s, keyword, "must be a list that is not empty");
    *to = nfa_state(s->nfa);
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint32_t end;
        TRY(put(s, json_array_get(list, i), from, &end));
        nfa_empty(s->nfa, end, *to);
    }
    return STATUS_OK;
}

static const json_t *followed(const struct schema *s, const json_t *schema)
{
    const char *pointer = json_string_value(json_object_get(schema, "$ref"));
    return pointer ? resolve(s, pointer) : schema;
}

/* No text is valid for both: other types, or another constant in a property that both need. */
static bool disjoint(const struct schema *s, const json_t *a, const json_t *b)
{
    a = followed(s, a), b = followed(s, b);
    const char *type_a = json_string_value(json_object_get(a, "type"));
    const char *type_b = json_string_value(json_object_get(b, "type")), *name;
    json_t *property;
    const json_t *const_a = json_object_get(a, "const"), *const_b = json_object_get(b, "const");
    if (const_a && const_b)
        return !json_equal(const_a, const_b);
    if (!type_a || !type_b)
        return false;
    if (strcmp(type_a, type_b) != 0) {
        bool numbers = (strcmp(type_a, "integer") == 0 && strcmp(type_b, "number") == 0) ||
                       (strcmp(type_b, "integer") == 0 && strcmp(type_a, "number") == 0);
        return !numbers;
    }
    json_object_foreach(json_object_get(a, "properties"), name, property) {
        const json_t *other = json_object_get(json_object_get(b, "properties"), name);
        const json_t *mine = json_object_get(property, "const"),
                     *theirs = json_object_get(other, "const");
        if (mine && theirs && !json_equal(mine, theirs) &&
            is_required(json_object_get(a, "required"), name) &&
            is_required(json_object_get(b, "required"), name))
            return true;
    }
    return false;
}

static enum status put_one_of(struct schema *s, const json_t *list, uint32_t from, uint32_t *to)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = 0; k < i; k++)
            if (!disjoint(s, json_array_get(list, i), json_array_get(list, k)))
                return refuse(s, "oneOf", "its alternatives overlap; anyOf is");
    return put_each(s, list, "oneOf", from, to);
}

static enum status put_values(struct schema *s, const json_t *list, uint32_t from, uint32_t *to)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return invalid(s, "enum", "must be a list that is not empty");
    *to = nfa_state(s->nfa);
    for (size_t i = 0; i < json_array_size(list); i++)
        nfa_empty(s->nfa, json_literal(&s->rules, from, json_array_get(list, i)), *to);
    return STATUS_OK;
}

/* ---- the whole ---- */

static enum status put_type(struct schema *s, const json_t *schema, const char *type, uint32_t from,
                            uint32_t *to)
{
    if (strcmp(type, "string") == 0)
        return put_string(s, schema, from, to);
    if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0)
        return put_number(s, schema, type[0] == 'i', from, to);
    if (strcmp(type, "array") == 0)
        return put_array(s, schema, from, to);
    if (strcmp(type, "object") == 0)
        return put_object(s, schema, from, to);
    *to = nfa_state(s->nfa);
    if (strcmp(type, "null") == 0) {
        nfa_empty(s->nfa, nfa_text(s->nfa, from, "null", 4), *to);
    } else if (strcmp(type, "boolean") == 0) {
        nfa_empty(s->nfa, nfa_text(s->nfa, from, "true", 4), *to);
        nfa_empty(s->nfa, nfa_text(s->nfa, from, "false", 5), *to);
    } else {
        return invalid(s, "type", "is none of JSON's");
    }
    return STATUS_OK;
}

/* The type that other keywords imply; NULL: any value. Narrower than the standard, which lets values
 * of other types pass. */
static const char *implied_type(const json_t *schema)
{
    static const char *const keywords[][2] = {{"properties", "object"},
                                              {"required", "object"},
                                              {"additionalProperties", "object"},
                                              {"items", "array"},
                                              {"prefixItems", "array"},
                                              {"minItems", "array"},
                                              {"maxItems", "array"},
                                              {"pattern", "string"},
                                              {"minLength", "string"},
                                              {"maxLength", "string"},
                                              {"minimum", "number"},
                                              {"maximum", "number"},
                                              {"exclusiveMinimum", "number"},
                                              {"exclusiveMaximum", "number"},
                                              {"multipleOf", "number"}};
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (json_object_get(schema, keywords[i][0]))
            return keywords[i][1];
    return NULL;
}

/* What stands alone: beside it only annotations (and for enum and const, type) may be. */
static enum status check_alone(struct schema *s, const json_t *schema, const char *keyword)
{
    static const char *const constraints[] = {"$ref", "anyOf", "oneOf", "allOf", "enum", "const"};
    bool value = strcmp(keyword, "enum") == 0 || strcmp(keyword, "const") == 0;
    for (size_t i = 0; i < ARRAY_LEN(constraints); i++)
        if (strcmp(constraints[i], keyword) != 0 && json_object_get(schema, constraints[i]))
            return refuse(s, keyword, "together with another constraint");
    if (implied_type(schema) || (!value && json_object_get(schema, "type")))
        return refuse(s, keyword, "together with another constraint");
    return STATUS_OK;
}

static enum status put_combined(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to,
                                bool *done)
{
    static const char *const keywords[] = {"$ref", "const", "enum", "anyOf", "oneOf", "allOf"};
    const json_t *value = NULL;
    size_t i = 0;
    while (i < ARRAY_LEN(keywords) && !(value = json_object_get(schema, keywords[i])))
        i++;
    *done = value != NULL;
    if (!value)
        return STATUS_OK;
    TRY(check_alone(s, schema, keywords[i]));
    switch (i) {
    case 0:
        return json_is_string(value) ? put_reference(s, json_string_value(value), from, to)
                                     : invalid(s, "$ref", "must be a string");
    case 1:
        *to = json_literal(&s->rules, from, value);
        return STATUS_OK;
    case 2:
        return put_values(s, value, from, to);
    case 3:
        return put_each(s, value, "anyOf", from, to);
    case 4:
        return put_one_of(s, value, from, to);
    default:
        return json_array_size(value) == 1 ? put(s, json_array_get(value, 0), from, to)
                                           : refuse(s, "allOf", "of more than one");
    }
}

static enum status put_plain(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *type = json_object_get(schema, "type");
    bool done = false;
    TRY(check_keywords(s, schema));
    TRY(put_combined(s, schema, from, to, &done));
    if (done)
        return STATUS_OK;
    if (json_is_string(type))
        return put_type(s, schema, json_string_value(type), from, to);
    if (json_is_array(type) && json_array_size(type) > 0) {
        *to = nfa_state(s->nfa);
        for (size_t i = 0; i < json_array_size(type); i++) {
            const char *one = json_string_value(json_array_get(type, i));
            uint32_t end;
            TRY(put_type(s, schema, one ? one : "", from, &end));
            nfa_empty(s->nfa, end, *to);
        }
        return STATUS_OK;
    }
    if (type)
        return invalid(s, "type", "must be a string or a list of strings");
    const char *implied = implied_type(schema);
    if (implied)
        return put_type(s, schema, implied, from, to);
    *to = json_any(&s->rules, from);
    return STATUS_OK;
}

static enum status put(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    if (!schema || json_is_true(schema)) {
        *to = json_any(&s->rules, from);
        return STATUS_OK;
    }
    if (!json_is_object(schema))
        return json_is_false(schema) ? refuse(s, "false", "nothing is valid")
                                     : invalid(s, "part", "is neither an object nor a bool");
    if (s->nfa->too_large)
        return refuse(s, "size", "it is too large");
    if (++s->depth > DEPTH_MAX)
        return refuse(s, "nesting", "it is too deep");
    enum status status = put_plain(s, schema, from, to);
    s->depth--;
    return status;
}

static void schema_begin(struct schema *s, struct nfa *nfa, const json_t *root, bool compact,
                         struct err *err)
{
    *s = (struct schema){.nfa = nfa, .rules = JSON_RULES(nfa, compact), .root = root, .err = err};
    arena_init(&s->arena);
}

static enum status schema_compile(const void *arg, bool compact, struct buf *out, bool *large,
                                  struct err *err)
{
    const json_t *schema = arg;
    struct nfa nfa = {0};
    struct schema s;
    enum status status = STATUS_OK;
    schema_begin(&s, &nfa, schema, compact, err);
    uint32_t main_rule = nfa_rule(&nfa), end = 0;
    if (schema)
        TRY_OUT(put(&s, schema, nfa.rules[main_rule].start, &end));
    else
        end = json_any_object(&s.rules, nfa.rules[main_rule].start);
    nfa_empty(&nfa, end, nfa.rules[main_rule].end);
    status = nfa_compile(&nfa, out, err);
    if (status != STATUS_OK)
        status = err_prefix(err, status, "the schema");
out:
    *large = nfa.too_large || nfa.too_many;
    arena_release(&s.arena);
    nfa_release(&nfa);
    return status;
}

/* What is spelled out in full has too many states for some: then once more, with calls. Should that be
 * refused too, the first refusal is told. */
static enum status compile(enum status (*make)(const void *arg, bool compact, struct buf *out,
                                               bool *large, struct err *err),
                           const void *arg, struct buf *out, struct err *err)
{
    bool large = false;
    struct err second;
    enum status status = make(arg, false, out, &large, err);
    if (status != STATUS_OK && large && make(arg, true, out, &large, &second) == STATUS_OK)
        return STATUS_OK;
    return status;
}

enum status grammar_from_schema(const json_t *schema, struct buf *out, struct err *err)
{
    return compile(schema_compile, schema, out, err);
}

static enum status put_arguments(struct schema *s, const json_t *function, uint32_t from,
                                 uint32_t *to)
{
    const json_t *parameters = json_object_get(function, "parameters");
    s->root = parameters;
    s->ref_count = 0;
    if (json_object_size(parameters) > 0)
        return put(s, parameters, from, to);
    *to = json_any_object(&s->rules, from);
    return STATUS_OK;
}

/* f[ARGS]{…} */
static enum status put_bare_tool(struct schema *s, const struct grammar_tools *want,
                                 const json_t *function, uint32_t from, uint32_t *to)
{
    const json_t *name = json_object_get(function, "name");
    uint32_t at = nfa_text(s->nfa, from, json_string_value(name), json_string_length(name));
    at = nfa_text(s->nfa, at, want->behind_name.data, want->behind_name.len);
    return put_arguments(s, function, at, to);
}

/* {"name": "f", "arguments": …} with the tool's own schema. */
static enum status put_tool(struct schema *s, const struct grammar_tools *want,
                            const json_t *function, uint32_t from, uint32_t *to)
{
    json_t *name_key = json_string(want->name_key),
           *arguments_key = json_string(want->arguments_key);
    uint32_t at = json_space(&s->rules, json_char(&s->rules, from, '{'));
    at = json_mark(&s->rules, json_literal(&s->rules, at, name_key), ':');
    at = json_mark(&s->rules, json_literal(&s->rules, at, json_object_get(function, "name")), ',');
    at = json_mark(&s->rules, json_literal(&s->rules, at, arguments_key), ':');
    json_decref(name_key);
    json_decref(arguments_key);
    TRY(put_arguments(s, function, at, &at));
    *to = json_char(&s->rules, json_space(&s->rules, at), '}');
    return STATUS_OK;
}

static enum status tools_compile(const void *arg, bool compact, struct buf *out, bool *large,
                                 struct err *err)
{
    const struct grammar_tools *want = arg;
    struct nfa nfa = {0};
    struct schema s;
    enum status status = STATUS_OK;
    schema_begin(&s, &nfa, NULL, compact, err);
    uint32_t rule = nfa_rule(&nfa), call = nfa_state(&nfa), done = nfa_state(&nfa), count = 0;
    nfa_empty(&nfa, nfa_text(&nfa, nfa.rules[rule].start, want->begin.data, want->begin.len), call);
    for (size_t i = 0; i < json_array_size(want->tools); i++) {
        const json_t *function = json_object_get(json_array_get(want->tools, i), "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        uint32_t end;
        if (!name || (want->only && strcmp(name, want->only) != 0))
            continue;
        TRY_OUT(want->behind_name.len > 0 ? put_bare_tool(&s, want, function, call, &end)
                                          : put_tool(&s, want, function, call, &end));
        nfa_empty(&nfa, end, done);
        count++;
    }
    if (count == 0)
        TRY_OUT(err_set(err, STATUS_INVALID, "there is no tool to call"));
    if (want->parallel)
        nfa_empty(&nfa, nfa_text(&nfa, done, want->between.data, want->between.len), call);
    nfa_empty(&nfa, nfa_text(&nfa, done, want->end.data, want->end.len), nfa.rules[rule].end);
    status = nfa_compile(&nfa, out, err);
    if (status != STATUS_OK)
        status = err_prefix(err, status, "the tools");
out:
    *large = nfa.too_large || nfa.too_many;
    arena_release(&s.arena);
    nfa_release(&nfa);
    return status;
}

enum status grammar_from_tools(const struct grammar_tools *want, struct buf *out, struct err *err)
{
    return compile(tools_compile, want, out, err);
}

/* ---- texts that are no JSON ---- */

enum status grammar_from_regex(struct str text, struct buf *out, struct err *err)
{
    struct nfa nfa = {0};
    struct arena arena;
    struct regex regex;
    arena_init(&arena);
    enum status status = regex_parse(text, &arena, &regex, err);
    if (status == STATUS_OK) {
        uint32_t rule = nfa_rule(&nfa);
        uint32_t end = regex_put(&nfa, nfa.rules[rule].start, regex.root, false);
        nfa_empty(&nfa, end, nfa.rules[rule].end);
        status = nfa_compile(&nfa, out, err);
        if (status != STATUS_OK)
            status = err_prefix(err, status, "the expression");
    }
    nfa_release(&nfa);
    arena_release(&arena);
    return status;
}

enum status grammar_from_choices(const json_t *choices, struct buf *out, struct err *err)
{
    struct nfa nfa = {0};
    uint32_t rule = nfa_rule(&nfa);
    enum status status = STATUS_OK;
    if (!json_is_array(choices) || json_array_size(choices) == 0)
        TRY_OUT(err_set(err, STATUS_INVALID, "the choices must be a list of strings"));
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *choice = json_array_get(choices, i);
        if (!json_is_string(choice) || json_string_length(choice) == 0)
            TRY_OUT(err_set(err, STATUS_INVALID, "a choice must be a string that is not empty"));
        uint32_t end = nfa_text(&nfa, nfa.rules[rule].start, json_string_value(choice),
                                json_string_length(choice));
        nfa_empty(&nfa, end, nfa.rules[rule].end);
    }
    status = nfa_compile(&nfa, out, err);
out:
    nfa_release(&nfa);
    return status;
}
