/* attn_generic - attention for any GPU from sm_80: correct first, the fallback later.
 *
 * One block a (token, kv head). Its 4 warps take the keys 0, 1, 2, 3, 4… in turn, each warp for all
 * query heads of the group at once, with an online softmax; the warps' partial results (m, l, acc)
 * are merged through shared memory by log-sum-exp.
 *
 *     s_j = scale * q . k_j   (j <= position, j > position - window),   out = softmax(s) v
 *
 * Bytes: every token of a prefill reads its whole context again, so this is for decode and tests.
 */
#include "kernels/cuda/attn.cuh"

#define WARPS     4
#define GROUP_MAX 16

template <int HEAD_DIM, int GROUP>
__global__ void attn_kernel(struct kv_view kv, struct attn_args args, const uint32_t *token_rows)
{
    constexpr int PER_LANE = HEAD_DIM / 32;
    __shared__ float merge_m[WARPS][GROUP], merge_l[WARPS][GROUP];
    __shared__ float merge_acc[WARPS][GROUP][HEAD_DIM];
    uint32_t token = blockIdx.x, kv_head = blockIdx.y;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    pdl_launch();
    pdl_wait();
    if (token_rows[token] == UINT32_MAX)
        return;
    struct attn_row row = args.rows[token_rows[token]];
    uint32_t pos = row.pos_first + (token - row.token_first);
    uint32_t first = args.window && pos + 1 > args.window ? pos + 1 - args.window : 0;
    const uint32_t *table = kv.page_table + (size_t)row.slot * kv.pages_per_slot;
    float q[GROUP][PER_LANE], acc[GROUP][PER_LANE], m[GROUP], l[GROUP];

    for (int g = 0; g < GROUP; g++) {
        const bf16 *from = (const bf16 *)args.qkv + (size_t)token * args.qkv_stride +
                           ((size_t)kv_head * GROUP + g) * HEAD_DIM;
        m[g] = -INFINITY;
        l[g] = 0.0f;
        for (int i = 0; i < PER_LANE; i++) {
            q[g][i] = to_f32(from[i * 32 + lane]) * args.scale;
            acc[g][i] = 0.0f;
        }
    }
    for (uint32_t j = first + warp; j <= pos; j += WARPS) {
        size_t page = table[j / kv.page_size];
        const bf16 *k =
            (const bf16 *)kv.pool +
            ((page * 2 * kv.kv_heads + kv_head) * kv.page_size + j % kv.page_size) * HEAD_DIM;
        const bf16 *v = k + (size_t)kv.kv_heads * kv.page_size * HEAD_DIM;
        float kf[PER_LANE], vf[PER_LANE];
        for (int i = 0; i < PER_LANE; i++) {
            kf[i] = to_f32(k[i * 32 + lane]);
            vf[i] = to_f32(v[i * 32 + lane]);
        }
        for (int g = 0; g < GROUP; g++) {
            float s = 0.0f, m_new, keep, p;
            for (int i = 0; i < PER_LANE; i++)
                s += q[g][i] * kf[i];
            s = warp_sum(s);
            m_new = fmaxf(m[g], s);
            keep = __expf(m[g] - m_new);
            p = __expf(s - m_new);
            l[g] = l[g] * keep + p;
            m[g] = m_new;
            for (int i = 0; i < PER_LANE; i++)
                acc[g][i] = acc[g][i] * keep + p * vf[i];
        }
    }
    for (int g = 0; g < GROUP; g++) {
        if (lane == 0) {
            merge_m[warp][g] = m[g];
            merge_l[warp][g] = l[g];
        }
        for (int i = 0; i < PER_LANE; i++)
            merge_acc[warp][g][i * 32 + lane] = acc[g][i];
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < GROUP * HEAD_DIM; i += WARPS * 32) {
        uint32_t g = i / HEAD_DIM, d = i % HEAD_DIM;
        float top = -INFINITY, total = 0.0f, sum = 0.0f;
        for (int w = 0; w < WARPS; w++)
            top = fmaxf(top, merge_m[w][g]);
        for (int w = 0; w < WARPS; w++) {
            float weight = merge_l[w][g] > 0.0f ? __expf(merge_m[w][g] - top) : 0.0f;
            total += merge_l[w][g] * weight;
            sum += merge_acc[w][g][d] * weight;
        }
        ((bf16 *)args
             .out)[((size_t)token * args.q_heads + (size_t)kv_head * GROUP + g) * HEAD_DIM + d] =
            __float2bfloat16(sum / total);
    }
}

/* token_rows[t] = the row that token t belongs to; UINT32_MAX for the one of a padding row. */
__global__ void token_rows_kernel(uint32_t *token_rows, const struct attn_row *rows)
{
    pdl_launch();
    pdl_wait();
    struct attn_row row = rows[blockIdx.x];
    if (row.token_count == 0)
        token_rows[row.token_first] = UINT32_MAX;
    for (uint32_t i = threadIdx.x; i < row.token_count; i += blockDim.x)
        token_rows[row.token_first + i] = blockIdx.x;
}

template <int HEAD_DIM>
static bool launch(struct device *device, struct stream *stream, const struct kv_view *kv,
                   const struct attn_args *args, uint32_t tokens, const uint32_t *token_rows)
{
    dim3 grid(tokens, kv->kv_heads);
    switch (args->q_heads / kv->kv_heads) {
#define GROUP_CASE(n)                                                                              \
    case n:                                                                                        \
        cuda_launch(device, stream, "attention", attn_kernel<HEAD_DIM, n>, grid, WARPS * 32, 0,    \
                    *kv, *args, token_rows);                                                       \
        return true;
        GROUP_CASE(1)
        GROUP_CASE(2)
        GROUP_CASE(3)
        GROUP_CASE(4)
        GROUP_CASE(5)
        GROUP_CASE(6)
        GROUP_CASE(7)
        GROUP_CASE(8)
        GROUP_CASE(16)
#undef GROUP_CASE
    }
    return false;
}

void attn_generic(struct device *device, struct stream *stream, const struct kv_view *kv,
                  const struct attn_args *args)
{
    uint32_t tokens = 0;
    uint32_t *token_rows;
    bool known;

    for (uint32_t i = 0; i < args->row_count; i++)
        tokens += args->rows_host[i].token_count;
    if (tokens == 0)
        return;
    token_rows = (uint32_t *)device->workspace;
    CHECK(tokens * sizeof(*token_rows) <= WORKSPACE_BYTES);
    cuda_launch(device, stream, "attention (rows)", token_rows_kernel, args->row_count, 128, 0,
                token_rows, args->rows);
    known = kv->head_dim == 64 ? launch<64>(device, stream, kv, args, tokens, token_rows)
                               : launch<128>(device, stream, kv, args, tokens, token_rows);
    if (!known)
        device_fail(device, cudaErrorNotSupported, "attention");
}
