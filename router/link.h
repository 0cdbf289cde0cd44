/* link - the wire in the HTTP loop: ZeroMQ's fd among libuv's handles, in this one file.
 *
 *   prepare: something to receive? start a no-op idle handle, so that poll does not sleep
 *   poll:    wakes on the fd (its events are edges and say nothing by themselves)
 *   check:   receives and dispatches at most LINK_FRAMES_MAX frames, then lets HTTP have its turn
 *
 * ZeroMQ's fd signals edges, and sends may swallow them: once something was sent, only the question
 * "readable?" is reliable. Between a receive that found nothing and the next send or edge the answer
 * is no, and each question spared is two system calls. Loop thread.
 */
#ifndef MSGL_ROUTER_LINK_H
#define MSGL_ROUTER_LINK_H

#include "common/arena.h"
#include "proto/codec.h"
#include "proto/transport.h"

#include <uv.h>

#define LINK_FRAMES_MAX 256      /* of one iteration */
#define LINK_BUSY_NS    5000000u /* of one iteration */

struct link_ops {
    /* Views in the frame die with the call. */
    void (*frame)(void *ctx, struct str peer, const struct frame *frame);
    void (*corrupt)(void *ctx, struct str peer, const struct err *err);
};

struct link { /* link_start; close, run the loop, free */
    struct transport *transport;
    const struct link_ops *ops;
    void *ctx;
    struct arena arena; /* of the frame in hand */
    struct buf out;     /* of the frame to be sent */
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    int handles_open;
    bool drained; /* nothing to receive until the fd says so */
    uint64_t frames_in, frames_out;
};

enum status MUST_USE link_start(struct link *link, uv_loop_t *loop, struct transport *transport,
                                const struct link_ops *ops, void *ctx, struct err *err);

/* NOT_FOUND: the peer is gone. AGAIN: its pipe is full. Either way the frame is dropped. */
enum status MUST_USE link_send(struct link *link, struct str peer, const struct frame *frame);

void link_close(struct link *link); /* the handles; the transport stays the caller's */
bool link_closed(const struct link *link);

#endif
