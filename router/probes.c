#include "router/probes.h"

#include "common/clock.h"

/* A router that has just started: workers of one model have found it, those of another are about to. */
static bool expects_more(const struct router *router)
{
    uint32_t length_max, length_best;
    if (clock_now_ms() - router->started_ms >= router->config.failover_wait_s * 1000)
        return false; /* a model that nobody serves must not keep the others' calls away for ever */
    for (size_t i = 0; i < router->models.count; i++) {
        if (fleet_serving(&router->fleet, &router->models.items[i], &length_max, &length_best) == 0)
            return true;
    }
    return false;
}

void probe_health(struct router *router, struct http_exchange *exchange)
{
    http_reply(exchange, 200, "application/json", STR("{\"status\":\"ok\"}"));
}

void probe_ready(struct router *router, struct http_exchange *exchange)
{
    uint32_t length_max, length_best;
    uint32_t workers = fleet_serving(&router->fleet, NULL, &length_max, &length_best);
    bool ready = workers > 0 && !router->draining && !expects_more(router);
    struct buf text = {0};
    buf_printf(&text, "{\"status\":\"%s\",\"workers\":%u}",
               ready              ? "ready"
               : router->draining ? "shutting down"
               : workers > 0      ? "a model has no worker yet"
                                  : "no worker",
               workers);
    if (!ready)
        http_add_header(exchange, "retry-after", STR("1"));
    http_reply(exchange, ready ? 200 : 503, "application/json", (struct str){text.data, text.len});
    buf_release(&text);
}
