/* simd - eight f32 lanes in GCC vector extensions, so that one source serves every CPU.
 *
 * isa_avx2.c and isa_generic.c include this file and the *_body.h files under their own target
 * options. Everything here is inlined into its user, so each copy keeps to its file's target.
 *
 * A dot product has one order of roundings everywhere: lane l takes k = l, l+8, l+16 … of the
 * packed layout with multiply-adds, then v8_sum's tree adds the lanes. Hence the bits of an output
 * do not depend on how many rows or columns a call has.
 */
#ifndef MSGL_KERNELS_CPU_SIMD_H
#define MSGL_KERNELS_CPU_SIMD_H

#include "common/base.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif
#include <string.h>

/* Makes the compiler hold v in a register instead of loading it again for every use. */
#ifdef __AVX2__
#define HOLD(v) __asm__("" : "+x"(v))
/* acc += a * b in place; left to itself the compiler runs out of the 16 registers and spills. */
#define MULTIPLY_ADD(acc, a, b)                                                                    \
    do {                                                                                           \
        v8 sum_ = (acc);                                                                           \
        __asm__("vfmadd231ps %1, %2, %0" : "+x"(sum_) : "x"(a), "x"(b));                           \
        (acc) = sum_;                                                                              \
    } while (0)
#else
#define HOLD(v)                 ((void)(v))
#define MULTIPLY_ADD(acc, a, b) ((acc) += (a) * (b))
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
typedef uint32_t v8u __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
/* The same bytes at any address. */
typedef float v8_any __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint32_t v8u_any __attribute__((vector_size(32), aligned(1), may_alias));
typedef float v4_any __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint16_t v8h_any __attribute__((vector_size(16), aligned(1), may_alias));

INLINE v8 v8_load(const void *p)
{
    return *(const v8_any *)p;
}

INLINE void v8_store(void *p, v8 v)
{
    *(v8_any *)p = v;
}

INLINE v8 v8_set(float x)
{
    return (v8){x, x, x, x, x, x, x, x};
}

/* Per lane: mask ? a : b; mask lanes are all ones or zero. */
INLINE v8 v8_pick(v8i mask, v8 a, v8 b)
{
    return (v8)(((v8i)a & mask) | ((v8i)b & ~mask));
}

/* a > b ? a : b, so b where either is NaN. */
INLINE v8 v8_max(v8 a, v8 b)
{
#ifdef __AVX2__
    return (v8)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v8_pick(a > b, a, b);
#endif
}

/* a < b ? a : b */
INLINE v8 v8_min(v8 a, v8 b)
{
#ifdef __AVX2__
    return (v8)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return v8_pick(a < b, a, b);
#endif
}

/* [a01 a23 b01 b23 | a45 a67 b45 b67] */
INLINE v8 v8_pairs(v8 a, v8 b)
{
    return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}

INLINE v4 v8_low(v8 a)
{
    return __builtin_shufflevector(a, a, 0, 1, 2, 3);
}

INLINE v4 v8_high(v8 a)
{
    return __builtin_shufflevector(a, a, 4, 5, 6, 7);
}

/* Four sums at once, each ((0+1)+(2+3)) + ((4+5)+(6+7)). */
INLINE v4 v8_sum4(v8 a, v8 b, v8 c, v8 d)
{
    v8 sums = v8_pairs(v8_pairs(a, b), v8_pairs(c, d));
    return v8_low(sums) + v8_high(sums);
}

/* The same tree for one. */
INLINE float v8_sum(v8 a)
{
    return v8_sum4(a, a, a, a)[0];
}

/* The largest lane; no lane may be NaN. */
INLINE float v8_top(v8 a)
{
    a = v8_max(a, __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3));
    a = v8_max(a, __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5));
    return v8_max(a, __builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6))[0];
}

/* exp(x) within 2 ulp for x in [-87, 88]; outside, the nearest end's value. exp(0) is exactly 1.
 * x = n ln 2 + r, a minimax polynomial of degree 6 in r (Cephes' expf), n into the exponent. */
INLINE v8 v8_exp(v8 x)
{
    x = v8_max(x, v8_set(-87.0f));
    x = v8_min(x, v8_set(88.0f));
    const v8 magic = v8_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    v8 n = (x * v8_set(1.44269504f) + magic) - magic;
    v8 r = x - n * v8_set(0.693359375f);
    r = r + n * v8_set(2.12194440e-4f);
    v8 p = v8_set(1.9875691500e-4f);
    p = p * r + v8_set(1.3981999507e-3f);
    p = p * r + v8_set(8.3334519073e-3f);
    p = p * r + v8_set(4.1665795894e-2f);
    p = p * r + v8_set(1.6666665459e-1f);
    p = p * r + v8_set(5.0000001201e-1f);
    p = p * r * r + r + v8_set(1.0f);
    v8i exponent = __builtin_convertvector(n, v8i) << 23;
    return (v8)((v8i)p + exponent);
}

/* Lanes 0..count-1 of p; the rest are 0. */
INLINE v8 v8_load_some(const float *p, uint32_t count)
{
    float lanes[8] = {0};
    memcpy(lanes, p, count * sizeof(float));
    return v8_load(lanes);
}

INLINE v8 v8_load_bf16(const uint16_t *p)
{
    v8u wide = __builtin_convertvector(*(const v8h_any *)p, v8u);
    return (v8)(wide << 16);
}

#endif
