#include "router/api/params.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"
#include "router/api/params_table.h"

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

static bool is_empty(const json_t *value)
{
    return (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_harmless(const json_t *value, enum harmless harmless)
{
    switch (harmless) {
    case HARMLESS_NONE:
        return false;
    case HARMLESS_FALSE:
        return json_is_false(value);
    case HARMLESS_TRUE:
        return json_is_true(value);
    case HARMLESS_ZERO:
        return json_is_number(value) && json_number_value(value) == 0.0;
    case HARMLESS_ONE:
        return json_is_number(value) && json_number_value(value) == 1.0;
    case HARMLESS_EMPTY:
        return is_empty(value);
    case HARMLESS_TEXT:
        return is_text(json_object_get(value, "type"), "text");
    case HARMLESS_MODES:
        return json_array_size(value) == 1 && is_text(json_array_get(value, 0), "text");
    case HARMLESS_MINUS:
        return json_is_integer(value) && json_integer_value(value) == -1;
    case HARMLESS_CHOICE:
        return is_text(value, "auto") || is_text(value, "none");
    case HARMLESS_TIER:
        return is_text(value, "auto") || is_text(value, "default");
    case HARMLESS_MEDIUM:
        return is_text(value, "medium");
    }
    return false;
}

/* A plain number or bool into its place in *out. */
static enum status parse_plain(const struct param *row, const json_t *body, struct params *out,
                               struct err *err)
{
    void *at = (char *)out + row->offset;
    int64_t whole = 0;
    double real = 0;
    switch (row->kind) {
    case PARAM_BOOL:
        return json_get_bool(body, row->name, at, err);
    case PARAM_F32:
        TRY(json_get_number(body, row->name, row->min, row->max, &real, err));
        *(float *)at = (float)real;
        return STATUS_OK;
    default:
        TRY(json_get_int(body, row->name, (int64_t)row->min, (int64_t)row->max, &whole, err));
        if (row->kind == PARAM_I32)
            *(int32_t *)at = (int32_t)whole;
        else
            *(uint32_t *)at = (uint32_t)whole;
        return STATUS_OK;
    }
}

static enum status parse_row(const struct param *row, const json_t *body, struct arena *arena,
                             struct params *out, struct api_error *error)
{
    const json_t *value = json_object_get(body, row->name);
    if (!value || json_is_null(value))
        return STATUS_OK;
    switch (row->kind) {
    case PARAM_ELSEWHERE:
    case PARAM_NOTED:
        return STATUS_OK;
    case PARAM_REFUSED:
        if (is_harmless(value, row->harmless))
            return STATUS_OK;
        return api_fail(error, STATUS_UNSUPPORTED, row->name,
                        "%s is not supported by this server%s%s%s", row->name,
                        row->harmless == HARMLESS_NONE ? "" : " with this value",
                        row->text[0] ? ": " : "", row->text);
    case PARAM_CUSTOM:
        return row->parse(body, row->name, value, arena, out, error);
    default:
        if (parse_plain(row, body, out, &error->err) != STATUS_OK) {
            error->param = row->name;
            return error->err.status;
        }
        return STATUS_OK;
    }
}

static bool known(const char *name, enum param_place place)
{
    for (size_t i = 0; i < params_table_count; i++)
        if (params_table[i].name[0] == name[0] && (params_table[i].places & place) &&
            strcmp(params_table[i].name, name) == 0)
            return true;
    return false;
}

/* A misspelt parameter must not pass for a honoured one. */
static enum status refuse_unknown(const json_t *body, enum param_place place, struct arena *arena,
                                  struct api_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, name, value) {
        if (known(name, place))
            continue;
        size_t len = MIN(strlen(name), (size_t)100);
        while (len > 0 && !utf8_valid(name, len))
            len--;
        const char *param = arena_strndup(arena, name, len);
        return api_fail(error, STATUS_UNSUPPORTED, param, "%s is not a parameter of this call",
                        param);
    }
    return STATUS_OK;
}

enum status params_parse_place(const json_t *body, enum param_place place, struct arena *arena,
                               struct params *out, struct api_error *error)
{
    if (!out->ignore_unknown)
        TRY(refuse_unknown(body, place, arena, error));
    for (size_t i = 0; i < params_table_count; i++)
        if (params_table[i].places & place)
            TRY(parse_row(&params_table[i], body, arena, out, error));
    return STATUS_OK;
}

/* What no single row can say. */
static enum status check_together(struct params *out, struct api_error *error)
{
    if (out->tokens_none && !out->echo)
        return api_fail(error, STATUS_INVALID, out->tokens_none, "%s must be at least 1",
                        out->tokens_none);
    if (out->tokens_max > 0 && out->tokens_min > out->tokens_max)
        return api_fail(error, STATUS_INVALID, "min_tokens",
                        "min_tokens (%u) is above max_tokens (%u)", out->tokens_min,
                        out->tokens_max);
    if (out->stream_options && !out->stream)
        return api_fail(error, STATUS_INVALID, "stream_options",
                        "stream_options is only allowed together with stream");
    if (out->top_logprobs > 0 && out->logprobs == 0)
        return api_fail(error, STATUS_INVALID, "top_logprobs", "top_logprobs needs logprobs");
    if (out->continue_final && out->generation_prompt == 1)
        return api_fail(error, STATUS_INVALID, "continue_final_message",
                        "continue_final_message and add_generation_prompt exclude each other");
    if (out->tool_choice >= TOOL_REQUIRED) {
        if (out->grammar_param)
            return api_fail(error, STATUS_INVALID, "tool_choice",
                            "tool_choice and %s exclude each other", out->grammar_param);
        out->grammar = GRAMMAR_TOOLS;
        out->grammar_param = "tool_choice";
    }
    if (out->prompt_logprobs > 0 && out->stream && out->kind != API_GENERATE)
        return api_fail(error, STATUS_INVALID, "prompt_logprobs",
                        "prompt_logprobs is not allowed together with stream");
    bool endless = out->ignore_eos && out->grammar != GRAMMAR_IDS;
    if (out->grammar_param && (endless || out->tokens_min > 0))
        return api_fail(error, STATUS_UNSUPPORTED, endless ? "ignore_eos" : "min_tokens",
                        "%s does not go with %s", endless ? "ignore_eos" : "min_tokens",
                        out->grammar_param);
    out->logprobs += out->top_logprobs;
    return STATUS_OK;
}

enum status params_parse(const json_t *body, enum api_kind kind, struct arena *arena,
                         struct params *out, struct api_error *error)
{
    static const enum param_place place_of[] = {[API_CHAT] = PLACE_CHAT,
                                                [API_COMPLETIONS] = PLACE_COMPLETIONS,
                                                [API_GENERATE] = PLACE_GENERATE,
                                                [API_TOKENIZE] = PLACE_TOKENIZE,
                                                [API_DETOKENIZE] = PLACE_DETOKENIZE};
    out->kind = kind;
    out->n = 1;
    out->skip_special = out->parallel_calls = true;
    out->separate_reasoning = out->include_reasoning = true;
    out->add_special = out->generation_prompt = -1;
    if (kind == API_GENERATE) {
        out->plain_events = json_object_get(body, "prompt") != NULL;
        out->stream = out->plain_events; /* what each of the two does unasked */
    }
    TRY(params_parse_place(body, place_of[kind], arena, out, error));
    if (out->want_logprobs)
        out->logprobs = 1;
    TRY(check_together(out, error));
    if (kind == API_GENERATE) /* its logprob_start_len says nothing alone */
        out->prompt_logprobs = out->prompt_logprobs_param ? out->logprobs : 0;
    return STATUS_OK;
}

const char *params_needs(const struct params *params, enum feature feature)
{
    const struct sampling *sampling = &params->sampling;
    switch (feature) {
    case FEATURE_ADJUST:
        return sampling->presence_penalty != 0     ? "presence_penalty"
               : sampling->frequency_penalty != 0  ? "frequency_penalty"
               : sampling->repetition_penalty != 1 ? "repetition_penalty"
               : params->bias_count > 0            ? "logit_bias"
               : params->tokens_min > 0            ? "min_tokens"
                                                   : NULL;
    case FEATURE_LOGPROBS:
        return params->logprobs > 0 ? "logprobs" : params->prompt_logprobs_param;
    case FEATURE_GRAMMAR:
        return params->grammar_param;
    }
    return NULL;
}
