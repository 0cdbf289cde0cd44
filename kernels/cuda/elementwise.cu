/* elementwise - page table, token resolution, embedding, silu-mul, row gather.
 *
 * One thread an element (embedding and gather: one block a row). Bound by bytes; no shared memory.
 */
#include "kernels/cuda/cuda_util.cuh"

#define THREADS 256

__global__ void page_table_kernel(uint32_t *table, uint32_t pages_per_slot,
                                  const struct page_set *deltas, uint32_t count)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count && deltas[i].slot != SLOT_NONE)
        table[(size_t)deltas[i].slot * pages_per_slot + deltas[i].idx] = deltas[i].page;
}

CUDA_OP cuda_page_table_set(struct device *device, struct stream *stream, uint32_t *page_table,
                            uint32_t pages_per_slot, const struct page_set *deltas, uint32_t count)
{
    if (count == 0)
        return;
    page_table_kernel<<<DIV_CEIL(count, THREADS), THREADS, 0, stream->cuda>>>(
        page_table, pages_per_slot, deltas, count);
    LAUNCHED(device, "page_table_set");
}

__global__ void resolve_kernel(uint32_t *ids, const uint32_t *tokens, const uint32_t *slots,
                               const uint32_t *last, uint32_t count)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        ids[i] = tokens[i] == UINT32_MAX ? last[slots[i]] : tokens[i];
}

CUDA_OP cuda_resolve_tokens(struct device *device, struct stream *stream, uint32_t *ids,
                            const uint32_t *tokens, const uint32_t *token_slots,
                            const uint32_t *last_tokens, uint32_t count)
{
    if (count == 0)
        return;
    resolve_kernel<<<DIV_CEIL(count, THREADS), THREADS, 0, stream->cuda>>>(
        ids, tokens, token_slots, last_tokens, count);
    LAUNCHED(device, "resolve_tokens");
}

__global__ void embed_kernel(bf16 *x, const bf16 *table, const uint32_t *ids, uint32_t vocab_first,
                             uint32_t vocab, uint32_t dim)
{
    uint32_t id = ids[blockIdx.x] - vocab_first; /* wraps when below: then >= vocab */
    for (uint32_t i = threadIdx.x; i < dim; i += THREADS)
        x[(size_t)blockIdx.x * dim + i] =
            id < vocab ? table[(size_t)id * dim + i] : __float2bfloat16(0.0f);
}

CUDA_OP cuda_embed(struct device *device, struct stream *stream, void *x,
                   const struct weight *table, const uint32_t *ids, uint32_t vocab_first,
                   uint32_t count)
{
    if (count == 0)
        return;
    embed_kernel<<<count, THREADS, 0, stream->cuda>>>((bf16 *)x, (const bf16 *)table->data, ids,
                                                      vocab_first, table->n, table->k);
    LAUNCHED(device, "embed");
}

__global__ void silu_mul_kernel(bf16 *y, const bf16 *gate_up, uint32_t dim, size_t count)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) {
        size_t row = i / dim, col = i % dim;
        float gate = to_f32(gate_up[row * 2 * dim + col]);
        float up = to_f32(gate_up[row * 2 * dim + dim + col]);
        y[i] = __float2bfloat16(gate / (1.0f + __expf(-gate)) * up);
    }
}

CUDA_OP cuda_silu_mul(struct device *device, struct stream *stream, void *y, const void *gate_up,
                      uint32_t rows, uint32_t dim)
{
    size_t count = (size_t)rows * dim;
    if (count == 0)
        return;
    silu_mul_kernel<<<(unsigned)DIV_CEIL(count, (size_t)THREADS), THREADS, 0, stream->cuda>>>(
        (bf16 *)y, (const bf16 *)gate_up, dim, count);
    LAUNCHED(device, "silu_mul");
}

__global__ void gather_kernel(bf16 *y, const bf16 *x, const uint32_t *idx, uint32_t dim)
{
    size_t from = (size_t)idx[blockIdx.x] * dim, to = (size_t)blockIdx.x * dim;
    for (uint32_t i = threadIdx.x; i < dim; i += THREADS)
        y[to + i] = x[from + i];
}

CUDA_OP cuda_gather_rows(struct device *device, struct stream *stream, void *y, const void *x,
                         const uint32_t *idx, uint32_t count, uint32_t dim)
{
    if (count == 0)
        return;
    gather_kernel<<<count, THREADS, 0, stream->cuda>>>((bf16 *)y, (const bf16 *)x, idx, dim);
    LAUNCHED(device, "gather_rows");
}

__global__ void add_kernel(bf16 *x, const bf16 *y, size_t count)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        x[i] = __float2bfloat16(to_f32(x[i]) + to_f32(y[i]));
}

CUDA_OP cuda_add(struct device *device, struct stream *stream, void *x, const void *y, size_t count)
{
    if (count == 0)
        return;
    add_kernel<<<(unsigned)DIV_CEIL(count, (size_t)THREADS), THREADS, 0, stream->cuda>>>(
        (bf16 *)x, (const bf16 *)y, count);
    LAUNCHED(device, "add");
}
