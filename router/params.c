#include "router/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

#define TOKENS_LIMIT ((int64_t)PROTO_PROMPT_TOKENS_MAX)

enum status api_fail(struct api_error *error, enum status status, const char *param,
                     const char *format, ...)
{
    va_list args;
    error->err.status = status;
    error->param = param;
    va_start(args, format);
    vsnprintf(error->err.text, sizeof(error->err.text), format, args);
    va_end(args);
    /* What was cut, or quoted from the client, must stay valid UTF-8. */
    size_t len = strlen(error->err.text);
    while (len > 0 && !utf8_valid(error->err.text, len))
        error->err.text[--len] = '\0';
    return status;
}

/* A getter's failure gets its field's name. */
#define GET(name, call)                                                                            \
    do {                                                                                           \
        if ((call) != STATUS_OK) {                                                                 \
            error->param = (name);                                                                 \
            return error->err.status;                                                              \
        }                                                                                          \
    } while (0)

static enum status parse_lengths(const json_t *body, struct params *out, struct api_error *error)
{
    struct err *err = &error->err;
    int64_t tokens = 0, min = 0, n = 1;
    GET("max_tokens", json_get_int(body, "max_tokens", 1, TOKENS_LIMIT, &tokens, err));
    if (out->kind == API_CHAT)
        GET("max_completion_tokens",
            json_get_int(body, "max_completion_tokens", 1, TOKENS_LIMIT, &tokens, err));
    GET("min_tokens", json_get_int(body, "min_tokens", 0, TOKENS_LIMIT, &min, err));
    GET("n", json_get_int(body, "n", 1, 1024, &n, err));
    if (tokens > 0 && min > tokens)
        return api_fail(error, STATUS_INVALID, "min_tokens", "min_tokens (%lld) is above max_tokens (%lld)",
                        (long long)min, (long long)tokens);
    out->tokens_max = (uint32_t)tokens;
    out->tokens_min = (uint32_t)min;
    out->n = (uint32_t)n;
    return STATUS_OK;
}

static enum status parse_sampling(const json_t *body, struct sampling *out, struct api_error *error)
{
    struct err *err = &error->err;
    double temperature = out->temperature, top_p = out->top_p, min_p = out->min_p;
    int64_t top_k = out->top_k, seed = 0;
    GET("temperature", json_get_number(body, "temperature", 0, 100, &temperature, err));
    GET("top_p", json_get_number(body, "top_p", 0, 1, &top_p, err));
    GET("min_p", json_get_number(body, "min_p", 0, 1, &min_p, err));
    GET("top_k", json_get_int(body, "top_k", -1, UINT32_MAX, &top_k, err));
    GET("seed", json_get_int(body, "seed", INT64_MIN, INT64_MAX, &seed, err));
    if (!(top_p > 0) || (float)top_p <= 0.0f)
        return api_fail(error, STATUS_INVALID, "top_p", "top_p must be above 0 and at most 1");
    if (!((float)min_p < 1.0f))
        return api_fail(error, STATUS_INVALID, "min_p", "min_p must be at least 0 and below 1");
    out->temperature = (float)temperature;
    if (out->temperature < 1e-4f) /* logits / t would overflow: it is greedy in all but name */
        out->temperature = 0.0f;
    out->top_p = (float)top_p;
    out->min_p = (float)min_p;
    out->top_k = top_k > 0 ? (uint32_t)top_k : 0;
    const json_t *given = json_object_get(body, "seed");
    if (given && !json_is_null(given))
        out->seed = (uint64_t)seed;
    return STATUS_OK;
}

static enum status add_stop(const json_t *value, struct arena *arena, struct params *out,
                            struct api_error *error)
{
    if (!json_is_string(value))
        return api_fail(error, STATUS_INVALID, "stop", "stop must be a string or a list of strings, not %s",
                        json_type_name(value));
    size_t len = json_string_length(value);
    if (len == 0 || len > STOP_BYTES_MAX)
        return api_fail(error, STATUS_INVALID, "stop", "a stop string must have 1 to %d bytes",
                        STOP_BYTES_MAX);
    if (out->stop_count == STOP_STRINGS_MAX)
        return api_fail(error, STATUS_INVALID, "stop", "stop takes at most %d strings",
                        STOP_STRINGS_MAX);
    out->stops[out->stop_count++] =
        (struct str){arena_strndup(arena, json_string_value(value), len), len};
    return STATUS_OK;
}

static enum status parse_stops(const json_t *body, struct arena *arena, struct params *out,
                               struct api_error *error)
{
    const json_t *stop = json_object_get(body, "stop"), *item;
    size_t i;
    if (json_is_array(stop)) {
        json_array_foreach(stop, i, item)
            TRY(add_stop(item, arena, out, error));
    } else if (stop && !json_is_null(stop)) {
        TRY(add_stop(stop, arena, out, error));
    }
    const json_t *ids = json_object_get(body, "stop_token_ids");
    if (!ids || json_is_null(ids))
        return STATUS_OK;
    if (!json_is_array(ids) || json_array_size(ids) > PROTO_STOP_IDS_MAX / 2)
        return api_fail(error, STATUS_INVALID, "stop_token_ids",
                        "stop_token_ids must be a list of at most %d token ids",
                        PROTO_STOP_IDS_MAX / 2);
    json_array_foreach(ids, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0 ||
            json_integer_value(item) > UINT32_MAX)
            return api_fail(error, STATUS_INVALID, "stop_token_ids",
                            "stop_token_ids holds something that is no token id");
        out->stop_ids[out->stop_id_count++] = (uint32_t)json_integer_value(item);
    }
    return STATUS_OK;
}

static enum status parse_stream(const json_t *body, struct params *out, struct api_error *error)
{
    struct err *err = &error->err;
    GET("stream", json_get_bool(body, "stream", &out->stream, err));
    const json_t *options = json_object_get(body, "stream_options");
    if (!options || json_is_null(options))
        return STATUS_OK;
    if (!json_is_object(options))
        return api_fail(error, STATUS_INVALID, "stream_options", "stream_options must be an object, not %s",
                        json_type_name(options));
    if (!out->stream)
        return api_fail(error, STATUS_INVALID, "stream_options",
                        "stream_options is only allowed together with stream");
    GET("stream_options", json_get_bool(options, "include_usage", &out->include_usage, err));
    GET("stream_options",
        json_get_bool(options, "continuous_usage_stats", &out->continuous_usage, err));
    return STATUS_OK;
}

static enum status parse_rest(const json_t *body, struct arena *arena, struct params *out,
                              struct api_error *error)
{
    struct err *err = &error->err;
    int64_t priority = 0;
    bool special = false;
    GET("echo", json_get_bool(body, "echo", &out->echo, err));
    GET("ignore_eos", json_get_bool(body, "ignore_eos", &out->ignore_eos, err));
    GET("skip_special_tokens", json_get_bool(body, "skip_special_tokens", &out->skip_special, err));
    GET("include_stop_str_in_output",
        json_get_bool(body, "include_stop_str_in_output", &out->include_stop, err));
    GET("add_special_tokens", json_get_bool(body, "add_special_tokens", &special, err));
    if (json_is_boolean(json_object_get(body, "add_special_tokens")))
        out->add_special = special;
    GET("priority", json_get_int(body, "priority", INT32_MIN, INT32_MAX, &priority, err));
    out->priority = (int32_t)priority;
    const json_t *salt = json_object_get(body, "cache_salt");
    if (salt && !json_is_null(salt)) {
        if (!json_is_string(salt) || json_string_length(salt) == 0)
            return api_fail(error, STATUS_INVALID, "cache_salt",
                            "cache_salt must be a string that is not empty");
        out->salt.len = json_string_length(salt);
        out->salt.data = arena_strndup(arena, json_string_value(salt), out->salt.len);
    }
    return STATUS_OK;
}

enum status params_parse(const json_t *body, enum api_kind kind, struct arena *arena,
                         struct params *out, struct api_error *error)
{
    out->kind = kind;
    out->n = 1;
    out->skip_special = true;
    out->add_special = -1;
    TRY(params_refuse(body, kind, error));
    TRY(parse_lengths(body, out, error));
    TRY(parse_sampling(body, &out->sampling, error));
    TRY(parse_stops(body, arena, out, error));
    TRY(parse_stream(body, out, error));
    TRY(parse_rest(body, arena, out, error));
    if (out->echo && kind == API_CHAT)
        return api_fail(error, STATUS_UNSUPPORTED, "echo", "echo is not supported for chat");
    return STATUS_OK;
}
