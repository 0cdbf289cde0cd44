/* cluster - a launch of clusters: blocks that read one another's shared memory (hopper.cuh). */
#ifndef MSGL_KERNELS_CUDA_CLUSTER_CUH
#define MSGL_KERNELS_CUDA_CLUSTER_CUH

#include "kernels/cuda/cuda_util.cuh"

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
