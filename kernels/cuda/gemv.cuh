/* gemv - the small-batch products of gemv.cu. */
#ifndef MSGL_KERNELS_CUDA_GEMV_CUH
#define MSGL_KERNELS_CUDA_GEMV_CUH

#include "kernels/cuda/cuda_util.cuh"

#define GEMV_ROWS_MAX 8

enum gemv_kind { GEMV_STORE, GEMV_ADD, GEMV_SILU, GEMV_F32 };

/* y = x w^T with the epilogue of `kind`, norm (or NULL) first. False, and nothing done, where this
 * kernel does not fit: more than 8 rows, odd sizes, an older device. */
bool gemv_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                 const struct norm *norm, const struct weight *w, const float *bias, uint32_t m,
                 enum gemv_kind kind);

#endif
