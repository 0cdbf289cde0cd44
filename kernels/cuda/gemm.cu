/* gemm - matmul through cuBLASLt.
 *
 * y[m, n] = x[m, k] w[n, k]^T. cuBLASLt is column-major, so it is asked for y^T [n, m] = w x^T with
 * w transposed: leading dimensions k, k, n. Accumulation in f32. FLOP: 2 m n k.
 */
#include "kernels/cuda/cuda_util.cuh"

__global__ void add_bias_kernel(bf16 *y, const float *bias, uint32_t n, size_t count)
{
    size_t i = (size_t)blockIdx.x * 256 + threadIdx.x;
    if (i < count)
        y[i] = __float2bfloat16(to_f32(y[i]) + bias[i % n]);
}

static void gemm(struct device *device, struct stream *stream, void *y, cudaDataType_t y_type,
                 const void *x, const struct weight *w, uint32_t m)
{
    cublasLtMatmulDesc_t op = NULL;
    cublasLtMatrixLayout_t a = NULL, b = NULL, c = NULL;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    cublasOperation_t transpose = CUBLAS_OP_T;
    size_t workspace = WORKSPACE_BYTES;
    float one = 1.0f, zero = 0.0f;
    int count = 0;
    bool ok;

    ok = cublasLtMatmulDescCreate(&op, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                        sizeof(transpose)) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, w->k, w->n, w->k) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, w->k, m, w->k) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutCreate(&c, y_type, w->n, m, w->n) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &workspace,
                                              sizeof(workspace)) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulAlgoGetHeuristic(device->lt, op, a, b, c, c, preference, 1, &found,
                                        &count) == CUBLAS_STATUS_SUCCESS &&
         count == 1 &&
         cublasLtMatmul(device->lt, op, &one, w->data, a, x, b, &zero, y, c, y, c, &found.algo,
                        device->workspace, workspace, stream->cuda) == CUBLAS_STATUS_SUCCESS;
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatrixLayoutDestroy(c);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatmulDescDestroy(op);
    if (!ok)
        device_fail(device, cudaErrorUnknown, "matmul (cuBLASLt)");
}

CUDA_OP cuda_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                    const struct weight *w, const float *bias, uint32_t m)
{
    size_t count = (size_t)m * w->n;
    if (m == 0)
        return;
    gemm(device, stream, y, CUDA_R_16BF, x, w, m);
    if (bias) {
        add_bias_kernel<<<(unsigned)DIV_CEIL(count, (size_t)256), 256, 0, stream->cuda>>>(
            (bf16 *)y, bias, w->n, count);
        LAUNCHED(device, "matmul bias");
    }
}

CUDA_OP cuda_matmul_f32(struct device *device, struct stream *stream, float *y, const void *x,
                        const struct weight *w, uint32_t m)
{
    if (m)
        gemm(device, stream, y, CUDA_R_32F, x, w, m);
}

CUDA_OP cuda_norm_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                         const struct norm *norm, const struct weight *w, const float *bias,
                         uint32_t m, void *scratch)
{
    cuda_rmsnorm(device, stream, scratch, x, norm->w, m, w->k, norm->eps);
    cuda_matmul(device, stream, y, scratch, w, bias, m);
}

CUDA_OP cuda_norm_gate_up_silu(struct device *device, struct stream *stream, void *y, const void *x,
                               const struct norm *norm, const struct weight *w, const float *bias,
                               uint32_t m, void *scratch)
{
    bf16 *normed = (bf16 *)scratch, *gate_up = normed + (size_t)m * w->k;
    cuda_rmsnorm(device, stream, normed, x, norm->w, m, w->k, norm->eps);
    cuda_matmul(device, stream, gate_up, normed, w, bias, m);
    cuda_silu_mul(device, stream, y, gate_up, m, w->n / 2);
}

CUDA_OP cuda_matmul_add(struct device *device, struct stream *stream, void *x, const void *a,
                        const struct weight *w, const float *bias, uint32_t m, void *scratch)
{
    cuda_matmul(device, stream, scratch, a, w, bias, m);
    cuda_add(device, stream, x, scratch, (size_t)m * w->n);
}
