/* cuda - tensor maps as far as kernels/cuda uses them; see emu.h. */
#ifndef MSGL_EMU_CUDA_H
#define MSGL_EMU_CUDA_H

#include <stdint.h>

typedef uint64_t cuuint64_t;
typedef uint32_t cuuint32_t;
enum CUresult { CUDA_SUCCESS, CUDA_ERROR_INVALID_VALUE };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_128B };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_128B };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE };

/* Elements of 2 bytes, innermost dimension first; strides[0] is the elements' own. */
struct CUtensorMap {
    const char *base;
    uint64_t dims[5], strides[5];
    uint32_t rank, box[5];
};

#endif
