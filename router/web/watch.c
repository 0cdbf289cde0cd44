#include "router/web/watch.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "router/api/api_openai.h"
#include "router/api/sse.h"
#include "router/router.h"
#include "router/telemetry.h"

#define TICK_MS       250   /* and one more for each listener */
#define QUIET_MS      15000 /* then a comment, so that proxies and the page know that it lives */
#define QUIET_AT_ONCE 32    /* comments in one tick */

struct listener {
    struct list node; /* in watch->listeners or ->fresh */
    struct watch *watch;
    struct http_exchange *exchange;
    uint64_t said_ms;
};

void watch_init(struct watch *watch)
{
    list_init(&watch->listeners);
    list_init(&watch->fresh);
    watch->workers = mem_array(PREFIX_WORKERS_MAX, sizeof(*watch->workers));
    watch->branches = mem_array(WATCH_BRANCHES_MAX, sizeof(*watch->branches));
    watch->branches_new = mem_array(WATCH_BRANCHES_MAX, sizeof(*watch->branches_new));
    watch->holders = mem_array(WATCH_BRANCHES_MAX, sizeof(*watch->holders));
    watch->holders_new = mem_array(WATCH_BRANCHES_MAX, sizeof(*watch->holders_new));
}

void watch_release(struct watch *watch)
{
    CHECK(watch->count == 0);
    mem_free(watch->workers);
    mem_free(watch->branches);
    mem_free(watch->branches_new);
    mem_free(watch->holders);
    mem_free(watch->holders_new);
    buf_release(&watch->delta);
    buf_release(&watch->text);
}

static void listener_free(struct listener *listener)
{
    list_remove(&listener->node);
    listener->watch->count--;
    mem_free(listener);
}

static void on_gone(void *owner)
{
    listener_free(owner);
}

void watch_join(struct router *router, struct http_exchange *exchange)
{
    struct watch *watch = &router->watch;
    if (watch->count >= WATCH_LISTENERS_MAX) {
        http_add_header(exchange, "retry-after", STR("10"));
        api_reply_error(exchange, STATUS_UNAVAILABLE, 503, "too many pages watch this router");
        return;
    }
    struct listener *listener = mem_zalloc(sizeof(*listener));
    listener->watch = watch;
    listener->exchange = exchange;
    list_init(&listener->node);
    list_append(&watch->fresh, &listener->node);
    watch->count++;
    http_own(exchange, listener, on_gone);
    http_stream(exchange, SSE_TYPE);
}

static void say(struct router *router, struct listener *listener, const struct buf *text,
                uint64_t now_ms)
{
    struct watch *watch = listener->watch;
    size_t unsent = http_unsent(listener->exchange);
    bool slow = unsent > 0 && unsent + text->len > WATCH_UNREAD_MAX;
    if (!slow && http_write(listener->exchange, text->data, text->len) == STATUS_OK) {
        listener->said_ms = now_ms;
        list_remove(&listener->node);
        list_append(&watch->listeners, &listener->node);
        return;
    }
    LOG_INFO("watch", "slow_reader", "unsent=%zu", unsent);
    metrics_add(router->metrics, METRIC_SLOW_READERS, "", 1);
    http_abort(listener->exchange);
    listener_free(listener);
}

/* An event with everything, or with what has changed; empty when nothing has. */
static void write_event(struct router *router, uint64_t now_ms, bool all, struct buf *out)
{
    buf_clear(out);
    sse_begin(out);
    buf_printf(out, "{\"full\":%s", all ? "true" : "false");
    size_t bare = out->len;
    watch_router(router, all, out);
    watch_workers(router, now_ms, all, out);
    watch_tree(router, now_ms, all, out);
    watch_journal(router, all, out);
    if (!all && out->len == bare) {
        buf_clear(out);
        return;
    }
    buf_char(out, '}');
    sse_end(out);
}

/* To all who were there before: say() puts each back, or lets it go. */
static void say_to_all(struct router *router, const struct buf *text, uint64_t now_ms)
{
    struct watch *watch = &router->watch;
    struct list known;
    list_init(&known);
    while (!list_empty(&watch->listeners)) {
        struct list *node = watch->listeners.next;
        list_remove(node);
        list_append(&known, node);
    }
    while (!list_empty(&known))
        say(router, LIST_ITEM(known.next, struct listener, node), text, now_ms);
}

static void break_silence(struct router *router, uint64_t now_ms)
{
    static char comment[] = ":\n\n";
    const struct buf text = {comment, sizeof(comment) - 1, 0};
    struct watch *watch = &router->watch;
    for (int i = 0; i < QUIET_AT_ONCE && !list_empty(&watch->listeners); i++) {
        struct listener *listener = LIST_ITEM(watch->listeners.next, struct listener, node);
        if (now_ms - listener->said_ms < QUIET_MS)
            return;
        say(router, listener, &text, now_ms);
    }
}

void watch_tick(struct router *router, uint64_t now_ms)
{
    struct watch *watch = &router->watch;
    if (watch->count == 0) {
        watch->started = false;
        return;
    }
    if (now_ms - watch->ticked_ms < TICK_MS + watch->count)
        return;
    watch->ticked_ms = now_ms;
    write_event(router, now_ms, false, &watch->delta);
    watch->started = true;
    if (watch->delta.len > 0)
        say_to_all(router, &watch->delta, now_ms);
    if (!list_empty(&watch->fresh)) {
        write_event(router, now_ms, true, &watch->text);
        while (!list_empty(&watch->fresh))
            say(router, LIST_ITEM(watch->fresh.next, struct listener, node), &watch->text, now_ms);
    }
    break_silence(router, now_ms);
}
