/* bench_sched - what the scheduler itself costs a step, on one core, without an engine.
 *
 *     bench_sched            a table: reqs decoding, microseconds for plan and commit a step
 *     bench_sched --csv      the same as CSV
 *
 * Every req has a prompt of 1,024 tokens of which 512 are a system prompt that all share; pages of
 * 16 tokens, overlap as in the worker (two steps in flight). Medians over the steps.
 */
#include "common/clock.h"
#include "common/mem.h"
#include "worker/sched/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT 1024u
#define SHARED 512u
#define STEPS  2000u

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double quantile_us(uint64_t *ns, uint32_t count, double q)
{
    qsort(ns, count, sizeof(*ns), compare);
    return (double)ns[(uint32_t)(q * (count - 1))] / 1000;
}

struct bench {
    struct scheduler *s;
    void *block;
    struct sched_event *events;
    uint32_t *tokens;
    uint32_t samples[2], planned, committed;
    uint64_t plan_ns[STEPS], commit_ns[STEPS];
};

static void add_all(struct bench *b, uint32_t reqs)
{
    uint32_t prompt[PROMPT];
    for (uint32_t r = 0; r < reqs; r++) {
        for (uint32_t i = 0; i < PROMPT; i++)
            prompt[i] = i < SHARED ? i : 100000 + r * PROMPT + i;
        struct req_spec spec = {.user = r,
                                .tokens = prompt,
                                .token_count = PROMPT,
                                .prompt_count = PROMPT,
                                .tokens_max = 4 * STEPS,
                                .sampling = sampling_default()};
        uint64_t id;
        struct err err;
        if (scheduler_add(b->s, &spec, 1, &id, &err) != STATUS_OK) {
            fprintf(stderr, "bench_sched: %s\n", err.text);
            exit(1);
        }
    }
}

/* Plans one step and commits the one before; times go to index `at` when it is below STEPS. */
static uint32_t turn(struct bench *b, uint32_t at)
{
    uint32_t count = scheduler_event_max(b->s), rows = 0;
    uint64_t start = clock_now_ns();
    const struct step_packet *p = scheduler_plan(b->s, 1, b->block, b->events, &count);
    uint64_t planned = clock_now_ns();
    if (p) {
        b->samples[b->planned++ & 1] = p->sample_count;
        rows = p->row_count;
    }
    uint64_t middle = clock_now_ns();
    if (b->planned - b->committed == 2 || !p) {
        count = scheduler_event_max(b->s);
        scheduler_commit(b->s, b->tokens, b->samples[b->committed++ & 1], 1, 0, b->events, &count);
    }
    if (at < STEPS) {
        b->plan_ns[at] = planned - start;
        b->commit_ns[at] = clock_now_ns() - middle;
    }
    return rows;
}

static void run(uint32_t reqs, bool cache, bool csv)
{
    struct sched_opts opts = {.pages = 262144,
                              .page_size = 16,
                              .slots = reqs,
                              .waiting_max = reqs,
                              .context_max = 16384,
                              .step_tokens = 8192,
                              .cache = cache,
                              .prefix_groups = true,
                              .age_ms = 1000};
    struct bench *b = mem_zalloc(sizeof(*b));
    struct err err;
    if (scheduler_new(&opts, &b->s, &err) != STATUS_OK) {
        fprintf(stderr, "bench_sched: %s\n", err.text);
        exit(1);
    }
    struct step_limits limits;
    scheduler_limits(b->s, &limits);
    b->block = mem_aligned(step_packet_bytes_max(&limits), 64);
    b->events = mem_array(scheduler_event_max(b->s), sizeof(*b->events));
    b->tokens = mem_array(reqs, sizeof(*b->tokens));
    add_all(b, reqs);
    uint64_t start = clock_now_ns();
    struct sched_load load = {.waiting = 1};
    while (load.waiting > 0 || load.pending_prefill_tokens > 0) {
        turn(b, STEPS);
        scheduler_load(b->s, &load);
    }
    double prefill_us = (double)(clock_now_ns() - start) / 1000;
    for (uint32_t i = 0; i < STEPS; i++)
        if (turn(b, i) != reqs)
            fprintf(stderr, "bench_sched: a step without all rows\n");
    const char *format =
        csv ? "%u,%s,%.2f,%.2f,%.2f,%.2f,%.3f\n" : "%6u  %-6s %10.2f %10.2f %10.2f %10.2f %14.3f\n";
    printf(format, reqs, cache ? "radix" : "naive", quantile_us(b->plan_ns, STEPS, 0.5),
           quantile_us(b->plan_ns, STEPS, 0.99), quantile_us(b->commit_ns, STEPS, 0.5),
           quantile_us(b->commit_ns, STEPS, 0.99), prefill_us / reqs);
    scheduler_free(b->s);
    mem_free(b->block);
    mem_free(b->events);
    mem_free(b->tokens);
    mem_free(b);
}

int main(int argc, char **argv)
{
    bool csv = argc > 1 && strcmp(argv[1], "--csv") == 0;
    printf(
        csv ? "reqs,cache,plan_us_p50,plan_us_p99,commit_us_p50,commit_us_p99,prefill_us_per_req\n"
            : "  reqs  cache    plan p50        p99 commit p50        p99  prefill us/req\n");
    static const uint32_t sizes[] = {1, 8, 64, 256, 1024};
    for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++) {
        run(sizes[i], true, csv);
        run(sizes[i], false, csv);
    }
    return 0;
}
