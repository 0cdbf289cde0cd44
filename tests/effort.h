/* effort - how often a test repeats what is random in it.
 *
 *     for (uint64_t n = 0; n < effort(100000); n++) ...
 *
 * Sanitizers make each round ten to forty times as slow, and a round of one thread shows nothing to
 * ThreadSanitizer: ASan+UBSan builds run a quarter of the rounds, TSan builds a twentieth.
 * MSGL_EFFORT=N in the environment runs N times as many (tests/run --long).
 */
#ifndef MSGL_TESTS_EFFORT_H
#define MSGL_TESTS_EFFORT_H

#include <stdint.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__)
#define EFFORT_DIVISOR 20
#elif defined(__SANITIZE_ADDRESS__)
#define EFFORT_DIVISOR 4
#else
#define EFFORT_DIVISOR 1
#endif

static inline uint64_t effort(uint64_t rounds)
{
    const char *text = getenv("MSGL_EFFORT");
    uint64_t times = text && *text ? strtoull(text, NULL, 10) : 1;
    rounds = rounds * (times ? times : 1) / EFFORT_DIVISOR;
    return rounds ? rounds : 1;
}

#endif
