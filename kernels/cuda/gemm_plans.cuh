/* gemm_plans - cuBLASLt's algorithm for each shape of product, and the file that keeps measured ones.
 *
 *   slots   │ n k bucket kind → algo │ free │ …      open addressing, by the key's hash; half of them
 *                                                     are used at most
 *   file    # msgl plans 1
 *           n k bucket kind 128 hex digits            the library says that an algorithm's bytes may be
 *                                                     kept and used again by the same version
 *
 * DIR/DEVICE-cublaslt-VERSION.plans: a choice holds for one device and one version of the library. A
 * file that does not fit is left unread, with a line in the log. No lock: one thread at a time uses a
 * device.
 */
#ifndef MSGL_KERNELS_CUDA_GEMM_PLANS_CUH
#define MSGL_KERNELS_CUDA_GEMM_PLANS_CUH

#include "kernels/cuda/cuda_util.cuh"

struct gemm_key {
    uint32_t n, k, bucket, kind; /* bucket: m rounded up; kind: bit 0 f32 output, bit 1 adds */
};

struct gemm_plan {
    struct gemm_key key; /* n 0: free */
    cublasLtMatmulAlgo_t algo;
};

struct gemm_plans;

/* Never NULL; with what DIR (NULL: none) keeps for this device and version of the library. */
struct gemm_plans *gemm_plans_new(const char *dir, const char *device_name, size_t version);
void gemm_plans_free(struct gemm_plans *plans);

/* The plan of that key, or a free one for gemm_plans_keep. */
struct gemm_plan *gemm_plans_slot(struct gemm_plans *plans, const struct gemm_key *key);
bool gemm_plans_measured(const struct gemm_plans *plans, const struct gemm_plan *plan);
/* False when the table is full. `measured`: goes into the file. */
bool gemm_plans_keep(struct gemm_plans *plans, const struct gemm_key *key,
                     const cublasLtMatmulAlgo_t *algo, bool measured);
/* Writes the file anew when something was measured since; creates DIR. */
enum status gemm_plans_save(struct gemm_plans *plans, struct err *err);

#endif
