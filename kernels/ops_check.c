#include "kernels/ops_check.h"

#include <math.h>

/* `true` is what must hold. */
#define NEED(cond, sentence)                                                                       \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return sentence;                                                                       \
    } while (0)

#define NEED_NONE(expr)                                                                            \
    do {                                                                                           \
        const char *wrong_ = (expr);                                                               \
        if (wrong_)                                                                                \
            return wrong_;                                                                         \
    } while (0)

const char *ops_check_open(const struct device_opts *opts)
{
    NEED(opts, "options are NULL");
    NEED(opts->tp >= 0 && opts->rank >= 0, "rank or tp is negative");
    NEED(opts->tp <= 1 ? opts->rank == 0 : opts->rank < opts->tp, "rank is not below tp");
    NEED(opts->tp <= 1 || opts->comm, "tp > 1 needs a rendezvous name");
    return NULL;
}

const char *ops_check_weight_load(const struct load_part *parts, uint32_t part_count, uint32_t k)
{
    uint64_t rows = 0;
    NEED(parts && part_count >= 1 && part_count <= WEIGHT_PARTS_MAX, "not 1 to 4 parts");
    for (uint32_t i = 0; i < part_count; i++) {
        NEED(parts[i].data || parts[i].row_count == 0, "host data is NULL");
        NEED(parts[i].dtype == DTYPE_F32 || parts[i].dtype == DTYPE_BF16 ||
                 parts[i].dtype == DTYPE_F16,
             "a weight is f32, bf16 or f16");
        NEED(parts[i].stride >= k, "a weight's rows overlap");
        rows += parts[i].row_count + parts[i].zero_rows;
    }
    NEED(rows > 0 && rows <= UINT32_MAX && k > 0, "a weight has no rows or no columns");
    return NULL;
}

const char *ops_check_formula(const struct formula_part *parts, uint32_t part_count, uint32_t k)
{
    uint64_t rows = 0;
    NEED(parts && part_count >= 1 && part_count <= WEIGHT_PARTS_MAX, "not 1 to 4 parts");
    for (uint32_t i = 0; i < part_count; i++) {
        NEED((uint64_t)k + parts[i].col_first <= parts[i].stride,
             "a part is wider than its tensor");
        rows += parts[i].row_count + parts[i].zero_rows;
    }
    NEED(k > 0 && rows > 0 && rows <= UINT32_MAX, "the matrix has no elements, or too many rows");
    return NULL;
}

const char *ops_check_page_table_set(const uint32_t *page_table, uint32_t pages_per_slot,
                                     const struct page_set *deltas, uint32_t count)
{
    NEED(page_table && (deltas || count == 0), "page table or deltas are NULL");
    NEED(pages_per_slot > 0, "a slot's page table has no pages");
    return NULL;
}

const char *ops_check_resolve_tokens(const uint32_t *ids, const uint32_t *tokens,
                                     const uint32_t *token_slots, const uint32_t *last_tokens,
                                     uint32_t count)
{
    NEED((ids && tokens && token_slots && last_tokens) || count == 0, "a token array is NULL");
    return NULL;
}

static const char *check_weight(const struct weight *w)
{
    NEED(w && w->data, "the weight is not loaded");
    NEED(w->dtype == DTYPE_F32 || w->dtype == DTYPE_BF16, "the weight is neither f32 nor bf16");
    NEED(w->n > 0 && w->k > 0, "the weight has no rows or no columns");
    return NULL;
}

const char *ops_check_embed(const void *x, const struct weight *table, const uint32_t *ids,
                            uint32_t count)
{
    NEED_NONE(check_weight(table));
    NEED((x && ids) || count == 0, "the output or the ids are NULL");
    return NULL;
}

const char *ops_check_rows(const void *y, const void *x, uint32_t rows, uint32_t dim)
{
    NEED(dim > 0, "rows have no elements");
    NEED((y && x) || rows == 0, "the output or the input is NULL");
    return NULL;
}

const char *ops_check_norm(const void *y, const void *x, const float *w, uint32_t rows,
                           uint32_t dim, float eps)
{
    NEED_NONE(ops_check_rows(y, x, rows, dim));
    NEED(w, "the norm's weight is NULL");
    NEED(eps >= 0 && isfinite(eps), "eps is negative or not finite");
    return NULL;
}

const char *ops_check_matmul(const void *y, const void *x, const struct weight *w, uint32_t m)
{
    NEED_NONE(check_weight(w));
    NEED((y && x) || m == 0, "the output or the input is NULL");
    NEED(y != x || m == 0, "a matmul cannot write over its input");
    return NULL;
}

const char *ops_check_norm_matmul(const void *y, const void *x, const struct norm *norm,
                                  const struct weight *w, uint32_t m, const void *scratch)
{
    NEED_NONE(ops_check_matmul(y, x, w, m));
    NEED(norm, "there is no norm");
    NEED_NONE(ops_check_norm(y, x, norm->w, m, w->k, norm->eps));
    NEED(scratch || m == 0, "there is no scratch memory");
    return NULL;
}

const char *ops_check_kv(const struct kv_view *kv, uint32_t q_heads)
{
    NEED(kv && kv->pool && kv->page_table, "the KV pool or its page table is NULL");
    NEED(kv->page_size > 0 && kv->pages > 0 && kv->pages_per_slot > 0, "the KV pool has no pages");
    NEED(kv->head_dim > 0 && kv->head_dim % 8 == 0 && kv->head_dim <= OPS_HEAD_DIM_MAX,
         "a head's size is a multiple of 8 up to 256");
    NEED(kv->kv_heads > 0 && q_heads > 0 && q_heads % kv->kv_heads == 0,
         "q heads are not a multiple of kv heads");
    NEED(q_heads / kv->kv_heads <= OPS_GROUP_MAX, "more than 16 q heads share a kv head");
    return NULL;
}

const char *ops_check_qkv(const struct kv_view *kv, const struct qkv_args *args)
{
    NEED(args, "arguments are NULL");
    NEED_NONE(ops_check_kv(kv, args->q_heads));
    NEED((args->qkv && args->positions && args->token_slots && args->cos_sin) || args->tokens == 0,
         "qkv, positions, slots or the rotary table are NULL");
    NEED(!args->q_norm == !args->k_norm, "only one of q and k has a norm");
    return NULL;
}

const char *ops_check_attention(const struct kv_view *kv, const struct attn_args *args)
{
    NEED(args, "arguments are NULL");
    NEED_NONE(ops_check_kv(kv, args->q_heads));
    NEED((args->out && args->qkv && args->rows && args->rows_host) || args->row_count == 0,
         "the output, the queries or the rows are NULL");
    NEED(args->qkv_stride >= args->q_heads * kv->head_dim,
         "the row stride is shorter than the queries");
    NEED(isfinite(args->scale), "the scale is not finite");
    uint64_t context = (uint64_t)kv->pages_per_slot * kv->page_size;
    for (uint32_t i = 0; i < args->row_count; i++) {
        const struct attn_row *row = &args->rows_host[i];
        NEED((uint64_t)row->pos_first + row->token_count <= context,
             "a row's positions are beyond its page table");
    }
    for (uint32_t i = 0; i < args->group_count; i++) {
        const struct attn_group *group = &args->groups_host[i];
        NEED((uint64_t)group->row_first + group->row_count <= args->row_count,
             "a group names rows that are not there");
    }
    return NULL;
}

const char *ops_check_sample(const uint32_t *out, const uint32_t *last_tokens, const float *logits,
                             uint32_t vocab, const struct sample_row *rows, uint32_t count)
{
    NEED(vocab > 0, "the vocabulary is empty");
    NEED((out && last_tokens && logits && rows) || count == 0, "an array is NULL");
    return NULL;
}

const char *ops_check_sampling(const struct sampling *sampling)
{
    NEED(sampling->temperature >= 0 && isfinite(sampling->temperature),
         "a temperature is negative or not finite");
    NEED(sampling->top_p > 0 && sampling->top_p <= 1, "a top_p is not in (0, 1]");
    NEED(sampling->min_p >= 0 && sampling->min_p < 1, "a min_p is not in [0, 1)");
    return NULL;
}

static const char *check_state(const struct sample_state *state)
{
    NEED(state && state->seen && state->lists && state->last_tokens, "the sampling state is NULL");
    NEED(state->vocab > 0 && state->slots > 0, "the sampling state has no slots");
    return NULL;
}

const char *ops_check_slot_setup(const struct sample_state *state, const struct slot_setup *setups,
                                 uint32_t count, const uint32_t *words, uint32_t word_count)
{
    NEED_NONE(check_state(state));
    NEED(setups || count == 0, "the setups are NULL");
    NEED(words || word_count == 0, "the words are NULL");
    for (uint32_t i = 0; i < count; i++) {
        const struct slot_setup *setup = &setups[i];
        NEED(setup->slot < state->slots, "a setup's slot is not there");
        NEED(setup->stop_count <= SAMPLE_STOPS_MAX && setup->bias_count <= SAMPLING_BIAS_MAX,
             "a setup has too many stops or biases");
        NEED((uint64_t)setup->history_first + setup->history_count <= word_count &&
                 (uint64_t)setup->stop_first + setup->stop_count <= word_count &&
                 setup->bias_first + UINT64_C(2) * setup->bias_count <= word_count,
             "a setup's lists are beyond its words");
    }
    return NULL;
}

const char *ops_check_logits_adjust(const float *logits, uint32_t vocab,
                                    const struct sample_state *state, const struct sample_row *rows,
                                    uint32_t count)
{
    NEED_NONE(check_state(state));
    NEED((logits && rows) || count == 0, "an array is NULL");
    NEED(state->vocab == vocab, "the sampling state is of another vocabulary");
    return NULL;
}

const char *ops_check_logprobs(const struct logprob_args *args)
{
    NEED(args && args->vocab > 0, "the vocabulary is empty");
    NEED((args->logits && args->targets && args->tops && args->logprobs && args->ranks &&
          args->top_ids && args->top_logprobs) ||
             args->count == 0,
         "an array is NULL");
    return NULL;
}

const char *ops_check_wide_norm(const float *sums, const struct wide_norm_args *args)
{
    NEED(args, "arguments are NULL");
    NEED((sums && args->qkv && args->q_norm && args->k_norm) || args->rows == 0,
         "an array is NULL");
    NEED((uint64_t)args->q_dim + args->k_dim <= args->stride, "q and k are wider than the row");
    NEED(args->q_dim <= args->q_width && args->k_dim <= args->k_width, "a part is above the whole");
    return NULL;
}

const char *ops_check_route(const uint32_t *ids, const float *weights, const float *logits,
                            const struct expert_args *args)
{
    NEED(args && args->top >= 1 && args->top <= args->experts, "top is not 1 to the experts");
    NEED((ids && weights && logits) || args->rows == 0, "an array is NULL");
    return NULL;
}

const char *ops_check_experts(const void *y, const void *x, const struct weight *w,
                              const struct expert_args *args, uint32_t blocks)
{
    NEED(args && args->top >= 1 && args->top <= args->experts, "top is not 1 to the experts");
    NEED_NONE(check_weight(w));
    NEED(w->n % (args->experts * blocks) == 0, "w's rows cannot be cut into experts");
    NEED((y && x && args->ids && args->weights) || args->rows == 0, "an array is NULL");
    NEED(y != x || args->rows == 0, "the result lies on the input");
    return NULL;
}
