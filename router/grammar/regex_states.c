/* regex_states - a tree to states of an automaton. */
#include "router/grammar/regex_nodes.h"

/* A span inside a JSON string: what may stand raw, and the short escapes. */
static void put_json_span(struct nfa *nfa, uint32_t from, struct regex_span span, uint32_t to)
{
    static const struct regex_span raw[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, REGEX_POINT_MAX}};
    static const char escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                                      {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};
    for (size_t i = 0; i < ARRAY_LEN(raw); i++) {
        uint32_t lo = MAX(span.lo, raw[i].lo), hi = MIN(span.hi, raw[i].hi);
        if (lo <= hi)
            nfa_points(nfa, from, lo, hi, to);
    }
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        uint32_t point = (unsigned char)escapes[i][0];
        if (point < span.lo || point > span.hi)
            continue;
        uint32_t mid = nfa_state(nfa);
        nfa_range(nfa, from, '\\', '\\', mid);
        nfa_range(nfa, mid, (uint8_t)escapes[i][1], (uint8_t)escapes[i][1], to);
    }
}

uint32_t regex_put_set(struct nfa *nfa, uint32_t from, const struct regex_node *set, bool json)
{
    uint32_t to = nfa_state(nfa);
    for (uint32_t i = 0; i < set->span_count; i++) {
        if (json)
            put_json_span(nfa, from, set->spans[i], to);
        else
            nfa_points(nfa, from, set->spans[i].lo, set->spans[i].hi, to);
    }
    return to;
}

static uint32_t put_repeat(struct nfa *nfa, uint32_t from, const struct regex_node *node, bool json)
{
    for (uint32_t i = 0; i < node->min && !nfa->too_large; i++)
        from = regex_put(nfa, from, node->a, json);
    if (node->max == UINT32_MAX) {
        uint32_t loop = nfa_state(nfa);
        nfa_empty(nfa, from, loop);
        nfa_empty(nfa, regex_put(nfa, loop, node->a, json), loop);
        return loop;
    }
    uint32_t end = nfa_state(nfa);
    nfa_empty(nfa, from, end);
    for (uint32_t i = node->min; i < node->max && !nfa->too_large; i++) {
        from = regex_put(nfa, from, node->a, json);
        nfa_empty(nfa, from, end);
    }
    return end;
}

uint32_t regex_put(struct nfa *nfa, uint32_t from, const struct regex_node *node, bool json)
{
    switch (node->kind) {
    case NODE_EMPTY:
        return from;
    case NODE_SET:
        return regex_put_set(nfa, from, node, json);
    case NODE_CAT:
        return regex_put(nfa, regex_put(nfa, from, node->a, json), node->b, json);
    case NODE_ALT: {
        uint32_t end = nfa_state(nfa);
        nfa_empty(nfa, regex_put(nfa, from, node->a, json), end);
        nfa_empty(nfa, regex_put(nfa, from, node->b, json), end);
        return end;
    }
    case NODE_REPEAT:
        return put_repeat(nfa, from, node, json);
    }
    return from;
}

/* \/ and \uHHHH, but for surrogates: d8 to df. */
static void put_escapes(struct nfa *nfa, uint32_t from, uint32_t to)
{
    uint32_t slash = nfa_state(nfa), u = nfa_state(nfa);
    uint32_t any = nfa_state(nfa), d = nfa_state(nfa), two = nfa_state(nfa), one = nfa_state(nfa);
    static const uint8_t hex[][2] = {{'0', '9'}, {'a', 'f'}, {'A', 'F'}};
    nfa_range(nfa, from, '\\', '\\', slash);
    nfa_range(nfa, slash, '/', '/', to);
    nfa_range(nfa, slash, 'u', 'u', u);
    static const uint8_t not_d[][2] = {{'0', '9'}, {'a', 'c'}, {'e', 'f'}, {'A', 'C'}, {'E', 'F'}};
    for (size_t i = 0; i < ARRAY_LEN(not_d); i++)
        nfa_range(nfa, u, not_d[i][0], not_d[i][1], any);
    nfa_range(nfa, u, 'd', 'd', d);
    nfa_range(nfa, u, 'D', 'D', d);
    nfa_range(nfa, d, '0', '7', two);
    for (size_t i = 0; i < ARRAY_LEN(hex); i++) {
        nfa_range(nfa, any, hex[i][0], hex[i][1], two);
        nfa_range(nfa, two, hex[i][0], hex[i][1], one);
        nfa_range(nfa, one, hex[i][0], hex[i][1], to);
    }
}

uint32_t regex_put_json_char(struct nfa *nfa, uint32_t from)
{
    uint32_t to = nfa_state(nfa);
    put_json_span(nfa, from, (struct regex_span){0, REGEX_POINT_MAX}, to);
    put_escapes(nfa, from, to);
    return to;
}

void regex_put_json_rare(struct nfa *nfa, uint32_t from, uint32_t to)
{
    static const struct regex_span spans[] = {
        {0, 0x1f}, {'"', '"'}, {'\\', '\\'}, {0x80, REGEX_POINT_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(spans); i++)
        put_json_span(nfa, from, spans[i], to);
    put_escapes(nfa, from, to);
}

/* Any characters, any number of them. */
static uint32_t put_any(struct nfa *nfa, uint32_t from)
{
    uint32_t loop = nfa_state(nfa);
    nfa_empty(nfa, from, loop);
    nfa_empty(nfa, regex_put_json_char(nfa, loop), loop);
    return loop;
}

uint32_t regex_put_json_text(struct nfa *nfa, uint32_t from, const struct regex *regex,
                             uint32_t min, uint32_t max)
{
    if (min > 0 || max != UINT32_MAX)
        return regex_put_counted(nfa, from, regex, min, max);
    if (!regex->from_start)
        from = put_any(nfa, from);
    from = regex_put(nfa, from, regex->root, true);
    return regex->to_end ? from : put_any(nfa, from);
}
