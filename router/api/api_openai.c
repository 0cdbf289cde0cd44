#include "router/api/api_openai.h"

#include <string.h>

#include "router/api/openapi.h"
#include "router/api/response.h"
#include "router/call.h"
#include "router/probes.h"
#include "router/web/ui.h"

static void reply_json(struct http_exchange *exchange, int http, struct buf *text)
{
    http_reply(exchange, http, "application/json", (struct str){text->data, text->len});
    buf_release(text);
}

void api_reply_error(struct http_exchange *exchange, enum status status, int http, const char *text)
{
    struct api_error error = {0};
    struct buf body = {0};
    api_fail(&error, status, NULL, "%s", text);
    if (http == 404)
        error.code = "not_found";
    if (http == 405)
        error.code = "method_not_allowed";
    if (status == STATUS_DENIED)
        error.code = "invalid_api_key";
    response_error(&error, &body);
    reply_json(exchange, http, &body);
}

static void chat(struct router *router, struct http_exchange *exchange)
{
    call_begin(router, exchange, API_CHAT);
}

static void completions(struct router *router, struct http_exchange *exchange)
{
    call_begin(router, exchange, API_COMPLETIONS);
}

static void models(struct router *router, struct http_exchange *exchange)
{
    struct buf body = {0};
    response_models(router, &body);
    reply_json(exchange, 200, &body);
}

static void one_model(struct router *router, struct http_exchange *exchange, struct str name)
{
    const struct model *model = models_find(&router->models, name);
    struct buf body = {0};
    if (model) {
        response_model(model, &body);
        reply_json(exchange, 200, &body);
        return;
    }
    struct api_error error = {.code = "model_not_found"};
    api_fail(&error, STATUS_NOT_FOUND, "model", "the model %.*s does not exist here",
             (int)MIN(name.len, (size_t)100), name.data);
    response_error(&error, &body);
    reply_json(exchange, 404, &body);
}

static void generate(struct router *router, struct http_exchange *exchange)
{
    call_begin(router, exchange, API_GENERATE);
}

static void tokenize(struct router *router, struct http_exchange *exchange)
{
    call_begin(router, exchange, API_TOKENIZE);
}

static void detokenize(struct router *router, struct http_exchange *exchange)
{
    call_begin(router, exchange, API_DETOKENIZE);
}

static void version(struct router *router, struct http_exchange *exchange)
{
    http_reply(exchange, 200, "application/json", STR("{\"version\":\"" MSGL_VERSION "\"}"));
}

static void document(struct router *router, struct http_exchange *exchange)
{
    struct buf body = {0};
    openapi_document(&body);
    reply_json(exchange, 200, &body);
}

static const struct {
    const char *path;
    void (*handle)(struct router *router, struct http_exchange *exchange);
} handlers[] = {
    {"/v1/chat/completions", chat}, {"/v1/completions", completions}, {"/generate", generate},
    {"/tokenize", tokenize},        {"/detokenize", detokenize},      {"/v1/models", models},
    {"/health", probe_health},      {"/ready", probe_ready},          {"/version", version},
    {"/openapi.json", document},
};

/* Browsers ask before they call: true when this was the question, and is answered. */
static bool allow_origin(struct router *router, struct http_exchange *exchange)
{
    http_add_header(exchange, "access-control-allow-origin", str_from(router->config.cors_origin));
    http_add_header(exchange, "access-control-expose-headers", STR("x-request-id, retry-after"));
    if (!str_is(http_method(exchange), "OPTIONS"))
        return false;
    http_add_header(exchange, "access-control-allow-methods", STR("GET, POST"));
    http_add_header(exchange, "access-control-allow-headers",
                    STR("*, authorization, content-type"));
    http_add_header(exchange, "access-control-max-age", STR("86400"));
    http_reply(exchange, 204, "text/plain", STR(""));
    return true;
}

static bool starts_with(struct str text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

void api_request(void *ctx, struct http_exchange *exchange)
{
    struct router *router = ctx;
    struct str path = http_path(exchange), method = http_method(exchange);
    bool guarded = api_keys_needed(&router->keys) && openapi_guarded(path);
    if (router->config.cors_origin && allow_origin(router, exchange))
        return;
    if (!router->config.no_ui && ui_request(exchange, false))
        return;
    router->caller =
        guarded ? api_keys_find(&router->keys, http_header(exchange, "authorization")) : NULL;
    if (guarded && !router->caller) {
        http_add_header(exchange, "www-authenticate", STR("Bearer"));
        api_reply_error(exchange, STATUS_DENIED, 401, "the API key is missing or wrong");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (!str_is(path, handlers[i].path))
            continue;
        const char *allowed = openapi_method(handlers[i].path);
        if (str_is(method, allowed)) {
            handlers[i].handle(router, exchange);
            return;
        }
        http_add_header(exchange, "allow", str_from(allowed));
        api_reply_error(exchange, STATUS_INVALID, 405, "this method is not allowed at this path");
        return;
    }
    static const char model_path[] = "/v1/models/";
    size_t skip = sizeof(model_path) - 1;
    if (starts_with(path, model_path) && path.len > skip) {
        if (str_is(method, "GET"))
            one_model(router, exchange, (struct str){path.data + skip, path.len - skip});
        else
            api_reply_error(exchange, STATUS_INVALID, 405, "only GET is allowed here");
        return;
    }
    api_reply_error(exchange, STATUS_NOT_FOUND, 404, "there is nothing at this path");
}
