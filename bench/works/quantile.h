/* quantile - of a run's measured values. */
#ifndef MSGL_BENCH_WORKS_QUANTILE_H
#define MSGL_BENCH_WORKS_QUANTILE_H

#include "common/base.h"

/* The value that a share q of them lies below, the largest for 1; sorts them. -1 when there are none. */
double quantile(double *values, size_t count, double q);

#endif
