/* cuda_util - what every .cu file here shares: error stickiness, launches, conversions. */
#ifndef MSGL_KERNELS_CUDA_UTIL_CUH
#define MSGL_KERNELS_CUDA_UTIL_CUH

#include <cublasLt.h>
#include <cudaTypedefs.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "kernels/ops.h"
}
#include "kernels/cuda/hopper.cuh"

typedef __nv_bfloat16 bf16;

#define WORKSPACE_BYTES ((size_t)64 << 20)
#define SETUP_WORDS     (256u << 10) /* of slot_setup, uploaded at a time */
#define KERNELS_MAX     512u         /* a power of two, several times the kernels there are */

struct attn_scratch {
    float *part_o;
    float2 *part_ml;
    uint32_t *counters; /* zero between launches */
};

struct device {
    struct device_opts opts;
    struct cudaDeviceProp prop;
    cublasLtHandle_t lt;
    void *workspace;       /* cuBLASLt's */
    uint32_t *setup_words; /* [SETUP_WORDS] */
    struct gemm_plans *plans;
    struct ranks *ranks;               /* NULL: alone */
    struct uploader *uploader;         /* NULL before the first weight_load */
    const void *prepared[KERNELS_MAX]; /* kernels whose attributes are set; a hash set */
    struct attn_scratch attn;
    PFN_cuTensorMapEncodeTiled_v12000 encode_tiled; /* tensor_map()'s; NULL: there is none */
    bool hopper;       /* attention by our kernels for sm_90a, else the generic one */
    cudaError_t error; /* first failure since the last sync: sticky */
    const char *error_where;
};

struct stream {
    cudaStream_t cuda;
};

struct event {
    cudaEvent_t cuda;
    cudaError_t error; /* the device's at the last record */
    const char *error_where;
};

struct graph {
    cudaGraphExec_t exec;
};

static inline void device_fail(struct device *device, cudaError_t error, const char *where)
{
    if (error != cudaSuccess && device->error == cudaSuccess) {
        device->error = error;
        device->error_where = where;
    }
}

/* STATUS_NO_SPACE or STATUS_INTERNAL with `what` and CUDA's own words. */
enum status cuda_status(struct err *err, cudaError_t error, const char *what);

#define CUDA_NOTE(device, call) device_fail(device, call, #call)

/* All the shared memory a block may have, and none of it taken by L1, so that kernels of two kinds
 * lie on one SM without a change of its layout. Once for each kernel. */
static inline void kernel_prepare(struct device *device, const void *kernel)
{
    struct cudaFuncAttributes attr;
    uint32_t at = (uint32_t)((uintptr_t)kernel >> 4) * 2654435761u % KERNELS_MAX;
    while (device->prepared[at] && device->prepared[at] != kernel)
        at = (at + 1) % KERNELS_MAX;
    if (device->prepared[at])
        return;
    device->prepared[at] = kernel;
    CUDA_NOTE(device, cudaFuncGetAttributes(&attr, kernel));
    CUDA_NOTE(device, cudaFuncSetAttribute(
                          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                          (int)(device->prop.sharedMemPerBlockOptin - attr.sharedSizeBytes)));
    CUDA_NOTE(device, cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                           cudaSharedmemCarveoutMaxShared));
}

/* Every kernel of ours starts here, with programmatic dependent launch on sm_90 and later: it may
 * begin while its predecessor runs, so it calls pdl_wait() before it touches what any kernel
 * writes. Until then it may read constants: weights, norms, the rotary table. It calls pdl_launch()
 * first of all, and so lets its successor begin. As every kernel waits, the one behind it waits for
 * all before it. */
template <typename... P, typename... A>
static inline void cuda_launch(struct device *device, struct stream *stream, const char *name,
                               void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                               A... args)
{
    cudaLaunchAttribute attr = {};
    cudaLaunchConfig_t config = {};
    kernel_prepare(device, (const void *)kernel);
    attr.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream->cuda;
    config.attrs = &attr;
    config.numAttrs = device->prop.major >= 9;
    device_fail(device, cudaLaunchKernelEx(&config, kernel, P(args)...), name);
}

__device__ __forceinline__ float to_f32(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ float to_f32(float x)
{
    return x;
}

/* 16 bytes, 8 values. */
__device__ __forceinline__ void bf16x8_unpack(uint4 packed, float *out)
{
    const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = __uint_as_float(words[i] << 16);
        out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

__device__ __forceinline__ uint32_t bf16x2_pack(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&pair;
}

__device__ __forceinline__ uint4 bf16x8_pack(const float *in)
{
    return make_uint4(bf16x2_pack(in[0], in[1]), bf16x2_pack(in[2], in[3]),
                      bf16x2_pack(in[4], in[5]), bf16x2_pack(in[6], in[7]));
}

__device__ __forceinline__ float warp_sum(float x)
{
    for (int lane = 16; lane > 0; lane >>= 1)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

__device__ __forceinline__ float warp_max(float x)
{
    for (int lane = 16; lane > 0; lane >>= 1)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

__device__ __forceinline__ uint64_t warp_max_u64(uint64_t x)
{
    for (int lane = 16; lane > 0; lane >>= 1)
        x = max(x, (uint64_t)__shfl_xor_sync(0xffffffffu, (unsigned long long)x, lane));
    return x;
}

/* Floats in the order of their bits. */
__device__ __forceinline__ uint32_t order_bits(float x)
{
    uint32_t bits = __float_as_uint(x + 0.0f); /* -0 is 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The largest key is the likeliest, and of equals the one with the lowest id: ~(uint32_t)key. */
__device__ __forceinline__ uint64_t likeliest_key(float logit, uint32_t id)
{
    return (uint64_t)order_bits(logit) << 32 | (uint32_t)~id;
}

/* Sum over a block of up to 1,024 threads, given to all of them. `scratch`: 32 floats. */
__device__ __forceinline__ float block_sum(float x, float *scratch)
{
    int warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        scratch[warp] = x;
    __syncthreads();
    x = threadIdx.x % 32 < warps ? scratch[threadIdx.x % 32] : 0.0f;
    return warp_sum(x);
}

__device__ __forceinline__ float block_max(float x, float *scratch)
{
    int warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        scratch[warp] = x;
    __syncthreads();
    x = threadIdx.x % 32 < warps ? scratch[threadIdx.x % 32] : -INFINITY;
    return warp_max(x);
}

/* The ops of this folder; backend.cu puts them into the table. */
extern "C" const struct ops cuda_ops;
#define CUDA_OP extern "C" void
CUDA_OP cuda_page_table_set(struct device *, struct stream *, uint32_t *, uint32_t,
                            const struct page_set *, uint32_t);
CUDA_OP cuda_resolve_tokens(struct device *, struct stream *, uint32_t *, const uint32_t *,
                            const uint32_t *, const uint32_t *, uint32_t);
CUDA_OP cuda_embed(struct device *, struct stream *, void *, const struct weight *,
                   const uint32_t *, uint32_t, uint32_t);
CUDA_OP cuda_rmsnorm(struct device *, struct stream *, void *, const void *, const float *,
                     uint32_t, uint32_t, float);
CUDA_OP cuda_add_rmsnorm(struct device *, struct stream *, void *, void *, const void *,
                         const float *, uint32_t, uint32_t, float);
CUDA_OP cuda_matmul(struct device *, struct stream *, void *, const void *, const struct weight *,
                    const float *, uint32_t);
CUDA_OP cuda_matmul_f32(struct device *, struct stream *, float *, const void *,
                        const struct weight *, uint32_t);
CUDA_OP cuda_norm_matmul(struct device *, struct stream *, void *, const void *,
                         const struct norm *, const struct weight *, const float *, uint32_t,
                         void *);
CUDA_OP cuda_norm_gate_up_silu(struct device *, struct stream *, void *, const void *,
                               const struct norm *, const struct weight *, const float *, uint32_t,
                               void *);
CUDA_OP cuda_matmul_add(struct device *, struct stream *, void *, const void *,
                        const struct weight *, const float *, uint32_t, void *);
CUDA_OP cuda_add(struct device *, struct stream *, void *, const void *, size_t);
CUDA_OP cuda_scale(struct device *, struct stream *, void *, float, size_t);
extern "C" enum status cuda_weight_load(struct device *, const struct load_part *, uint32_t,
                                        uint32_t, bool, struct weight *, struct err *);
extern "C" enum status cuda_weight_formula(struct device *, const struct formula_part *, uint32_t,
                                           uint32_t, struct weight *, struct err *);
extern "C" size_t cuda_attn_plan_bytes(const struct device *, const struct attn_shape *, uint32_t,
                                       uint32_t, uint32_t);
extern "C" size_t cuda_attn_plan(const struct device *, const struct attn_shape *,
                                 const struct attn_row *, uint32_t, const struct attn_group *,
                                 uint32_t, void *);
CUDA_OP cuda_qk_rope_store(struct device *, struct stream *, const struct kv_view *,
                           const struct qkv_args *);
CUDA_OP cuda_attention(struct device *, struct stream *, const struct kv_view *,
                       const struct attn_args *);
CUDA_OP cuda_silu_mul(struct device *, struct stream *, void *, const void *, uint32_t, uint32_t);
CUDA_OP cuda_gather_rows(struct device *, struct stream *, void *, const void *, const uint32_t *,
                         uint32_t, uint32_t);
CUDA_OP cuda_slot_setup(struct device *, struct stream *, const struct sample_state *,
                        const struct slot_setup *, uint32_t, const uint32_t *, uint32_t);
CUDA_OP cuda_logits_adjust(struct device *, struct stream *, float *, uint32_t,
                           const struct sample_state *, const uint32_t *, const struct sample_row *,
                           uint32_t);
CUDA_OP cuda_logprobs(struct device *, struct stream *, const struct logprob_args *);
CUDA_OP cuda_norm_part(struct device *, struct stream *, void *, const float *, uint32_t, uint32_t,
                       uint32_t, float);
CUDA_OP cuda_qk_sums(struct device *, struct stream *, float *, const struct wide_norm_args *);
CUDA_OP cuda_qk_norm_by_sums(struct device *, struct stream *, const float *, uint32_t,
                             const struct wide_norm_args *);
CUDA_OP cuda_all_reduce(struct device *, struct stream *, void *, size_t);
CUDA_OP cuda_all_gather(struct device *, struct stream *, float *, const float *, uint32_t,
                        uint32_t);
CUDA_OP cuda_route(struct device *, struct stream *, uint32_t *, float *, const float *,
                   const struct expert_args *);
CUDA_OP cuda_experts_gate_up(struct device *, struct stream *, void *, const void *,
                             const struct weight *, const struct expert_args *);
CUDA_OP cuda_experts_down(struct device *, struct stream *, void *, const void *,
                          const struct weight *, const struct expert_args *);
CUDA_OP cuda_add_gated(struct device *, struct stream *, void *, const void *, const float *,
                       uint32_t, uint32_t);
CUDA_OP cuda_sample(struct device *, struct stream *, uint32_t *, uint32_t *, const float *,
                    uint32_t, const struct sample_row *, uint32_t);

#endif
