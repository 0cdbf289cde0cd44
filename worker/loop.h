/* loop - the worker's one loop: frames in, steps, frames out, until a signal.
 *
 *   poll ─► frames in ─► oldest step done? commit ─► plan and launch, two in flight ─► frames out
 * ─┐ ▲ │
 *    └─────────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * With overlap, step N+1 is planned and submitted while N runs, so that the engine never waits for
 * this thread. Nothing here computes or blocks: while a step runs, heartbeats go on.
 */
#ifndef MSGL_WORKER_LOOP_H
#define MSGL_WORKER_LOOP_H

#include "worker/worker.h"

/* Runs until SIGTERM or SIGINT (read from signal_fd) and the drain after it, or until the engine
 * breaks: then every req has got an ERROR and the engine's status comes back. CANCELLED: a second
 * signal, leave at once. */
enum status MUST_USE loop_run(struct worker *worker, int signal_fd, struct err *err);

#endif
