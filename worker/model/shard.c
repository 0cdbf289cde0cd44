/* shard - cuts of heads, columns and vocabulary. */
#include "worker/model/shard.h"

/* Columns stay together in blocks that matrix kernels like, where the size allows. */
#define COLUMNS_TOGETHER 64u

/* [first, first + count) is part `idx` of `parts` nearly equal runs of 0..total-1. */
static void deal(uint32_t total, uint32_t parts, uint32_t idx, uint32_t *first, uint32_t *count)
{
    *first = (uint32_t)((uint64_t)total * idx / parts);
    *count = (uint32_t)((uint64_t)total * (idx + 1) / parts) - *first;
}

/* shard_init() has made sure that nothing gets 0. */
static void cut_heads(const struct model_config *config, struct shard *out)
{
    uint32_t group = config->heads / config->kv_heads;
    if (out->tp <= config->kv_heads) {
        deal(config->kv_heads, out->tp, out->rank, &out->kv_head_first, &out->kv_heads);
        out->head_first = out->kv_head_first * group;
        out->heads = out->kv_heads * group;
        return;
    }
    for (uint32_t kv = 0; kv < config->kv_heads; kv++) {
        uint32_t rank_first, rank_count, first;
        deal(out->tp, config->kv_heads, kv, &rank_first, &rank_count);
        if (out->rank < rank_first || out->rank >= rank_first + rank_count)
            continue;
        deal(group, rank_count, out->rank - rank_first, &first, &out->heads);
        out->head_first = kv * group + first;
        out->kv_head_first = kv;
        out->kv_heads = 1;
    }
}

static void cut_columns(uint32_t total, const struct shard *shard, uint32_t *first, uint32_t *count)
{
    uint32_t unit = total % shard->tp == 0 ? 1 : COLUMNS_TOGETHER;
    while (unit > 1 && (total % unit != 0 || total / unit < shard->tp))
        unit /= 2;
    deal(total / unit, shard->tp, shard->rank, first, count);
    *first *= unit;
    *count *= unit;
}

/* 0 columns: there is no such thing. */
static enum status need_columns(uint32_t count, uint32_t tp, const char *what, struct err *err)
{
    if (count == 0 || count >= tp)
        return STATUS_OK;
    return err_set(err, STATUS_INVALID, "%s (%u) cannot be cut into %u ranks", what, count, tp);
}

enum status shard_init(const struct model_config *config, uint32_t rank, uint32_t tp,
                       struct shard *out, struct err *err)
{
    CHECK(tp >= 1 && rank < tp);
    *out = (struct shard){.rank = rank, .tp = tp, .vocab = DIV_CEIL(config->vocab, tp)};
    out->vocab_first = rank * out->vocab;
    /* Asked alike on every rank: none may wait for another that refused. */
    if (config->heads / config->kv_heads < DIV_CEIL(tp, config->kv_heads))
        return err_set(err, STATUS_INVALID,
                       "num_attention_heads (%u, over %u KV heads) leaves a rank of %u without one",
                       config->heads, config->kv_heads, tp);
    TRY(need_columns(config->intermediate, tp, "intermediate_size", err));
    TRY(need_columns(config->expert_intermediate, tp, "an expert's intermediate size", err));
    TRY(need_columns(config->shared, tp, "shared_expert_intermediate_size", err));
    if ((uint64_t)(tp - 1) * out->vocab >= config->vocab)
        return err_set(err, STATUS_INVALID, "vocab_size (%u) cannot be cut into %u ranks",
                       config->vocab, tp);
    cut_heads(config, out);
    cut_columns(config->intermediate, out, &out->intermediate_first, &out->intermediate);
    cut_columns(config->expert_intermediate, out, &out->expert_first, &out->expert);
    cut_columns(config->shared, out, &out->shared_first, &out->shared);
    return STATUS_OK;
}
