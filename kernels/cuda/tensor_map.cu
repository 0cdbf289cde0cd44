/* tensor_map - asks the driver for a tensor's descriptor. */
#include "kernels/cuda/tensor_map.cuh"

void tensor_map_init(struct device *device)
{
    void *found = NULL;
    enum cudaDriverEntryPointQueryResult result;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault,
                                         &result) != cudaSuccess)
        cudaGetLastError(); /* no failure: whoever needs a map has another kernel */
    device->encode_tiled = (PFN_cuTensorMapEncodeTiled_v12000)found;
}

bool tensor_map(const struct device *device, CUtensorMap *map, uint32_t rank, const void *base,
                const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box)
{
    static const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
    return device->encode_tiled &&
           device->encode_tiled(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, (void *)base, dims,
                                strides, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}
