/* cache_log - the last changes of the cache, for CACHE frames: a bounded ring.
 *
 * A reader that lags by more than the ring loses it all and must take a snapshot: half a history is
 * worse than none. Memory is taken at init. Loop thread.
 */
#ifndef MSGL_WORKER_SCHED_CACHE_LOG_H
#define MSGL_WORKER_SCHED_CACHE_LOG_H

#include "worker/sched/scheduler.h"

struct cache_log {
    struct sched_cache_event *ring; /* [cap] */
    uint32_t cap, first, count;
    bool lost;
};

void cache_log_init(struct cache_log *log, uint32_t cap);
void cache_log_release(struct cache_log *log);
void cache_log_put(struct cache_log *log, bool removed, uint64_t parent, uint64_t hash);
/* As scheduler_cache_events(). */
bool cache_log_take(struct cache_log *log, struct sched_cache_event *out, uint32_t *count,
                    bool *lost);

#endif
