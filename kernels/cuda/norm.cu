/* norm - RMSNorm and add+RMSNorm; norms over a part of a row, and over all ranks' parts.
 *
 * y = x / sqrt(mean(x^2) + eps) * w, one block a row. The row stays in registers, UNITS times 16
 * bytes a thread, so it is read once: rows * dim * 2 * (2, with a residual 4) bytes. The weights
 * are loaded before the wait for the predecessor. Sums in f32; tolerance 1 bf16 ulp.
 */
#include "kernels/cuda/cuda_util.cuh"

#define NORM_THREADS 256

struct norm_args {
    bf16 *y, *residual; /* residual NULL: plain */
    const bf16 *x;      /* NULL: nothing is added */
    const float *w;
    uint32_t dim;
    float eps;
};

/* dim % 8 == 0, dim / 8 <= UNITS * blockDim.x */
template <int UNITS> __global__ void __launch_bounds__(512) norm_kernel(struct norm_args args)
{
    __shared__ float scratch[32];
    uint32_t units = args.dim / 8;
    size_t row = (size_t)blockIdx.x * args.dim;
    float v[UNITS][8], w[UNITS][8], sum = 0.0f, scale;

#pragma unroll
    for (int i = 0; i < UNITS; i++) {
        uint32_t u = threadIdx.x + i * blockDim.x;
        if (u < units) {
            *(float4 *)w[i] = ((const float4 *)args.w)[u * 2];
            *(float4 *)(w[i] + 4) = ((const float4 *)args.w)[u * 2 + 1];
        }
    }
    pdl_launch();
    pdl_wait();
#pragma unroll
    for (int i = 0; i < UNITS; i++) {
        uint32_t u = threadIdx.x + i * blockDim.x;
        if (u >= units)
            continue;
        if (args.residual) {
            uint4 *at = (uint4 *)(args.residual + row) + u;
            uint4 sums = *at;
            if (args.x) {
                float added[8];
                bf16x8_unpack(sums, v[i]);
                bf16x8_unpack(((const uint4 *)(args.x + row))[u], added);
#pragma unroll
                for (int j = 0; j < 8; j++)
                    v[i][j] += added[j];
                sums = bf16x8_pack(v[i]);
                *at = sums;
            }
            bf16x8_unpack(sums, v[i]);
        } else {
            bf16x8_unpack(((const uint4 *)(args.x + row))[u], v[i]);
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum += v[i][j] * v[i][j];
    }
    scale = rsqrtf(block_sum(sum, scratch) / (float)args.dim + args.eps);
#pragma unroll
    for (int i = 0; i < UNITS; i++) {
        uint32_t u = threadIdx.x + i * blockDim.x;
        if (u >= units)
            continue;
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[i][j] = v[i][j] * scale * w[i][j];
        ((uint4 *)(args.y + row))[u] = bf16x8_pack(v[i]);
    }
}

/* Any dim: the row is read twice. */
__global__ void norm_any_kernel(struct norm_args args)
{
    __shared__ float scratch[32];
    size_t row = (size_t)blockIdx.x * args.dim;
    const bf16 *in = args.residual ? args.residual : args.x;
    float sum = 0.0f, scale;

    pdl_launch();
    pdl_wait();
    for (uint32_t i = threadIdx.x; i < args.dim; i += NORM_THREADS) {
        if (args.residual && args.x)
            args.residual[row + i] =
                __float2bfloat16(to_f32(args.residual[row + i]) + to_f32(args.x[row + i]));
        float value = to_f32(in[row + i]);
        sum += value * value;
    }
    scale = rsqrtf(block_sum(sum, scratch) / (float)args.dim + args.eps);
    for (uint32_t i = threadIdx.x; i < args.dim; i += NORM_THREADS)
        args.y[row + i] = __float2bfloat16(to_f32(in[row + i]) * scale * args.w[i]);
}

/* The first dim of each row of `stride`, in place: a thread rewrites what it read itself. */
__global__ void norm_part_kernel(bf16 *x, const float *w, uint32_t stride, uint32_t dim, float eps)
{
    __shared__ float scratch[32];
    bf16 *row = x + (size_t)blockIdx.x * stride;
    float sum = 0.0f, scale;

    pdl_launch();
    pdl_wait();
    for (uint32_t i = threadIdx.x; i < dim; i += NORM_THREADS)
        sum += to_f32(row[i]) * to_f32(row[i]);
    scale = rsqrtf(block_sum(sum, scratch) / (float)dim + eps);
    for (uint32_t i = threadIdx.x; i < dim; i += NORM_THREADS)
        row[i] = __float2bfloat16(to_f32(row[i]) * scale * w[i]);
}

/* Sums of squares of a row's q and k. */
__global__ void qk_sums_kernel(float *sums, struct wide_norm_args args)
{
    __shared__ float scratch[32];
    const bf16 *row = (const bf16 *)args.qkv + (size_t)blockIdx.x * args.stride;
    float q = 0.0f, k = 0.0f;

    pdl_launch();
    pdl_wait();
    for (uint32_t i = threadIdx.x; i < args.q_dim; i += NORM_THREADS)
        q += to_f32(row[i]) * to_f32(row[i]);
    for (uint32_t i = threadIdx.x; i < args.k_dim && args.k_counts; i += NORM_THREADS)
        k += to_f32(row[args.q_dim + i]) * to_f32(row[args.q_dim + i]);
    q = block_sum(q, scratch);
    k = block_sum(k, scratch);
    if (threadIdx.x == 0) {
        sums[2 * (size_t)blockIdx.x] = q;
        sums[2 * (size_t)blockIdx.x + 1] = k;
    }
}

/* Each thread adds the parts' sums in their order. */
__global__ void qk_norm_kernel(const float *sums, uint32_t parts, struct wide_norm_args args)
{
    bf16 *row = (bf16 *)args.qkv + (size_t)blockIdx.x * args.stride;
    float q = 0.0f, k = 0.0f;

    pdl_launch();
    pdl_wait();
    sums += 2 * (size_t)blockIdx.x * parts;
    for (uint32_t i = 0; i < parts; i++) {
        q += sums[2 * i];
        k += sums[2 * i + 1];
    }
    q = rsqrtf(q / (float)args.q_width + args.eps);
    k = rsqrtf(k / (float)args.k_width + args.eps);
    for (uint32_t i = threadIdx.x; i < args.q_dim + args.k_dim; i += NORM_THREADS) {
        float w = i < args.q_dim ? args.q_norm[i] : args.k_norm[i - args.q_dim];
        row[i] = __float2bfloat16(to_f32(row[i]) * (i < args.q_dim ? q : k) * w);
    }
}

static void norm(struct device *device, struct stream *stream, const struct norm_args *args,
                 uint32_t rows, const char *name)
{
    uint32_t units = args->dim / 8;
    uintptr_t all =
        (uintptr_t)args->y | (uintptr_t)args->residual | (uintptr_t)args->x | (uintptr_t)args->w;
    if (rows == 0)
        return;
    if (args->dim % 8 != 0 || units > 2048 || all % 16 != 0)
        cuda_launch(device, stream, name, norm_any_kernel, rows, NORM_THREADS, 0, *args);
    else if (units <= 256)
        cuda_launch(device, stream, name, norm_kernel<1>, rows, ROUND_UP(units, 32u), 0, *args);
    else if (units <= 1024)
        cuda_launch(device, stream, name, norm_kernel<2>, rows, ROUND_UP(DIV_CEIL(units, 2), 32u),
                    0, *args);
    else
        cuda_launch(device, stream, name, norm_kernel<4>, rows, 512, 0, *args);
}

CUDA_OP cuda_rmsnorm(struct device *device, struct stream *stream, void *y, const void *x,
                     const float *w, uint32_t rows, uint32_t dim, float eps)
{
    struct norm_args args = {(bf16 *)y, NULL, (const bf16 *)x, w, dim, eps};
    norm(device, stream, &args, rows, "rmsnorm");
}

CUDA_OP cuda_add_rmsnorm(struct device *device, struct stream *stream, void *y, void *residual,
                         const void *x, const float *w, uint32_t rows, uint32_t dim, float eps)
{
    struct norm_args args = {(bf16 *)y, (bf16 *)residual, (const bf16 *)x, w, dim, eps};
    norm(device, stream, &args, rows, "add_rmsnorm");
}

CUDA_OP cuda_norm_part(struct device *device, struct stream *stream, void *x, const float *w,
                       uint32_t rows, uint32_t stride, uint32_t dim, float eps)
{
    if (rows > 0)
        cuda_launch(device, stream, "norm_part", norm_part_kernel, rows, NORM_THREADS, 0, (bf16 *)x,
                    w, stride, dim, eps);
}

CUDA_OP cuda_qk_sums(struct device *device, struct stream *stream, float *sums,
                     const struct wide_norm_args *args)
{
    if (args->rows > 0)
        cuda_launch(device, stream, "qk_sums", qk_sums_kernel, args->rows, NORM_THREADS, 0, sums,
                    *args);
}

CUDA_OP cuda_qk_norm_by_sums(struct device *device, struct stream *stream, const float *sums,
                             uint32_t parts, const struct wide_norm_args *args)
{
    if (args->rows > 0)
        cuda_launch(device, stream, "qk_norm_by_sums", qk_norm_kernel, args->rows, NORM_THREADS, 0,
                    sums, parts, *args);
}
