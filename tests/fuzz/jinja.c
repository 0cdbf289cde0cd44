/* A template and the variables that it sees: it renders, or is refused with a sentence, within its
 * limits, and the same way each time. Input: template, NUL, a JSON object. */
#include "router/jinja/jinja.h"
#include "common/utf8.h"
#include "tests/fuzz/input.h"

#define VARS_MAX 32

/* Of time and memory less than a server allows, so that the fuzzer is fast; as deep as it allows. */
static const struct jinja_limits limits = {.steps_max = 100000,
                                           .arena_bytes_max = 8 << 20,
                                           .output_bytes_max = 1 << 20,
                                           .depth_max = 1000};

static enum status render(const struct jinja_template *tmpl, const json_t *vars, struct buf *out,
                          struct err *err)
{
    struct jinja_var items[VARS_MAX];
    const char *name;
    json_t *value;
    size_t count = 0;
    json_object_foreach((json_t *)(uintptr_t)vars, name, value) {
        if (count < VARS_MAX)
            items[count++] = (struct jinja_var){name, value};
    }
    err->text[0] = 0;
    enum status status = jinja_render(tmpl, items, count, &limits, out, err);
    CHECK(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_TOO_LARGE);
    CHECK(utf8_valid(err->text, strlen(err->text)));
    CHECK(status == STATUS_OK ? out->len <= limits.output_bytes_max : out->len == 0);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    struct str source = input_text(&in), vars_text = input_rest(&in);
    struct jinja_template *tmpl = NULL;
    struct buf first = {0}, second = {0};
    struct err err = {.text = ""}, err_again;
    json_t *vars = json_loadb(vars_text.data, vars_text.len, JSON_ALLOW_NUL, NULL);

    if (jinja_compile(source, &tmpl, &err) == STATUS_OK) {
        enum status status = render(tmpl, vars, &first, &err);
        CHECK(render(tmpl, vars, &second, &err_again) == status &&
              strcmp(err.text, err_again.text) == 0);
        CHECK(first.len == second.len &&
              (first.len == 0 || memcmp(first.data, second.data, first.len) == 0));
        (void)jinja_loops_over(tmpl, "content");
    } else {
        CHECK(err.text[0] && utf8_valid(err.text, strlen(err.text)));
    }
    jinja_free(tmpl);
    json_decref(vars);
    buf_release(&first);
    buf_release(&second);
    return 0;
}
