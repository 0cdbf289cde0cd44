#include "router/text/tokenizer_part.h"

#include <string.h>

#include "common/utf8.h"

struct str part_str(const json_t *value)
{
    return (struct str){json_string_value(value), json_string_length(value)};
}

enum status part_type(const json_t *json, const char *part, const char **type, struct err *err)
{
    *type = NULL;
    if (!json_is_object(json))
        return err_set(err, STATUS_INVALID, "%s is %s, not an object", part, json_type_name(json));
    TRY(json_get_string(json, "type", type, err));
    if (!*type)
        return err_set(err, STATUS_INVALID, "%s has no type", part);
    return STATUS_OK;
}

enum status part_unsupported(const char *part, const char *type, const char *known, struct err *err)
{
    return err_set(err, STATUS_UNSUPPORTED, "the %s \"%.60s\" is not supported; %s are", part, type,
                   known);
}

enum status part_steps(const json_t *json, const char *part, const char *member, int depth,
                       const json_t **steps, struct err *err)
{
    *steps = json_object_get(json, member);
    if (!json_is_array(*steps) || depth == PART_NESTING_MAX)
        return err_set(err, STATUS_INVALID,
                       "a %s Sequence has no list \"%s\" or is nested too deeply", part, member);
    return STATUS_OK;
}

enum status part_char(const json_t *json, const char *part, const char *member, uint32_t *cp,
                      struct err *err)
{
    struct str text = part_str(json_object_get(json, member));
    if (text.len == 0 || utf8_decode(text.data, text.len, cp) != (int)text.len)
        return err_set(err, STATUS_INVALID, "%s's \"%s\" is not one character", part, member);
    return STATUS_OK;
}

enum status part_pattern(const json_t *json, const char *part, const char **pattern, bool *literal,
                         struct err *err)
{
    const json_t *object = json_object_get(json, "pattern");
    const char *regex = NULL, *text = NULL;
    if (!json_is_object(object))
        return err_set(err, STATUS_INVALID, "%s's pattern is %s, not an object", part,
                       json_type_name(object));
    TRY(json_get_string(object, "Regex", &regex, err));
    TRY(json_get_string(object, "String", &text, err));
    if (!regex == !text)
        return err_set(err, STATUS_INVALID, "%s's pattern is neither Regex nor String", part);
    *pattern = regex ? regex : text;
    *literal = !regex;
    return STATUS_OK;
}
