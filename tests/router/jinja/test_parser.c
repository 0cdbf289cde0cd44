/* Compile errors name the line and what is wrong; white space rules. */
#include "tests/router/jinja/cases.h"

START_TEST(compile_errors)
{
    static const struct jinja_case cases[] = {
        {"a\n{{ 'open }}", "line 2: a string is not closed"},
        {"{# open", "comment is not closed"},
        {"{% raw %} x", "raw block is not closed"},
        {"{% if x %}", "ends before"},
        {"{% endif %}", "unknown or misplaced tag 'endif'"},
        {"{% nonsense %}", "unknown or misplaced tag 'nonsense'"},
        {"{% include 'x' %}", "not supported"},
        {"{{ }}", "expected an expression"},
        {"{{ a b }}", "expected '}}'"},
        {"{{ (1", "expected ), found the end"},
        {"{{ (1 }}", "closing bracket"},
        {"{{ 1) }}", "closing bracket"},
        {"\n{{ x | nofilter }}", "line 2: there is no filter named 'nofilter'"},
        {"{{ x is notest }}", "there is no test named 'notest'"},
        {"{% set 1 = 2 %}", "cannot assign"},
        {"{% break %}", "outside of a loop"},
        {"{{ f(a=1, 2) }}", "invalid syntax"},
        {"{{ f(a=1, a=2) }}", "given twice"},
        {"{% macro m(a=1, b) %}{% endmacro %}", "without default"},
        {"{{ 99999999999999999999 }}", "64 bits"},
        {"{{ '\\x4' }}", "escape"},
        {"{{ 1 is odd is even }}", "chained"},
        {"{{ x ? y }}", "unexpected character"},
    };
    check_errors(cases, ARRAY_LEN(cases), "{}");
}
END_TEST

START_TEST(unknown_filters_may_stand_where_they_are_not_reached)
{
    static const struct jinja_case cases[] = {
        {"{% if false %}{{ 1 | nofilter }}{% endif %}ok", "ok"},
        {"{{ 1 | nofilter if false else 'ok' }}", "ok"},
    };
    check_cases(cases, ARRAY_LEN(cases), "{}");
}
END_TEST

START_TEST(white_space)
{
    static const struct jinja_case cases[] = {
        {"a\n", "a"},
        {"a\n\n", "a\n"},
        {"a\r\nb\rc", "a\nb\nc"},
        {"x\n  {% if true %}\n  y\n  {% endif %}\nz", "x\n  y\nz"},
        {"x {% if true %}\ny{% endif %}", "x y"},
        {"  {%+ if true %}y{% endif %}", "  y"},
        {"{% if true +%}\ny{% endif %}", "\ny"},
        {"a {%- if true -%} b {%- endif %} c", "ab c"},
        {"a {{- 1 -}} b {{ 2 }}\nc", "a1b 2\nc"},
        {"a\n  {# note #}\nb", "a\nb"},
        {"a {#- note -#} b", "ab"},
        {"a\n  {% raw %}\n {{ x }} {% endraw %}\nb", "a\n\n {{ x }} b"},
        {"a {%- raw -%} {{ x }} {%- endraw -%} b", "a{{ x }}b"},
        {"{{ '}}' }}{{ {'a': {'b': 1}}['a'] }}", "}}{'b': 1}"},
        {"{", "{"},
        {"{ {", "{ {"},
    };
    check_cases(cases, ARRAY_LEN(cases), "{}");
}
END_TEST

static enum status compile_nested(const char *open, size_t times)
{
    struct jinja_template *tmpl = NULL;
    struct buf source = {0};
    struct err err = {0};
    enum status status;

    buf_str(&source, "{{ ");
    for (size_t i = 0; i < times; i++)
        buf_str(&source, open);
    status = jinja_compile((struct str){source.data, source.len}, &tmpl, &err);
    ck_assert_ptr_null(tmpl);
    buf_release(&source);
    return status;
}

START_TEST(nesting_is_bounded)
{
    static const char *const opens[] = {"(", "[", "-", "not ", "{1:", "f(", "a[", "1 if 1 else "};
    struct jinja_template *tmpl;
    struct buf source = {0};
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(opens); i++)
        ck_assert_int_eq(compile_nested(opens[i], 20000), STATUS_TOO_LARGE);
    for (size_t i = 0; i < 20000; i++)
        buf_str(&source, "{% if 1 %}");
    ck_assert_int_eq(jinja_compile((struct str){source.data, source.len}, &tmpl, &err),
                     STATUS_TOO_LARGE);
    buf_clear(&source);
    for (size_t i = 0; i <= JINJA_SOURCE_BYTES_MAX; i++)
        buf_char(&source, 'x');
    ck_assert_int_eq(jinja_compile((struct str){source.data, source.len}, &tmpl, &err),
                     STATUS_TOO_LARGE);
    ck_assert_int_eq(jinja_compile(STR("\xff"), &tmpl, &err), STATUS_INVALID);
    buf_release(&source);
}
END_TEST

SUITE_MAIN("parser", compile_errors, unknown_filters_may_stand_where_they_are_not_reached,
           white_space, nesting_is_bounded)
