#include "bench/works/quantile.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double quantile(double *values, size_t count, double q)
{
    if (count == 0)
        return -1;
    qsort(values, count, sizeof(*values), compare);
    return values[MIN((size_t)(q * (double)count), count - 1)];
}
