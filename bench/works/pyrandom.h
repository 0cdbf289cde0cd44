/* pyrandom - the numbers that Python's `random` draws, so that workloads given as Python are the same
 * here: MT19937 (Matsumoto and Nishimura 1998), seeded by seed(int) as an array of 32-bit words.
 */
#ifndef MSGL_BENCH_WORKS_PYRANDOM_H
#define MSGL_BENCH_WORKS_PYRANDOM_H

#include "common/base.h"

#define PYRANDOM_WORDS 624

struct pyrandom {
    uint32_t state[PYRANDOM_WORDS];
    uint32_t at; /* words of the state used up */
};

void pyrandom_seed(struct pyrandom *random, uint64_t seed); /* random.seed(seed) */
uint32_t pyrandom_u32(struct pyrandom *random);             /* getrandbits(32) */
double pyrandom_unit(struct pyrandom *random);              /* random() */
/* randint(low, high): both can come; high - low < 2^32 - 1 */
uint32_t pyrandom_int(struct pyrandom *random, uint32_t low, uint32_t high);

#endif
