/* tensor_map - how the copy engine finds boxes of a bf16 tensor: the driver's descriptor of it. */
#ifndef MSGL_KERNELS_CUDA_TENSOR_MAP_CUH
#define MSGL_KERNELS_CUDA_TENSOR_MAP_CUH

#include "kernels/cuda/cuda_util.cuh"

/* The driver's encoder, found at run time so that nothing links to the driver. Once a device: the
 * search takes longer than the encoding, and matmuls and attention ask for maps at each call. */
void tensor_map_init(struct device *device);

/* Dimensions innermost first; strides in bytes, of all but the innermost. A box's innermost side is
 * of 64 elements, its rows of 128 bytes are swizzled; what lies outside of the tensor arrives as
 * zeros. False where the driver refuses. */
bool tensor_map(const struct device *device, CUtensorMap *map, uint32_t rank, const void *base,
                const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box);

#endif
