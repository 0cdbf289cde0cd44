/* cache_log - put at the end, take from the front, or lose everything. */
#include "worker/sched/cache_log.h"

#include "common/mem.h"

void cache_log_init(struct cache_log *log, uint32_t cap)
{
    *log = (struct cache_log){.cap = cap};
    log->ring = mem_array(cap, sizeof(*log->ring));
}

void cache_log_release(struct cache_log *log)
{
    mem_free(log->ring);
    *log = (struct cache_log){.cap = 0};
}

void cache_log_put(struct cache_log *log, bool removed, uint64_t parent, uint64_t hash)
{
    if (log->lost)
        return;
    if (log->count == log->cap) {
        log->lost = true;
        log->count = 0;
        return;
    }
    log->ring[(log->first + log->count++) % log->cap] =
        (struct sched_cache_event){.removed = removed, .parent = parent, .hash = hash};
}

bool cache_log_take(struct cache_log *log, struct sched_cache_event *out, uint32_t *count,
                    bool *lost)
{
    *lost = log->lost;
    log->lost = false;
    uint32_t taken = 0;
    for (; taken < *count && log->count > 0; taken++, log->count--) {
        out[taken] = log->ring[log->first];
        log->first = (log->first + 1) % log->cap;
    }
    *count = taken;
    return log->count > 0;
}
