/* kvcache - one allocation for all layers' pages, one for the page table. */
#include "worker/model/kvcache.h"

#include "common/hash.h"

uint64_t kvcache_page_bytes(const struct model_config *config, const struct shard *shard,
                            enum dtype act, uint32_t page_size)
{
    return (uint64_t)config->layers * 2 * shard->kv_heads * page_size * config->head_dim *
           dtype_bytes(act);
}

enum status kvcache_init(const struct kvcache_opts *opts, const struct model_config *config,
                         const struct shard *shard, enum dtype act, struct kvcache *out,
                         struct err *err)
{
    enum status status = STATUS_OK;
    uint64_t bytes = kvcache_page_bytes(config, shard, act, opts->page_size) * opts->pages;
    uint32_t pages_per_slot = DIV_CEIL(opts->context_max, opts->page_size);
    *out = (struct kvcache){.ops = opts->ops, .device = opts->device};
    TRY_OUT(opts->ops->alloc(opts->device, bytes, &out->pool, err));
    void *table = NULL;
    TRY_OUT(opts->ops->alloc(opts->device,
                             (size_t)opts->slots * pages_per_slot * sizeof(*out->page_table),
                             &table, err));
    out->page_table = table;
    out->layer_bytes = bytes / config->layers;
    out->layers = config->layers;
    out->view = (struct kv_view){
        .pool = out->pool,
        .page_table = out->page_table,
        .pages = opts->pages,
        .pages_per_slot = pages_per_slot,
        .page_size = opts->page_size,
        .kv_heads = shard->kv_heads,
        .head_dim = config->head_dim,
    };
out:
    if (status != STATUS_OK)
        kvcache_release(out);
    return status;
}

void kvcache_release(struct kvcache *cache)
{
    if (cache->pool != NULL && !cache->borrowed)
        cache->ops->free(cache->device, cache->pool);
    if (cache->page_table != NULL)
        cache->ops->free(cache->device, cache->page_table);
    *cache = (struct kvcache){0};
}

void kvcache_borrow(struct kvcache *cache, void *pool)
{
    cache->ops->free(cache->device, cache->pool);
    cache->pool = cache->view.pool = pool;
    cache->borrowed = true;
}

uint64_t kvcache_page_sum(const struct kvcache *cache, uint32_t page)
{
    size_t piece = cache->layer_bytes / cache->view.pages;
    uint64_t sum = 0;
    for (uint32_t layer = 0; layer < cache->layers; layer++)
        sum = hash_bytes_seeded(
            (const uint8_t *)cache->pool + layer * cache->layer_bytes + page * piece, piece, sum);
    return sum;
}

struct kv_view kvcache_layer(const struct kvcache *cache, uint32_t layer)
{
    struct kv_view view = cache->view;
    view.pool = (uint8_t *)cache->pool + layer * cache->layer_bytes;
    return view;
}
