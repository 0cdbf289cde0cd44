/* token_order - a vocabulary in the order of its bytes, and which of its tokens may come next.
 *
 *   order   common  len   suffixes: what a token does not share with the one before, one behind the other
 *   "ab"      0      2    a b
 *   "abc"     2      3        c          a walk that failed inside "ab" skips "abc",
 *   "b"       0      1          b        one that passed it goes on at c
 *
 * A walk begins at one place of an automaton. While it has not touched the stack it is a chain of
 * table look-ups; a token that calls or returns is walked with the whole place.
 */
#ifndef MSGL_WORKER_ENGINE_TOKEN_ORDER_H
#define MSGL_WORKER_ENGINE_TOKEN_ORDER_H

#include "common/automaton.h"
#include "common/token_bytes.h"

#define TOKEN_ORDER_BYTES_MAX 255u /* a longer token is never let through */

struct token_order { /* init; release */
    uint32_t *order; /* [count]: ids of tokens that spell something */
    uint8_t *common, *len;
    uint8_t *suffixes;
    uint32_t count;
};

/* Of ids below `vocab`. */
void token_order_init(struct token_order *order, const struct token_bytes *tokens, uint32_t vocab);
void token_order_release(struct token_order *order); /* safe on a zeroed struct */

/* Sets the bits of tokens whose bytes may all come from `start` on; mask has room for vocab bits. */
void token_order_mask(const struct token_order *order, const struct automaton *automaton,
                      const struct automaton_at *start, uint32_t *mask);

#endif
