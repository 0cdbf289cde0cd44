/* isa - the inner loops, built once for every instruction set and picked when a device opens.
 *
 * bits: avx2 (x86-64 with AVX2 and FMA) and generic (any CPU) may round differently from one
 * another, never from themselves.
 */
#ifndef MSGL_KERNELS_CPU_ISA_H
#define MSGL_KERNELS_CPU_ISA_H

#include "kernels/ops.h"

/* k is padded with zeros to this many; one block of the packed layout. */
#define K_BLOCK 16u
/* Rows of x that one tile of the kernel takes. */
#define TILE_ROWS 4u
/* Columns: a multiple of every tile width, so that chunks of n leave no ragged tile inside. */
#define TILE_COLS 24u

/* x packed for matmul: tiles of TILE_ROWS rows (the last one may have fewer), each
 *
 *     [k / 16][2 halves][rows of the tile][8]
 *
 * For bf16 weights half 0 holds k = 0, 2, … 14 of the block and half 1 holds 1, 3, … 15, because
 * that is how 16 bf16 widen with one shift and one mask; for f32 weights, 0..7 and 8..15.
 * Tile t starts at t * TILE_ROWS * ROUND_UP(k, 16). */
struct matmul_part {
    const char *w; /* row-major [.., k] */
    const float *x_packed;
    const float *bias; /* or NULL */
    float *y;          /* [m][y_stride] */
    size_t y_stride;
    uint32_t m_first, m_last; /* multiples of TILE_ROWS, but for m_last == m */
    uint32_t n_first, n_last;
    uint32_t k;
    bool bf16;
};

/* Keys are taken in blocks that begin at multiples of this position, whatever the page size. */
#define KEY_BLOCK 64u
/* Queries (tokens x heads of a group) of one attention tile. */
#define QUERY_TILE 48u

/* A tile: `tokens` tokens in sequence, the q heads of one kv head. Query i is token i / group,
 * head i % group. */
struct attn_tile {
    const float *q; /* token 0, first head of the group; row stride: */
    size_t q_stride;
    float *out;
    size_t out_stride;
    const float *pool;
    const uint32_t *pages; /* of the req */
    size_t page_floats;    /* 2 * kv_heads * page_size * head_dim */
    size_t k_off, v_off;   /* of this head in a page */
    uint32_t page_size, head_dim;
    uint32_t tokens, group;
    uint32_t pos_first; /* of token 0 */
    uint32_t window;
    float scale;
    float *scratch; /* attn_scratch_floats(head_dim) */
};

struct isa {
    const char *name;
    void (*pack)(float *packed, const float *x, uint32_t row_first, uint32_t row_last,
                 uint32_t rows, uint32_t k, bool bf16);
    void (*matmul)(const struct matmul_part *part);
    void (*attend)(const struct attn_tile *tile);
    /* residual may be NULL: x is the input. Else residual += x (x may be NULL) is the input. */
    void (*norm)(float *y, float *residual, const float *x, const float *w, uint32_t dim,
                 float eps);
    void (*silu_mul)(float *y, const float *gate, const float *up, uint32_t dim);
    void (*widen)(float *y, const uint16_t *bf16, uint32_t count);
    void (*rotate)(float *head, const float *cos_sin, uint32_t head_dim);
    /* Largest of x, NaN left out; -INFINITY when there is none. */
    float (*top)(const float *x, uint32_t count);
    /* y[i] = exp((x[i] - top) * scale), 0 below exp(-87) and for NaN */
    void (*exp_row)(float *y, const float *x, uint32_t count, float top, float scale);
};

static inline size_t attn_scratch_floats(uint32_t head_dim)
{
    /* packed queries, accumulators, scores */
    return (size_t)QUERY_TILE * (head_dim * 2 + KEY_BLOCK);
}

extern const struct isa isa_generic;
#ifdef __x86_64__
extern const struct isa isa_avx2;
#endif

/* The best for this CPU. */
const struct isa *isa_pick(void);

#endif
