/* wgmma - what kernels/cuda/wgmma.cuh does in PTX, on the host; see emu.h. A product is done when the
 * whole warpgroup has asked for it: one that is used too early does not show. */
#ifndef MSGL_KERNELS_CUDA_WGMMA_CUH
#define MSGL_KERNELS_CUDA_WGMMA_CUH

#include <stdint.h>

static inline uint64_t wgmma_matrix(uint32_t addr, uint32_t lbo, uint32_t sbo)
{
    return addr | (uint64_t)(lbo >> 4) << 32 | (uint64_t)(sbo >> 4) << 48;
}
static inline uint64_t wgmma_behind(uint64_t matrix, uint32_t bytes)
{
    return matrix + bytes;
}
static inline void wgmma_fence()
{
}
static inline void wgmma_commit()
{
}
template <int LEFT> static inline void wgmma_wait()
{
}
template <int LEFT> static inline void wgmma_wait_after(float)
{
}
template <int N> static inline void wgmma_hold(float (&)[N])
{
}

/* Element (row, k) of a swizzled matrix with k along the 128 bytes: SBO from 8 rows to the next. */
static inline float emu_k_along(uint64_t matrix, uint32_t row, uint32_t k)
{
    uint32_t sbo = (uint32_t)(matrix >> 48) << 4;
    uint32_t at = (uint32_t)matrix + row / 8 * sbo + row % 8 * 128 + k * 2;
    uint16_t bits;
    memcpy(&bits, emu_shared_pointer(emu_swizzle(at)), 2);
    return __uint_as_float((uint32_t)bits << 16);
}
/* Element (n, k) with n along the 128 bytes: LBO from 64 columns to the next, SBO from 8 k. */
static inline float emu_n_along(uint64_t matrix, uint32_t n, uint32_t k)
{
    uint32_t lbo = (uint32_t)(matrix >> 32 & 0xffff) << 4, sbo = (uint32_t)(matrix >> 48) << 4;
    uint32_t at = (uint32_t)matrix + n / 64 * lbo + k / 8 * sbo + k % 8 * 128 + n % 64 * 2;
    uint16_t bits;
    memcpy(&bits, emu_shared_pointer(emu_swizzle(at)), 2);
    return __uint_as_float((uint32_t)bits << 16);
}

struct emu_wgmma {
    float *d;
    const uint32_t *a; /* registers, or NULL: a_matrix */
    uint64_t a_matrix, b_matrix;
    bool first, n_along;
};
template <int N> static inline void emu_wgmma_all(void **args)
{
    static float a[64][16], b[16][N];
    const struct emu_wgmma *one = (const struct emu_wgmma *)args[0];
    for (uint32_t k = 0; k < 16; k++) {
        for (uint32_t n = 0; n < N; n++)
            b[k][n] =
                one->n_along ? emu_n_along(one->b_matrix, n, k) : emu_k_along(one->b_matrix, n, k);
        for (uint32_t row = 0; row < 64 && !one->a; row++)
            a[row][k] = emu_k_along(one->a_matrix, row, k);
    }
    for (uint32_t t = 0; t < 128 && one->a; t++)
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; j < 2; j++)
                a[t / 32 * 16 + t % 32 / 4 + i % 2 * 8][t % 4 * 2 + i / 2 * 8 + j] =
                    emu_half(((const struct emu_wgmma *)args[t])->a[i], j);
    for (uint32_t row = 0; row < 64; row++) {
        float sum[N] = {};
        for (uint32_t k = 0; k < 16; k++)
            for (uint32_t n = 0; n < N; n++)
                sum[n] += a[row][k] * b[k][n];
        for (uint32_t n = 0; n < N; n++) {
            const struct emu_wgmma *to =
                (const struct emu_wgmma *)args[row / 16 * 32 + row % 8 * 4 + n % 8 / 2];
            float *d = &to->d[n / 8 * 4 + row / 8 % 2 * 2 + n % 2];
            *d = (to->first ? 0.0f : *d) + sum[n];
        }
    }
}

template <int REGISTERS>
static inline void wgmma_ss(float (&d)[REGISTERS], uint64_t a, uint64_t b, bool first)
{
    struct emu_wgmma product = {d, NULL, a, b, first, false};
    emu_group_meet(&product, emu_wgmma_all<2 * REGISTERS>);
}
static inline void wgmma_rs_128(float (&d)[64], const uint32_t *a, uint64_t b, bool first)
{
    struct emu_wgmma product = {d, a, 0, b, first, true};
    emu_group_meet(&product, emu_wgmma_all<128>);
}
static inline void wgmma_rs_64(float (&d)[32], const uint32_t *a, uint64_t b, bool first)
{
    struct emu_wgmma product = {d, a, 0, b, first, true};
    emu_group_meet(&product, emu_wgmma_all<64>);
}

#endif
