/* template_pipe - renders templates for template_fuzz.py, which compares with Python's jinja2.
 *
 *   in:   u32 length | JSON {"template", "vars": {...}}      plain render
 *                      or  {"template", "chat": {"messages", "tools", "kwargs",
 *                           "add_generation_prompt", "continue_final_message"}}
 *   out:  u8 status | u32 length | text, or the error's sentence
 *
 * Little-endian, until the input ends.
 */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "router/jinja/jinja.h"
#include "router/text/chat_template.h"

#define REQUEST_BYTES_MAX ((size_t)64 << 20)

static enum status render_vars(struct str source, const json_t *vars, struct buf *out,
                               struct err *err)
{
    struct jinja_var items[256];
    struct jinja_template *tmpl;
    enum status status;
    const char *name;
    json_t *value;
    size_t count = 0;

    TRY(jinja_compile(source, &tmpl, err));
    json_object_foreach((json_t *)(uintptr_t)vars, name, value)
        if (count < ARRAY_LEN(items))
            items[count++] = (struct jinja_var){name, value};
    status = jinja_render(tmpl, items, count, NULL, out, err);
    jinja_free(tmpl);
    return status;
}

static enum status render_chat(struct str source, const json_t *chat, struct buf *out,
                               struct err *err)
{
    struct chat_render_opts opts = {
        .add_generation_prompt = json_is_true(json_object_get(chat, "add_generation_prompt")),
        .continue_final_message = json_is_true(json_object_get(chat, "continue_final_message")),
        .tools = json_object_get(chat, "tools"),
        .kwargs = json_object_get(chat, "kwargs"),
    };
    struct chat_template *tmpl;
    enum status status;

    if (json_is_null(opts.tools))
        opts.tools = NULL;
    TRY(chat_template_compile(source, &tmpl, err));
    status = chat_template_render(tmpl, json_object_get(chat, "messages"), &opts, out, err);
    chat_template_free(tmpl);
    return status;
}

static enum status answer(const char *text, size_t len, struct buf *out, struct err *err)
{
    json_t *request, *chat;
    enum status status;
    struct str source;

    TRY(json_parse(text, len, &request, err));
    source.data = json_string_value(json_object_get(request, "template"));
    source.len = json_string_length(json_object_get(request, "template"));
    chat = json_object_get(request, "chat");
    status = chat ? render_chat(source, chat, out, err)
                  : render_vars(source, json_object_get(request, "vars"), out, err);
    json_decref(request);
    return status;
}

static bool read_all(void *data, size_t len)
{
    return fread(data, 1, len, stdin) == len;
}

int main(void)
{
    struct buf out = {0};
    unsigned char head[5];

    while (read_all(head, 4)) {
        size_t len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        struct err err = {0};
        enum status status;
        char *text;
        if (len > REQUEST_BYTES_MAX)
            return 1;
        text = mem_alloc(len);
        if (!read_all(text, len))
            return 1;
        buf_clear(&out);
        status = answer(text, len, &out, &err);
        mem_free(text);
        if (status != STATUS_OK) {
            buf_clear(&out);
            buf_str(&out, err.text);
        }
        head[0] = (unsigned char)status;
        for (int i = 0; i < 4; i++)
            head[1 + i] = (unsigned char)(out.len >> 8 * i);
        fwrite(head, 1, 5, stdout);
        fwrite(out.data ? out.data : "", 1, out.len, stdout);
        fflush(stdout);
    }
    buf_release(&out);
    return 0;
}
