/* shard - which part of a model one rank of tp holds.
 *
 *   tp <= KV heads: KV heads are dealt out in runs, each with its q heads.     9 q, 3 kv, tp 2:
 *                                                                              | q0-2 q3-5 | q6-8 |
 *                                                                              |  k0   k1  |  k2  |
 *   tp >  KV heads: a KV head is repeated on a run of ranks that cut its       9 q, 3 kv, tp 4:
 *                   q heads among them.                              | q0-2 | q3-5 | q6 | q7-8 |
 *                                                                    |  k0  |  k1  | k2 |  k2  |
 *
 * So each rank's q heads read whole KV heads, and ranks may differ in size: their sums are added
 * over the full hidden size anyway. Only logits are gathered side by side: there every rank has the
 * same number of vocabulary rows, and the last one's missing rows are zeroes that nobody reads.
 */
#ifndef MSGL_WORKER_MODEL_SHARD_H
#define MSGL_WORKER_MODEL_SHARD_H

#include "worker/model/arch.h"

/* Counts are the rank's own, firsts are in the whole model. */
struct shard {
    uint32_t rank, tp;
    uint32_t heads, head_first;
    uint32_t kv_heads, kv_head_first;
    uint32_t intermediate, intermediate_first;
    uint32_t expert, expert_first; /* intermediate columns of each expert */
    uint32_t shared, shared_first; /* of the shared expert */
    uint32_t vocab, vocab_first;   /* the same count on every rank: vocab * tp >= the model's */
};

/* INVALID when a rank would be left without a q head, a column or a vocabulary row. */
enum status MUST_USE shard_init(const struct model_config *config, uint32_t rank, uint32_t tp,
                                struct shard *out, struct err *err);

#endif
