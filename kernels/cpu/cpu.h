/* cpu - the device behind the cpu column of ops.h: threads, scratch memory, the other ranks.
 *
 * Streams have no queue: every op runs before it returns. Scratch memory grows to the largest op
 * seen and stays, so a steady step allocates nothing.
 */
#ifndef MSGL_KERNELS_CPU_CPU_H
#define MSGL_KERNELS_CPU_CPU_H

#include "kernels/cpu/comm.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pool.h"

struct scratch {
    float *data;
    size_t floats;
};

struct device {
    struct device_opts opts;
    const struct isa *isa;
    struct pool *pool;
    struct comm *comm;             /* NULL when tp == 1 */
    struct scratch packed;         /* matmul's x */
    struct scratch attn;           /* [threads][attn_scratch_floats] */
    struct scratch sampler;        /* [threads][vocab] */
    struct scratch moe, moe_parts; /* an expert's rows; experts_down's terms */
    struct err failed;             /* sticky; status OK while all is well */
};

struct stream {
    struct device *device;
};

struct event {
    struct err failed; /* the device's at record */
    uint64_t ns;
};

/* At least `floats` floats, 64-byte aligned; contents undefined. */
float *scratch_get(struct scratch *scratch, size_t floats);

/* The ops of each file; contracts in ops.h. */
enum status cpu_weight_formula(struct device *device, const struct formula_part *parts,
                               uint32_t part_count, uint32_t k, struct weight *out,
                               struct err *err);
void cpu_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                const struct weight *w, const float *bias, uint32_t m);
void cpu_matmul_f32(struct device *device, struct stream *stream, float *y, const void *x,
                    const struct weight *w, uint32_t m);
void cpu_norm_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                     const struct norm *norm, const struct weight *w, const float *bias, uint32_t m,
                     void *scratch);
void cpu_norm_gate_up_silu(struct device *device, struct stream *stream, void *y, const void *x,
                           const struct norm *norm, const struct weight *w, const float *bias,
                           uint32_t m, void *scratch);
void cpu_matmul_add(struct device *device, struct stream *stream, void *x, const void *a,
                    const struct weight *w, const float *bias, uint32_t m, void *scratch);
size_t cpu_attn_plan_bytes(const struct device *device, const struct attn_shape *shape,
                           uint32_t rows, uint32_t tokens, uint32_t context);
size_t cpu_attn_plan(const struct device *device, const struct attn_shape *shape,
                     const struct attn_row *rows, uint32_t row_count,
                     const struct attn_group *groups, uint32_t group_count, void *out);
void cpu_attention(struct device *device, struct stream *stream, const struct kv_view *kv,
                   const struct attn_args *args);
void cpu_qk_rope_store(struct device *device, struct stream *stream, const struct kv_view *kv,
                       const struct qkv_args *args);
void cpu_sample(struct device *device, struct stream *stream, uint32_t *out, uint32_t *last_tokens,
                const float *logits, uint32_t vocab, const struct sample_row *rows, uint32_t count);
void cpu_slot_setup(struct device *device, struct stream *stream, const struct sample_state *state,
                    const struct slot_setup *setups, uint32_t count, const uint32_t *words,
                    uint32_t word_count);
void cpu_logits_adjust(struct device *device, struct stream *stream, float *logits, uint32_t vocab,
                       const struct sample_state *state, const uint32_t *masks,
                       const struct sample_row *rows, uint32_t count);
void cpu_logprobs(struct device *device, struct stream *stream, const struct logprob_args *args);
void cpu_page_table_set(struct device *device, struct stream *stream, uint32_t *page_table,
                        uint32_t pages_per_slot, const struct page_set *deltas, uint32_t count);
void cpu_resolve_tokens(struct device *device, struct stream *stream, uint32_t *ids,
                        const uint32_t *tokens, const uint32_t *token_slots,
                        const uint32_t *last_tokens, uint32_t count);
void cpu_embed(struct device *device, struct stream *stream, void *x, const struct weight *table,
               const uint32_t *ids, uint32_t vocab_first, uint32_t count);
void cpu_rmsnorm(struct device *device, struct stream *stream, void *y, const void *x,
                 const float *w, uint32_t rows, uint32_t dim, float eps);
void cpu_add_rmsnorm(struct device *device, struct stream *stream, void *y, void *residual,
                     const void *x, const float *w, uint32_t rows, uint32_t dim, float eps);
void cpu_add(struct device *device, struct stream *stream, void *x, const void *y, size_t count);
void cpu_scale(struct device *device, struct stream *stream, void *x, float by, size_t count);
void cpu_silu_mul(struct device *device, struct stream *stream, void *y, const void *gate_up,
                  uint32_t rows, uint32_t dim);
void cpu_gather_rows(struct device *device, struct stream *stream, void *y, const void *x,
                     const uint32_t *idx, uint32_t count, uint32_t dim);
void cpu_all_reduce(struct device *device, struct stream *stream, void *act, size_t count);
void cpu_all_gather(struct device *device, struct stream *stream, float *out, const float *in,
                    uint32_t rows, uint32_t cols);

void cpu_qk_sums(struct device *device, struct stream *stream, float *sums,
                 const struct wide_norm_args *args);
void cpu_qk_norm_by_sums(struct device *device, struct stream *stream, const float *sums,
                         uint32_t parts, const struct wide_norm_args *args);
void cpu_norm_part(struct device *device, struct stream *stream, void *x, const float *w,
                   uint32_t rows, uint32_t stride, uint32_t dim, float eps);
void cpu_route(struct device *device, struct stream *stream, uint32_t *ids, float *weights,
               const float *logits, const struct expert_args *args);
void cpu_experts_gate_up(struct device *device, struct stream *stream, void *y, const void *x,
                         const struct weight *w, const struct expert_args *args);
void cpu_experts_down(struct device *device, struct stream *stream, void *y, const void *a,
                      const struct weight *w, const struct expert_args *args);
void cpu_add_gated(struct device *device, struct stream *stream, void *x, const void *y,
                   const float *gate, uint32_t rows, uint32_t dim);

extern const struct ops cpu_ops;

#endif
