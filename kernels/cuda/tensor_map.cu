/* tensor_map - asks the driver for a tensor's descriptor. */
#include "kernels/cuda/tensor_map.cuh"

#include <cudaTypedefs.h>

/* The driver's encoder, found at run time so that nothing links to the driver. */
static PFN_cuTensorMapEncodeTiled_v12000 encoder(void)
{
    void *found = NULL;
    enum cudaDriverEntryPointQueryResult result;
    cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault,
                                     &result);
    return (PFN_cuTensorMapEncodeTiled_v12000)found;
}

bool tensor_map(CUtensorMap *map, uint32_t rank, const void *base, const cuuint64_t *dims,
                const cuuint64_t *strides, const cuuint32_t *box)
{
    static const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
    PFN_cuTensorMapEncodeTiled_v12000 encode_tiled = encoder();
    return encode_tiled &&
           encode_tiled(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, (void *)base, dims, strides,
                        box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                        CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}
