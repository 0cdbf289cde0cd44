/* nccl - collectives of emulated ranks, each a process, over the shared memory of kernels/cpu/comm.
 * The id that rank 0 draws is a name there. Sums are made in f32 and rounded once. */
#include <nccl.h>

#include <cuda_bf16.h>
#include <stdio.h>
#include <unistd.h>

#include <vector>

#include "emu.h"

extern "C" {
#include "kernels/cpu/comm.h"
}

struct emu_ranks {
    struct comm *comm; /* NULL: one rank */
};

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static int drawn;
    snprintf(id->internal, sizeof(id->internal), "emu-%d-%d", (int)getpid(), drawn++);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *out, int count, ncclUniqueId id, int rank)
{
    struct err err = {};
    *out = new emu_ranks();
    if (count > 1 && comm_open(id.internal, rank, count, &(*out)->comm, &err) != STATUS_OK)
        emu_die("%s", err.text);
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    comm_close(comm->comm);
    delete comm;
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *in, void *out, size_t count, ncclDataType_t, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream)
{
    emu_submit(stream, [=]() {
        struct err err = {};
        const __nv_bfloat16 *from = (const __nv_bfloat16 *)in;
        std::vector<float> wide(count);
        for (size_t i = 0; i < count; i++)
            wide[i] = __bfloat162float(from[i]);
        if (comm->comm && comm_all_reduce(comm->comm, wide.data(), count, &err) != STATUS_OK)
            emu_die("%s", err.text);
        for (size_t i = 0; i < count; i++)
            ((__nv_bfloat16 *)out)[i] = __float2bfloat16(wide[i]);
    });
    return ncclSuccess;
}

ncclResult_t ncclAllGather(const void *in, void *out, size_t count, ncclDataType_t, ncclComm_t comm,
                           cudaStream_t stream)
{
    emu_submit(stream, [=]() {
        struct err err = {};
        if (!comm->comm)
            memcpy(out, in, count * sizeof(float));
        else if (comm_all_gather(comm->comm, (float *)out, (const float *)in, 1, count, &err) !=
                 STATUS_OK)
            emu_die("%s", err.text);
    });
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t)
{
    return "an error of the emulator";
}
