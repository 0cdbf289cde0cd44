#include "router/grammar/grammar_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/grammar/grammar_regex.h"

#define SPACE_MAX 20
#define DIGITS    15 /* of an integer without bounds, and of a fraction */

uint32_t json_space(struct json_rules *rules, uint32_t from)
{
    static const char spaces[] = " \t\n\r";
    struct nfa *nfa = rules->nfa;
    if (rules->space == NFA_NONE) {
        rules->space = nfa_rule(nfa);
        uint32_t at = nfa->rules[rules->space].start;
        for (int i = 0; i < SPACE_MAX; i++) {
            uint32_t to = nfa_state(nfa);
            for (const char *c = spaces; *c; c++)
                nfa_range(nfa, at, (uint8_t)*c, (uint8_t)*c, to);
            nfa_empty(nfa, to, nfa->rules[rules->space].end);
            at = to;
        }
    }
    uint32_t to = nfa_call(nfa, from, rules->space);
    nfa_empty(nfa, from, to);
    return to;
}

uint32_t json_char(struct json_rules *rules, uint32_t from, char c)
{
    return nfa_text(rules->nfa, from, &c, 1);
}

uint32_t json_mark(struct json_rules *rules, uint32_t from, char c)
{
    return json_space(rules, json_char(rules, from, c));
}

/* A character of a string whose length counts. Compact: ASCII as it stands is an edge, the rest a call. */
static uint32_t put_counted(struct json_rules *rules, uint32_t from)
{
    struct nfa *nfa = rules->nfa;
    static const uint8_t plain[][2] = {{' ', '!'}, {'#', '['}, {']', 0x7f}};
    if (!rules->compact)
        return regex_put_json_char(nfa, from);
    if (rules->rare == NFA_NONE) {
        rules->rare = nfa_rule(nfa);
        regex_put_json_rare(nfa, nfa->rules[rules->rare].start, nfa->rules[rules->rare].end);
    }
    uint32_t to = nfa_call(nfa, from, rules->rare);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        nfa_range(nfa, from, plain[i][0], plain[i][1], to);
    return to;
}

uint32_t json_string_of(struct json_rules *rules, uint32_t from, uint32_t min, uint32_t max)
{
    struct nfa *nfa = rules->nfa;
    uint32_t at = json_char(rules, from, '"'), end = nfa_state(nfa);
    for (uint32_t i = 0; i < min && !nfa->too_large; i++)
        at = put_counted(rules, at);
    nfa_empty(nfa, at, end);
    if (max == UINT32_MAX) {
        nfa_empty(nfa, regex_put_json_char(nfa, end), end);
    } else {
        for (uint32_t i = min; i < max && !nfa->too_large; i++) {
            at = put_counted(rules, at);
            nfa_empty(nfa, at, end);
        }
    }
    return json_char(rules, end, '"');
}

uint32_t json_literal(struct json_rules *rules, uint32_t from, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    uint32_t to = text ? nfa_text(rules->nfa, from, text, strlen(text)) : from;
    free(text);
    return to;
}

/* "{" members "}", each any key and any value. */
static uint32_t put_object(struct json_rules *rules, uint32_t from)
{
    struct nfa *nfa = rules->nfa;
    uint32_t open = json_space(rules, json_char(rules, from, '{'));
    uint32_t key = nfa_state(nfa), close = nfa_state(nfa);
    nfa_empty(nfa, open, key);
    nfa_empty(nfa, open, close);
    uint32_t at = json_mark(rules, json_string_of(rules, key, 0, UINT32_MAX), ':');
    at = json_any(rules, at);
    nfa_empty(nfa, json_mark(rules, at, ','), key);
    nfa_empty(nfa, json_space(rules, at), close);
    return json_char(rules, close, '}');
}

static uint32_t put_array(struct json_rules *rules, uint32_t from)
{
    struct nfa *nfa = rules->nfa;
    uint32_t open = json_space(rules, json_char(rules, from, '['));
    uint32_t item = nfa_state(nfa), close = nfa_state(nfa);
    nfa_empty(nfa, open, item);
    nfa_empty(nfa, open, close);
    uint32_t at = json_any(rules, item);
    nfa_empty(nfa, json_mark(rules, at, ','), item);
    nfa_empty(nfa, json_space(rules, at), close);
    return json_char(rules, close, ']');
}

static void put_any(struct json_rules *rules, uint32_t from, uint32_t end)
{
    static const char *const words[] = {"true", "false", "null"};
    static const struct json_bounds none = {-INFINITY, INFINITY, false, false};
    struct nfa *nfa = rules->nfa;
    uint32_t to = from;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        nfa_empty(nfa, nfa_text(nfa, from, words[i], strlen(words[i])), end);
    nfa_empty(nfa, json_string_of(rules, from, 0, UINT32_MAX), end);
    (void)json_number_of(rules, from, &none, &to);
    nfa_empty(nfa, to, end);
    nfa_empty(nfa, put_object(rules, from), end);
    nfa_empty(nfa, put_array(rules, from), end);
}

uint32_t json_any(struct json_rules *rules, uint32_t from)
{
    if (rules->value == NFA_NONE) {
        rules->value = nfa_rule(rules->nfa);
        put_any(rules, rules->nfa->rules[rules->value].start, rules->nfa->rules[rules->value].end);
    }
    return nfa_call(rules->nfa, from, rules->value);
}

uint32_t json_any_object(struct json_rules *rules, uint32_t from)
{
    if (rules->object == NFA_NONE) {
        rules->object = nfa_rule(rules->nfa);
        struct nfa_rule rule = rules->nfa->rules[rules->object];
        nfa_empty(rules->nfa, put_object(rules, rule.start), rule.end);
    }
    return nfa_call(rules->nfa, from, rules->object);
}

/* ---- numbers ---- */

/* From `from` to `to`: min to max of the digits 0-9. */
static void put_digits(struct nfa *nfa, uint32_t from, uint32_t min, uint32_t max, uint32_t to)
{
    for (uint32_t i = 0; i < max; i++) {
        uint32_t next = nfa_state(nfa);
        if (i >= min)
            nfa_empty(nfa, from, to);
        nfa_range(nfa, from, '0', '9', next);
        from = next;
    }
    nfa_empty(nfa, from, to);
}

/* Numbers of the digits of lo to hi, both `len` long. */
static void put_same_length(struct nfa *nfa, uint32_t from, const char *lo, const char *hi,
                            size_t len, uint32_t to)
{
    if (len == 0) {
        nfa_empty(nfa, from, to);
        return;
    }
    bool low = lo[0] != '0' || strspn(lo, "0") < len, high = strspn(hi, "9") < len;
    if (!low && !high) {
        put_digits(nfa, from, (uint32_t)len, (uint32_t)len, to);
        return;
    }
    char zeros[24], nines[24];
    memset(zeros, '0', len), memset(nines, '9', len);
    zeros[len] = nines[len] = '\0';
    for (char d = lo[0]; d <= hi[0]; d++) {
        uint32_t next = nfa_state(nfa);
        nfa_range(nfa, from, (uint8_t)d, (uint8_t)d, next);
        put_same_length(nfa, next, d == lo[0] ? lo + 1 : zeros + 1, d == hi[0] ? hi + 1 : nines + 1,
                        len - 1, to);
    }
}

/* Decimal numbers from lo to hi without leading zeros. */
static void put_naturals(struct nfa *nfa, uint32_t from, uint64_t lo, uint64_t hi, uint32_t to)
{
    for (uint64_t first = 0, last = 9; lo <= hi && first <= hi;
         first = last + 1, last = last * 10 + 9) {
        uint64_t a = MAX(lo, first), b = MIN(hi, last);
        char low[24], high[24];
        if (a > b)
            continue;
        snprintf(low, sizeof(low), "%llu", (unsigned long long)a);
        snprintf(high, sizeof(high), "%llu", (unsigned long long)b);
        put_same_length(nfa, from, low, high, strlen(low), to);
    }
}

/* The whole numbers within bounds; false: none. */
static bool whole_range(const struct json_bounds *bounds, int64_t limit, int64_t *lo, int64_t *hi)
{
    double min = ceil(bounds->min), max = floor(bounds->max);
    if (bounds->min_open && min == bounds->min)
        min += 1;
    if (bounds->max_open && max == bounds->max)
        max -= 1;
    if (min > (double)limit || max < -(double)limit || min > max)
        return false;
    *lo = (int64_t)MAX(min, -(double)limit);
    *hi = (int64_t)MIN(max, (double)limit);
    return true;
}

static void put_whole(struct nfa *nfa, uint32_t from, int64_t lo, int64_t hi, uint32_t to)
{
    if (hi >= 0)
        put_naturals(nfa, from, (uint64_t)MAX(lo, 0), (uint64_t)hi, to);
    if (lo < 0) {
        uint32_t minus = nfa_text(nfa, from, "-", 1);
        put_naturals(nfa, minus, hi < 0 ? (uint64_t)-hi : 1, (uint64_t)-lo, to);
    }
}

/* Compact, and there are no bounds: a call of the rule, which `put` makes. */
static bool calls_number(struct json_rules *rules, const struct json_bounds *bounds, uint32_t *rule,
                         bool (*put)(struct json_rules *, uint32_t, const struct json_bounds *,
                                     uint32_t *),
                         uint32_t from, uint32_t *to)
{
    struct nfa *nfa = rules->nfa;
    if (!rules->compact || isfinite(bounds->min) || isfinite(bounds->max))
        return false;
    if (*rule == NFA_NONE) {
        uint32_t end = 0;
        *rule = nfa_rule(nfa);
        rules->compact = false;
        (void)put(rules, nfa->rules[*rule].start, bounds, &end);
        rules->compact = true;
        nfa_empty(nfa, end, nfa->rules[*rule].end);
    }
    *to = nfa_call(nfa, from, *rule);
    return true;
}

bool json_integer_of(struct json_rules *rules, uint32_t from, const struct json_bounds *bounds,
                     uint32_t *to)
{
    int64_t lo, hi;
    if (calls_number(rules, bounds, &rules->integer, json_integer_of, from, to))
        return true;
    if (!whole_range(bounds, INT64_C(999999999999999), &lo, &hi))
        return false;
    *to = nfa_state(rules->nfa);
    put_whole(rules->nfa, from, lo, hi, *to);
    return true;
}

/* Whole numbers, and those with a fraction whose whole next neighbours are within bounds too. */
static bool put_bounded(struct nfa *nfa, uint32_t from, const struct json_bounds *bounds,
                        uint32_t to)
{
    int64_t lo, hi;
    if (!whole_range(bounds, INT64_C(999999999), &lo, &hi))
        return false;
    put_whole(nfa, from, lo, hi, to);
    uint32_t whole = nfa_state(nfa), dot = nfa_state(nfa);
    if (hi > 0) /* n.f lies in [n, n + 1) */
        put_naturals(nfa, from, (uint64_t)MAX(lo, 0), (uint64_t)hi - 1, whole);
    if (lo < 0) { /* -n.f lies in (-n - 1, -n] */
        uint32_t minus = nfa_text(nfa, from, "-", 1);
        put_naturals(nfa, minus, hi < 0 ? (uint64_t)-hi : 0, (uint64_t)-lo - 1, whole);
    }
    nfa_range(nfa, whole, '.', '.', dot);
    put_digits(nfa, dot, 1, 6, to);
    return true;
}

bool json_number_of(struct json_rules *rules, uint32_t from, const struct json_bounds *bounds,
                    uint32_t *to)
{
    struct nfa *nfa = rules->nfa;
    if (calls_number(rules, bounds, &rules->number, json_number_of, from, to))
        return true;
    *to = nfa_state(nfa);
    if (isfinite(bounds->min) || isfinite(bounds->max))
        return put_bounded(nfa, from, bounds, *to);
    uint32_t sign = nfa_state(nfa), whole = nfa_state(nfa), rest = nfa_state(nfa);
    uint32_t dot = nfa_state(nfa), mantissa = nfa_state(nfa), e = nfa_state(nfa),
             digits = nfa_state(nfa);
    nfa_empty(nfa, from, sign);
    nfa_range(nfa, from, '-', '-', sign);
    nfa_range(nfa, sign, '0', '0', whole);
    nfa_range(nfa, sign, '1', '9', rest);
    put_digits(nfa, rest, 0, DIGITS, whole);
    nfa_empty(nfa, whole, mantissa);
    nfa_range(nfa, whole, '.', '.', dot);
    put_digits(nfa, dot, 1, DIGITS, mantissa);
    nfa_empty(nfa, mantissa, *to);
    nfa_range(nfa, mantissa, 'e', 'e', e);
    nfa_range(nfa, mantissa, 'E', 'E', e);
    nfa_empty(nfa, e, digits);
    nfa_range(nfa, e, '+', '+', digits);
    nfa_range(nfa, e, '-', '-', digits);
    put_digits(nfa, digits, 1, 2, *to);
    return true;
}
