/* ranks - a tensor-parallel worker: rank 0 leads, the others execute the same step packets.
 *
 *   node 0                                              node 1 (--node-rank 1)
 *   ┌ msgl-worker, rank 0 ┐  STEP ─► ┌ rank 1 ┐         ┌ rank 2 ┐ ┌ rank 3 ┐
 *   │ links, scheduler,   │ ◄─ BEAT  └────────┘         └────────┘ └────────┘
 *   │ engine of rank 0    │              ▲ child of 0       ▲          ▲ child of rank 2
 *   └─────────────────────┘              │                  │          │
 *            └── ROUTER, bound: 127.0.0.1, or --master's port ─────────┘     proto/rank_message.h
 *
 *   JOIN ─► (all here) START ─► engines open together ─► READY ─► STEP, STEP, … ─► STOP
 *
 * The first rank of each node is started by the operator and starts the others of its node. A rank
 * that dies, says FAILED, is silent for --rank-dead-ms, or lets a step hang far longer takes the worker down:
 * routers are told at once and move its streams. Loop thread (main thread).
 */
#ifndef MSGL_WORKER_RANKS_H
#define MSGL_WORKER_RANKS_H

#include "proto/keys.h"
#include "proto/transport.h"
#include "worker/children.h"
#include "worker/config.h"
#include "worker/sched/batch.h"

struct worker;

struct rank_peer {
    bool joined, ready, left;
    uint64_t heard_ms;
};

struct ranks {
    uint32_t tp;                  /* 1: nothing below is used */
    uint64_t group, options_hash; /* the other ranks' must be the same; a JOIN may come late */
    char comm[32];                /* name of the rendezvous */
    struct transport_context *context;
    struct transport *transport;
    struct transport_security security;
    struct key_pair keys; /* what `security` points at */
    struct rank_peer peers[CHILDREN_MAX];
    uint64_t steps, beat_ms, tick_ms;
    bool broken; /* a collective may wait for ever: leave without closing the engine */
};

/* Starts this node's other ranks and waits for all ranks of all nodes; nothing for tp 1. Then the
 * engine may be opened. Blocks as long as a node is missing; the guard thread ends the process. */
enum status MUST_USE ranks_start(struct worker *worker, struct err *err);
enum status MUST_USE ranks_wait_ready(struct worker *worker, struct err *err);
/* Before the engine's own submit. */
enum status MUST_USE ranks_step(struct worker *worker, const struct step_packet *packet,
                                struct err *err);
/* The other ranks' engines get it too, before any step that names it. */
enum status MUST_USE ranks_grammar(struct worker *worker, uint32_t id, struct str automaton,
                                   struct err *err);
void ranks_grammar_drop(struct worker *worker, uint32_t id);
/* Frames in, heartbeats out, deaths noticed. Not OK: the worker must leave. */
enum status MUST_USE ranks_tick(struct worker *worker, uint64_t now_ms, struct err *err);
int ranks_fd(const struct worker *worker); /* to poll beside children.fd; -1 for tp 1 */
void ranks_stop(struct worker *worker);    /* tells them to leave; safe on a zeroed struct */

/* What the ranks of one worker must have in common: options, config.json, our version. */
enum status MUST_USE ranks_options_hash(const struct worker_config *config, const char *model_dir,
                                        uint64_t *hash, struct err *err);
/* This node's other ranks, as children. Rank 0 and the first rank of any other node. */
enum status MUST_USE ranks_spawn(const struct worker_config *config, const char *model_dir,
                                 const char *master, struct children *children, struct err *err);
/* The worker's key pair is both ends' of the connection between its ranks. */
enum status MUST_USE ranks_security(const struct worker_config *config, struct key_pair *keys,
                                    struct transport_security *out, struct err *err);

#endif
