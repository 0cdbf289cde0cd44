/* Where a folder's template lies, which variables it sees, and what is done to the messages before
 * and to the text after: as transformers' apply_chat_template, and vLLM for lists of text parts and
 * for tool calls whose arguments are JSON text. */
#include "router/text/chat_template.h"

#include <string.h>

#include "common/file.h"
#include "common/mem.h"
#include "router/jinja/jinja.h"
#include "router/jinja/text.h"

#define CONFIG_BYTES_MAX ((size_t)64 << 20)
#define VARS_MAX         128
#define CONTINUE_TAG     "CONTINUE_FINAL_MESSAGE_TAG "

static const char *const special_tokens[] = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
};

struct chat_template {
    struct jinja_template *main;
    struct jinja_template *tools; /* used instead when tools are given; may be NULL */
    json_t *tokens;               /* bos_token, eos_token, ... */
    bool parts;                   /* main loops over a message's content: keep lists of parts */
    bool tools_parts;
};

void chat_template_free(struct chat_template *tmpl)
{
    if (!tmpl)
        return;
    jinja_free(tmpl->main);
    jinja_free(tmpl->tools);
    json_decref(tmpl->tokens);
    mem_free(tmpl);
}

enum status chat_template_compile(struct str source, struct chat_template **out, struct err *err)
{
    struct chat_template *tmpl;
    struct jinja_template *compiled;

    *out = NULL;
    TRY(jinja_compile(source, &compiled, err));
    tmpl = mem_zalloc(sizeof(*tmpl));
    tmpl->main = compiled;
    tmpl->parts = jinja_loops_over(compiled, "content");
    tmpl->tokens = json_object();
    *out = tmpl;
    return STATUS_OK;
}

bool chat_template_mentions(const struct chat_template *tmpl, const char *name)
{
    return jinja_mentions(tmpl->main, name) || (tmpl->tools && jinja_mentions(tmpl->tools, name));
}

static enum status set_tools(struct chat_template *tmpl, struct str source, struct err *err)
{
    TRY(jinja_compile(source, &tmpl->tools, err));
    tmpl->tools_parts = jinja_loops_over(tmpl->tools, "content");
    return STATUS_OK;
}

static struct str json_str(const json_t *string)
{
    return (struct str){json_string_value(string), json_string_length(string)};
}

/* The template of this name in the list [{name, template}], or NULL. */
static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    const json_t *item;

    json_array_foreach(list, i, item) {
        const json_t *text = json_object_get(item, "template");
        const char *key = json_string_value(json_object_get(item, "name"));
        if (key && strcmp(key, name) == 0 && json_is_string(text))
            return text;
    }
    return NULL;
}

static enum status from_config(const json_t *config, struct chat_template **out, struct err *err)
{
    const json_t *value = json_object_get(config, "chat_template"), *tools = NULL;
    enum status status;

    if (json_is_array(value)) {
        tools = named(value, "tool_use");
        value = named(value, "default");
        if (!value)
            return err_set(err, STATUS_NOT_FOUND,
                           "chat_template in tokenizer_config.json has no 'default' template");
    }
    if (!value || json_is_null(value))
        return err_set(err, STATUS_NOT_FOUND, "the model folder has no chat template");
    if (!json_is_string(value))
        return err_set(err, STATUS_INVALID,
                       "chat_template in tokenizer_config.json must be a string or a list");
    TRY(chat_template_compile(json_str(value), out, err));
    if (!tools)
        return STATUS_OK;
    status = set_tools(*out, json_str(tools), err);
    if (status != STATUS_OK) {
        chat_template_free(*out);
        *out = NULL;
    }
    return status;
}

/* A special token is a string, or an object whose "content" is one. */
static void set_tokens(struct chat_template *tmpl, const json_t *config)
{
    for (size_t i = 0; i < ARRAY_LEN(special_tokens); i++) {
        json_t *token = json_object_get(config, special_tokens[i]);
        if (json_is_object(token))
            token = json_object_get(token, "content");
        if (json_is_string(token))
            CHECK(json_object_set(tmpl->tokens, special_tokens[i], token) == 0);
    }
}

/* Numbers are read as reals: some folders give model_max_length as 10^30, and none matters here. */
static enum status read_config(const char *path, json_t **out, struct err *err)
{
    struct buf text = {0};
    json_error_t error;
    enum status status;

    TRY_OUT(file_read(path, CONFIG_BYTES_MAX, &text, err));
    *out = json_loadb(text.data ? text.data : "", text.len,
                      JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (!*out)
        status = err_set(err, STATUS_CORRUPT, "%s: not valid JSON: %s (line %d)", path, error.text,
                         error.line);
    else if (!json_is_object(*out))
        status = err_set(err, STATUS_INVALID, "%s is not a JSON object", path);
out:
    buf_release(&text);
    return status;
}

enum status chat_template_load(const char *dir, struct chat_template **out, struct err *err)
{
    char *config_path = path_join(dir, "tokenizer_config.json");
    char *jinja_path = path_join(dir, "chat_template.jinja");
    struct buf source = {0};
    json_t *config = NULL;
    enum status status = STATUS_OK;

    *out = NULL;
    if (file_exists(config_path))
        TRY_OUT(read_config(config_path, &config, err));
    if (file_exists(jinja_path)) {
        TRY_OUT(file_read(jinja_path, JINJA_SOURCE_BYTES_MAX, &source, err));
        TRY_OUT(chat_template_compile((struct str){source.data, source.len}, out, err));
    } else {
        TRY_OUT(from_config(config, out, err));
    }
    if (config)
        set_tokens(*out, config);
out:
    if (status != STATUS_OK)
        err_prefix(err, status, "%s", dir);
    json_decref(config);
    buf_release(&source);
    mem_free(config_path);
    mem_free(jinja_path);
    return status;
}

/* ---- messages */

/* The content's text parts joined by newlines, or NULL when it is no list of text parts alone. */
static json_t *join_parts(const json_t *content)
{
    struct buf text = {0};
    json_t *joined = NULL;
    const json_t *part;
    size_t i;

    json_array_foreach(content, i, part) {
        const json_t *type = json_object_get(part, "type"), *words = json_object_get(part, "text");
        if ((type && strcmp(json_string_value(type) ? json_string_value(type) : "", "text") != 0) ||
            !json_is_string(words))
            goto out;
        if (i)
            buf_char(&text, '\n');
        buf_append(&text, json_string_value(words), json_string_length(words));
    }
    joined = json_stringn(text.data ? text.data : "", text.len);
out:
    buf_release(&text);
    return joined;
}

/* Arguments that are JSON text become the object: that is what templates are written for. */
static json_t *parse_arguments(const json_t *calls)
{
    json_t *copy = NULL;
    size_t count = json_array_size(calls);

    for (size_t i = 0; i < count; i++) {
        const json_t *function = json_object_get(json_array_get(calls, i), "function");
        const json_t *text = json_object_get(function, "arguments");
        json_t *object;
        if (!json_is_string(text))
            continue;
        object =
            json_loadb(json_string_value(text), json_string_length(text), JSON_ALLOW_NUL, NULL);
        if (json_is_object(object)) {
            if (!copy)
                copy = json_deep_copy(calls);
            CHECK(json_object_set(json_object_get(json_array_get(copy, i), "function"), "arguments",
                                  object) == 0);
        }
        json_decref(object);
    }
    return copy;
}

/* A message's reasoning goes by three names; a template that reads any of them finds it. Gives back the
 * message, or in its place one with "thinking" in front: what dumps it sees the members' order. */
static json_t *alias_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *reasoning = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names) && (!reasoning || json_is_null(reasoning)); i++)
        reasoning = json_object_get(message, names[i]);
    if (!reasoning || json_is_null(reasoning))
        return message;
    json_t *aliased = json_object();
    CHECK(json_object_set(aliased, "thinking", reasoning) == 0);
    CHECK(json_object_update(aliased, message) == 0);
    CHECK(json_object_set(aliased, "reasoning_content", reasoning) == 0);
    json_decref(message);
    return aliased;
}

/* The messages as the template sees them. Only the outer objects are copied; what is inside them is
 * shared with the request and not changed. */
static enum status prepare(const json_t *messages, bool parts, json_t **out, struct err *err)
{
    const json_t *from;
    size_t i;

    if (!json_is_array(messages))
        return err_set(err, STATUS_INVALID, "'messages' must be an array");
    *out = json_array();
    json_array_foreach(messages, i, from) {
        json_t *message, *content, *calls;
        if (!json_is_object(from))
            return err_set(err, STATUS_INVALID, "messages[%zu] must be an object", i);
        message = alias_reasoning(json_copy((json_t *)(uintptr_t)from));
        CHECK(message && json_array_append_new(*out, message) == 0);
        content = json_object_get(message, "content");
        if (json_is_array(content) && !parts) {
            json_t *text = join_parts(content);
            if (text)
                CHECK(json_object_set_new(message, "content", text) == 0);
        }
        calls = parse_arguments(json_object_get(message, "tool_calls"));
        if (calls)
            CHECK(json_object_set_new(message, "tool_calls", calls) == 0);
    }
    return STATUS_OK;
}

/* ---- continue_final_message: a tag behind the last message's text shows where to cut */

static json_t *tagged(const json_t *text)
{
    struct buf buf = {0};
    json_t *result;

    buf_append(&buf, json_string_value(text), json_string_length(text));
    buf_str(&buf, CONTINUE_TAG);
    result = json_stringn(buf.data, buf.len);
    buf_release(&buf);
    return result;
}

/* *final: the text that is continued, a new reference. */
static enum status add_tag(json_t *messages, json_t **final, struct err *err)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    json_t *content = json_object_get(last, "content");

    if (json_is_string(content)) {
        *final = json_incref(content);
        CHECK(json_object_set_new(last, "content", tagged(content)) == 0);
        return STATUS_OK;
    }
    content = json_is_array(content) ? json_deep_copy(content) : NULL;
    for (size_t i = json_array_size(content); i-- > 0;) {
        json_t *part = json_array_get(content, i), *text = json_object_get(part, "text");
        if (!json_is_string(text))
            continue;
        *final = json_incref(text);
        CHECK(json_object_set_new(part, "text", tagged(text)) == 0);
        CHECK(json_object_set_new(last, "content", content) == 0);
        return STATUS_OK;
    }
    json_decref(content);
    return err_set(err, STATUS_INVALID,
                   "continue_final_message is set but the final message has no text to continue");
}

static struct str stripped(const json_t *string)
{
    struct str text = json_str(string);
    size_t before = text_space_prefix(text);
    text = (struct str){text.data + before, text.len - before};
    text.len -= text_space_suffix(text);
    return text;
}

static enum status cut_at_tag(struct buf *out, size_t start, const json_t *final, struct err *err)
{
    size_t len = sizeof(CONTINUE_TAG) - 2, at = out->len; /* without its final space */
    struct str text = stripped(final);
    bool there =
        out->len > start && memmem(out->data + start, out->len - start, text.data, text.len);

    while (there && at > start + len && memcmp(out->data + at - len, CONTINUE_TAG, len) != 0)
        at--;
    if (!there || at < start + len || memcmp(out->data + at - len, CONTINUE_TAG, len) != 0)
        return err_set(err, STATUS_INVALID,
                       "continue_final_message is set but the final message does not appear in the "
                       "prompt that the chat template makes");
    at -= len;
    /* no space behind the tag: the template trims, so the text before it is trimmed too */
    if (at + len >= out->len || out->data[at + len] != ' ')
        at -= text_space_suffix((struct str){out->data + start, at - start});
    out->len = at;
    out->data[at] = 0;
    return STATUS_OK;
}

/* ---- render */

struct vars {
    struct jinja_var items[VARS_MAX];
    size_t count;
};

static void add_var(struct vars *vars, const char *name, const json_t *value)
{
    CHECK(vars->count < VARS_MAX);
    vars->items[vars->count++] = (struct jinja_var){name, value};
}

static enum status add_vars(struct vars *vars, const struct chat_template *tmpl,
                            const json_t *messages, const struct chat_render_opts *opts,
                            struct err *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(tmpl->tokens, name, value)
        add_var(vars, name, value);
    add_var(vars, "messages", messages);
    add_var(vars, "tools", opts->tools);
    add_var(vars, "documents", NULL);
    add_var(vars, "add_generation_prompt",
            opts->add_generation_prompt ? json_true() : json_false());
    if (!opts->kwargs)
        return STATUS_OK;
    if (!json_is_object(opts->kwargs))
        return err_set(err, STATUS_INVALID, "'chat_template_kwargs' must be an object");
    if (json_object_size(opts->kwargs) > VARS_MAX / 2)
        return err_set(err, STATUS_TOO_LARGE, "'chat_template_kwargs' has more than %d entries",
                       VARS_MAX / 2);
    json_object_foreach((json_t *)(uintptr_t)opts->kwargs, name, value) {
        if (strcmp(name, "messages") == 0)
            return err_set(err, STATUS_INVALID, "'chat_template_kwargs' may not set 'messages'");
        add_var(vars, name, value);
    }
    return STATUS_OK;
}

enum status chat_template_render(const struct chat_template *tmpl, const json_t *messages,
                                 const struct chat_render_opts *opts, struct buf *out,
                                 struct err *err)
{
    bool tools = tmpl->tools && json_array_size(opts->tools) > 0;
    const struct jinja_template *jinja = tools ? tmpl->tools : tmpl->main;
    struct vars vars = {.count = 0};
    size_t start = out->len;
    json_t *prepared = NULL, *final = NULL;
    enum status status;

    if (opts->add_generation_prompt && opts->continue_final_message)
        return err_set(err, STATUS_INVALID,
                       "add_generation_prompt and continue_final_message "
                       "cannot both be set");
    TRY_OUT(prepare(messages, tools ? tmpl->tools_parts : tmpl->parts, &prepared, err));
    if (opts->continue_final_message)
        TRY_OUT(add_tag(prepared, &final, err));
    TRY_OUT(add_vars(&vars, tmpl, prepared, opts, err));
    TRY_OUT(jinja_render(jinja, vars.items, vars.count, NULL, out, err));
    if (opts->continue_final_message)
        TRY_OUT(cut_at_tag(out, start, final, err));
out:
    if (status != STATUS_OK && out->data) {
        out->len = start;
        out->data[start] = 0;
    }
    json_decref(final);
    json_decref(prepared);
    return status;
}
