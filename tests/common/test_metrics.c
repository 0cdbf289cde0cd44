#include <stdio.h>
#include <string.h>

#include "common/metrics.h"
#include "tests/common/suite.h"

enum { CALLS, FREE, WAIT };
static const double bounds[] = {0.1, 1, 10};
static const struct metric_family families[] = {
    [CALLS] = {"t_calls_total", METRIC_COUNTER, "calls", NULL, 0},
    [FREE] = {"t_free", METRIC_GAUGE, "free", NULL, 0},
    [WAIT] = {"t_wait_seconds", METRIC_HISTOGRAM, "wait", bounds, 3},
};

START_TEST(test_exposition)
{
    struct metrics *metrics = metrics_new(families, 3);
    struct buf out = {0};

    metrics_add(metrics, CALLS, "code=\"200\"", 2);
    metrics_add(metrics, CALLS, "code=\"200\"", 1);
    metrics_set(metrics, FREE, "", 0.25);
    metrics_observe(metrics, WAIT, "m=\"x\"", 0.1);
    metrics_observe(metrics, WAIT, "m=\"x\"", 0.5);
    metrics_observe(metrics, WAIT, "m=\"x\"", 99);
    metrics_write(metrics, &out);
    ck_assert_str_eq(out.data, "# HELP t_calls_total calls\n"
                               "# TYPE t_calls_total counter\n"
                               "t_calls_total{code=\"200\"} 3\n"
                               "# HELP t_free free\n"
                               "# TYPE t_free gauge\n"
                               "t_free 0.25\n"
                               "# HELP t_wait_seconds wait\n"
                               "# TYPE t_wait_seconds histogram\n"
                               "t_wait_seconds_bucket{m=\"x\",le=\"0.1\"} 1\n"
                               "t_wait_seconds_bucket{m=\"x\",le=\"1\"} 2\n"
                               "t_wait_seconds_bucket{m=\"x\",le=\"10\"} 2\n"
                               "t_wait_seconds_bucket{m=\"x\",le=\"+Inf\"} 3\n"
                               "t_wait_seconds_sum{m=\"x\"} 99.6\n"
                               "t_wait_seconds_count{m=\"x\"} 3\n");
    ck_assert_double_eq(metrics_get(metrics, CALLS, "code=\"200\""), 3);
    metrics_forget(metrics, CALLS, "code=\"200\"");
    metrics_forget(metrics, CALLS, "code=\"200\"");
    ck_assert_double_eq(metrics_get(metrics, CALLS, "code=\"200\""), 0);
    buf_release(&out);
    metrics_free(metrics);
}
END_TEST

START_TEST(test_label_sets_are_bounded)
{
    struct metrics *metrics = metrics_new(families, 3);
    struct buf out = {0};
    size_t lines = 0;

    for (int i = 0; i < 10000; i++) {
        char labels[32];
        snprintf(labels, sizeof(labels), "id=\"%d\"", i);
        metrics_add(metrics, CALLS, labels, 1);
    }
    metrics_write(metrics, &out);
    for (const char *at = out.data; (at = strstr(at, "t_calls_total{")); at++)
        lines++;
    ck_assert_uint_eq(lines, METRICS_SAMPLES_MAX);
    ck_assert_double_eq(metrics_get(metrics, CALLS, "other=\"true\""),
                        10000 - METRICS_SAMPLES_MAX + 1);
    buf_release(&out);
    metrics_free(metrics);
}
END_TEST

SUITE_MAIN("metrics", test_exposition, test_label_sets_are_bounded)
