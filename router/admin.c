#include "router/admin.h"

#include "router/api_openai.h"
#include "router/probes.h"
#include "router/telemetry.h"

static void reply_metrics(struct router *router, struct http_exchange *exchange)
{
    struct buf text = {0};
    telemetry_refresh(router);
    metrics_write(router->metrics, &text);
    http_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
               (struct str){text.data, text.len});
    buf_release(&text);
}

void admin_request(void *ctx, struct http_exchange *exchange)
{
    struct router *router = ctx;
    struct str path = http_path(exchange);
    if (!str_is(http_method(exchange), "GET"))
        api_reply_error(exchange, STATUS_INVALID, 405, "only GET is allowed here");
    else if (str_is(path, "/metrics"))
        reply_metrics(router, exchange);
    else if (str_is(path, "/cluster"))
        admin_cluster(router, exchange);
    else if (str_is(path, "/health"))
        probe_health(router, exchange);
    else if (str_is(path, "/ready"))
        probe_ready(router, exchange);
    else
        api_reply_error(exchange, STATUS_NOT_FOUND, 404,
                        "there is nothing at this path: /metrics, /cluster, /health and /ready are here");
}
