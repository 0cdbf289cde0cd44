/* extras - what a step does around drawing a token: slots set up, logits adjusted, log probabilities.
 *
 *   packet.setups ─► slot_setup        rows with flags ─► logits_adjust ─► sample ─► logprobs ─► io
 *   packet.scores ─► targets ──────────────────────────────────────────────────────────┘
 *   drawn tokens of the step before ─► grammars ─► masks ─► logits_adjust
 *
 * Where a grammar binds a row, its mask needs the token that the step before draws: so the launching
 * thread waits for that step's end, while this step's forward runs on the device already.
 *
 * Rows of logits, of drawn tokens and of results: first the packet's samples, then its scores.
 * Nothing is launched in a step that asks for nothing. The engine's thread.
 */
#ifndef MSGL_WORKER_ENGINE_EXTRAS_H
#define MSGL_WORKER_ENGINE_EXTRAS_H

#include "kernels/ops.h"
#include "worker/engine/grammars.h"
#include "worker/sched/batch.h"

struct extras {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    uint32_t features; /* enum feature */
    struct sample_state state;
    struct grammars *grammars;    /* NULL: not done here */
    uint32_t *masks;              /* device [rows][DIV_CEIL(vocab, 32)] */
    struct extras_drawn *pending; /* [rows] what the step launched last draws for grammars */
    uint32_t pending_count;
    const uint32_t *pending_tokens; /* host: where the draws will be */
    struct event *pending_end;
    uint32_t *tops;      /* device [rows] */
    float *logprobs;     /* device [rows] */
    uint32_t *ranks;     /* device [rows] */
    uint32_t *top_ids;   /* device [rows][SAMPLING_TOP_MAX] */
    float *top_logprobs; /* device, as top_ids */
};

struct extras_drawn {
    uint32_t slot, sample;
};

/* The host's side of one step in flight. */
struct extras_io {
    uint32_t *tops;    /* [rows] wanted */
    uint32_t *targets; /* [rows] of the scores */
    float *logprobs;   /* [rows]; the results, valid where tops is not 0 */
    uint32_t *ranks;   /* [rows] */
    uint32_t *top_ids;
    float *top_logprobs;
    uint32_t rows_max;
    uint32_t *masks; /* [rows][DIV_CEIL(vocab, 32)]; NULL until the first that is wanted */
};

struct extras_opts {
    const char *model_dir; /* for its tokenizer.json; NULL: no grammars */
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    const uint32_t *last_tokens; /* device [slots] */
    uint32_t slots, vocab, rows_max;
};

/* Device bytes that init takes at most. */
uint64_t extras_bytes(uint32_t rows, uint32_t slots, uint32_t vocab);
enum status MUST_USE extras_init(const struct extras_opts *opts, struct extras *out,
                                 struct err *err);
void extras_release(struct extras *extras); /* safe on a zeroed struct */
void extras_io_init(struct extras_io *io, uint32_t rows_max);
void extras_io_release(struct extras_io *io);

/* UNSUPPORTED when the packet asks for what the backend lacks. */
enum status MUST_USE extras_check(const struct extras *extras, const struct step_packet *packet,
                                  struct err *err);

/* Whether the packet asks for more than a drawn token a sample. */
bool extras_wanted(const struct step_packet *packet);

void extras_setup(struct extras *extras, const struct step_packet *packet);
/* Between forward and extras_adjust, in every step: takes what the step before has drawn into the
 * grammars (waits for it), and uploads this step's masks. Then the step's own draws are awaited:
 * they will be at `drawn` (host) when `end` has passed. */
enum status MUST_USE extras_masks(struct extras *extras, struct extras_io *io,
                                  const struct step_packet *packet, const uint32_t *drawn,
                                  struct event *end, struct err *err);
void extras_adjust(struct extras *extras, const struct step_packet *packet, float *logits,
                   const struct sample_row *rows); /* device */
/* After `sample`: drawn [samples + scores] is its output, whose end takes the scores' targets. */
void extras_finish(struct extras *extras, struct extras_io *io, const struct step_packet *packet,
                   const float *logits, uint32_t *drawn);

#endif
