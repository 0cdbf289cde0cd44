/* elementwise - page table, token resolution, embedding, silu-mul, row gather, add, scale.
 *
 * Bound by bytes: 16 bytes a thread and round where sizes and addresses allow, no shared memory.
 */
#include "kernels/cuda/cuda_util.cuh"

#define THREADS 256

__global__ void page_table_kernel(uint32_t *table, uint32_t pages_per_slot,
                                  const struct page_set *deltas, uint32_t count)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    pdl_wait(); /* no pdl_launch: attention reads the table before its own wait */
    if (i < count && deltas[i].slot != SLOT_NONE)
        table[(size_t)deltas[i].slot * pages_per_slot + deltas[i].idx] = deltas[i].page;
}

CUDA_OP cuda_page_table_set(struct device *device, struct stream *stream, uint32_t *page_table,
                            uint32_t pages_per_slot, const struct page_set *deltas, uint32_t count)
{
    if (count > 0)
        cuda_launch(device, stream, "page_table_set", page_table_kernel, DIV_CEIL(count, THREADS),
                    THREADS, 0, page_table, pages_per_slot, deltas, count);
}

__global__ void resolve_kernel(uint32_t *ids, const uint32_t *tokens, const uint32_t *slots,
                               const uint32_t *last, uint32_t count)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    pdl_launch();
    pdl_wait();
    if (i < count)
        ids[i] = tokens[i] == UINT32_MAX ? last[slots[i]] : tokens[i];
}

CUDA_OP cuda_resolve_tokens(struct device *device, struct stream *stream, uint32_t *ids,
                            const uint32_t *tokens, const uint32_t *token_slots,
                            const uint32_t *last_tokens, uint32_t count)
{
    if (count > 0)
        cuda_launch(device, stream, "resolve_tokens", resolve_kernel, DIV_CEIL(count, THREADS),
                    THREADS, 0, ids, tokens, token_slots, last_tokens, count);
}

/* y[row] = from[row of idx], rows of `dim` elements; zeros where idx - first >= limit. */
template <typename T>
__global__ void rows_kernel(T *y, const T *from, const uint32_t *idx, uint32_t first,
                            uint32_t limit, uint32_t dim)
{
    pdl_launch();
    pdl_wait();
    uint32_t at = idx[blockIdx.x] - first; /* wraps when below: then >= limit */
    for (uint32_t i = blockIdx.y * THREADS + threadIdx.x; i < dim; i += gridDim.y * THREADS)
        y[(size_t)blockIdx.x * dim + i] = at < limit ? from[(size_t)at * dim + i] : T();
}

static void rows(struct device *device, struct stream *stream, const char *name, void *y,
                 const void *from, const uint32_t *idx, uint32_t first, uint32_t limit,
                 uint32_t count, uint32_t dim)
{
    if (count == 0)
        return;
    if (dim % 8 == 0 && ((uintptr_t)y | (uintptr_t)from) % 16 == 0)
        cuda_launch(device, stream, name, rows_kernel<uint4>, count, THREADS, 0, (uint4 *)y,
                    (const uint4 *)from, idx, first, limit, dim / 8);
    else
        cuda_launch(device, stream, name, rows_kernel<uint16_t>, count, THREADS, 0, (uint16_t *)y,
                    (const uint16_t *)from, idx, first, limit, dim);
}

CUDA_OP cuda_embed(struct device *device, struct stream *stream, void *x,
                   const struct weight *table, const uint32_t *ids, uint32_t vocab_first,
                   uint32_t count)
{
    rows(device, stream, "embed", x, table->data, ids, vocab_first, table->n, count, table->k);
}

CUDA_OP cuda_gather_rows(struct device *device, struct stream *stream, void *y, const void *x,
                         const uint32_t *idx, uint32_t count, uint32_t dim)
{
    rows(device, stream, "gather_rows", y, x, idx, 0, UINT32_MAX, count, dim);
}

__device__ __forceinline__ float silu(float x)
{
    return x / (1.0f + __expf(-x));
}

/* Block y is a row, block x 8 elements a thread of it. */
__global__ void silu_mul_kernel(bf16 *y, const bf16 *gate_up, uint32_t dim, uint32_t rows)
{
    uint32_t i = (blockIdx.x * THREADS + threadIdx.x) * 8;
    pdl_launch();
    pdl_wait();
    if (i >= dim)
        return;
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const bf16 *from = gate_up + row * 2 * dim + i;
        float gate[8], up[8];
        bf16x8_unpack(*(const uint4 *)from, gate);
        bf16x8_unpack(*(const uint4 *)(from + dim), up);
#pragma unroll
        for (int j = 0; j < 8; j++)
            gate[j] = silu(gate[j]) * up[j];
        *(uint4 *)(y + row * dim + i) = bf16x8_pack(gate);
    }
}

__global__ void silu_mul_any_kernel(bf16 *y, const bf16 *gate_up, uint32_t dim, size_t count)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    pdl_launch();
    pdl_wait();
    if (i < count) {
        const bf16 *row = gate_up + i / dim * 2 * dim + i % dim;
        y[i] = __float2bfloat16(silu(to_f32(row[0])) * to_f32(row[dim]));
    }
}

CUDA_OP cuda_silu_mul(struct device *device, struct stream *stream, void *y, const void *gate_up,
                      uint32_t rows, uint32_t dim)
{
    size_t count = (size_t)rows * dim;
    if (count == 0)
        return;
    if (dim % 8 == 0 && ((uintptr_t)y | (uintptr_t)gate_up) % 16 == 0)
        cuda_launch(device, stream, "silu_mul", silu_mul_kernel,
                    dim3(DIV_CEIL(dim / 8, THREADS), MIN(rows, 8192u)), THREADS, 0, (bf16 *)y,
                    (const bf16 *)gate_up, dim, rows);
    else
        cuda_launch(device, stream, "silu_mul", silu_mul_any_kernel,
                    (unsigned)DIV_CEIL(count, (size_t)THREADS), THREADS, 0, (bf16 *)y,
                    (const bf16 *)gate_up, dim, count);
}

/* 8 elements a thread; the last few one by one. */
__global__ void add_kernel(bf16 *x, const bf16 *y, size_t count, bool aligned)
{
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * 8;
    pdl_launch();
    pdl_wait();
    if (aligned && i + 8 <= count) {
        float sum[8], added[8];
        bf16x8_unpack(*(const uint4 *)(x + i), sum);
        bf16x8_unpack(*(const uint4 *)(y + i), added);
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum[j] += added[j];
        *(uint4 *)(x + i) = bf16x8_pack(sum);
        return;
    }
    for (size_t end = min(i + 8, count); i < end; i++)
        x[i] = __float2bfloat16(to_f32(x[i]) + to_f32(y[i]));
}

CUDA_OP cuda_add(struct device *device, struct stream *stream, void *x, const void *y, size_t count)
{
    if (count > 0)
        cuda_launch(device, stream, "add", add_kernel,
                    (unsigned)DIV_CEIL(count, (size_t)THREADS * 8), THREADS, 0, (bf16 *)x,
                    (const bf16 *)y, count, ((uintptr_t)x | (uintptr_t)y) % 16 == 0);
}

/* As add. Only models with an embedding multiplier come here, once a step. */
__global__ void scale_kernel(bf16 *x, float by, size_t count, bool aligned)
{
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * 8;
    pdl_launch();
    pdl_wait();
    if (aligned && i + 8 <= count) {
        float v[8];
        bf16x8_unpack(*(const uint4 *)(x + i), v);
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] *= by;
        *(uint4 *)(x + i) = bf16x8_pack(v);
        return;
    }
    for (size_t end = min(i + 8, count); i < end; i++)
        x[i] = __float2bfloat16(to_f32(x[i]) * by);
}

CUDA_OP cuda_scale(struct device *device, struct stream *stream, void *x, float by, size_t count)
{
    if (count > 0)
        cuda_launch(device, stream, "scale", scale_kernel,
                    (unsigned)DIV_CEIL(count, (size_t)THREADS * 8), THREADS, 0, (bf16 *)x, by,
                    count, (uintptr_t)x % 16 == 0);
}
