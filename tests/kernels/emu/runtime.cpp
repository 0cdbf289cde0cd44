/* runtime - the host's side of CUDA for the emulator: memory is malloc's, streams run each call at
 * once, a graph is a list of calls. Memory starts as 0xff, so that what nobody wrote shows. */
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <stdlib.h>
#include <time.h>

#include <vector>

#define POISON_MAX ((size_t)16 << 20) /* larger ones are left as the system gives them */

struct emu_graph {
    std::vector<std::function<void()>> calls;
};
struct emu_stream {
    struct emu_graph *recording; /* NULL: calls run */
};
struct emu_event {
    struct timespec at;
};

cudaError_t emu_submit(cudaStream_t stream, const std::function<void()> &work)
{
    if (stream && stream->recording)
        stream->recording->calls.push_back(work);
    else
        work();
    return cudaSuccess;
}

cudaError_t emu_launch(const cudaLaunchConfig_t *config, const char *name,
                       const std::function<void()> &thread)
{
    const dim3 &g = config->gridDim, &b = config->blockDim;
    struct emu_grid grid = {
        {g.x, g.y, g.z}, {b.x, b.y, b.z}, 1, config->dynamicSmemBytes, name, false};
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == cudaLaunchAttributeClusterDimension)
            grid.cluster = config->attrs[i].val.clusterDim.x;
        else
            grid.pdl = config->attrs[i].val.programmaticStreamSerializationAllowed;
    if (g.x == 0 || g.y == 0 || g.z == 0 || g.y > 65535 || g.z > 65535 || b.x * b.y * b.z > 1024)
        return cudaErrorInvalidValue;
    return emu_submit(config->stream, [=]() { emu_run(&grid, thread); });
}

/* ---- the device ---- */
cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t)
{
    return "an error of the emulator";
}
cudaError_t cudaDriverGetVersion(int *version)
{
    return *version = 13000, cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version)
{
    return *version = 13000, cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count)
{
    return *count = 1, cudaSuccess;
}
cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

/* Few multiprocessors: persistent kernels go round their loops. MSGL_EMU_SMS: so many, for work that
 * is cut finer the more there are. */
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int)
{
    const char *sms = getenv("MSGL_EMU_SMS");
    *prop = {"emulated, sm_90a", 9, 0, sms ? atoi(sms) : 3, EMU_SHARED_BYTES};
    return cudaSuccess;
}

/* ---- memory ---- */
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = *total_bytes = (size_t)8 << 30;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    *out = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*out && bytes <= POISON_MAX)
        memset(*out, 0xff, bytes);
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void *ptr)
{
    free(ptr);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream)
{
    return emu_submit(stream, [=]() { memset(to, byte, bytes); });
}
/* The bytes are staged and land when stream 0 is waited for, or used again: see dev_upload. */
static struct {
    std::vector<char> bytes;
    void *to;
} staged;

static void staged_land()
{
    if (staged.to)
        memcpy(staged.to, staged.bytes.data(), staged.bytes.size());
    staged.to = NULL;
}

cudaError_t cudaMemset(void *to, int byte, size_t bytes)
{
    staged_land();
    return cudaMemsetAsync(to, byte, bytes, NULL);
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind)
{
    staged_land();
    staged.bytes.assign((const char *)from, (const char *)from + bytes);
    staged.to = to;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream)
{
    return emu_submit(stream, [=]() { memcpy(to, from, bytes); });
}

/* ---- streams, events, graphs ---- */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    *out = new emu_stream();
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    return delete stream, cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (!stream)
        staged_land();
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    *out = new emu_event();
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    return delete event, cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = (float)(to->at.tv_sec - from->at.tv_sec) * 1e3f +
          (float)(to->at.tv_nsec - from->at.tv_nsec) * 1e-6f;
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    stream->recording = new emu_graph();
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    *out = stream->recording;
    stream->recording = NULL;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    *out = new emu_graph(*graph);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    return delete graph, cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    return delete graph, cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream)
{
    for (const std::function<void()> &call : graph->calls)
        emu_submit(stream, call);
    return cudaSuccess;
}

/* ---- tensor maps ---- */
static CUresult encode_tiled(CUtensorMap *map, CUtensorMapDataType, cuuint32_t rank, void *base,
                             const cuuint64_t *dims, const cuuint64_t *strides,
                             const cuuint32_t *box, const cuuint32_t *, CUtensorMapInterleave,
                             CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill)
{
    bool ok = rank >= 2 && rank <= 5 && (uintptr_t)base % 16 == 0 && box[0] * 2 <= 128;
    *map = {(const char *)base, {1, 1, 1, 1, 1}, {2}, rank, {1, 1, 1, 1, 1}};
    for (cuuint32_t i = 0; i < rank; i++) {
        map->dims[i] = dims[i];
        map->box[i] = box[i];
        ok = ok && dims[i] > 0 && box[i] > 0 && box[i] <= 256;
        if (i > 0)
            map->strides[i] = strides[i - 1];
        ok = ok && (i == 0 || strides[i - 1] % 16 == 0);
    }
    return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *, void **out, unsigned, int,
                                             cudaDriverEntryPointQueryResult *)
{
    *out = (void *)encode_tiled;
    return cudaSuccess;
}
