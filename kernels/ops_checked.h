/* ops_checked - a backend's table with ops_check.h in front of every op.
 *
 * Included by ops.c once for each backend, with CHECKED(op) naming the wrapper and IMPL the
 * backend's own table.
 */
static enum status CHECKED(open)(const struct device_opts *opts, struct device **out,
                                 struct err *err)
{
    ops_need("open", ops_check_open(opts));
    return IMPL.open(opts, out, err);
}

static enum status CHECKED(weight_load)(struct device *device, const struct load_part *parts,
                                        uint32_t part_count, uint32_t k, bool borrow,
                                        struct weight *out, struct err *err)
{
    ops_need("weight_load", ops_check_weight_load(parts, part_count, k));
    return IMPL.weight_load(device, parts, part_count, k, borrow, out, err);
}

static enum status CHECKED(weight_formula)(struct device *device, const struct formula_part *parts,
                                           uint32_t part_count, uint32_t k, struct weight *out,
                                           struct err *err)
{
    ops_need("weight_formula", ops_check_formula(parts, part_count, k));
    return IMPL.weight_formula(device, parts, part_count, k, out, err);
}

static void CHECKED(page_table_set)(struct device *device, struct stream *stream,
                                    uint32_t *page_table, uint32_t pages_per_slot,
                                    const struct page_set *deltas, uint32_t count)
{
    ops_need("page_table_set", ops_check_page_table_set(page_table, pages_per_slot, deltas, count));
    IMPL.page_table_set(device, stream, page_table, pages_per_slot, deltas, count);
}

static void CHECKED(resolve_tokens)(struct device *device, struct stream *stream, uint32_t *ids,
                                    const uint32_t *tokens, const uint32_t *token_slots,
                                    const uint32_t *last_tokens, uint32_t count)
{
    ops_need("resolve_tokens",
             ops_check_resolve_tokens(ids, tokens, token_slots, last_tokens, count));
    IMPL.resolve_tokens(device, stream, ids, tokens, token_slots, last_tokens, count);
}

static void CHECKED(embed)(struct device *device, struct stream *stream, void *x,
                           const struct weight *table, const uint32_t *ids, uint32_t vocab_first,
                           uint32_t count)
{
    ops_need("embed", ops_check_embed(x, table, ids, count));
    IMPL.embed(device, stream, x, table, ids, vocab_first, count);
}

static void CHECKED(rmsnorm)(struct device *device, struct stream *stream, void *y, const void *x,
                             const float *w, uint32_t rows, uint32_t dim, float eps)
{
    ops_need("rmsnorm", ops_check_norm(y, x, w, rows, dim, eps));
    IMPL.rmsnorm(device, stream, y, x, w, rows, dim, eps);
}

static void CHECKED(add_rmsnorm)(struct device *device, struct stream *stream, void *y,
                                 void *residual, const void *x, const float *w, uint32_t rows,
                                 uint32_t dim, float eps)
{
    ops_need("add_rmsnorm", ops_check_norm(y, residual, w, rows, dim, eps));
    IMPL.add_rmsnorm(device, stream, y, residual, x, w, rows, dim, eps);
}

static void CHECKED(matmul)(struct device *device, struct stream *stream, void *y, const void *x,
                            const struct weight *w, const float *bias, uint32_t m)
{
    ops_need("matmul", ops_check_matmul(y, x, w, m));
    IMPL.matmul(device, stream, y, x, w, bias, m);
}

static void CHECKED(norm_matmul)(struct device *device, struct stream *stream, void *y,
                                 const void *x, const struct norm *norm, const struct weight *w,
                                 const float *bias, uint32_t m, void *scratch)
{
    ops_need("norm_matmul", ops_check_norm_matmul(y, x, norm, w, m, scratch));
    IMPL.norm_matmul(device, stream, y, x, norm, w, bias, m, scratch);
}

static void CHECKED(norm_gate_up_silu)(struct device *device, struct stream *stream, void *y,
                                       const void *x, const struct norm *norm,
                                       const struct weight *w, const float *bias, uint32_t m,
                                       void *scratch)
{
    ops_need("norm_gate_up_silu", ops_check_norm_matmul(y, x, norm, w, m, scratch));
    IMPL.norm_gate_up_silu(device, stream, y, x, norm, w, bias, m, scratch);
}

static void CHECKED(matmul_add)(struct device *device, struct stream *stream, void *x,
                                const void *a, const struct weight *w, const float *bias,
                                uint32_t m, void *scratch)
{
    ops_need("matmul_add", ops_check_matmul(x, a, w, m));
    IMPL.matmul_add(device, stream, x, a, w, bias, m, scratch);
}

static void CHECKED(matmul_f32)(struct device *device, struct stream *stream, float *y,
                                const void *x, const struct weight *w, uint32_t m)
{
    ops_need("matmul_f32", ops_check_matmul(y, x, w, m));
    IMPL.matmul_f32(device, stream, y, x, w, m);
}

static void CHECKED(qk_rope_store)(struct device *device, struct stream *stream,
                                   const struct kv_view *kv, const struct qkv_args *args)
{
    ops_need("qk_rope_store", ops_check_qkv(kv, args));
    IMPL.qk_rope_store(device, stream, kv, args);
}

static size_t CHECKED(attn_plan_bytes)(const struct device *device, const struct attn_shape *shape,
                                       uint32_t rows, uint32_t tokens, uint32_t context)
{
    return IMPL.attn_plan_bytes(device, shape, rows, tokens, context);
}

static size_t CHECKED(attn_plan)(const struct device *device, const struct attn_shape *shape,
                                 const struct attn_row *rows, uint32_t row_count,
                                 const struct attn_group *groups, uint32_t group_count, void *out)
{
    return IMPL.attn_plan(device, shape, rows, row_count, groups, group_count, out);
}

static void CHECKED(attention)(struct device *device, struct stream *stream,
                               const struct kv_view *kv, const struct attn_args *args)
{
    ops_need("attention", ops_check_attention(kv, args));
    IMPL.attention(device, stream, kv, args);
}

static void CHECKED(add)(struct device *device, struct stream *stream, void *x, const void *y,
                         size_t count)
{
    ops_need("add", ops_check_rows(x, y, count > 0, 1));
    IMPL.add(device, stream, x, y, count);
}

static void CHECKED(silu_mul)(struct device *device, struct stream *stream, void *y,
                              const void *gate_up, uint32_t rows, uint32_t dim)
{
    ops_need("silu_mul", ops_check_rows(y, gate_up, rows, dim));
    IMPL.silu_mul(device, stream, y, gate_up, rows, dim);
}

static void CHECKED(gather_rows)(struct device *device, struct stream *stream, void *y,
                                 const void *x, const uint32_t *idx, uint32_t count, uint32_t dim)
{
    ops_need("gather_rows", ops_check_rows(y, x, count, dim));
    IMPL.gather_rows(device, stream, y, x, idx, count, dim);
}

static void CHECKED(sample)(struct device *device, struct stream *stream, uint32_t *out,
                            uint32_t *last_tokens, const float *logits, uint32_t vocab,
                            const struct sample_row *rows, uint32_t count)
{
    ops_need("sample", ops_check_sample(out, last_tokens, logits, vocab, rows, count));
    IMPL.sample(device, stream, out, last_tokens, logits, vocab, rows, count);
}

static void CHECKED(slot_setup)(struct device *device, struct stream *stream,
                                const struct sample_state *state, const struct slot_setup *setups,
                                uint32_t count, const uint32_t *words, uint32_t word_count)
{
    ops_need("slot_setup", ops_check_slot_setup(state, setups, count, words, word_count));
    IMPL.slot_setup(device, stream, state, setups, count, words, word_count);
}

static void CHECKED(logits_adjust)(struct device *device, struct stream *stream, float *logits,
                                   uint32_t vocab, const struct sample_state *state,
                                   const uint32_t *masks, const struct sample_row *rows,
                                   uint32_t count)
{
    ops_need("logits_adjust", ops_check_logits_adjust(logits, vocab, state, rows, count));
    IMPL.logits_adjust(device, stream, logits, vocab, state, masks, rows, count);
}

static void CHECKED(logprobs)(struct device *device, struct stream *stream,
                              const struct logprob_args *args)
{
    ops_need("logprobs", ops_check_logprobs(args));
    IMPL.logprobs(device, stream, args);
}

/* The rest takes no shapes: plain calls through, so that this table is a constant. */
static void CHECKED(close)(struct device *device)
{
    IMPL.close(device);
}

static void CHECKED(tune_end)(struct device *device)
{
    IMPL.tune_end(device);
}

static void CHECKED(info)(const struct device *device, struct device_info *info)
{
    IMPL.info(device, info);
}

static enum status CHECKED(alloc)(struct device *device, size_t bytes, void **out, struct err *err)
{
    return IMPL.alloc(device, bytes, out, err);
}

static void CHECKED(free)(struct device *device, void *ptr)
{
    IMPL.free(device, ptr);
}

static enum status CHECKED(host_alloc)(struct device *device, size_t bytes, void **out,
                                       struct err *err)
{
    return IMPL.host_alloc(device, bytes, out, err);
}

static void CHECKED(host_free)(struct device *device, void *ptr)
{
    IMPL.host_free(device, ptr);
}

static void CHECKED(upload)(struct device *device, struct stream *stream, void *dst,
                            const void *src, size_t bytes)
{
    IMPL.upload(device, stream, dst, src, bytes);
}

static void CHECKED(download)(struct device *device, struct stream *stream, void *dst,
                              const void *src, size_t bytes)
{
    IMPL.download(device, stream, dst, src, bytes);
}

static void CHECKED(weight_free)(struct device *device, struct weight *weight)
{
    IMPL.weight_free(device, weight);
}

static enum status CHECKED(stream_new)(struct device *device, struct stream **out, struct err *err)
{
    return IMPL.stream_new(device, out, err);
}

static void CHECKED(stream_free)(struct device *device, struct stream *stream)
{
    IMPL.stream_free(device, stream);
}

static enum status CHECKED(stream_sync)(struct device *device, struct stream *stream,
                                        struct err *err)
{
    return IMPL.stream_sync(device, stream, err);
}

static enum status CHECKED(event_new)(struct device *device, struct event **out, struct err *err)
{
    return IMPL.event_new(device, out, err);
}

static void CHECKED(event_free)(struct device *device, struct event *event)
{
    IMPL.event_free(device, event);
}

static void CHECKED(event_record)(struct device *device, struct stream *stream, struct event *event)
{
    IMPL.event_record(device, stream, event);
}

static enum status CHECKED(event_sync)(struct device *device, struct event *event, struct err *err)
{
    return IMPL.event_sync(device, event, err);
}

static uint64_t CHECKED(event_ns)(const struct event *from, const struct event *to)
{
    return IMPL.event_ns(from, to);
}

static void CHECKED(event_wait)(struct device *device, struct stream *stream, struct event *event)
{
    IMPL.event_wait(device, stream, event);
}

#include "kernels/ops_checked_model.h"

static const struct ops CHECKED(table) = {.name = BACKEND,
                                          .open = CHECKED(open),
                                          .close = CHECKED(close),
                                          .tune_end = CHECKED(tune_end),
                                          .info = CHECKED(info),
                                          .alloc = CHECKED(alloc),
                                          .free = CHECKED(free),
                                          .host_alloc = CHECKED(host_alloc),
                                          .host_free = CHECKED(host_free),
                                          .upload = CHECKED(upload),
                                          .download = CHECKED(download),
                                          .weight_load = CHECKED(weight_load),
                                          .weight_formula = CHECKED(weight_formula),
                                          .weight_free = CHECKED(weight_free),
                                          .stream_new = CHECKED(stream_new),
                                          .stream_free = CHECKED(stream_free),
                                          .stream_sync = CHECKED(stream_sync),
                                          .event_new = CHECKED(event_new),
                                          .event_free = CHECKED(event_free),
                                          .event_record = CHECKED(event_record),
                                          .event_sync = CHECKED(event_sync),
                                          .event_ns = CHECKED(event_ns),
                                          .event_wait = CHECKED(event_wait),
                                          GRAPH_OPS.all_reduce = CHECKED(all_reduce),
                                          .all_gather = CHECKED(all_gather),
                                          .page_table_set = CHECKED(page_table_set),
                                          .resolve_tokens = CHECKED(resolve_tokens),
                                          .embed = CHECKED(embed),
                                          .rmsnorm = CHECKED(rmsnorm),
                                          .add_rmsnorm = CHECKED(add_rmsnorm),
                                          .matmul = CHECKED(matmul),
                                          .norm_matmul = CHECKED(norm_matmul),
                                          .norm_gate_up_silu = CHECKED(norm_gate_up_silu),
                                          .matmul_add = CHECKED(matmul_add),
                                          .matmul_f32 = CHECKED(matmul_f32),
                                          .qk_rope_store = CHECKED(qk_rope_store),
                                          .attn_plan_bytes = CHECKED(attn_plan_bytes),
                                          .attn_plan = CHECKED(attn_plan),
                                          .attention = CHECKED(attention),
                                          .add = CHECKED(add),
                                          .scale = CHECKED(scale),
                                          .silu_mul = CHECKED(silu_mul),
                                          .gather_rows = CHECKED(gather_rows),
                                          .sample = CHECKED(sample),
                                          .slot_setup = CHECKED(slot_setup),
                                          .logits_adjust = CHECKED(logits_adjust),
                                          .logprobs = CHECKED(logprobs),
                                          .norm_part = CHECKED(norm_part),
                                          .qk_sums = CHECKED(qk_sums),
                                          .qk_norm_by_sums = CHECKED(qk_norm_by_sums),
                                          .route = CHECKED(route),
                                          .experts_gate_up = CHECKED(experts_gate_up),
                                          .experts_down = CHECKED(experts_down),
                                          .add_gated = CHECKED(add_gated)};
