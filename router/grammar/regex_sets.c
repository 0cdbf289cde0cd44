/* regex_sets - sets of code points. */
#include "router/grammar/regex_nodes.h"

#include <string.h>

struct regex_node *regex_node_new(struct arena *arena, enum node_kind kind)
{
    struct regex_node *node = arena_zalloc(arena, sizeof(*node));
    node->kind = kind;
    return node;
}

void regex_set_add(struct arena *arena, struct regex_node *set, uint32_t lo, uint32_t hi)
{
    if ((set->span_count & (set->span_count - 1)) == 0) { /* full at powers of two */
        struct regex_span *grown =
            arena_array(arena, MAX(4u, 2 * set->span_count), sizeof(*set->spans));
        if (set->span_count > 0)
            memcpy(grown, set->spans, set->span_count * sizeof(*grown));
        set->spans = grown;
    }
    set->spans[set->span_count++] = (struct regex_span){lo, hi};
}

void regex_set_normalize(struct regex_node *set)
{
    struct regex_span *s = set->spans;
    uint32_t kept = 0;
    for (uint32_t i = 1; i < set->span_count; i++)
        for (uint32_t k = i; k > 0 && s[k - 1].lo > s[k].lo; k--) {
            struct regex_span swap = s[k];
            s[k] = s[k - 1];
            s[k - 1] = swap;
        }
    for (uint32_t i = 0; i < set->span_count; i++) {
        if (kept > 0 && s[i].lo <= s[kept - 1].hi + 1)
            s[kept - 1].hi = MAX(s[kept - 1].hi, s[i].hi);
        else
            s[kept++] = s[i];
    }
    set->span_count = kept;
}

struct regex_node *regex_set_negate(struct arena *arena, struct regex_node *set)
{
    struct regex_node *out = regex_node_new(arena, NODE_SET);
    uint32_t next = 0;
    regex_set_normalize(set);
    for (uint32_t i = 0; i < set->span_count; i++) {
        if (set->spans[i].lo > next)
            regex_set_add(arena, out, next, set->spans[i].lo - 1);
        next = set->spans[i].hi + 1;
    }
    if (next <= REGEX_POINT_MAX)
        regex_set_add(arena, out, next, REGEX_POINT_MAX);
    return out;
}

void regex_set_add_class(struct arena *arena, struct regex_node *set, char letter)
{
    static const struct regex_span word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct regex_span space[] = {{'\t', '\r'}, {' ', ' '}};
    const struct regex_span *spans = letter == 's' ? space : word;
    size_t count = letter == 'd' ? 1 : letter == 's' ? ARRAY_LEN(space) : ARRAY_LEN(word);
    for (size_t i = 0; i < count; i++)
        regex_set_add(arena, set, spans[i].lo, spans[i].hi);
}

void regex_set_add_complement(struct arena *arena, struct regex_node *set, char letter)
{
    struct regex_node *inner = regex_node_new(arena, NODE_SET);
    regex_set_add_class(arena, inner, letter);
    struct regex_node *outside = regex_set_negate(arena, inner);
    for (uint32_t i = 0; i < outside->span_count; i++) {
        uint32_t lo = MAX(outside->spans[i].lo, 0x20u), hi = MIN(outside->spans[i].hi, 0x7eu);
        if (lo <= hi)
            regex_set_add(arena, set, lo, hi);
    }
    if (letter != 'w')
        regex_set_add(arena, set, 0xc0, 0x24f);
}
