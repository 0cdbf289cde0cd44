/* gemm - matmul through cuBLASLt: what is bound by arithmetic, or by weights at 9 rows and more.
 *
 * y[m, n] = x[m, k] w[n, k]^T (+ y). cuBLASLt is column-major, so it is asked for y^T [n, m] = w x^T
 * with w transposed: leading dimensions k, k, n. Accumulation in f32; adding to y is beta = 1 with
 * C = D, one rounding, or two where the library rounds the product first. FLOP: 2 m n k.
 *
 * The library's choice for a shape is asked for once and kept in the device (gemm_plans.cuh): m is
 * rounded up to a bucket, so that a few hundred choices serve every prompt. With device_opts.tune its
 * first eight guesses are timed on the spot, until tune_end. Descriptors live on the stack.
 */
#include "kernels/cuda/gemm.cuh"

#include <float.h>
#include <math.h>

#include "kernels/cuda/gemm_plans.cuh"

#define TUNE_GUESSES 8
#define TUNE_TURNS   4
#define TUNE_GAIN    0.98f

struct product {
    void *y;
    const void *x, *w;
    uint32_t n, k, m;
    enum gemm_kind kind;
};

/* One product's descriptors, on the stack. */
struct gemm_call {
    cublasLtMatmulDescOpaque_t op;
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

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

/* Up to `most` algorithms for `m` rows, best guess first; returns how many. Where k is no multiple of
 * its tile of 64, no sum is split along k: cuBLASLt 13.0 then loses the last tile, if the whole ones
 * fall evenly into the splits (k 25608: 400 tiles, 20 splits, and 8 columns that nobody adds). */
static int heuristics(struct device *device, struct gemm_call *call, uint32_t k,
                      cublasLtMatmulHeuristicResult_t *found, int most)
{
    cublasLtMatmulPreferenceOpaque_t preference;
    size_t workspace = WORKSPACE_BYTES;
    uint32_t align = 16, no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    int count = 0;
    bool ok = cublasLtMatmulPreferenceInit(&preference) == CUBLAS_STATUS_SUCCESS;
    const cublasLtMatmulPreferenceAttributes_t aligns[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    ok = ok && cublasLtMatmulPreferenceSetAttribute(
                   &preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                   sizeof(workspace)) == CUBLAS_STATUS_SUCCESS;
    if (ok && k % 64 != 0)
        ok = cublasLtMatmulPreferenceSetAttribute(
                 &preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_reduction,
                 sizeof(no_reduction)) == CUBLAS_STATUS_SUCCESS;
    for (int i = 0; i < 4 && ok; i++)
        ok = cublasLtMatmulPreferenceSetAttribute(&preference, aligns[i], &align, sizeof(align)) ==
             CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatmulAlgoGetHeuristic(device->lt, &call->op, &call->a, &call->b, &call->c,
                                              &call->c, &preference, most, found,
                                              &count) == CUBLAS_STATUS_SUCCESS;
    return ok ? count : 0;
}

static cublasStatus_t multiply(struct device *device, struct stream *stream,
                               const struct product *p, struct gemm_call *call,
                               const cublasLtMatmulAlgo_t *algo)
{
    float one = 1.0f, beta = p->kind == GEMM_ADD ? 1.0f : 0.0f;
    return cublasLtMatmul(device->lt, &call->op, &one, p->w, &call->a, p->x, &call->b, &beta, p->y,
                          &call->c, p->y, &call->c, algo, device->workspace, WORKSPACE_BYTES,
                          stream->cuda);
}

/* The least time of TUNE_TURNS, ms; before each the workspace is cleared, and with it the L2. */
static float time_of(struct device *device, struct stream *stream, const struct product *p,
                     struct gemm_call *call, const cublasLtMatmulAlgo_t *algo, cudaEvent_t *events)
{
    float least = FLT_MAX, ms;
    for (int turn = 0; turn < TUNE_TURNS; turn++) {
        cudaMemsetAsync(device->workspace, 0, WORKSPACE_BYTES, stream->cuda);
        cudaEventRecord(events[0], stream->cuda);
        if (multiply(device, stream, p, call, algo) != CUBLAS_STATUS_SUCCESS)
            return FLT_MAX;
        cudaEventRecord(events[1], stream->cuda);
        if (cudaEventSynchronize(events[1]) != cudaSuccess ||
            cudaEventElapsedTime(&ms, events[0], events[1]) != cudaSuccess)
            return FLT_MAX;
        least = fminf(least, ms);
    }
    return least;
}

/* The quickest of the library's first guesses, by the product itself; the first unless another is
 * TUNE_GAIN quicker. y is garbage afterwards when the product adds. */
static void measure(struct device *device, struct stream *stream, const struct product *p,
                    struct gemm_call *call, cublasLtMatmulHeuristicResult_t *found, int count)
{
    cudaEvent_t events[2];
    float best = FLT_MAX;
    int chosen = 0;
    if (cudaEventCreate(&events[0]) != cudaSuccess || cudaEventCreate(&events[1]) != cudaSuccess)
        return;
    for (int i = 0; i < count; i++) {
        float ms = time_of(device, stream, p, call, &found[i].algo, events);
        if (ms < best * (i == 0 ? 1.0f : TUNE_GAIN)) {
            best = ms;
            chosen = i;
        }
    }
    found[0] = found[chosen];
    cudaEventDestroy(events[0]);
    cudaEventDestroy(events[1]);
}

static bool capturing(struct stream *stream)
{
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(stream->cuda, &status) != cudaSuccess ||
           status != cudaStreamCaptureStatusNone;
}

/* The kept choice; else a new one, kept while there is room. False: the library has none. */
static bool plan_get(struct device *device, struct stream *stream, const struct product *p,
                     struct gemm_call *call, cublasLtMatmulAlgo_t *out)
{
    struct gemm_key key = {p->n, p->k, bucket_of(p->m), (uint32_t)p->kind};
    struct gemm_plan *plan = gemm_plans_slot(device->plans, &key);
    cublasLtMatmulHeuristicResult_t found[TUNE_GUESSES];
    bool tune = device->opts.tune && p->m == key.bucket && !capturing(stream);
    struct gemm_call bucket;
    int count;
    if (plan->key.n != 0 && !(tune && !gemm_plans_measured(device->plans, plan))) {
        *out = plan->algo;
        return true;
    }
    if (!call_init(&bucket, &key, key.bucket))
        return false;
    count = heuristics(device, &bucket, p->k, found, tune ? TUNE_GUESSES : 1);
    if (count == 0)
        return false;
    if (tune)
        measure(device, stream, p, call, found, count);
    gemm_plans_keep(device->plans, &key, &found[0].algo, tune);
    *out = found[0].algo;
    return true;
}

bool gemm(struct device *device, struct stream *stream, void *y, const void *x,
          const struct weight *w, uint32_t m, enum gemm_kind kind)
{
    struct product p = {y, x, w->data, w->n, w->k, m, kind};
    struct gemm_key key = {w->n, w->k, m, (uint32_t)kind};
    cublasLtMatmulHeuristicResult_t fresh;
    struct gemm_call call;
    cublasLtMatmulAlgo_t algo;
    cublasStatus_t status;

    if (w->k % 8 != 0 || w->n % 8 != 0 || (uintptr_t)x % 16 != 0 || (uintptr_t)y % 16 != 0 ||
        !call_init(&call, &key, m) || !plan_get(device, stream, &p, &call, &algo))
        return false;
    status = multiply(device, stream, &p, &call, &algo);
    if (status != CUBLAS_STATUS_SUCCESS && /* a choice that m does not suit */
        heuristics(device, &call, p.k, &fresh, 1) == 1)
        status = multiply(device, stream, &p, &call, &fresh.algo);
    if (status != CUBLAS_STATUS_SUCCESS)
        device_fail(device, cudaErrorUnknown, "matmul (cuBLASLt)");
    return true;
}
