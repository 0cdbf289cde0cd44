#include "router/api/tools.h"

#include <string.h>

#include "common/log.h"
#include "router/grammar/grammar.h"

static bool render(const struct model *model, const json_t *messages, const json_t *tools,
                   bool generate, struct buf *out)
{
    struct chat_render_opts opts = {.add_generation_prompt = generate, .tools = tools};
    struct err err = {.text = ""};
    return chat_template_render(model->tmpl, messages, &opts, out, &err) == STATUS_OK;
}

static bool contains(const struct buf *text, const char *mark)
{
    return text->len > 0 && memmem(text->data, text->len, mark, strlen(mark)) != NULL;
}

static enum tool_format format_of(const struct buf *text)
{
    if (contains(text, "<tool_call>"))
        return TOOLS_HERMES;
    if (contains(text, "[AVAILABLE_TOOLS]") || contains(text, "[TOOL_CALLS]"))
        return TOOLS_MISTRAL;
    return contains(text, "\"parameters\": dictionary") ? TOOLS_LLAMA : TOOLS_NONE;
}

/* Which of Mistral's two forms: as the template writes a call that was made; where it writes none, the
 * newer one's mark in the vocabulary tells. */
static enum tool_format mistral_form(const struct model *model, const json_t *tools)
{
    struct buf text = {0};
    uint32_t id;
    json_t *messages =
        json_pack("[{s:s,s:s},{s:s,s:s,s:[{s:s,s:s,s:{s:s,s:{}}}]}]", "role", "user", "content",
                  "Hi", "role", "assistant", "content", "", "tool_calls", "id", "probe0000", "type",
                  "function", "function", "name", "probe_tool", "arguments");
    bool newer = render(model, messages, tools, false, &text) && contains(&text, "[TOOL_CALLS]")
                     ? contains(&text, "[TOOL_CALLS]probe_tool")
                     : tokenizer_find(model->tokenizer, STR("[ARGS]"), &id);
    json_decref(messages);
    buf_release(&text);
    return newer ? TOOLS_MISTRAL_ARGS : TOOLS_MISTRAL;
}

void tools_probe(struct model *model, uint32_t format, bool thinking)
{
    static const char *const names[] = {"none", "hermes", "llama", "mistral", "mistral-args"};
    uint32_t id;
    struct buf plain = {0}, with = {0};
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "Hi");
    json_t *tools =
        json_pack("[{s:s,s:{s:s,s:s,s:{s:s,s:{}}}}]", "type", "function", "function", "name",
                  "probe_tool", "description", "d", "parameters", "type", "object", "properties");
    if (model->tmpl && render(model, messages, NULL, true, &plain) &&
        render(model, messages, tools, true, &with)) {
        model->takes_tools = contains(&with, "probe_tool");
        model->tools = format_of(&with);
        if (model->tools == TOOLS_MISTRAL)
            model->tools = mistral_form(model, tools);
    }
    if (format > 0)
        model->tools = (enum tool_format)(format - 1);
    model->thinks = thinking && tokenizer_find(model->tokenizer, STR("<think>"), &id);
    LOG_INFO("models", "calls", "model=%s tools=%s taken=%d thinks=%d", model->name,
             names[model->tools], model->takes_tools, model->thinks);
    json_decref(messages);
    json_decref(tools);
    buf_release(&plain);
    buf_release(&with);
}

static enum status check_list(const json_t *tools, struct api_error *error)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i),
                     *function = json_object_get(tool, "function");
        const char *type = json_string_value(json_object_get(tool, "type"));
        const json_t *parameters = json_object_get(function, "parameters");
        if (type && strcmp(type, "function") != 0)
            return api_fail(error, STATUS_UNSUPPORTED, "tools",
                            "tools[%zu] is of type %.40s: only function is supported", i, type);
        if (!type || !json_is_string(json_object_get(function, "name")))
            return api_fail(error, STATUS_INVALID, "tools",
                            "tools[%zu] must have a type and a function with a name", i);
        if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
            return api_fail(error, STATUS_INVALID, "tools",
                            "tools[%zu].function.parameters must be a schema", i);
    }
    return STATUS_OK;
}

static const char *name_of(const json_t *tool)
{
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static bool has_tool(const json_t *tools, const char *name)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        if (strcmp(name_of(json_array_get(tools, i)), name) == 0)
            return true;
    }
    return false;
}

enum status tools_allow(json_t *body, struct params *params, struct api_error *error)
{
    const json_t *allowed = params->allowed_tools;
    if (!allowed)
        return STATUS_OK;
    TRY(check_list(params->tools, error));
    for (size_t i = 0; i < json_array_size(allowed); i++) {
        const char *name = name_of(json_array_get(allowed, i));
        if (!name || !has_tool(params->tools, name))
            return api_fail(error, STATUS_INVALID, "tool_choice",
                            "tool_choice allows %.100s, which is none of the tools",
                            name ? name : "something without a function's name");
    }
    json_t *left = json_array();
    for (size_t i = 0; i < json_array_size(params->tools); i++) {
        json_t *tool = json_array_get(params->tools, i);
        for (size_t k = 0; k < json_array_size(allowed); k++) {
            if (strcmp(name_of(tool), name_of(json_array_get(allowed, k))) != 0)
                continue;
            json_array_append(left, tool);
            break;
        }
    }
    params->tools = left;
    json_object_set_new(body, "tools", left);
    return STATUS_OK;
}

enum status tools_check(const struct params *params, const struct model *model,
                        struct api_error *error)
{
    TRY(check_list(params->tools, error));
    if (params->tool_choice >= TOOL_REQUIRED && json_array_size(params->tools) == 0)
        return api_fail(error, STATUS_INVALID, "tool_choice",
                        "tool_choice asks for a call, and there are no tools");
    if (params->tool_choice == TOOL_NAMED && !has_tool(params->tools, params->tool_name))
        return api_fail(error, STATUS_INVALID, "tool_choice",
                        "tool_choice names %.100s, which is none of the tools", params->tool_name);
    if (params->tool_choice == TOOL_AUTO && json_array_size(params->tools) > 0 &&
        !model->takes_tools)
        return api_fail(
            error, STATUS_UNSUPPORTED, "tools",
            "tools are not supported by the chat template of %s; tool_choice required, or a "
            "function by name, is",
            model->name);
    return STATUS_OK;
}

/* A model that knows no format is made to write the commonest. */
static enum tool_format format_for(const struct params *params, const struct model *model)
{
    return params->tool_choice >= TOOL_REQUIRED && model->tools == TOOLS_NONE ? TOOLS_HERMES
                                                                              : model->tools;
}

/* The newer form of Mistral's has no quotes around a name. */
static enum status names_fit(const struct grammar_tools *want, struct err *err)
{
    for (size_t i = 0; i < json_array_size(want->tools); i++) {
        const json_t *function = json_object_get(json_array_get(want->tools, i), "function"),
                     *name = json_object_get(function, "name");
        struct str text = {json_string_value(name), json_string_length(name)};
        if ((!want->only || strcmp(text.data, want->only) == 0) && !answer_name_fits(text))
            return err_set(err, STATUS_UNSUPPORTED,
                           "the model's form of a call cannot hold the name of tools[%zu]", i);
    }
    return STATUS_OK;
}

enum status tools_grammar(const struct params *params, const struct model *model, struct buf *out,
                          struct err *err)
{
    bool several = params->parallel_calls && params->tool_choice == TOOL_REQUIRED;
    struct grammar_tools want = {
        .tools = params->tools,
        .only = params->tool_choice == TOOL_NAMED ? params->tool_name : NULL,
        .name_key = "name",
        .arguments_key = "arguments",
        .parallel = several,
    };
    switch (format_for(params, model)) {
    case TOOLS_LLAMA: /* one call at a time is what these models know */
        want.arguments_key = "parameters";
        want.parallel = false;
        want.begin = want.end = want.between = STR("");
        break;
    case TOOLS_MISTRAL:
        want.begin = STR("[");
        want.end = STR("]");
        want.between = STR(", ");
        break;
    case TOOLS_MISTRAL_ARGS: /* a grammar spells no special token: the marks come as letters */
        TRY(names_fit(&want, err));
        want.behind_name = STR("[ARGS]");
        want.begin = want.end = STR("");
        want.between = STR("[TOOL_CALLS]");
        break;
    default:
        want.begin = STR("<tool_call>\n");
        want.end = STR("\n</tool_call>");
        want.between = STR("\n</tool_call>\n<tool_call>\n");
    }
    return grammar_from_tools(&want, out, err);
}

static bool ends_with(struct str text, const char *end)
{
    size_t len = strlen(end);
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == ' '))
        text.len--;
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

bool tools_answer_opts(const struct params *params, const struct model *model, struct str prompt,
                       struct answer_opts *out)
{
    bool forced = params->tool_choice >= TOOL_REQUIRED;
    bool bound = params->grammar != GRAMMAR_NONE && params->grammar != GRAMMAR_WITHOUT &&
                 params->grammar != GRAMMAR_IDS;
    /* What a schema or an expression binds is no call, even if it looks like one of llama's. */
    bool tools =
        json_array_size(params->tools) > 0 && params->tool_choice != TOOL_OFF && (forced || !bound);
    enum tool_format format = tools ? format_for(params, model) : TOOLS_NONE;
    *out = (struct answer_opts){
        .format = format,
        .reasoning = model->thinks && params->separate_reasoning && !bound,
        .thinking =
            model->thinks && params->separate_reasoning && !bound && ends_with(prompt, "<think>"),
        .forced = forced,
        .calling = forced && tools_mistral(format),
        .one_call = !params->parallel_calls,
    };
    return params->kind == API_CHAT && (format != TOOLS_NONE || out->reasoning);
}

void tools_keep_marks(const struct model *model, const struct answer_opts *opts,
                      struct detokenizer *detokenizer)
{
    static const char *const think[] = {"<think>", "</think>", NULL};
    static const char *const tools[][4] = {
        [TOOLS_NONE] = {NULL},
        [TOOLS_HERMES] = {"<tool_call>", "</tool_call>"},
        [TOOLS_LLAMA] = {"<|python_tag|>"},
        [TOOLS_MISTRAL] = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"},
        [TOOLS_MISTRAL_ARGS] = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"},
    };
    const char *const *lists[] = {opts->reasoning ? think : tools[TOOLS_NONE], tools[opts->format]};
    uint32_t id;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (const char *const *mark = lists[i]; *mark; mark++)
            if (tokenizer_find(model->tokenizer, (struct str){*mark, strlen(*mark)}, &id))
                detokenizer_keep(detokenizer, id);
}
