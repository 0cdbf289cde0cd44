/* gemv - the small-batch products of gemv.cu, and the PTX they are written in. */
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

__device__ __forceinline__ uint32_t shared_address(const void *ptr)
{
    return (uint32_t)__cvta_generic_to_shared(ptr);
}

__device__ __forceinline__ void barrier_init(uint64_t *barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}

/* The copy engine sees the initialised barriers. */
__device__ __forceinline__ void barrier_init_fence()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

/* Arrives, and the phase ends only after `bytes` more have been copied. */
__device__ __forceinline__ void barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra over;\n"
                 "bra again;\n"
                 "over:\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}

__device__ __forceinline__ uint64_t policy_evict_first()
{
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* `bytes` (a multiple of 16) from global to shared memory by the copy engine; policy 0: none. */
__device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes,
                                          uint64_t *barrier, uint64_t policy)
{
    if (policy)
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                     ".L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
                     "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
                     : "memory");
    else
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                     " [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                     "l"(from), "r"(bytes), "r"(shared_address(barrier))
                     : "memory");
}

/* A barrier of the first `threads` threads of a block. */
__device__ __forceinline__ void consumers_sync(uint32_t threads)
{
    asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");
}

#endif
