/* gemm_rows - the products of gemm_rows.cu: too many rows for gemv, too few for cuBLASLt. */
#ifndef MSGL_KERNELS_CUDA_GEMM_ROWS_CUH
#define MSGL_KERNELS_CUDA_GEMM_ROWS_CUH

#include "kernels/cuda/cuda_util.cuh"

enum gemm_rows_kind { ROWS_STORE, ROWS_ADD, ROWS_SILU, ROWS_F32 };

/* y = x w^T (+ bias) with the epilogue of `kind`: stored, added to y, silu(gate) * up of w's two
 * halves, f32. False, and nothing done, where this kernel does not fit or cuBLASLt is as fast. */
bool gemm_rows(struct device *device, struct stream *stream, void *y, const void *x,
               const struct weight *w, const float *bias, uint32_t m, enum gemm_rows_kind kind);

#endif
