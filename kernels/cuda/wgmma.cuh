/* wgmma - the tensor cores of Hopper by warpgroup: d[64 x N] += a[64 x 16] b[16 x N], bf16 in, f32 out.
 *
 * A lane of warp w of the group holds, for each 8 columns j, d[4 j + 0, 1] = row 16 w + lane / 4, columns
 * 8 j + 2 (lane % 4) + 0, 1, and d[4 j + 2, 3] the same columns 8 rows below. An A operand in registers
 * has the same shape, two columns to a register.
 *
 * Matrices in shared memory are named by descriptors: start address, the strides LBO and SBO (in 16
 * bytes), and the 128-byte swizzle. With k along the 128 bytes (Q, K), SBO is the distance of 8 rows and
 * 16 elements of k are 32 bytes further. With n along them (V, transposed), LBO is the distance of the
 * next 64 columns and SBO that of 8 rows of k.
 */
#ifndef MSGL_KERNELS_CUDA_WGMMA_CUH
#define MSGL_KERNELS_CUDA_WGMMA_CUH

#include <stdint.h>

__device__ __forceinline__ uint64_t wgmma_matrix(uint32_t addr, uint32_t lbo, uint32_t sbo)
{
    return (uint64_t)((addr & 0x3ffff) >> 4) | (uint64_t)(lbo >> 4) << 16 |
           (uint64_t)(sbo >> 4) << 32 | (uint64_t)1 << 62;
}

/* The matrix that begins so many bytes behind another. */
__device__ __forceinline__ uint64_t wgmma_behind(uint64_t matrix, uint32_t bytes)
{
    return matrix + (bytes >> 4);
}

/* Before the first product that reads registers which were written since the last one. */
__device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most LEFT committed groups are unfinished. */
template <int LEFT> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

/* The same once x >= 0 has been computed, which the assembler otherwise puts behind the wait: it sees
 * no reason not to, and work that should run under the products runs after them. */
template <int LEFT> __device__ __forceinline__ void wgmma_wait_after(float x)
{
    asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n@p trap;\n}\n" ::"f"(x)
                 : "memory");
    wgmma_wait<LEFT>();
}

/* Keeps the compiler from moving uses of accumulators across a wait. */
template <int N> __device__ __forceinline__ void wgmma_hold(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

/* Names and constraints of the first registers of d: lists that grow by pieces. */
#define WGMMA_D32                                                                                  \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17"               \
    ", %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_D48                                                                                  \
    WGMMA_D32                                                                                      \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46"                  \
    ", %47"
#define WGMMA_D64                                                                                  \
    WGMMA_D48                                                                                      \
    ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62"                  \
    ", %63"
#define WGMMA_D96                                                                                  \
    WGMMA_D64                                                                                      \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78"                  \
    ", %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93"                  \
    ", %94, %95"
#define WGMMA_F4(i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_F16(i) WGMMA_F4(i), WGMMA_F4(i + 4), WGMMA_F4(i + 8), WGMMA_F4(i + 12)
#define WGMMA_F32(i) WGMMA_F16(i), WGMMA_F16(i + 16)
#define WGMMA_F64    WGMMA_F32(0), WGMMA_F32(32)

/* a and b in shared memory, both with k along the rows; first: d = a b, else d += a b. One for each
 * size of d, that is number of columns (rows of b). */
#define WGMMA_SS(columns, registers, names, at_a, at_b, at_add, ...)                               \
    __device__ __forceinline__ void wgmma_ss(float(&d)[registers], uint64_t a, uint64_t b,         \
                                             bool first)                                           \
    {                                                                                              \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" at_add ", 0;\n"                          \
                     "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.bf16.bf16 {" names       \
                     "}, %" at_a ", %" at_b ", p, 1, 1, 0, 0;\n}"                                  \
                     : __VA_ARGS__                                                                 \
                     : "l"(a), "l"(b), "r"((int)!first));                                          \
    }
WGMMA_SS("64", 32, WGMMA_D32, "32", "33", "34", WGMMA_F32(0))
WGMMA_SS("96", 48, WGMMA_D48, "48", "49", "50", WGMMA_F32(0), WGMMA_F16(32))
WGMMA_SS("128", 64, WGMMA_D64, "64", "65", "66", WGMMA_F64)
WGMMA_SS("192", 96, WGMMA_D96, "96", "97", "98", WGMMA_F64, WGMMA_F32(64))

/* a in registers, b in shared memory with n along the rows; d += a b, first: d = a b. */
__device__ __forceinline__ void wgmma_rs_128(float (&d)[64], const uint32_t *a, uint64_t b,
                                             bool first)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
                 "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
                 "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
                 "%60, %61, %62, %63"
                 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
                   "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]),
                   "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                   "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                   "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
                   "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
                   "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
                   "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]),
                   "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]),
                   "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)!first));
}

/* a in registers, b in shared memory with n along the rows; d += a b, first: d = a b. */
__device__ __forceinline__ void wgmma_rs_64(float (&d)[32], const uint32_t *a, uint64_t b,
                                            bool first)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, "
                 "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31"
                 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
                   "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]),
                   "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                   "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                   "+f"(d[30]), "+f"(d[31])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)!first));
}

#endif
