#include "router/http/http_impl.h"

#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/mem.h"

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct http_exchange *exchange = (struct http_exchange *)(void *)generator;
    exchange->in_flight = false;
    http_exchange_flush(exchange);
}

static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    /* on_dispose follows and does the work. */
}

static void owner_gone(struct http_exchange *exchange)
{
    void *owner = exchange->owner;
    exchange->owner = NULL;
    if (owner)
        exchange->gone(owner);
}

/* The request's pool dies: answered, or the connection broke. */
static void on_dispose(void *ptr)
{
    struct http_exchange *exchange = ptr;
    exchange->req = NULL;
    list_remove(&exchange->node);
    list_remove(&exchange->dirty);
    exchange->server->exchange_count--;
    buf_release(&exchange->out);
    buf_release(&exchange->sending);
    owner_gone(exchange);
}

struct http_exchange *http_exchange_new(struct http_server *server, h2o_req_t *req)
{
    struct http_exchange *exchange =
        h2o_mem_alloc_shared(&req->pool, sizeof(*exchange), on_dispose);
    memset(exchange, 0, sizeof(*exchange));
    exchange->generator.proceed = on_proceed;
    exchange->generator.stop = on_stop;
    exchange->req = req;
    exchange->server = server;
    list_init(&exchange->node);
    list_init(&exchange->dirty);
    list_append(&server->exchanges, &exchange->node);
    server->exchange_count++;
    return exchange;
}

int http_exchange_fd(const struct http_exchange *exchange)
{
    h2o_conn_t *conn = exchange->req->conn;
    return h2o_socket_get_fd(conn->callbacks->get_socket(conn));
}

void http_exchange_lost(struct http_exchange *exchange)
{
    owner_gone(exchange);
    if (exchange->answered)
        return;
    if (exchange->started || exchange->finished)
        http_abort(exchange);
    else
        http_reply(exchange, 499, "text/plain", STR(""));
}

void http_exchange_flush(struct http_exchange *exchange)
{
    list_remove(&exchange->dirty);
    if (exchange->in_flight || exchange->final_sent)
        return;
    bool final = exchange->finished || exchange->aborted;
    if (exchange->out.len == 0 && !final)
        return;
    if (exchange->direct && !final) {
        http_direct_send(exchange);
        return;
    }
    if (!exchange->started) {
        exchange->started = true;
        h2o_start_response(exchange->req, &exchange->generator);
        exchange->direct = http_direct_can(exchange);
    }
    struct buf spent = exchange->sending;
    exchange->sending = exchange->out;
    exchange->out = spent;
    buf_clear(&exchange->out);
    exchange->in_flight = true;
    exchange->sent_ms = clock_now_ms();
    exchange->final_sent = final;
    h2o_iovec_t vec = h2o_iovec_init(exchange->sending.data, exchange->sending.len);
    h2o_send(exchange->req, &vec, vec.len > 0 ? 1 : 0,
             exchange->aborted    ? H2O_SEND_STATE_ERROR
             : exchange->finished ? H2O_SEND_STATE_FINAL
                                  : H2O_SEND_STATE_IN_PROGRESS);
}

static void make_dirty(struct http_exchange *exchange)
{
    list_remove(&exchange->dirty);
    list_append(&exchange->server->dirty, &exchange->dirty);
}

static struct str view(h2o_iovec_t vec)
{
    return (struct str){vec.base, vec.len};
}

struct str http_method(const struct http_exchange *exchange)
{
    return view(exchange->req->method);
}

struct str http_path(const struct http_exchange *exchange)
{
    return view(exchange->req->path_normalized);
}

struct str http_body(const struct http_exchange *exchange)
{
    return view(exchange->req->entity);
}

struct str http_header(const struct http_exchange *exchange, const char *name)
{
    const h2o_headers_t *headers = &exchange->req->headers;
    for (size_t i = 0; i < headers->size; i++) {
        const h2o_header_t *header = &headers->entries[i];
        if (h2o_lcstris(header->name->base, header->name->len, name, strlen(name)))
            return view(header->value);
    }
    return (struct str){NULL, 0};
}

void http_own(struct http_exchange *exchange, void *owner, void (*gone)(void *owner))
{
    exchange->owner = owner;
    exchange->gone = gone;
}

void http_add_header(struct http_exchange *exchange, const char *name, struct str value)
{
    h2o_req_t *req = exchange->req;
    h2o_iovec_t copy = h2o_strdup(&req->pool, value.data, value.len);
    h2o_iovec_t key = h2o_strdup(&req->pool, name, SIZE_MAX);
    h2o_add_header_by_str(&req->pool, &req->res.headers, key.base, key.len, 1, NULL, copy.base,
                          copy.len);
}

static const char *status_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Payload Too Large";
    case 415:
        return "Unsupported Media Type";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return status < 500 ? "Client Error" : "Server Error";
    }
}

static void set_head(struct http_exchange *exchange, int status, const char *type)
{
    h2o_req_t *req = exchange->req;
    req->res.status = status;
    req->res.reason = status_reason(status);
    h2o_iovec_t copy = h2o_strdup(&req->pool, type, SIZE_MAX);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, copy.base,
                   copy.len);
    if (exchange->server->stopping || status == 499)
        req->http1_is_persistent = 0;
}

void http_reply(struct http_exchange *exchange, int status, const char *type, struct str body)
{
    CHECK(!exchange->answered && !exchange->started);
    set_head(exchange, status, type);
    exchange->answered = true;
    exchange->owner = NULL;
    exchange->req->res.content_length = body.len;
    exchange->finished = true;
    buf_append(&exchange->out, body.data, body.len);
    make_dirty(exchange);
}

void http_stream(struct http_exchange *exchange, const char *type)
{
    CHECK(!exchange->answered && !exchange->started);
    set_head(exchange, 200, type);
    h2o_add_header(&exchange->req->pool, &exchange->req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL,
                   H2O_STRLIT("no-cache"));
}

enum status http_write(struct http_exchange *exchange, const void *data, size_t len)
{
    CHECK(!exchange->answered);
    if (exchange->out.len + len > exchange->server->opts.buffer_max)
        return STATUS_NO_SPACE;
    buf_append(&exchange->out, data, len);
    make_dirty(exchange);
    return STATUS_OK;
}

size_t http_unsent(const struct http_exchange *exchange)
{
    return exchange->out.len;
}

void http_finish(struct http_exchange *exchange)
{
    CHECK(!exchange->answered);
    exchange->answered = true;
    exchange->finished = true;
    exchange->owner = NULL;
    make_dirty(exchange);
}

void http_abort(struct http_exchange *exchange)
{
    exchange->answered = true;
    exchange->aborted = true;
    exchange->owner = NULL;
    buf_clear(&exchange->out);
    /* A write that the reader does not take would hold the rest up for ever: break the pipe. */
    if (exchange->in_flight)
        shutdown(http_exchange_fd(exchange), SHUT_RDWR);
    make_dirty(exchange);
}
