/* block - the arrays of one step, laid out so that one transfer carries them to the device.
 *
 *   ┌ sample_rows[S] ┬ tokens[T] ┬ positions[T] ┬ slots[T] ┬ rows[R] ┬ sample_idx[S] ┬ deltas[D] ┬ plans ┬ more ┐
 *
 * Each array is 16-byte aligned. Two ways to lay them out:
 *
 *   fitted   S, T, R, D are the packet's own; a plan follows the one before
 *   padded   to n rows of one sampled token each: S = T = R = D = n, a plan has the room that the
 *            largest one for n rows takes. Offsets depend on n alone, so that a captured graph finds
 *            everything at its frozen address. Rows beyond the packet's are padding: token 0 at
 *            position 0 of SLOT_NONE, no tokens for attention. Deltas that are more than n go to
 *            `more`, which no graph reads.
 *
 * The plans are the attention backend's, one for layers with full attention and one for layers with
 * a window.
 */
#ifndef MSGL_WORKER_ENGINE_BLOCK_H
#define MSGL_WORKER_ENGINE_BLOCK_H

#include "worker/model/decoder.h"
#include "worker/sched/batch.h"

/* What plans are made from, and room for them. */
struct block_planner {
    const struct ops *ops;
    const struct device *device;
    struct attn_shape shapes[2]; /* without and with a window */
    bool used[2];                /* some layer is of this kind */
    uint32_t context_max;
};

void block_planner_init(const struct ops *ops, const struct device *device,
                        const struct model_config *config, const struct kvcache *cache,
                        uint32_t heads, uint32_t context_max, struct block_planner *out);

/* Offsets in bytes. */
struct block_layout {
    uint32_t samples, tokens_n, rows_n, deltas_n, more_n; /* lengths, padding included */
    size_t sample_rows, tokens, positions, slots, rows, sample_idx, deltas, plans[2], more;
    size_t bytes;     /* to upload */
    bool all_sampled; /* token i is sample i */
};

size_t block_bytes_max(const struct block_planner *planner, const struct step_limits *limits);

/* One token in each row, sampled in the rows' order: what padding can be added to. */
bool block_is_decode(const struct step_packet *packet);

/* Lays the packet out in `block` (16-byte aligned), padded to `size` rows unless it is 0. */
struct block_layout block_fill(const struct block_planner *planner,
                               const struct step_packet *packet, uint32_t size, void *block);

#endif
