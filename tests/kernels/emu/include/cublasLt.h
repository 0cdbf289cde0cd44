/* cublasLt - a handle and what plans are made of; the products are gemm.cpp's. */
#ifndef MSGL_EMU_CUBLASLT_H
#define MSGL_EMU_CUBLASLT_H

#include <stddef.h>
#include <stdint.h>

typedef void *cublasLtHandle_t;
enum cublasStatus_t { CUBLAS_STATUS_SUCCESS };
static inline cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    *out = NULL;
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

static inline size_t cublasLtGetVersion()
{
    return 1;
}
struct cublasLtMatmulAlgo_t {
    uint64_t data[8];
};

#endif
