/* cost - a two-factor model of a step's time, learned online. */
#include "worker/sched/cost.h"

#define LEARN_RATE (1.0 / 8)
#define FACTOR_MAX 1000.0

void cost_init(struct cost *cost, double prefill_us_per_token, double decode_us_per_row)
{
    *cost = (struct cost){
        .prefill_guess_us = prefill_us_per_token > 0 ? prefill_us_per_token : 50,
        .decode_guess_us = decode_us_per_row > 0 ? decode_us_per_row : 200,
        .prefill = 1,
        .decode = 1,
    };
}

double cost_us(const struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows)
{
    return cost->prefill * cost->prefill_guess_us * prefill_tokens +
           cost->decode * cost->decode_guess_us * decode_rows;
}

static double clamp(double factor)
{
    return MAX(1 / FACTOR_MAX, MIN(FACTOR_MAX, factor));
}

void cost_learn(struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows, uint64_t step_ns)
{
    double prefill = cost->prefill_guess_us * prefill_tokens;
    double decode = cost->decode_guess_us * decode_rows;
    double size = prefill * prefill + decode * decode;
    if (step_ns == 0 || !(size > 0))
        return;
    double error = (double)step_ns / 1000 - cost_us(cost, prefill_tokens, decode_rows);
    cost->prefill = clamp(cost->prefill + LEARN_RATE * error * prefill / size);
    cost->decode = clamp(cost->decode + LEARN_RATE * error * decode / size);
}

uint32_t cost_prefill_room(const struct cost *cost, double step_ms, uint32_t decode_rows)
{
    double left_us = step_ms * 1000 - cost_us(cost, 0, decode_rows);
    double room = left_us / (cost->prefill * cost->prefill_guess_us);
    if (!(room > 0))
        return 0;
    return room < 1e9 ? (uint32_t)room : 1000000000u;
}
