/* cases - compiles and renders one template with JSON variables, for the tests of this folder. */
#ifndef MSGL_TESTS_ROUTER_JINJA_CASES_H
#define MSGL_TESTS_ROUTER_JINJA_CASES_H

#include "tests/common/suite.h"

#include <string.h>

#include "common/json.h"
#include "router/jinja/jinja.h"

struct jinja_case {
    const char *template;
    const char *expected;
};

/* Renders `source` with the members of the JSON object `vars` as variables. */
static inline enum status case_render(struct str source, const char *vars,
                                      const struct jinja_limits *limits, struct buf *out,
                                      struct err *err)
{
    struct jinja_var items[32];
    struct jinja_template *tmpl;
    enum status status;
    json_t *json, *value;
    const char *name;
    size_t count = 0;

    buf_clear(out);
    err->text[0] = 0;
    TRY(jinja_compile(source, &tmpl, err));
    ck_assert_int_eq(json_parse(vars, strlen(vars), &json, NULL), STATUS_OK);
    json_object_foreach(json, name, value)
        items[count++] = (struct jinja_var){name, value};
    status = jinja_render(tmpl, items, count, limits, out, err);
    json_decref(json);
    jinja_free(tmpl);
    return status;
}

static inline void check_cases(const struct jinja_case *cases, size_t count, const char *vars)
{
    struct buf out = {0};
    struct err err;

    for (size_t i = 0; i < count; i++) {
        enum status status = case_render(str_from(cases[i].template), vars, NULL, &out, &err);
        ck_assert_msg(status == STATUS_OK, "%s: %s", cases[i].template, err.text);
        ck_assert_msg(strcmp(out.data ? out.data : "", cases[i].expected) == 0,
                      "%s\n  gave     %s\n  expected %s", cases[i].template, out.data,
                      cases[i].expected);
    }
    buf_release(&out);
}

/* `expected` is part of the error's text. */
static inline void check_errors(const struct jinja_case *cases, size_t count, const char *vars)
{
    struct buf out = {0};
    struct err err;

    for (size_t i = 0; i < count; i++) {
        enum status status = case_render(str_from(cases[i].template), vars, NULL, &out, &err);
        ck_assert_msg(status == STATUS_INVALID, "%s: status %s", cases[i].template,
                      status_name(status));
        ck_assert_msg(strstr(err.text, cases[i].expected) != NULL,
                      "%s\n  says     %s\n  expected %s", cases[i].template, err.text,
                      cases[i].expected);
        ck_assert_uint_eq(out.len, 0);
    }
    buf_release(&out);
}

#endif
