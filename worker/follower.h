/* follower - rank 1 and above of a tensor-parallel worker: step packets in, nothing else.
 *
 *   JOIN ─► START ─► engine opens ─► READY ─► STEP ─► engine ─► … ─► STOP or FAILED
 *
 * It knows no router, no req and no scheduler. SIGTERM and SIGINT are rank 0's to answer (it drains
 * first); a follower leaves with it, or when it has not heard of it for long. The first rank of a
 * node also watches the ranks that it started there. Main thread.
 */
#ifndef MSGL_WORKER_FOLLOWER_H
#define MSGL_WORKER_FOLLOWER_H

#include "proto/keys.h"
#include "proto/transport.h"
#include "worker/board.h"
#include "worker/children.h"
#include "worker/config.h"
#include "worker/engine/kinds.h"

struct follower {
    const struct worker_config *config;
    struct children *children; /* initialised by the caller */
    struct board *board;       /* the same; NULL: nobody looks */
    char *model_dir;
    struct transport_context *context;
    struct transport *transport;
    struct transport_security security;
    struct key_pair keys;
    uint64_t group;
    char comm[64];

    const struct engine_kind *kind;
    struct engine *engine;
    void *block; /* aligned copy of a packet */
    size_t block_bytes;
    uint64_t tickets[ENGINE_IN_FLIGHT];
    uint32_t in_flight;
    uint64_t received, done; /* steps */
    uint64_t heard_ms, beat_ms, stop_at_ms;
    bool stop;
};

/* Joins rank 0 and opens the engine together with the other ranks. Blocks; the guard thread ends
 * the process on a signal or a child's death. */
enum status MUST_USE follower_open(struct follower *follower, struct err *err);
/* Until rank 0 says STOP. Any other status: the worker is broken, leave without closing. */
enum status MUST_USE follower_run(struct follower *follower, int signal_fd, struct err *err);
/* Tells rank 0 why, when the connection stands. */
void follower_fail(struct follower *follower, const char *why);
void follower_close(struct follower *follower);

#endif
