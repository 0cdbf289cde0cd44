/* setup - opens the device, loads the model, sizes the KV pool, measures a first step. */
#include "worker/engine/setup.h"

#include "common/clock.h"
#include "common/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A laptop's memory is its owner's: without --kv-bytes the cpu pool takes at most this, unless one
 * req of the full context needs more. */
#define CPU_KV_BYTES_MAX (2ull << 30)
#define WARMUP_TOKENS 64u

static enum status check_opts(const struct engine_opts *opts, struct err *err)
{
    uint32_t page = opts->page_size;
    if (page == 0 || page > 256 || (page & (page - 1)) != 0)
        return err_set(err, STATUS_INVALID, "a page size of %u is not a power of two from 1 to 256",
                       page);
    if (opts->slots == 0 || opts->slots > 65536)
        return err_set(err, STATUS_INVALID, "%u running reqs are not from 1 to 65536", opts->slots);
    if (opts->step_tokens_max < opts->slots || opts->step_tokens_max > 1u << 20)
        return err_set(err, STATUS_INVALID,
                       "%u tokens a step are not from the %u running reqs to 1048576",
                       opts->step_tokens_max, opts->slots);
    if (opts->kv_bytes == 0 && !(opts->memory_ratio > 0 && opts->memory_ratio <= 1))
        return err_set(err, STATUS_INVALID, "a memory ratio of %g is not above 0 and at most 1",
                       opts->memory_ratio);
    if (opts->tp < 1 || opts->tp > 64 || opts->rank < 0 || opts->rank >= opts->tp)
        return err_set(err, STATUS_INVALID, "rank %d of %d is not a rank", opts->rank, opts->tp);
    if (opts->tp > 1 && opts->comm == NULL)
        return err_set(err, STATUS_INVALID, "%d ranks need a rendezvous name", opts->tp);
    return STATUS_OK;
}

static enum status open_device(const struct engine_opts *opts, struct engine_parts *parts,
                               struct err *err)
{
    parts->ops = ops_find(opts->backend);
    if (parts->ops == NULL)
        return err_set(err, STATUS_UNSUPPORTED, "backend %s is not built in or has no device here",
                       opts->backend ? opts->backend : "(any)");
    struct device_opts device_opts = {
        .threads = opts->threads,
        .device_index = opts->rank,
        .rank = opts->rank,
        .tp = opts->tp,
        .comm = opts->comm,
    };
    TRY(parts->ops->open(&device_opts, &parts->device, err));
    return parts->ops->stream_new(parts->device, &parts->stream, err);
}

/* The smallest of all ranks' numbers: every rank must hold every page that rank 0 names. */
static enum status agree(struct engine_parts *parts, uint32_t tp, uint32_t *pages, struct err *err)
{
    enum status status = STATUS_OK;
    if (tp == 1)
        return STATUS_OK;
    const struct ops *ops = parts->ops;
    void *mine = NULL, *all = NULL;
    float host[64] = {(float)MIN(*pages, 1u << 24)}; /* exact in f32 */
    TRY_OUT(ops->alloc(parts->device, sizeof(float), &mine, err));
    TRY_OUT(ops->alloc(parts->device, tp * sizeof(float), &all, err));
    ops->upload(parts->device, parts->stream, mine, host, sizeof(float));
    ops->all_gather(parts->device, parts->stream, all, mine, 1, 1);
    ops->download(parts->device, parts->stream, host, all, tp * sizeof(float));
    TRY_OUT(ops->stream_sync(parts->device, parts->stream, err));
    for (uint32_t i = 0; i < tp; i++)
        *pages = MIN(*pages, (uint32_t)host[i]);
out:
    if (mine != NULL)
        ops->free(parts->device, mine);
    if (all != NULL)
        ops->free(parts->device, all);
    return status;
}

/* Pages from kv_bytes, or from what memory_ratio of the memory that was free before the weights
 * leaves beside weights and buffers. */
static enum status size_pool(const struct engine_opts *opts, struct engine_parts *parts,
                             const struct device_info *device, struct engine_info *info,
                             struct err *err)
{
    const struct model_config *config = &parts->config;
    const struct shard *shard = &parts->weights.shard;
    uint64_t page_bytes = kvcache_page_bytes(config, shard, device->act, opts->page_size);
    uint32_t context = MIN(config->context, opts->context_max ? opts->context_max : UINT32_MAX);
    uint64_t bytes = opts->kv_bytes;
    if (bytes == 0) {
        struct decoder_opts decoder_opts = {.tokens_max = opts->step_tokens_max,
                                            .rows_max = opts->slots,
                                            .context_max = context};
        uint64_t used = parts->weights.bytes +
                        decoder_bytes(&decoder_opts, config, shard, device->act);
        double budget = opts->memory_ratio * (double)device->memory_free_bytes - (double)used;
        uint64_t one_req = DIV_CEIL(context, opts->page_size) * page_bytes;
        bytes = budget > 0 ? (uint64_t)budget : 0;
        if (strcmp(parts->ops->name, "cpu") == 0)
            bytes = MIN(bytes, MAX(CPU_KV_BYTES_MAX, one_req));
    }
    uint64_t pages = MIN(bytes / page_bytes, (uint64_t)INT32_MAX);
    if (pages == 0)
        return err_set(err, STATUS_NO_SPACE,
                       "no memory for the KV pool: a page takes %" PRIu64 " bytes, %" PRIu64
                       " are left", page_bytes, bytes);
    info->pages = (uint32_t)pages;
    TRY(agree(parts, shard->tp, &info->pages, err));
    info->kv_bytes = info->pages * page_bytes;
    info->context_max = (uint32_t)MIN((uint64_t)context, (uint64_t)info->pages * opts->page_size);
    return STATUS_OK;
}

/* A packet of one row at position 0, as a scheduler would build it, in pages 0, 1, … */
static void warmup_packet(const struct engine_parts *parts, struct step_builder *builder,
                          struct step_io *io, uint32_t tokens)
{
    step_builder_reset(builder);
    for (uint32_t i = 0; i < DIV_CEIL(tokens, parts->cache.view.page_size); i++)
        builder->deltas[builder->delta_count++] = (struct page_delta){.slot = 0, .idx = i, .page = i};
    for (uint32_t i = 0; i < tokens; i++)
        builder->tokens[builder->token_count++] = 0;
    builder->rows[builder->row_count++] =
        (struct step_row){.slot = 0, .token_first = 0, .token_count = tokens, .pos_first = 0};
    builder->samples[builder->sample_count++] =
        (struct step_sample){.row = 0, .position = tokens, .sampling = {.top_p = 1.0f}};
    (void)step_builder_finish(builder, 0, io->packet_block);
}

static enum status warmup_step(struct engine_parts *parts, struct step_builder *builder,
                               struct step_io *io, uint32_t tokens, double *us, struct err *err)
{
    warmup_packet(parts, builder, io, tokens);
    uint64_t start = clock_now_ns();
    TRY(step_run(&parts->runner, io, err));
    *us = (double)(clock_now_ns() - start) / 1000.0;
    return STATUS_OK;
}

/* The first step pays for page faults and first uses, so each figure is that of a second step. What
 * it leaves in its pages is never read: a page is written before a row looks at it. */
static enum status warmup(struct engine_parts *parts, struct engine_info *info, struct err *err)
{
    enum status status = STATUS_OK;
    struct step_builder builder;
    struct step_io io;
    double us = 0;
    uint32_t tokens = MIN(WARMUP_TOKENS, MIN(info->limits.tokens, MAX(info->context_max / 2, 1u)));
    step_builder_init(&builder, &info->limits);
    step_io_init(&io, &info->limits);
    TRY_OUT(warmup_step(parts, &builder, &io, 1, &us, err));
    TRY_OUT(warmup_step(parts, &builder, &io, 1, &info->decode_us_per_row, err));
    TRY_OUT(warmup_step(parts, &builder, &io, tokens, &us, err));
    info->prefill_us_per_token = us / tokens;
out:
    step_builder_release(&builder);
    step_io_release(&io);
    return status;
}

enum status engine_parts_init(const struct engine_opts *opts, struct engine_parts *parts,
                              struct engine_info *info, struct err *err)
{
    enum status status = STATUS_OK;
    struct device_info device;
    *parts = (struct engine_parts){0};
    *info = (struct engine_info){0};
    TRY_OUT(check_opts(opts, err));
    TRY_OUT(model_config_load(opts->model_dir, &parts->config, err));
    TRY_OUT(open_device(opts, parts, err));
    parts->ops->info(parts->device, &device);
    struct weights_opts weights_opts = {
        .ops = parts->ops,
        .device = parts->device,
        .dir = opts->model_dir,
        .dummy = opts->dummy_weights,
        .dummy_seed = opts->dummy_seed,
        .rank = (uint32_t)opts->rank,
        .tp = (uint32_t)opts->tp,
    };
    TRY_OUT(weights_load(&weights_opts, &parts->config, &parts->weights, err));
    TRY_OUT(size_pool(opts, parts, &device, info, err));
    info->vocab = parts->config.vocab;
    info->weight_bytes = parts->weights.bytes;
    info->weights_hash = parts->weights.hash;
    info->features = device.features;
    snprintf(info->device, sizeof(info->device), "%s", device.name);
    step_limits_init(&info->limits, opts->slots, opts->step_tokens_max, info->context_max,
                     opts->page_size);

    struct kvcache_opts cache_opts = {.ops = parts->ops,
                                      .device = parts->device,
                                      .pages = info->pages,
                                      .page_size = opts->page_size,
                                      .slots = opts->slots,
                                      .context_max = info->context_max};
    TRY_OUT(kvcache_init(&cache_opts, &parts->config, &parts->weights.shard, device.act,
                         &parts->cache, err));
    struct step_runner_opts runner_opts = {.ops = parts->ops,
                                           .device = parts->device,
                                           .stream = parts->stream,
                                           .limits = info->limits,
                                           .slots = opts->slots,
                                           .context_max = info->context_max};
    TRY_OUT(step_runner_init(&runner_opts, &parts->config, &parts->weights, &parts->cache,
                             &parts->runner, err));
    TRY_OUT(warmup(parts, info, err));
out:
    if (status != STATUS_OK)
        engine_parts_release(parts);
    return status;
}

void engine_parts_release(struct engine_parts *parts)
{
    step_runner_release(&parts->runner);
    kvcache_release(&parts->cache);
    weights_release(&parts->weights);
    if (parts->stream != NULL)
        parts->ops->stream_free(parts->device, parts->stream);
    if (parts->device != NULL)
        parts->ops->close(parts->device);
    *parts = (struct engine_parts){0};
}
