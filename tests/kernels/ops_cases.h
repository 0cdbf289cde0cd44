/* ops_cases - what each op is tested on: shapes, dtypes and tolerances, for every backend.
 *
 * Odd sizes on purpose: one less and one more than the kernels' blocks (k: 16, n: 3, 4, 8, 24,
 * rows: 4, keys: 64, queries: 48). Tolerances are relative to max(1, |value|), with inputs near 1.
 */
#ifndef MSGL_TESTS_KERNELS_OPS_CASES_H
#define MSGL_TESTS_KERNELS_OPS_CASES_H

#include "kernels/ops.h"

struct matmul_case {
    uint32_t m, n, k;
    enum dtype dtype;
    bool bias;
    double tolerance;
};

static const struct matmul_case matmul_cases[] = {
    {1, 1, 1, DTYPE_F32, false, 1e-5},       {1, 8, 16, DTYPE_BF16, true, 1e-5},
    {1, 7, 15, DTYPE_BF16, false, 1e-5},     {2, 9, 17, DTYPE_BF16, true, 1e-5},
    {3, 5, 31, DTYPE_BF16, true, 1e-5},      {4, 3, 33, DTYPE_F32, true, 1e-5},
    {5, 25, 48, DTYPE_BF16, false, 1e-5},    {7, 23, 8, DTYPE_F32, true, 1e-5},
    {8, 49, 100, DTYPE_BF16, true, 1e-5},    {13, 11, 65, DTYPE_F32, false, 1e-5},
    {37, 97, 129, DTYPE_BF16, true, 1e-5},   {129, 50, 64, DTYPE_BF16, false, 1e-5},
    {130, 29, 577, DTYPE_F32, false, 2e-5},  {1, 960, 576, DTYPE_BF16, false, 2e-5},
    {260, 72, 576, DTYPE_BF16, false, 2e-5}, {6, 576, 1536, DTYPE_BF16, false, 2e-5},
};

struct attn_case {
    uint32_t q_heads, kv_heads, head_dim, page_size, window;
    uint32_t rows[4][2]; /* token_count, pos_first; 0 tokens ends the list */
    double tolerance;
};

static const struct attn_case attn_cases[] = {
    {1, 1, 64, 16, 0, {{1, 0}}, 1e-5},
    {9, 3, 64, 16, 0, {{1, 63}, {1, 64}, {1, 200}, {1, 0}}, 1e-5},
    {9, 3, 64, 16, 0, {{70, 0}, {1, 17}, {33, 31}}, 1e-5},
    {4, 4, 64, 1, 0, {{5, 3}, {1, 129}}, 1e-5},
    {8, 2, 64, 7, 0, {{17, 60}, {1, 6}}, 1e-5},
    {7, 1, 128, 64, 0, {{9, 120}, {1, 64}}, 1e-5},
    {8, 1, 64, 16, 0, {{65, 1}}, 1e-5},
    {16, 1, 128, 16, 0, {{4, 0}, {1, 100}}, 1e-5},
    {32, 2, 64, 32, 0, {{3, 62}}, 1e-5},
    {6, 2, 24, 5, 0, {{11, 0}, {1, 80}}, 1e-5},
    {2, 2, 8, 3, 0, {{19, 50}}, 1e-5},
    {9, 3, 64, 16, 1, {{40, 50}, {1, 70}}, 1e-5},
    {3, 1, 64, 16, 20, {{70, 0}, {1, 64}, {1, 84}}, 1e-5},
    {4, 2, 128, 8, 64, {{30, 100}, {1, 127}}, 1e-5},
    {4, 4, 64, 16, 1000, {{30, 100}}, 1e-5},
};

struct row_case {
    uint32_t rows, dim;
    double tolerance;
};

static const struct row_case row_cases[] = {
    {1, 1, 1e-6},   {1, 8, 1e-6},     {3, 7, 1e-6},    {2, 33, 1e-6},
    {5, 576, 2e-6}, {70, 1536, 2e-6}, {1, 4097, 2e-6},
};

struct rope_case {
    uint32_t tokens, q_heads, kv_heads, head_dim, page_size;
    bool norm;
    double tolerance;
};

static const struct rope_case rope_cases[] = {
    {1, 9, 3, 64, 16, false, 1e-5}, {37, 9, 3, 64, 16, false, 1e-5}, {5, 4, 4, 128, 1, true, 1e-5},
    {18, 7, 1, 64, 7, true, 1e-5},  {3, 16, 1, 24, 64, true, 1e-5},  {2, 2, 2, 8, 3, false, 1e-5},
};

#endif
