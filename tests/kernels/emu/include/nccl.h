/* nccl - what kernels/cuda/comm.cu uses of NCCL, for emulated ranks: see ../nccl.cpp. */
#ifndef MSGL_TESTS_KERNELS_EMU_NCCL_H
#define MSGL_TESTS_KERNELS_EMU_NCCL_H

#include <cuda_runtime.h>

#define NCCL_UNIQUE_ID_BYTES 128

enum ncclResult_t { ncclSuccess, ncclSystemError };
enum ncclDataType_t { ncclFloat32, ncclBfloat16 };
enum ncclRedOp_t { ncclSum };
typedef struct emu_ranks *ncclComm_t;
struct ncclUniqueId {
    char internal[NCCL_UNIQUE_ID_BYTES];
};

ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRank(ncclComm_t *out, int count, ncclUniqueId id, int rank);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclAllReduce(const void *in, void *out, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream);
ncclResult_t ncclAllGather(const void *in, void *out, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream);
const char *ncclGetErrorString(ncclResult_t result);

#endif
