/* graphs - decode steps of a few padded sizes, recorded once and launched as one. */
#ifndef MSGL_WORKER_ENGINE_GRAPHS_H
#define MSGL_WORKER_ENGINE_GRAPHS_H

#include "worker/engine/step.h"

/* 1 2 4 8 16 24 32 48 64 96 … 256 320 … up to `rows`, which is always the last. */
void graphs_init(struct step_runner *runner, uint32_t rows);
void graphs_release(struct step_runner *runner);

/* The smallest size that holds so many rows; NULL when none does. */
struct step_size *graphs_size(struct step_runner *runner, uint32_t rows);

#endif
