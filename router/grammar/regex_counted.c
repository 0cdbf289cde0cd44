/* regex_counted - a tree to states, the length counted.
 *
 * Each place of the expression is there once a length so far: layer k is where k code points were
 * read. Where there is no end of lengths the last layer means "so many or more".
 *
 *   ^ab*$, 2 to 3:   [0] ─a─► [1] ─b─► [2]· ─b─► [3]·        · may end */
#include "router/grammar/regex_nodes.h"

#include "common/mem.h"

#define COUNTED_WORK_MAX 10000000u /* layers looked at: some 30 ms */

struct counted {
    struct nfa *nfa;
    uint32_t top;
    bool endless;
    uint64_t work;
};

static uint32_t *layers_new(struct counted *c)
{
    uint32_t *layers = mem_alloc((c->top + (size_t)1) * sizeof(*layers));
    for (uint32_t k = 0; k <= c->top; k++)
        layers[k] = NFA_NONE;
    c->work += c->top + 1;
    c->nfa->too_large |= c->work > COUNTED_WORK_MAX;
    return layers;
}

static void layer_join(struct counted *c, uint32_t *layers, uint32_t k, uint32_t state)
{
    if (layers[k] == NFA_NONE)
        layers[k] = nfa_state(c->nfa);
    nfa_empty(c->nfa, state, layers[k]);
}

static void layers_join(struct counted *c, uint32_t *into, const uint32_t *from)
{
    for (uint32_t k = 0; k <= c->top; k++)
        if (from[k] != NFA_NONE)
            layer_join(c, into, k, from[k]);
}

static void put_layers(struct counted *c, const struct regex_node *node, const uint32_t *in,
                       uint32_t *out);

/* Any number of times. From each layer on its own, lowest first: what it leads to is higher, or itself. */
static void put_loop(struct counted *c, const struct regex_node *node, uint32_t *loop)
{
    for (uint32_t k = 0; k <= c->top && !c->nfa->too_large; k++) {
        if (loop[k] == NFA_NONE)
            continue;
        uint32_t *one = layers_new(c), *led = layers_new(c);
        one[k] = loop[k];
        put_layers(c, node, one, led);
        layers_join(c, loop, led);
        mem_free(one);
        mem_free(led);
    }
}

static void put_layers_repeat(struct counted *c, const struct regex_node *node, const uint32_t *in,
                              uint32_t *out)
{
    uint32_t *at = layers_new(c), times = node->max == UINT32_MAX ? node->min : node->max;
    layers_join(c, at, in);
    if (node->min == 0)
        layers_join(c, out, at);
    for (uint32_t i = 0; i < times && !c->nfa->too_large; i++) {
        uint32_t *next = layers_new(c);
        put_layers(c, node->a, at, next);
        mem_free(at);
        at = next;
        if (i + 1 >= node->min)
            layers_join(c, out, at);
    }
    if (node->max == UINT32_MAX) {
        put_loop(c, node->a, at);
        layers_join(c, out, at);
    }
    mem_free(at);
}

/* Adds to out what the node leads to from in. */
static void put_layers(struct counted *c, const struct regex_node *node, const uint32_t *in,
                       uint32_t *out)
{
    if (c->nfa->too_large)
        return;
    switch (node->kind) {
    case NODE_EMPTY:
        layers_join(c, out, in);
        break;
    case NODE_SET:
        for (uint32_t k = 0; k <= c->top; k++)
            if (in[k] != NFA_NONE && (k < c->top || c->endless))
                layer_join(c, out, MIN(k + 1, c->top), regex_put_set(c->nfa, in[k], node, true));
        break;
    case NODE_CAT: {
        uint32_t *mid = layers_new(c);
        put_layers(c, node->a, in, mid);
        put_layers(c, node->b, mid, out);
        mem_free(mid);
        break;
    }
    case NODE_ALT:
        put_layers(c, node->a, in, out);
        put_layers(c, node->b, in, out);
        break;
    case NODE_REPEAT:
        put_layers_repeat(c, node, in, out);
        break;
    }
}

uint32_t regex_put_counted(struct nfa *nfa, uint32_t from, const struct regex *regex, uint32_t min,
                           uint32_t max)
{
    static const struct regex_span all = {0, REGEX_POINT_MAX};
    const struct regex_node any = {
        .kind = NODE_SET, .spans = (struct regex_span *)&all, .span_count = 1};
    const struct regex_node some = {.kind = NODE_REPEAT, .a = &any, .max = UINT32_MAX};
    const struct regex_node *parts[] = {regex->from_start ? NULL : &some, regex->root,
                                        regex->to_end ? NULL : &some};
    struct counted c = {
        .nfa = nfa, .top = max == UINT32_MAX ? min : max, .endless = max == UINT32_MAX};
    uint32_t *at = layers_new(&c), end = nfa_state(nfa), first = end;
    at[0] = from;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!parts[i])
            continue;
        uint32_t *next = layers_new(&c);
        put_layers(&c, parts[i], at, next);
        mem_free(at);
        at = next;
    }
    for (uint32_t k = min; k <= c.top; k++)
        if (at[k] != NFA_NONE)
            nfa_empty(nfa, at[k], end);
    mem_free(at);
    /* Of what was read by now it may be too late for a text of such a length. */
    return nfa->too_large || nfa_trim(nfa, from, first, end) ? end : NFA_NONE;
}
