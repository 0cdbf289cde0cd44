/* comm - the ranks of a tensor-parallel worker, one GPU each, over NCCL.
 *
 *     rank 0   ncclGetUniqueId ─► 128 bytes, through the shared memory of kernels/cpu/comm ─► all ranks
 *     all      ncclCommInitRank: blocks until everybody is there
 *
 * The library is loaded where there are ranks: a worker with one GPU starts without it. Collectives
 * go on the op's stream, so that a graph may hold them; a kernel of NCCL's takes no part in dependent
 * launch, it starts when all before it has ended, and what comes behind waits for its end.
 *
 * all_reduce sums in bf16, in NCCL's order: the same bits on every rank and every time. all_gather:
 * of one row, NCCL puts everything where it belongs; of several it leaves
 *
 *     [rank][rows][cols]   in cuBLASLt's workspace, which is free between products, and a kernel
 *     [rows][rank][cols]   writes that to `out`: 12 bytes moved for each 4; as many rows a time as fit
 */
#include "kernels/cuda/comm.cuh"

#define THREADS 256

#ifdef MSGL_HAVE_NCCL
#include <dlfcn.h>
#include <nccl.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "kernels/cpu/comm.h"
}

#define ID_FLOATS (NCCL_UNIQUE_ID_BYTES / sizeof(float))

struct ranks {
    ncclComm_t comm;
    int tp;
    decltype(&ncclGetUniqueId) unique_id;
    decltype(&ncclCommInitRank) init;
    decltype(&ncclCommDestroy) destroy;
    decltype(&ncclAllReduce) all_reduce;
    decltype(&ncclAllGather) all_gather;
    decltype(&ncclGetErrorString) error_string;
};

#ifdef MSGL_NCCL_LINKED /* tests: tests/kernels/emu/nccl.cpp */
static enum status load(struct ranks *ranks, struct err *err)
{
    (void)err;
    ranks->unique_id = ncclGetUniqueId;
    ranks->init = ncclCommInitRank;
    ranks->destroy = ncclCommDestroy;
    ranks->all_reduce = ncclAllReduce;
    ranks->all_gather = ncclAllGather;
    ranks->error_string = ncclGetErrorString;
    return STATUS_OK;
}
#else
static enum status load(struct ranks *ranks, struct err *err)
{
    const struct {
        const char *name;
        void **to;
    } functions[] = {{"ncclGetUniqueId", (void **)&ranks->unique_id},
                     {"ncclCommInitRank", (void **)&ranks->init},
                     {"ncclCommDestroy", (void **)&ranks->destroy},
                     {"ncclAllReduce", (void **)&ranks->all_reduce},
                     {"ncclAllGather", (void **)&ranks->all_gather},
                     {"ncclGetErrorString", (void **)&ranks->error_string}};
    /* Never closed: NCCL has threads of its own. */
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(err, STATUS_UNSUPPORTED,
                       "several ranks need NCCL (package libnccl2), which cannot be loaded: %s",
                       dlerror());
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        *functions[i].to = dlsym(library, functions[i].name);
        if (!*functions[i].to)
            return err_set(err, STATUS_UNSUPPORTED, "this NCCL has no %s", functions[i].name);
    }
    return STATUS_OK;
}
#endif

/* Rank 0's id to all; the name is free again afterwards. */
static enum status share_id(const struct device_opts *opts, ncclUniqueId *id, struct err *err)
{
    struct comm *comm = NULL;
    float *all = (float *)calloc((size_t)opts->tp, sizeof(*id)), mine[ID_FLOATS];
    enum status status;
    CHECK(all);
    memcpy(mine, id, sizeof(*id));
    status = comm_open(opts->comm, opts->rank, opts->tp, &comm, err);
    if (status == STATUS_OK)
        status = comm_all_gather(comm, all, mine, 1, ID_FLOATS, err);
    memcpy(id, all, sizeof(*id));
    comm_close(comm);
    free(all);
    return status;
}

enum status ranks_open(const struct device_opts *opts, struct ranks **out, struct err *err)
{
    struct ranks *ranks = (struct ranks *)calloc(1, sizeof(*ranks));
    enum status status;
    ncclResult_t result = ncclSuccess;
    ncclUniqueId id = {};

    CHECK(ranks);
    ranks->tp = opts->tp;
    status = load(ranks, err);
    if (status == STATUS_OK && opts->rank == 0)
        result = ranks->unique_id(&id);
    if (status == STATUS_OK && opts->tp > 1) /* also after an error: the others wait */
        status = share_id(opts, &id, err);
    if (status == STATUS_OK && result == ncclSuccess)
        result = ranks->init(&ranks->comm, opts->tp, id, opts->rank);
    if (status == STATUS_OK && result != ncclSuccess)
        status = err_set(err, STATUS_INTERNAL, "NCCL: rank %d of %d does not start: %s", opts->rank,
                         opts->tp, ranks->error_string(result));
    if (status == STATUS_OK)
        *out = ranks;
    else
        free(ranks);
    return status;
}

void ranks_close(struct ranks *ranks)
{
    if (ranks)
        ranks->destroy(ranks->comm);
    free(ranks);
}

static void note(struct device *device, ncclResult_t result, const char *what)
{
    if (result != ncclSuccess)
        device_fail(device, cudaErrorUnknown, what);
}

static int rank_count(const struct device *device)
{
    return device->ranks->tp;
}

static void nccl_reduce(struct device *device, struct stream *stream, void *act, size_t count)
{
    note(device,
         device->ranks->all_reduce(act, act, count, ncclBfloat16, ncclSum, device->ranks->comm,
                                   stream->cuda),
         "all_reduce (NCCL)");
}

static void nccl_gather(struct device *device, struct stream *stream, float *out, const float *in,
                        size_t count)
{
    note(device,
         device->ranks->all_gather(in, out, count, ncclFloat32, device->ranks->comm, stream->cuda),
         "all_gather (NCCL)");
}

#else
enum status ranks_open(const struct device_opts *opts, struct ranks **out, struct err *err)
{
    (void)opts, (void)out;
    return err_set(err, STATUS_UNSUPPORTED,
                   "several ranks need NCCL, which this build was made without: install "
                   "libnccl-dev and build again, or use --tp 1");
}

void ranks_close(struct ranks *ranks)
{
    (void)ranks;
}

static int rank_count(const struct device *device)
{
    (void)device;
    return 1;
}

static void nccl_reduce(struct device *device, struct stream *stream, void *act, size_t count)
{
    (void)device, (void)stream, (void)act, (void)count;
}

static void nccl_gather(struct device *device, struct stream *stream, float *out, const float *in,
                        size_t count)
{
    (void)device, (void)stream, (void)out, (void)in, (void)count;
}
#endif

/* out[row][rank][col] = parts[rank][row][col] */
__global__ void side_by_side_kernel(float *out, const float *parts, uint32_t rows, uint32_t cols,
                                    uint32_t tp)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x, wide = (size_t)tp * cols;
    pdl_launch();
    pdl_wait();
    if (i >= rows * wide)
        return;
    size_t row = i / wide, rank = i % wide / cols;
    out[i] = parts[(rank * rows + row) * cols + i % cols];
}

CUDA_OP cuda_all_reduce(struct device *device, struct stream *stream, void *act, size_t count)
{
    if (device->ranks && count > 0)
        nccl_reduce(device, stream, act, count);
}

CUDA_OP cuda_all_gather(struct device *device, struct stream *stream, float *out, const float *in,
                        uint32_t rows, uint32_t cols)
{
    size_t bytes = (size_t)rows * cols * sizeof(float);
    if (!device->ranks) {
        if (out != in)
            CUDA_NOTE(device,
                      cudaMemcpyAsync(out, in, bytes, cudaMemcpyDeviceToDevice, stream->cuda));
        return;
    }
    uint32_t tp = (uint32_t)rank_count(device);
    size_t wide = (size_t)tp * cols, most = WORKSPACE_BYTES / sizeof(float) / MAX(wide, (size_t)1);
    float *parts = (float *)device->workspace;
    for (uint32_t row = 0, count; row < rows && cols > 0; row += count) {
        float *to = out + row * wide;
        count = (uint32_t)MIN(MAX(most, (size_t)1), (size_t)(rows - row));
        nccl_gather(device, stream, count == 1 ? to : parts, in + (size_t)row * cols,
                    (size_t)count * cols);
        if (count > 1)
            cuda_launch(device, stream, "all_gather", side_by_side_kernel,
                        (unsigned)DIV_CEIL(count * wide, (size_t)THREADS), THREADS, 0, to,
                        (const float *)parts, count, cols, tp);
    }
}
