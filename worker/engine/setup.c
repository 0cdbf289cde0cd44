/* setup - opens the device, loads the model, sizes the KV pool. */
#include "worker/engine/setup.h"

#include "common/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/engine/warmup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A laptop's memory is its owner's: without --kv-bytes the cpu pool takes at most this, unless one
 * req of the full context needs more. */
#define CPU_KV_BYTES_MAX (2ull << 30)
#define CPU_MEMORY_RATIO 0.25
/* A GPU's memory is ours. What stays free: captured graphs, code that is loaded at first use. */
#define GPU_RESERVE_BYTES (768ull << 20)

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
    if (!(opts->memory_ratio >= 0 && opts->memory_ratio <= 1))
        return err_set(err, STATUS_INVALID, "a memory ratio of %g is not from 0 to 1",
                       opts->memory_ratio);
    if (opts->tp < 1 || opts->tp > 64 || opts->rank < 0 || opts->rank >= opts->tp)
        return err_set(err, STATUS_INVALID, "rank %d of %d is not a rank", opts->rank, opts->tp);
    if (opts->tp > 1 && opts->comm == NULL)
        return err_set(err, STATUS_INVALID, "%d ranks need a rendezvous name", opts->tp);
    return STATUS_OK;
}

bool engine_on_gpu(const char *backend)
{
    const struct ops *ops = ops_find(backend);
    return ops != NULL && strcmp(ops->name, "cpu") != 0;
}

static enum status open_device(const struct engine_opts *opts, struct engine_parts *parts,
                               struct err *err)
{
    parts->ops = ops_find(opts->backend);
    if (parts->ops == NULL)
        return err_set(err, STATUS_UNSUPPORTED, "backend %s is not built in or has no device here",
                       opts->backend ? opts->backend : "(any)");
    char *home = config_home(), *plans = path_join(home, "plans");
    struct device_opts device_opts = {
        .threads = opts->threads,
        .attn = opts->attn,
        .plans = opts->plans ? opts->plans : plans,
        .tune = opts->tune,
        .device_index = (int)opts->gpu,
        .rank = opts->rank,
        .tp = opts->tp,
        .comm = opts->comm,
    };
    enum status status = parts->ops->open(&device_opts, &parts->device, err);
    mem_free(plans);
    mem_free(home);
    TRY(status);
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

static struct step_runner_opts runner_opts_of(const struct engine_opts *opts,
                                              const struct engine_parts *parts, uint32_t context)
{
    struct step_runner_opts runner_opts = {.model_dir = opts->model_dir,
                                           .ops = parts->ops,
                                           .device = parts->device,
                                           .stream = parts->stream,
                                           .slots = opts->slots,
                                           .context_max = context,
                                           .page_size = opts->page_size,
                                           .no_graphs = opts->no_graphs,
                                           .pad = opts->pad_decode};
    step_limits_init(&runner_opts.limits, opts->slots, opts->step_tokens_max, context,
                     opts->page_size);
    return runner_opts;
}

/* What the pool may take: a share of what was free before the weights, less what the rest takes; or
 * on a GPU all that is free now beside the buffers that are still to come. */
static uint64_t pool_budget(const struct engine_opts *opts, const struct engine_parts *parts,
                            uint64_t free_before, uint32_t context, uint64_t page_bytes)
{
    const struct ops *ops = parts->ops;
    const struct model_config *config = &parts->config;
    const struct shard *shard = &parts->weights.shard;
    struct device_info device;
    ops->info(parts->device, &device);
    struct step_runner_opts runner_opts = runner_opts_of(opts, parts, context);
    uint64_t table = (uint64_t)opts->slots * DIV_CEIL(context, opts->page_size) * sizeof(uint32_t);
    uint64_t buffers = step_runner_bytes(&runner_opts, config, shard, device.act) + table;
    bool cpu = strcmp(ops->name, "cpu") == 0;
    double budget = opts->memory_ratio > 0 || cpu
                        ? (opts->memory_ratio > 0 ? opts->memory_ratio : CPU_MEMORY_RATIO) *
                                  (double)free_before -
                              (double)(parts->weights.bytes + buffers)
                        : (double)device.memory_free_bytes - (double)(buffers + GPU_RESERVE_BYTES);
    uint64_t bytes = budget > 0 ? (uint64_t)budget : 0;
    uint64_t one_req = DIV_CEIL(context, opts->page_size) * page_bytes;
    return cpu ? MIN(bytes, MAX(CPU_KV_BYTES_MAX, one_req)) : bytes;
}

static enum status size_pool(const struct engine_opts *opts, struct engine_parts *parts,
                             const struct device_info *device, struct engine_info *info,
                             struct err *err)
{
    const struct model_config *config = &parts->config;
    const struct shard *shard = &parts->weights.shard;
    uint64_t page_bytes = kvcache_page_bytes(config, shard, device->act, opts->page_size);
    uint32_t context = config->context;
    uint64_t bytes = opts->kv_bytes
                         ? opts->kv_bytes
                         : pool_budget(opts, parts, device->memory_free_bytes, context, page_bytes);
    uint64_t pages = MIN(bytes / page_bytes, (uint64_t)INT32_MAX);
    if (pages == 0)
        return err_set(err, STATUS_NO_SPACE,
                       "no memory for the KV pool: %" PRIu64 " MiB were free, weights take %" PRIu64
                       " MiB, steps of %u tokens their buffers, and a page takes %" PRIu64 " KiB",
                       device->memory_free_bytes >> 20, parts->weights.bytes >> 20,
                       opts->step_tokens_max, page_bytes >> 10);
    info->pages = (uint32_t)pages;
    TRY(agree(parts, shard->tp, &info->pages, err));
    info->kv_bytes = info->pages * page_bytes;
    info->context_max = (uint32_t)MIN((uint64_t)context, (uint64_t)info->pages * opts->page_size);
    return STATUS_OK;
}

/* Behind the warm-up, whose steps write where they like. */
static enum status borrow_pool(const struct engine_opts *opts, struct engine_parts *parts,
                               const struct engine_info *info, struct err *err)
{
    void *memory = NULL;
    if (opts->pool == NULL)
        return STATUS_OK;
    if (strcmp(parts->ops->name, "cpu") != 0)
        return err_set(err, STATUS_UNSUPPORTED, "backend %s keeps its KV pool itself",
                       parts->ops->name);
    struct engine_pool_need need = {.kind = parts->ops->name,
                                    .pages = info->pages,
                                    .page_bytes = info->kv_bytes / info->pages,
                                    .weights = weights_content_hash(&parts->weights)};
    TRY(opts->pool->map(opts->pool->ctx, &need, &memory, err));
    kvcache_borrow(&parts->cache, memory);
    return STATUS_OK;
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
    model_config_limit(&parts->config, opts->context_max);
    if (parts->config.rope.kind == ROPE_LONG)
        LOG_INFO("engine", "longrope", "factors=%s context=%u original=%u",
                 parts->config.rope.longer ? "long" : "short", parts->config.context,
                 parts->config.rope.original_context);
    TRY_OUT(open_device(opts, parts, err));
    parts->ops->info(parts->device, &device);
    TRY_OUT(decoder_check(parts->ops, &device, &parts->config, (uint32_t)opts->tp, err));
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
    snprintf(info->device, sizeof(info->device), "%s", device.name);
    struct step_runner_opts runner_opts = runner_opts_of(opts, parts, info->context_max);
    info->limits = runner_opts.limits;
    struct kvcache_opts cache_opts = {.ops = parts->ops,
                                      .device = parts->device,
                                      .pages = info->pages,
                                      .page_size = opts->page_size,
                                      .slots = opts->slots,
                                      .context_max = info->context_max};
    TRY_OUT(kvcache_init(&cache_opts, &parts->config, &parts->weights.shard, device.act,
                         &parts->cache, err));
    TRY_OUT(step_runner_init(&runner_opts, &parts->config, &parts->weights, &parts->cache,
                             &parts->runner, err));
    info->features = parts->runner.extras.features;
    TRY_OUT(warmup_run(parts, opts->tune, info, err));
    TRY_OUT(borrow_pool(opts, parts, info, err));
out:
    if (status == STATUS_NO_SPACE && err != NULL) {
        struct err cause = *err;
        err_set(err, status,
                "%s. Lower --kv-mib, --step-tokens, --max-running or --context-max, or "
                "free the memory that others hold",
                cause.text);
    }
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
