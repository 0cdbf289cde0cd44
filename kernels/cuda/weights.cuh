/* weights - what loading keeps between matrices. */
#ifndef MSGL_KERNELS_CUDA_WEIGHTS_CUH
#define MSGL_KERNELS_CUDA_WEIGHTS_CUH

#include "kernels/cuda/cuda_util.cuh"

struct uploader;
void uploader_free(struct uploader *uploader); /* NULL is fine */

#endif
