/* step - one packet on its way through the device.
 *
 *   packet ─► arrays (host, one block) ─upload─► arrays (device) ─► decoder ─► sample ─► tokens
 *
 * The block is laid out afresh for each step, without gaps, so that one transfer carries it:
 *
 *   ┌ sample_rows[S] ┬ tokens[T] ┬ positions[T] ┬ slots[T] ┬ rows[R] ┬ sample_idx[S] ┬ deltas[D] ┐
 *
 * A `struct step_io` is the host side of one step in flight; the runner is the device side, shared
 * by all steps because they run one after the other. The engine's thread.
 */
#ifndef MSGL_WORKER_ENGINE_STEP_H
#define MSGL_WORKER_ENGINE_STEP_H

#include "worker/engine/extras.h"
#include "worker/model/decoder.h"
#include "worker/sched/batch.h"

struct step_io {
    void *packet_block; /* the packet's bytes, 64-byte aligned */
    uint32_t *block;    /* the arrays above */
    struct attn_group *groups;
    uint32_t *tokens; /* [rows] drawn */
    struct extras_io extras;
    float *logits;    /* [rows][vocab], NULL unless kept */
};

struct step_runner {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct decoder decoder;
    const struct kvcache *cache;
    struct step_limits limits;
    uint32_t slots, vocab, context_max;
    uint32_t *block;       /* device: the arrays */
    uint32_t *ids;         /* device [T]: tokens after STEP_TOKEN_LAST is resolved */
    uint32_t *last_tokens; /* device [slots] */
    uint32_t *out_tokens;  /* device [R] */
    struct extras extras;
};

struct step_runner_opts {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct step_limits limits;
    uint32_t slots, context_max;
};

enum status MUST_USE step_runner_init(const struct step_runner_opts *opts,
                                      const struct model_config *config,
                                      const struct weights *weights, const struct kvcache *cache,
                                      struct step_runner *out, struct err *err);
void step_runner_release(struct step_runner *runner); /* safe on a zeroed struct */

void step_io_init(struct step_io *io, const struct step_limits *limits);
void step_io_release(struct step_io *io);

/* What step_packet_valid() cannot know: token ids, pages, the table's width, the context. Any
 * thread: reads only what init has set. */
enum status MUST_USE step_check(const struct step_runner *runner, const struct step_packet *packet,
                                struct err *err);

/* Runs the packet in io->packet_block to its end; io->tokens (and logits) are filled on return. */
enum status MUST_USE step_run(struct step_runner *runner, struct step_io *io, struct err *err);

#endif
