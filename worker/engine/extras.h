/* extras - what a step does around drawing a token: slots set up, logits adjusted, log probabilities.
 *
 *   packet.setups ─► slot_setup        rows with flags ─► logits_adjust ─► sample ─► logprobs ─► io
 *   packet.scores ─► targets ──────────────────────────────────────────────────────────┘
 *
 * Rows of logits, of drawn tokens and of results: first the packet's samples, then its scores.
 * Nothing is launched in a step that asks for nothing. The engine's thread.
 */
#ifndef MSGL_WORKER_ENGINE_EXTRAS_H
#define MSGL_WORKER_ENGINE_EXTRAS_H

#include "kernels/ops.h"
#include "worker/sched/batch.h"

struct extras {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    uint32_t features; /* enum feature */
    struct sample_state state;
    uint32_t *tops;      /* device [rows] */
    float *logprobs;     /* device [rows] */
    uint32_t *top_ids;   /* device [rows][SAMPLING_TOP_MAX] */
    float *top_logprobs; /* device, as top_ids */
};

/* The host's side of one step in flight. */
struct extras_io {
    uint32_t *tops;    /* [rows] wanted */
    uint32_t *targets; /* [rows] of the scores */
    float *logprobs;   /* [rows]; the results, valid where tops is not 0 */
    uint32_t *top_ids;
    float *top_logprobs;
};

struct extras_opts {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    const uint32_t *last_tokens; /* device [slots] */
    uint32_t slots, vocab, rows_max;
};

enum status MUST_USE extras_init(const struct extras_opts *opts, struct extras *out,
                                 struct err *err);
void extras_release(struct extras *extras); /* safe on a zeroed struct */
void extras_io_init(struct extras_io *io, uint32_t rows_max);
void extras_io_release(struct extras_io *io);

/* UNSUPPORTED when the packet asks for what the backend lacks. */
enum status MUST_USE extras_check(const struct extras *extras, const struct step_packet *packet,
                                  struct err *err);

void extras_setup(struct extras *extras, const struct step_packet *packet);
void extras_adjust(struct extras *extras, const struct step_packet *packet, float *logits,
                   const struct sample_row *rows); /* device */
/* After `sample`: drawn [samples + scores] is its output, whose end takes the scores' targets. */
void extras_finish(struct extras *extras, struct extras_io *io, const struct step_packet *packet,
                   const float *logits, uint32_t *drawn);

#endif
