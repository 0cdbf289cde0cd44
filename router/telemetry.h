/* telemetry - what the router counts, and the table of its metric families. */
#ifndef MSGL_ROUTER_TELEMETRY_H
#define MSGL_ROUTER_TELEMETRY_H

#include "router/call.h"

enum router_metric {
    METRIC_WORKERS,
    METRIC_STREAMS,
    METRIC_QUEUED,
    METRIC_CALLS,
    METRIC_DISPATCHED,
    METRIC_ROUTED,
    METRIC_RETRIED,
    METRIC_RESUMED,
    METRIC_PROMPT_TOKENS,
    METRIC_CACHED_TOKENS,
    METRIC_EXPECTED_TOKENS,
    METRIC_PREFILLED,
    METRIC_GENERATED_TOKENS,
    METRIC_TTFT,
    METRIC_ITL,
    METRIC_E2E,
    METRIC_QUEUE_TIME,
    METRIC_SUCCESS,
    METRIC_DRAINING,
    METRIC_SLOW_READERS,
    METRIC_KEY_CALLS,
    METRIC_KEY_REFUSED,
    METRIC_KEY_PROMPT,
    METRIC_KEY_GENERATED,
    METRIC_KEY_QUEUED,
    METRIC_KEY_RUNNING,
    METRIC_QUEUE_REFUSED,
    METRIC_INDEX_PAGES,
    METRIC_INDEX_BYTES,
    METRIC_INDEX_KNOWN,
    METRIC_CACHE_GAPS,
    METRIC_REFUSED,
    METRIC_DEAD,
    METRIC_CORRUPT,
    METRIC_WORKER_RUNNING,
    METRIC_WORKER_WAITING,
    METRIC_WORKER_PENDING,
    METRIC_WORKER_PAGES_FREE,
    METRIC_WORKER_ROOM,
    METRIC_WORKER_STEPS,
    METRIC_WORKER_RETRACTIONS,
    METRIC_COUNT
};

struct metrics *telemetry_new(void);
/* The labels of a call's samples, in its arena. */
const char *telemetry_labels(struct call *call);
/* Brings the gauges up to date; before an exposition. */
void telemetry_refresh(struct router *router);
void telemetry_forget(struct router *router, const struct worker *worker);

void telemetry_dispatched(struct router *router, const struct worker *worker, const char *reason,
                          const struct route_candidate *picked);
/* The first token came: what the worker had to compute of the prompt is known. */
void telemetry_prefilled(struct router *router, const struct worker *worker, uint32_t tokens);
void telemetry_tokens(struct call *call, uint32_t count);
void telemetry_ended(struct call *call, int http_status);

#endif
