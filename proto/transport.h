/* transport - ZeroMQ behind two sockets: the router's bound ROUTER and the worker's DEALERs.
 *
 * Owner: one loop thread per socket. Sends never block: a full pipe or an unknown peer is AGAIN or
 * NOT_FOUND. The poll fd is edge-triggered and shared by both directions: after every wake and after
 * every send, call receive until AGAIN. Received bytes are a view until the next receive or release.
 */
#ifndef MSGL_PROTO_TRANSPORT_H
#define MSGL_PROTO_TRANSPORT_H

#include "common/buf.h"
#include "common/status.h"

#define TRANSPORT_PEER_BYTES_MAX 64

struct transport_context; /* one per process: ZeroMQ's I/O thread */
struct transport_context *transport_context_new(void);
void transport_context_free(struct transport_context *context);

/* CURVE keys, Z85 text; all NULL = plain, which is refused beyond loopback unless allow_plain. */
struct transport_security {
    const char *public_key, *secret_key; /* ours */
    const char *server_key;              /* connect: the router's public key */
    const char *allow_file;              /* bind: public keys of workers, one a line */
    const char *allow_key;               /* bind: or this one public key */
    bool allow_plain;
};

struct transport; /* one socket */

/* Binds a ROUTER at "tcp://host:port" (port 0 or "*" picks one; see transport_endpoint). CONFLICT when the port is in use. */
enum status MUST_USE transport_bind(struct transport_context *context, const char *endpoint,
                                    const struct transport_security *security,
                                    struct transport **out, struct err *err);

/* Connects a DEALER with routing id `identity` (1..TRANSPORT_PEER_BYTES_MAX bytes). Never blocks;
 * it keeps trying in the background. */
enum status MUST_USE transport_connect(struct transport_context *context, const char *endpoint,
                                       const char *identity,
                                       const struct transport_security *security,
                                       struct transport **out, struct err *err);
void transport_free(struct transport *transport); /* lingers at most 200 ms for frames in hand */

const char *
transport_endpoint(const struct transport *transport); /* as bound, with the real port */
int transport_fd(const struct transport *transport);
bool transport_readable(struct transport *transport); /* ZMQ_EVENTS has POLLIN */
/* DEALER: how often an established connection broke so far; frames in hand were lost each time.
 * Has no fd of its own: ask on every turn of the loop. */
uint64_t transport_disconnects(struct transport *transport);

/* ROUTER only. Gives `data` away as one message to `peer`; *data is empty afterwards, also on
 * failure. NOT_FOUND: no such peer. AGAIN: its pipe is full. */
enum status MUST_USE transport_send_to(struct transport *transport, struct str peer,
                                       struct buf *data);
/* DEALER only. AGAIN: not connected or full. */
enum status MUST_USE transport_send(struct transport *transport, struct buf *data);

/* AGAIN when nothing is there. `peer` is empty on a DEALER. */
enum status MUST_USE transport_receive(struct transport *transport, struct str *peer,
                                       struct str *data);

#endif
