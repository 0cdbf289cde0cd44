/* ops_check - what must hold of an op's arguments before any backend sees them.
 *
 * Each function returns NULL, or the sentence that says what is wrong. Only host memory is read:
 * what lies on the device (ids, positions, page tables) is the engine's to keep in range.
 */
#ifndef MSGL_KERNELS_OPS_CHECK_H
#define MSGL_KERNELS_OPS_CHECK_H

#include "kernels/ops.h"

#define OPS_HEAD_DIM_MAX 256u
#define OPS_GROUP_MAX    16u /* q heads of one kv head */

const char *ops_check_open(const struct device_opts *opts);
const char *ops_check_weight_load(const struct load_part *parts, uint32_t part_count, uint32_t k);
const char *ops_check_formula(const struct formula_part *parts, uint32_t part_count, uint32_t k);
const char *ops_check_page_table_set(const uint32_t *page_table, uint32_t pages_per_slot,
                                     const struct page_set *deltas, uint32_t count);
const char *ops_check_resolve_tokens(const uint32_t *ids, const uint32_t *tokens,
                                     const uint32_t *token_slots, const uint32_t *last_tokens,
                                     uint32_t count);
const char *ops_check_embed(const void *x, const struct weight *table, const uint32_t *ids,
                            uint32_t count);
const char *ops_check_norm(const void *y, const void *x, const float *w, uint32_t rows,
                           uint32_t dim, float eps);
const char *ops_check_matmul(const void *y, const void *x, const struct weight *w, uint32_t m);
const char *ops_check_norm_matmul(const void *y, const void *x, const struct norm *norm,
                                  const struct weight *w, uint32_t m, const void *scratch);
const char *ops_check_kv(const struct kv_view *kv, uint32_t q_heads);
const char *ops_check_qkv(const struct kv_view *kv, const struct qkv_args *args);
const char *ops_check_attention(const struct kv_view *kv, const struct attn_args *args);
const char *ops_check_rows(const void *y, const void *x, uint32_t rows, uint32_t dim);
const char *ops_check_sample(const uint32_t *out, const uint32_t *last_tokens, const float *logits,
                             uint32_t vocab, const struct sample_row *rows, uint32_t count);
/* The parameters of a sample row, while they are still on the host: the caller of `sample` asks. */
const char *ops_check_sampling(const struct sampling *sampling);
const char *ops_check_slot_setup(const struct sample_state *state, const struct slot_setup *setups,
                                 uint32_t count, const uint32_t *words, uint32_t word_count);
const char *ops_check_logits_adjust(const float *logits, uint32_t vocab,
                                    const struct sample_state *state, const struct sample_row *rows,
                                    uint32_t count);
const char *ops_check_logprobs(const struct logprob_args *args);

const char *ops_check_wide_norm(const float *sums, const struct wide_norm_args *args);
const char *ops_check_route(const uint32_t *ids, const float *weights, const float *logits,
                            const struct expert_args *args);
/* `blocks`: matrices of w that an expert has. */
const char *ops_check_experts(const void *y, const void *x, const struct weight *w,
                              const struct expert_args *args, uint32_t blocks);

#endif
