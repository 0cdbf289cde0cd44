/* bench_engine - tokens/s of the engine alone, without router, wire and scheduler.
 *
 *   bench_engine MODEL_DIR [threads] [prompt] [decode] [streams] [rounds]
 *
 * Prints CSV: what,tokens_per_s,round. bench/cpu runs it beside llama.cpp in turns. A prompt is one
 * step; a stream is one row of each decode step, with `prompt` tokens of context before the first. */
#include "worker/engine/engine.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PAGE 16u

struct bench {
    struct engine *engine;
    struct step_builder builder;
    void *block;
    uint32_t prompt, decode, streams;
    uint32_t pages_per_slot;
    uint64_t step;
};

/* Puts `count` tokens of `slot` at `pos` into the step. Tokens NULL: the last ones drawn. */
static void add_row(struct bench *bench, uint32_t slot, const uint32_t *tokens, uint32_t count,
                    uint32_t pos)
{
    struct step_builder *b = &bench->builder;
    for (uint32_t i = 0; i < count; i++)
        if ((pos + i) % PAGE == 0 || i == 0)
            b->deltas[b->delta_count++] = (struct page_delta){
                slot, (pos + i) / PAGE, slot * bench->pages_per_slot + (pos + i) / PAGE};
    b->rows[b->row_count] = (struct step_row){slot, b->token_count, count, pos};
    b->samples[b->sample_count++] = (struct step_sample){
        .row = b->row_count++, .position = pos + count, .sampling = {.top_p = 1.0f}};
    for (uint32_t i = 0; i < count; i++)
        b->tokens[b->token_count++] = tokens ? tokens[i] : STEP_TOKEN_LAST;
}

static enum status submit(struct bench *bench, uint64_t *ticket, struct err *err)
{
    const struct step_packet *packet =
        step_builder_finish(&bench->builder, ++bench->step, bench->block);
    return engine_submit(bench->engine, packet, ticket, err);
}

static enum status prefill(struct bench *bench, uint32_t slot, double *seconds, struct err *err)
{
    struct step_result result;
    uint64_t ticket, rng = slot + 1, start = clock_now_ns();
    uint32_t vocab = engine_info(bench->engine)->vocab;
    uint32_t *tokens = mem_array(bench->prompt, sizeof(*tokens));
    for (uint32_t i = 0; i < bench->prompt; i++)
        tokens[i] = (uint32_t)rng_below(&rng, vocab);
    step_builder_reset(&bench->builder);
    add_row(bench, slot, tokens, bench->prompt, 0);
    mem_free(tokens);
    TRY(submit(bench, &ticket, err));
    TRY(engine_wait(bench->engine, ticket, &result, err));
    *seconds = (double)(clock_now_ns() - start) / 1e9;
    return STATUS_OK;
}

/* Decodes with two steps in flight, as the worker does. */
static enum status decode(struct bench *bench, uint32_t streams, double *seconds, struct err *err)
{
    struct step_result result;
    uint64_t tickets[2], start = clock_now_ns();
    for (uint32_t i = 0; i <= bench->decode; i++) {
        if (i < bench->decode) {
            step_builder_reset(&bench->builder);
            for (uint32_t slot = 0; slot < streams; slot++)
                add_row(bench, slot, NULL, 1, bench->prompt + i);
            TRY(submit(bench, &tickets[i % 2], err));
        }
        if (i > 0)
            TRY(engine_wait(bench->engine, tickets[(i - 1) % 2], &result, err));
    }
    *seconds = (double)(clock_now_ns() - start) / 1e9;
    return STATUS_OK;
}

static enum status run(struct bench *bench, uint32_t rounds, struct err *err)
{
    double s = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t slot = 0; slot < bench->streams; slot++)
            TRY(prefill(bench, slot, &s, err));
        printf("prefill_%u,%.1f,%u\n", bench->prompt, bench->prompt / s, round);
        TRY(decode(bench, 1, &s, err));
        printf("decode_1,%.1f,%u\n", bench->decode / s, round);
        TRY(decode(bench, bench->streams, &s, err));
        printf("decode_%u,%.1f,%u\n", bench->streams, bench->decode * bench->streams / s, round);
        fflush(stdout);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr, "%s, weights %.0f MB, pool %.0f MB, largest resident set %.0f MB\n",
            engine_info(bench->engine)->device, engine_info(bench->engine)->weight_bytes / 1e6,
            engine_info(bench->engine)->kv_bytes / 1e6, usage.ru_maxrss / 1e3);
    return STATUS_OK;
}

static uint32_t number(int argc, char **argv, int idx, uint32_t fallback)
{
    return idx < argc ? (uint32_t)strtoul(argv[idx], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc < 2) {
        fprintf(stderr,
                "usage: bench_engine MODEL_DIR [threads] [prompt] [decode] [streams] [rounds]\n");
        return 2;
    }
    struct bench bench = {.prompt = number(argc, argv, 3, 512),
                          .decode = number(argc, argv, 4, 64),
                          .streams = number(argc, argv, 5, 8)};
    uint32_t context = ROUND_UP(bench.prompt + bench.decode, PAGE);
    struct engine_opts opts = {
        .model_dir = argv[1],
        .page_size = PAGE,
        .slots = bench.streams,
        .step_tokens_max = bench.prompt + bench.streams,
        .context_max = context,
        .memory_ratio = 0.5,
        .threads = number(argc, argv, 2, 2),
        .tp = 1,
    };
    enum status status = engine_open(&opts, &bench.engine, &err);
    if (status == STATUS_OK) {
        const struct engine_info *info = engine_info(bench.engine);
        bench.pages_per_slot = context / PAGE;
        bench.block = mem_aligned(ROUND_UP(step_packet_bytes_max(&info->limits), 64u), 64);
        step_builder_init(&bench.builder, &info->limits);
        if (info->pages < bench.pages_per_slot * bench.streams)
            status = err_set(&err, STATUS_NO_SPACE, "the pool holds only %u pages", info->pages);
        else
            status = run(&bench, number(argc, argv, 6, 1), &err);
        step_builder_release(&bench.builder);
        mem_free(bench.block);
        engine_close(bench.engine);
    }
    if (status != STATUS_OK)
        fprintf(stderr, "bench_engine: %s\n", err.text);
    return status == STATUS_OK ? 0 : 1;
}
