/* cost - how long a step will take, in us:
 *
 *      step  +  mixed, if prompts run beside decode rows  +  prefill_tokens * prefill  +  decode_rows * decode
 *
 * The four start from the engine's guess and follow what steps really took by a Kalman filter: they are
 * taken for random walks (TRUST of their first uncertainty a step), a measured time for the sum give or
 * take NOISE of it, so that a step teaches what it is made of and what is least known. A time far from
 * the expected one counts for less: it is rather a hiccup, unless it was LOST times in a row more than
 * twice or less than half of it; then all four were off by a factor. (R. E. Kalman, "A New Approach to Linear
 * Filtering and Prediction Problems", 1960.)
 */
#ifndef MSGL_WORKER_SCHED_COST_H
#define MSGL_WORKER_SCHED_COST_H

#include "common/base.h"

enum cost_part { COST_STEP, COST_MIXED, COST_PREFILL, COST_DECODE, COST_PARTS };

struct cost {
    double us[COST_PARTS];                   /* >= 0 */
    double least[COST_PARTS];                /* no part falls below */
    double first[COST_PARTS];                /* variance of the guess: none grows beyond */
    double variance[COST_PARTS][COST_PARTS]; /* of us[] together */
    int far; /* steps in a row that took over twice (< 0: under half) */
};

/* Guesses; prefill and decode that are not > 0 are unknown. */
void cost_init(struct cost *cost, double step_us, double prefill_us_per_token,
               double decode_us_per_row);
double cost_us(const struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows);
void cost_learn(struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows, uint64_t step_ns);

/* Prefill tokens that fit beside `decode_rows` rows in a step of step_ms. */
uint32_t cost_prefill_room(const struct cost *cost, double step_ms, uint32_t decode_rows);

#endif
