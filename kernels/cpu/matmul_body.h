/* matmul_body - y = x * w^T over a range of columns and rows, in tiles of dot_body.h.
 *
 * Row tile outside, column tiles inside: the tile of x (4 rows) stays in L1 while w streams from
 * L2, where the caller's choice of n_first..n_last keeps it for the next row tile.
 */
#ifndef MSGL_KERNELS_CPU_MATMUL_BODY_H
#define MSGL_KERNELS_CPU_MATMUL_BODY_H

#include "kernels/cpu/dot_body.h"
#include "kernels/cpu/isa.h"

INLINE void matmul_store(const struct matmul_part *p, const v8 *acc, uint32_t m, uint32_t n, int nr,
                         int mr)
{
    float *y = p->y + (size_t)m * p->y_stride + n;
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++, y += p->y_stride) {
        int r = 0;
#pragma GCC unroll 2
        for (; r + 4 <= nr; r += 4) {
            v4 sum = v8_sum4(acc[r * mr + i], acc[(r + 1) * mr + i], acc[(r + 2) * mr + i],
                             acc[(r + 3) * mr + i]);
            if (p->bias)
                sum += *(const v4_any *)(p->bias + n + r);
            *(v4_any *)(y + r) = sum;
        }
#pragma GCC unroll 4
        for (; r < nr; r++)
            y[r] = v8_sum(acc[r * mr + i]) + (p->bias ? p->bias[n + r] : 0);
    }
}

/* A 3 x 4 tile has its four sums down a column of y. */
INLINE void matmul_store_3x4(const struct matmul_part *p, const v8 *acc, uint32_t m, uint32_t n)
{
    float *y = p->y + (size_t)m * p->y_stride + n;
#pragma GCC unroll 3
    for (int r = 0; r < 3; r++) {
        v4 sum = v8_sum4(acc[r * 4], acc[r * 4 + 1], acc[r * 4 + 2], acc[r * 4 + 3]);
        if (p->bias)
            sum += p->bias[n + r];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            y[i * p->y_stride + r] = sum[i];
    }
}

INLINE void matmul_tile(const struct matmul_part *p, const float *x, uint32_t m, uint32_t n,
                        bool bf16, int nr, int mr)
{
    const size_t row_bytes = (size_t)p->k * (bf16 ? 2 : 4);
    const char *w[8];
#pragma GCC unroll 8
    for (int r = 0; r < nr; r++)
        w[r] = p->w + (n + (size_t)r) * row_bytes;
    v8 acc[16];
    dot_tile(acc, w, x, p->k, bf16, nr, mr, true);
    if (nr == 3 && mr == 4)
        matmul_store_3x4(p, acc, m, n);
    else
        matmul_store(p, acc, m, n, nr, mr);
}

INLINE void matmul_cols(const struct matmul_part *p, const float *x, uint32_t m, bool bf16, int nr,
                        int mr)
{
    uint32_t n = p->n_first;
    for (; n + (uint32_t)nr <= p->n_last; n += (uint32_t)nr)
        matmul_tile(p, x, m, n, bf16, nr, mr);
    for (; n < p->n_last; n++)
        matmul_tile(p, x, m, n, bf16, 1, mr);
}

INLINE void matmul_rows(const struct matmul_part *p, bool bf16)
{
    const size_t row_floats = ROUND_UP(p->k, K_BLOCK);
    for (uint32_t m = p->m_first; m < p->m_last; m += TILE_ROWS) {
        const float *x = p->x_packed + m * row_floats;
        switch (MIN(TILE_ROWS, p->m_last - m)) {
        case 1:
            matmul_cols(p, x, m, bf16, 8, 1);
            break;
        case 2:
            matmul_cols(p, x, m, bf16, 4, 2);
            break;
        case 3:
            matmul_cols(p, x, m, bf16, 4, 3);
            break;
        default:
            matmul_cols(p, x, m, bf16, 3, 4);
        }
    }
}

static void matmul_part_bf16(const struct matmul_part *p)
{
    matmul_rows(p, true);
}

static void matmul_part_f32(const struct matmul_part *p)
{
    matmul_rows(p, false);
}

static void body_matmul(const struct matmul_part *p)
{
    if (p->bf16)
        matmul_part_bf16(p);
    else
        matmul_part_f32(p);
}

/* One row into its tile; `x` has K_BLOCK readable floats at every block. */
INLINE void pack_block(float *to, const float *x, uint32_t tile_rows, bool bf16)
{
    v8 a = v8_load(x), b = v8_load(x + 8);
    if (bf16) {
        v8 even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
        b = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
        a = even;
    }
    v8_store(to, a);
    v8_store(to + tile_rows * 8, b);
}

static void body_pack(float *packed, const float *x, uint32_t row_first, uint32_t row_last,
                      uint32_t rows, uint32_t k, bool bf16)
{
    const size_t row_floats = ROUND_UP(k, K_BLOCK);
    for (uint32_t row = row_first; row < row_last; row++) {
        uint32_t tile_first = row / TILE_ROWS * TILE_ROWS;
        uint32_t tile_rows = MIN(TILE_ROWS, rows - tile_first);
        float *to = packed + tile_first * row_floats + (size_t)(row - tile_first) * 8;
        const float *from = x + (size_t)row * k;
        uint32_t i = 0;
        for (; i + K_BLOCK <= k; i += K_BLOCK, to += (size_t)tile_rows * K_BLOCK)
            pack_block(to, from + i, tile_rows, bf16);
        if (i < k) {
            float tail[K_BLOCK] = {0};
            memcpy(tail, from + i, (k - i) * sizeof(float));
            pack_block(to, tail, tile_rows, bf16);
        }
    }
}

#endif
