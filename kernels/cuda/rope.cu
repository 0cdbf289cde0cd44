/* rope - optional RMSNorm of each q and k head, rotary embedding, k and v into their pages.
 *
 * One warp a (token, head); heads 0..q_heads-1 are q, then k, then v. Lane l holds the elements
 * l, l+32, … so that the halves i and i + head_dim/2 of a pair lie in one lane (head_dim 64, 128).
 *     out[i] = x[i] cos - x[i+h] sin,  out[i+h] = x[i+h] cos + x[i] sin,  h = head_dim / 2
 */
#include "kernels/cuda/cuda_util.cuh"

#define WARPS 4

template <int HEAD_DIM>
__global__ void rope_kernel(struct kv_view kv, struct qkv_args args)
{
    constexpr int PER_LANE = HEAD_DIM / 32, HALF = PER_LANE / 2;
    uint32_t heads = args.q_heads + 2 * kv.kv_heads;
    uint32_t warp = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t token = warp / heads, head = warp % heads, pos;
    const float *norm, *cs;
    float x[PER_LANE];
    bf16 *row;

    if (token >= args.tokens)
        return;
    row = (bf16 *)args.qkv + ((size_t)token * heads + head) * HEAD_DIM;
    pos = args.positions[token];
    for (int i = 0; i < PER_LANE; i++)
        x[i] = to_f32(row[i * 32 + lane]);
    norm = head < args.q_heads ? args.q_norm : args.k_norm;
    if (head < args.q_heads + kv.kv_heads) {
        if (norm) {
            float sum = 0.0f, scale;
            for (int i = 0; i < PER_LANE; i++)
                sum += x[i] * x[i];
            scale = rsqrtf(warp_sum(sum) / HEAD_DIM + args.norm_eps);
            for (int i = 0; i < PER_LANE; i++)
                x[i] = to_f32(__float2bfloat16(x[i] * scale * norm[i * 32 + lane]));
        }
        cs = args.cos_sin + (size_t)pos * HEAD_DIM;
        for (int i = 0; i < HALF; i++) {
            float c = cs[i * 32 + lane], s = cs[HEAD_DIM / 2 + i * 32 + lane];
            float a = x[i], b = x[i + HALF];
            x[i] = a * c - b * s;
            x[i + HALF] = b * c + a * s;
        }
    }
    if (head >= args.q_heads) { /* k or v: into its page */
        uint32_t slot = args.token_slots[token], kv_head = head - args.q_heads, is_v, page;
        if (slot == SLOT_NONE)
            return;
        page = kv.page_table[(size_t)slot * kv.pages_per_slot + pos / kv.page_size];
        is_v = kv_head >= kv.kv_heads;
        kv_head -= is_v * kv.kv_heads;
        row = (bf16 *)kv.pool +
              ((((size_t)page * 2 + is_v) * kv.kv_heads + kv_head) * kv.page_size +
               pos % kv.page_size) *
                  HEAD_DIM;
    }
    for (int i = 0; i < PER_LANE; i++)
        row[i * 32 + lane] = __float2bfloat16(x[i]);
}

CUDA_OP cuda_qk_rope_store(struct device *device, struct stream *stream, const struct kv_view *kv,
                           const struct qkv_args *args)
{
    uint32_t warps = args->tokens * (args->q_heads + 2 * kv->kv_heads);
    if (warps == 0)
        return;
    if (kv->head_dim == 64)
        rope_kernel<64><<<DIV_CEIL(warps, WARPS), WARPS * 32, 0, stream->cuda>>>(*kv, *args);
    else
        rope_kernel<128><<<DIV_CEIL(warps, WARPS), WARPS * 32, 0, stream->cuda>>>(*kv, *args);
    LAUNCHED(device, "qk_rope_store");
}
