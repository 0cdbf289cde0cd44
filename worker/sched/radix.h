/* radix - which token sequences are in the KV pool: a radix tree over whole pages.
 *
 *     root (namespace 0)                     a node is a run of pages: what lies between two
 *      └─ [p4 p9 p2]          locks 3        branching points. Its pages are chained through
 *          ├─ [p7]            locks 2        next[], so a split moves no data.
 *          └─ [p1 p5 p8]      locks 1
 *     root (namespace 77)                    children are found by (parent, hash of their first
 *      └─ [p3]                locks 0        page) in one hash table, and compared token by token
 *
 * A lock counts on every node from the one named up to the root, so a node with no locks has none
 * below it: its pages can be evicted. Leaves without locks wait in a heap, least recently used
 * first; eviction takes pages from a leaf's end, O(log nodes) for a leaf and O(1) for a page.
 *
 * A match never rests on hashes alone: the namespace and every token id are compared. Memory is
 * taken at init: a node has at least one page, so 2 * pages + locks nodes are enough. Loop thread.
 */
#ifndef MSGL_WORKER_SCHED_RADIX_H
#define MSGL_WORKER_SCHED_RADIX_H

#include "worker/sched/cache_log.h"
#include "worker/sched/mirror.h"
#include "worker/sched/pages.h"

struct req;

struct radix_node {
    struct radix_node *parent;      /* NULL: a root, which has no pages */
    struct radix_node *child;       /* first child */
    struct radix_node *prev, *next; /* siblings; of roots: the other roots */
    struct radix_node *bucket_next;
    uint64_t key;       /* hash of its first page; of a root: its namespace */
    uint64_t root_hash; /* of a root: the first pages' parent hash */
    uint64_t used;      /* radix.clock when it was last unlocked */
    uint64_t last_step; /* newest step that names its pages, as far as unlocked reqs know */
    uint32_t first, last, count; /* its pages */
    uint32_t depth;              /* pages above it */
    uint32_t locks;
    uint32_t heap_at; /* index in the heap, or PAGE_NONE */
    struct {          /* scratch of groups.c, valid while epoch is the current one */
        uint64_t epoch;
        struct radix_node *child, *next;
        struct req *reqs;
        uint64_t best; /* pages that grouping saves in this subtree */
        uint32_t rows, first;
        bool whole; /* this subtree is one group */
    } group;
};

struct radix {
    struct pages *pages;
    struct cache_log *log;
    const struct mirror *mirror; /* NULL: the tree ends with the process */
    uint32_t page_size;
    uint64_t fingerprint;
    uint32_t *tokens;              /* [pages.count, page_size] of TREE pages */
    uint64_t *hashes;              /* [pages.count] */
    uint32_t *next, *prev;         /* [pages.count] neighbours in the node's run */
    struct radix_node *nodes;      /* [node_max] */
    struct radix_node *free_nodes; /* chained through `next` */
    struct radix_node *roots;
    struct radix_node **buckets; /* [bucket_mask + 1] */
    struct radix_node **heap;    /* [node_max] least recently used first */
    uint32_t node_max, bucket_mask, heap_count;
    uint32_t evictable; /* pages of nodes without locks */
    uint64_t clock;
    uint64_t version; /* grows when pages come or go */
    uint64_t shape;   /* grows when nodes come, go or split */
};

void radix_init(struct radix *radix, struct pages *pages, struct cache_log *log, uint32_t page_size,
                uint32_t locks_max, uint64_t fingerprint);
void radix_release(struct radix *radix);

uint64_t radix_root_hash(const struct radix *radix, uint64_t namespace_hash);

/* How many of the first `page_max` pages of `tokens` are cached. hashes[page_max] is their chain.
 * Changes nothing. */
uint32_t radix_match(const struct radix *radix, uint64_t namespace_hash, const uint32_t *tokens,
                     const uint64_t *hashes, uint32_t page_max);

/* The same, and locks them: pages[*matched] are theirs, the node returned ends exactly there. */
struct radix_node *radix_lock(struct radix *radix, uint64_t namespace_hash, const uint32_t *tokens,
                              const uint64_t *hashes, uint32_t page_max, uint32_t *pages,
                              uint32_t *matched);

/* `last_step`: the newest step in which the lock's holder read these pages. */
void radix_unlock(struct radix *radix, struct radix_node *node, uint64_t last_step);

/* Puts `count` computed pages below `node`, on which the caller holds a lock; tokens and hashes are
 * theirs. The lock moves down to the node returned, which ends with the last of them. The first
 * *shared pages were in the tree already: there, pages[i] becomes the tree's and the caller's copy,
 * which steps up to `last_step` name, is dropped. */
struct radix_node *radix_insert(struct radix *radix, struct radix_node *node,
                                const uint32_t *tokens, const uint64_t *hashes, uint32_t *pages,
                                uint32_t count, uint64_t last_step, uint32_t *shared);

/* Evicts until `want` pages are free or no leaf is evictable that no step in flight names. */
void radix_evict(struct radix *radix, uint32_t want);

/* Every page, parents before children. */
void radix_walk(const struct radix *radix, sched_page_fn fn, void *ctx);

/* Pages, chains, hashes, locks, heap, table and counters agree. O(pages * page_size). */
bool radix_check(const struct radix *radix, struct err *err);

/* Next node in pre-order, all roots included; NULL first gives the first, NULL at the end. */
const struct radix_node *radix_next(const struct radix *radix, const struct radix_node *node);

/* Heap of evictable leaves (radix_lru.c). */
void radix_lru_push(struct radix *radix, struct radix_node *node);
void radix_lru_remove(struct radix *radix, struct radix_node *node);

#endif
