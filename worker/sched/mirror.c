/* mirror - entries that come, go, and are used. */
#include "worker/sched/mirror.h"

#include "common/hash.h"

#include <string.h>

size_t mirror_entry_bytes(uint32_t page_size)
{
    return ROUND_UP(sizeof(struct mirror_entry) + page_size * sizeof(uint32_t), sizeof(uint64_t));
}

struct mirror_entry *mirror_entry(const struct mirror *mirror, uint32_t page)
{
    CHECK(page < mirror->pages);
    return (struct mirror_entry *)(void *)((char *)mirror->entries +
                                           page * mirror_entry_bytes(mirror->page_size));
}

uint64_t mirror_entry_sum(const struct mirror *mirror, uint32_t page)
{
    const struct mirror_entry *entry = mirror_entry(mirror, page);
    size_t first = offsetof(struct mirror_entry, namespace_hash);
    size_t end = offsetof(struct mirror_entry, tokens) + mirror->page_size * sizeof(uint32_t);
    return hash_bytes_seeded((const char *)entry + first, end - first, page);
}

void mirror_put(const struct mirror *mirror, uint32_t page, uint32_t parent,
                uint64_t namespace_hash, uint64_t hash, const uint32_t *tokens, uint64_t used)
{
    struct mirror_entry *entry = mirror_entry(mirror, page);
    uint64_t data = mirror->restoring ? entry->data : mirror->page_sum(mirror->ctx, page);

    if (mirror->restoring && entry->parent == parent) {
        entry->used = used; /* all of it is there */
        return;
    }
    mirror_drop(mirror, page);
    entry->namespace_hash = namespace_hash;
    entry->hash = hash;
    entry->data = data;
    entry->parent = parent;
    memcpy(entry->tokens, tokens, mirror->page_size * sizeof(*tokens));
    entry->sum = mirror_entry_sum(mirror, page);
    entry->used = used;
    __atomic_store_n(&entry->state, MIRROR_VALID, __ATOMIC_RELEASE);
}

void mirror_drop(const struct mirror *mirror, uint32_t page)
{
    __atomic_store_n(&mirror_entry(mirror, page)->state, MIRROR_EMPTY, __ATOMIC_RELAXED);
    /* A thread that is killed has done all that lies before the instruction where it stood, so only
     * the compiler could put a store of what reuses the page before this one. Another thread gets the
     * page through a lock. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void mirror_use(const struct mirror *mirror, uint32_t page, uint64_t used)
{
    mirror_entry(mirror, page)->used = used;
}
