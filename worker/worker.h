/* worker - all that a msgl-worker process owns, from opening the model to closing it.
 *
 *    routers ◄─ZeroMQ─► links ─► inbox ─► scheduler ─► engine        one loop thread drives all of
 * it; ▲                   │           │          the engine computes on its own └───── outbox
 * ◄─────┴──commit───┘
 */
#ifndef MSGL_WORKER_WORKER_H
#define MSGL_WORKER_WORKER_H

#include "common/arena.h"
#include "worker/board.h"
#include "worker/config.h"
#include "worker/engine/kinds.h"
#include "worker/kv_store.h"
#include "worker/links.h"
#include "worker/outbox.h"
#include "worker/ranks.h"
#include "worker/req_table.h"
#include "worker/sched/scheduler.h"

struct worker {
    const struct worker_config *config;
    char *model_dir;
    uint64_t epoch;
    struct frame_hello hello; /* all but the session */

    const struct engine_kind *kind;
    struct engine *engine; /* of that kind */
    struct kv_store store; /* --kv-store */
    struct scheduler *scheduler;
    void *block; /* a step packet: submit copies it */
    struct sched_event *events;
    uint32_t event_max;
    uint64_t tickets[ENGINE_IN_FLIGHT]; /* oldest first */
    uint32_t in_flight;
    uint64_t step_since_ms;    /* the oldest one runs since then */
    struct ranks ranks;        /* tp > 1 */
    struct children *children; /* main's: watched by the guard while we load */
    struct board *board;       /* main's; NULL: nobody looks */
    uint64_t board_ms;         /* of the last gauges */

    struct links links;
    struct req_table reqs;
    struct outbox outbox;
    struct arena arena; /* of the frame being read */
    uint32_t *tokens;   /* aligned copy of a prompt */
    uint32_t tokens_cap;
    bool draining;
};

/* Loads the model and makes everything but the links. Seconds. */
enum status MUST_USE worker_open(const struct worker_config *config, struct children *children,
                                 struct board *board, struct worker *worker, struct err *err);
/* The req has ended: its name is free, its grammar no longer held. */
void worker_forget(struct worker *worker, struct req_entry *entry);
void worker_close(struct worker *worker); /* safe on a zeroed struct */

/* What every rank opens its engine with; `comm` NULL for tp 1. */
struct engine_opts worker_engine_opts(const struct worker_config *config, const char *model_dir,
                                      const char *comm);

#endif
