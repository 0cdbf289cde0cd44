#include "proto/transport_socket.h"

#include <errno.h>
#include <string.h>

#include "proto/frames.h"

#define PIPE_FRAMES  100000 /* per peer and direction; credits keep us far below */
#define LINGER_MS    200
#define HANDSHAKE_MS 5000
#define BACKLOG      1024

struct socket_option {
    int name;
    int value;
};

static const struct socket_option common_options[] = {
    {ZMQ_LINGER, LINGER_MS},           {ZMQ_SNDHWM, PIPE_FRAMES},     {ZMQ_RCVHWM, PIPE_FRAMES},
    {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS}, {ZMQ_BACKLOG, BACKLOG},        {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, 30},      {ZMQ_TCP_KEEPALIVE_INTVL, 10}, {ZMQ_TCP_KEEPALIVE_CNT, 3},
    {ZMQ_RECONNECT_IVL, 100},          {ZMQ_RECONNECT_IVL_MAX, 2000},
};

/* Of the connecting end only: the other one answers, and lets go of a connection when the time to
 * live that it was told is over. A ROUTER must not send any of its own: libzmq up to 4.3.5 aborts
 * when it does so on a connection that lost its routing id to another and broke (issue 4364). */
static const struct socket_option heartbeat_options[] = {
    {ZMQ_HEARTBEAT_IVL, 1000}, {ZMQ_HEARTBEAT_TIMEOUT, 3000}, {ZMQ_HEARTBEAT_TTL, 3000}};

static enum status set_options(void *socket, const struct socket_option *options, size_t count,
                               struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof(int)) != 0)
            return err_set(err, STATUS_INTERNAL, "ZeroMQ refuses option %d: %s", options[i].name,
                           zmq_strerror(errno));
    return STATUS_OK;
}

enum status socket_options(void *socket, bool bound, const char *endpoint, struct err *err)
{
    int64_t message_max = PROTO_FRAME_BYTES_MAX;
    /* Off for 127.0.0.1, which would otherwise be reported as ::ffff:127.0.0.1. */
    int ipv6 = strchr(endpoint, '[') || strstr(endpoint, "//*");

    TRY(set_options(socket, common_options, ARRAY_LEN(common_options), err));
    if (!bound)
        TRY(set_options(socket, heartbeat_options, ARRAY_LEN(heartbeat_options), err));
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_max, sizeof(message_max)) != 0)
        return err_set(err, STATUS_INTERNAL, "ZeroMQ refuses the largest message size");
    if (zmq_setsockopt(socket, ZMQ_IPV6, &ipv6, sizeof(ipv6)) != 0)
        return err_set(err, STATUS_INTERNAL, "ZeroMQ refuses IPv6");
    return STATUS_OK;
}

bool endpoint_is_loopback(const char *endpoint)
{
    static const char *const prefixes[] = {
        "tcp://127.", "tcp://[::1]:", "tcp://::1:", "tcp://localhost:", "inproc://", "ipc://"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (strncmp(endpoint, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static enum status set_key(void *socket, int option, const char *key, const char *what,
                           struct err *err)
{
    if (!key)
        return err_set(err, STATUS_INVALID, "CURVE needs %s", what);
    if (strlen(key) != 40 || zmq_setsockopt(socket, option, key, 41) != 0)
        return err_set(err, STATUS_INVALID, "%s is not a Z85 key of 40 characters", what);
    return STATUS_OK;
}

enum status socket_security(void *socket, const struct transport_security *security, bool server,
                            const char *endpoint, struct err *err)
{
    int yes = 1;

    if (!security || (!security->secret_key && !security->public_key && !security->server_key)) {
        if (!endpoint_is_loopback(endpoint) && !(security && security->allow_plain))
            return err_set(
                err, STATUS_DENIED,
                "%s is reachable from other machines and no CURVE keys are given: give "
                "--wire-key-file (msgl keys makes one), use 127.0.0.1, or allow --wire-plain",
                endpoint);
        return STATUS_OK;
    }
    if (server) {
        if (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof(yes)) != 0)
            return err_set(err, STATUS_UNSUPPORTED, "this ZeroMQ is built without CURVE");
        if (zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "msgl", 4) != 0)
            return err_set(err, STATUS_INTERNAL, "ZeroMQ refuses an authentication domain");
    } else {
        TRY(set_key(socket, ZMQ_CURVE_SERVERKEY, security->server_key, "the router's public key",
                    err));
        TRY(set_key(socket, ZMQ_CURVE_PUBLICKEY, security->public_key, "the own public key", err));
    }
    return set_key(socket, ZMQ_CURVE_SECRETKEY, security->secret_key, "the own secret key", err);
}
