/* What templates mean: a few cases of each construct. tests/golden/template_fuzz.py compares
 * thousands with jinja2. */
#include "tests/router/jinja/cases.h"

static const char *const vars =
    "{\"s\": \"Hello World\", \"n\": 7, \"f\": 2.5, \"nil\": null, \"l\": [3, 1, 2], \"w\": [\"b\","
    "\"a\"], \"d\": {\"b\": 1, \"a\": [true, null]}, \"u\": \"日本語\", \"p\": [{\"n\": \"x\", "
    "\"k\": 1},"
    "{\"n\": \"y\", \"k\": 2}, {\"n\": \"z\", \"k\": 1}]}";

#define CHECK_CASES(cases) check_cases(cases, ARRAY_LEN(cases), vars)

START_TEST(expressions)
{
    static const struct jinja_case cases[] = {
        {"{{ 1 + 2 * 3 - 4 / 2 }}", "5.0"},
        {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }}", "-4 2 -2 1024 0.5"},
        {"{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 1e-5 }} {{ 3.0 }}",
         "0.30000000000000004 1e+16 1000000000000000.0 1e-05 3.0"},
        {"{{ 1 < 2 <= 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 'a' in s }} {{ 3 not in l }}",
         "True False True False False"},
        {"{{ s ~ n ~ nil ~ f }}", "Hello World7None2.5"},
        {"{{ nil or 'x' }} {{ s and n }} {{ not s }}", "x 7 False"},
        {"{{ 'y' if n > 5 else 'n' }}{{ 'y' if n < 5 }}", "y"},
        {"{{ d }} {{ l }} {{ (1,) }} {{ {'k': \"it's\"} }}",
         "{'b': 1, 'a': [True, None]} [3, 1, 2] (1,) {'k': \"it's\"}"},
        {"{{ d.a[0] }} {{ d['b'] }} {{ d.zz }} {{ l[-1] }} {{ l[::-1] }} {{ l[1:] }} {{ l.0 }}",
         "True 1  2 [2, 1, 3] [1, 2] 3"},
        {"{{ u[1] }} {{ u[::-1] }} {{ u | length }} {{ u[-2:] }}", "本 語本日 3 本語"},
        {"{{ -n | abs }} {{ 2 ** 3 ** 2 }} {{ 'a' 'b' }}", "7 64 ab"},
    };
    CHECK_CASES(cases);
}
END_TEST

START_TEST(filters)
{
    static const struct jinja_case cases[] = {
        {"{{ s | upper }}{{ s | lower }}{{ 'ab cd-e' | title }}{{ 'ABC' | capitalize }}",
         "HELLO WORLDhello worldAb Cd-EAbc"},
        {"[{{ '  x ' | trim }}]{{ s | replace('l', 'L', 1) }}{{ s | length }}", "[x]HeLlo World11"},
        {"{{ l | sort }}{{ l | sort(reverse=true) }}{{ w | sort | join('-') }}",
         "[1, 2, 3][3, 2, 1]a-b"},
        {"{{ p | map(attribute='n') | join(',') }} {{ p | selectattr('k', 'equalto', 1) | list | "
         "length }}"
         " {{ p | rejectattr('k', 'eq', 1) | map(attribute='n') | first }}",
         "x,y,z 2 y"},
        {"{{ l | select('odd') | list }}{{ l | sum }}{{ l | max }}{{ l | min }}", "[3, 1]631"},
        {"{{ zz | default('q') }}{{ '' | d('e', true) }}{{ '12' | int + 1 }}{{ 'x' | int(5) }}{{ "
         "'1.5' | float }}",
         "qe1351.5"},
        {"{{ d | tojson }} {{ u | tojson }} {{ u | tojson(ensure_ascii=true) }}",
         "{\"b\": 1, \"a\": [true, null]} \"日本語\" \"\\u65e5\\u672c\\u8a9e\""},
        {"{{ d | tojson(indent=2, sort_keys=true) }}",
         "{\n  \"a\": [\n    true,\n    null\n  ],\n  \"b\": 1\n}"},
        {"{{ d | dictsort }}{{ d | items | list | length }}", "[('a', [True, None]), ('b', 1)]2"},
        {"{{ 'a\nb\n\nc' | indent(2) }}", "a\n  b\n\n  c"},
        {"{{ l | batch(2) | list }}{{ [1, 1, 2] | unique | list }}{{ 2.5 | round }}{{ 2.675 | "
         "round(2) }}",
         "[[3, 1], [2]][1, 2]2.02.67"},
        {"{{ '<a>' | e }}{{ ('<' | safe) + '<' }}{{ '%s=%03d' | format('k', 5) }}",
         "&lt;a&gt;<&lt;k=005"},
        {"{% for g, items in p | groupby('k') %}{{ g }}{{ items | length }} {% endfor %}",
         "12 21 "},
    };
    CHECK_CASES(cases);
}
END_TEST

START_TEST(tests_and_methods)
{
    static const struct jinja_case cases[] = {
        {"{{ s is string }}{{ d is mapping }}{{ l is sequence }}{{ zz is defined }}{{ nil is none "
         "}}",
         "TrueTrueTrueFalseTrue"},
        {"{{ n is odd }}{{ n is divisibleby 7 }}{{ n is not even }}{{ true is boolean }}{{ 1 is "
         "true }}",
         "TrueTrueTrueTrueFalse"},
        {"{{ s.split() }}{{ s.split('o', 1) }}{{ ' a '.strip() }}{{ 'xxa'.lstrip('x') }}",
         "['Hello', 'World']['Hell', ' World']aa"},
        {"{{ s.startswith(('x', 'He')) }}{{ s.find('o') }}{{ s.rfind('o') }}{{ s.count('l') }}",
         "True473"},
        {"{{ ','.join(w) }}{{ 'a{}b{x}'.format(1, x=2) }}{{ d.get('zz', 0) }}{{ d.keys() | list }}",
         "b,aa1b20['b', 'a']"},
        {"{{ {'items': 1}.items() | list }}{{ {'items': 1}['items'] }}", "[('items', 1)]1"},
    };
    CHECK_CASES(cases);
}
END_TEST

START_TEST(statements)
{
    static const struct jinja_case cases[] = {
        {"{% for x in l %}{{ loop.index }}{{ x }}{{ ',' if not loop.last }}{% else %}none{% endfor "
         "%}",
         "13,21,32"},
        {"{% for x in [] %}{% else %}none{% endfor %}", "none"},
        {"{% for x in l if x > 1 %}{{ loop.length }}{{ x }}{% endfor %}", "2322"},
        {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break "
         "%}{% endif %}{% endfor %}",
         "32"},
        {"{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "1"},
        {"{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ "
         "ns.x }}",
         "6"},
        {"{% macro m(a, b=2) %}<{{ a }}{{ b }}>{% endmacro %}{{ m(1) }}{{ m(b=1, a=0) }}",
         "<12><01>"},
        {"{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(v) m() %}{{ v }}!{% endcall %}",
         "[x!]"},
        {"{% for t in [{'v': 1, 'c': [{'v': 2}]}] recursive %}{{ t.v }}{% if t.c %}({{ loop(t.c) "
         "}}){% endif %}{% endfor %}",
         "1(2)"},
        {"{% set t %} {{ n }} {% endset %}[{{ t }}]{% set t | trim %} y {% endset %}[{{ t }}]",
         "[ 7 ][y]"},
        {"{% filter upper %}{{ s }}{% endfilter %}{% with n = 1 %}{{ n }}{% endwith %}{{ n }}",
         "HELLO WORLD17"},
        {"{% generation %}{{ s }}{% endgeneration %}{% raw %}{{ x }}{% endraw %}",
         "Hello World{{ x }}"},
        {"{% if zz %}a{% elif n > 5 %}b{% else %}c{% endif %}{# note #}", "b"},
        {"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% for k, v in d.items() %}{{ k }}{% endfor %}",
         "12ba"},
        {"{% set j = joiner('|') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "3|1|2"},
    };
    CHECK_CASES(cases);
}
END_TEST

START_TEST(errors)
{
    static const struct jinja_case cases[] = {
        {"{{ raise_exception('roles must alternate') }}", "roles must alternate"},
        {"\n\n{{ zz.a }}", "line 3: 'zz' is undefined"},
        {"{{ d.x.y }}", "'dict object' has no attribute 'x'"},
        {"{{ l.append(1) }}", "unsafe"},
        {"{{ s + 1 }}", "concatenate"},
        {"{{ 1 / 0 }}", "division by zero"},
        {"{{ 9223372036854775807 + 1 }}", "64 bits"},
        {"{{ range(1000000) }}", "Range too big"},
        {"{{ {[]: 1} }}", "unhashable"},
        {"{{ nil | length }}", "has no len()"},
        {"{% set s.x = 1 %}", "non-namespace"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "not more than 1"},
        {"{{ (1).real() }}", "no attribute 'real'"},
        {"{{ zz() }}", "'zz' is undefined"},
    };
    check_errors(cases, ARRAY_LEN(cases), vars);
}
END_TEST

START_TEST(loops_over_an_attribute_are_noted)
{
    static const struct {
        const char *source;
        bool loops;
    } cases[] = {
        {"{% for c in m.content %}{% endfor %}", true},
        {"{% for c in m['content'] | list %}{% endfor %}", true},
        {"{% set c = m['content'] %}{% for x in c %}{% endfor %}", true},
        {"{% for m in messages %}{{ m.content }}{% endfor %}", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jinja_template *tmpl;
        ck_assert_int_eq(jinja_compile(str_from(cases[i].source), &tmpl, NULL), STATUS_OK);
        ck_assert_msg(jinja_loops_over(tmpl, "content") == cases[i].loops, "%s", cases[i].source);
        ck_assert(!jinja_loops_over(tmpl, "tools"));
        jinja_free(tmpl);
    }
}
END_TEST

START_TEST(output_is_appended)
{
    struct jinja_template *tmpl;
    struct buf out = {0};
    struct err err;

    buf_str(&out, "before ");
    ck_assert_int_eq(jinja_compile(STR("{% set x %}a{% endset %}{{ x }}b{{ zz.q }}"), &tmpl, &err),
                     0);
    ck_assert_int_eq(jinja_render(tmpl, NULL, 0, NULL, &out, &err), STATUS_INVALID);
    ck_assert_str_eq(out.data, "before ");
    jinja_free(tmpl);
    ck_assert_int_eq(jinja_compile(STR("{% set x %}a{% endset %}{{ x }}b"), &tmpl, &err), 0);
    ck_assert_int_eq(jinja_render(tmpl, NULL, 0, NULL, &out, NULL), STATUS_OK);
    ck_assert_str_eq(out.data, "before ab");
    jinja_free(tmpl);
    buf_release(&out);
}
END_TEST

SUITE_MAIN("jinja", expressions, filters, tests_and_methods, statements, errors,
           loops_over_an_attribute_are_noted, output_is_appended)
