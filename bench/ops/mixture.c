/* mixture - the two products of a mixture's experts, and the choice of them. */
#include "bench/ops/ops.h"

#include "common/mem.h"
#include "common/rng.h"

#include <stdio.h>

/* Draws `top` different experts for each row; returns how many experts have a row at all. */
static uint32_t draw_experts(const struct mixture *m, uint32_t rows, uint32_t *ids, float *weights)
{
    uint64_t seed = 5;
    uint32_t used = 0;
    bool *has = mem_zalloc(m->experts);
    for (size_t i = 0; i < (size_t)rows * m->top; i++) {
        uint32_t *row = ids + i / m->top * m->top, id;
        bool taken = true;
        while (taken) {
            id = (uint32_t)rng_below(&seed, m->experts);
            taken = false;
            for (size_t j = 0; j < i % m->top; j++)
                taken |= row[j] == id;
        }
        ids[i] = id;
        weights[i] = 1.0f / (float)m->top;
        used += !has[id];
        has[id] = true;
    }
    mem_free(has);
    return used;
}

/* The bytes are those of the experts that have a row. */
void bench_mixture(struct bench *b, const struct mixture *m)
{
    static const uint32_t counts[] = {1, 2, 4, 8, 16, 64, 256, 1024, 8192};
    size_t slots = (size_t)ROWS_MAX * m->top;
    uint32_t *ids = mem_array(slots, 4), *device_ids = bench_alloc(b, slots * 4);
    float *weights = mem_array(slots, 4), *device_weights = bench_alloc(b, slots * 4);
    b->m = (struct model){.name = m->name};
    b->tp = 1;
    b->mixture = m;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char shape[40];
        uint32_t used = draw_experts(m, counts[i], ids, weights);
        double rows = counts[i], each = 2.0 * m->inter * m->hidden, taken = rows * m->top;
        b->rows = counts[i];
        bench_upload(b, device_ids, ids, (size_t)b->rows * m->top * 4);
        bench_upload(b, device_weights, weights, (size_t)b->rows * m->top * 4);
        b->experts =
            (struct expert_args){device_ids, device_weights, b->rows, m->top, m->experts, true};
        snprintf(shape, sizeof(shape), "%u of %u experts", used, m->experts);
        if (bench_wanted(b, "route"))
            bench_line(b, "route", shape, bench_time(b, run_route, 40), rows * 4 * m->experts, 0);
        if (bench_wanted(b, "experts_gate_up"))
            bench_line(b, "experts_gate_up", shape, bench_time(b, run_experts_gate_up, 8),
                       used * 2 * each + 2 * (rows * m->hidden + taken * m->inter),
                       2 * taken * each);
        if (bench_wanted(b, "experts_down"))
            bench_line(b, "experts_down", shape, bench_time(b, run_experts_down, 8),
                       used * each + 2 * (rows * m->hidden + taken * m->inter), taken * each);
    }
    mem_free(ids), mem_free(weights);
}
