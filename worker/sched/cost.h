/* cost - how long a step will take: us = prefill_tokens * a + decode_rows * b.
 *
 * a and b start from the engine's guess and follow what steps really took by normalised least mean
 * squares: each step's error is shared out in proportion to each part's size, an eighth of it a step,
 * so a step of one kind only teaches that kind. Both stay within 1/1000 and 1000 of their guess.
 */
#ifndef MSGL_WORKER_SCHED_COST_H
#define MSGL_WORKER_SCHED_COST_H

#include "common/base.h"

struct cost {
    double prefill_guess_us, decode_guess_us; /* > 0 */
    double prefill, decode;                   /* factors on the guesses */
};

void cost_init(struct cost *cost, double prefill_us_per_token, double decode_us_per_row);
double cost_us(const struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows);
void cost_learn(struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows, uint64_t step_ns);

/* Prefill tokens that fit beside `decode_rows` rows in a step of step_ms. */
uint32_t cost_prefill_room(const struct cost *cost, double step_ms, uint32_t decode_rows);

#endif
