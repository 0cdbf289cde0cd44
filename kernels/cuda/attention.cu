/* attention - chooses the kernels of a step's attention, and makes what they need: the plan, the
 * tensor maps, the scratch memory.
 *
 * Hopper with a head size of 64 or 128 and pages of a multiple of 16 tokens takes attn_decode for
 * rows of one token and attn_prefill for the others; anything else, and `--attn generic`, takes
 * attn_generic for all.
 */
#include <string.h>

#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/tensor_map.cuh"

#define SCRATCH_BYTES ((size_t)128 << 20)
#define COUNTERS      ((size_t)1 << 20)
#define SPAN_MIN      2u
#define FEW_ROWS      4u
#define WIDE_ROWS     16u
#define LOG2_E        1.4426950408889634f

static bool fits(const struct device *device, uint32_t head_dim, uint32_t page_size)
{
    return device->hopper && (head_dim == 64 || head_dim == 128) && page_size % ATTN_UNIT_KEYS == 0;
}

cudaError_t attn_scratch_init(struct device *device)
{
    struct attn_scratch *scratch = &device->attn;
    cudaError_t error = cudaMalloc((void **)&scratch->part_o, SCRATCH_BYTES);
    if (error == cudaSuccess)
        error = cudaMalloc((void **)&scratch->part_ml, SCRATCH_BYTES / 32);
    if (error == cudaSuccess)
        error = cudaMalloc((void **)&scratch->counters, (COUNTERS + 1) * sizeof(uint32_t));
    if (error == cudaSuccess)
        error = cudaMemset(scratch->counters, 0, (COUNTERS + 1) * sizeof(uint32_t));
    return error;
}

void attn_scratch_release(struct device *device)
{
    cudaFree(device->attn.part_o);
    cudaFree(device->attn.part_ml);
    cudaFree(device->attn.counters);
}

/* ---- the plan ---- */

/* With few rows a third of the ring is enough to keep memory busy, and leaves shared memory in which
 * the kernel behind can already bring in its weights. */
static uint32_t decode_warps(uint32_t row_count)
{
    return row_count <= FEW_ROWS ? 2 : ATTN_DECODE_WARPS;
}

/* Known when a graph is captured, as the groups are not. */
static bool wide_possible(uint32_t row_count)
{
    return row_count >= WIDE_ROWS;
}

extern "C" size_t cuda_attn_plan_bytes(const struct device *device, const struct attn_shape *shape,
                                       uint32_t rows, uint32_t tokens, uint32_t context)
{
    (void)context;
    return fits(device, shape->head_dim, shape->page_size)
               ? attn_plan_bytes_max(shape, rows, tokens,
                                     (uint32_t)device->prop.multiProcessorCount * ATTN_DECODE_WARPS)
               : 0;
}

extern "C" size_t cuda_attn_plan(const struct device *device, const struct attn_shape *shape,
                                 const struct attn_row *rows, uint32_t row_count,
                                 const struct attn_group *groups, uint32_t group_count, void *out)
{
    struct attn_plan_opts opts = {};
    if (!fits(device, shape->head_dim, shape->page_size))
        return 0;
    opts.shape = *shape;
    opts.workers = (uint32_t)device->prop.multiProcessorCount * decode_warps(row_count);
    opts.span_min = SPAN_MIN;
    opts.blocks = wide_possible(row_count) ? (uint32_t)device->prop.multiProcessorCount : 0;
    opts.parts_max = (uint32_t)(SCRATCH_BYTES / (shape->q_heads * shape->head_dim * sizeof(float)));
    return attn_plan_build(&opts, rows, row_count, groups, group_count, out);
}

/* ---- tensor maps ---- */

/* A layer's pool as [page and head][k | v][half][row][64]: `halves` and `kinds` in one box. */
static bool kv_map(const struct device *device, CUtensorMap *map, const struct kv_view *kv,
                   uint32_t halves, uint32_t kinds)
{
    cuuint64_t row = kv->head_dim * sizeof(bf16), block = row * kv->page_size;
    cuuint64_t dims[5] = {64, kv->page_size, kv->head_dim / 64, 2, 2ull * kv->pages * kv->kv_heads};
    cuuint64_t strides[4] = {row, 128, block * kv->kv_heads, block};
    cuuint32_t box[5] = {64, ATTN_UNIT_KEYS, halves, kinds, 1};
    return tensor_map(device, map, 5, kv->pool, dims, strides, box);
}

/* Queries as [token][q head][64]: `heads` and `tokens` of them in one box. */
static bool query_map(const struct device *device, CUtensorMap *map, const struct attn_args *args,
                      uint32_t head_dim, uint32_t heads, uint32_t tokens)
{
    uint32_t there = 1;
    for (uint32_t i = 0; i < args->row_count; i++)
        there = MAX(there, args->rows_host[i].token_first + args->rows_host[i].token_count);
    cuuint64_t dims[3] = {head_dim, args->q_heads, there};
    cuuint64_t strides[2] = {head_dim * sizeof(bf16), args->qkv_stride * sizeof(bf16)};
    cuuint32_t box[3] = {64, heads, tokens};
    return tensor_map(device, map, 3, args->qkv, dims, strides, box);
}

/* ---- the op ---- */

static bool run_decode(struct device *device, struct stream *stream, const struct kv_view *kv,
                       const struct attn_args *args)
{
    CUtensorMap map;
    struct attn_decode_args decode = {};
    if (!kv_map(device, &map, kv, kv->head_dim / 64, 2))
        return false;
    decode.kv = *kv;
    decode.plan = (const struct attn_plan *)args->plan;
    decode.qkv = (const bf16 *)args->qkv;
    decode.out = (bf16 *)args->out;
    decode.qkv_stride = args->qkv_stride;
    decode.group = args->q_heads / kv->kv_heads;
    decode.scale = args->scale * LOG2_E;
    decode.part_o = device->attn.part_o;
    decode.part_ml = device->attn.part_ml;
    decode.counters = device->attn.counters;
    attn_decode(device, stream, &decode, &map, decode_warps(args->row_count));
    return true;
}

/* Prefill tiles, or (tiles 0) the wide tiles of prefix groups. */
static bool run_tiles(struct device *device, struct stream *stream, const struct kv_view *kv,
                      const struct attn_args *args, uint32_t tiles)
{
    CUtensorMap half, query;
    struct attn_prefill_args prefill = {};
    uint32_t group = args->q_heads / kv->kv_heads;
    if (!kv_map(device, &half, kv, 1, 1) ||
        !query_map(device, &query, args, kv->head_dim, tiles ? 1 : group,
                   tiles ? ATTN_TILE : ATTN_TILE / group))
        return false;
    prefill.kv = *kv;
    prefill.plan = (const struct attn_plan *)args->plan;
    prefill.out = (bf16 *)args->out;
    prefill.q_heads = args->q_heads;
    prefill.group = group;
    prefill.window = args->window;
    prefill.scale = args->scale * LOG2_E;
    prefill.part_o = device->attn.part_o;
    prefill.part_ml = device->attn.part_ml;
    prefill.ticket = device->attn.counters + COUNTERS;
    if (tiles > 0)
        attn_prefill(device, stream, &prefill, &half, &query, tiles);
    else
        attn_wide(device, stream, &prefill, &half, &query);
    return true;
}

CUDA_OP cuda_attention(struct device *device, struct stream *stream, const struct kv_view *kv,
                       const struct attn_args *args)
{
    const struct attn_plan *plan = (const struct attn_plan *)args->plan_host;
    bool ok = true;
    if (args->row_count == 0)
        return;
    if (!plan || !args->plan || !fits(device, kv->head_dim, kv->page_size)) {
        attn_generic(device, stream, kv, args);
        return;
    }
    CHECK(plan->token_count * kv->kv_heads <= COUNTERS);
    if (plan->tile_count > 0)
        ok = run_tiles(device, stream, kv, args, plan->tile_count);
    if (wide_possible(args->row_count) && args->group_count > 0 && args->window == 0)
        ok = run_tiles(device, stream, kv, args, 0) && ok;
    if (plan->token_count > 0)
        ok = run_decode(device, stream, kv, args) && ok;
    if (!ok)
        device_fail(device, cudaErrorInvalidValue, "attention (tensor map)");
}
