/* step - the memory, streams and events that steps need. */
#include "worker/engine/step.h"

#include "common/mem.h"
#include "worker/engine/graphs.h"

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
