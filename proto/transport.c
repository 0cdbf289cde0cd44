#include "proto/transport.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "proto/transport_socket.h"

/* Up to here a copy into ZeroMQ's message is cheaper than giving the buffer away, and the caller
 * keeps its memory for the next frame. */
#define COPY_BYTES_MAX 1024

struct transport {
    void *socket;
    void *monitor; /* DEALER: ZeroMQ's PAIR of connection events */
    bool router;
    int fd;
    uint64_t disconnects;
    char endpoint[256];
    zmq_msg_t peer, data; /* the last received message: views point here */
};

struct transport_context *transport_context_new(void)
{
    struct transport_context *context = mem_zalloc(sizeof(*context));
    context->zmq = zmq_ctx_new();
    CHECK(context->zmq);
    pthread_mutex_init(&context->lock, NULL);
    return context;
}

void transport_context_free(struct transport_context *context)
{
    if (!context)
        return;
    zmq_ctx_shutdown(context->zmq); /* ends the authenticator's receive */
    zap_stop(context->zap);
    while (zmq_ctx_term(context->zmq) != 0 && errno == EINTR)
        continue;
    pthread_mutex_destroy(&context->lock);
    mem_free(context);
}

static struct transport *transport_new(struct transport_context *context, bool router)
{
    struct transport *transport = mem_zalloc(sizeof(*transport));
    transport->router = router;
    transport->socket = zmq_socket(context->zmq, router ? ZMQ_ROUTER : ZMQ_DEALER);
    CHECK(transport->socket);
    zmq_msg_init(&transport->peer);
    zmq_msg_init(&transport->data);
    return transport;
}

void transport_free(struct transport *transport)
{
    if (!transport)
        return;
    if (transport->monitor) {
        zmq_socket_monitor(transport->socket, NULL, 0);
        zmq_close(transport->monitor);
    }
    if (transport->router && transport->fd) /* bound: no new handshakes while frames go out */
        zmq_unbind(transport->socket, transport->endpoint);
    zmq_msg_close(&transport->peer);
    zmq_msg_close(&transport->data);
    zmq_close(transport->socket);
    mem_free(transport);
}

static enum status set_int(struct transport *transport, int option, int value, struct err *err)
{
    if (zmq_setsockopt(transport->socket, option, &value, sizeof(value)) != 0)
        return err_set(err, STATUS_INTERNAL, "ZeroMQ refuses option %d: %s", option,
                       zmq_strerror(errno));
    return STATUS_OK;
}

static enum status read_fd(struct transport *transport, struct err *err)
{
    size_t len = sizeof(transport->fd);
    if (zmq_getsockopt(transport->socket, ZMQ_FD, &transport->fd, &len) != 0)
        return err_set(err, STATUS_INTERNAL, "ZeroMQ gives no file descriptor: %s",
                       zmq_strerror(errno));
    return STATUS_OK;
}

/* ZeroMQ takes 99999 modulo 65536. */
static bool port_valid(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    unsigned long port = digits >= 1 && digits <= 5 ? strtoul(colon + 1, NULL, 10) : ULONG_MAX;
    return colon && (strcmp(colon, ":*") == 0 || (colon[1 + digits] == 0 && port <= 65535));
}

static enum status check_endpoint(const char *endpoint, struct err *err)
{
    if (strncmp(endpoint, "tcp://", 6) != 0 || !port_valid(endpoint + 6))
        return err_set(err, STATUS_INVALID, "\"%.200s\" is no address of the form tcp://HOST:PORT",
                       endpoint);
    return STATUS_OK;
}

/* ZeroMQ binds to addresses and interfaces, not to names: localhost is 127.0.0.1. */
static enum status bind_text(const char *endpoint, char *out, size_t room, struct err *err)
{
    static const char name[] = "tcp://localhost:";
    bool local = strncmp(endpoint, name, sizeof(name) - 1) == 0;
    int len = snprintf(out, room, "%s%s", local ? "tcp://127.0.0.1:" : endpoint,
                       local ? endpoint + sizeof(name) - 1 : "");

    if (len < 0 || (size_t)len >= room)
        return err_set(err, STATUS_INVALID, "the address \"%.60s...\" is too long", endpoint);
    return check_endpoint(out, err);
}

enum status transport_bind(struct transport_context *context, const char *endpoint,
                           const struct transport_security *security, struct transport **out,
                           struct err *err)
{
    struct transport *transport = transport_new(context, true);
    size_t len = sizeof(transport->endpoint);
    enum status status;

    TRY_OUT(bind_text(endpoint, transport->endpoint, sizeof(transport->endpoint), err));
    TRY_OUT(socket_options(transport->socket, true, transport->endpoint, err));
    TRY_OUT(set_int(transport, ZMQ_ROUTER_MANDATORY, 1, err));
    TRY_OUT(set_int(transport, ZMQ_ROUTER_HANDOVER, 1, err));
    TRY_OUT(socket_security(transport->socket, security, true, transport->endpoint, err));
    if (security && security->secret_key)
        TRY_OUT(zap_start(context, security, err));
    if (zmq_bind(transport->socket, transport->endpoint) != 0) {
        bool taken = errno == EADDRINUSE;
        status = err_set(err, taken ? STATUS_CONFLICT : STATUS_INVALID, "cannot listen on %s: %s",
                         endpoint, taken ? "the port is in use" : zmq_strerror(errno));
        goto out;
    }
    if (zmq_getsockopt(transport->socket, ZMQ_LAST_ENDPOINT, transport->endpoint, &len) != 0) {
        status = err_set(err, STATUS_INTERNAL, "%s", zmq_strerror(errno));
        goto out;
    }
    TRY_OUT(read_fd(transport, err));
    *out = transport;
    return STATUS_OK;
out:
    transport_free(transport);
    return status;
}

static enum status open_monitor(struct transport_context *context, struct transport *transport,
                                struct err *err)
{
    char name[64];
    int linger = 0;

    snprintf(name, sizeof(name), "inproc://monitor-%p", (void *)transport);
    transport->monitor = zmq_socket(context->zmq, ZMQ_PAIR);
    if (!transport->monitor ||
        zmq_setsockopt(transport->monitor, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
        zmq_socket_monitor(transport->socket, name, ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(transport->monitor, name) != 0)
        return err_set(err, STATUS_INTERNAL, "ZeroMQ does not report disconnections: %s",
                       zmq_strerror(errno));
    return STATUS_OK;
}

enum status transport_connect(struct transport_context *context, const char *endpoint,
                              const char *identity, const struct transport_security *security,
                              struct transport **out, struct err *err)
{
    struct transport *transport = transport_new(context, false);
    size_t identity_len = strlen(identity);
    enum status status;

    CHECK(identity_len >= 1 && identity_len <= TRANSPORT_PEER_BYTES_MAX);
    TRY_OUT(check_endpoint(endpoint, err));
    snprintf(transport->endpoint, sizeof(transport->endpoint), "%s", endpoint);
    TRY_OUT(socket_options(transport->socket, false, transport->endpoint, err));
    TRY_OUT(set_int(transport, ZMQ_IMMEDIATE, 1, err));
    if (zmq_setsockopt(transport->socket, ZMQ_ROUTING_ID, identity, identity_len) != 0) {
        status = err_set(err, STATUS_INVALID, "\"%s\" is no routing id", identity);
        goto out;
    }
    TRY_OUT(socket_security(transport->socket, security, false, endpoint, err));
    TRY_OUT(open_monitor(context, transport, err));
    if (zmq_connect(transport->socket, endpoint) != 0) {
        status = err_set(err, STATUS_INVALID, "cannot connect to \"%.200s\": %s", endpoint,
                         zmq_strerror(errno));
        goto out;
    }
    TRY_OUT(read_fd(transport, err));
    *out = transport;
    return STATUS_OK;
out:
    transport_free(transport);
    return status;
}

const char *transport_endpoint(const struct transport *transport)
{
    return transport->endpoint;
}

int transport_fd(const struct transport *transport)
{
    return transport->fd;
}

bool transport_readable(struct transport *transport)
{
    int events = 0;
    size_t len = sizeof(events);
    return zmq_getsockopt(transport->socket, ZMQ_EVENTS, &events, &len) == 0 &&
           (events & ZMQ_POLLIN);
}

/* Each event is two parts: number and value, then the address. All are DISCONNECTED. */
uint64_t transport_disconnects(struct transport *transport)
{
    char part[256];

    while (transport->monitor &&
           zmq_recv(transport->monitor, part, sizeof(part), ZMQ_DONTWAIT) >= 0) {
        int more = 0;
        size_t len = sizeof(more);
        zmq_getsockopt(transport->monitor, ZMQ_RCVMORE, &more, &len);
        if (!more)
            transport->disconnects++;
    }
    return transport->disconnects;
}

static void free_data(void *data, void *hint)
{
    mem_free(data);
}

static enum status send_message(struct transport *transport, struct buf *data)
{
    zmq_msg_t message;
    int rc;

    if (data->len <= COPY_BYTES_MAX) {
        CHECK(zmq_msg_init_size(&message, data->len) == 0);
        if (data->len)
            memcpy(zmq_msg_data(&message), data->data, data->len);
        buf_clear(data);
    } else {
        CHECK(zmq_msg_init_data(&message, data->data, data->len, free_data, NULL) == 0);
        memset(data, 0, sizeof(*data));
    }
    do
        rc = zmq_msg_send(&message, transport->socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc >= 0)
        return STATUS_OK;
    rc = errno;
    zmq_msg_close(&message);
    return rc == EAGAIN ? STATUS_AGAIN : rc == EHOSTUNREACH ? STATUS_NOT_FOUND : STATUS_IO;
}

enum status transport_send_to(struct transport *transport, struct str peer, struct buf *data)
{
    int rc;

    CHECK(transport->router);
    do
        rc = zmq_send(transport->socket, peer.data, peer.len, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        rc = errno;
        buf_clear(data);
        return rc == EAGAIN ? STATUS_AGAIN : rc == EHOSTUNREACH ? STATUS_NOT_FOUND : STATUS_IO;
    }
    return send_message(transport, data);
}

enum status transport_send(struct transport *transport, struct buf *data)
{
    CHECK(!transport->router);
    return send_message(transport, data);
}

/* Next part into *part; false when none is there. */
static bool receive_part(struct transport *transport, zmq_msg_t *part)
{
    int rc;
    do
        rc = zmq_msg_recv(part, transport->socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

static struct str view_of(zmq_msg_t *part)
{
    return (struct str){zmq_msg_data(part), zmq_msg_size(part)};
}

enum status transport_receive(struct transport *transport, struct str *peer, struct str *data)
{
    zmq_msg_t *first = transport->router ? &transport->peer : &transport->data;

    for (;;) {
        bool whole = true;
        if (!receive_part(transport, first))
            return STATUS_AGAIN;
        if (transport->router) {
            if (!zmq_msg_more(&transport->peer))
                continue; /* a routing id and nothing else */
            whole = receive_part(transport, &transport->data);
        }
        while (whole && zmq_msg_more(&transport->data)) {
            /* More parts than the protocol knows: the message is dropped to its end. */
            zmq_msg_t *rest = &transport->data;
            if (!receive_part(transport, rest) || !zmq_msg_more(rest))
                whole = false;
        }
        if (whole)
            break;
    }
    *peer = transport->router ? view_of(&transport->peer) : (struct str){"", 0};
    *data = view_of(&transport->data);
    return STATUS_OK;
}
