/* Errors that h2o answers by itself (a bad request line, a body over the limit) as OpenAI's JSON. */
#include "router/http/http_impl.h"

#include <string.h>

#include "common/mem.h"

struct error_stream {
    h2o_ostream_t super;
    h2o_iovec_t body;
    bool sent;
};

static void on_send(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t count,
                    h2o_send_state_t state)
{
    struct error_stream *stream = (struct error_stream *)(void *)self;
    h2o_iovec_t body = stream->body;
    size_t body_count = stream->sent ? 0 : 1;
    stream->sent = true;
    h2o_ostream_send_next(&stream->super, req, &body, body_count, state);
}

static const char *sentence(int status)
{
    switch (status) {
    case 413:
        return "the request body is larger than this server takes";
    case 404:
        return "there is nothing at this path";
    default:
        return "the request is not valid HTTP/1.1";
    }
}

static void on_setup(h2o_filter_t *self, h2o_req_t *req, h2o_ostream_t **slot)
{
    ssize_t at = h2o_find_header(&req->res.headers, H2O_TOKEN_CONTENT_TYPE, -1);
    bool plain = at >= 0 && req->res.headers.entries[at].value.len >= 10 &&
                 memcmp(req->res.headers.entries[at].value.base, "text/plain", 10) == 0;
    if (req->res.status < 400 || req->res.status == 499 || !plain) {
        h2o_setup_next_ostream(req, slot);
        return;
    }
    struct buf text = {0};
    buf_printf(&text,
               "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"param\":null,"
               "\"code\":%d}}",
               sentence(req->res.status), req->res.status);
    h2o_iovec_t body = h2o_strdup(&req->pool, text.data, text.len);
    buf_release(&text);
    h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE,
                   H2O_STRLIT("application/json"), 1);
    req->res.content_length = body.len;
    struct error_stream *stream =
        (struct error_stream *)(void *)h2o_add_ostream(req, sizeof(*stream), slot);
    stream->super.do_send = on_send;
    stream->body = body;
    stream->sent = false;
    h2o_setup_next_ostream(req, &stream->super.next);
}

void http_filter_errors(h2o_pathconf_t *path)
{
    h2o_filter_t *filter = h2o_create_filter(path, sizeof(*filter));
    filter->on_setup_ostream = on_setup;
}
