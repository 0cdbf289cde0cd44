/* rng - the only sources of randomness.
 *
 * rng_next() is splitmix64 (Steele, Lea, Flood 2014): seeded, for tests, dummy weights, ids.
 * philox4x32() is Philox4x32-10 (Salmon et al., SC'11): counter-based, for sampling, so that a
 * token depends only on (seed, choice, position) and a resumed stream goes on identically.
 */
#ifndef MSGL_COMMON_RNG_H
#define MSGL_COMMON_RNG_H

#include "common/base.h"

static inline uint64_t rng_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, bound), bound >= 1. */
static inline uint64_t rng_below(uint64_t *state, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_next(state) * bound) >> 64);
}

/* Uniform in [0, 1). */
static inline double rng_unit(uint64_t *state)
{
    return (double)(rng_next(state) >> 11) * 0x1.0p-53;
}

static inline HOST_DEVICE void philox4x32(const uint32_t counter[4], const uint32_t key[2],
                                          uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* 64 bits from the operating system; for epochs, seeds and ids. */
uint64_t rng_os(void);

#endif
