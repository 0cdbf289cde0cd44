#include "router/admin.h"

#include "router/api/api_openai.h"
#include "router/probes.h"
#include "router/telemetry.h"
#include "router/web/ui.h"

static void reply_metrics(struct router *router, struct http_exchange *exchange)
{
    struct buf text = {0};
    telemetry_refresh(router);
    metrics_write(router->metrics, &text);
    http_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
               (struct str){text.data, text.len});
    buf_release(&text);
}

static void refuse_key(struct http_exchange *exchange)
{
    http_add_header(exchange, "www-authenticate", STR("Bearer"));
    api_reply_error(exchange, STATUS_DENIED, 401, "the key is missing or wrong");
}

/* Who may look at the cluster: whoever has the admin key, or, without one, an API key. */
static bool may_look(struct router *router, struct http_exchange *exchange)
{
    struct str authorization = http_header(exchange, "authorization");
    if (api_keys_needed(&router->admin_keys))
        return api_keys_find(&router->admin_keys, authorization) != NULL;
    return !api_keys_needed(&router->keys) || api_keys_find(&router->keys, authorization);
}

/* The page's chat calls the port that it came from. */
static bool is_call_of_page(const struct router *router, struct str path)
{
    return !router->config.no_ui &&
           (str_is(path, "/v1/chat/completions") || str_is(path, "/v1/models"));
}

void admin_request(void *ctx, struct http_exchange *exchange)
{
    struct router *router = ctx;
    struct str path = http_path(exchange);
    bool get = str_is(http_method(exchange), "GET");
    if (!router->config.no_ui && ui_request(exchange, true))
        return;
    if (is_call_of_page(router, path)) {
        if (router->settled)
            api_reply_error(exchange, STATUS_UNAVAILABLE, 503, "this server is shutting down");
        else
            api_request(router, exchange);
    } else if (!get)
        api_reply_error(exchange, STATUS_INVALID, 405, "only GET is allowed here");
    else if (str_is(path, "/metrics"))
        reply_metrics(router, exchange);
    else if (str_is(path, "/cluster") || str_is(path, "/cluster/events")) {
        if (!may_look(router, exchange))
            refuse_key(exchange);
        else if (str_is(path, "/cluster"))
            admin_cluster(router, exchange);
        else
            watch_join(router, exchange);
    } else if (str_is(path, "/health"))
        probe_health(router, exchange);
    else if (str_is(path, "/ready"))
        probe_ready(router, exchange);
    else
        api_reply_error(exchange, STATUS_NOT_FOUND, 404,
                        "there is nothing at this path: /metrics, /cluster, /cluster/events, "
                        "/health and /ready are here");
}
