/* cublasLt - a handle; the products are gemm.cpp's. */
#ifndef MSGL_EMU_CUBLASLT_H
#define MSGL_EMU_CUBLASLT_H

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

#endif
