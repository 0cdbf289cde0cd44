/* rope - optional RMSNorm of each q and k head, rotary embedding, k and v into their pages.
 *
 *     out[i] = x[i] cos - x[i+h] sin,  out[i+h] = x[i+h] cos + x[i] sin,  h = head_dim / 2
 *
 * A head is head_dim / 8 lanes of 16 bytes (16 lanes for 128), heads 0..q_heads-1 are q, then k,
 * then v; a warp has 2 or 4 heads side by side. The halves of a pair lie head_dim / 16 lanes apart:
 * one exchange of 4 registers. Normed heads are rounded to bf16 first, as a norm of its own would.
 * Bytes: tokens * heads * head_dim * 4, and 8 bytes of cos_sin a pair from L2.
 * Sizes that are no power of two go through rope_any_kernel, a warp a head.
 */
#include "kernels/cuda/cuda_util.cuh"

#define WARPS 4

/* Where a head's result goes: q in place, k and v to their page; NULL: a padding token's. */
__device__ __forceinline__ bf16 *target(const struct kv_view &kv, const struct qkv_args &args,
                                        uint32_t token, uint32_t head, uint32_t pos, bf16 *in_place)
{
    uint32_t slot, page, is_v;
    if (head < args.q_heads)
        return in_place;
    slot = args.token_slots[token];
    if (slot == SLOT_NONE)
        return NULL;
    page = kv.page_table[(size_t)slot * kv.pages_per_slot + pos / kv.page_size];
    head -= args.q_heads;
    is_v = head >= kv.kv_heads;
    head -= is_v * kv.kv_heads;
    return (bf16 *)kv.pool + ((((size_t)page * 2 + is_v) * kv.kv_heads + head) * kv.page_size +
                              pos % kv.page_size) *
                                 kv.head_dim;
}

template <int HEAD_DIM>
__global__ void __launch_bounds__(WARPS * 32) rope_kernel(struct kv_view kv, struct qkv_args args)
{
    constexpr uint32_t LANES = HEAD_DIM / 8;
    uint32_t heads = args.q_heads + 2 * kv.kv_heads;
    uint32_t unit = blockIdx.x * WARPS * 32 + threadIdx.x;
    uint32_t at = unit / LANES, lane = unit % LANES, token = at / heads, head = at % heads;
    bool inside = token < args.tokens, is_v = head >= args.q_heads + kv.kv_heads;
    const float *norm = head < args.q_heads ? args.q_norm : args.k_norm;
    float w[8] = {}, x[8], other[8], sum = 0.0f;
    uint4 packed = make_uint4(0, 0, 0, 0), far;
    uint32_t pos = 0;
    bf16 *row = (bf16 *)args.qkv + (size_t)at * HEAD_DIM + lane * 8, *to;

    if (norm && !is_v) {
        *(float4 *)w = ((const float4 *)norm)[lane * 2];
        *(float4 *)(w + 4) = ((const float4 *)norm)[lane * 2 + 1];
    }
    pdl_launch();
    pdl_wait();
    if (inside) {
        pos = args.positions[token];
        packed = *(const uint4 *)row;
    }
    bf16x8_unpack(packed, x);
    if (norm) { /* every lane takes part in the shuffles, v's too */
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum += x[i] * x[i];
#pragma unroll
        for (uint32_t step = LANES / 2; step > 0; step /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, step);
        float scale = rsqrtf(sum / HEAD_DIM + args.norm_eps);
        if (!is_v) {
#pragma unroll
            for (int i = 0; i < 8; i++)
                x[i] = x[i] * scale * w[i];
            packed = bf16x8_pack(x);
            bf16x8_unpack(packed, x);
        }
    }
    far.x = __shfl_xor_sync(0xffffffffu, packed.x, LANES / 2);
    far.y = __shfl_xor_sync(0xffffffffu, packed.y, LANES / 2);
    far.z = __shfl_xor_sync(0xffffffffu, packed.z, LANES / 2);
    far.w = __shfl_xor_sync(0xffffffffu, packed.w, LANES / 2);
    if (!inside)
        return;
    to = target(kv, args, token, head, pos, row - lane * 8);
    if (!is_v) {
        const float *cs = args.cos_sin + (size_t)pos * HEAD_DIM + lane % (LANES / 2) * 8;
        float sign = lane < LANES / 2 ? -1.0f : 1.0f, c[8], s[8];
        *(float4 *)c = ((const float4 *)cs)[0];
        *(float4 *)(c + 4) = ((const float4 *)cs)[1];
        *(float4 *)s = ((const float4 *)(cs + HEAD_DIM / 2))[0];
        *(float4 *)(s + 4) = ((const float4 *)(cs + HEAD_DIM / 2))[1];
        bf16x8_unpack(far, other);
#pragma unroll
        for (int i = 0; i < 8; i++)
            x[i] = x[i] * c[i] + sign * other[i] * s[i];
        packed = bf16x8_pack(x);
    }
    if (to)
        *(uint4 *)(to + lane * 8) = packed;
}

__global__ void __launch_bounds__(WARPS * 32) rope_any_kernel(struct kv_view kv,
                                                              struct qkv_args args)
{
    uint32_t heads = args.q_heads + 2 * kv.kv_heads, dim = kv.head_dim, half = dim / 2;
    uint32_t at = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t token = at / heads, head = at % heads, pos;
    const float *norm = head < args.q_heads ? args.q_norm : args.k_norm, *cs;
    float scale = 1.0f, sum = 0.0f;
    bf16 *row, *to;

    pdl_launch();
    pdl_wait();
    if (token >= args.tokens)
        return;
    row = (bf16 *)args.qkv + (size_t)at * dim;
    pos = args.positions[token];
    to = target(kv, args, token, head, pos, row);
    if (!to)
        return;
    if (head >= args.q_heads + kv.kv_heads) {
        for (uint32_t i = lane; i < dim; i += 32)
            to[i] = row[i];
        return;
    }
    for (uint32_t i = lane; i < dim && norm; i += 32)
        sum += to_f32(row[i]) * to_f32(row[i]);
    if (norm)
        scale = rsqrtf(warp_sum(sum) / dim + args.norm_eps);
    cs = args.cos_sin + (size_t)pos * dim;
    for (uint32_t i = lane; i < half; i += 32) {
        float a = to_f32(row[i]), b = to_f32(row[i + half]);
        if (norm) {
            a = to_f32(__float2bfloat16(a * scale * norm[i]));
            b = to_f32(__float2bfloat16(b * scale * norm[i + half]));
        }
        to[i] = __float2bfloat16(a * cs[i] - b * cs[half + i]);
        to[i + half] = __float2bfloat16(b * cs[i] + a * cs[half + i]);
    }
}

CUDA_OP cuda_qk_rope_store(struct device *device, struct stream *stream, const struct kv_view *kv,
                           const struct qkv_args *args)
{
    uint32_t rows = args->tokens * (args->q_heads + 2 * kv->kv_heads), dim = kv->head_dim;
    unsigned blocks = DIV_CEIL(rows * (dim / 8), WARPS * 32);
    if (rows == 0)
        return;
    if (dim == 64)
        cuda_launch(device, stream, "qk_rope_store", rope_kernel<64>, blocks, WARPS * 32, 0, *kv,
                    *args);
    else if (dim == 128)
        cuda_launch(device, stream, "qk_rope_store", rope_kernel<128>, blocks, WARPS * 32, 0, *kv,
                    *args);
    else if (dim == 256)
        cuda_launch(device, stream, "qk_rope_store", rope_kernel<256>, blocks, WARPS * 32, 0, *kv,
                    *args);
    else
        cuda_launch(device, stream, "qk_rope_store", rope_any_kernel, DIV_CEIL(rows, WARPS),
                    WARPS * 32, 0, *kv, *args);
}
