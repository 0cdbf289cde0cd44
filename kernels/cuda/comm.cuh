/* comm - the ranks of a tensor-parallel worker; see comm.cu. */
#ifndef MSGL_KERNELS_CUDA_COMM_CUH
#define MSGL_KERNELS_CUDA_COMM_CUH

#include "kernels/cuda/cuda_util.cuh"

/* Meets the other ranks, each with its device set. UNSUPPORTED: no NCCL in this build, or here. */
enum status ranks_open(const struct device_opts *opts, struct ranks **out, struct err *err);
void ranks_close(struct ranks *ranks); /* NULL is nothing */

#endif
