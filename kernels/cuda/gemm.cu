/* gemm - matmul through cuBLASLt: what is bound by arithmetic, or by weights at 9 rows and more.
 *
 * y[m, n] = x[m, k] w[n, k]^T (+ y). cuBLASLt is column-major, so it is asked for y^T [n, m] = w x^T
 * with w transposed: leading dimensions k, k, n. Accumulation in f32; adding to y is beta = 1 with
 * C = D, one rounding. FLOP: 2 m n k.
 *
 * The library's choice for a shape is asked for once and kept in the device: m is rounded up to a
 * bucket, so that a few hundred choices serve every prompt. Descriptors live on the stack. An
 * open-addressed table, no lock: one thread at a time uses a device.
 */
#include "kernels/cuda/gemm.cuh"

#include <stdlib.h>

#define PLANS_MAX 8192u /* a power of two; a model has ~5 shapes, m ~210 buckets */

struct gemm_key {
    uint32_t n, k, bucket, kind; /* kind: bit 0 f32 output, bit 1 adds */
};

struct gemm_plan {
    struct gemm_key key; /* n 0: free */
    cublasLtMatmulAlgo_t algo;
};

struct gemm_plans {
    struct gemm_plan slots[PLANS_MAX];
    uint32_t used;
};

/* One product's descriptors, on the stack. */
struct gemm_call {
    cublasLtMatmulDescOpaque_t op;
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

struct gemm_plans *gemm_plans_new(void)
{
    return (struct gemm_plans *)calloc(1, sizeof(struct gemm_plans));
}

void gemm_plans_free(struct gemm_plans *plans)
{
    free(plans);
}

/* The library tiles m by 64 to 256 rows and its choice hangs on how the last tiles fill: with a choice
 * made for 640 rows, 528 take a quarter longer than with their own (docs/PERFORMANCE.md). */
static uint32_t bucket_of(uint32_t m)
{
    uint32_t step = m <= 1024 ? 16 : m <= 4096 ? 64 : 128;
    return DIV_CEIL(m, step) * step;
}

static bool call_init(struct gemm_call *call, const struct gemm_key *key, uint32_t m)
{
    cublasOperation_t transpose = CUBLAS_OP_T;
    cudaDataType_t type = key->kind & 1 ? CUDA_R_32F : CUDA_R_16BF;
    return cublasLtMatmulDescInit(&call->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(&call->op, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                          sizeof(transpose)) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutInit(&call->a, CUDA_R_16BF, key->k, key->n, key->k) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutInit(&call->b, CUDA_R_16BF, key->k, m, key->k) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutInit(&call->c, type, key->n, m, key->n) == CUBLAS_STATUS_SUCCESS;
}

/* Up to `most` algorithms for `m` rows, best guess first; returns how many. */
static int heuristics(struct device *device, struct gemm_call *call,
                      cublasLtMatmulHeuristicResult_t *found, int most)
{
    cublasLtMatmulPreferenceOpaque_t preference;
    size_t workspace = WORKSPACE_BYTES;
    uint32_t align = 16;
    int count = 0;
    bool ok = cublasLtMatmulPreferenceInit(&preference) == CUBLAS_STATUS_SUCCESS;
    const cublasLtMatmulPreferenceAttributes_t aligns[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    ok = ok && cublasLtMatmulPreferenceSetAttribute(
                   &preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                   sizeof(workspace)) == CUBLAS_STATUS_SUCCESS;
    for (int i = 0; i < 4 && ok; i++)
        ok = cublasLtMatmulPreferenceSetAttribute(&preference, aligns[i], &align, sizeof(align)) ==
             CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatmulAlgoGetHeuristic(device->lt, &call->op, &call->a, &call->b, &call->c,
                                              &call->c, &preference, most, found,
                                              &count) == CUBLAS_STATUS_SUCCESS;
    return ok ? count : 0;
}

static struct gemm_plan *plan_slot(struct gemm_plans *plans, const struct gemm_key *key)
{
    uint32_t hash = key->n * 2654435761u ^ key->k * 2246822519u ^ key->bucket * 3266489917u ^
                    key->kind * 668265263u;
    for (uint32_t i = (hash ^ hash >> 15) % PLANS_MAX;; i = (i + 1) % PLANS_MAX) {
        struct gemm_plan *slot = &plans->slots[i];
        if (slot->key.n == 0 || (slot->key.n == key->n && slot->key.k == key->k &&
                                 slot->key.bucket == key->bucket && slot->key.kind == key->kind))
            return slot;
    }
}

/* The kept choice; else a new one, kept while there is room. NULL: the library has none. */
static const cublasLtMatmulAlgo_t *plan_get(struct device *device, const struct gemm_key *key,
                                            cublasLtMatmulHeuristicResult_t *fresh)
{
    struct gemm_plan *slot = plan_slot(device->plans, key);
    struct gemm_call call;
    if (slot->key.n != 0)
        return &slot->algo;
    if (!call_init(&call, key, key->bucket) || heuristics(device, &call, fresh, 1) == 0)
        return NULL;
    if (device->plans->used >= PLANS_MAX / 2)
        return &fresh->algo;
    device->plans->used++;
    slot->key = *key;
    slot->algo = fresh->algo;
    return &slot->algo;
}

bool gemm(struct device *device, struct stream *stream, void *y, const void *x,
          const struct weight *w, uint32_t m, enum gemm_kind kind)
{
    struct gemm_key key = {w->n, w->k, bucket_of(m), (uint32_t)kind};
    float one = 1.0f, beta = kind == GEMM_ADD ? 1.0f : 0.0f;
    cublasLtMatmulHeuristicResult_t fresh;
    struct gemm_call call;
    const cublasLtMatmulAlgo_t *algo;
    cublasStatus_t status;

    if (w->k % 8 != 0 || w->n % 8 != 0 || (uintptr_t)x % 16 != 0 || (uintptr_t)y % 16 != 0 ||
        !call_init(&call, &key, m))
        return false;
    algo = plan_get(device, &key, &fresh);
    if (!algo)
        return false;
    status =
        cublasLtMatmul(device->lt, &call.op, &one, w->data, &call.a, x, &call.b, &beta, y, &call.c,
                       y, &call.c, algo, device->workspace, WORKSPACE_BYTES, stream->cuda);
    if (status != CUBLAS_STATUS_SUCCESS && m != key.bucket && /* a choice that m does not suit */
        heuristics(device, &call, &fresh, 1) == 1)
        status = cublasLtMatmul(device->lt, &call.op, &one, w->data, &call.a, x, &call.b, &beta, y,
                                &call.c, y, &call.c, &fresh.algo, device->workspace,
                                WORKSPACE_BYTES, stream->cuda);
    if (status != CUBLAS_STATUS_SUCCESS)
        device_fail(device, cudaErrorUnknown, "matmul (cuBLASLt)");
    return true;
}
