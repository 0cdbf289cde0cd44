/* time - a call timed, and its line of the CSV. */
#include "bench/ops/ops.h"

#include "common/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double time_direct(struct bench *b, void (*run)(struct bench *), uint32_t calls)
{
    double best = 1e30;
    for (int turn = 0; turn < 4; turn++) {
        uint64_t from = clock_now_ns();
        for (uint32_t i = 0; i < calls; i++)
            run(b);
        bench_sync(b);
        best = fmin(best, (double)(clock_now_ns() - from) / 1e3 / calls);
    }
    return best;
}

/* Microseconds a call. */
double bench_time(struct bench *b, void (*run)(struct bench *), uint32_t calls)
{
    struct graph *graph;
    struct err err;
    double best = 1e30;
    if (!b->ops->graph_begin)
        return time_direct(b, run, MAX(calls / 4, 1u));
    run(b); /* choices that are made at the first call are made outside the graph */
    bench_sync(b);
    if (b->ops->graph_begin(b->device, b->stream, &err) != STATUS_OK)
        bench_die(err.text);
    for (uint32_t i = 0; i < calls; i++)
        run(b);
    if (b->ops->graph_end(b->device, b->stream, &graph, &err) != STATUS_OK)
        bench_die(err.text);
    for (int turn = 0; turn < 4; turn++) {
        b->ops->event_record(b->device, b->stream, b->from);
        b->ops->graph_launch(b->device, b->stream, graph);
        b->ops->event_record(b->device, b->stream, b->to);
        if (b->ops->event_sync(b->device, b->to, &err) != STATUS_OK)
            bench_die(err.text);
        if (turn > 0)
            best = fmin(best, (double)b->ops->event_ns(b->from, b->to) / 1e3 / calls);
    }
    b->ops->graph_free(b->device, graph);
    return best;
}

void bench_line(struct bench *b, const char *op, const char *shape, double us, double bytes,
                double flop)
{
    double floor_us = 1e6 * fmax(bytes / READ_BYTES_PER_S, flop / FLOP_PER_S);
    printf("%s,%s,%u,%s,%u,%.2f,%.1f,%.2f,", op, b->m.name, b->tp, shape, b->rows, us,
           bytes / us / 1e3, flop / us / 1e6);
    if (b->cuda)
        printf("%.3f", floor_us / us);
    printf("\n");
    fflush(stdout);
}

bool bench_wanted(const struct bench *b, const char *op)
{
    return strstr(op, b->op_filter) != NULL;
}
