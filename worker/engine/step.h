/* step - one packet on its way through the device.
 *
 *   packet ─► block (host) ─upload─► block (device) ─► decoder ─► sample ─► drawn tokens (host)
 *             └──── copy stream ───┘ └──────────── compute stream ────────┘
 *                              uploaded           begin ……… end              events
 *
 * A `struct step_lane` holds what one step in flight needs for itself; step t takes lane t % 2. So
 * the block of N+1 is filled and uploaded while N runs, and N's tokens are read while N+1 runs. What
 * the lanes share (activations, last tokens, page table) is used in the order of the compute stream.
 *
 * A step whose rows all decode is padded to the next of a few sizes, and is launched as one graph
 * once that size has run before. A graph holds a lane's addresses, so there is one for each lane.
 *
 * step_launch: the thread that launches. step_finish: any one thread at a time, beside it.
 */
#ifndef MSGL_WORKER_ENGINE_STEP_H
#define MSGL_WORKER_ENGINE_STEP_H

#include "worker/engine/block.h"
#include "worker/engine/extras.h"

#define STEP_LANES     2
#define STEP_SIZES_MAX 96 /* padded sizes */

/* The host side of one step, from its submission until its results have been read. */
struct step_io {
    void *packet_block; /* the packet's bytes, 64-byte aligned */
    uint32_t *tokens;   /* [rows] drawn */
    struct extras_io extras;
    float *logits;      /* [rows][vocab], NULL unless kept */
    uint64_t launch_ns; /* what the launching thread spent on it */
    uint64_t fill_ns;   /* of that, laying out the block and planning attention */
    uint64_t device_ns; /* from the upload's arrival to the end */
    bool graph;         /* launched as one */
};

struct step_lane {
    struct event *uploaded, *begin, *end;
    uint8_t *host, *device; /* the block */
    uint32_t *drawn;        /* host memory that the sampler writes to */
};

struct step_size {
    uint32_t rows;
    bool seen; /* ran before: whatever its ops set up at first use is there */
    /* [drawing]: with the sampler, or without, for steps that do more than draw (extras.h).
     * [grouped]: with attention's launches for prefix groups, which would cost the others time. */
    struct graph *graphs[STEP_LANES][2][2];
};

struct step_runner {
    const struct ops *ops;
    struct device *device;
    struct stream *stream, *copy;
    struct decoder decoder;
    const struct kvcache *cache;
    struct block_planner planner;
    struct step_limits limits;
    uint32_t slots, vocab, context_max;
    uint32_t *ids;         /* device [tokens]: after STEP_TOKEN_LAST is resolved */
    uint32_t *last_tokens; /* device [slots] */
    struct extras extras;
    struct step_lane lanes[STEP_LANES];
    struct step_size sizes[STEP_SIZES_MAX]; /* ascending; none = no padding */
    uint32_t size_count;
    bool graphs;                /* sizes are launched as such */
    struct attn_row *full_rows; /* [rows]: of a padded step without padding, for captures */
};

struct step_runner_opts {
    const char *model_dir; /* NULL: no grammars */
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct step_limits limits;
    uint32_t slots, context_max, page_size;
    bool no_graphs;
    bool pad; /* pad also where there are no graphs: for tests */
};

/* Device bytes that init will take, to the alignment of allocations. */
uint64_t step_runner_bytes(const struct step_runner_opts *opts, const struct model_config *config,
                           const struct shard *shard, enum dtype act);

enum status MUST_USE step_runner_init(const struct step_runner_opts *opts,
                                      const struct model_config *config,
                                      const struct weights *weights, const struct kvcache *cache,
                                      struct step_runner *out, struct err *err);
void step_runner_release(struct step_runner *runner); /* safe on a zeroed struct */

/* What step_packet_valid() cannot know: token ids, pages, the table's width, the context. Any
 * thread: reads only what init has set. */
enum status MUST_USE step_check(const struct step_runner *runner, const struct step_packet *packet,
                                struct err *err);

void step_io_init(struct step_io *io, const struct step_limits *limits);
void step_io_release(struct step_io *io);

/* Puts the work of the packet in io->packet_block on the device; where ops are synchronous, runs it
 * to its end. The lane's step before has finished. */
enum status MUST_USE step_launch(struct step_runner *runner, uint32_t lane, struct step_io *io,
                                 struct err *err);

/* Blocks until the lane's step has ended; then io's results are there. */
enum status MUST_USE step_finish(struct step_runner *runner, uint32_t lane, struct step_io *io,
                                 struct err *err);

#endif
