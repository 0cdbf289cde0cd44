#include "router/telemetry.h"

#include <stdio.h>

#include "common/clock.h"

static const double ttft_buckets[] = {0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                      0.75,  1,    2.5,  5,    7.5,  10,   20,  40,   80};
static const double itl_buckets[] = {0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05,
                                     0.075, 0.1,    0.15,  0.2,  0.3,   0.5,  1,    2.5};
static const double e2e_buckets[] = {0.05, 0.1, 0.25, 0.5, 1,  1.5, 2,   2.5, 5,
                                     10,   15,  20,   30,  60, 120, 240, 480, 960};

#define COUNTER(name, help) {"msgl_router_" name, METRIC_COUNTER, help, NULL, 0}
#define GAUGE(name, help) {name, METRIC_GAUGE, help, NULL, 0}
#define HISTOGRAM(name, buckets, help)                                                             \
    {"msgl_router_" name, METRIC_HISTOGRAM, help, buckets, ARRAY_LEN(buckets)}

static const struct metric_family families[] = {
    [METRIC_WORKERS] = GAUGE("msgl_router_workers", "workers that take new work"),
    [METRIC_STREAMS] = GAUGE("msgl_router_streams", "choices in progress, waiting ones included"),
    [METRIC_QUEUED] = GAUGE("msgl_router_queued", "choices that wait for a slot"),
    [METRIC_CALLS] = COUNTER("calls_total", "calls answered, by HTTP status"),
    [METRIC_DISPATCHED] = COUNTER("dispatched_total", "reqs sent, by worker"),
    [METRIC_ROUTED] = COUNTER("routed_total", "routing decisions, by policy and reason"),
    [METRIC_RETRIED] = COUNTER("retried_total", "attempts lost before their first token"),
    [METRIC_RESUMED] = COUNTER("resumed_total", "attempts lost after their first token"),
    [METRIC_PROMPT_TOKENS] = COUNTER("prompt_tokens_total", "prompt tokens of calls"),
    [METRIC_CACHED_TOKENS] = COUNTER("cached_tokens_total", "prompt tokens that workers had cached"),
    [METRIC_EXPECTED_TOKENS] =
        COUNTER("expected_tokens_total", "prompt tokens that the index said were cached"),
    [METRIC_PREFILLED] =
        COUNTER("prefilled_tokens_total", "prompt tokens that a worker did not have cached, by worker"),
    [METRIC_GENERATED_TOKENS] = COUNTER("generated_tokens_total", "tokens that workers generated"),
    [METRIC_TTFT] = HISTOGRAM("time_to_first_token_seconds", ttft_buckets,
                              "from the request to its first token"),
    [METRIC_ITL] = HISTOGRAM("inter_token_latency_seconds", itl_buckets,
                             "between two tokens of a call, at the router"),
    [METRIC_E2E] = HISTOGRAM("e2e_request_latency_seconds", e2e_buckets,
                             "from the request to its last byte"),
    [METRIC_INDEX_PAGES] = GAUGE("msgl_router_index_pages", "pages known, by worker"),
    [METRIC_INDEX_BYTES] = GAUGE("msgl_router_index_bytes", "memory of the prefix index"),
    [METRIC_INDEX_KNOWN] = GAUGE("msgl_router_index_exact", "1: the index follows this worker"),
    [METRIC_CACHE_GAPS] = COUNTER("cache_gaps_total", "CACHE frames missed"),
    [METRIC_REFUSED] = COUNTER("workers_refused_total", "HELLO frames refused"),
    [METRIC_DEAD] = COUNTER("workers_dead_total", "workers that fell silent"),
    [METRIC_CORRUPT] = COUNTER("corrupt_frames_total", "frames that did not decode"),
    [METRIC_WORKER_RUNNING] = GAUGE("msgl_worker_running", "running reqs, as the worker says"),
    [METRIC_WORKER_WAITING] = GAUGE("msgl_worker_waiting", "waiting reqs, as the worker says"),
    [METRIC_WORKER_PENDING] =
        GAUGE("msgl_worker_pending_prefill_tokens", "prompt tokens still to compute"),
    [METRIC_WORKER_PAGES_FREE] = GAUGE("msgl_worker_pages_free", "pages free or evictable"),
    [METRIC_WORKER_ROOM] = GAUGE("msgl_router_worker_room", "reqs that the router may send now"),
    [METRIC_WORKER_STEPS] = GAUGE("msgl_worker_steps", "steps completed"),
    [METRIC_WORKER_RETRACTIONS] =
        GAUGE("msgl_worker_retractions", "reqs sent back to waiting for want of pages"),
};

struct metrics *telemetry_new(void)
{
    struct metrics *metrics = metrics_new(families, METRIC_COUNT);
    metrics_set(metrics, METRIC_WORKERS, "", 0);
    metrics_set(metrics, METRIC_STREAMS, "", 0);
    return metrics;
}

#define LABEL_BYTES (PROTO_NAME_BYTES_MAX * 2 + 32)

/* worker="…" with the name escaped as the exposition format wants it. */
static void worker_label(const struct worker *worker, char out[LABEL_BYTES])
{
    size_t len = (size_t)snprintf(out, LABEL_BYTES, "worker=\"");
    for (const char *c = worker->name; *c && len + 4 < LABEL_BYTES; c++) {
        if (*c == '"' || *c == '\\' || *c == '\n')
            out[len++] = '\\';
        out[len++] = *c == '\n' ? 'n' : *c;
    }
    out[len++] = '"';
    out[len] = '\0';
}

static void set_total(struct metrics *metrics, enum router_metric family, double total)
{
    metrics_add(metrics, family, "", total - metrics_get(metrics, family, ""));
}

static void refresh_worker(struct router *router, const struct worker *worker)
{
    char label[LABEL_BYTES];
    struct metrics *metrics = router->metrics;
    worker_label(worker, label);
    metrics_set(metrics, METRIC_INDEX_PAGES, label,
                (double)prefix_index_pages(&router->fleet.index, worker->index));
    metrics_set(metrics, METRIC_INDEX_KNOWN, label, worker->cache_known ? 1 : 0);
    metrics_set(metrics, METRIC_WORKER_RUNNING, label, worker->load.running);
    metrics_set(metrics, METRIC_WORKER_WAITING, label, worker->load.waiting);
    metrics_set(metrics, METRIC_WORKER_PENDING, label, (double)worker_pending_tokens(worker));
    metrics_set(metrics, METRIC_WORKER_PAGES_FREE, label, worker->load.pages_free);
    metrics_set(metrics, METRIC_WORKER_ROOM, label, worker_room(worker));
    metrics_set(metrics, METRIC_WORKER_STEPS, label, (double)worker->load.step);
    metrics_set(metrics, METRIC_WORKER_RETRACTIONS, label, (double)worker->load.retractions);
}

void telemetry_refresh(struct router *router)
{
    struct metrics *metrics = router->metrics;
    uint32_t length_max, length_best;
    metrics_set(metrics, METRIC_WORKERS, "",
                fleet_serving(&router->fleet, NULL, &length_max, &length_best));
    metrics_set(metrics, METRIC_STREAMS, "", router->streams);
    metrics_set(metrics, METRIC_QUEUED, "", router->queued);
    metrics_set(metrics, METRIC_INDEX_BYTES, "", (double)prefix_index_bytes(&router->fleet.index));
    set_total(metrics, METRIC_CACHE_GAPS, (double)router->fleet.gaps_total);
    set_total(metrics, METRIC_REFUSED, (double)router->fleet.refused_total);
    set_total(metrics, METRIC_DEAD, (double)router->fleet.dead_total);
    set_total(metrics, METRIC_CORRUPT, (double)router->corrupt_frames);
    for (uint32_t i = 0; i < router->fleet.limit; i++) {
        if (router->fleet.workers[i])
            refresh_worker(router, router->fleet.workers[i]);
    }
}

void telemetry_forget(struct router *router, const struct worker *worker)
{
    char label[LABEL_BYTES];
    worker_label(worker, label);
    metrics_forget(router->metrics, METRIC_INDEX_PAGES, label);
    metrics_forget(router->metrics, METRIC_INDEX_KNOWN, label);
    for (size_t family = METRIC_WORKER_RUNNING; family < METRIC_COUNT; family++)
        metrics_forget(router->metrics, family, label);
}

void telemetry_dispatched(struct router *router, const struct worker *worker, const char *reason,
                          const struct route_candidate *picked)
{
    char label[LABEL_BYTES];
    worker_label(worker, label);
    metrics_add(router->metrics, METRIC_DISPATCHED, label, 1);
    snprintf(label, sizeof(label), "policy=\"%s\",reason=\"%s\"", router->policy->name, reason);
    metrics_add(router->metrics, METRIC_ROUTED, label, 1);
    metrics_add(router->metrics, METRIC_EXPECTED_TOKENS, "",
                picked->held_tokens + picked->expected_tokens);
}

void telemetry_prefilled(struct router *router, const struct worker *worker, uint32_t tokens)
{
    char label[LABEL_BYTES];
    worker_label(worker, label);
    metrics_add(router->metrics, METRIC_PREFILLED, label, tokens);
}

void telemetry_tokens(struct call *call, uint32_t count)
{
    struct metrics *metrics = call->router->metrics;
    uint64_t now_ns = clock_now_ns();
    metrics_add(metrics, METRIC_GENERATED_TOKENS, "", count);
    api_key_generated(call->key, count);
    if (call->first_token_ns == 0) {
        call->first_token_ns = now_ns;
        metrics_observe(metrics, METRIC_TTFT, "", (double)(now_ns - call->began_ns) * 1e-9);
    } else if (call->stream_count == 1) {
        metrics_observe(metrics, METRIC_ITL, "", (double)(now_ns - call->last_token_ns) * 1e-9);
    }
    call->last_token_ns = now_ns;
}

void telemetry_ended(struct call *call, int http_status)
{
    char label[32];
    snprintf(label, sizeof(label), "status=\"%d\"", http_status);
    metrics_add(call->router->metrics, METRIC_CALLS, label, 1);
    if (http_status == 200)
        metrics_observe(call->router->metrics, METRIC_E2E, "",
                        (double)(clock_now_ns() - call->began_ns) * 1e-9);
}
