/* /cluster: what this router believes of its workers, as JSON for people and tools. */
#include <string.h>

#include "common/clock.h"
#include "router/admin.h"
#include "router/router.h"

static void add_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    buf_json_string(out, text, strlen(text));
}

static void add_number(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void add_worker(struct router *router, const struct worker *worker, uint64_t now_ms,
                       struct buf *out)
{
    buf_char(out, '{');
    add_text(out, "name", worker->name);
    buf_char(out, ',');
    add_text(out, "model", worker->model->name);
    buf_printf(out, ",\"draining\":%s,\"index_exact\":%s", worker->draining ? "true" : "false",
               worker->cache_known ? "true" : "false");
    add_number(out, "tp", worker->tp);
    add_number(out, "session", worker->session);
    add_number(out, "silent_ms", now_ms - worker->seen_ms);
    add_number(out, "slots", worker->slots);
    add_number(out, "room", worker_room(worker));
    add_number(out, "streams", worker->stream_count);
    add_number(out, "running", worker->load.running);
    add_number(out, "waiting", worker->load.waiting);
    add_number(out, "pending_prefill_tokens", worker_pending_tokens(worker));
    add_number(out, "steps", worker->load.step);
    add_number(out, "step_ms_bound", worker->load.step_ms_bound);
    add_number(out, "retractions", worker->load.retractions);
    add_number(out, "length_max", worker->length_max);
    add_number(out, "page_size", worker->page_size);
    add_number(out, "pages", worker->pages);
    add_number(out, "pages_free", worker->load.pages_free);
    add_number(out, "pages_known", prefix_index_pages(&router->fleet.index, worker->index));
    add_number(out, "cache_gaps", worker->gaps);
    buf_char(out, '}');
}

void admin_cluster(struct router *router, struct http_exchange *exchange)
{
    struct buf out = {0};
    uint64_t now_ms = clock_now_ms();
    bool first = true;

    buf_str(&out, "{\"router\":{");
    add_text(&out, "name", router->name);
    buf_char(&out, ',');
    add_text(&out, "version", MSGL_VERSION);
    buf_char(&out, ',');
    add_text(&out, "policy", router->policy->name);
    buf_printf(&out, ",\"draining\":%s", router->draining ? "true" : "false");
    add_number(&out, "calls", router->call_count);
    add_number(&out, "streams", router->streams);
    add_number(&out, "queued", router->queue.count);
    add_number(&out, "index_bytes",
               prefix_index_bytes(&router->fleet.index) + page_tree_bytes(&router->tree));
    buf_str(&out, "},\"workers\":[");
    for (uint32_t i = 0; i < router->fleet.limit; i++) {
        if (!router->fleet.workers[i])
            continue;
        if (!first)
            buf_char(&out, ',');
        first = false;
        add_worker(router, router->fleet.workers[i], now_ms, &out);
    }
    buf_str(&out, "]}\n");
    http_reply(exchange, 200, "application/json", (struct str){out.data, out.len});
    buf_release(&out);
}
