/* http_server - HTTP/1.1 behind a few calls: the only place (with http_*.c) that knows h2o.
 *
 *   request ──► opts.request(ctx, exchange) ──► http_reply(): one whole answer
 *                                          └──► http_stream(), http_write()…, http_finish()
 *
 * An exchange is one request and its response. Its owner holds it until it has called http_reply,
 * http_finish or http_abort, or until `gone` was called: then the pointer is dead.
 *
 * Output is coalesced: http_write appends to a queue, and just before the loop would sleep each
 * queue goes out in one write, the head together with the first bytes. One write is in flight at a
 * time. A reader so slow that the queue passes opts.buffer_max is an error of http_write.
 *
 * h2o stops reading while a request is served, so a client that leaves is invisible to it:
 * http_server_sweep() asks the kernel. A half-closed connection counts as gone. Errors that h2o
 * itself answers (bad request line, body too large) become JSON like ours. HTTP/2 is off. Loop thread.
 */
#ifndef MSGL_ROUTER_HTTP_HTTP_SERVER_H
#define MSGL_ROUTER_HTTP_HTTP_SERVER_H

#include "common/buf.h"
#include "common/status.h"

#include <uv.h>

struct http_exchange;
struct http_server;

struct http_opts {
    const char *host;
    uint16_t port; /* 0 picks one */
    size_t body_max;
    size_t buffer_max;
    size_t connections_max;
    uint64_t idle_timeout_ms;
    const char *tls_cert_file, *tls_key_file; /* NULL: plain HTTP */
    void *ctx;
    void (*request)(void *ctx, struct http_exchange *exchange);
};

/* CONFLICT when the port is in use. */
enum status MUST_USE http_server_start(uv_loop_t *loop, const struct http_opts *opts,
                                       struct http_server **out, struct err *err);
uint16_t http_server_port(const struct http_server *server);
/* TLS: takes a changed certificate for new connections, lets go of dead ones. Once a second. */
void http_server_refresh(struct http_server *server);
/* No new connections; every response from now on closes its connection. */
void http_server_stop(struct http_server *server);
/* Cuts all connections off. The loop must run until http_server_closed() before free. */
void http_server_close(struct http_server *server);
bool http_server_closed(struct http_server *server);
void http_server_free(struct http_server *server); /* NULL is fine */
/* Calls `gone` for every exchange whose client has left. */
void http_server_sweep(struct http_server *server);

/* Views, valid while the exchange is. */
struct str http_method(const struct http_exchange *exchange);
struct str http_path(const struct http_exchange *exchange); /* normalised, without the query */
struct str http_body(const struct http_exchange *exchange);
struct str http_header(const struct http_exchange *exchange,
                       const char *name); /* lower case; empty when absent */

/* The client left: owner is called once, and must not touch the exchange again. */
void http_own(struct http_exchange *exchange, void *owner, void (*gone)(void *owner));

/* Before http_reply or http_stream; both strings are copied. */
void http_add_header(struct http_exchange *exchange, const char *name, struct str value);
void http_reply(struct http_exchange *exchange, int status, const char *type, struct str body);

void http_stream(struct http_exchange *exchange, const char *type); /* 200; nothing is sent yet */
/* NO_SPACE: the reader is too slow; call http_abort. */
enum status MUST_USE http_write(struct http_exchange *exchange, const void *data, size_t len);
size_t
http_unsent(const struct http_exchange *exchange); /* bytes that wait behind the write in flight */
void http_finish(struct http_exchange *exchange);
void http_abort(struct http_exchange *exchange); /* breaks the connection off, body unfinished */

#endif
