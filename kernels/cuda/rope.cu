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

/* Where a token's k and v go; NULL: a padding token's, nowhere. */
__device__ __forceinline__ bf16 *token_place(const struct kv_view &kv, const struct qkv_args &args,
                                             uint32_t token, uint32_t pos)
{
    uint32_t slot = args.token_slots[token];
    if (slot == SLOT_NONE)
        return NULL;
    size_t page = kv.page_table[(size_t)slot * kv.pages_per_slot + pos / kv.page_size];
    return (bf16 *)kv.pool +
           (page * 2 * kv.kv_heads * kv.page_size + pos % kv.page_size) * kv.head_dim;
}

/* Head `head` of a token: q in place, k and v, which are one behind the other, in the page. */
__device__ __forceinline__ bf16 *head_place(const struct kv_view &kv, const struct qkv_args &args,
                                            uint32_t head, bf16 *place, bf16 *in_place)
{
    if (head < args.q_heads || !place)
        return head < args.q_heads ? in_place : NULL;
    return place + (size_t)(head - args.q_heads) * kv.page_size * kv.head_dim;
}

/* RMSNorm over the LANES lanes of a head, rounded to bf16. All lanes of the warp call. */
template <uint32_t LANES>
__device__ __forceinline__ uint4 head_norm(uint4 packed, const float *w, float eps, bool wanted)
{
    float x[8], sum = 0.0f;
    bf16x8_unpack(packed, x);
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum += x[i] * x[i];
#pragma unroll
    for (uint32_t step = LANES / 2; step > 0; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    float scale = rsqrtf(sum / (LANES * 8) + eps);
    if (!wanted)
        return packed;
    float4 low = ((const float4 *)w)[0], high = ((const float4 *)w)[1];
    x[0] *= scale * low.x, x[1] *= scale * low.y, x[2] *= scale * low.z, x[3] *= scale * low.w;
    x[4] *= scale * high.x, x[5] *= scale * high.y, x[6] *= scale * high.z, x[7] *= scale * high.w;
    return bf16x8_pack(x);
}

/* HEADS heads a group of lanes: 4 in a prompt, so that angles and pages are looked up once for
 * them and their loads are in flight together; 1 in a small batch, to fill the card. */
template <int HEAD_DIM, int HEADS>
__global__ void __launch_bounds__(WARPS * 32) rope_kernel(struct kv_view kv, struct qkv_args args)
{
    constexpr uint32_t LANES = HEAD_DIM / 8;
    uint32_t heads = args.q_heads + 2 * kv.kv_heads, groups = (heads + HEADS - 1) / HEADS;
    uint32_t unit = blockIdx.x * WARPS * 32 + threadIdx.x;
    uint32_t at = unit / LANES, lane = unit % LANES, token = at / groups;
    uint32_t first = at % groups * HEADS, rotated = args.q_heads + kv.kv_heads, pos = 0;
    bf16 *row = (bf16 *)args.qkv + ((size_t)token * heads + first) * HEAD_DIM + lane * 8;
    float sign = lane < LANES / 2 ? -1.0f : 1.0f, c[8] = {}, s[8] = {};
    uint4 packed[HEADS];
    bf16 *place = NULL;

    pdl_launch();
    pdl_wait();
    bool inside = token < args.tokens;
#pragma unroll
    for (int h = 0; h < HEADS; h++)
        packed[h] = inside && first + h < heads ? *(const uint4 *)(row + h * HEAD_DIM)
                                                : make_uint4(0, 0, 0, 0);
    if (inside) {
        pos = args.positions[token];
        const float *cs = args.cos_sin + (size_t)pos * HEAD_DIM + lane % (LANES / 2) * 8;
        *(float4 *)c = ((const float4 *)cs)[0];
        *(float4 *)(c + 4) = ((const float4 *)cs)[1];
        *(float4 *)s = ((const float4 *)(cs + HEAD_DIM / 2))[0];
        *(float4 *)(s + 4) = ((const float4 *)(cs + HEAD_DIM / 2))[1];
        if (first + HEADS > args.q_heads)
            place = token_place(kv, args, token, pos);
    }
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        uint32_t head = first + h;
        const float *norm = head < args.q_heads ? args.q_norm : args.k_norm;
        float x[8], other[8];
        uint4 far;
        if (args.q_norm)
            packed[h] = head_norm<LANES>(packed[h], norm + lane * 8, args.norm_eps, head < rotated);
        far.x = __shfl_xor_sync(0xffffffffu, packed[h].x, LANES / 2);
        far.y = __shfl_xor_sync(0xffffffffu, packed[h].y, LANES / 2);
        far.z = __shfl_xor_sync(0xffffffffu, packed[h].z, LANES / 2);
        far.w = __shfl_xor_sync(0xffffffffu, packed[h].w, LANES / 2);
        if (head < rotated) {
            bf16x8_unpack(packed[h], x);
            bf16x8_unpack(far, other);
#pragma unroll
            for (int i = 0; i < 8; i++)
                x[i] = x[i] * c[i] + sign * other[i] * s[i];
            packed[h] = bf16x8_pack(x);
        }
        if (!inside || head >= heads)
            continue;
        bf16 *to = head_place(kv, args, head, place, row + h * HEAD_DIM - lane * 8);
        if (to)
            *(uint4 *)(to + lane * 8) = packed[h];
    }
}

__global__ void __launch_bounds__(WARPS * 32)
    rope_any_kernel(struct kv_view kv, struct qkv_args args)
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
    to = head_place(kv, args, head, head < args.q_heads ? NULL : token_place(kv, args, token, pos),
                    row);
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

template <int HEAD_DIM>
static void rope(struct device *device, struct stream *stream, const struct kv_view *kv,
                 const struct qkv_args *args)
{
    uint32_t heads = args->q_heads + 2 * kv->kv_heads, lanes = HEAD_DIM / 8;
    if (args->tokens < 64)
        cuda_launch(device, stream, "qk_rope_store", rope_kernel<HEAD_DIM, 1>,
                    DIV_CEIL(args->tokens * heads * lanes, WARPS * 32), WARPS * 32, 0, *kv, *args);
    else
        cuda_launch(device, stream, "qk_rope_store", rope_kernel<HEAD_DIM, 4>,
                    DIV_CEIL(args->tokens * DIV_CEIL(heads, 4) * lanes, WARPS * 32), WARPS * 32, 0,
                    *kv, *args);
}

CUDA_OP cuda_qk_rope_store(struct device *device, struct stream *stream, const struct kv_view *kv,
                           const struct qkv_args *args)
{
    uint32_t rows = args->tokens * (args->q_heads + 2 * kv->kv_heads), dim = kv->head_dim;
    if (rows == 0)
        return;
    if (dim == 64)
        rope<64>(device, stream, kv, args);
    else if (dim == 128)
        rope<128>(device, stream, kv, args);
    else if (dim == 256)
        rope<256>(device, stream, kv, args);
    else
        cuda_launch(device, stream, "qk_rope_store", rope_any_kernel, DIV_CEIL(rows, WARPS),
                    WARPS * 32, 0, *kv, *args);
}
