/* kvcache - the pool of KV pages of all layers, and the table that says whose page is where.
 *
 *   pool   [layer][page][k | v][kv_head][page_size][head_dim]   act; one head's page is contiguous
 *   table  [slot][pages_per_slot] -> page
 *
 * Which page holds what is the scheduler's knowledge; here are only bytes.
 */
#ifndef MSGL_WORKER_MODEL_KVCACHE_H
#define MSGL_WORKER_MODEL_KVCACHE_H

#include "worker/model/weights.h"

struct kvcache {
    const struct ops *ops;
    struct device *device;
    void *pool;
    bool borrowed; /* the pool is the caller's */
    uint32_t *page_table;
    size_t layer_bytes;
    uint32_t layers;
    struct kv_view view; /* of layer 0 */
};

struct kvcache_opts {
    const struct ops *ops;
    struct device *device;
    uint32_t pages, page_size, slots, context_max;
};

/* Bytes that one page takes over all layers, on this rank. */
uint64_t kvcache_page_bytes(const struct model_config *config, const struct shard *shard,
                            enum dtype act, uint32_t page_size);

enum status MUST_USE kvcache_init(const struct kvcache_opts *opts,
                                  const struct model_config *config, const struct shard *shard,
                                  enum dtype act, struct kvcache *out, struct err *err);
void kvcache_release(struct kvcache *cache); /* safe on a zeroed struct */

/* Device memory of the caller's, as large as the pool, takes its place. No step is in flight. */
void kvcache_borrow(struct kvcache *cache, void *pool);
/* XXH3 of a page's bytes over all layers; the pool is in host memory. */
uint64_t kvcache_page_sum(const struct kvcache *cache, uint32_t page);

struct kv_view kvcache_layer(const struct kvcache *cache, uint32_t layer);

#endif
