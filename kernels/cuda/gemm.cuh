/* gemm - the products that cuBLASLt computes, with its choices kept in the device. */
#ifndef MSGL_KERNELS_CUDA_GEMM_CUH
#define MSGL_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/cuda_util.cuh"

enum gemm_kind { GEMM_STORE = 0, GEMM_F32 = 1, GEMM_ADD = 2 };

/* y = x w^T, as f32, or added to y. False, and nothing done, for sizes that are not multiples of 8
 * and pointers that are not of 16 bytes. */
bool gemm(struct device *device, struct stream *stream, void *y, const void *x,
          const struct weight *w, uint32_t m, enum gemm_kind kind);

#endif
