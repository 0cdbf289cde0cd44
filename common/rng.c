#include "common/rng.h"

#include <sys/random.h>

uint64_t rng_os(void)
{
    uint64_t value = 0;
    CHECK(getrandom(&value, sizeof(value), 0) == (ssize_t)sizeof(value));
    return value;
}
