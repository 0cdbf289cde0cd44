/* warmup - steps that nobody asked for, in pages whose content nobody will read. */
#include "worker/engine/warmup.h"

#include "common/clock.h"

#include <string.h>

/* What the guesses are measured with: enough to fill the device, little enough to start at once. */
#define CPU_TOKENS 64u
#define CPU_ROWS   1u
#define GPU_TOKENS 1024u
#define GPU_ROWS   32u
#define GRAPH_ROWS 8u    /* graphs up to this size are there before the first req */
#define TUNE_DENSE 1024u /* tokens; sizes are 16 apart up to here, */
#define TUNE_LAST  4096u /* 64 up to here */

struct warmup {
    struct engine_parts *parts;
    struct step_builder builder;
    struct step_io io;
};

/* `rows` rows of `tokens` tokens each at position 0, in the slots 0, 1, … and the pages 0, 1, … */
static void fill_packet(struct warmup *warmup, uint32_t rows, uint32_t tokens)
{
    struct step_builder *b = &warmup->builder;
    uint32_t pages = DIV_CEIL(tokens, warmup->parts->cache.view.page_size);
    step_builder_reset(b);
    for (uint32_t slot = 0; slot < rows; slot++) {
        for (uint32_t i = 0; i < pages; i++)
            b->deltas[b->delta_count++] = (struct page_delta){slot, i, slot * pages + i};
        b->rows[b->row_count] = (struct step_row){slot, b->token_count, tokens, 0};
        b->samples[b->sample_count++] = (struct step_sample){
            .row = b->row_count++, .position = tokens, .sampling = {.top_p = 1.0f}};
        for (uint32_t i = 0; i < tokens; i++)
            b->tokens[b->token_count++] = 0;
    }
    (void)step_builder_finish(b, 0, warmup->io.packet_block);
}

static enum status run_step(struct warmup *warmup, uint32_t lane, uint32_t rows, uint32_t tokens,
                            double *us, struct err *err)
{
    fill_packet(warmup, rows, tokens);
    uint64_t start = clock_now_ns();
    TRY(step_launch(&warmup->parts->runner, lane, &warmup->io, err));
    TRY(step_finish(&warmup->parts->runner, lane, &warmup->io, err));
    *us = (double)(clock_now_ns() - start) / 1000.0;
    return STATUS_OK;
}

/* A size is captured for each lane when it runs again. */
static enum status small_graphs(struct warmup *warmup, uint32_t rows_max, struct err *err)
{
    struct step_runner *runner = &warmup->parts->runner;
    double us;
    for (uint32_t i = 0; runner->graphs && i < runner->size_count; i++) {
        uint32_t rows = runner->sizes[i].rows;
        if (rows > MIN(GRAPH_ROWS, rows_max))
            break;
        for (uint32_t lane = 0; lane <= STEP_LANES; lane++)
            TRY(run_step(warmup, lane % STEP_LANES, rows, 1, &us, err));
    }
    return STATUS_OK;
}

/* The time of the last of some equal steps: the first ones pay for page faults, first uses and
 * captures. */
static enum status measure(struct warmup *warmup, uint32_t rows, uint32_t tokens, uint32_t times,
                           double *us, struct err *err)
{
    for (uint32_t i = 0; i < times; i++)
        TRY(run_step(warmup, i % STEP_LANES, rows, tokens, us, err));
    return STATUS_OK;
}

/* Every size that plans are kept for, up to TUNE_LAST; the library's first guess does for larger ones.
 * A prompt samples one row, so decode steps then bring the head's sizes. The plans are kept now: who
 * is killed later has them. */
static enum status tune_plans(struct warmup *warmup, const struct engine_info *info,
                              struct err *err)
{
    struct step_runner *runner = &warmup->parts->runner;
    uint32_t tokens_max = MIN(info->limits.tokens, info->context_max);
    double us;
    for (uint32_t tokens = 16; tokens <= MIN(tokens_max, TUNE_LAST);
         tokens += tokens < TUNE_DENSE ? 16 : 64)
        TRY(run_step(warmup, 0, 1, tokens, &us, err));
    for (uint32_t i = 0; i < runner->size_count; i++)
        if (runner->sizes[i].rows <= MIN(info->limits.rows, info->pages))
            TRY(run_step(warmup, 0, runner->sizes[i].rows, 1, &us, err));
    runner->ops->tune_end(runner->device);
    return STATUS_OK;
}

enum status warmup_run(struct engine_parts *parts, bool tune, struct engine_info *info,
                       struct err *err)
{
    enum status status = STATUS_OK;
    struct warmup warmup = {.parts = parts};
    double us = 0;
    bool gpu = strcmp(parts->ops->name, "cpu") != 0;
    uint32_t tokens = MIN(gpu ? GPU_TOKENS : CPU_TOKENS,
                          MIN(info->limits.tokens, MAX(info->context_max / 2, 1u)));
    uint32_t rows = MIN(gpu ? GPU_ROWS : CPU_ROWS, MIN(info->limits.rows, info->pages));
    step_builder_init(&warmup.builder, &info->limits);
    step_io_init(&warmup.io, &info->limits);
    if (tune)
        TRY_OUT(tune_plans(&warmup, info, err));
    double one_us = 0;
    if (gpu)
        TRY_OUT(measure(&warmup, 1, 1, 2 * STEP_LANES, &one_us, err));
    TRY_OUT(measure(&warmup, rows, 1, gpu ? 2 * STEP_LANES : 2, &us, err));
    info->decode_us_per_row = MAX(us - one_us, us / 100) / rows;
    info->step_us = us - rows * info->decode_us_per_row;
    TRY_OUT(measure(&warmup, 1, tokens, gpu ? 2 : 1, &us, err));
    info->prefill_us_per_token = MAX(us - info->step_us, us / 100) / tokens;
    TRY_OUT(small_graphs(&warmup, info->pages, err));
out:
    step_builder_release(&warmup.builder);
    step_io_release(&warmup.io);
    return status;
}
