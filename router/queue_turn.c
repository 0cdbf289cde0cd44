/* Whose turn it is, and who waits no longer. */
#include "common/clock.h"
#include "router/queue.h"
#include "router/telemetry.h"

static bool call_is_late(const struct call *call, uint64_t now_ns)
{
    return now_ns - call->began_ns > call->limit_ms * 1000000u;
}

static bool line_before(const struct queue_line *a, const struct queue_line *b)
{
    return a->running != b->running ? a->running < b->running : a->turn < b->turn;
}

/* The first that has not been tried in this round; those whose time is over are passed. */
static struct stream *lane_next(struct queue_lane *lane, const struct queue *queue, uint64_t now_ns)
{
    if (lane->round != queue->round) {
        lane->round = queue->round;
        lane->tried = &lane->streams;
    }
    for (struct list *node = lane->tried->next; node != &lane->streams; node = node->next) {
        struct stream *stream = LIST_ITEM(node, struct stream, lane_node);
        if (stream->failures <= STREAM_FAILURES_MAX && !call_is_late(stream->call, now_ns))
            return stream;
        lane->tried = node;
    }
    return NULL;
}

/* Of the line's streams the one that came first. */
static struct stream *line_next(struct queue_line *line, const struct router *router,
                                const bool full[MODELS_MAX], uint64_t now_ns)
{
    struct stream *first = NULL;
    for (size_t m = 0; m < router->models.count; m++) {
        struct stream *stream = full[m] ? NULL : lane_next(&line->lanes[m], &router->queue, now_ns);
        if (stream && (!first || stream->call->id < first->call->id))
            first = stream;
    }
    return first;
}

/* Who has not been tried in this round. */
static struct stream *next_in_turn(struct router *router, const bool full[MODELS_MAX],
                                   uint64_t now_ns)
{
    struct queue *queue = &router->queue;
    struct queue_line *best_line = NULL;
    struct stream *best = NULL;
    for (size_t m = 0; m < router->models.count; m++) {
        struct stream *lost = full[m] ? NULL : lane_next(&queue->lost[m], queue, now_ns);
        if (lost)
            return lost;
    }
    LIST_EACH(node, &queue->lines) {
        struct queue_line *line = LIST_ITEM(node, struct queue_line, node);
        if (best && !line_before(line, best_line))
            continue;
        struct stream *stream = line_next(line, router, full, now_ns);
        if (!stream)
            continue;
        best = stream;
        best_line = line;
    }
    return best;
}

/* Tries one; remembers that it found no worker, and, when its model's are all full, that. */
static void try_stream(struct stream *stream, bool *full)
{
    struct queue *queue = &stream->call->router->queue;
    struct queue_line *line = queue_line_of(stream->call);
    size_t model = (size_t)(stream->call->model - stream->call->router->models.items);
    struct queue_lane *lane = stream->attempt > 0 ? &queue->lost[model] : &line->lanes[model];
    enum dispatch found = stream_dispatch(stream);
    if (found == DISPATCH_SENT)
        line->turn = ++queue->turn;
    else
        lane->tried = &stream->lane_node;
    full[model] |= found == DISPATCH_FULL;
}

void queue_pump(struct router *router)
{
    struct queue *queue = &router->queue;
    if (queue->pumping || list_empty(&queue->streams))
        return;
    queue->pumping = true;
    queue->round++;
    uint64_t now_ns = clock_now_ns();
    bool full[MODELS_MAX] = {0};
    struct stream *stream;
    while ((stream = next_in_turn(router, full, now_ns)))
        try_stream(stream, full);
    queue->pumping = false;
}

/* ---- who waits no longer ---- */

/* The reason, for the metric, with *error for the client; NULL: it goes on waiting. `served`: by
 * some worker. */
static const char *given_up(const struct stream *stream, bool served, uint64_t now_ns,
                            struct api_error *error)
{
    const struct call *call = stream->call;
    const struct router_config *config = &call->router->config;
    uint64_t wait_ms = (served ? config->queue_wait_s : config->failover_wait_s) * 1000;
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
    if (served) {
        api_fail(error, STATUS_UNAVAILABLE, NULL, "no worker had a free slot for %llu s",
                 (unsigned long long)config->queue_wait_s);
        return "reason=\"wait\"";
    }
    api_fail(error, STATUS_UNAVAILABLE, NULL, "%s, and no other serves model %s",
             stream->lost ? "the worker that ran this was lost" : "no worker took this call",
             call->model->name);
    return "reason=\"no_worker\"";
}

/* The first behind it that is another call's: failing a call takes all of its streams out. */
static struct list *behind_call(struct list *node, const struct list *head)
{
    const struct call *call = LIST_ITEM(node, struct stream, queue_node)->call;
    do
        node = node->next;
    while (node != head && LIST_ITEM(node, struct stream, queue_node)->call == call);
    return node;
}

void queue_expire(struct router *router)
{
    struct list *head = &router->queue.streams, *next;
    bool served[MODELS_MAX];
    uint32_t length_max, length_best;
    uint64_t now_ns = clock_now_ns(); /* later than any queued_ms */
    if (list_empty(head))
        return;
    for (size_t m = 0; m < router->models.count; m++)
        served[m] =
            fleet_serving(&router->fleet, &router->models.items[m], &length_max, &length_best) > 0;
    for (struct list *node = head->next; node != head; node = next) {
        struct stream *stream = LIST_ITEM(node, struct stream, queue_node);
        struct api_error error = {0};
        size_t model = (size_t)(stream->call->model - router->models.items);
        const char *reason = given_up(stream, served[model], now_ns, &error);
        next = reason ? behind_call(node, head) : node->next;
        if (!reason)
            continue;
        metrics_add(router->metrics, METRIC_QUEUE_REFUSED, reason, 1);
        call_fail(stream->call, &error);
    }
}
