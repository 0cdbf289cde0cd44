/* mirror_world - a tree and its mirror, and the sums that a pool's bytes would have: of the size that who
 * includes this has defined as PAGES, of SIZE tokens each, with page hashes from FINGERPRINT. */
#ifndef MSGL_TESTS_WORKER_SCHED_MIRROR_WORLD_H
#define MSGL_TESTS_WORKER_SCHED_MIRROR_WORLD_H

#include "common/mem.h"
#include "worker/sched/mirror.h"
#include "worker/sched/radix.h"

#include <string.h>

struct world {
    struct pages pages;
    struct cache_log log;
    struct radix radix;
    struct mirror mirror;
    uint64_t data[PAGES]; /* the pool: what its pages' bytes would sum to */
};

static uint64_t world_page_sum(void *ctx, uint32_t page)
{
    return ((struct world *)ctx)->data[page];
}

/* With `from`: after its process ended at this moment. */
static void world_init(struct world *w, const struct world *from)
{
    size_t bytes = mirror_entry_bytes(SIZE) * PAGES;
    memset(w, 0, sizeof(*w));
    pages_init(&w->pages, PAGES);
    cache_log_init(&w->log, 4 * PAGES);
    radix_init(&w->radix, &w->pages, &w->log, SIZE, 8, FINGERPRINT);
    w->mirror = (struct mirror){.entries = mem_zalloc(bytes),
                                .pages = PAGES,
                                .page_size = SIZE,
                                .page_sum = world_page_sum,
                                .ctx = w};
    if (from) {
        memcpy(w->mirror.entries, from->mirror.entries, bytes);
        memcpy(w->data, from->data, sizeof(w->data));
    }
    w->radix.mirror = &w->mirror;
}

static void world_release(struct world *w)
{
    radix_release(&w->radix);
    cache_log_release(&w->log);
    pages_release(&w->pages);
    mem_free(w->mirror.entries);
}

#endif
