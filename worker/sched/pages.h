/* pages - who owns each page of the KV pool.
 *
 *      FREE ──take──► REQ ──give──► TREE          give: the page is full and computed, the radix
 *       ▲              │             │            tree owns it; reqs share it through node locks
 *       │            drop          drop
 *       │              ▼             │
 *       └──commit── LIMBO ◄──────────┘            LIMBO: a step in flight still names the page
 *
 * A page has exactly one owner, so there is nothing to count and a double free is a CHECK. A drop
 * says the last step that names the page; the page is free again once that step is committed. At
 * most two steps are in flight, so two lists (odd and even steps) hold the limbo. All memory is
 * taken at init. Loop thread.
 */
#ifndef MSGL_WORKER_SCHED_PAGES_H
#define MSGL_WORKER_SCHED_PAGES_H

#include "common/status.h"

#define PAGE_NONE UINT32_MAX

enum page_owner { PAGE_FREE, PAGE_REQ, PAGE_TREE, PAGE_LIMBO };

struct pages {
    uint32_t count;
    uint32_t free_count, req_count, tree_count, limbo_count[2];
    uint32_t *free_stack; /* [count] the first free_count are free */
    uint32_t *limbo[2];   /* [count] each, by step & 1 */
    uint8_t *owner;       /* [count] enum page_owner */
    uint64_t committed;   /* newest committed step */
};

void pages_init(struct pages *pages, uint32_t count);
void pages_release(struct pages *pages);

/* A page for a req, or PAGE_NONE when none is free. */
uint32_t pages_take(struct pages *pages);
void pages_give(struct pages *pages, uint32_t page); /* REQ -> TREE */

/* At the start, with every page free: the pages with claimed[page] are reqs'. O(count). */
void pages_claim(struct pages *pages, const uint8_t *claimed);

/* Ends REQ's or TREE's ownership; `last_step` is the newest step that names the page. */
void pages_drop(struct pages *pages, uint32_t page, uint64_t last_step);

/* Step `step` is committed: frees what waited for it. Steps commit in order. */
void pages_commit(struct pages *pages, uint64_t step);

static inline uint32_t pages_limbo(const struct pages *pages)
{
    return pages->limbo_count[0] + pages->limbo_count[1];
}

/* Every page has one owner and every list agrees. O(count). */
bool pages_check(const struct pages *pages, struct err *err);

#endif
