#include "router/queue.h"

#include "common/clock.h"
#include "router/telemetry.h"

static struct stream *stream_at(struct list *node)
{
    return LIST_ITEM(node, struct stream, queue_node);
}

struct queue_line *queue_line_of(const struct call *call)
{
    return call->key ? &call->key->line : &call->router->common_line;
}

void queue_add(struct stream *stream, bool first)
{
    struct router *router = stream->call->router;
    stream->state = STREAM_QUEUED;
    stream->queued_ms = clock_now_ms();
    router->queued++;
    if (stream->attempt == 0)
        queue_line_of(stream->call)->waiting++;
    if (first)
        list_prepend(&router->queue, &stream->queue_node);
    else
        list_append(&router->queue, &stream->queue_node);
}

void queue_remove(struct stream *stream)
{
    list_remove(&stream->queue_node);
    stream->call->router->queued--;
    if (stream->attempt == 0)
        queue_line_of(stream->call)->waiting--;
}

uint64_t queue_room(const struct router *router, const struct model *model)
{
    uint64_t room = 0;
    for (uint32_t i = 0; i < router->fleet.limit; i++) {
        const struct worker *worker = router->fleet.workers[i];
        if (worker && !worker->draining && worker->model == model)
            room += worker_room(worker);
    }
    return room;
}

/* ---- a place in the queue ---- */

/* No choice of the call has had a worker, so that nothing is lost by a 429. */
static bool call_is_fresh(const struct call *call)
{
    for (uint32_t i = 0; i < call->stream_count; i++) {
        if (call->streams[i].state != STREAM_QUEUED || call->streams[i].attempt > 0)
            return false;
    }
    return true;
}

/* The newest of the longest line, if that is longer than the call's would be with so many more. */
static struct call *find_victim(const struct call *call, uint64_t streams)
{
    struct list *head = &call->router->queue;
    uint64_t longest = queue_line_of(call)->waiting + streams;
    struct call *victim = NULL;
    for (struct list *node = head->prev; node != head; node = node->prev) {
        struct call *other = stream_at(node)->call;
        if (queue_line_of(other)->waiting <= longest || !call_is_fresh(other))
            continue;
        longest = queue_line_of(other)->waiting;
        victim = other;
    }
    return victim;
}

bool queue_takes(const struct call *call, uint64_t streams)
{
    const struct router *router = call->router;
    uint64_t limit = router->config.queue_max, wanted = router->queued + streams;
    if (wanted <= limit)
        return true;
    if (streams > limit)
        return false;
    const struct call *victim = find_victim(call, streams);
    uint64_t after = queue_line_of(call)->waiting + streams;
    return victim && queue_line_of(victim)->waiting - after >= wanted - limit;
}

void queue_push_out(const struct call *call, uint64_t streams)
{
    struct router *router = call->router;
    while (router->queued + streams > router->config.queue_max) {
        struct call *victim = find_victim(call, streams);
        struct api_error error = {0};
        if (!victim)
            return;
        victim->retry_s = queue_retry_s(router);
        metrics_add(router->metrics, METRIC_QUEUE_REFUSED, "reason=\"pushed_out\"", 1);
        api_fail(&error, STATUS_QUEUE_FULL, NULL,
                 "the queue is full, and most of it are calls with this key: try again soon");
        call_fail(victim, &error);
    }
}

uint32_t queue_retry_s(const struct router *router)
{
    uint64_t since_ms = clock_now_ms(), now_ms = since_ms;
    LIST_EACH(node, &router->queue)
        since_ms = MIN(since_ms, stream_at(node)->queued_ms);
    return (uint32_t)MIN(MAX((now_ms - since_ms + 999) / 1000, 1u), router->config.queue_wait_s);
}

/* ---- whose turn it is ---- */

static bool call_is_late(const struct call *call, uint64_t now_ns)
{
    return now_ns - call->began_ns > call->limit_ms * 1000000u;
}

static bool line_before(const struct queue_line *a, const struct queue_line *b)
{
    return a->running != b->running ? a->running < b->running : a->turn < b->turn;
}

static size_t model_of(const struct stream *stream)
{
    return (size_t)(stream->call->model - stream->call->router->models.items);
}

/* Who has not been tried in this round. */
static struct stream *next_in_turn(struct router *router, const bool full[MODELS_MAX],
                                   uint64_t now_ns)
{
    struct stream *best = NULL;
    LIST_EACH(node, &router->queue) {
        struct stream *stream = stream_at(node);
        if (stream->round == router->queue_round || full[model_of(stream)] ||
            stream->failures > STREAM_FAILURES_MAX || call_is_late(stream->call, now_ns))
            continue;
        if (stream->attempt > 0)
            return stream; /* these stand first */
        if (!best || line_before(queue_line_of(stream->call), queue_line_of(best->call)))
            best = stream;
    }
    return best;
}

void queue_pump(struct router *router)
{
    if (router->pumping || list_empty(&router->queue))
        return;
    router->pumping = true;
    router->queue_round++;
    uint64_t now_ns = clock_now_ns();
    bool full[MODELS_MAX] = {0};
    struct stream *stream;
    while ((stream = next_in_turn(router, full, now_ns))) {
        struct queue_line *line = queue_line_of(stream->call);
        size_t model = model_of(stream);
        stream->round = router->queue_round;
        enum dispatch found = stream_dispatch(stream);
        if (found == DISPATCH_SENT)
            line->turn = ++router->queue_turn;
        full[model] |= found == DISPATCH_FULL;
    }
    router->pumping = false;
}

/* ---- who waits no longer ---- */

/* The reason, for the metric, with *error for the client; NULL: it goes on waiting. */
static const char *given_up(const struct stream *stream, struct api_error *error)
{
    const struct call *call = stream->call;
    const struct router_config *config = &call->router->config;
    uint64_t now_ns = clock_now_ns();
    uint32_t length_max, length_best;
    bool anyone = fleet_serving(&call->router->fleet, call->model, &length_max, &length_best) > 0;
    uint64_t wait_ms = (anyone ? config->queue_wait_s : config->failover_wait_s) * 1000;
    if (stream->failures > STREAM_FAILURES_MAX) {
        api_fail(error, STATUS_INTERNAL, NULL, "workers failed this call %u times",
                 stream->failures);
        return "reason=\"failures\"";
    }
    if (call_is_late(call, now_ns)) {
        api_fail(error, STATUS_TIMEOUT, NULL,
                 "the call's time of %llu ms is over and it still waits",
                 (unsigned long long)call->limit_ms);
        return "reason=\"deadline\"";
    }
    if (now_ns / 1000000u - stream->queued_ms <= wait_ms)
        return NULL;
    if (anyone) {
        api_fail(error, STATUS_UNAVAILABLE, NULL, "no worker had a free slot for %llu s",
                 (unsigned long long)config->queue_wait_s);
        return "reason=\"wait\"";
    }
    api_fail(error, STATUS_UNAVAILABLE, NULL, "%s, and no other serves model %s",
             stream->lost ? "the worker that ran this was lost" : "no worker took this call",
             call->model->name);
    return "reason=\"no_worker\"";
}

void queue_expire(struct router *router)
{
    struct list *node = router->queue.next;
    while (node != &router->queue) {
        struct stream *stream = stream_at(node);
        struct api_error error = {0};
        const char *reason = given_up(stream, &error);
        if (!reason) {
            node = node->next;
            continue;
        }
        metrics_add(router->metrics, METRIC_QUEUE_REFUSED, reason, 1);
        call_fail(stream->call, &error); /* may take several streams out of the queue */
        node = router->queue.next;
    }
}
