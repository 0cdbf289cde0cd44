/* step - packet to device arrays, forward, sample, tokens back. */
#include "worker/engine/step.h"

#include "common/clock.h"
#include "common/mem.h"
#include "worker/engine/graphs.h"

#include <string.h>

static struct decoder_opts decoder_opts_of(const struct step_runner_opts *opts)
{
    return (struct decoder_opts){
        .ops = opts->ops,
        .device = opts->device,
        .stream = opts->stream,
        .tokens_max = opts->limits.tokens,
        .rows_max = opts->limits.rows,
        .context_max = opts->context_max,
    };
}

static enum status words_alloc(struct step_runner *runner, size_t words, uint32_t **out,
                               struct err *err)
{
    void *data = NULL;
    TRY(runner->ops->alloc(runner->device, words * sizeof(**out), &data, err));
    *out = data;
    return STATUS_OK;
}

static enum status lane_init(struct step_runner *runner, struct step_lane *lane, struct err *err)
{
    const struct ops *ops = runner->ops;
    size_t bytes = block_bytes_max(&runner->planner, &runner->limits);
    void *host = NULL, *device = NULL, *drawn = NULL;
    TRY(ops->event_new(runner->device, &lane->uploaded, err));
    TRY(ops->event_new(runner->device, &lane->begin, err));
    TRY(ops->event_new(runner->device, &lane->end, err));
    TRY(ops->host_alloc(runner->device, bytes, &host, err));
    lane->host = host;
    TRY(ops->alloc(runner->device, bytes, &device, err));
    lane->device = device;
    TRY(ops->host_alloc(runner->device, runner->limits.rows * sizeof(*lane->drawn), &drawn, err));
    lane->drawn = drawn;
    return STATUS_OK;
}

static void lane_release(struct step_runner *runner, struct step_lane *lane)
{
    const struct ops *ops = runner->ops;
    struct event *events[] = {lane->uploaded, lane->begin, lane->end};
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        if (events[i] != NULL)
            ops->event_free(runner->device, events[i]);
    if (lane->host != NULL)
        ops->host_free(runner->device, lane->host);
    if (lane->device != NULL)
        ops->free(runner->device, lane->device);
    if (lane->drawn != NULL)
        ops->host_free(runner->device, lane->drawn);
}

void step_io_init(struct step_io *io, const struct step_limits *limits)
{
    *io = (struct step_io){0};
    io->packet_block = mem_aligned(ROUND_UP(step_packet_bytes_max(limits), 64u), 64);
    io->tokens = mem_array(limits->rows, sizeof(*io->tokens));
    extras_io_init(&io->extras, limits->rows);
}

void step_io_release(struct step_io *io)
{
    mem_free(io->packet_block);
    mem_free(io->tokens);
    extras_io_release(&io->extras);
    mem_free(io->logits);
    *io = (struct step_io){0};
}

uint64_t step_runner_bytes(const struct step_runner_opts *opts, const struct model_config *config,
                           const struct shard *shard, enum dtype act)
{
    struct decoder_opts decoder_opts = decoder_opts_of(opts);
    struct kvcache cache = {.view = {.kv_heads = shard->kv_heads, .page_size = opts->page_size}};
    struct block_planner planner;
    block_planner_init(opts->ops, opts->device, config, &cache, shard->heads, opts->context_max,
                       &planner);
    return decoder_bytes(&decoder_opts, config, shard, act) +
           extras_bytes(opts->limits.rows, opts->slots, config->vocab) +
           STEP_LANES * block_bytes_max(&planner, &opts->limits) +
           (opts->limits.tokens + opts->slots) * sizeof(uint32_t);
}

enum status step_runner_init(const struct step_runner_opts *opts, const struct model_config *config,
                             const struct weights *weights, const struct kvcache *cache,
                             struct step_runner *out, struct err *err)
{
    enum status status = STATUS_OK;
    *out = (struct step_runner){
        .ops = opts->ops,
        .device = opts->device,
        .stream = opts->stream,
        .cache = cache,
        .limits = opts->limits,
        .slots = opts->slots,
        .vocab = config->vocab,
        .context_max = opts->context_max,
    };
    struct decoder_opts decoder_opts = decoder_opts_of(opts);
    block_planner_init(opts->ops, opts->device, config, cache, weights->shard.heads,
                       opts->context_max, &out->planner);
    out->full_rows = mem_array(opts->limits.rows, sizeof(*out->full_rows));
    for (uint32_t i = 0; i < opts->limits.rows; i++)
        out->full_rows[i] = (struct attn_row){.slot = i, .token_first = i, .token_count = 1};
    out->graphs = opts->ops->graph_begin != NULL && !opts->no_graphs;
    if (out->graphs || opts->pad)
        graphs_init(out, MIN(opts->limits.rows, opts->limits.tokens));
    TRY_OUT(opts->ops->stream_new(opts->device, &out->copy, err));
    for (uint32_t i = 0; i < STEP_LANES; i++)
        TRY_OUT(lane_init(out, &out->lanes[i], err));
    TRY_OUT(words_alloc(out, opts->limits.tokens, &out->ids, err));
    TRY_OUT(words_alloc(out, opts->slots, &out->last_tokens, err));
    TRY_OUT(decoder_init(&decoder_opts, config, weights, cache, &out->decoder, err));
    struct extras_opts extras_opts = {.model_dir = opts->model_dir,
                                      .ops = opts->ops,
                                      .device = opts->device,
                                      .stream = opts->stream,
                                      .last_tokens = out->last_tokens,
                                      .slots = opts->slots,
                                      .vocab = config->vocab,
                                      .rows_max = opts->limits.rows};
    TRY_OUT(extras_init(&extras_opts, &out->extras, err));
out:
    if (status != STATUS_OK)
        step_runner_release(out);
    return status;
}

void step_runner_release(struct step_runner *runner)
{
    if (runner->ops == NULL)
        return;
    graphs_release(runner);
    extras_release(&runner->extras);
    decoder_release(&runner->decoder);
    for (uint32_t i = 0; i < STEP_LANES; i++)
        lane_release(runner, &runner->lanes[i]);
    uint32_t *arrays[] = {runner->ids, runner->last_tokens};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        if (arrays[i] != NULL)
            runner->ops->free(runner->device, arrays[i]);
    if (runner->copy != NULL)
        runner->ops->stream_free(runner->device, runner->copy);
    mem_free(runner->full_rows);
    *runner = (struct step_runner){0};
}

/* From the lane's block on the device to logits of the samples, then of the scores: what a graph
 * holds. */
static void forward_ops(struct step_runner *runner, struct step_lane *lane,
                     const struct step_packet *packet, const struct block_layout *at,
                     const struct attn_row *rows_host)
{
    const struct ops *ops = runner->ops;
    const uint8_t *block = lane->device;
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
        .groups_host = (const void *)step_groups(packet),
        .sample_idx = at->all_sampled ? NULL : (const void *)(block + at->sample_idx),
        .tokens = at->tokens_n,
        .row_count = at->rows_n,
        .group_count = packet->group_count,
        .sample_count = at->samples,
    };
    for (size_t i = 0; i < ARRAY_LEN(batch.plans); i++)
        batch.plans[i] =
            (struct attn_plan_ref){.device = block + at->plans[i], .host = lane->host + at->plans[i]};
    decoder_forward(&runner->decoder, &batch);
}

/* Whatever sizes a launch by the host's rows must see all of them at work: a graph is launched later
 * for steps with less padding. */
static enum status capture(struct step_runner *runner, uint32_t lane,
                           const struct step_packet *packet, const struct block_layout *at,
                           struct graph **out, struct err *err)
{
    TRY(runner->ops->graph_begin(runner->device, runner->stream, err));
    forward_ops(runner, &runner->lanes[lane], packet, at, runner->full_rows);
    return runner->ops->graph_end(runner->device, runner->stream, out, err);
}

static enum status forward(struct step_runner *runner, uint32_t idx,
                                     const struct step_packet *packet, struct step_size *size,
                                     const struct block_layout *at, bool *graph,
                           struct err *err)
{
    struct step_lane *lane = &runner->lanes[idx];
    bool graphs = size != NULL && runner->graphs;
    if (graphs && size->seen && size->graphs[idx] == NULL)
        TRY(capture(runner, idx, packet, at, &size->graphs[idx], err));
    *graph = graphs && size->graphs[idx] != NULL;
    if (*graph)
        runner->ops->graph_launch(runner->device, runner->stream, size->graphs[idx]);
    else
        forward_ops(runner, lane, packet, at, (const void *)(lane->host + at->rows));
    if (size != NULL)
        size->seen = true;
    return STATUS_OK;
}

/* Padding rows draw nothing, so the sampler gets the packet's rows only. */
static void sample(struct step_runner *runner, struct step_lane *lane,
                   const struct step_packet *packet, const struct block_layout *at,
                   struct step_io *io)
{
    const struct ops *ops = runner->ops;
    const struct sample_row *rows = (const void *)(lane->device + at->sample_rows);
    float *logits = runner->decoder.logits;
    size_t logit_rows = packet->sample_count + packet->score_count;
    extras_adjust(&runner->extras, packet, logits, rows);
    if (packet->sample_count > 0)
        ops->sample(runner->device, runner->stream, lane->drawn, runner->last_tokens, logits,
                    runner->vocab, rows, packet->sample_count);
    extras_finish(&runner->extras, &io->extras, packet, logits, lane->drawn);
    if (io->logits != NULL)
        ops->download(runner->device, runner->stream, io->logits, logits,
                      logit_rows * runner->vocab * sizeof(*io->logits));
}

enum status step_launch(struct step_runner *runner, uint32_t idx, struct step_io *io,
                        struct err *err)
{
    const struct step_packet *packet = io->packet_block;
    const struct ops *ops = runner->ops;
    struct step_lane *lane = &runner->lanes[idx];
    uint64_t start = clock_now_ns();
    struct step_size *size =
        block_is_decode(packet) ? graphs_size(runner, packet->row_count) : NULL;
    struct block_layout at =
        block_fill(&runner->planner, packet, size ? size->rows : 0, lane->host);

    ops->upload(runner->device, runner->copy, lane->device, lane->host, at.bytes);
    ops->event_record(runner->device, runner->copy, lane->uploaded);
    ops->event_wait(runner->device, runner->stream, lane->uploaded);
    ops->event_record(runner->device, runner->stream, lane->begin);
    if (at.more_n > 0)
        ops->page_table_set(runner->device, runner->stream, runner->cache->page_table,
                            runner->cache->view.pages_per_slot,
                            (const void *)(lane->device + at.more), at.more_n);
    extras_setup(&runner->extras, packet);
    TRY(forward(runner, idx, packet, size, &at, &io->graph, err));
    TRY(extras_masks(&runner->extras, &io->extras, packet, lane->drawn, lane->end, err));
    if (at.samples > 0)
        sample(runner, lane, packet, &at, io);
    ops->event_record(runner->device, runner->stream, lane->end);
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
