/* Hostile templates end with TOO_LARGE, soon and without a crash; threads share a template. */
#include "tests/router/jinja/cases.h"

#include <pthread.h>

#include "common/clock.h"

static const struct jinja_limits small = {.steps_max = 2000000,
                                          .arena_bytes_max = 16 << 20,
                                          .output_bytes_max = 1 << 20,
                                          .depth_max = 500};

START_TEST(work_is_bounded)
{
    static const char *const hostile[] = {
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ [0] * 1000000000 }}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s "
        "%}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% "
        "endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}{{ ns.l }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}{{ ns.l | tojson }}",
        "{% set ns = namespace(l=[], m=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% "
        "set ns.m = [ns.m] %}"
        "{% endfor %}{{ ns.l == ns.m }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% "
        "endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] "
        "%}"
        "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
        "{% set t = namespace(x=(1,)) %}{% for i in range(99) %}{% set t.x = (t.x, t.x) %}{% "
        "endfor %}{{ {t.x: 1} }}",
        "{{ 'a'.center(99999999) }}",
        "{{ 'ab'.replace('', 'x' * 900000) }}",
        "{{ [1] | batch(99999999, 0) | list }}",
        "{{ [1] | slice(99999999) | list }}",
        "{{ 'x' | indent(99999999, true) }}",
        "{{ ('x' * 900000).join('y' * 1000) }}",
        "{{ '%99999s%99999s%99999s%99999s%99999s%99999s%99999s%99999s%99999s%99999s%99999s' % "
        "(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    };
    struct buf out = {0};
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        uint64_t start = clock_now_ms();
        enum status status = case_render(str_from(hostile[i]), "{}", &small, &out, &err);
        ck_assert_msg(status == STATUS_TOO_LARGE || status == STATUS_INVALID, "%s: %s %s",
                      hostile[i], status_name(status), err.text);
        ck_assert_msg(clock_now_ms() - start < 5000, "%s took too long", hostile[i]);
    }
    buf_release(&out);
}
END_TEST

START_TEST(long_operator_chains_do_not_overflow_the_stack)
{
    static const char *const links[] = {"+ 1 ", "and 1 ", "| string ", ".a", "[0]", "** 1 "};
    struct buf source = {0}, out = {0};
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        buf_clear(&source);
        buf_str(&source, "{{ x ");
        for (size_t n = 0; n < 30000; n++)
            buf_str(&source, links[i]);
        buf_str(&source, "}}");
        ck_assert_int_eq(
            case_render((struct str){source.data, source.len}, "{\"x\": 1}", NULL, &out, &err),
            STATUS_TOO_LARGE);
    }
    buf_release(&source);
    buf_release(&out);
}
END_TEST

START_TEST(deep_json_is_refused)
{
    struct buf vars = {0}, out = {0};
    struct err err;

    buf_str(&vars, "{\"x\": ");
    for (int i = 0; i < 1500; i++)
        buf_char(&vars, '[');
    for (int i = 0; i < 1500; i++)
        buf_char(&vars, ']');
    buf_char(&vars, '}');
    ck_assert_int_eq(case_render(STR("{{ x }}"), vars.data, NULL, &out, &err), STATUS_TOO_LARGE);
    buf_release(&vars);
    buf_release(&out);
}
END_TEST

struct worker {
    const struct jinja_template *tmpl;
    const json_t *words;
    struct buf out;
};

static void *render_many(void *ctx)
{
    struct worker *worker = ctx;

    for (int i = 0; i < 200; i++) {
        struct jinja_var var = {"words", worker->words};
        buf_clear(&worker->out);
        if (jinja_render(worker->tmpl, &var, 1, NULL, &worker->out, NULL) != STATUS_OK)
            buf_str(&worker->out, "failed");
    }
    return NULL;
}

START_TEST(threads_share_a_template)
{
    const char *source =
        "{% macro m(x) %}{{ x | upper }}:{{ 'constant é' | length }}{{ 'abé'[2] }}{% endmacro %}"
        "{% for w in words %}{{ m(w) }}{{ loop.index }} {% endfor %}{{ words | tojson }}";
    json_t *words = json_pack("[s, s, s]", "a", "é", "x y");
    struct worker workers[2] = {{0}};
    struct jinja_template *tmpl;
    pthread_t threads[2];

    ck_assert_int_eq(jinja_compile(str_from(source), &tmpl, NULL), STATUS_OK);
    for (int i = 0; i < 2; i++) {
        workers[i].tmpl = tmpl;
        workers[i].words = words;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, render_many, &workers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_str_eq(workers[i].out.data, "A:10é1 É:10é2 X Y:10é3 [\"a\", \"é\", \"x y\"]");
        buf_release(&workers[i].out);
    }
    json_decref(words);
    jinja_free(tmpl);
}
END_TEST

SUITE_MAIN("interp", work_is_bounded, long_operator_chains_do_not_overflow_the_stack,
           deep_json_is_refused, threads_share_a_template)
