#include "common/json.h"

#include <math.h>
#include <string.h>

#include "common/file.h"

const char *json_type_name(const json_t *value)
{
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

enum status json_parse(const char *text, size_t len, json_t **out, struct err *err)
{
    json_error_t error;
    json_t *root =
        json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!root)
        return err_set(err, STATUS_INVALID, "not valid JSON: %s (line %d, column %d)", error.text,
                       error.line, error.column);
    *out = root;
    return STATUS_OK;
}

enum status json_parse_file(const char *path, size_t max_bytes, json_t **out, struct err *err)
{
    struct buf text = {0};
    enum status status;

    TRY_OUT(file_read(path, max_bytes, &text, err));
    status = json_parse(text.data, text.len, out, err);
    if (status != STATUS_OK)
        status = err_prefix(err, STATUS_CORRUPT, "%s", path);
out:
    buf_release(&text);
    return status;
}

static json_t *present(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static enum status wrong_type(const char *key, const char *want, const json_t *value,
                              struct err *err)
{
    return err_set(err, STATUS_INVALID, "'%s' must be %s, not %s", key, want,
                   json_type_name(value));
}

enum status json_get_bool(const json_t *object, const char *key, bool *out, struct err *err)
{
    json_t *value = present(object, key);
    if (!value)
        return STATUS_OK;
    if (!json_is_boolean(value))
        return wrong_type(key, "a boolean", value, err);
    *out = json_is_true(value);
    return STATUS_OK;
}

enum status json_get_int(const json_t *object, const char *key, int64_t min, int64_t max,
                         int64_t *out, struct err *err)
{
    json_t *value = present(object, key);
    int64_t number;

    if (!value)
        return STATUS_OK;
    if (json_is_integer(value)) {
        number = json_integer_value(value);
    } else if (json_is_real(value) && fabs(json_real_value(value)) < 0x1p53 &&
               json_real_value(value) == floor(json_real_value(value))) {
        number = (int64_t)json_real_value(value);
    } else {
        return wrong_type(key, "an integer", value, err);
    }
    if (number < min || number > max)
        return err_set(err, STATUS_INVALID, "'%s' must be between %lld and %lld, not %lld", key,
                       (long long)min, (long long)max, (long long)number);
    *out = number;
    return STATUS_OK;
}

enum status json_get_number(const json_t *object, const char *key, double min, double max,
                            double *out, struct err *err)
{
    json_t *value = present(object, key);
    double number;

    if (!value)
        return STATUS_OK;
    if (!json_is_number(value))
        return wrong_type(key, "a number", value, err);
    number = json_number_value(value);
    if (!(number >= min && number <= max))
        return err_set(err, STATUS_INVALID, "'%s' must be between %g and %g, not %g", key, min, max,
                       number);
    *out = number;
    return STATUS_OK;
}

enum status json_get_string(const json_t *object, const char *key, const char **out,
                            struct err *err)
{
    json_t *value = present(object, key);
    if (!value)
        return STATUS_OK;
    if (!json_is_string(value))
        return wrong_type(key, "a string", value, err);
    *out = json_string_value(value);
    return STATUS_OK;
}
