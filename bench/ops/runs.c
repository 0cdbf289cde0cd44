/* runs - one call of each op, at the next place of the pool. */
#include "bench/ops/ops.h"

#include <math.h>

uint32_t qkv_cols(const struct model *m)
{
    return (m->heads + 2 * m->kv_heads) * m->dim;
}

void run_qkv(struct bench *b)
{
    struct norm norm = {b->norm, 1e-6f};
    struct weight w = bench_weight(b, qkv_cols(&b->m), b->m.hidden);
    b->ops->norm_matmul(b->device, b->stream, b->y, b->x, &norm, &w, NULL, b->rows, b->scratch);
}

void run_o(struct bench *b)
{
    struct weight w = bench_weight(b, b->m.hidden, b->m.heads * b->m.dim);
    b->ops->matmul_add(b->device, b->stream, b->x, b->attn, &w, NULL, b->rows, b->scratch);
}

void run_gate_up(struct bench *b)
{
    struct norm norm = {b->norm, 1e-6f};
    struct weight w = bench_weight(b, 2 * b->m.inter, b->m.hidden);
    b->ops->norm_gate_up_silu(b->device, b->stream, b->y, b->x, &norm, &w, NULL, b->rows,
                              b->scratch);
}

void run_down(struct bench *b)
{
    struct weight w = bench_weight(b, b->m.hidden, b->m.inter);
    b->ops->matmul_add(b->device, b->stream, b->x, b->y, &w, NULL, b->rows, b->scratch);
}

void run_head(struct bench *b)
{
    struct weight w = bench_weight(b, b->m.vocab, b->m.hidden);
    b->ops->matmul_f32(b->device, b->stream, b->logits, b->x, &w, b->rows);
}

void run_norm(struct bench *b)
{
    b->ops->rmsnorm(b->device, b->stream, b->y, b->x, b->norm, b->rows, b->m.hidden, 1e-6f);
}

void run_silu(struct bench *b)
{
    b->ops->silu_mul(b->device, b->stream, b->y, b->scratch, b->rows, b->m.inter);
}

void run_embed(struct bench *b)
{
    struct weight w = {b->pool, DTYPE_BF16, 50000, b->m.hidden, false};
    b->ops->embed(b->device, b->stream, b->x, &w, b->positions, 0, b->rows);
}

static struct kv_view next_kv(struct bench *b)
{
    size_t page = (size_t)2 * b->m.kv_heads * PAGE * b->m.dim * b->item;
    size_t bytes = page * SLOTS * PER_SLOT;
    char *pool = b->kv_pool;
    if (b->cuda) {
        if (b->pool_at + bytes > b->pool_bytes)
            b->pool_at = 0;
        pool += b->pool_at;
        b->pool_at += MIN(bytes, (size_t)256 << 20);
    }
    return (struct kv_view){.pool = pool,
                            .page_table = b->page_table,
                            .pages = SLOTS * PER_SLOT,
                            .pages_per_slot = PER_SLOT,
                            .page_size = PAGE,
                            .kv_heads = b->m.kv_heads,
                            .head_dim = b->m.dim};
}

static void rope_in(struct bench *b, struct kv_view kv)
{
    struct qkv_args qkv = {.qkv = b->y,
                           .positions = b->positions,
                           .token_slots = b->slots,
                           .q_norm = b->m.qk_norm ? b->norm : NULL,
                           .k_norm = b->m.qk_norm ? b->norm : NULL,
                           .norm_eps = 1e-6f,
                           .cos_sin = b->cos_sin,
                           .tokens = b->rows,
                           .q_heads = b->m.heads};
    b->ops->qk_rope_store(b->device, b->stream, &kv, &qkv);
}

void run_rope(struct bench *b)
{
    rope_in(b, next_kv(b));
}

static void attention_in(struct bench *b, struct kv_view kv)
{
    uint32_t each = b->prompt ? MIN(b->rows, (uint32_t)CONTEXT) : 1;
    struct attn_args attn = {.out = b->attn,
                             .qkv = b->y,
                             .qkv_stride = qkv_cols(&b->m),
                             .rows = b->attn_rows,
                             .rows_host = b->rows_host,
                             .row_count = b->rows / each,
                             .plan = b->planned ? b->plan : NULL,
                             .plan_host = b->planned ? b->plan_host : NULL,
                             .q_heads = b->m.heads,
                             .scale = 1.0f / sqrtf((float)b->m.dim)};
    b->ops->attention(b->device, b->stream, &kv, &attn);
}

void run_attention(struct bench *b)
{
    attention_in(b, next_kv(b));
}

void run_sample(struct bench *b)
{
    b->ops->sample(b->device, b->stream, b->out, b->last, b->logits, b->m.vocab, b->sample_rows,
                   b->rows);
}

void run_route(struct bench *b)
{
    b->ops->route(b->device, b->stream, b->scratch, b->y, b->logits, &b->experts);
}

void run_experts_gate_up(struct bench *b)
{
    const struct mixture *m = b->mixture;
    struct weight w = bench_weight(b, m->experts * 2 * m->inter, m->hidden);
    b->ops->experts_gate_up(b->device, b->stream, b->y, b->x, &w, &b->experts);
}

void run_experts_down(struct bench *b)
{
    const struct mixture *m = b->mixture;
    struct weight w = bench_weight(b, m->experts * m->hidden, m->inter);
    b->ops->experts_down(b->device, b->stream, b->x, b->y, &w, &b->experts);
}

void run_layer(struct bench *b)
{
    struct kv_view kv = next_kv(b);
    run_qkv(b);
    rope_in(b, kv);
    attention_in(b, kv);
    run_o(b);
    run_gate_up(b);
    run_down(b);
}

void run_tail(struct bench *b)
{
    run_norm(b);
    run_head(b);
    run_sample(b);
    run_embed(b);
}
