#include "worker/engine/token_order.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

static int compare_tokens(const void *a, const void *b, void *arg)
{
    const struct token_bytes *tokens = arg;
    struct str x = tokens->of[*(const uint32_t *)a], y = tokens->of[*(const uint32_t *)b];
    int order = memcmp(x.data, y.data, MIN(x.len, y.len));
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static uint32_t shared_bytes(struct str a, struct str b)
{
    uint32_t count = 0;
    while (count < MIN(a.len, b.len) && a.data[count] == b.data[count])
        count++;
    return count;
}

void token_order_init(struct token_order *order, const struct token_bytes *tokens, uint32_t vocab)
{
    uint32_t ids = MIN(tokens->count, vocab);
    size_t bytes = 0;
    *order = (struct token_order){.order = mem_array(MAX(ids, 1u), sizeof(*order->order)),
                                  .common = mem_array(MAX(ids, 1u), 1),
                                  .len = mem_array(MAX(ids, 1u), 1)};
    for (uint32_t id = 0; id < ids; id++)
        if (tokens->of[id].len > 0 && tokens->of[id].len <= TOKEN_ORDER_BYTES_MAX)
            order->order[order->count++] = id;
    qsort_r(order->order, order->count, sizeof(*order->order), compare_tokens, (void *)tokens);
    for (uint32_t i = 0; i < order->count; i++) {
        struct str token = tokens->of[order->order[i]];
        order->len[i] = (uint8_t)token.len;
        order->common[i] =
            i == 0 ? 0 : (uint8_t)shared_bytes(tokens->of[order->order[i - 1]], token);
        bytes += order->len[i] - order->common[i];
    }
    uint8_t *to = order->suffixes = mem_array(MAX(bytes, (size_t)1), 1);
    for (uint32_t i = 0; i < order->count; i++) {
        size_t own = order->len[i] - order->common[i];
        memcpy(to, tokens->of[order->order[i]].data + order->common[i], own);
        to += own;
    }
}

void token_order_release(struct token_order *order)
{
    mem_free(order->order);
    mem_free(order->common);
    mem_free(order->len);
    mem_free(order->suffixes);
    *order = (struct token_order){.count = 0};
}

/* Places along a token. [0, plain]: the stack is the start's, and state says all; behind that, at. */
struct walk {
    const struct automaton *automaton;
    const struct automaton_at *start;
    uint32_t plain;
    uint16_t state[TOKEN_ORDER_BYTES_MAX + 1];
    struct automaton_at at[TOKEN_ORDER_BYTES_MAX + 1];
};

static void copy_at(struct automaton_at *to, const struct automaton_at *from)
{
    to->state = from->state;
    to->depth = from->depth;
    memcpy(to->back, from->back, from->depth * sizeof(*to->back));
}

/* The byte behind `pos` bytes calls or returns, or others before it have. */
static bool step_with_stack(struct walk *walk, uint32_t pos, uint8_t byte)
{
    struct automaton_at *to = &walk->at[pos + 1];
    if (pos > walk->plain) {
        copy_at(to, &walk->at[pos]);
    } else {
        copy_at(to, walk->start);
        to->state = walk->state[pos];
        walk->plain = pos;
    }
    return automaton_step(walk->automaton, to, byte);
}

static inline bool step(struct walk *walk, uint32_t pos, uint8_t byte)
{
    const struct automaton *a = walk->automaton;
    if (pos > walk->plain)
        return step_with_stack(walk, pos, byte);
    uint16_t state = walk->state[pos];
    uint16_t entry = a->table[(size_t)state * a->classes + a->class_of[byte]];
    if (entry < AUTOMATON_CALL) {
        walk->state[pos + 1] = entry;
        walk->plain = pos + 1;
        return true;
    }
    if (entry == AUTOMATON_NONE && (walk->start->depth == 0 || !a->ends[state]))
        return false;
    return step_with_stack(walk, pos, byte);
}

void token_order_mask(const struct token_order *order, const struct automaton *automaton,
                      const struct automaton_at *start, uint32_t *mask)
{
    struct walk walk = {.automaton = automaton, .start = start};
    const uint8_t *next = order->suffixes;
    uint32_t fits = 0; /* bytes of the token before that may come */
    walk.state[0] = start->state;
    for (uint32_t i = 0; i < order->count; i++) {
        uint32_t common = order->common[i], len = order->len[i];
        const uint8_t *suffix = next;
        next += len - common;
        if (common > fits)
            continue; /* it shares the byte that failed */
        walk.plain = MIN(walk.plain, common);
        for (fits = common; fits < len && step(&walk, fits, suffix[fits - common]);)
            fits++;
        if (fits == len)
            mask[order->order[i] / 32] |= 1u << order->order[i] % 32;
    }
}
