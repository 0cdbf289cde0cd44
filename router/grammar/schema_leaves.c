/* schema_leaves - strings and numbers. */
#include <math.h>

#include "router/grammar/grammar_formats.h"
#include "router/grammar/grammar_regex.h"
#include "router/grammar/schema.h"

static enum status put_pattern(struct schema *s, struct str text, uint32_t min, uint32_t max,
                               uint32_t from, uint32_t *to)
{
    struct regex regex;
    TRY(regex_parse(text, &s->arena, &regex, s->err));
    uint32_t at = regex_put_json_text(s->nfa, json_char(&s->rules, from, '"'), &regex, min, max);
    if (at == NFA_NONE)
        return schema_refuse(s, "pattern", "nothing of such a length matches");
    *to = json_char(&s->rules, at, '"');
    return STATUS_OK;
}

enum status schema_put_string(struct schema *s, const json_t *schema, uint32_t from, uint32_t *to)
{
    const json_t *pattern = json_object_get(schema, "pattern");
    const char *format = json_string_value(json_object_get(schema, "format"));
    const char *regex = format ? grammar_format(format) : NULL;
    uint32_t min = 0, max = UINT32_MAX;
    TRY(schema_count(s, schema, "minLength", true, &min));
    TRY(schema_count(s, schema, "maxLength", false, &max));
    if (max < min)
        return schema_invalid(s, "maxLength", "is below minLength");
    if (pattern && regex)
        return schema_refuse(s, "pattern", "together with a format");
    if (pattern && !json_is_string(pattern))
        return schema_invalid(s, "pattern", "must be a string");
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
            return json_is_boolean(value) ? schema_refuse(s, names[i], "draft 4's bool")
                                          : schema_invalid(s, names[i], "must be a number");
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

enum status schema_put_number(struct schema *s, const json_t *schema, bool integer, uint32_t from,
                              uint32_t *to)
{
    struct json_bounds bounds;
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple && !(integer && json_number_value(multiple) == 1.0))
        return schema_refuse(s, "multipleOf", "");
    TRY(get_bounds(s, schema, &bounds));
    bool some = integer ? json_integer_of(&s->rules, from, &bounds, to)
                        : json_number_of(&s->rules, from, &bounds, to);
    return some ? STATUS_OK
                : schema_refuse(s, "minimum", "no number that can be written here fits");
}
