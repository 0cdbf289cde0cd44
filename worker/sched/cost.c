/* cost - a model of a step's time, learned online. */
#include "worker/sched/cost.h"

#include <math.h>

#define NOISE 0.05 /* of a step's time, that the model does not explain */
#define TRUST 0.02 /* of a part's first uncertainty, that it may move a step */
#define DOUBT 0.5  /* of an unexpected difference counts as noise */
#define LOST  8

void cost_init(struct cost *cost, double step_us, double prefill_us_per_token,
               double decode_us_per_row)
{
    double prefill = prefill_us_per_token > 0 ? prefill_us_per_token : 50;
    double decode = decode_us_per_row > 0 ? decode_us_per_row : 200;
    double whole = MAX(step_us, decode), guess[] = {step_us, 0, prefill, decode};
    double unsure[] = {whole, whole / 2, prefill, MAX(decode, step_us / 16)};
    *cost = (struct cost){.least = {0, 0, prefill / 1000, decode / 1000}};
    for (int i = 0; i < COST_PARTS; i++) {
        cost->us[i] = guess[i];
        cost->variance[i][i] = cost->first[i] = unsure[i] * unsure[i];
    }
}

/* How much of each part the step has. */
static void parts_of(uint32_t prefill_tokens, uint32_t decode_rows, double x[COST_PARTS])
{
    x[COST_STEP] = 1;
    x[COST_MIXED] = prefill_tokens > 0 && decode_rows > 0;
    x[COST_PREFILL] = prefill_tokens;
    x[COST_DECODE] = decode_rows;
}

double cost_us(const struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows)
{
    double x[COST_PARTS], us = 0;
    parts_of(prefill_tokens, decode_rows, x);
    for (int i = 0; i < COST_PARTS; i++)
        us += cost->us[i] * x[i];
    return us;
}

/* What nothing was learned of for long is not known less than at first. */
static void walk(struct cost *cost)
{
    for (int i = 0; i < COST_PARTS; i++) {
        cost->variance[i][i] += TRUST * TRUST * cost->first[i];
        double over = cost->variance[i][i] / cost->first[i];
        for (int j = 0; over > 1 && j < COST_PARTS; j++) {
            cost->variance[i][j] /= sqrt(over);
            cost->variance[j][i] /= sqrt(over);
        }
    }
}

/* Whether the step is one too many that took over twice, or under half, of what was expected. */
static bool lost(struct cost *cost, double ratio)
{
    int far = ratio > 2 ? 1 : ratio < 0.5 ? -1 : 0;
    cost->far = far * cost->far > 0 ? cost->far + far : far;
    return cost->far <= -LOST || cost->far >= LOST;
}

static void scale(struct cost *cost, double ratio)
{
    cost->far = 0;
    for (int i = 0; i < COST_PARTS; i++) {
        cost->us[i] = MAX(cost->us[i] * ratio, cost->least[i]);
        cost->first[i] *= ratio * ratio;
        for (int j = 0; j < COST_PARTS; j++)
            cost->variance[i][j] *= ratio * ratio;
    }
}

void cost_learn(struct cost *cost, uint32_t prefill_tokens, uint32_t decode_rows, uint64_t step_ns)
{
    double x[COST_PARTS], along[COST_PARTS] = {0}, known = 0, us = (double)step_ns / 1000;
    if (step_ns == 0)
        return;
    double ratio = us / cost_us(cost, prefill_tokens, decode_rows);
    if (lost(cost, ratio))
        scale(cost, ratio);
    walk(cost);
    parts_of(prefill_tokens, decode_rows, x);
    for (int i = 0; i < COST_PARTS; i++) {
        for (int j = 0; j < COST_PARTS; j++)
            along[i] += cost->variance[i][j] * x[j];
        known += x[i] * along[i];
    }
    double expected = cost_us(cost, prefill_tokens, decode_rows);
    double error = us - expected;
    double noise = NOISE * expected, doubt = DOUBT * error;
    double whole = known + noise * noise + doubt * doubt;
    for (int i = 0; i < COST_PARTS; i++) {
        cost->us[i] = MAX(cost->us[i] + error * along[i] / whole, cost->least[i]);
        for (int j = 0; j < COST_PARTS; j++)
            cost->variance[i][j] -= along[i] * along[j] / whole;
    }
}

uint32_t cost_prefill_room(const struct cost *cost, double step_ms, uint32_t decode_rows)
{
    double left_us = step_ms * 1000 - cost_us(cost, 0, decode_rows);
    if (decode_rows > 0)
        left_us -= cost->us[COST_MIXED];
    double room = left_us / cost->us[COST_PREFILL];
    if (!(room > 0))
        return 0;
    return room < 1e9 ? (uint32_t)room : 1000000000u;
}
