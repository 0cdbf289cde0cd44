#include "router/api/params_rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "router/api/params_table.h"

#define TOKENS_LIMIT ((int64_t)PROTO_PROMPT_TOKENS_MAX)

/* A getter's failure gets its field's name. */
static enum status named(enum status status, const char *name, struct api_error *error)
{
    if (status != STATUS_OK)
        error->param = name;
    return status;
}

static enum status get_int(const json_t *body, const char *name, int64_t min, int64_t max,
                           int64_t *out, struct api_error *error)
{
    return named(json_get_int(body, name, min, max, out, &error->err), name, error);
}

static enum status get_number(const json_t *body, const char *name, double min, double max,
                              double *out, struct api_error *error)
{
    return named(json_get_number(body, name, min, max, out, &error->err), name, error);
}

PARAM_RULE(rule_max_tokens)
{
    int64_t tokens = 0;
    TRY(get_int(body, name, 0, TOKENS_LIMIT, &tokens, error));
    out->tokens_max = (uint32_t)tokens;
    out->tokens_none = tokens == 0 ? name : NULL;
    return STATUS_OK;
}

PARAM_RULE(rule_temperature)
{
    double temperature = 0;
    TRY(get_number(body, name, 0, 100, &temperature, error));
    /* Below this logits / t would overflow: it is greedy in all but name. */
    out->sampling.temperature = temperature < 1e-4 ? 0.0f : (float)temperature;
    return STATUS_OK;
}

PARAM_RULE(rule_top_p)
{
    double top_p = 0;
    TRY(get_number(body, name, 0, 1, &top_p, error));
    if ((float)top_p <= 0.0f)
        return api_fail(error, STATUS_INVALID, "top_p", "top_p must be above 0 and at most 1");
    out->sampling.top_p = (float)top_p;
    return STATUS_OK;
}

PARAM_RULE(rule_min_p)
{
    double min_p = 0;
    TRY(get_number(body, name, 0, 1, &min_p, error));
    if (!((float)min_p < 1.0f))
        return api_fail(error, STATUS_INVALID, "min_p", "min_p must be at least 0 and below 1");
    out->sampling.min_p = (float)min_p;
    return STATUS_OK;
}

PARAM_RULE(rule_top_k)
{
    int64_t top_k = 0;
    TRY(get_int(body, name, -1, UINT32_MAX, &top_k, error));
    out->sampling.top_k = top_k > 0 ? (uint32_t)top_k : 0;
    return STATUS_OK;
}

PARAM_RULE(rule_seed)
{
    int64_t seed = 0;
    TRY(get_int(body, name, INT64_MIN, INT64_MAX, &seed, error));
    out->sampling.seed = (uint64_t)seed;
    return STATUS_OK;
}

PARAM_RULE(rule_repetition_penalty)
{
    double penalty = 0;
    TRY(get_number(body, name, 0, 1000, &penalty, error));
    if (penalty < 1e-6)
        return api_fail(error, STATUS_INVALID, "repetition_penalty",
                        "repetition_penalty must be above 0");
    out->sampling.repetition_penalty = (float)penalty;
    return STATUS_OK;
}

PARAM_RULE(rule_logit_bias)
{
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return api_fail(error, STATUS_INVALID, "logit_bias", "logit_bias must be an object, not %s",
                        json_type_name(value));
    size_t count = json_object_size(value);
    if (count > SAMPLING_BIAS_MAX)
        return api_fail(error, STATUS_INVALID, "logit_bias", "logit_bias takes at most %d tokens",
                        SAMPLING_BIAS_MAX);
    if (count > 0)
        out->bias = arena_array(arena, count, sizeof(*out->bias));
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        double bias = json_number_value(item);
        if (key[0] < '0' || key[0] > '9' || *end || id >= UINT32_MAX)
            return api_fail(error, STATUS_INVALID, "logit_bias",
                            "logit_bias has a key that is no token id: %.40s", key);
        if (!json_is_number(item) || !(fabs(bias) <= 100))
            return api_fail(error, STATUS_INVALID, "logit_bias",
                            "logit_bias of token %llu must be a number from -100 to 100", id);
        out->bias[out->bias_count].id = (uint32_t)id;
        out->bias[out->bias_count++].value = (float)bias;
    }
    return STATUS_OK;
}

PARAM_RULE(rule_logprobs_chat)
{
    if (!json_is_boolean(value))
        return api_fail(error, STATUS_INVALID, "logprobs", "logprobs must be a bool, not %s",
                        json_type_name(value));
    out->logprobs = json_is_true(value) ? 1 : 0;
    return STATUS_OK;
}

/* How many alternatives, plus one; 0: no log probabilities. */
static enum status get_alternatives(const json_t *body, const char *name, uint32_t *out,
                                    struct api_error *error)
{
    int64_t count = 0;
    if (json_is_false(json_object_get(body, name)))
        return STATUS_OK;
    TRY(get_int(body, name, 0, SAMPLING_TOP_MAX, &count, error));
    *out = 1 + (uint32_t)count;
    return STATUS_OK;
}

PARAM_RULE(rule_logprobs_count)
{
    return get_alternatives(body, name, &out->logprobs, error);
}

static enum status add_stop(const json_t *value, struct arena *arena, struct params *out,
                            struct api_error *error)
{
    if (!json_is_string(value))
        return api_fail(error, STATUS_INVALID, "stop",
                        "stop must be a string or a list of strings, not %s",
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

PARAM_RULE(rule_stop)
{
    const json_t *item;
    size_t i;
    if (!json_is_array(value))
        return add_stop(value, arena, out, error);
    json_array_foreach(value, i, item)
        TRY(add_stop(item, arena, out, error));
    return STATUS_OK;
}

PARAM_RULE(rule_stop_token_ids)
{
    const json_t *item;
    size_t i;
    if (!json_is_array(value) || json_array_size(value) > PROTO_STOP_IDS_MAX / 2)
        return api_fail(error, STATUS_INVALID, "stop_token_ids",
                        "stop_token_ids must be a list of at most %d token ids",
                        PROTO_STOP_IDS_MAX / 2);
    json_array_foreach(value, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0 ||
            json_integer_value(item) > UINT32_MAX)
            return api_fail(error, STATUS_INVALID, "stop_token_ids",
                            "stop_token_ids holds something that is no token id");
        out->stop_ids[out->stop_id_count++] = (uint32_t)json_integer_value(item);
    }
    return STATUS_OK;
}

PARAM_RULE(rule_stream_options)
{
    struct err *err = &error->err;
    if (!json_is_object(value))
        return api_fail(error, STATUS_INVALID, "stream_options",
                        "stream_options must be an object, not %s", json_type_name(value));
    if (json_get_bool(value, "include_usage", &out->include_usage, err) != STATUS_OK ||
        json_get_bool(value, "continuous_usage_stats", &out->continuous_usage, err) != STATUS_OK) {
        error->param = "stream_options";
        return err->status;
    }
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        bool hidden = strcmp(key, "include_obfuscation") == 0 && !json_is_true(item);
        if (!hidden && !out->ignore_unknown && strcmp(key, "include_usage") != 0 &&
            strcmp(key, "continuous_usage_stats") != 0)
            return api_fail(error, STATUS_UNSUPPORTED, name, "%s.%.40s is not supported", name,
                            key);
    }
    out->stream_options = true;
    return STATUS_OK;
}

/* A bool whose absence means something else than false. */
static enum status get_choice(const json_t *body, const char *name, int *out,
                              struct api_error *error)
{
    bool value = false;
    TRY(named(json_get_bool(body, name, &value, &error->err), name, error));
    *out = value;
    return STATUS_OK;
}

PARAM_RULE(rule_add_special)
{
    return get_choice(body, name, &out->add_special, error);
}

PARAM_RULE(rule_generation_prompt)
{
    return get_choice(body, name, &out->generation_prompt, error);
}

PARAM_RULE(rule_truncate)
{
    int64_t keep = 0;
    TRY(get_int(body, name, -1, TOKENS_LIMIT, &keep, error));
    if (keep == 0)
        return api_fail(error, STATUS_INVALID, name, "%s must be -1 or at least 1", name);
    out->truncate = keep < 0 ? UINT32_MAX : (uint32_t)keep;
    return STATUS_OK;
}

PARAM_RULE(rule_truncation_side)
{
    const char *side = json_string_value(value);
    if (!side || (strcmp(side, "left") != 0 && strcmp(side, "right") != 0))
        return api_fail(error, STATUS_INVALID, name, "%s must be left or right", name);
    out->truncate_right = side[0] == 'r';
    return STATUS_OK;
}

PARAM_RULE(rule_prompt_logprobs)
{
    TRY(get_alternatives(body, name, &out->prompt_logprobs, error));
    if (out->prompt_logprobs > 0)
        out->prompt_logprobs_param = name;
    return STATUS_OK;
}

PARAM_RULE(rule_logprob_start)
{
    int64_t from = -1;
    TRY(get_int(body, name, -1, TOKENS_LIMIT, &from, error));
    if (from < 0)
        return STATUS_OK;
    out->prompt_from = (uint32_t)from;
    out->prompt_logprobs_param = name;
    return STATUS_OK;
}

PARAM_RULE(rule_cache_salt)
{
    if (!json_is_string(value) || json_string_length(value) == 0)
        return api_fail(error, STATUS_INVALID, "cache_salt",
                        "cache_salt must be a string that is not empty");
    out->salt.len = json_string_length(value);
    out->salt.data = arena_strndup(arena, json_string_value(value), out->salt.len);
    return STATUS_OK;
}

PARAM_RULE(rule_sampling_params)
{
    if (!json_is_object(value))
        return api_fail(error, STATUS_INVALID, name, "%s must be an object, not %s", name,
                        json_type_name(value));
    return params_parse_place(value, PLACE_SAMPLING, arena, out, error);
}

/* ---- what the answer must look like ---- */

static enum status set_grammar(struct params *out, enum grammar_kind kind, const json_t *of,
                               const char *name, struct api_error *error)
{
    if (out->grammar_param)
        return api_fail(error, STATUS_INVALID, name, "%s and %s exclude each other", name,
                        out->grammar_param);
    out->grammar = kind;
    out->grammar_of = of;
    out->grammar_param = name;
    return STATUS_OK;
}

PARAM_RULE(rule_response_format)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    if (!type)
        return api_fail(error, STATUS_INVALID, name, "%s must be an object with a type", name);
    if (strcmp(type, "text") == 0)
        return STATUS_OK;
    if (strcmp(type, "json_object") == 0)
        return set_grammar(out, GRAMMAR_OBJECT, NULL, name, error);
    if (strcmp(type, "json_schema") != 0)
        return api_fail(error, STATUS_UNSUPPORTED, name,
                        "%s of type %.40s is not supported: text, json_object and json_schema are",
                        name, type);
    const json_t *inner = json_object_get(value, "json_schema");
    const json_t *schema = json_object_get(inner, "schema");
    if (!json_is_object(inner))
        return api_fail(error, STATUS_INVALID, name, "%s.json_schema must be an object", name);
    return set_grammar(out, schema ? GRAMMAR_SCHEMA : GRAMMAR_OBJECT, schema, name, error);
}

PARAM_RULE(rule_schema)
{
    if (!json_is_object(value) && !json_is_string(value))
        return api_fail(error, STATUS_INVALID, name, "%s must be a schema, not %s", name,
                        json_type_name(value));
    return set_grammar(out, GRAMMAR_SCHEMA, value, name, error);
}

PARAM_RULE(rule_regex)
{
    if (!json_is_string(value))
        return api_fail(error, STATUS_INVALID, name, "%s must be a string, not %s", name,
                        json_type_name(value));
    return set_grammar(out, GRAMMAR_REGEX, value, name, error);
}

PARAM_RULE(rule_choice)
{
    if (json_array_size(value) == 0)
        return api_fail(error, STATUS_INVALID, name, "%s must be a list of strings, at least one",
                        name);
    return set_grammar(out, GRAMMAR_CHOICE, value, name, error);
}

PARAM_RULE(rule_bad_words)
{
    const json_t *item;
    size_t i;
    if (!json_is_array(value))
        return api_fail(error, STATUS_INVALID, name, "%s must be a list of strings", name);
    json_array_foreach(value, i, item)
        if (!json_is_string(item) || json_string_length(item) == 0)
            return api_fail(error, STATUS_INVALID, name, "%s must be a list of strings, none empty",
                            name);
    return i > 0 ? set_grammar(out, GRAMMAR_WITHOUT, value, name, error) : STATUS_OK;
}

PARAM_RULE(rule_allowed_ids)
{
    if (json_array_size(value) == 0)
        return api_fail(error, STATUS_INVALID, name, "%s must be a list of token ids, at least one",
                        name);
    return set_grammar(out, GRAMMAR_IDS, value, name, error);
}

PARAM_RULE(rule_structured_outputs)
{
    static const struct {
        const char *key;
        enum grammar_kind kind;
    } known[] = {{"json", GRAMMAR_SCHEMA}, {"regex", GRAMMAR_REGEX}, {"choice", GRAMMAR_CHOICE}};
    const char *key;
    json_t *item;
    if (!json_is_object(value))
        return api_fail(error, STATUS_INVALID, name, "%s must be an object, not %s", name,
                        json_type_name(value));
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        size_t i = 0;
        while (i < ARRAY_LEN(known) && strcmp(known[i].key, key) != 0)
            i++;
        if (json_is_null(item) || json_is_false(item))
            continue;
        if (i < ARRAY_LEN(known))
            TRY(set_grammar(out, known[i].kind, item, name, error));
        else if (strcmp(key, "json_object") == 0)
            TRY(set_grammar(out, GRAMMAR_OBJECT, NULL, name, error));
        else
            return api_fail(error, STATUS_UNSUPPORTED, name, "%s.%.40s is not supported", name,
                            key);
    }
    return STATUS_OK;
}

/* ---- tools ---- */

PARAM_RULE(rule_tools)
{
    if (!json_is_array(value))
        return api_fail(error, STATUS_INVALID, name, "%s must be a list, not %s", name,
                        json_type_name(value));
    out->tools = value;
    return STATUS_OK;
}

/* {"mode": "auto" or "required", "tools": [{"type": "function", "function": {"name"}}]} */
static enum status allow_tools(const json_t *allowed, const char *name, struct params *out,
                               struct api_error *error)
{
    const char *mode = json_string_value(json_object_get(allowed, "mode"));
    const json_t *tools = json_object_get(allowed, "tools");
    bool required = mode && strcmp(mode, "required") == 0;
    if (!mode || (!required && strcmp(mode, "auto") != 0) || json_array_size(tools) == 0)
        return api_fail(error, STATUS_INVALID, name,
                        "%s.allowed_tools must have a mode, auto or required, and a list of tools",
                        name);
    out->tool_choice = required ? TOOL_REQUIRED : TOOL_AUTO;
    out->allowed_tools = tools;
    return STATUS_OK;
}

PARAM_RULE(rule_tool_choice)
{
    static const char *const words[] = {"auto", "none", "required"};
    const json_t *function = json_object_get(value, "function");
    const char *word = json_string_value(value),
               *type = json_string_value(json_object_get(value, "type"));
    for (size_t i = 0; word && i < ARRAY_LEN(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            out->tool_choice = (enum tool_choice)i;
            return STATUS_OK;
        }
    }
    if (type && strcmp(type, "allowed_tools") == 0)
        return allow_tools(json_object_get(value, "allowed_tools"), name, out, error);
    if (type && strcmp(type, "function") != 0)
        return api_fail(error, STATUS_UNSUPPORTED, name, "%s of type %.40s is not supported", name,
                        type);
    const json_t *wanted = json_object_get(function, "name");
    if (!json_is_string(wanted))
        return api_fail(error, STATUS_INVALID, name,
                        "%s must be auto, none, required, or an object that names a function",
                        name);
    out->tool_choice = TOOL_NAMED;
    out->tool_name = arena_strndup(arena, json_string_value(wanted), json_string_length(wanted));
    return STATUS_OK;
}
