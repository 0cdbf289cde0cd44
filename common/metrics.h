/* metrics - counters, gauges and histograms in Prometheus' text format.
 *
 * A process declares its families in one table and keeps values in a `struct metrics`. One label
 * set a sample, given as ready text (`model_name="x"`); a family holds at most
 * METRICS_SAMPLES_MAX label sets, later ones go to `other="true"`. Loop thread only.
 */
#ifndef MSGL_COMMON_METRICS_H
#define MSGL_COMMON_METRICS_H

#include "common/buf.h"

#define METRICS_SAMPLES_MAX 256
#define METRICS_BUCKETS_MAX 24

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_family {
    const char *name; /* "msgl_router_calls_total" */
    enum metric_type type;
    const char *help;
    const double *buckets; /* HISTOGRAM: ascending upper bounds, without +Inf */
    size_t bucket_count;
};

struct metrics; /* opaque */
struct metrics *metrics_new(const struct metric_family *families, size_t family_count);
void metrics_free(struct metrics *metrics);

/* `family` is the index in the table; `labels` may be "" . */
void metrics_add(struct metrics *metrics, size_t family, const char *labels, double delta);
void metrics_set(struct metrics *metrics, size_t family, const char *labels, double value);
void metrics_observe(struct metrics *metrics, size_t family, const char *labels, double value);
double metrics_get(const struct metrics *metrics, size_t family, const char *labels);
void metrics_forget(struct metrics *metrics, size_t family, const char *labels); /* a worker left */

/* Appends the whole exposition (text/plain; version=0.0.4). */
void metrics_write(const struct metrics *metrics, struct buf *out);

#endif
