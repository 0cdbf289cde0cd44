/* matmul - the matrix ops of the table: who computes what.
 *
 *     rows 1..8, k % 8 == 0, sm_90    gemv.cu: the weights' bytes decide; all fused
 *     9 to 64 (128) rows, sm_90a      gemm_rows.cu: the shapes where it is quicker; silu fused
 *     otherwise, n and k % 8 == 0     gemm.cu: cuBLASLt, norm and silu as their own kernels
 *     odd sizes                       plain_kernel: right, not fast; no real model comes here
 */
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/gemm_rows.cuh"
#include "kernels/cuda/gemv.cuh"

#define THREADS 256

/* One warp an element of y; lanes take k in turn. */
template <typename Y, bool ADD>
__global__ void plain_kernel(Y *y, const bf16 *x, const bf16 *w, const float *bias, uint32_t n,
                             uint32_t k, size_t count)
{
    size_t at = ((size_t)blockIdx.x * THREADS + threadIdx.x) / 32;
    float sum = 0.0f;
    pdl_launch();
    pdl_wait();
    if (at >= count)
        return;
    const bf16 *xr = x + at / n * k, *wr = w + at % n * k;
    for (uint32_t i = threadIdx.x % 32; i < k; i += 32)
        sum += to_f32(xr[i]) * to_f32(wr[i]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 != 0)
        return;
    if (bias)
        sum += bias[at % n];
    if (ADD)
        sum += to_f32(y[at]);
    y[at] = (Y)sum;
}

__global__ void bias_kernel(bf16 *y, const float *bias, uint32_t n, size_t count)
{
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * 8;
    pdl_launch();
    pdl_wait();
    if (i >= count)
        return;
    uint4 *at = (uint4 *)(y + i);
    const float *b = bias + i % n; /* n % 8 == 0 */
    float f[8];
    bf16x8_unpack(*at, f);
    for (int j = 0; j < 8; j++)
        f[j] += b[j];
    *at = bf16x8_pack(f);
}

static void plain(struct device *device, struct stream *stream, void *y, const void *x,
                  const struct weight *w, const float *bias, uint32_t m, enum gemm_kind kind)
{
    size_t count = (size_t)m * w->n;
    unsigned blocks = (unsigned)DIV_CEIL(count * 32, (size_t)THREADS);
    const bf16 *xb = (const bf16 *)x, *wb = (const bf16 *)w->data;
    if (kind == GEMM_F32)
        cuda_launch(device, stream, "matmul_f32", plain_kernel<float, false>, blocks, THREADS, 0,
                    (float *)y, xb, wb, bias, w->n, w->k, count);
    else if (kind == GEMM_ADD)
        cuda_launch(device, stream, "matmul_add", plain_kernel<bf16, true>, blocks, THREADS, 0,
                    (bf16 *)y, xb, wb, bias, w->n, w->k, count);
    else
        cuda_launch(device, stream, "matmul", plain_kernel<bf16, false>, blocks, THREADS, 0,
                    (bf16 *)y, xb, wb, bias, w->n, w->k, count);
}

/* More than 8 rows, or what gemv does not take. */
static void large(struct device *device, struct stream *stream, void *y, const void *x,
                  const struct weight *w, const float *bias, uint32_t m, enum gemm_kind kind)
{
    static const enum gemm_rows_kind rows_kinds[] = {ROWS_STORE, ROWS_F32, ROWS_ADD};
    size_t count = (size_t)m * w->n;
    if (gemm_rows(device, stream, y, x, w, bias, m, rows_kinds[kind]))
        return;
    if (!gemm(device, stream, y, x, w, m, kind)) {
        plain(device, stream, y, x, w, bias, m, kind);
        return;
    }
    if (bias)
        cuda_launch(device, stream, "matmul bias", bias_kernel,
                    (unsigned)DIV_CEIL(count / 8, (size_t)THREADS), THREADS, 0, (bf16 *)y, bias,
                    w->n, count);
}

CUDA_OP cuda_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                    const struct weight *w, const float *bias, uint32_t m)
{
    if (m == 0 || gemv_matmul(device, stream, y, x, NULL, w, bias, m, GEMV_STORE))
        return;
    large(device, stream, y, x, w, bias, m, GEMM_STORE);
}

CUDA_OP cuda_matmul_f32(struct device *device, struct stream *stream, float *y, const void *x,
                        const struct weight *w, uint32_t m)
{
    if (m == 0 || gemv_matmul(device, stream, y, x, NULL, w, NULL, m, GEMV_F32))
        return;
    large(device, stream, y, x, w, NULL, m, GEMM_F32);
}

CUDA_OP cuda_norm_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                         const struct norm *norm, const struct weight *w, const float *bias,
                         uint32_t m, void *scratch)
{
    if (m == 0 || gemv_matmul(device, stream, y, x, norm, w, bias, m, GEMV_STORE))
        return;
    cuda_rmsnorm(device, stream, scratch, x, norm->w, m, w->k, norm->eps);
    large(device, stream, y, scratch, w, bias, m, GEMM_STORE);
}

CUDA_OP cuda_norm_gate_up_silu(struct device *device, struct stream *stream, void *y, const void *x,
                               const struct norm *norm, const struct weight *w, const float *bias,
                               uint32_t m, void *scratch)
{
    bf16 *normed = (bf16 *)scratch, *gate_up = normed + (size_t)m * w->k;
    if (m == 0 || gemv_matmul(device, stream, y, x, norm, w, bias, m, GEMV_SILU))
        return;
    cuda_rmsnorm(device, stream, normed, x, norm->w, m, w->k, norm->eps);
    if (gemm_rows(device, stream, y, normed, w, bias, m, ROWS_SILU))
        return;
    large(device, stream, gate_up, normed, w, bias, m, GEMM_STORE);
    cuda_silu_mul(device, stream, y, gate_up, m, w->n / 2);
}

CUDA_OP cuda_matmul_add(struct device *device, struct stream *stream, void *x, const void *a,
                        const struct weight *w, const float *bias, uint32_t m, void *scratch)
{
    (void)scratch; /* the sum is made where x lies */
    if (m == 0 || gemv_matmul(device, stream, x, a, NULL, w, bias, m, GEMV_ADD))
        return;
    large(device, stream, x, a, w, bias, m, GEMM_ADD);
}
