/* moe - mixture of experts: routing, rows grouped by expert, the experts' products, their sum.
 *
 *     slots (row r, choice j)    list   slots in order of their expert      lists kernel: counts, a
 *     ids [2 0] [0 3] [2 1]  ►          1 2 | 5 | 0 4 | 3                   prefix sum, a scatter;
 *                                first  0   2   3     5   6                 one block, shared counts
 *
 * product: block (x, e) takes 64 rows of w of expert e, a warp 16 of them, and walks over the expert's
 * slots by 32. On tensor cores with w as A (16 rows) and the slots' x as B (8 columns); a lane's 16 bytes
 * are 8 neighbouring k of one row, the same permutation on both sides, so nothing goes through shared
 * memory. A warp that has gate rows has the up rows beside them. f32 sums, one rounding to bf16.
 *
 * Bytes: the weights of every expert that has a slot, once for 32 slots of it. Right for any size;
 * not measured yet, and no match for a grouped product with pipelined copies.
 */
#include "kernels/cuda/cuda_util.cuh"

#define THREADS      128
#define WARP_ROWS    16
#define BLOCK_ROWS   (THREADS / 32 * WARP_ROWS)
#define TOKENS       32
#define LIST_THREADS 1024
#define EXPERTS_MAX  4096

/* ---- routing: a warp a row ---- */

/* The key of the likeliest expert below `limit`. */
__device__ uint64_t expert_below(const float *logits, uint32_t experts, uint64_t limit)
{
    uint64_t best = 0;
    for (uint32_t e = threadIdx.x % 32; e < experts; e += 32) {
        uint64_t key = likeliest_key(logits[e], e);
        best = key < limit ? max(best, key) : best;
    }
    return warp_max_u64(best);
}

__global__ void __launch_bounds__(THREADS)
    route_kernel(uint32_t *ids, float *weights, const float *logits, struct expert_args args)
{
    uint32_t row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    pdl_launch();
    pdl_wait();
    if (row >= args.rows)
        return;
    logits += (size_t)row * args.experts;
    float most = -INFINITY, sum = 0.0f, chosen = 0.0f;
    for (uint32_t e = lane; e < args.experts; e += 32)
        most = fmaxf(most, logits[e]);
    most = warp_max(most);
    for (uint32_t e = lane; e < args.experts; e += 32)
        sum += expf(logits[e] - most);
    sum = warp_sum(sum);
    uint64_t key = UINT64_MAX;
    for (uint32_t j = 0; j < args.top; j++) {
        key = expert_below(logits, args.experts, key);
        uint32_t id = min(~(uint32_t)key, args.experts - 1);
        float weight = expf(logits[id] - most) / sum;
        chosen += weight;
        if (lane == 0) {
            ids[(size_t)row * args.top + j] = id;
            weights[(size_t)row * args.top + j] = weight;
        }
    }
    if (lane == 0 && args.renormalize)
        for (uint32_t j = 0; j < args.top; j++)
            weights[(size_t)row * args.top + j] /= chosen;
}

CUDA_OP cuda_route(struct device *device, struct stream *stream, uint32_t *ids, float *weights,
                   const float *logits, const struct expert_args *args)
{
    if (args->rows > 0)
        cuda_launch(device, stream, "route", route_kernel, DIV_CEIL(args->rows, THREADS / 32),
                    THREADS, 0, ids, weights, logits, *args);
}

/* ---- slots by expert ---- */

/* first[e].. first[e + 1]: expert e's part of list. Within it the order is the atomics', which shows
 * nowhere: a slot's result depends on the slot alone. */
__global__ void __launch_bounds__(LIST_THREADS)
    lists_kernel(uint32_t *first, uint32_t *list, const uint32_t *ids, uint32_t slots,
                 uint32_t experts)
{
    __shared__ uint32_t next[EXPERTS_MAX];
    pdl_launch();
    pdl_wait();
    for (uint32_t e = threadIdx.x; e < experts; e += LIST_THREADS)
        next[e] = 0;
    __syncthreads();
    for (uint32_t s = threadIdx.x; s < slots; s += LIST_THREADS)
        atomicAdd(&next[ids[s]], 1u);
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t sum = 0;
        for (uint32_t e = 0; e < experts; e++) {
            uint32_t count = next[e];
            first[e] = next[e] = sum;
            sum += count;
        }
        first[experts] = sum;
    }
    __syncthreads();
    for (uint32_t s = threadIdx.x; s < slots; s += LIST_THREADS)
        list[atomicAdd(&next[ids[s]], 1u)] = s;
}

/* ---- products ---- */

struct product_args {
    void *y;           /* gate_up: bf16 [slots][n]; down: f32 [slots][n] */
    const bf16 *x, *w; /* x of slot s: row s / per */
    const uint32_t *first, *list;
    uint32_t n, k, per; /* n: outputs; gate_up has 2 n rows of w an expert */
    bool aligned;
};

__device__ __forceinline__ uint4 load8(const bf16 *row, uint32_t at, uint32_t k, bool aligned)
{
    uint32_t words[4] = {};
    if (!row || at >= k)
        return make_uint4(0, 0, 0, 0);
    if (aligned)
        return *(const uint4 *)(row + at);
    for (uint32_t i = 0; i < 8 && at + i < k; i++)
        words[i / 2] |= (uint32_t)((const uint16_t *)row)[at + i] << i % 2 * 16;
    return make_uint4(words[0], words[1], words[2], words[3]);
}

/* acc[0]: 16 rows of w; acc[1] (gate_up): the 16 up rows. Of TOKENS slots, 8 a column group. */
template <bool GATE_UP>
__device__ __forceinline__ void multiply(const struct product_args &args, const bf16 *const (&x)[4],
                                         const bf16 *const (&w)[2][2], float (&acc)[2][4][4])
{
    for (uint32_t k = threadIdx.x % 4 * 8; k - threadIdx.x % 4 * 8 < args.k; k += 32) {
        uint4 a[2][2];
#pragma unroll
        for (int part = 0; part < (GATE_UP ? 2 : 1); part++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                a[part][half] = load8(w[part][half], k, args.k, args.aligned);
#pragma unroll
        for (int t = 0; t < TOKENS / 8; t++) {
            uint4 b = load8(x[t], k, args.k, args.aligned);
#pragma unroll
            for (int part = 0; part < (GATE_UP ? 2 : 1); part++) {
                const uint4 &p = a[part][0], &q = a[part][1];
                mma_16816(acc[part][t], p.x, q.x, p.y, q.y, b.x, b.y);
                mma_16816(acc[part][t], p.z, q.z, p.w, q.w, b.z, b.w);
            }
        }
    }
}

template <bool GATE_UP>
__global__ void __launch_bounds__(THREADS) product_kernel(struct product_args args)
{
    uint32_t lane = threadIdx.x % 32, row = lane / 4, expert = blockIdx.y;
    uint32_t col = blockIdx.x * BLOCK_ROWS + threadIdx.x / 32 * WARP_ROWS + row;
    pdl_launch();
    pdl_wait();
    uint32_t from = args.first[expert], end = args.first[expert + 1];
    const bf16 *rows = args.w + (size_t)expert * args.n * (GATE_UP ? 2 : 1) * args.k;
    const bf16 *w[2][2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t at = col + i % 2 * 8;
        w[i / 2][i % 2] = at < args.n ? rows + ((size_t)(i / 2) * args.n + at) * args.k : NULL;
    }
    for (; from < end; from += TOKENS) {
        float acc[2][TOKENS / 8][4] = {};
        const bf16 *x[TOKENS / 8];
#pragma unroll
        for (uint32_t t = 0; t < TOKENS / 8; t++) {
            uint32_t at = from + t * 8 + row;
            x[t] = at < end ? args.x + (size_t)(args.list[at] / args.per) * args.k : NULL;
        }
        multiply<GATE_UP>(args, x, w, acc);
#pragma unroll
        for (uint32_t i = 0; i < TOKENS / 8 * 4;
             i++) { /* c[i]: row + 8 (i / 2), slot 2 (lane % 4) + i % 2 */
            uint32_t at = from + i / 4 * 8 + lane % 4 * 2 + i % 2, to = col + i % 4 / 2 * 8;
            float value = acc[0][i / 4][i % 4];
            if (at >= end || to >= args.n)
                continue;
            size_t out = (size_t)args.list[at] * args.n + to;
            if (GATE_UP)
                ((bf16 *)args.y)[out] =
                    __float2bfloat16(value / (1.0f + __expf(-value)) * acc[1][i / 4][i % 4]);
            else
                ((float *)args.y)[out] = value;
        }
    }
}

/* In cuBLASLt's workspace, which is free between products: the lists, then what is left of it. */
static uint32_t *lists(struct device *device, struct stream *stream, const struct expert_args *args,
                       const uint32_t *ids, uint32_t rows)
{
    uint32_t *first = (uint32_t *)device->workspace, slots = rows * args->top;
    cuda_launch(device, stream, "experts (lists)", lists_kernel, 1, LIST_THREADS, 0, first,
                first + EXPERTS_MAX + 1, ids, slots, args->experts);
    return first;
}

static void product(struct device *device, struct stream *stream, void *y, const void *x,
                    const struct weight *w, const struct expert_args *args, const uint32_t *first,
                    bool gate_up)
{
    uint32_t n = w->n / args->experts / (gate_up ? 2 : 1);
    struct product_args p = {y,
                             (const bf16 *)x,
                             (const bf16 *)w->data,
                             first,
                             first + EXPERTS_MAX + 1,
                             n,
                             w->k,
                             gate_up ? args->top : 1,
                             w->k % 8 == 0 && ((uintptr_t)x | (uintptr_t)w->data) % 16 == 0};
    cuda_launch(device, stream, gate_up ? "experts (gate, up)" : "experts (down)",
                gate_up ? product_kernel<true> : product_kernel<false>,
                dim3(DIV_CEIL(n, BLOCK_ROWS), args->experts), THREADS, 0, p);
}

CUDA_OP cuda_experts_gate_up(struct device *device, struct stream *stream, void *y, const void *x,
                             const struct weight *w, const struct expert_args *args)
{
    if (args->rows == 0)
        return;
    CHECK(args->experts <= EXPERTS_MAX &&
          (size_t)args->rows * args->top <= WORKSPACE_BYTES / 8 - EXPERTS_MAX - 1);
    product(device, stream, y, x, w, args, lists(device, stream, args, args->ids, args->rows),
            true);
}

/* y[r] = sum of its slots' parts, in order. */
__global__ void combine_kernel(bf16 *y, const float *parts, const float *weights, uint32_t n,
                               uint32_t top, size_t count)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    pdl_launch();
    pdl_wait();
    if (i >= count)
        return;
    size_t row = i / n;
    float sum = 0.0f;
    for (uint32_t j = 0; j < top; j++)
        sum += weights[row * top + j] * parts[(row * top + j) * n + i % n];
    y[i] = __float2bfloat16(sum);
}

/* So many rows at a time as their parts, in f32, fit into half of the workspace. */
CUDA_OP cuda_experts_down(struct device *device, struct stream *stream, void *y, const void *a,
                          const struct weight *w, const struct expert_args *args)
{
    uint32_t n = w->n / args->experts;
    float *parts = (float *)((char *)device->workspace + WORKSPACE_BYTES / 2);
    uint32_t most = (uint32_t)(WORKSPACE_BYTES / 2 / sizeof(float) / ((size_t)n * args->top));
    CHECK(args->experts <= EXPERTS_MAX && most > 0);
    for (uint32_t row = 0, rows; row < args->rows; row += rows) {
        size_t slot = (size_t)row * args->top;
        rows = MIN(most, args->rows - row);
        uint32_t *first = lists(device, stream, args, args->ids + slot, rows);
        product(device, stream, parts, (const bf16 *)a + slot * w->k, w, args, first, false);
        cuda_launch(device, stream, "experts (sum)", combine_kernel,
                    (unsigned)DIV_CEIL((size_t)rows * n, (size_t)THREADS), THREADS, 0,
                    (bf16 *)y + (size_t)row * n, (const float *)parts, args->weights + slot, n,
                    args->top, (size_t)rows * n);
    }
}

/* ---- a shared expert's gate ---- */

__global__ void add_gated_kernel(bf16 *x, const bf16 *y, const float *gate, uint32_t dim,
                                 size_t count)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    pdl_launch();
    pdl_wait();
    if (i < count)
        x[i] = __float2bfloat16(to_f32(x[i]) + to_f32(y[i]) / (1.0f + __expf(-gate[i / dim])));
}

CUDA_OP cuda_add_gated(struct device *device, struct stream *stream, void *x, const void *y,
                       const float *gate, uint32_t rows, uint32_t dim)
{
    size_t count = (size_t)rows * dim;
    if (count > 0)
        cuda_launch(device, stream, "add_gated", add_gated_kernel,
                    (unsigned)DIV_CEIL(count, (size_t)THREADS), THREADS, 0, (bf16 *)x,
                    (const bf16 *)y, gate, dim, count);
}
