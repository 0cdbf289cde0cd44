/* Who may wait, and where. */
#include "router/queue.h"

#include "common/clock.h"
#include "router/telemetry.h"

static struct stream *stream_at(struct list *node)
{
    return LIST_ITEM(node, struct stream, queue_node);
}

static size_t model_of(const struct call *call)
{
    return (size_t)(call->model - call->router->models.items);
}

static void lane_init(struct queue_lane *lane)
{
    list_init(&lane->streams);
    lane->tried = &lane->streams;
}

void queue_line_init(struct queue_line *line)
{
    list_init(&line->node);
    for (size_t m = 0; m < MODELS_MAX; m++)
        lane_init(&line->lanes[m]);
}

void queue_init(struct queue *queue)
{
    list_init(&queue->streams);
    list_init(&queue->lines);
    queue_line_init(&queue->common);
    for (size_t m = 0; m < MODELS_MAX; m++)
        lane_init(&queue->lost[m]);
}

struct queue_line *queue_line_of(const struct call *call)
{
    return call->key ? &call->key->line : &call->router->queue.common;
}

/* The lost ones from the last to the first, each to the head: their order stays. */
static void add_lost(struct queue_lane *lane, struct stream *stream)
{
    list_prepend(&lane->streams, &stream->lane_node);
    lane->tried = &lane->streams; /* it may be lost while others are being sent */
}

static void add_to_line(struct queue *queue, struct stream *stream, size_t model)
{
    struct queue_line *line = queue_line_of(stream->call);
    list_append(&line->lanes[model].streams, &stream->lane_node);
    if (line->waiting++ == 0)
        list_append(&queue->lines, &line->node);
}

void queue_add(struct stream *stream)
{
    struct queue *queue = &stream->call->router->queue;
    size_t model = model_of(stream->call);
    stream->state = STREAM_QUEUED;
    stream->queued_ms = clock_now_ms();
    queue->count++;
    queue->of_model[model]++;
    list_append(&queue->streams, &stream->queue_node);
    if (stream->attempt > 0)
        add_lost(&queue->lost[model], stream);
    else
        add_to_line(queue, stream, model);
}

void queue_remove(struct stream *stream)
{
    struct queue *queue = &stream->call->router->queue;
    struct queue_line *line = queue_line_of(stream->call);
    size_t model = model_of(stream->call);
    struct queue_lane *lane = stream->attempt > 0 ? &queue->lost[model] : &line->lanes[model];
    queue->count--;
    queue->of_model[model]--;
    if (lane->tried == &stream->lane_node)
        lane->tried = stream->lane_node.prev;
    list_remove(&stream->lane_node);
    list_remove(&stream->queue_node);
    if (stream->attempt == 0 && --line->waiting == 0)
        list_remove(&line->node);
}

uint64_t queue_surplus(const struct call *call, uint64_t streams)
{
    const struct fleet *fleet = &call->router->fleet;
    uint64_t room = 0, ahead = call->router->queue.of_model[model_of(call)];
    for (uint32_t i = 0; i < fleet->limit; i++) {
        const struct worker *worker = fleet->workers[i];
        if (worker && !worker->draining && worker->model == call->model)
            room += worker_room(worker);
    }
    room -= MIN(room, ahead);
    return streams > room ? streams - room : 0;
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

static struct call *newest_fresh(const struct queue_line *line, size_t models)
{
    struct call *newest = NULL;
    for (size_t m = 0; m < models; m++) {
        const struct list *head = &line->lanes[m].streams;
        for (struct list *node = head->prev; node != head; node = node->prev) {
            struct call *call = LIST_ITEM(node, struct stream, lane_node)->call;
            if (!call_is_fresh(call))
                continue;
            if (!newest || call->id > newest->id)
                newest = call;
            break;
        }
    }
    return newest;
}

/* The newest of the longest line, if that is longer than the call's would be with so many more. */
static struct call *find_victim(const struct call *call, uint64_t streams)
{
    const struct router *router = call->router;
    uint64_t longest = queue_line_of(call)->waiting + streams;
    struct call *victim = NULL;
    LIST_EACH(node, &router->queue.lines) {
        const struct queue_line *line = LIST_ITEM(node, struct queue_line, node);
        struct call *newest =
            line->waiting > longest ? newest_fresh(line, router->models.count) : NULL;
        if (!newest)
            continue;
        longest = line->waiting;
        victim = newest;
    }
    return victim;
}

bool queue_takes(const struct call *call, uint64_t streams)
{
    const struct router *router = call->router;
    uint64_t limit = router->config.queue_max, wanted = router->queue.count + streams;
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
    while (router->queue.count + streams > router->config.queue_max) {
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
    const struct list *streams = &router->queue.streams;
    uint64_t waits_ms =
        list_empty(streams) ? 0 : clock_now_ms() - stream_at(streams->next)->queued_ms;
    return (uint32_t)MIN(MAX((waits_ms + 999) / 1000, 1u), router->config.queue_wait_s);
}
