#include "router/probes.h"

void probe_health(struct router *router, struct http_exchange *exchange)
{
    http_reply(exchange, 200, "application/json", STR("{\"status\":\"ok\"}"));
}

void probe_ready(struct router *router, struct http_exchange *exchange)
{
    uint32_t length_max, length_best;
    uint32_t workers = fleet_serving(&router->fleet, NULL, &length_max, &length_best);
    bool ready = workers > 0 && !router->draining;
    struct buf text = {0};
    buf_printf(&text, "{\"status\":\"%s\",\"workers\":%u}",
               ready              ? "ready"
               : router->draining ? "shutting down"
                                  : "no worker",
               workers);
    if (!ready)
        http_add_header(exchange, "retry-after", STR("1"));
    http_reply(exchange, ready ? 200 : 503, "application/json", (struct str){text.data, text.len});
    buf_release(&text);
}
