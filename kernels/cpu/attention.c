#include "kernels/cpu/cpu.h"

/* One chunk is a tile of queries of one row and one kv head: up to QUERY_TILE / group tokens. */
struct attn_job {
    const struct isa *isa;
    const struct kv_view *kv;
    const struct attn_args *args;
    float *scratch; /* [threads][scratch_floats] */
    size_t scratch_floats;
    uint32_t group, tile_tokens;
};

static uint32_t row_tiles(const struct attn_job *job, const struct attn_row *row)
{
    return DIV_CEIL(row->token_count, job->tile_tokens);
}

static void attn_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct attn_job *job = arg;
    const struct attn_args *args = job->args;
    const struct kv_view *kv = job->kv;
    const struct attn_row *row = args->rows_host;
    for (uint32_t chunks; chunk >= (chunks = row_tiles(job, row) * kv->kv_heads); row++)
        chunk -= chunks;

    /* The last tiles of a prompt have the most keys: they go first, so that the threads end
     * together. */
    uint32_t tile = row_tiles(job, row) - 1 - chunk / kv->kv_heads, head = chunk % kv->kv_heads;
    uint32_t token = tile * job->tile_tokens;
    size_t head_floats = (size_t)kv->page_size * kv->head_dim;
    size_t q_off = (size_t)head * job->group * kv->head_dim;
    size_t out_stride = (size_t)args->q_heads * kv->head_dim;
    size_t first = (size_t)row->token_first + token;
    struct attn_tile t = {
        .q = (const float *)args->qkv + first * args->qkv_stride + q_off,
        .q_stride = args->qkv_stride,
        .out = (float *)args->out + first * out_stride + q_off,
        .out_stride = out_stride,
        .pool = kv->pool,
        .pages = kv->page_table + (size_t)row->slot * kv->pages_per_slot,
        .page_floats = 2 * kv->kv_heads * head_floats,
        .k_off = head * head_floats,
        .v_off = (kv->kv_heads + head) * head_floats,
        .page_size = kv->page_size,
        .head_dim = kv->head_dim,
        .tokens = MIN(job->tile_tokens, row->token_count - token),
        .group = job->group,
        .pos_first = row->pos_first + token,
        .window = args->window,
        .scale = args->scale,
        .scratch = job->scratch + thread * job->scratch_floats,
    };
    job->isa->attend(&t);
}

void cpu_attention(struct device *device, struct stream *stream, const struct kv_view *kv,
                   const struct attn_args *args)
{
    struct attn_job job = {
        .isa = device->isa,
        .kv = kv,
        .args = args,
        .scratch_floats = ROUND_UP(attn_scratch_floats(kv->head_dim), 64),
        .group = args->q_heads / kv->kv_heads,
    };
    job.tile_tokens = MAX(1u, QUERY_TILE / job.group);
    job.scratch = scratch_get(&device->attn, pool_threads(device->pool) * job.scratch_floats);
    uint32_t chunks = 0;
    for (uint32_t i = 0; i < args->row_count; i++)
        chunks += row_tiles(&job, &args->rows_host[i]) * kv->kv_heads;
    pool_run(device->pool, attn_chunk, &job, chunks);
}
