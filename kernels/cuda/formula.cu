/* formula - made-up weights, made where they are used: 14B parameters in some tens of milliseconds.
 *
 * One thread a run of 8 columns of a row, grid-stride; splitmix64 jumps to any index, so threads need
 * nothing of one another. Bound by 64-bit integer maths. The formula is in kernels/ops.h; f32 in the
 * same roundings as the cpu backend's, so both have the same bits.
 */
#include "kernels/cuda/cuda_util.cuh"

#define THREADS 256
#define RUN     8
#define GOLDEN  0x9e3779b97f4a7c15ull

__global__ void formula_kernel(bf16 *out, struct formula_part part, uint32_t k)
{
    uint64_t runs = (k + RUN - 1) / RUN, total = part.row_count * runs;
    pdl_wait();
    for (uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x; i < total;
         i += (uint64_t)gridDim.x * THREADS) {
        uint64_t row = i / runs, col = i % runs * RUN;
        uint64_t at = (part.row_first + row) * part.stride + part.col_first + col;
        uint64_t state = part.seed + at * GOLDEN;
        for (uint64_t end = min(col + RUN, (uint64_t)k); col < end; col++) {
            uint64_t z = state += GOLDEN;
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
            z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
            z ^= z >> 31;
            float u = __fadd_rn(__fmul_rn((float)(uint32_t)(z >> 40), 0x1p-23f), -1.0f);
            out[row * k + col] = __float2bfloat16_rn(__fmul_rn(u, part.scale));
        }
    }
}

extern "C" enum status cuda_weight_formula(struct device *device, const struct formula_part *parts,
                                           uint32_t part_count, uint32_t k, struct weight *out,
                                           struct err *err)
{
    uint64_t rows = 0;
    struct stream stream = {0}; /* the default one */
    enum status status;
    for (uint32_t i = 0; i < part_count; i++)
        rows += parts[i].row_count + parts[i].zero_rows;
    memset(out, 0, sizeof(*out));
    out->dtype = DTYPE_BF16;
    out->n = (uint32_t)rows;
    out->k = k;
    status = cuda_ops.alloc(device, rows * k * sizeof(bf16), &out->data, err); /* zeroed */
    if (status != STATUS_OK)
        return status;
    bf16 *at = (bf16 *)out->data;
    for (uint32_t i = 0; i < part_count; i++) {
        uint64_t runs = parts[i].row_count * ((k + RUN - 1) / RUN);
        uint64_t blocks = (runs + THREADS - 1) / THREADS;
        if (runs > 0)
            cuda_launch(device, &stream, "weight_formula", formula_kernel,
                        (unsigned)MIN(blocks, (uint64_t)8192), THREADS, 0, at, parts[i], k);
        at += (parts[i].row_count + parts[i].zero_rows) * k;
    }
    device_fail(device, cudaStreamSynchronize(0), "weight_formula");
    return STATUS_OK;
}
