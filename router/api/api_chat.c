/* Chat messages to a prompt: checked, put into the shape that templates expect, rendered. */
#include "router/api/prompt.h"

#include <string.h>

#include "common/mem.h"
#include "router/api/tools.h"

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function"};

static bool known_role(const char *role)
{
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (strcmp(role, roles[i]) == 0)
            return true;
    }
    return false;
}

/* Under which key a part of this type has its text; NULL: it is something else. */
static const char *text_key(const char *type)
{
    return strcmp(type, "text") == 0 || strcmp(type, "refusal") == 0 ? type : NULL;
}

/* A list of text parts becomes one string, parts on lines of their own, as vLLM does. */
static enum status join_parts(const json_t *parts, size_t at, struct buf *out,
                              struct api_error *error)
{
    size_t i;
    const json_t *part;
    json_array_foreach(parts, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!json_is_object(part) || !type)
            return api_fail(error, STATUS_INVALID, "messages",
                            "messages[%zu].content[%zu] must be an object with a type", at, i);
        const char *key = text_key(type);
        const json_t *text = key ? json_object_get(part, key) : NULL;
        if (!key)
            return api_fail(
                error, STATUS_UNSUPPORTED, "messages",
                "messages[%zu].content[%zu] is of type %.40s: this model reads text only", at, i,
                type);
        if (!json_is_string(text))
            return api_fail(error, STATUS_INVALID, "messages",
                            "messages[%zu].content[%zu].%s must be a string, not %s", at, i, key,
                            json_type_name(text));
        if (i > 0)
            buf_char(out, '\n');
        buf_append(out, json_string_value(text), json_string_length(text));
    }
    return STATUS_OK;
}

/* `arguments` comes as JSON text; templates want the object. */
static void open_arguments(json_t *calls)
{
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        json_t *function = json_object_get(call, "function");
        const json_t *text = json_object_get(function, "arguments");
        if (!json_is_string(text))
            continue;
        json_t *object =
            json_loadb(json_string_value(text), json_string_length(text), JSON_ALLOW_NUL, NULL);
        if (json_is_object(object))
            json_object_set_new(function, "arguments", object);
        else
            json_decref(object);
    }
}

static enum status fix_content(json_t *message, size_t at, const char *role,
                               struct api_error *error)
{
    json_t *content = json_object_get(message, "content");
    if (json_is_string(content))
        return STATUS_OK;
    if (!content || json_is_null(content)) {
        if (strcmp(role, "assistant") != 0)
            return api_fail(error, STATUS_INVALID, "messages", "messages[%zu].content is missing",
                            at);
        json_t *refusal = json_object_get(message, "refusal");
        json_object_set_new(message, "content",
                            json_is_string(refusal) ? json_incref(refusal) : json_string(""));
        return STATUS_OK;
    }
    if (!json_is_array(content))
        return api_fail(error, STATUS_INVALID, "messages",
                        "messages[%zu].content must be a string or a list of parts, not %s", at,
                        json_type_name(content));
    struct buf text = {0};
    enum status status = join_parts(content, at, &text, error);
    if (status == STATUS_OK)
        json_object_set_new(message, "content",
                            json_stringn_nocheck(text.data ? text.data : "", text.len));
    buf_release(&text);
    return status;
}

static enum status fix_message(json_t *message, size_t at, struct api_error *error)
{
    if (!json_is_object(message))
        return api_fail(error, STATUS_INVALID, "messages",
                        "messages[%zu] must be an object, not %s", at, json_type_name(message));
    json_t *role = json_object_get(message, "role");
    if (!json_is_string(role))
        return api_fail(error, STATUS_INVALID, "messages", "messages[%zu].role is missing", at);
    if (!known_role(json_string_value(role)))
        return api_fail(error, STATUS_INVALID, "messages", "messages[%zu].role is unknown: %.40s",
                        at, json_string_value(role));
    TRY(fix_content(message, at, json_string_value(role), error));
    if (strcmp(json_string_value(role), "developer") == 0) /* the API's newer name for system */
        json_object_set_new(message, "role", json_string("system"));
    const json_t *old = json_object_get(message, "function_call");
    json_t *calls = json_object_get(message, "tool_calls");
    if (old && !json_is_null(old)) /* templates would leave it out */
        return api_fail(error, STATUS_UNSUPPORTED, "messages",
                        "messages[%zu].function_call is not supported: give it as tool_calls", at);
    if (json_is_null(calls))
        json_object_del(message, "tool_calls");
    else if (json_is_array(calls))
        open_arguments(calls);
    else if (calls)
        return api_fail(error, STATUS_INVALID, "messages",
                        "messages[%zu].tool_calls must be a list, not %s", at,
                        json_type_name(calls));
    return STATUS_OK;
}

static enum status fix_messages(const json_t *body, json_t **out, struct api_error *error)
{
    json_t *messages = json_object_get(body, "messages");
    if (!messages || json_is_null(messages))
        return api_fail(error, STATUS_INVALID, "messages", "messages is missing");
    if (!json_is_array(messages))
        return api_fail(error, STATUS_INVALID, "messages", "messages must be a list, not %s",
                        json_type_name(messages));
    if (json_array_size(messages) == 0)
        return api_fail(error, STATUS_INVALID, "messages", "messages is empty");
    for (size_t i = 0; i < json_array_size(messages); i++)
        TRY(fix_message(json_array_get(messages, i), i, error));
    *out = messages;
    return STATUS_OK;
}

static void set_default(json_t *kwargs, const char *name, json_t *value)
{
    if (json_object_get(kwargs, name))
        json_decref(value);
    else
        json_object_set_new(kwargs, name, value);
}

/* What the API has as parameters and templates as variables: behind the caller's own in *kwargs. A
 * template that reads none of them would drop the parameter in silence. */
static enum status add_variables(const json_t *body, const struct model *model, json_t *kwargs,
                                 struct api_error *error)
{
    json_t *documents = json_object_get(body, "documents");
    json_t *effort = json_object_get(body, "reasoning_effort");
    if (json_array_size(documents) > 0) {
        if (!chat_template_mentions(model->tmpl, "documents"))
            return api_fail(error, STATUS_UNSUPPORTED, "documents",
                            "documents: the chat template of model %s reads none", model->name);
        set_default(kwargs, "documents", json_incref(documents));
    } else if (documents && !json_is_null(documents) && !json_is_array(documents)) {
        return api_fail(error, STATUS_INVALID, "documents", "documents must be a list, not %s",
                        json_type_name(documents));
    }
    if (!effort || json_is_null(effort))
        return STATUS_OK;
    if (!json_is_string(effort) && !json_is_number(effort))
        return api_fail(error, STATUS_INVALID, "reasoning_effort",
                        "reasoning_effort must be a string, not %s", json_type_name(effort));
    bool thinks = !json_is_string(effort) || strcmp(json_string_value(effort), "none") != 0;
    if (!chat_template_mentions(model->tmpl, "reasoning_effort") &&
        !chat_template_mentions(model->tmpl, "thinking"))
        return !thinks && !model->thinks
                   ? STATUS_OK /* and it does not anyway */
                   : api_fail(error, STATUS_UNSUPPORTED, "reasoning_effort",
                              "reasoning_effort: the chat template of model %s knows no such thing",
                              model->name);
    set_default(kwargs, "reasoning_effort", json_incref(effort));
    set_default(kwargs, "enable_thinking", json_boolean(thinks));
    set_default(kwargs, "thinking", json_boolean(thinks));
    return STATUS_OK;
}

/* opts->kwargs is a new reference. */
static enum status read_opts(const json_t *body, const struct model *model,
                             const struct params *params, struct chat_render_opts *opts,
                             struct api_error *error)
{
    opts->continue_final_message = params->continue_final;
    opts->add_generation_prompt =
        params->generation_prompt < 0 ? !params->continue_final : params->generation_prompt;
    const json_t *kwargs = json_object_get(body, "chat_template_kwargs");
    if (kwargs && !json_is_null(kwargs) && !json_is_object(kwargs))
        return api_fail(error, STATUS_INVALID, "chat_template_kwargs",
                        "chat_template_kwargs must be an object, not %s", json_type_name(kwargs));
    bool off = params->tool_choice == TOOL_OFF;
    opts->tools = json_array_size(params->tools) > 0 && !off ? params->tools : NULL;
    json_t *variables =
        json_is_object(kwargs) ? json_copy((json_t *)(uintptr_t)kwargs) : json_object();
    opts->kwargs = variables;
    return add_variables(body, model, variables, error);
}

enum status prompts_chat(const json_t *body, struct model *model, const struct params *params,
                         struct prompts *out, struct api_error *error)
{
    json_t *messages = NULL;
    struct chat_render_opts opts = {.add_generation_prompt = true};
    struct buf text = {0};
    enum status status = STATUS_OK;
    if (!model->tmpl)
        return api_fail(error, STATUS_UNSUPPORTED, "messages",
                        "model %s has no chat template: use /v1/completions", model->name);
    TRY(tools_check(params, model, error));
    TRY(fix_messages(body, &messages, error));
    TRY_OUT(read_opts(body, model, params, &opts, error));
    out->items = mem_array(1, sizeof(*out->items));
    out->count = 1;
    status = chat_template_render(model->tmpl, messages, &opts, &text, &error->err);
    if (status != STATUS_OK) {
        error->param = "messages";
        goto out;
    }
    status = model_encode(model, (struct str){text.data, text.len}, params->add_special == 1,
                          &out->items[0].tokens, &error->err);
    prompt_truncate(&out->items[0], model, params);
    out->items[0].parses =
        tools_answer_opts(params, model, (struct str){text.data, text.len}, &out->items[0].answer);
    if (status == STATUS_OK && out->items[0].tokens.count == 0)
        status = api_fail(error, STATUS_INVALID, "messages", "messages make an empty prompt");
out:
    json_decref((json_t *)(uintptr_t)opts.kwargs);
    buf_release(&text);
    return status;
}
