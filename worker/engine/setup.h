/* setup - from options to a model on a device, ready for steps. */
#ifndef MSGL_WORKER_ENGINE_SETUP_H
#define MSGL_WORKER_ENGINE_SETUP_H

#include "worker/engine/engine.h"
#include "worker/engine/step.h"

struct engine_parts {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct model_config config;
    struct weights weights;
    struct kvcache cache;
    struct step_runner runner;
};

/* Fills parts and info: device, weights, KV pool, buffers, and a warm-up that measures the first
 * guess of the cost model. On failure nothing is left. The thread that will launch the steps. */
enum status MUST_USE engine_parts_init(const struct engine_opts *opts, struct engine_parts *parts,
                                       struct engine_info *info, struct err *err);
void engine_parts_release(struct engine_parts *parts); /* safe on a zeroed struct */

#endif
