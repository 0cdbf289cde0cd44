/* schema - keywords, and what type a schema means. */
#include "router/grammar/schema.h"

#include <math.h>
#include <string.h>

#define DEPTH_MAX 64

enum status schema_refuse(struct schema *s, const char *keyword, const char *why)
{
    return err_set(s->err, STATUS_UNSUPPORTED, "the schema's %s is not supported%s%s", keyword,
                   why[0] ? ": " : "", why);
}

enum status schema_invalid(struct schema *s, const char *keyword, const char *why)
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
            return schema_refuse(s, refused[i], "");
    const json_t *names = json_object_get(schema, "propertyNames");
    if (names && !any_name(names))
        return schema_refuse(s, "propertyNames", "");
    if (json_is_true(json_object_get(schema, "uniqueItems")))
        return schema_refuse(s, "uniqueItems", "");
    return STATUS_OK;
}

enum status schema_count(struct schema *s, const json_t *schema, const char *keyword, bool least,
                         uint32_t *out)
{
    const json_t *value = json_object_get(schema, keyword);
    if (!value)
        return STATUS_OK;
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (number < 0 || number != floor(number))
        return schema_invalid(s, keyword, "must be a whole number that is not negative");
    if (least && number > SCHEMA_COUNT_MAX)
        return schema_refuse(s, keyword, "it is above 1000");
    *out = (uint32_t)MIN(number, (double)SCHEMA_COUNT_MAX);
    return STATUS_OK;
}

static enum status put_type(struct schema *s, const json_t *schema, const char *type, uint32_t from,
                            uint32_t *to)
{
    if (strcmp(type, "string") == 0)
        return schema_put_string(s, schema, from, to);
    if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0)
        return schema_put_number(s, schema, type[0] == 'i', from, to);
    if (strcmp(type, "array") == 0)
        return schema_put_array(s, schema, from, to);
    if (strcmp(type, "object") == 0)
        return schema_put_object(s, schema, from, to);
    *to = nfa_state(s->nfa);
    if (strcmp(type, "null") == 0) {
        nfa_empty(s->nfa, nfa_text(s->nfa, from, "null", 4), *to);
    } else if (strcmp(type, "boolean") == 0) {
        nfa_empty(s->nfa, nfa_text(s->nfa, from, "true", 4), *to);
        nfa_empty(s->nfa, nfa_text(s->nfa, from, "false", 5), *to);
    } else {
        return schema_invalid(s, "type", "is none of JSON's");
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
            return schema_refuse(s, keyword, "together with another constraint");
    if (implied_type(schema) || (!value && json_object_get(schema, "type")))
        return schema_refuse(s, keyword, "together with another constraint");
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
        return json_is_string(value) ? schema_put_reference(s, json_string_value(value), from, to)
                                     : schema_invalid(s, "$ref", "must be a string");
    case 1:
        *to = json_literal(&s->rules, from, value);
        return STATUS_OK;
    case 2:
        return schema_put_values(s, value, from, to);
    case 3:
        return schema_put_each(s, value, "anyOf", from, to);
    case 4:
        return schema_put_one_of(s, value, from, to);
    default:
        return json_array_size(value) == 1 ? schema_put(s, json_array_get(value, 0), from, to)
                                           : schema_refuse(s, "allOf", "of more than one");
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
        return schema_invalid(s, "type", "must be a string or a list of strings");
    const char *implied = implied_type(schema);
    if (implied)
        return put_type(s, schema, implied, from, to);
    *to = json_any(&s->rules, from);
    return STATUS_OK;
}

enum status schema_put(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    if (!schema || json_is_true(schema)) {
        *to = json_any(&s->rules, from);
        return STATUS_OK;
    }
    if (!json_is_object(schema))
        return json_is_false(schema) ? schema_refuse(s, "false", "nothing is valid")
                                     : schema_invalid(s, "part", "is neither an object nor a bool");
    if (s->nfa->too_large)
        return schema_refuse(s, "size", "it is too large");
    if (++s->depth > DEPTH_MAX)
        return schema_refuse(s, "nesting", "it is too deep");
    enum status status = put_plain(s, schema, from, to);
    s->depth--;
    return status;
}
