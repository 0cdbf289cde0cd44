/* dot_body - the register tile that every matrix product here is made of; see isa.h for the layout.
 *
 * nr rows of w times mr rows of packed x: nr * mr accumulators of 8 lanes. 3 x 4 and 4 x 3 fill the
 * 16 vector registers of AVX2: 12 accumulators, 3 held operands, 1 streamed. Loads per multiply-add
 * are 7 / 12, so the two multiply-add ports are the limit, and widening bf16 rides along for free.
 * With few rows of x the stream of w from memory is the limit.
 */
#ifndef MSGL_KERNELS_CPU_DOT_BODY_H
#define MSGL_KERNELS_CPU_DOT_BODY_H

#include "kernels/cpu/simd.h"

INLINE v8 dot_w(const char *w, bool bf16, int half)
{
    if (!bf16)
        return v8_load(w + 32 * half);
    v8u raw = *(const v8u_any *)w;
    if (half) {
        raw >>= 16; /* not a mask: that would take a register of its own, and spill */
        HOLD(raw);
    }
    return (v8)(raw << 16);
}

/* One block of 16 k: acc[r * mr + i] += w[r] . x[i]. Holds the smaller side in registers. */
INLINE void dot_block(v8 *acc, const char *const *w, size_t w_off, const float *x, bool bf16,
                      int nr, int mr)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        v8 held[4];
        if (nr <= mr) {
#pragma GCC unroll 4
            for (int r = 0; r < nr; r++)
                held[r] = dot_w(w[r] + w_off, bf16, half);
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) {
                v8 xv = v8_load(x + (half * mr + i) * 8);
#pragma GCC unroll 4
                for (int r = 0; r < nr; r++)
                    MULTIPLY_ADD(acc[r * mr + i], held[r], xv);
            }
        } else {
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++)
                held[i] = v8_load(x + (half * mr + i) * 8);
#pragma GCC unroll 8
            for (int r = 0; r < nr; r++) {
                v8 wv = dot_w(w[r] + w_off, bf16, half);
#pragma GCC unroll 4
                for (int i = 0; i < mr; i++)
                    MULTIPLY_ADD(acc[r * mr + i], wv, held[i]);
            }
        }
    }
}

/* acc = all of k. `stream`: the rows are adjacent in memory and the next tile's follow; while this
 * tile is worked on they are fetched, as the hardware's prefetchers restart on every row. The last
 * k % 16 of w are read through a zeroed copy. */
INLINE void dot_tile(v8 *acc, const char *const *w, const float *x, uint32_t k, bool bf16, int nr,
                     int mr, bool stream)
{
    const size_t block_bytes = bf16 ? 32 : 64;
#pragma GCC unroll 16
    for (int i = 0; i < nr * mr; i++)
        acc[i] = v8_set(0);
    size_t off = 0;
    const char *ahead = w[0] + (size_t)nr * k * (block_bytes / K_BLOCK);
    for (uint32_t block = 0; block < k / K_BLOCK; block++) {
        if (stream)
#pragma GCC unroll 8
            for (size_t line = 0; line < (size_t)nr * block_bytes; line += 64)
                __builtin_prefetch(ahead + line, 0, 2);
        ahead += (size_t)nr * block_bytes;
        dot_block(acc, w, off, x, bf16, nr, mr);
        off += block_bytes;
        x += mr * K_BLOCK;
    }
    uint32_t rest = k % K_BLOCK;
    if (rest == 0)
        return;
    char tail[8][64] = {{0}};
    const char *tail_w[8];
    for (int r = 0; r < nr; r++) {
        memcpy(tail[r], w[r] + off, rest * (block_bytes / K_BLOCK));
        tail_w[r] = tail[r];
    }
    dot_block(acc, tail_w, 0, x, bf16, nr, mr);
}

#endif
