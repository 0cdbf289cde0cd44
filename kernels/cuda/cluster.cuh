/* cluster - blocks of a cluster that read one another's shared memory; one block before sm_90. */
#ifndef MSGL_KERNELS_CUDA_CLUSTER_CUH
#define MSGL_KERNELS_CUDA_CLUSTER_CUH

#include "kernels/cuda/cuda_util.cuh"

__device__ __forceinline__ uint32_t cluster_rank()
{
    uint32_t rank = 0;
#if __CUDA_ARCH__ >= 900
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
    return rank;
}

__device__ __forceinline__ uint32_t cluster_size()
{
    uint32_t size = 1;
#if __CUDA_ARCH__ >= 900
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
#endif
    return size;
}

/* All threads of all blocks; what they wrote before is seen after. */
__device__ __forceinline__ void cluster_sync()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;\n"
                 "barrier.cluster.wait.acquire;" ::: "memory");
#else
    __syncthreads();
#endif
}

/* The same object in the shared memory of block `rank`. */
template <typename T> __device__ __forceinline__ T *cluster_map(T *here, uint32_t rank)
{
#if __CUDA_ARCH__ >= 900
    T *there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(here), "r"(rank));
    return there;
#else
    return here;
#endif
}

/* As cuda_launch, `cluster` blocks of the grid's x together. */
template <typename... P, typename... A>
static inline void cuda_launch_cluster(struct device *device, struct stream *stream,
                                       const char *name, void (*kernel)(P...), uint32_t cluster,
                                       dim3 grid, dim3 block, size_t shared_bytes, A... args)
{
    cudaLaunchAttribute attrs[2] = {};
    cudaLaunchConfig_t config = {};
    kernel_prepare(device, (const void *)kernel);
    attrs[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attrs[0].val.programmaticStreamSerializationAllowed = 1;
    attrs[1].id = cudaLaunchAttributeClusterDimension;
    attrs[1].val.clusterDim.x = cluster;
    attrs[1].val.clusterDim.y = attrs[1].val.clusterDim.z = 1;
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream->cuda;
    config.attrs = attrs;
    config.numAttrs = device->prop.major >= 9 ? 2 : 0;
    device_fail(device, cudaLaunchKernelEx(&config, kernel, P(args)...), name);
}

#endif
