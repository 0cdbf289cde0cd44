#include "kernels/cpu/cpu.h"

#include <string.h>

#define CHUNK_TOKENS 16u

struct rope_job {
    const struct isa *isa;
    const struct kv_view *kv;
    const struct qkv_args *args;
};

static void rope_head(const struct rope_job *job, float *head, const float *norm,
                      const float *cos_sin)
{
    uint32_t dim = job->kv->head_dim;
    if (norm)
        job->isa->norm(head, NULL, head, norm, dim, job->args->norm_eps);
    job->isa->rotate(head, cos_sin, dim);
}

static void rope_token(const struct rope_job *job, uint32_t token)
{
    const struct kv_view *kv = job->kv;
    const struct qkv_args *args = job->args;
    size_t dim = kv->head_dim, head_floats = kv->page_size * dim;
    uint32_t pos = args->positions[token];
    const float *cos_sin = args->cos_sin + pos * dim;
    float *q = (float *)args->qkv + (size_t)token * (args->q_heads + 2 * kv->kv_heads) * dim;
    float *k = q + args->q_heads * dim, *v = k + kv->kv_heads * dim;
    for (uint32_t head = 0; head < args->q_heads; head++)
        rope_head(job, q + head * dim, args->q_norm, cos_sin);

    if (args->token_slots[token] == SLOT_NONE)
        return;
    const uint32_t *pages = kv->page_table + (size_t)args->token_slots[token] * kv->pages_per_slot;
    float *page = (float *)kv->pool + pages[pos / kv->page_size] * 2 * kv->kv_heads * head_floats;
    float *k_to = page + pos % kv->page_size * dim, *v_to = k_to + kv->kv_heads * head_floats;
    for (uint32_t head = 0; head < kv->kv_heads; head++) {
        rope_head(job, k + head * dim, args->k_norm, cos_sin);
        memcpy(k_to + head * head_floats, k + head * dim, dim * sizeof(float));
        memcpy(v_to + head * head_floats, v + head * dim, dim * sizeof(float));
    }
}

static void rope_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct rope_job *job = arg;
    uint32_t first = chunk * CHUNK_TOKENS, last = MIN(first + CHUNK_TOKENS, job->args->tokens);
    for (uint32_t token = first; token < last; token++)
        rope_token(job, token);
}

void cpu_qk_rope_store(struct device *device, struct stream *stream, const struct kv_view *kv,
                       const struct qkv_args *args)
{
    struct rope_job job = {.isa = device->isa, .kv = kv, .args = args};
    pool_run(device->pool, rope_chunk, &job, DIV_CEIL(args->tokens, CHUNK_TOKENS));
}
