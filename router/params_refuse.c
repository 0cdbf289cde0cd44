#include "router/params.h"

#include <string.h>

/* Which values of a field ask for nothing, so that it may stand there. */
enum harmless {
    HARMLESS_NONE,   /* null only */
    HARMLESS_FALSE,  /* null, false */
    HARMLESS_ZERO,   /* null, 0 */
    HARMLESS_ONE,    /* null, 1 */
    HARMLESS_EMPTY,  /* null, "", [], {} */
    HARMLESS_TEXT,   /* null, {"type": "text"} */
    HARMLESS_MODES,  /* null, ["text"] */
    HARMLESS_CHOICE, /* null, "auto", "none" */
};

struct refused {
    const char *name;
    enum harmless harmless;
    bool chat, completions; /* where the field is known */
};

static const struct refused table[] = {
    {"logprobs", HARMLESS_FALSE, true, true},
    {"top_logprobs", HARMLESS_ZERO, true, true},
    {"prompt_logprobs", HARMLESS_FALSE, true, true},
    {"logit_bias", HARMLESS_EMPTY, true, true},
    {"presence_penalty", HARMLESS_ZERO, true, true},
    {"frequency_penalty", HARMLESS_ZERO, true, true},
    {"repetition_penalty", HARMLESS_ONE, true, true},
    {"length_penalty", HARMLESS_ONE, true, true},
    {"best_of", HARMLESS_ONE, true, true},
    {"use_beam_search", HARMLESS_FALSE, true, true},
    {"response_format", HARMLESS_TEXT, true, true},
    {"structured_outputs", HARMLESS_NONE, true, true},
    {"guided_json", HARMLESS_NONE, true, true},
    {"guided_regex", HARMLESS_NONE, true, true},
    {"guided_choice", HARMLESS_NONE, true, true},
    {"guided_grammar", HARMLESS_NONE, true, true},
    {"allowed_token_ids", HARMLESS_EMPTY, true, true},
    {"bad_words", HARMLESS_EMPTY, true, true},
    {"truncate_prompt_tokens", HARMLESS_NONE, true, true},
    {"return_token_ids", HARMLESS_FALSE, true, true},
    {"return_tokens_as_token_ids", HARMLESS_FALSE, true, true},
    {"suffix", HARMLESS_EMPTY, false, true},
    {"tool_choice", HARMLESS_CHOICE, true, false},
    {"functions", HARMLESS_EMPTY, true, false},
    {"function_call", HARMLESS_CHOICE, true, false},
    {"modalities", HARMLESS_MODES, true, false},
    {"audio", HARMLESS_NONE, true, false},
    {"prediction", HARMLESS_NONE, true, false},
    {"web_search_options", HARMLESS_NONE, true, false},
    {"reasoning_effort", HARMLESS_NONE, true, false},
    {"verbosity", HARMLESS_NONE, true, false},
    {"documents", HARMLESS_EMPTY, true, false},
    {"chat_template", HARMLESS_NONE, true, false},
};

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
    if (json_is_null(value))
        return true;
    switch (harmless) {
    case HARMLESS_NONE:
        return false;
    case HARMLESS_FALSE:
        return json_is_false(value);
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
    case HARMLESS_CHOICE:
        return is_text(value, "auto") || is_text(value, "none");
    }
    return false;
}

enum status params_refuse(const json_t *body, enum api_kind kind, struct api_error *error)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct refused *row = &table[i];
        if (!(kind == API_CHAT ? row->chat : row->completions))
            continue;
        const json_t *value = json_object_get(body, row->name);
        if (value && !is_harmless(value, row->harmless))
            return api_fail(error, STATUS_UNSUPPORTED, row->name,
                            "%s is not supported by this server with this value", row->name);
    }
    return STATUS_OK;
}
