/* cuda_runtime - CUDA's words for host and device, as far as kernels/cuda uses them; see emu.h. */
#ifndef MSGL_EMU_CUDA_RUNTIME_H
#define MSGL_EMU_CUDA_RUNTIME_H

#include "tests/kernels/emu/emu.h"

#include <math.h>
#include <string.h>

#include <type_traits>

#define __CUDA_ARCH__             900
#define __CUDA_ARCH_FEAT_SM90_ALL 1

#define __global__ static
#define __device__ static
#define __host__
#define __forceinline__ inline
#define __shared__      thread_local
#define __align__(n)    __attribute__((aligned(n)))
#define __grid_constant__
#define __launch_bounds__(...)

#define EMU_SHARED_BYTES (227u << 10) /* what a block may have */

/* ---- types ---- */
#define EMU_VECTOR2(name, type)                                                                    \
    struct name {                                                                                  \
        type x, y;                                                                                 \
    };                                                                                             \
    static inline name make_##name(type x, type y)                                                 \
    {                                                                                              \
        return {x, y};                                                                             \
    }
#define EMU_VECTOR4(name, type)                                                                    \
    struct alignas(16) name {                                                                      \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name make_##name(type x, type y, type z, type w)                                 \
    {                                                                                              \
        return {x, y, z, w};                                                                       \
    }
EMU_VECTOR2(float2, float)
EMU_VECTOR2(uint2, unsigned)
EMU_VECTOR4(float4, float)
EMU_VECTOR4(uint4, unsigned)

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z)
    {
    }
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

/* ---- arithmetic ---- */
template <typename A, typename B> static inline typename std::common_type<A, B>::type min(A a, B b)
{
    typename std::common_type<A, B>::type x = a, y = b;
    return x < y ? x : y;
}
template <typename A, typename B> static inline typename std::common_type<A, B>::type max(A a, B b)
{
    typename std::common_type<A, B>::type x = a, y = b;
    return x > y ? x : y;
}
template <typename To, typename From> static inline To emu_bits(From from)
{
    To to;
    static_assert(sizeof(to) == sizeof(from), "the same bits");
    memcpy(&to, &from, sizeof(to));
    return to;
}
static inline float __uint_as_float(unsigned x)
{
    return emu_bits<float>(x);
}
static inline unsigned __float_as_uint(float x)
{
    return emu_bits<unsigned>(x);
}
#define __expf expf /* libm has that name for itself */
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

template <typename T> static inline T __ldg(const T *from)
{
    return *from;
}
template <typename T> static inline T __ldcg(const T *from)
{
    return *from;
}

/* ---- threads ---- */
static inline void __syncthreads()
{
    emu_block_meet(0, 0);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    emu_warp_meet(mask, NULL, NULL);
}
static inline void __threadfence()
{
}

struct emu_shuffle {
    uint64_t value, result;
    unsigned from; /* lane */
};
static inline void emu_shuffle_all(void **args, uint32_t lanes)
{
    for (int i = 0; i < 32; i++)
        if (lanes >> i & 1) {
            struct emu_shuffle *to = (struct emu_shuffle *)args[i];
            void *from = args[to->from % 32]; /* a lane that is not here: any value */
            to->result = from ? ((struct emu_shuffle *)from)->value : 0xfefefefefefefefeull;
        }
}
template <typename T> static inline T emu_shuffle_from(unsigned mask, T value, unsigned from)
{
    struct emu_shuffle shuffle = {0, 0, from};
    static_assert(sizeof(T) <= 8, "a register or two");
    memcpy(&shuffle.value, &value, sizeof(T));
    emu_warp_meet(mask, &shuffle, emu_shuffle_all);
    memcpy(&value, &shuffle.result, sizeof(T));
    return value;
}
template <typename T> static inline T __shfl_sync(unsigned mask, T value, int from)
{
    return emu_shuffle_from(mask, value, (unsigned)from);
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T value, int lanes)
{
    return emu_shuffle_from(mask, value, threadIdx.x % 32 ^ (unsigned)lanes);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned lanes)
{
    unsigned lane = threadIdx.x % 32;
    return emu_shuffle_from(mask, value, lane >= lanes ? lane - lanes : lane);
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned lanes)
{
    unsigned lane = threadIdx.x % 32;
    return emu_shuffle_from(mask, value, lane + lanes < 32 ? lane + lanes : lane);
}

struct emu_vote {
    unsigned value, result;
};
template <typename F>
static inline void emu_vote_all(void **args, uint32_t lanes, unsigned result, F fold)
{
    for (int i = 0; i < 32; i++)
        if (lanes >> i & 1)
            result = fold(result, ((struct emu_vote *)args[i])->value, i);
    for (int i = 0; i < 32; i++)
        if (lanes >> i & 1)
            ((struct emu_vote *)args[i])->result = result;
}
static inline unsigned __ballot_sync(unsigned mask, bool value)
{
    struct emu_vote vote = {value, 0};
    emu_warp_meet(mask, &vote, [](void **args, uint32_t lanes) {
        emu_vote_all(args, lanes, 0, [](unsigned sum, unsigned x, int i) { return sum | x << i; });
    });
    return vote.result;
}
static inline bool __any_sync(unsigned mask, bool value)
{
    return __ballot_sync(mask, value) != 0;
}
static inline bool __all_sync(unsigned mask, bool value)
{
    return __ballot_sync(mask, !value) == 0;
}
static inline unsigned __reduce_min_sync(unsigned mask, unsigned value)
{
    struct emu_vote vote = {value, 0};
    emu_warp_meet(mask, &vote, [](void **args, uint32_t lanes) {
        emu_vote_all(args, lanes, ~0u, [](unsigned a, unsigned b, int) { return min(a, b); });
    });
    return vote.result;
}
static inline unsigned __reduce_max_sync(unsigned mask, unsigned value)
{
    struct emu_vote vote = {value, 0};
    emu_warp_meet(mask, &vote, [](void **args, uint32_t lanes) {
        emu_vote_all(args, lanes, 0, [](unsigned a, unsigned b, int) { return max(a, b); });
    });
    return vote.result;
}
static inline unsigned __reduce_add_sync(unsigned mask, unsigned value)
{
    struct emu_vote vote = {value, 0};
    emu_warp_meet(mask, &vote, [](void **args, uint32_t lanes) {
        emu_vote_all(args, lanes, 0, [](unsigned a, unsigned b, int) { return a + b; });
    });
    return vote.result;
}

/* One OS thread: nothing comes in between. */
template <typename T, typename U> static inline T atomicAdd(T *at, U value)
{
    T old = *at;
    *at = (T)(old + (T)value);
    return old;
}
template <typename T, typename U> static inline T atomicMax(T *at, U value)
{
    T old = *at;
    *at = max(old, (T)value);
    return old;
}
template <typename T, typename U, typename V> static inline T atomicCAS(T *at, U expected, V value)
{
    T old = *at;
    if (old == (T)expected)
        *at = (T)value;
    return old;
}

/* ---- the host's side ---- */
enum cudaError_t {
    cudaSuccess,
    cudaErrorInvalidValue,
    cudaErrorMemoryAllocation,
    cudaErrorNoDevice = 100,
    cudaErrorNotSupported = 801,
    cudaErrorUnknown = 999
};
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t, *cudaGraphExec_t;
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaEnableDefault = 0 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess };
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize,
    cudaFuncAttributePreferredSharedMemoryCarveout
};
enum { cudaSharedmemCarveoutMaxShared = 100 };
enum cudaLaunchAttributeID {
    cudaLaunchAttributeProgrammaticStreamSerialization,
    cudaLaunchAttributeClusterDimension
};
struct cudaLaunchAttribute {
    enum cudaLaunchAttributeID id;
    struct {
        int programmaticStreamSerializationAllowed;
        dim3 clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
    size_t sharedMemPerBlockOptin;
};
struct cudaFuncAttributes {
    size_t sharedSizeBytes;
};

cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device);
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned version,
                                             int flags, cudaDriverEntryPointQueryResult *result);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaMalloc(void **out, size_t bytes);
template <typename T> static inline cudaError_t cudaMalloc(T **out, size_t bytes)
{
    return cudaMalloc((void **)out, bytes);
}
template <typename T> static inline cudaError_t cudaMallocHost(T **out, size_t bytes)
{
    return cudaMalloc((void **)out, bytes);
}
cudaError_t cudaFree(void *ptr);
static inline cudaError_t cudaFreeHost(void *ptr)
{
    return cudaFree(ptr);
}
cudaError_t cudaMemset(void *to, int byte, size_t bytes);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags);
static inline cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);
static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, const void *)
{
    out->sharedSizeBytes = 0;
    return cudaSuccess;
}
static inline cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int)
{
    return cudaSuccess;
}

/* Runs it, or keeps it for the graph that the stream records. */
cudaError_t emu_submit(cudaStream_t stream, const std::function<void()> &work);
cudaError_t emu_launch(const cudaLaunchConfig_t *config, const char *name,
                       const std::function<void()> &thread);

template <typename... P, typename... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                                             A... args)
{
    return emu_launch(config, __PRETTY_FUNCTION__, [=]() { kernel(P(args)...); });
}

#endif
