/* The router's and the workers' rows of /cluster/events. */
#include <string.h>

#include "router/router.h"

#define RATE_MS    1000
#define HIT_FADING 0.9 /* a second */

static const char *const names[WATCH_VALUES] = {
    [WATCH_STREAMS] = "streams",         [WATCH_RUNNING] = "running",   [WATCH_WAITING] = "waiting",
    [WATCH_PENDING] = "pending",         [WATCH_FREE] = "free",         [WATCH_KNOWN] = "known",
    [WATCH_TOKENS_S] = "tokens_s",       [WATCH_HIT] = "hit",           [WATCH_STEP] = "step_us",
    [WATCH_RETRACTIONS] = "retractions", [WATCH_DRAINING] = "draining", [WATCH_EXACT] = "exact",
};

void watch_router(struct router *router, bool all, struct buf *out)
{
    static const char *const of_router[] = {"calls", "streams", "queued", "draining"};
    uint64_t values[ARRAY_LEN(of_router)] = {router->call_count, router->streams,
                                             router->queue.count, router->draining};
    uint64_t *said = router->watch.said_router;
    bool fresh = all || !router->watch.started;
    if (!fresh && memcmp(said, values, sizeof(values)) == 0)
        return;
    if (!all)
        memcpy(said, values, sizeof(values));
    buf_str(out, ",\"router\":{");
    if (fresh) {
        buf_str(out, "\"name\":");
        buf_json_string(out, router->name, strlen(router->name));
        buf_printf(out, ",\"version\":\"%s\",\"policy\":\"%s\",", MSGL_VERSION,
                   router->policy->name);
    }
    for (size_t i = 0; i < ARRAY_LEN(of_router); i++)
        buf_printf(out, "%s\"%s\":%llu", i > 0 ? "," : "", of_router[i],
                   (unsigned long long)said[i]);
    buf_char(out, '}');
}

/* Tokens a second, hit rate in thousandths, and the mean time of a step, once a second. */
static void look_at_counters(struct watch_worker *row, const struct worker *worker, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms - row->at_ms;
    if (row->at_ms == 0)
        passed_ms = 0;
    else if (passed_ms < RATE_MS)
        return;
    if (passed_ms > 0) {
        uint64_t steps = worker->load.step - row->step;
        row->tokens_s = (worker->generated - row->generated) * 1000 / passed_ms;
        row->step_us = steps > 0 ? passed_ms * 1000 / steps : 0;
    }
    row->prompted_sum = row->prompted_sum * HIT_FADING + (double)(worker->prompted - row->prompted);
    row->cached_sum = row->cached_sum * HIT_FADING + (double)(worker->cached - row->cached);
    row->hit =
        row->prompted_sum >= 1 ? (uint64_t)(row->cached_sum / row->prompted_sum * 1000) : row->hit;
    row->at_ms = now_ms;
    row->generated = worker->generated;
    row->prompted = worker->prompted;
    row->cached = worker->cached;
    row->step = worker->load.step;
}

static void values_of(const struct router *router, const struct worker *worker,
                      const struct watch_worker *row, uint64_t values[WATCH_VALUES])
{
    values[WATCH_STREAMS] = worker->stream_count;
    values[WATCH_RUNNING] = worker->load.running;
    values[WATCH_WAITING] = worker->load.waiting;
    values[WATCH_PENDING] = worker_pending_tokens(worker);
    values[WATCH_FREE] = worker->load_seen ? worker->load.pages_free : worker->pages;
    values[WATCH_KNOWN] = prefix_index_pages(&router->fleet.index, worker->index);
    values[WATCH_TOKENS_S] = row->tokens_s;
    values[WATCH_HIT] = row->hit;
    /* An idle worker makes no steps worth a time. */
    values[WATCH_STEP] = worker->load.running > 0 ? row->step_us : 0;
    values[WATCH_RETRACTIONS] = worker->load.retractions;
    values[WATCH_DRAINING] = worker->draining;
    values[WATCH_EXACT] = worker->cache_known;
}

static void write_fixed(const struct worker *worker, struct buf *out)
{
    buf_str(out, ",\"name\":");
    buf_json_string(out, worker->name, strlen(worker->name));
    buf_str(out, ",\"model\":");
    buf_json_string(out, worker->model->name, strlen(worker->model->name));
    buf_printf(out, ",\"tp\":%u,\"slots\":%u,\"pages\":%u,\"page_size\":%u", worker->tp,
               worker->slots, worker->pages, worker->page_size);
}

/* The row's changes; nothing when there are none. */
static void write_row(const struct worker *worker, struct watch_worker *row, bool all, bool fresh,
                      const uint64_t values[WATCH_VALUES], struct buf *out)
{
    size_t began = out->len;
    bool any = fresh;
    buf_printf(out, "{\"id\":%u", worker->serial);
    if (fresh)
        write_fixed(worker, out);
    for (size_t i = 0; i < WATCH_VALUES; i++) {
        if (!fresh && values[i] == row->said[i])
            continue;
        any = true;
        if (!all)
            row->said[i] = values[i];
        buf_printf(out, ",\"%s\":%llu", names[i], (unsigned long long)row->said[i]);
    }
    if (any)
        buf_str(out, "},");
    else
        out->len = began;
}

/* Closes a list that was opened with `head`: without its last comma, or not at all when it is empty. */
static void end_list(struct buf *out, size_t began, size_t head)
{
    if (out->len == began + head) {
        out->len = began;
        return;
    }
    out->len--;
    buf_char(out, ']');
}

static void write_gone(struct router *router, struct buf *out)
{
    size_t began = out->len;
    buf_str(out, ",\"gone\":[");
    size_t head = out->len - began;
    for (uint32_t i = 0; i < PREFIX_WORKERS_MAX; i++) {
        struct watch_worker *row = &router->watch.workers[i];
        const struct worker *worker = router->fleet.workers[i];
        if (row->serial == 0 || (worker && worker->serial == row->serial))
            continue;
        if (router->watch.started)
            buf_printf(out, "%u,", row->serial);
        memset(row, 0, sizeof(*row));
    }
    end_list(out, began, head);
}

void watch_workers(struct router *router, uint64_t now_ms, bool all, struct buf *out)
{
    uint64_t values[WATCH_VALUES];
    if (!all)
        write_gone(router, out);
    size_t began = out->len;
    buf_str(out, ",\"workers\":[");
    size_t head = out->len - began;
    for (uint32_t i = 0; i < router->fleet.limit; i++) {
        const struct worker *worker = router->fleet.workers[i];
        struct watch_worker *row = &router->watch.workers[i];
        if (!worker || (all && row->serial != worker->serial))
            continue;
        bool fresh = all || !router->watch.started || row->serial == 0;
        if (!all) {
            if (!router->watch.started)
                memset(row, 0, sizeof(*row));
            row->serial = worker->serial;
            look_at_counters(row, worker, now_ms);
            values_of(router, worker, row, values);
        }
        write_row(worker, row, all, fresh, all ? row->said : values, out);
    }
    if (all && out->len == began + head)
        buf_char(out, ']');
    else
        end_list(out, began, head);
}
