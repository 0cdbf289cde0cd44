/* What a plain HTTP/1.1 stream says between its first bytes and its end goes to the socket in one
 * send() of one piece. Through h2o and libuv the same event is three pieces, a request in a queue and
 * two callbacks, which cost as much as all that this program does for a token.
 *
 *   h2o: head, first chunk │ ours: chunk, chunk, chunk … │ h2o: last chunk, end
 *
 * Between h2o's sends nothing of h2o is under way on the connection. What the kernel does not take is
 * handed to h2o's socket, and the exchange waits until that is out. */
#include "router/http/http_impl.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/clock.h"

static h2o_socket_t *socket_of(const struct http_exchange *exchange)
{
    h2o_conn_t *conn = exchange->req->conn;
    return conn->callbacks->get_socket(conn);
}

bool http_direct_can(const struct http_exchange *exchange)
{
    /* h2o has added the header by now, if it frames what is sent. */
    const h2o_headers_t *headers = &exchange->req->res.headers;
    return !socket_of(exchange)->ssl &&
           h2o_find_header(headers, H2O_TOKEN_TRANSFER_ENCODING, -1) >= 0;
}

static void put_chunk(const struct buf *data, struct buf *chunk)
{
    char digits[2 * sizeof(size_t) + 2] = {[2 * sizeof(size_t)] = '\r', '\n'};
    size_t at = 2 * sizeof(size_t);
    for (size_t rest = data->len; rest > 0; rest >>= 4)
        digits[--at] = "0123456789abcdef"[rest & 15];
    buf_clear(chunk);
    buf_append(chunk, digits + at, sizeof(digits) - at);
    buf_append(chunk, data->data, data->len);
    buf_append(chunk, "\r\n", 2);
}

static void on_rest_sent(h2o_socket_t *sock, const char *error)
{
    h2o_conn_t *conn = sock->data; /* h2o's connections begin with it */
    struct http_server *server = CONTAINER_OF(conn->ctx, struct http_server, context);
    LIST_EACH(node, &server->exchanges) {
        struct http_exchange *exchange = LIST_ITEM(node, struct http_exchange, node);
        if (exchange->req->conn != conn)
            continue;
        exchange->in_flight = false;
        if (error)
            http_exchange_lost(exchange);
        http_exchange_flush(exchange);
        return;
    }
}

void http_direct_send(struct http_exchange *exchange)
{
    struct buf *chunk = &exchange->sending;
    put_chunk(&exchange->out, chunk);
    buf_clear(&exchange->out);
    ssize_t sent =
        send(http_exchange_fd(exchange), chunk->data, chunk->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t)chunk->len)
        return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        http_exchange_lost(exchange);
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    h2o_iovec_t rest = h2o_iovec_init(chunk->data + done, chunk->len - done);
    exchange->in_flight = true;
    exchange->sent_ms = clock_now_ms();
    h2o_socket_write(socket_of(exchange), &rest, 1, on_rest_sent);
}
