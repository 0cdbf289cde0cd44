/* transport_socket - what transport.c's files share: making a ZeroMQ socket with our options. */
#ifndef MSGL_PROTO_TRANSPORT_SOCKET_H
#define MSGL_PROTO_TRANSPORT_SOCKET_H

#include <pthread.h>
#include <zmq.h>

#include "proto/transport.h"

struct transport_context {
    void *zmq;
    pthread_mutex_t lock;
    struct zap *zap; /* NULL until the first CURVE bind */
};

/* "tcp://host:port" whose host never leaves this machine. */
bool endpoint_is_loopback(const char *endpoint);

/* Options of a socket that is bound or connects, then security for its side. */
enum status MUST_USE socket_options(void *socket, bool bound, const char *endpoint,
                                    struct err *err);
enum status MUST_USE socket_security(void *socket, const struct transport_security *security,
                                     bool server, const char *endpoint, struct err *err);

/* The authenticator of a context: a thread that answers ZeroMQ's questions (RFC 27) about CURVE
 * clients from one key, or a file of Z85 public keys, one a line, read again for each handshake.
 * One of them a context. */
enum status MUST_USE zap_start(struct transport_context *context,
                               const struct transport_security *security, struct err *err);
void zap_stop(struct zap *zap); /* NULL is fine */

#endif
