/* attn_body - attention of one tile of queries over paged keys, with an online softmax.
 *
 *     for each block of 64 positions: s = q k^T * scale; m' = max(m, max s); c = exp(m - m')
 *                                     p = exp(s - m'); l = l c + sum p; o = o c + p v
 *     out = o / l
 *
 * Blocks begin at multiples of 64 positions and every query goes through the same ones in the same
 * order; keys a query must not see get p = 0 exactly, which changes no bit of l or o. So a query's
 * answer does not depend on the tile, chunk or pages around it. The heads of a group share the
 * loads of k and v.
 *
 *     scratch: packed queries [tile of 3][head_dim / 16][2][3][8] | o [queries][head_dim] | s, p
 * [queries][64]
 */
#ifndef MSGL_KERNELS_CPU_ATTN_BODY_H
#define MSGL_KERNELS_CPU_ATTN_BODY_H

#include "kernels/cpu/dot_body.h"
#include "kernels/cpu/isa.h"

#include <math.h>

#define QUERY_ROWS 3 /* queries of one register tile */

struct attn_block {
    uint32_t first, last;         /* positions; `first` is a multiple of KEY_BLOCK */
    const char *k[KEY_BLOCK + 8]; /* index: position - first; padded to a whole register tile */
    const float *v[KEY_BLOCK];
};

static void attn_block_init(struct attn_block *block, const struct attn_tile *t)
{
    uint32_t count = block->last - block->first;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pos = block->first + i;
        size_t page = (size_t)t->pages[pos / t->page_size] * t->page_floats;
        size_t off = (size_t)(pos % t->page_size) * t->head_dim;
        block->k[i] = (const char *)(t->pool + page + t->k_off + off);
        block->v[i] = t->pool + page + t->v_off + off;
    }
    for (uint32_t i = count; i < ROUND_UP(count, 8); i++)
        block->k[i] = block->k[count - 1];
}

/* s[i][j] for mr queries and all keys of the block. */
INLINE void attn_scores(const struct attn_block *block, const float *q, float *s, uint32_t dim,
                        int nr, int mr)
{
    uint32_t count = block->last - block->first;
    for (uint32_t j = 0; j < count; j += (uint32_t)nr) {
        v8 acc[16];
        dot_tile(acc, block->k + j, q, dim, false, nr, mr, false);
#pragma GCC unroll 3
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
            for (int r = 0; r < nr; r += 4)
                *(v4_any *)(s + (size_t)i * KEY_BLOCK + j + r) =
                    v8_sum4(acc[r * mr + i], acc[(r + 1) * mr + i], acc[(r + 2) * mr + i],
                            acc[(r + 3) * mr + i]);
    }
}

struct attn_state {
    float top, sum;
};

/* Scores of one query become p; returns the factor for its o. Visible: [from, to) of the block. */
INLINE float attn_softmax(struct attn_state *state, float *s, uint32_t from, uint32_t to,
                          float scale)
{
    const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7};
    if (from >= to) {
        memset(s, 0, KEY_BLOCK * sizeof(float));
        return 1;
    }
    v8 masked[KEY_BLOCK / 8], top = v8_set(-INFINITY);
    for (int i = 0; i < (int)KEY_BLOCK / 8; i++) {
        v8i at = lane + i * 8;
        v8i seen = (at >= (int32_t)from) & (at < (int32_t)to);
        masked[i] = v8_pick(seen, v8_load(s + i * 8) * v8_set(scale), v8_set(-INFINITY));
        top = v8_max(top, masked[i]);
    }
    float new_top = v8_top(top);
    new_top = new_top > state->top ? new_top : state->top;
    v8 sum = v8_set(0);
    for (int i = 0; i < (int)KEY_BLOCK / 8; i++) {
        v8i seen = masked[i] > v8_set(-INFINITY);
        v8 p = (v8)((v8i)v8_exp(masked[i] - v8_set(new_top)) & seen);
        v8_store(s + i * 8, p);
        sum += p;
    }
    float factor = v8_exp(v8_set(state->top - new_top))[0];
    if (state->top == -INFINITY)
        factor = 0;
    state->top = new_top;
    state->sum = state->sum * factor + v8_sum(sum);
    return factor;
}

/* o = o * factor + p v for mr queries and nv vectors of 8 dimensions. */
INLINE void attn_values(const struct attn_block *block, const float *p, const float *factor,
                        float *o, size_t o_stride, uint32_t dim_first, int nv, int mr)
{
    v8 acc[QUERY_ROWS * 4];
    uint32_t count = block->last - block->first;
#pragma GCC unroll 3
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int d = 0; d < nv; d++)
            acc[i * nv + d] =
                v8_load(o + (size_t)i * o_stride + dim_first + d * 8) * v8_set(factor[i]);
    for (uint32_t j = 0; j < count; j++) {
        v8 pv[QUERY_ROWS];
#pragma GCC unroll 3
        for (int i = 0; i < mr; i++)
            pv[i] = v8_set(p[(size_t)i * KEY_BLOCK + j]);
#pragma GCC unroll 4
        for (int d = 0; d < nv; d++) {
            v8 v = v8_load(block->v[j] + dim_first + d * 8);
#pragma GCC unroll 3
            for (int i = 0; i < mr; i++)
                MULTIPLY_ADD(acc[i * nv + d], pv[i], v);
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int d = 0; d < nv; d++)
            v8_store(o + (size_t)i * o_stride + dim_first + d * 8, acc[i * nv + d]);
}

/* One block for mr queries whose packed q, scores and o begin at q, s, o. */
INLINE void attn_queries(const struct attn_tile *t, const struct attn_block *block, const float *q,
                         float *s, float *o, struct attn_state *state, uint32_t query, int mr)
{
    uint32_t dim = t->head_dim;
    attn_scores(block, q, s, dim, mr == 1 ? 8 : 4, mr);
    float factor[QUERY_ROWS];
    for (int i = 0; i < mr; i++) {
        uint32_t pos = t->pos_first + (query + (uint32_t)i) / t->group;
        uint32_t low = t->window && pos + 1 > t->window ? pos + 1 - t->window : 0;
        uint32_t from = MAX(low, block->first) - block->first;
        uint32_t end = MIN(pos + 1, block->last);
        uint32_t to = end > block->first ? end - block->first : 0;
        factor[i] = attn_softmax(&state[i], s + (size_t)i * KEY_BLOCK, from, to, t->scale);
    }
    uint32_t d = 0;
    for (; d + 32 <= dim; d += 32)
        attn_values(block, s, factor, o, dim, d, 4, mr);
    for (; d < dim; d += 8)
        attn_values(block, s, factor, o, dim, d, 1, mr);
}

/* Queries into the layout of dot_body.h, three to a register tile. */
static void attn_pack(const struct attn_tile *t, float *packed, uint32_t queries)
{
    uint32_t dim = t->head_dim, dim_padded = ROUND_UP(dim, K_BLOCK);
    for (uint32_t query = 0; query < queries; query++) {
        uint32_t first = query / QUERY_ROWS * QUERY_ROWS;
        uint32_t rows = MIN(QUERY_ROWS, queries - first);
        const float *q = t->q + (query / t->group) * t->q_stride + (query % t->group) * (size_t)dim;
        float *to = packed + (size_t)first * dim_padded + (size_t)(query - first) * 8;
        for (uint32_t d = 0; d < dim_padded; d += 8, to += (size_t)rows * 8)
            v8_store(to, d < dim ? v8_load(q + d) : v8_set(0));
    }
}

static void body_attend(const struct attn_tile *t)
{
    uint32_t queries = t->tokens * t->group, dim = t->head_dim;
    size_t dim_padded = ROUND_UP(dim, K_BLOCK);
    float *packed = t->scratch, *o = packed + QUERY_TILE * dim_padded,
          *s = o + QUERY_TILE * (size_t)dim;
    struct attn_state state[QUERY_TILE];
    for (uint32_t i = 0; i < queries; i++)
        state[i] = (struct attn_state){.top = -INFINITY};
    memset(o, 0, (size_t)queries * dim * sizeof(float));
    attn_pack(t, packed, queries);

    uint32_t end = t->pos_first + t->tokens;
    uint32_t start = t->window && t->pos_first + 1 > t->window ? t->pos_first + 1 - t->window : 0;
    struct attn_block block;
    for (uint32_t base = start / KEY_BLOCK * KEY_BLOCK; base < end; base += KEY_BLOCK) {
        block.first = base;
        block.last = MIN(base + KEY_BLOCK, end);
        attn_block_init(&block, t);
        for (uint32_t i = 0; i < queries; i += QUERY_ROWS) {
            const float *q = packed + i * dim_padded;
            float *si = s + (size_t)i * KEY_BLOCK, *oi = o + (size_t)i * dim;
            if (queries - i >= 3)
                attn_queries(t, &block, q, si, oi, state + i, i, 3);
            else if (queries - i == 2)
                attn_queries(t, &block, q, si, oi, state + i, i, 2);
            else
                attn_queries(t, &block, q, si, oi, state + i, i, 1);
        }
    }
    for (uint32_t i = 0; i < queries; i++) {
        float *out = t->out + (i / t->group) * t->out_stride + (i % t->group) * (size_t)dim;
        for (uint32_t d = 0; d < dim; d += 8)
            v8_store(out + d, v8_load(o + (size_t)i * dim + d) / v8_set(state[i].sum));
    }
}

#endif
