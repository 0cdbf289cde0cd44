/* fleet - the workers that have a session with this router, and what they report.
 *
 *   HELLO ─► checked ─► session ──► LOAD keeps it alive ──► dead, BYE, or a newer HELLO ends it
 *                                   CACHE, SNAPSHOT keep prefix_index exact
 *
 * proto/PROTOCOL.md sections 4 to 6 are the rules. Load is what a worker reports, corrected by the
 * dispatches that it had not counted yet when it reported:
 *
 *   dispatches:  1 2 3 4 | 5 6 7      LOAD says received = 4: 5, 6 and 7 are unacknowledged, and
 *                         ^           their prefill tokens and credits are added on top
 *
 * A worker counts a waiting prompt's tokens until they are cached, so siblings that wait for one
 * prefix count it once each. The router sent them and knows: shared_tokens takes that off again.
 *
 * Sends through ops; knows no socket and no clock. Loop thread.
 */
#ifndef MSGL_ROUTER_FLEET_H
#define MSGL_ROUTER_FLEET_H

#include "common/list.h"
#include "common/map.h"
#include "proto/frames.h"
#include "router/models.h"
#include "router/prefix_index.h"
#include "router/web/page_tree.h"

#define FLEET_PEER_BYTES_MAX 64

struct worker {
    uint32_t index; /* in the fleet and in prefix_index */
    char name[PROTO_NAME_BYTES_MAX + 1];
    char peer[FLEET_PEER_BYTES_MAX];
    size_t peer_len;
    uint64_t epoch, session, weights_hash;
    const struct model *model;
    uint32_t page_size, length_max, pages, slots, tp, features;
    bool draining;
    struct frame_load load; /* the last one; zero before it */
    bool load_seen;
    uint64_t seen_ms, stepped_ms, welcomed_ms;
    uint64_t sent;           /* GENERATEs of this session */
    uint64_t acked;          /* of these, counted in load */
    uint32_t *unacked;       /* ring of prefill tokens: dispatches acked + 1 .. sent */
    uint32_t unacked_cap;    /* power of two */
    uint64_t unacked_tokens; /* their sum */
    uint64_t shared_tokens;  /* counted twice above: prompts that wait for another one's prefix */
    double busy;             /* see route.h */
    uint64_t looks;          /* that busy is the mean of */
    uint64_t last_turn;      /* of the last dispatch, rises over the whole fleet */
    bool cache_known;        /* the index is exact as of cache_seq */
    uint64_t cache_seq, snapshot_asked_ms;
    uint32_t snapshot_next; /* part */
    uint64_t gaps;
    bool dead;       /* it fell silent or hangs: why its session ends */
    uint32_t serial; /* of the session, rises over the whole fleet: its name in /cluster/events */
    uint64_t generated, prompted, cached; /* tokens that it made, got and had, for this router */
    struct list streams;                  /* struct stream.worker_node */
    uint32_t stream_count;
};

struct fleet_ops {
    enum status (*send)(void *ctx, struct str peer, const struct frame *frame);
    /* The session ends: take every stream off worker->streams. The worker is freed afterwards. */
    void (*ended)(void *ctx, struct worker *worker, const char *reason);
    void (*joined)(void *ctx, struct worker *worker);
    void (*drains)(void *ctx, struct worker *worker); /* worker->draining has changed */
    /* Credits may have come back, or load changed. */
    void (*loaded)(void *ctx, struct worker *worker);
};

struct fleet {
    const struct models *models;
    const struct fleet_ops *ops;
    void *ctx;
    const char *router_name;
    uint64_t epoch;
    uint64_t dead_ms;   /* silence that ends a session; the owner may change it after init */
    uint32_t gather_ms; /* told to workers: see frame_welcome */
    uint64_t ticked_ms;
    bool paused; /* the last tick came late */
    struct prefix_index index;
    struct page_tree *tree; /* of the pages in the index; NULL: nobody draws it */
    uint32_t serial;
    struct worker *workers[PREFIX_WORKERS_MAX]; /* NULL: free */
    uint32_t limit;                             /* all beyond are free */
    uint32_t count;
    struct map peers;     /* hash of the routing id to struct worker */
    struct map strangers; /* hash of a routing id to when it was last told to say HELLO */
    uint64_t turn;
    uint64_t refused_total, gaps_total, dead_total;
};

void fleet_init(struct fleet *fleet, const struct models *models, const char *router_name,
                uint64_t epoch, const struct fleet_ops *ops, void *ctx);
void fleet_release(struct fleet *fleet); /* ends every session */

/* The session that a frame belongs to, for frames other than HELLO; NULL: the sender was told off. */
struct worker *fleet_sender(struct fleet *fleet, struct str peer, uint64_t now_ms);
void fleet_hello(struct fleet *fleet, struct str peer, const struct frame_hello *hello,
                 uint64_t now_ms);
void fleet_load(struct fleet *fleet, struct worker *worker, const struct frame_load *load,
                uint64_t now_ms);
void fleet_cache(struct fleet *fleet, struct worker *worker, const struct frame_cache *cache,
                 uint64_t now_ms);
void fleet_snapshot(struct fleet *fleet, struct worker *worker,
                    const struct frame_snapshot *snapshot, uint64_t now_ms);
void fleet_drain(struct fleet *fleet, struct worker *worker, bool draining);
/* Empties the index, and the tree, of what the worker holds. */
void fleet_forget_pages(struct fleet *fleet, struct worker *worker);
/* Frees the worker. */
void fleet_end(struct fleet *fleet, struct worker *worker, const char *reason);

/* Ends sessions of dead workers, sends heartbeats, asks again for snapshots. Every 50 ms or so. */
void fleet_tick(struct fleet *fleet, uint64_t now_ms);
/* The router leaves: DRAIN (false: BYE) to every worker. */
void fleet_leave(struct fleet *fleet, bool drain);

/* Accounts for a GENERATE that was sent. */
void fleet_dispatched(struct fleet *fleet, struct worker *worker, uint32_t prefill_tokens);
/* Some worker of the model has all these features. */
bool fleet_can(const struct fleet *fleet, const struct model *model, uint32_t features);
uint32_t worker_room(const struct worker *worker); /* reqs that may be sent now */
uint64_t worker_pending_tokens(const struct worker *worker);
uint64_t worker_reqs(const struct worker *worker);
struct str worker_peer(const struct worker *worker);

/* Workers of a model that take new work. length_max: the smallest of theirs, 0 without any;
 * length_best: the largest. */
uint32_t fleet_serving(const struct fleet *fleet, const struct model *model, uint32_t *length_max,
                       uint32_t *length_best);

#endif
