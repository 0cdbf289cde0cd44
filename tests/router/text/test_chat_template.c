/* Where templates are found, what they see, and what is done around the render. */
#include "tests/common/suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "router/text/chat_template.h"

static char *make_dir(void)
{
    char *dir = mem_strdup("/tmp/msgl_chat_template_XXXXXX");

    ck_assert_ptr_nonnull(mkdtemp(dir));
    return dir;
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char *path = path_join(dir, name);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    mem_free(path);
}

static void remove_dir(char *dir)
{
    static const char *const names[] = {"tokenizer_config.json", "chat_template.jinja"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = path_join(dir, names[i]);
        unlink(path);
        mem_free(path);
    }
    ck_assert_int_eq(rmdir(dir), 0);
    mem_free(dir);
}

static json_t *parse(const char *text)
{
    json_t *json;
    struct err err;

    ck_assert_msg(json_parse(text, strlen(text), &json, &err) == STATUS_OK, "%s", err.text);
    return json;
}

/* "STATUS: text" of rendering with these JSON texts. Valid until the next call. */
static const char *render(const struct chat_template *tmpl, const char *messages,
                          const char *options)
{
    static char result[1024];
    json_t *list = parse(messages), *json = parse(options);
    struct chat_render_opts opts = {
        .add_generation_prompt = json_is_true(json_object_get(json, "add")),
        .continue_final_message = json_is_true(json_object_get(json, "continue")),
        .tools = json_object_get(json, "tools"),
        .kwargs = json_object_get(json, "kwargs"),
    };
    struct buf out = {0};
    struct err err = {0};
    enum status status;

    buf_str(&out, ">");
    status = chat_template_render(tmpl, list, &opts, &out, &err);
    if (status == STATUS_OK)
        snprintf(result, sizeof(result), "%s", out.data + 1);
    else
        snprintf(result, sizeof(result), "%s: %s", status_name(status), err.text);
    ck_assert(out.data[0] == '>' && (status == STATUS_OK || out.len == 1));
    buf_release(&out);
    json_decref(list);
    json_decref(json);
    return result;
}

static const char *render_source(const char *source, const char *messages, const char *options)
{
    struct chat_template *tmpl;
    const char *result;
    struct err err;

    ck_assert_msg(chat_template_compile(str_from(source), &tmpl, &err) == STATUS_OK, "%s",
                  err.text);
    result = render(tmpl, messages, options);
    chat_template_free(tmpl);
    return result;
}

/* The same for a folder with these files (NULL: absent). */
static const char *render_files(const char *config, const char *jinja, const char *options)
{
    static char result[1024];
    struct chat_template *tmpl;
    struct err err = {0};
    char *dir = make_dir();
    enum status status;

    if (config)
        write_file(dir, "tokenizer_config.json", config);
    if (jinja)
        write_file(dir, "chat_template.jinja", jinja);
    status = chat_template_load(dir, &tmpl, &err);
    if (status == STATUS_OK) {
        snprintf(result, sizeof(result), "%s", render(tmpl, "[]", options));
        chat_template_free(tmpl);
    } else {
        ck_assert_ptr_null(tmpl);
        ck_assert_msg(strncmp(err.text, dir, strlen(dir)) == 0, "%s", err.text);
        snprintf(result, sizeof(result), "%s", status_name(status));
    }
    remove_dir(dir);
    return result;
}

START_TEST(templates_are_found)
{
    ck_assert_str_eq(render_files("{\"chat_template\": \"one\"}", NULL, "{}"), "one");
    ck_assert_str_eq(render_files("{\"chat_template\": \"one\"}", "two", "{}"), "two");
    ck_assert_str_eq(render_files(NULL, "two\n", "{}"), "two");
    ck_assert_str_eq(render_files("{\"model_max_length\": 1000000000000000019884624838656,"
                                  "\"chat_template\": \"one\"}",
                                  NULL, "{}"),
                     "one");
    ck_assert_str_eq(render_files("{}", NULL, "{}"), "not_found");
    ck_assert_str_eq(render_files(NULL, NULL, "{}"), "not_found");
    ck_assert_str_eq(render_files("{\"chat_template\": null}", NULL, "{}"), "not_found");
    ck_assert_str_eq(render_files("{\"chat_template\": 5}", NULL, "{}"), "invalid");
    ck_assert_str_eq(render_files("{\"chat_template\": \"{% if %}\"}", NULL, "{}"), "invalid");
    ck_assert_str_eq(render_files("[]", NULL, "{}"), "invalid");
    ck_assert_str_eq(render_files("{broken", NULL, "{}"), "corrupt");
}
END_TEST

START_TEST(a_list_of_templates_has_a_default_and_one_for_tools)
{
    const char *list = "{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"},"
                       "{\"name\": \"tool_use\", \"template\": \"tools {{ tools | length }}\"}]}";

    ck_assert_str_eq(render_files(list, NULL, "{}"), "plain");
    ck_assert_str_eq(render_files(list, NULL, "{\"tools\": []}"), "plain");
    ck_assert_str_eq(render_files(list, NULL, "{\"tools\": [{}]}"), "tools 1");
    ck_assert_str_eq(
        render_files("{\"chat_template\": [{\"name\": \"rag\", \"template\": \"\"}]}", NULL, "{}"),
        "not_found");
}
END_TEST

START_TEST(variables)
{
    const char *config =
        "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"},"
        "\"pad_token\": null, \"chat_template\": \"{{ bos_token }}{{ eos_token }}"
        "{{ pad_token is defined }}{{ tools }}{{ documents }}{{ add_generation_prompt }}"
        "{{ x }}\"}";

    ck_assert_str_eq(render_files(config, NULL, "{}"), "<s></s>FalseNoneNoneFalse");
    ck_assert_str_eq(render_files(config, NULL,
                                  "{\"add\": true, \"kwargs\": {\"x\": 1,"
                                  "\"eos_token\": \"E\"}}"),
                     "<s>EFalseNoneNoneTrue1");
    ck_assert_str_eq(render_files(config, NULL, "{\"kwargs\": {\"messages\": 1}}"),
                     "invalid: 'chat_template_kwargs' may not set 'messages'");
    ck_assert_str_eq(render_files(config, NULL, "{\"kwargs\": []}"),
                     "invalid: 'chat_template_kwargs' must be an object");
}
END_TEST

START_TEST(messages_must_be_objects)
{
    ck_assert_str_eq(render_source("x", "{}", "{}"), "invalid: 'messages' must be an array");
    ck_assert_str_eq(render_source("x", "[{}, 1]", "{}"), "invalid: messages[1] must be an object");
}
END_TEST

START_TEST(text_parts_become_text_unless_the_template_walks_them)
{
    const char *parts = "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"},"
                        "{\"type\": \"text\", \"text\": \"b\"}]}]";
    const char *image = "[{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]";
    const char *walks = "{% for m in messages %}{% for p in m.content %}<{{ p.text }}>"
                        "{% endfor %}{% endfor %}";

    ck_assert_str_eq(render_source("{{ messages[0].content }}", parts, "{}"), "a\nb");
    ck_assert_str_eq(render_source(walks, parts, "{}"), "<a><b>");
    ck_assert_str_eq(render_source("{{ messages[0].content }}", image, "{}"),
                     "[{'type': 'image'}]");
}
END_TEST

START_TEST(tool_call_arguments_become_objects)
{
    const char *source = "{% for c in messages[0].tool_calls %}{{ c.function.arguments | tojson }};"
                         "{% endfor %}";
    const char *messages = "[{\"tool_calls\": [{\"function\": {\"arguments\": \"{\\\"a\\\":1}\"}},"
                           "{\"function\": {\"arguments\": \"{bad\"}},"
                           "{\"function\": {\"arguments\": {\"b\": 2}}}]}]";

    ck_assert_str_eq(render_source(source, messages, "{}"), "{\"a\": 1};\"{bad\";{\"b\": 2};");
}
END_TEST

START_TEST(reasoning_has_aliases)
{
    ck_assert_str_eq(render_source("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}",
                                   "[{\"reasoning\": \"r\"}]", "{}"),
                     "rr");
}
END_TEST

START_TEST(the_request_is_not_changed)
{
    json_t *messages =
        parse("[{\"content\": [{\"type\": \"text\", \"text\": \"a\"}], \"thinking\": \"t\","
              "\"tool_calls\": [{\"function\": {\"arguments\": \"{}\"}}]}]");
    json_t *copy = json_deep_copy(messages);
    struct chat_render_opts opts = {.continue_final_message = true};
    struct chat_template *tmpl;
    struct buf out = {0};

    ck_assert_int_eq(chat_template_compile(STR("{{ messages[-1].content }}"), &tmpl, NULL), 0);
    ck_assert_int_eq(chat_template_render(tmpl, messages, &opts, &out, NULL), STATUS_OK);
    ck_assert(json_equal(messages, copy));
    chat_template_free(tmpl);
    buf_release(&out);
    json_decref(messages);
    json_decref(copy);
}
END_TEST

START_TEST(the_final_message_can_be_continued)
{
    const char *keeps = "{% for m in messages %}[{{ m.content }}]{% endfor %} end";
    const char *trims = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
    const char *drops = "{{ messages | length }}";
    const char *chat = "[{\"content\": \"q\"}, {\"content\": \"ab \"}]";
    const char *parts = "[{\"content\": [{\"type\": \"text\", \"text\": \"x\"}]}]";

    ck_assert_str_eq(render_source(keeps, chat, "{\"continue\": true}"), "[q][ab ");
    ck_assert_str_eq(render_source(trims, chat, "{\"continue\": true}"), "[q][ab");
    ck_assert_str_eq(render_source(keeps, parts, "{\"continue\": true}"), "[x");
    ck_assert(strncmp(render_source(drops, chat, "{\"continue\": true}"), "invalid", 7) == 0);
    ck_assert(strncmp(render_source(keeps, "[]", "{\"continue\": true}"), "invalid", 7) == 0);
    ck_assert(strncmp(render_source(keeps, "[{\"content\": null}]", "{\"continue\": true}"),
                      "invalid", 7) == 0);
    ck_assert_str_eq(
        render_source(keeps, chat, "{\"continue\": true, \"add\": true}"),
        "invalid: add_generation_prompt and continue_final_message cannot both be set");
}
END_TEST

START_TEST(raise_exception_is_the_clients_error)
{
    ck_assert_str_eq(render_source("a{{ raise_exception('Roles must alternate') }}", "[]", "{}"),
                     "invalid: Roles must alternate");
}
END_TEST

SUITE_MAIN("chat_template", templates_are_found,
           a_list_of_templates_has_a_default_and_one_for_tools, variables, messages_must_be_objects,
           text_parts_become_text_unless_the_template_walks_them,
           tool_call_arguments_become_objects, reasoning_has_aliases, the_request_is_not_changed,
           the_final_message_can_be_continued, raise_exception_is_the_clients_error)
