/* clock - monotonic time. worker/sched never calls this: its caller passes the time in. */
#ifndef MSGL_COMMON_CLOCK_H
#define MSGL_COMMON_CLOCK_H

#include "common/base.h"

uint64_t clock_now_ns(void);  /* CLOCK_MONOTONIC */
uint64_t clock_unix_ms(void); /* wall clock, for what people read */

static inline uint64_t clock_now_ms(void)
{
    return clock_now_ns() / 1000000u;
}

static inline uint64_t clock_unix_s(void)
{
    return clock_unix_ms() / 1000u;
}

#endif
