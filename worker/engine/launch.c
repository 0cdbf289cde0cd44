/* launch - puts a step on the device: block, upload, forward, sample; and takes its tokens. */
#include "common/clock.h"
#include "worker/engine/graphs.h"

#include <string.h>

/* A step on its way. */
struct pass {
    struct step_runner *runner;
    struct step_lane *lane;
    uint32_t lane_idx;
    struct step_io *io;
    const struct step_packet *packet;
    struct block_layout at;
};

/* From the lane's block on the device to logits of the samples, then of the scores. */
static void forward(const struct pass *pass, const struct attn_row *rows_host)
{
    struct step_runner *runner = pass->runner;
    const struct ops *ops = runner->ops;
    const struct block_layout *at = &pass->at;
    const uint8_t *block = pass->lane->device;
    const uint32_t *slots = (const void *)(block + at->slots);
    if (at->deltas_n > 0)
        ops->page_table_set(runner->device, runner->stream, runner->cache->page_table,
                            runner->cache->view.pages_per_slot, (const void *)(block + at->deltas),
                            at->deltas_n);
    ops->resolve_tokens(runner->device, runner->stream, runner->ids,
                        (const void *)(block + at->tokens), slots, runner->last_tokens,
                        at->tokens_n);
    struct decoder_batch batch = {
        .ids = runner->ids,
        .positions = (const void *)(block + at->positions),
        .token_slots = slots,
        .rows = (const void *)(block + at->rows),
        .rows_host = rows_host,
        .groups_host = (const void *)step_groups(pass->packet),
        .sample_idx = at->all_sampled ? NULL : (const void *)(block + at->sample_idx),
        .tokens = at->tokens_n,
        .row_count = at->rows_n,
        .group_count = pass->packet->group_count,
        .sample_count = at->samples,
    };
    for (size_t i = 0; i < ARRAY_LEN(batch.plans); i++)
        batch.plans[i] = (struct attn_plan_ref){.device = block + at->plans[i],
                                                .host = pass->lane->host + at->plans[i]};
    decoder_forward(&runner->decoder, &batch);
}

static void draw(const struct pass *pass, uint32_t count)
{
    struct step_runner *runner = pass->runner;
    const struct sample_row *rows = (const void *)(pass->lane->device + pass->at.sample_rows);
    if (count > 0)
        runner->ops->sample(runner->device, runner->stream, pass->lane->drawn, runner->last_tokens,
                            runner->decoder.logits, runner->vocab, rows, count);
}

/* Whatever sizes a launch by the host's rows must see all of them at work: a graph is launched later
 * for steps with less padding. */
static enum status capture(const struct pass *pass, bool drawing, uint32_t size, struct graph **out,
                           struct err *err)
{
    struct step_runner *runner = pass->runner;
    TRY(runner->ops->graph_begin(runner->device, runner->stream, err));
    forward(pass, runner->full_rows);
    if (drawing)
        draw(pass, size);
    return runner->ops->graph_end(runner->device, runner->stream, out, err);
}

/* Logits and, when `drawing`, tokens; padding rows draw nothing. */
static enum status forward_or_graph(const struct pass *pass, struct step_size *size, bool drawing,
                                    struct err *err)
{
    struct step_runner *runner = pass->runner;
    if (size != NULL && size->seen && runner->graphs) {
        struct graph **graph =
            &size->graphs[pass->lane_idx][drawing][pass->packet->group_count > 0];
        if (*graph == NULL)
            TRY(capture(pass, drawing, size->rows, graph, err));
        runner->ops->graph_launch(runner->device, runner->stream, *graph);
        pass->io->graph = true;
        return STATUS_OK;
    }
    forward(pass, (const void *)(pass->lane->host + pass->at.rows));
    if (drawing)
        draw(pass, pass->at.samples);
    if (size != NULL)
        size->seen = true;
    return STATUS_OK;
}

/* What a step asks for beside drawn tokens is done op by op, behind the forward. */
static void draw_with_extras(const struct pass *pass)
{
    struct step_runner *runner = pass->runner;
    const struct sample_row *rows = (const void *)(pass->lane->device + pass->at.sample_rows);
    float *logits = runner->decoder.logits;
    extras_adjust(&runner->extras, pass->packet, logits, rows);
    draw(pass, pass->packet->sample_count);
    extras_finish(&runner->extras, &pass->io->extras, pass->packet, logits, pass->lane->drawn);
}

static void upload(const struct pass *pass)
{
    struct step_runner *runner = pass->runner;
    struct step_lane *lane = pass->lane;
    const struct ops *ops = runner->ops;
    ops->upload(runner->device, runner->copy, lane->device, lane->host, pass->at.bytes);
    ops->event_record(runner->device, runner->copy, lane->uploaded);
    ops->event_wait(runner->device, runner->stream, lane->uploaded);
    ops->event_record(runner->device, runner->stream, lane->begin);
}

enum status step_launch(struct step_runner *runner, uint32_t lane, struct step_io *io,
                        struct err *err)
{
    const struct step_packet *packet = io->packet_block;
    const struct ops *ops = runner->ops;
    struct pass pass = {.runner = runner,
                        .lane = &runner->lanes[lane],
                        .lane_idx = lane,
                        .io = io,
                        .packet = packet};
    uint64_t start = clock_now_ns();
    struct step_size *size =
        block_is_decode(packet) ? graphs_size(runner, packet->row_count) : NULL;
    bool extras = extras_wanted(packet);

    pass.at = block_fill(&runner->planner, packet, size ? size->rows : 0, pass.lane->host);
    io->graph = false;
    io->fill_ns = clock_now_ns() - start;
    upload(&pass);
    if (pass.at.more_n > 0)
        ops->page_table_set(runner->device, runner->stream, runner->cache->page_table,
                            runner->cache->view.pages_per_slot,
                            (const void *)(pass.lane->device + pass.at.more), pass.at.more_n);
    extras_setup(&runner->extras, packet);
    TRY(forward_or_graph(&pass, size, !extras, err));
    TRY(extras_masks(&runner->extras, &io->extras, packet, pass.lane->drawn, pass.lane->end, err));
    if (extras && pass.at.samples > 0)
        draw_with_extras(&pass);
    if (io->logits != NULL && pass.at.samples > 0)
        ops->download(runner->device, runner->stream, io->logits, runner->decoder.logits,
                      (size_t)(packet->sample_count + packet->score_count) * runner->vocab *
                          sizeof(*io->logits));
    ops->event_record(runner->device, runner->stream, pass.lane->end);
    io->launch_ns = clock_now_ns() - start;
    return STATUS_OK;
}

enum status step_finish(struct step_runner *runner, uint32_t idx, struct step_io *io,
                        struct err *err)
{
    const struct step_packet *packet = io->packet_block;
    struct step_lane *lane = &runner->lanes[idx];
    TRY(runner->ops->event_sync(runner->device, lane->end, err));
    memcpy(io->tokens, lane->drawn, packet->sample_count * sizeof(*io->tokens));
    io->device_ns = runner->ops->event_ns(lane->begin, lane->end);
    return STATUS_OK;
}
