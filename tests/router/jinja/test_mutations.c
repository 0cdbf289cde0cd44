/* Random bytes and mutated templates: no crash, no hang, and errors that have a text. Prints its
 * seed; MSGL_FUZZ_SEED and MSGL_FUZZ_COUNT choose others. */
#include "tests/router/jinja/cases.h"

#include <stdio.h>

#include "common/rng.h"
#include "common/utf8.h"
#include "tests/effort.h"

static const char *const seeds[] = {
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m.content | trim }}{% endfor %}",
    "{%- set ns = namespace(x=0) -%}{% for i in l if i > 1 %}{% set ns.x = ns.x + i %}{% endfor "
    "%}{{ ns.x }}",
    "{% macro m(a, b=2) %}{{ a ~ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, *l, **d) }}",
    "{% for t in l recursive %}{{ loop.index }}{{ loop.changed(t) }}{{ loop.cycle(1, 2) }}{% "
    "endfor %}",
    "{{ d | tojson(indent=2) }}{{ l | sort | reverse | list | join(', ') }}{{ s.split('l', 1)[-1] "
    "}}",
    "{% set t %}{% filter upper %}{{ s }}{% endfilter %}{% endset %}{{ t[::-1] }}{{ s[1:-1:2] }}",
    "{% call(v) m(1) %}{{ v }}{% endcall %}{% raw %}{{ }}{% endraw %}{# c #}{{ '%5.2f' % 3.14159 "
    "}}",
    "{% if s is string and n is not odd or x is defined %}{{ s.title() }}{% elif l %}a{% else "
    "%}b{% endif %}",
    "{{ 'a{0}b{x!r:>9}'.format(1, x=s) }}{{ messages | selectattr('role', 'in', ['user']) | list "
    "}}",
    "{{ (n * 3 // 2) ** 2 % 7 - f / 3 }}{{ n in l and 'x' not in s }}{{ 1 if n else 2 }}{{ not n "
    "}}",
    "{% with a = 1, b = s %}{{ a }}{{ b | indent(2, true) }}{% endwith %}{{ s | replace('l', '') | "
    "e }}",
    "{{ l | batch(2, 0) | list }}{{ l | groupby(0) }}{{ d | dictsort(by='value') }}{{ "
    "'\\u00e9\\x41\\n' }}",
    "{% for k, v in d.items() %}{% if loop.first %}{% continue %}{% endif %}{{ k }}{% break %}{% "
    "endfor %}",
};
static const char *const pieces[] = {
    "{{",       "}}",         "{%",          "%}",
    "{#",       "#}",         "-",           "+",
    "|",        "(",          ")",           "[",
    "]",        "{",          "}",           ".",
    ",",        ":",          "'",           "\"",
    "\\",       " if ",       " else ",      " for ",
    " in ",     " is ",       " not ",       " set ",
    " endset ", " endfor ",   " endif ",     "loop",
    "**",       "*",          "//",          "%",
    "~",        "0",          "9",           "99999999",
    "1e999",    "None",       "true",        "\n",
    "é",        "|list",      "|tojson",     "()",
    "[::-1]",   " recursive", "{% raw %}",   "{% endraw %}",
    "caller",   "ns.x",       "{% break %}", "=",
    "==",       "<",
};

static const char *const vars = "{\"messages\": [{\"role\": \"user\", \"content\": \"hé\"}, "
                                "{\"role\": \"tool\", \"content\": null}],"
                                "\"l\": [1, 2, 3], \"d\": {\"a\": 1, \"b\": [\"x\"]}, \"s\": "
                                "\"Hello é\", \"n\": 4, \"f\": 0.5}";

static const struct jinja_limits limits = {
    .steps_max = 200000, .arena_bytes_max = 8 << 20, .output_bytes_max = 1 << 20, .depth_max = 300};

static void splice(struct buf *text, size_t at, size_t cut, const char *with, size_t len)
{
    struct buf copy = {0};

    at = MIN(at, text->len);
    cut = MIN(cut, text->len - at);
    buf_append(&copy, text->data, at);
    buf_append(&copy, with, len);
    buf_append(&copy, text->data + at + cut, text->len - at - cut);
    buf_release(text);
    *text = copy;
}

static void mutate(uint64_t *rng, struct buf *text)
{
    const char *piece = pieces[rng_below(rng, ARRAY_LEN(pieces))];
    const char *other = seeds[rng_below(rng, ARRAY_LEN(seeds))];
    size_t at = rng_below(rng, text->len + 1), from = rng_below(rng, strlen(other));
    char byte = (char)rng_below(rng, 256);

    switch (rng_below(rng, 5)) {
    case 0:
        splice(text, at, rng_below(rng, 6), "", 0);
        break;
    case 1:
        splice(text, at, rng_below(rng, 3), piece, strlen(piece));
        break;
    case 2:
        splice(text, at, 0, piece, strlen(piece));
        break;
    case 3:
        splice(text, at, rng_below(rng, 20), other + from,
               rng_below(rng, strlen(other) - from) + 1);
        break;
    default:
        splice(text, at, 1, &byte, 1);
    }
}

START_TEST(mutated_templates)
{
    const char *seed_text = getenv("MSGL_FUZZ_SEED"), *count_text = getenv("MSGL_FUZZ_COUNT");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 20240607;
    uint64_t count = count_text ? strtoull(count_text, NULL, 10) : 20000, rendered = 0;
    struct buf text = {0}, out = {0};
    uint64_t rng;

    rng = seed;
    for (uint64_t i = 0; i < count; i++) {
        struct err err = {0};
        enum status status;
        buf_clear(&text);
        buf_str(&text, seeds[rng_below(&rng, ARRAY_LEN(seeds))]);
        for (uint64_t n = rng_below(&rng, 6); n-- > 0;)
            mutate(&rng, &text);
        status = case_render((struct str){text.data, text.len}, vars, &limits, &out, &err);
        rendered += status == STATUS_OK;
        ck_assert_msg(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_TOO_LARGE,
                      "seed %llu case %llu: %s", (unsigned long long)seed, (unsigned long long)i,
                      text.data);
        ck_assert_msg(status == STATUS_OK || err.text[0] || strstr(text.data, "raise_"),
                      "no error text: %s", text.data);
        ck_assert_msg(utf8_valid(err.text, strlen(err.text)), "error text: %s", text.data);
    }
    ck_assert_uint_gt(rendered, 0);
    buf_release(&text);
    buf_release(&out);
}
END_TEST

START_TEST(random_bytes)
{
    struct buf text = {0}, out = {0};
    struct err err;
    uint64_t rng;

    rng = 99;
    for (uint64_t i = 0, rounds = effort(5000); i < rounds; i++) {
        buf_clear(&text);
        buf_str(&text, rng_below(&rng, 2) ? "{{" : "{%");
        for (uint64_t n = rng_below(&rng, 40); n-- > 0;)
            buf_char(&text,
                     (char)(rng_below(&rng, 4) ? 32 + rng_below(&rng, 95) : rng_below(&rng, 256)));
        ck_assert_int_ne(case_render((struct str){text.data, text.len}, vars, &limits, &out, &err),
                         STATUS_INTERNAL);
    }
    buf_release(&text);
    buf_release(&out);
}
END_TEST

SUITE_MAIN("mutations", mutated_templates, random_bytes)
