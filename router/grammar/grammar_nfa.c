#include "router/grammar/grammar_nfa.h"

#include <string.h>

#include "common/mem.h"
#include "common/utf8.h"

void nfa_release(struct nfa *nfa)
{
    mem_free(nfa->edges_of);
    mem_free(nfa->edges);
    memset(nfa, 0, sizeof(*nfa));
}

uint32_t nfa_state(struct nfa *nfa)
{
    if (nfa->states == NFA_STATES_MAX) {
        nfa->too_large = true;
        return 0;
    }
    if (nfa->states == nfa->states_cap) {
        nfa->states_cap = MAX(256u, 2 * nfa->states_cap);
        nfa->edges_of = mem_realloc(nfa->edges_of, nfa->states_cap * sizeof(*nfa->edges_of));
    }
    nfa->edges_of[nfa->states] = NFA_NONE;
    return nfa->states++;
}

uint32_t nfa_rule(struct nfa *nfa)
{
    if (nfa->rule_count == NFA_RULES_MAX) {
        nfa->too_large = true;
        return 0;
    }
    uint32_t start = nfa_state(nfa), end = nfa_state(nfa);
    nfa->rules[nfa->rule_count] = (struct nfa_rule){start, end};
    return nfa->rule_count++;
}

static void add_edge(struct nfa *nfa, uint32_t from, struct nfa_edge edge)
{
    if (nfa->too_large)
        return;
    if (nfa->edge_count == nfa->edges_cap) {
        nfa->edges_cap = MAX(256u, 2 * nfa->edges_cap);
        nfa->edges = mem_realloc(nfa->edges, nfa->edges_cap * sizeof(*nfa->edges));
    }
    edge.next = nfa->edges_of[from];
    nfa->edges[nfa->edge_count] = edge;
    nfa->edges_of[from] = nfa->edge_count++;
}

void nfa_empty(struct nfa *nfa, uint32_t from, uint32_t to)
{
    add_edge(nfa, from, (struct nfa_edge){.kind = NFA_EMPTY, .to = to});
}

void nfa_range(struct nfa *nfa, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to)
{
    add_edge(nfa, from, (struct nfa_edge){.kind = NFA_BYTES, .lo = lo, .hi = hi, .to = to});
}

uint32_t nfa_call(struct nfa *nfa, uint32_t from, uint32_t rule)
{
    uint32_t to = nfa_state(nfa);
    add_edge(nfa, from, (struct nfa_edge){.kind = NFA_RULE, .rule = rule, .to = to});
    return to;
}

uint32_t nfa_text(struct nfa *nfa, uint32_t from, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint32_t to = nfa_state(nfa);
        nfa_range(nfa, from, (uint8_t)text[i], (uint8_t)text[i], to);
        from = to;
    }
    return from;
}

/* lo and hi have UTF-8 of the same length, and differ so that every byte from `at` on runs over its
 * whole range, or only the first differing one does not: see nfa_points. */
static void points_of_bytes(struct nfa *nfa, uint32_t from, const char *lo, const char *hi, int len,
                            uint32_t to)
{
    for (int i = 0; i < len; i++) {
        uint32_t next = i + 1 == len ? to : nfa_state(nfa);
        nfa_range(nfa, from, (uint8_t)lo[i], (uint8_t)hi[i], next);
        from = next;
    }
}

/* Splits until the range is a product of byte ranges: at the borders of encoded lengths, then where
 * the low `bits` of the ends are not all zeros and all ones. */
static void points_split(struct nfa *nfa, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    static const uint32_t last_of_length[] = {0x7f, 0x7ff, 0xffff};
    char a[4], b[4];
    for (size_t i = 0; i < ARRAY_LEN(last_of_length); i++) {
        if (lo <= last_of_length[i] && hi > last_of_length[i]) {
            points_split(nfa, from, lo, last_of_length[i], to);
            points_split(nfa, from, last_of_length[i] + 1, hi, to);
            return;
        }
    }
    for (uint32_t bits = 6; hi > 0x7f && bits <= 18; bits += 6) {
        uint32_t mask = (1u << bits) - 1;
        if ((lo & ~mask) == (hi & ~mask))
            break;
        if ((lo & mask) != 0) {
            points_split(nfa, from, lo, lo | mask, to);
            points_split(nfa, from, (lo | mask) + 1, hi, to);
            return;
        }
        if ((hi & mask) != mask) {
            points_split(nfa, from, lo, (hi & ~mask) - 1, to);
            points_split(nfa, from, hi & ~mask, hi, to);
            return;
        }
    }
    int len = utf8_encode(lo, a);
    utf8_encode(hi, b);
    points_of_bytes(nfa, from, a, b, len, to);
}

void nfa_points(struct nfa *nfa, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to)
{
    if (lo <= 0xdfff && hi >= 0xd800) {
        if (lo < 0xd800)
            points_split(nfa, from, lo, 0xd7ff, to);
        if (hi > 0xdfff)
            points_split(nfa, from, 0xe000, hi, to);
        return;
    }
    if (lo <= hi)
        points_split(nfa, from, lo, hi, to);
}

/* Sets lives[i] of the states first + i from which `end` is reached: backwards, each edge once. */
static void find_living(const struct nfa *nfa, uint32_t first, uint32_t end, bool *lives)
{
    uint32_t count = nfa->states - first, depth = 0;
    uint32_t *heads = mem_alloc(count * sizeof(*heads)), *stack = mem_alloc(count * sizeof(*stack));
    struct back {
        uint32_t from, next; /* next: leads to the same state */
    } *backs = mem_alloc(MAX(nfa->edge_count, 1u) * sizeof(*backs));
    for (uint32_t i = 0; i < count; i++)
        heads[i] = NFA_NONE;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t e = nfa->edges_of[first + i]; e != NFA_NONE; e = nfa->edges[e].next) {
            if (nfa->edges[e].to < first)
                continue;
            backs[e] = (struct back){i, heads[nfa->edges[e].to - first]};
            heads[nfa->edges[e].to - first] = e;
        }
    }
    lives[end - first] = true;
    stack[depth++] = end - first;
    while (depth > 0) {
        for (uint32_t e = heads[stack[--depth]]; e != NFA_NONE; e = backs[e].next) {
            if (lives[backs[e].from])
                continue;
            lives[backs[e].from] = true;
            stack[depth++] = backs[e].from;
        }
    }
    mem_free(heads);
    mem_free(stack);
    mem_free(backs);
}

static void drop_dead(struct nfa *nfa, uint32_t state, uint32_t first, const bool *lives)
{
    uint32_t *link = &nfa->edges_of[state];
    while (*link != NFA_NONE) {
        const struct nfa_edge *edge = &nfa->edges[*link];
        if (edge->to >= first && !lives[edge->to - first])
            *link = edge->next;
        else
            link = &nfa->edges[*link].next;
    }
}

bool nfa_trim(struct nfa *nfa, uint32_t from, uint32_t first, uint32_t end)
{
    bool *lives = mem_array(nfa->states - first, sizeof(*lives)), some = false;
    find_living(nfa, first, end, lives);
    for (uint32_t e = nfa->edges_of[from]; e != NFA_NONE; e = nfa->edges[e].next)
        some |= nfa->edges[e].to >= first && lives[nfa->edges[e].to - first];
    for (uint32_t state = first; state < nfa->states; state++)
        drop_dead(nfa, state, first, lives);
    drop_dead(nfa, from, first, lives);
    mem_free(lives);
    return some;
}
