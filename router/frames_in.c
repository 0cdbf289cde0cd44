#include "router/frames_in.h"

#include "common/clock.h"
#include "common/log.h"
#include "router/queue.h"
#include "router/telemetry.h"

/* The stream that a req's name means, if this worker runs it. Stale names find nothing. */
static struct stream *find_stream(struct router *router, const struct worker *worker,
                                  const struct req_key *key)
{
    struct call *call = key->epoch == router->epoch ? map_get_ptr(&router->calls, key->call) : NULL;
    if (!call || key->choice >= call->stream_count)
        return NULL;
    struct stream *stream = &call->streams[key->choice];
    return stream->worker == worker ? stream : NULL;
}

static void take_tokens(struct router *router, struct worker *worker,
                        const struct frame_tokens *tokens)
{
    for (uint32_t i = 0; i < tokens->item_count; i++) {
        const struct tokens_item *item = &tokens->items[i];
        struct stream *stream = find_stream(router, worker, &item->key);
        if (stream)
            stream_tokens(stream, item);
    }
}

static void take_error(struct router *router, struct worker *worker,
                       const struct frame_error *error)
{
    if (error->key.epoch == 0) {
        fleet_end(&router->fleet, worker, "it ended the session");
        queue_pump(router);
        return;
    }
    struct stream *stream = find_stream(router, worker, &error->key);
    if (stream)
        stream_error(stream, error);
}

static void on_frame(void *ctx, struct str peer, const struct frame *frame)
{
    struct router *router = ctx;
    struct fleet *fleet = &router->fleet;
    uint64_t now_ms = clock_now_ms();
    if (router->stopped)
        return;
    if (frame->type == FRAME_HELLO) {
        fleet_hello(fleet, peer, &frame->hello, now_ms);
        queue_pump(router);
        return;
    }
    struct worker *worker = fleet_sender(fleet, peer, now_ms);
    if (!worker)
        return;
    switch (frame->type) {
    case FRAME_TOKENS:
        take_tokens(router, worker, &frame->tokens);
        break;
    case FRAME_ERROR:
        take_error(router, worker, &frame->error);
        break;
    case FRAME_LOAD:
        fleet_load(fleet, worker, &frame->load, now_ms);
        break;
    case FRAME_CACHE:
        fleet_cache(fleet, worker, &frame->cache, now_ms);
        break;
    case FRAME_SNAPSHOT:
        fleet_snapshot(fleet, worker, &frame->snapshot, now_ms);
        break;
    case FRAME_DRAIN:
        fleet_drain(fleet, worker, frame->drain.draining);
        break;
    case FRAME_BYE:
        fleet_end(fleet, worker, "it said goodbye");
        queue_pump(router);
        break;
    default: /* a router's frame from a worker: nothing to do with it */
        router->corrupt_frames++;
    }
}

static void on_corrupt(void *ctx, struct str peer, const struct err *err)
{
    struct router *router = ctx;
    router->corrupt_frames++;
    LOG_DEBUG("link", "corrupt_frame", "reason=\"%s\"", err->text);
}

const struct link_ops frames_in_ops = {.frame = on_frame, .corrupt = on_corrupt};

static enum status send_frame(void *ctx, struct str peer, const struct frame *frame)
{
    struct router *router = ctx;
    return link_send(&router->link, peer, frame);
}

static void on_ended(void *ctx, struct worker *worker, const char *reason)
{
    struct router *router = ctx;
    telemetry_forget(router, worker);
    enum journal_kind kind = worker->dead ? JOURNAL_DIED : JOURNAL_LEFT;
    journal_event(&router->watch.journal, kind, worker->name, "%s, %u streams", reason,
                  worker->stream_count);
    /* From the last to the first, each to the head of the queue: their order stays. */
    while (!list_empty(&worker->streams))
        stream_lost(LIST_ITEM(worker->streams.prev, struct stream, worker_node), reason,
                    !worker->draining);
}

static void on_joined(void *ctx, struct worker *worker)
{
    struct router *router = ctx;
    journal_event(&router->watch.journal, JOURNAL_JOINED, worker->name, "%u pages of %u tokens",
                  worker->pages, worker->page_size);
}

static void on_drains(void *ctx, struct worker *worker)
{
    struct router *router = ctx;
    bool draining = worker->draining;
    journal_event(&router->watch.journal, draining ? JOURNAL_DRAINING : JOURNAL_SERVING,
                  worker->name, draining ? "takes no new work" : "takes new work again");
}

static void on_loaded(void *ctx, struct worker *worker)
{
    queue_pump(ctx);
}

const struct fleet_ops frames_in_fleet_ops = {.send = send_frame,
                                              .ended = on_ended,
                                              .joined = on_joined,
                                              .drains = on_drains,
                                              .loaded = on_loaded};
