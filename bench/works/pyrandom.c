#include "bench/works/pyrandom.h"

#define N PYRANDOM_WORDS
#define M 397

static void seed_word(struct pyrandom *random, uint32_t seed)
{
    random->state[0] = seed;
    for (uint32_t i = 1; i < N; i++) {
        uint32_t last = random->state[i - 1];
        random->state[i] = 1812433253u * (last ^ last >> 30) + i;
    }
}

void pyrandom_seed(struct pyrandom *random, uint64_t seed)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t len = key[1] != 0 ? 2 : 1, i = 1, j = 0, *state = random->state;
    seed_word(random, 19650218u);
    for (uint32_t k = 0; k < N; k++) {
        state[i] = (state[i] ^ (state[i - 1] ^ state[i - 1] >> 30) * 1664525u) + key[j] + j;
        j = (j + 1) % len;
        if (++i == N) {
            state[0] = state[N - 1];
            i = 1;
        }
    }
    for (uint32_t k = 0; k < N - 1; k++) {
        state[i] = (state[i] ^ (state[i - 1] ^ state[i - 1] >> 30) * 1566083941u) - i;
        if (++i == N) {
            state[0] = state[N - 1];
            i = 1;
        }
    }
    state[0] = 0x80000000u;
    random->at = N;
}

static void refill(struct pyrandom *random)
{
    uint32_t *state = random->state;
    for (uint32_t i = 0; i < N; i++) {
        uint32_t y = (state[i] & 0x80000000u) | (state[(i + 1) % N] & 0x7fffffffu);
        state[i] = state[(i + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    random->at = 0;
}

uint32_t pyrandom_u32(struct pyrandom *random)
{
    if (random->at == N)
        refill(random);
    uint32_t y = random->state[random->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

double pyrandom_unit(struct pyrandom *random)
{
    uint32_t a = pyrandom_u32(random) >> 5, b = pyrandom_u32(random) >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
}

uint32_t pyrandom_int(struct pyrandom *random, uint32_t low, uint32_t high)
{
    uint32_t count = high - low + 1, bits = 0, drawn;
    while (bits < 32 && count >> bits != 0)
        bits++;
    do
        drawn = pyrandom_u32(random) >> (32 - bits);
    while (drawn >= count);
    return low + drawn;
}
