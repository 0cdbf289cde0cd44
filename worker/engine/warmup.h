/* warmup - the first steps: what is set up at first use, a first guess of the cost model, graphs of
 * the smallest decode sizes. */
#ifndef MSGL_WORKER_ENGINE_WARMUP_H
#define MSGL_WORKER_ENGINE_WARMUP_H

#include "worker/engine/setup.h"

/* Fills info's times. `tune`: runs steps of all the sizes for which a backend that was opened with
 * `tune` keeps plans, and lets it write them. The thread that will launch the steps, before there are any. */
enum status MUST_USE warmup_run(struct engine_parts *parts, bool tune, struct engine_info *info,
                                struct err *err);

#endif
