/* For tests/golden/test_grammar.py. Lines of JSON on standard input: {"schema": …} or {"regex": …} or
 * {"choices": …} or {"without": …}, with "texts": N. Answers a line of JSON each: {"error": …}, or {"texts": [N random
 * walks through the automaton], "states": …, "bytes": …}. {"accepts": [texts]} asks which of them pass. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/automaton.h"
#include "common/json.h"
#include "common/rng.h"
#include "router/grammar/grammar.h"

#define TEXT_MAX 20000

static enum status compile(const json_t *line, struct buf *out, struct err *err)
{
    const json_t *regex = json_object_get(line, "regex"),
                 *choices = json_object_get(line, "choices");
    const json_t *schema = json_object_get(line, "schema"),
                 *without = json_object_get(line, "without");
    if (without)
        return grammar_without(without, out, err);
    if (regex)
        return grammar_from_regex((struct str){json_string_value(regex), json_string_length(regex)},
                                  out, err);
    return choices ? grammar_from_choices(choices, out, err)
                   : grammar_from_schema(json_is_null(schema) ? NULL : schema, out, err);
}

/* One of the bytes that may come; when the text has grown long, those that close. */
static int choose(const struct automaton *a, const struct automaton_at *at, bool close,
                  uint64_t *rng)
{
    static const char closers[] = "\"}]";
    bool seen[256] = {false};
    uint8_t bytes[256];
    uint32_t count = 0;
    for (uint32_t b = 0; b < 256; b++) {
        struct automaton_at next = *at;
        if (!automaton_step(a, &next, (uint8_t)b))
            continue;
        if (close && b && strchr(closers, (int)b) && rng_below(rng, 2))
            return (int)b;
        /* One of each class, so that rare bytes come as often as letters. */
        if (seen[a->class_of[b]] && rng_below(rng, 8) > 0)
            continue;
        seen[a->class_of[b]] = true;
        bytes[count++] = (uint8_t)b;
    }
    return count > 0 ? bytes[rng_below(rng, count)] : -1;
}

static bool walk(const struct automaton *a, uint64_t *rng, struct buf *out)
{
    struct automaton_at at;
    automaton_begin(a, &at);
    uint64_t long_from = 20 + rng_below(rng, 300);
    while (out->len < TEXT_MAX) {
        bool close = out->len > long_from;
        int byte = choose(a, &at, close, rng);
        if (automaton_may_end(a, &at) && (byte < 0 || close || rng_below(rng, 4) == 0))
            return true;
        if (byte < 0 || !automaton_step(a, &at, (uint8_t)byte))
            return false;
        buf_char(out, (char)byte);
    }
    return false;
}

static bool accepts(const struct automaton *a, const json_t *text)
{
    struct automaton_at at;
    automaton_begin(a, &at);
    for (size_t i = 0; i < json_string_length(text); i++)
        if (!automaton_step(a, &at, (uint8_t)json_string_value(text)[i]))
            return false;
    return automaton_may_end(a, &at);
}

static json_t *answer(const json_t *line, uint64_t *rng)
{
    struct buf grammar = {0};
    struct err err = {.text = ""};
    struct automaton a;
    json_t *out = json_object(), *texts = json_array(), *passed = json_array();
    enum status status = compile(line, &grammar, &err);
    if (status == STATUS_OK)
        status = automaton_open(&a, (struct str){grammar.data, grammar.len}, &err);
    if (status != STATUS_OK) {
        json_object_set_new(out, "error", json_string(err.text));
        json_object_set_new(out, "status", json_string(status_name(status)));
    }
    json_int_t count = json_integer_value(json_object_get(line, "texts"));
    for (json_int_t i = 0; i < count && status == STATUS_OK; i++) {
        struct buf text = {0};
        if (!walk(&a, rng, &text))
            json_object_set_new(out, "stuck", json_stringn_nocheck(text.data, text.len));
        else
            json_array_append_new(texts, json_stringn(text.data ? text.data : "", text.len));
        buf_release(&text);
    }
    const json_t *asked = json_object_get(line, "accepts");
    for (size_t i = 0; i < json_array_size(asked) && status == STATUS_OK; i++)
        json_array_append_new(passed, json_boolean(accepts(&a, json_array_get(asked, i))));
    json_object_set_new(out, "texts", texts);
    json_object_set_new(out, "accepts", passed);
    json_object_set_new(out, "bytes", json_integer((json_int_t)grammar.len));
    json_object_set_new(out, "states",
                        json_integer(status == STATUS_OK ? (json_int_t)a.states : 0));
    buf_release(&grammar);
    return out;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    uint64_t rng = 7;
    while ((len = getline(&line, &cap, stdin)) > 0) {
        json_t *request = json_loadb(line, (size_t)len, JSON_ALLOW_NUL, NULL);
        json_t *reply = answer(request, &rng);
        char *text = json_dumps(reply, JSON_COMPACT);
        puts(text ? text : "{}");
        fflush(stdout);
        free(text);
        json_decref(reply);
        json_decref(request);
    }
    free(line);
    return 0;
}
