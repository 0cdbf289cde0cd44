/* http_impl - what http_server.c and http_exchange.c share. Nobody else includes this. */
#ifndef MSGL_ROUTER_HTTP_HTTP_IMPL_H
#define MSGL_ROUTER_HTTP_HTTP_IMPL_H

#include "common/list.h"
#include "router/http/http_server.h"

#include <h2o.h>

struct http_conn {
    uv_tcp_t tcp; /* first: h2o closes and hands back this handle */
    struct http_server *server;
    struct list node; /* in server->conns */
};

struct http_handler {
    h2o_handler_t super;
    struct http_server *server;
};

struct http_server {
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    struct http_opts opts;
    uv_tcp_t listener;
    uv_prepare_t prepare; /* flushes */
    struct list conns;
    struct list exchanges; /* all that are not answered yet */
    struct list dirty;     /* have something to send */
    size_t conn_count, exchange_count;
    size_t handles_open; /* listener and prepare */
    bool stopping;
    uint64_t tls_stamp; /* of the files that accept.ssl_ctx was made from */
    struct pollfd *polls;
    struct http_exchange **polled;
    size_t poll_cap;
};

struct http_exchange {
    h2o_generator_t generator; /* first */
    h2o_req_t *req;
    struct http_server *server;
    struct list node;
    struct list dirty; /* in server->dirty */
    void *owner;
    void (*gone)(void *owner);
    struct buf out;     /* waiting */
    struct buf sending; /* in flight */
    uint64_t sent_ms;   /* when the write in flight began */
    bool direct;        /* h2o is between two sends while nothing is in flight: see http_direct.c */
    bool started, in_flight, finished, aborted, final_sent, answered;
};

struct http_exchange *http_exchange_new(struct http_server *server, h2o_req_t *req);
void http_exchange_flush(struct http_exchange *exchange);
void http_exchange_lost(struct http_exchange *exchange); /* the client left */
/* asked once the response has started */
bool http_direct_can(const struct http_exchange *exchange);
void http_direct_send(struct http_exchange *exchange); /* all of `out`, as a chunk of the body */
int http_exchange_fd(const struct http_exchange *exchange);
enum status MUST_USE http_tls_start(struct http_server *server, struct err *err);
void http_tls_stop(struct http_server *server);
void http_tls_sweep(struct http_server *server); /* lets go of connections that were reset */
void http_filter_errors(h2o_pathconf_t *path);   /* h2o's own errors as JSON */

#endif
