/* watch - /cluster/events: what the router believes, as a stream of changes for all who look.
 *
 *   fleet, page tree, journal ──every tick──► differences to what was said last ──► one JSON
 *                                                                                     │ same bytes
 *   listener: joined ──► waits for a tick ──► all of it, once ──► the changes ◄───────┘ for everybody
 *
 * Nothing is computed while nobody listens, and nothing is sent while nothing changes, but for a
 * comment now and then. Who does not read is cut off. The tick grows with the number of listeners, so
 * that their share of the loop's time stays bounded. Loop thread.
 */
#ifndef MSGL_ROUTER_WEB_WATCH_H
#define MSGL_ROUTER_WEB_WATCH_H

#include "common/buf.h"
#include "common/list.h"
#include "router/prefix_index.h"
#include "router/web/journal.h"
#include "router/web/page_tree.h"

#define WATCH_LISTENERS_MAX 2000
#define WATCH_BRANCHES_MAX  1000
#define WATCH_UNREAD_MAX                                                                           \
    (1u << 16) /* bytes that wait behind a write; the first event may be longer */

struct router;
struct http_exchange;

/* The numbers of a worker's row, in watch_worker.c's table. */
enum watch_value {
    WATCH_STREAMS,
    WATCH_RUNNING,
    WATCH_WAITING,
    WATCH_PENDING,
    WATCH_FREE,
    WATCH_KNOWN,
    WATCH_TOKENS_S,
    WATCH_HIT,
    WATCH_STEP,
    WATCH_RETRACTIONS,
    WATCH_DRAINING,
    WATCH_EXACT,
    WATCH_VALUES
};

struct watch_worker {
    uint32_t serial; /* 0: no row was sent for this place in the fleet */
    uint64_t said[WATCH_VALUES];
    /* for rates: what the counters were when they were last looked at */
    uint64_t at_ms, generated, prompted, cached, step;
    double prompted_sum, cached_sum; /* older ones count less */
    uint64_t tokens_s, hit, step_us;
};

struct watch {
    struct list listeners; /* the one that was written to longest ago first */
    struct list fresh;     /* have not been told anything yet */
    uint32_t count;
    uint64_t ticked_ms, tree_ms;
    bool started; /* `said` is what the listeners know */
    struct journal journal;
    struct watch_worker *workers; /* by place in the fleet */
    uint64_t said_router[4];
    uint64_t said_decision, said_change;
    uint64_t said_revision;
    bool said_warm;
    struct page_branch *branches, *branches_new; /* WATCH_BRANCHES_MAX each, ordered by id */
    uint64_t *holders, *holders_new;             /* hashes of their rows */
    size_t branch_count;
    struct buf delta, text;
};

void watch_init(struct watch *watch);
void watch_release(struct watch *watch); /* safe on a zeroed struct; no listener is left */

/* GET /cluster/events: takes the exchange over. */
void watch_join(struct router *router, struct http_exchange *exchange);
/* Every 50 ms or so. */
void watch_tick(struct router *router, uint64_t now_ms);

/* watch_worker.c, watch_tree.c, watch_journal.c: append their parts of the JSON, each with a comma in
 * front, and remember what they said. `all`: everything that was said before, changing nothing. */
void watch_router(struct router *router, bool all, struct buf *out);
void watch_workers(struct router *router, uint64_t now_ms, bool all, struct buf *out);
void watch_tree(struct router *router, uint64_t now_ms, bool all, struct buf *out);
void watch_journal(struct router *router, bool all, struct buf *out);

#endif
