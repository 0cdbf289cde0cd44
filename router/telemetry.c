#include "router/telemetry.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "router/stream.h"

static const double ttft_buckets[] = {0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                      0.75,  1,    2.5,  5,    7.5,  10,   20,  40,   80};
static const double itl_buckets[] = {0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05,
                                     0.075, 0.1,    0.15,  0.2,  0.3,   0.5,  1,    2.5};
static const double e2e_buckets[] = {0.05, 0.1, 0.25, 0.5, 1,  1.5, 2,   2.5, 5,
                                     10,   15,  20,   30,  60, 120, 240, 480, 960};

#define COUNTER(name, help)                                                                        \
    {                                                                                              \
        "msgl_router_" name, METRIC_COUNTER, help, NULL, 0                                         \
    }
#define GAUGE(name, help)                                                                          \
    {                                                                                              \
        name, METRIC_GAUGE, help, NULL, 0                                                          \
    }
#define HISTOGRAM(name, buckets, help)                                                             \
    {                                                                                              \
        "msgl_router_" name, METRIC_HISTOGRAM, help, buckets, ARRAY_LEN(buckets)                   \
    }

#define VLLM(name, buckets, help)                                                                  \
    {                                                                                              \
        "vllm:" name, METRIC_HISTOGRAM, help, buckets, ARRAY_LEN(buckets)                          \
    }

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
    [METRIC_CACHED_TOKENS] =
        COUNTER("cached_tokens_total", "prompt tokens that workers had cached"),
    [METRIC_EXPECTED_TOKENS] =
        COUNTER("expected_tokens_total", "prompt tokens that the index said were cached"),
    [METRIC_PREFILLED] = COUNTER("prefilled_tokens_total",
                                 "prompt tokens that a worker did not have cached, by worker"),
    [METRIC_GENERATED_TOKENS] = COUNTER("generated_tokens_total", "tokens that workers generated"),
    [METRIC_TTFT] =
        VLLM("time_to_first_token_seconds", ttft_buckets, "from the request to its first token"),
    [METRIC_ITL] = VLLM("inter_token_latency_seconds", itl_buckets,
                        "between two tokens of a call, at the router"),
    [METRIC_E2E] =
        VLLM("e2e_request_latency_seconds", e2e_buckets, "from the request to its last byte"),
    [METRIC_QUEUE_TIME] =
        VLLM("request_queue_time_seconds", ttft_buckets, "from the request to its first dispatch"),
    [METRIC_SUCCESS] = {"vllm:request_success_total", METRIC_COUNTER,
                        "choices that ended well, by reason", NULL, 0},
    [METRIC_DRAINING] = GAUGE("msgl_router_draining", "1: /ready fails, calls end"),
    [METRIC_SLOW_READERS] = COUNTER("slow_readers_total", "clients cut off: they did not read"),
    [METRIC_KEY_CALLS] = COUNTER("key_calls_total", "calls admitted, by API key"),
    [METRIC_KEY_REFUSED] = COUNTER("key_refused_total", "calls over a limit of their key"),
    [METRIC_KEY_PROMPT] = COUNTER("key_prompt_tokens_total", "prompt tokens, by API key"),
    [METRIC_KEY_GENERATED] = COUNTER("key_generated_tokens_total", "tokens generated, by API key"),
    [METRIC_KEY_QUEUED] =
        GAUGE("msgl_router_key_queued", "choices that wait for their first slot, by API key"),
    [METRIC_KEY_RUNNING] = GAUGE("msgl_router_key_running", "choices on workers, by API key"),
    [METRIC_QUEUE_REFUSED] =
        COUNTER("queue_refused_total", "calls that the queue gave up, by reason"),
    [METRIC_INDEX_PAGES] = GAUGE("msgl_router_index_pages", "pages known, by worker"),
    [METRIC_INDEX_BYTES] = GAUGE("msgl_router_index_bytes",
                                 "memory of the prefix index and of the tree that the page draws"),
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

/* name="text" with the text escaped as the exposition format wants it; cut to `room`. */
static void write_label(const char *name, const char *text, char *out, size_t room)
{
    size_t len = (size_t)snprintf(out, room, "%s=\"", name);
    for (const char *c = text; *c && len + 4 < room; c++) {
        if (*c == '"' || *c == '\\' || *c == '\n')
            out[len++] = '\\';
        out[len++] = *c == '\n' ? 'n' : *c;
    }
    out[len++] = '"';
    out[len] = '\0';
}

static void worker_label(const struct worker *worker, char out[LABEL_BYTES])
{
    write_label("worker", worker->name, out, LABEL_BYTES);
}

static void set_total_of(struct metrics *metrics, enum router_metric family, const char *label,
                         double total)
{
    metrics_add(metrics, family, label, total - metrics_get(metrics, family, label));
}

static void set_total(struct metrics *metrics, enum router_metric family, double total)
{
    set_total_of(metrics, family, "", total);
}

static void refresh_keys(struct router *router)
{
    for (size_t i = 0; i < router->keys.count; i++) {
        const struct api_key *key = router->keys.items[i];
        char label[API_KEY_NAME_BYTES_MAX + 16];
        snprintf(label, sizeof(label), "key=\"%s\"", key->name);
        set_total_of(router->metrics, METRIC_KEY_CALLS, label, (double)key->calls_total);
        set_total_of(router->metrics, METRIC_KEY_REFUSED, label, (double)key->refused_total);
        set_total_of(router->metrics, METRIC_KEY_PROMPT, label, (double)key->prompt_tokens_total);
        set_total_of(router->metrics, METRIC_KEY_GENERATED, label,
                     (double)key->generated_tokens_total);
        metrics_set(router->metrics, METRIC_KEY_QUEUED, label, key->line.waiting);
        metrics_set(router->metrics, METRIC_KEY_RUNNING, label, key->line.running);
    }
}

const char *telemetry_labels(struct call *call)
{
    size_t room = 2 * strlen(call->model->name) + 32;
    char *labels = arena_alloc(&call->arena, room);
    write_label("model_name", call->model->name, labels, room);
    return labels;
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
    metrics_set(metrics, METRIC_QUEUED, "", router->queue.count);
    metrics_set(
        metrics, METRIC_INDEX_BYTES, "",
        (double)(prefix_index_bytes(&router->fleet.index) + page_tree_bytes(&router->tree)));
    metrics_set(metrics, METRIC_DRAINING, "", router->draining);
    metrics_add(metrics, METRIC_SLOW_READERS, "", 0);
    refresh_keys(router);
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
        metrics_observe(metrics, METRIC_TTFT, call->labels,
                        (double)(now_ns - call->began_ns) * 1e-9);
    } else if (call->stream_count == 1) {
        metrics_observe(metrics, METRIC_ITL, call->labels,
                        (double)(now_ns - call->last_token_ns) * 1e-9);
    }
    call->last_token_ns = now_ns;
}

static void count_finish(struct metrics *metrics, const char *labels, const char *finish)
{
    struct buf label = {0};
    buf_printf(&label, "%s,finished_reason=\"%s\"", labels, finish);
    metrics_add(metrics, METRIC_SUCCESS, label.data, 1);
    buf_release(&label);
}

void telemetry_ended(struct call *call, int http_status)
{
    char label[32];
    snprintf(label, sizeof(label), "status=\"%d\"", http_status);
    metrics_add(call->router->metrics, METRIC_CALLS, label, 1);
    uint64_t now_ns = clock_now_ns();
    trace_log(call, http_status, now_ns);
    if (http_status != 200 || call->stream_count == 0)
        return;
    struct metrics *metrics = call->router->metrics;
    metrics_observe(metrics, METRIC_E2E, call->labels, (double)(now_ns - call->began_ns) * 1e-9);
    if (call->trace.dispatched_ns)
        metrics_observe(metrics, METRIC_QUEUE_TIME, call->labels,
                        (double)(call->trace.dispatched_ns - call->began_ns) * 1e-9);
    for (uint32_t i = 0; i < call->stream_count; i++)
        if (call->streams[i].finish)
            count_finish(metrics, call->labels, call->streams[i].finish);
}
