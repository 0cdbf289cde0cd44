/* mirror - what each page of the tree holds, written where a process that comes later finds it.
 *
 *   memory of the caller's, such as a file's mapping: one entry a page of the pool, in its order
 *
 *   ┌ state ┬ used ┬ sum ┬ namespace ┬ hash ┬ data ┬ parent ┬ tokens[page_size] ┐
 *   └───────┴──────┴─────┴───────────┴──────┴──────┴────────┴───────────────────┘
 *      │       │      └── XXH3 of all behind it, seeded with the page's number
 *      │       └── radix.clock of its last use; a hint, so not in the sum
 *      └── VALID is stored last when a page comes to the tree, EMPTY first when it goes
 *
 * A page comes to the tree when the step that filled it is committed, and no later step writes into it
 * until it is dropped; it is dropped before the packet that reuses it exists. So however the process
 * ends, with two steps in flight, a VALID entry names bytes that are complete. `data` is their own sum,
 * for files that outlive more than a process.
 *
 * mirror_restore() takes nothing on trust: states, sums, bytes, parents and the chain of hashes are
 * checked, and a page goes with all that hang on it. Loop thread; nothing here allocates but restore.
 */
#ifndef MSGL_WORKER_SCHED_MIRROR_H
#define MSGL_WORKER_SCHED_MIRROR_H

#include "common/base.h"

struct radix;

struct mirror {
    void *entries; /* [pages * mirror_entry_bytes()], 8-byte aligned, zeroed when it is new */
    uint32_t pages, page_size;
    uint64_t (*page_sum)(void *ctx, uint32_t page); /* of the page's bytes in the pool */
    void *ctx;
    bool restoring;             /* the sums of the data are known */
    uint32_t restored, dropped; /* pages, by mirror_restore() */
};

size_t mirror_entry_bytes(uint32_t page_size);

/* The page is in the tree below `parent` (PAGE_NONE: below its namespace's root). */
void mirror_put(const struct mirror *mirror, uint32_t page, uint32_t parent,
                uint64_t namespace_hash, uint64_t hash, const uint32_t *tokens, uint64_t used);
void mirror_drop(const struct mirror *mirror, uint32_t page);
void mirror_use(const struct mirror *mirror, uint32_t page, uint64_t used);

/* Puts the pages of all good entries into the empty tree, least recently used first, and empties the
 * other entries. Chains of more than depth_max pages are cut there. */
void mirror_restore(struct mirror *mirror, struct radix *radix, uint32_t depth_max);

/* ---- within mirror*.c ---- */

enum mirror_state { MIRROR_EMPTY, MIRROR_VALID = 0x4b565047 };

struct mirror_entry {
    uint32_t state, pad;
    uint64_t used;
    uint64_t sum;
    uint64_t namespace_hash, hash, data;
    uint32_t parent;
    uint32_t tokens[]; /* [page_size] */
};

struct mirror_entry *mirror_entry(const struct mirror *mirror, uint32_t page);
uint64_t mirror_entry_sum(const struct mirror *mirror, uint32_t page);

#endif
