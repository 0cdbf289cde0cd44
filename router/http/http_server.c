#include "router/http/http_impl.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define UNREAD_MS_MAX 60000

static void on_conn_close(uv_handle_t *handle)
{
    struct http_conn *conn = (struct http_conn *)(void *)handle;
    list_remove(&conn->node);
    conn->server->conn_count--;
    mem_free(conn);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *server = listener->data;
    if (status < 0) {
        LOG_WARN("http", "accept_failed", "reason=\"%s\"", uv_strerror(status));
        return;
    }
    struct http_conn *conn = mem_zalloc(sizeof(*conn));
    conn->server = server;
    list_init(&conn->node);
    list_append(&server->conns, &conn->node);
    server->conn_count++;
    CHECK(uv_tcp_init(listener->loop, &conn->tcp) == 0);
    uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
    if (uv_accept(listener, stream) != 0 || server->conn_count > server->opts.connections_max) {
        uv_close((uv_handle_t *)&conn->tcp, on_conn_close);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    h2o_accept(&server->accept, h2o_uv_socket_create(stream, on_conn_close));
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    struct http_server *server = ((struct http_handler *)(void *)self)->server;
    server->opts.request(server->opts.ctx, http_exchange_new(server, req));
    return 0;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http_server *server = prepare->data;
    while (!list_empty(&server->dirty))
        http_exchange_flush(LIST_ITEM(server->dirty.next, struct http_exchange, dirty));
}

static void on_handle_close(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    server->handles_open--;
}

static enum status listen_on(struct http_server *server, uv_loop_t *loop, struct err *err)
{
    struct sockaddr_storage addr;
    const struct http_opts *opts = &server->opts;
    if (uv_ip4_addr(opts->host, opts->port, (struct sockaddr_in *)&addr) != 0 &&
        uv_ip6_addr(opts->host, opts->port, (struct sockaddr_in6 *)&addr) != 0)
        return err_set(err, STATUS_INVALID, "%s is not an IP address to listen on", opts->host);
    CHECK(uv_tcp_init(loop, &server->listener) == 0);
    server->listener.data = server;
    server->handles_open++;
    int rc = uv_tcp_bind(&server->listener, (struct sockaddr *)&addr, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&server->listener, 1024, on_connection);
    if (rc == UV_EADDRINUSE)
        return err_set(err, STATUS_CONFLICT, "port %u of %s is in use by another program",
                       opts->port, opts->host);
    if (rc != 0)
        return err_set(err, STATUS_IO, "cannot listen on %s port %u: %s", opts->host, opts->port,
                       uv_strerror(rc));
    return STATUS_OK;
}

static void configure(struct http_server *server)
{
    h2o_config_init(&server->config);
    server->config.server_name = h2o_iovec_init(H2O_STRLIT("msgl"));
    server->config.max_request_entity_size = server->opts.body_max;
    server->config.http1.req_timeout = server->opts.idle_timeout_ms;
    server->config.http1.upgrade_to_http2 = 0;
    h2o_hostconf_t *host =
        h2o_config_register_host(&server->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct http_handler *handler =
        (struct http_handler *)(void *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->server = server;
    http_filter_errors(path);
    http_filter_errors(&host->fallback_path);
}

enum status http_server_start(uv_loop_t *loop, const struct http_opts *opts,
                              struct http_server **out, struct err *err)
{
    struct http_server *server = mem_zalloc(sizeof(*server));
    server->opts = *opts;
    list_init(&server->conns);
    list_init(&server->exchanges);
    list_init(&server->dirty);
    configure(server);
    h2o_context_init(&server->context, loop, &server->config);
    server->accept.ctx = &server->context;
    server->accept.hosts = server->config.hosts;
    CHECK(uv_prepare_init(loop, &server->prepare) == 0);
    server->prepare.data = server;
    server->handles_open++;
    uv_prepare_start(&server->prepare, on_prepare);
    *out = server;
    if (opts->tls_cert_file)
        TRY(http_tls_start(server, err));
    return listen_on(server, loop, err);
}

uint16_t http_server_port(const struct http_server *server)
{
    struct sockaddr_storage addr;
    int len = sizeof(addr);
    if (uv_tcp_getsockname(&server->listener, (struct sockaddr *)&addr, &len) != 0)
        return server->opts.port;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}

static void close_handle(uv_handle_t *handle)
{
    if (handle->loop && !uv_is_closing(handle))
        uv_close(handle, on_handle_close);
}

void http_server_stop(struct http_server *server)
{
    server->stopping = true;
    close_handle((uv_handle_t *)&server->listener);
    /* Not h2o_context_request_shutdown(): it also starts a timer of HTTP/2, which is off. */
    server->context.shutdown_requested = 1;
}

void http_server_close(struct http_server *server)
{
    http_server_stop(server);
    LIST_EACH(node, &server->conns) {
        struct http_conn *conn = LIST_ITEM(node, struct http_conn, node);
        uv_os_fd_t fd;
        if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0)
            shutdown(fd, SHUT_RDWR);
    }
    LIST_EACH_SAFE(node, next, &server->exchanges) {
        struct http_exchange *exchange = LIST_ITEM(node, struct http_exchange, node);
        http_exchange_lost(exchange);
    }
}

bool http_server_closed(struct http_server *server)
{
    http_tls_sweep(server);
    return server->conn_count == 0;
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    uv_loop_t *loop = server->prepare.loop;
    close_handle((uv_handle_t *)&server->listener);
    close_handle((uv_handle_t *)&server->prepare);
    while (server->handles_open > 0)
        uv_run(loop, UV_RUN_NOWAIT);
    if (server->conn_count == 0) { /* else a client holds on: the process ends anyway */
        h2o_context_dispose(&server->context);
        h2o_config_dispose(&server->config);
    }
    http_tls_stop(server);
    mem_free(server->polls);
    mem_free(server->polled);
    mem_free(server);
}

void http_server_sweep(struct http_server *server)
{
    if (server->exchange_count > server->poll_cap) {
        server->poll_cap = server->exchange_count * 2;
        server->polls = mem_realloc(server->polls, server->poll_cap * sizeof(*server->polls));
        server->polled = mem_realloc(server->polled, server->poll_cap * sizeof(*server->polled));
    }
    size_t count = 0;
    uint64_t now_ms = clock_now_ms();
    LIST_EACH(node, &server->exchanges) {
        struct http_exchange *exchange = LIST_ITEM(node, struct http_exchange, node);
        if (exchange->answered) {
            /* The rest waits for a reader that does not read: not for ever. */
            if (exchange->in_flight && now_ms - exchange->sent_ms > UNREAD_MS_MAX)
                shutdown(http_exchange_fd(exchange), SHUT_RDWR);
            continue;
        }
        server->polled[count] = exchange;
        server->polls[count++] =
            (struct pollfd){.fd = http_exchange_fd(exchange), .events = POLLRDHUP};
    }
    if (count == 0 || poll(server->polls, count, 0) <= 0)
        return;
    for (size_t i = 0; i < count; i++) {
        if (server->polls[i].revents & (POLLRDHUP | POLLHUP | POLLERR))
            http_exchange_lost(server->polled[i]);
    }
}
