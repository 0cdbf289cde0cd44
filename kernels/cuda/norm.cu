/* norm - RMSNorm and add+RMSNorm.
 *
 * y = x / sqrt(mean(x^2) + eps) * w, one block a row, 8 bf16 (16 bytes) a thread and round when
 * dim % 8 == 0. Bytes: rows * dim * 2 * (2 to 4). Sums in f32; tolerance 1 bf16 ulp.
 */
#include "kernels/cuda/cuda_util.cuh"

#define NORM_THREADS 256

template <bool ADD>
__global__ void norm_kernel(bf16 *y, bf16 *residual, const bf16 *x, const float *w, uint32_t dim,
                            float eps)
{
    __shared__ float scratch[32];
    size_t row = (size_t)blockIdx.x * dim;
    float sum = 0.0f, scale;

    for (uint32_t i = threadIdx.x; i < dim; i += NORM_THREADS) {
        float value;
        if (ADD) {
            value = to_f32(residual[row + i]);
            if (x) {
                bf16 added = __float2bfloat16(value + to_f32(x[row + i]));
                residual[row + i] = added;
                value = to_f32(added);
            }
        } else {
            value = to_f32(x[row + i]);
        }
        sum += value * value;
    }
    scale = rsqrtf(block_sum(sum, scratch) / (float)dim + eps);
    for (uint32_t i = threadIdx.x; i < dim; i += NORM_THREADS) {
        float value = to_f32(ADD ? residual[row + i] : x[row + i]);
        y[row + i] = __float2bfloat16(value * scale * w[i]);
    }
}

CUDA_OP cuda_rmsnorm(struct device *device, struct stream *stream, void *y, const void *x,
                     const float *w, uint32_t rows, uint32_t dim, float eps)
{
    if (rows == 0)
        return;
    norm_kernel<false><<<rows, NORM_THREADS, 0, stream->cuda>>>((bf16 *)y, NULL, (const bf16 *)x,
                                                                w, dim, eps);
    LAUNCHED(device, "rmsnorm");
}

CUDA_OP cuda_add_rmsnorm(struct device *device, struct stream *stream, void *y, void *residual,
                         const void *x, const float *w, uint32_t rows, uint32_t dim, float eps)
{
    if (rows == 0)
        return;
    norm_kernel<true><<<rows, NORM_THREADS, 0, stream->cuda>>>(
        (bf16 *)y, (bf16 *)residual, (const bf16 *)x, w, dim, eps);
    LAUNCHED(device, "add_rmsnorm");
}
