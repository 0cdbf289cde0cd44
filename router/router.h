/* router - the one context of the process: a loop with HTTP in front and workers behind.
 *
 *   http_server ─► api_openai ─► call ─► stream(s) ─► dispatch ─► link ─► worker
 *                                  ▲         ▲                      │
 *                                  └─ sse ◄──┴── TOKENS, ERROR ◄────┘
 *
 * Everything here belongs to the loop thread; only call_prepare (text) runs on pool threads.
 */
#ifndef MSGL_ROUTER_ROUTER_H
#define MSGL_ROUTER_ROUTER_H

#include "common/metrics.h"
#include "router/api/api_keys.h"
#include "router/config.h"
#include "router/fleet.h"
#include "router/http/http_server.h"
#include "router/link.h"
#include "router/route.h"
#include "router/web/watch.h"

struct router {
    struct router_config config;
    uv_loop_t loop;
    char name[80];
    uint64_t epoch, started_ms;
    uint64_t random; /* state of rng_next, for seeds */
    struct models models;
    struct api_keys keys, admin_keys;
    struct api_key *caller; /* whose request is being handed on right now */
    struct transport_context *wire;
    struct transport *transport;
    struct link link;
    struct fleet fleet;
    const struct route_policy *policy;
    struct http_server *api, *admin;
    struct page_tree tree; /* of fleet.index, when the page may be asked for it */
    struct watch watch;
    struct metrics *metrics;
    struct map calls;      /* id to struct call: those with streams */
    struct list call_list; /* all of them */
    uint64_t call_last, call_count;
    struct queue queue; /* of streams that wait for a slot, see queue.h */
    uint32_t streams, preparing;
    uint64_t corrupt_frames;
    uv_timer_t tick;
    uint64_t ticks;
    uv_signal_t signals[2];
    int handles_open;
    /* SIGTERM: draining, /ready fails; settled: no new connections; stopped: the loop ends. */
    bool draining, settled, stopped;
    uint64_t settle_until_ms, drain_until_ms;
    /* scratch of dispatch */
    struct route_candidate candidates[PREFIX_WORKERS_MAX];
    uint32_t candidate_workers[PREFIX_WORKERS_MAX];
    struct prefix_match matches[PREFIX_WORKERS_MAX];
};

/* Loads models, binds both sides. On failure call router_release all the same. */
enum status MUST_USE router_init(struct router *router, const struct router_config *config,
                                 struct err *err);
void router_run(struct router *router);     /* until drained after SIGTERM or SIGINT */
void router_release(struct router *router); /* safe on a zeroed struct */

#endif
