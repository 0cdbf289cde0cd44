/* prefix_index - which worker holds which page: page hash to set of workers.
 *
 *   block 0 (workers 0..63):    [ hash | workers ][ hash | workers ][ empty ] ...   16 bytes a slot,
 *   block 1 (workers 64..127):  [ hash | workers ] ...                              at most 3/4 full
 *
 *   prompt:   h0 ── h1 ── h2 ── h3 ── h4         a worker's match is where its chain stops:
 *   worker 0  x     x     x     .                  3 pages
 *   worker 1  x     x     .     e                  2 pages (e is beyond the gap)
 *   worker 2  x     e     e     e     .            4 pages, 3 of them only expected
 *
 * Exact, because workers report every page that they store or drop (CACHE, SNAPSHOT). Expected pages
 * are those of prompts that were just sent there: counted, until the stream that expects them ends.
 * A page takes 16 bytes / load = 22 to 43 bytes for up to 64 workers. Loop thread.
 */
#ifndef MSGL_ROUTER_PREFIX_INDEX_H
#define MSGL_ROUTER_PREFIX_INDEX_H

#include "common/map.h"

#define PREFIX_BLOCK_WORKERS 64
#define PREFIX_BLOCKS_MAX    16
#define PREFIX_WORKERS_MAX   (PREFIX_BLOCK_WORKERS * PREFIX_BLOCKS_MAX)

struct prefix_slot {
    uint64_t hash;
    uint64_t workers; /* one bit each; 0 = empty slot */
};
struct prefix_block {
    struct prefix_slot *slots;
    size_t cap; /* power of two, or 0 */
    size_t count;
};
struct prefix_index {
    struct prefix_block blocks[PREFIX_BLOCKS_MAX];
    struct map expected;   /* (hash, worker) mixed to one key, to the number of streams */
    uint64_t *page_counts; /* of each worker */
};

struct prefix_match {
    uint32_t pages;    /* the chain: held or expected */
    uint32_t expected; /* of these, not reported by the worker yet */
};

void prefix_index_init(struct prefix_index *index);
void prefix_index_release(struct prefix_index *index);

/* Both are idempotent: a page reported twice counts once. */
void prefix_index_add(struct prefix_index *index, uint32_t worker, uint64_t hash);
void prefix_index_remove(struct prefix_index *index, uint32_t worker, uint64_t hash);
/* Forgets all reported pages of a worker: it left, restarted, or sends a new snapshot. `gone` (NULL:
 * nobody asks) hears of those that no other worker holds. */
void prefix_index_drop_worker(struct prefix_index *index, uint32_t worker,
                              void (*gone)(void *ctx, uint64_t hash), void *ctx);
/* Which of the block's workers hold the page, one bit each. */
uint64_t prefix_index_holders(const struct prefix_index *index, size_t block, uint64_t hash);
bool prefix_index_held(const struct prefix_index *index, uint64_t hash); /* by any worker */

/* A prompt was sent to the worker; each call is undone by one prefix_index_unexpect. */
void prefix_index_expect(struct prefix_index *index, uint32_t worker, const uint64_t *hashes,
                         size_t count);
void prefix_index_unexpect(struct prefix_index *index, uint32_t worker, const uint64_t *hashes,
                           size_t count);

/* out[i] is the match of workers[i]. */
void prefix_index_match(const struct prefix_index *index, const uint64_t *hashes, size_t count,
                        const uint32_t *workers, size_t worker_count, struct prefix_match *out);

uint64_t prefix_index_pages(const struct prefix_index *index, uint32_t worker);
uint64_t prefix_index_bytes(const struct prefix_index *index); /* memory in use */

#endif
