#include "router/link.h"

#include <string.h>

#include "common/clock.h"

/* Wakes the loop up: on_check does the work. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = poll->data;
    link->drained = false;
}

static void on_idle(uv_idle_t *idle)
{
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct link *link = prepare->data;
    if (!link->drained && transport_readable(link->transport))
        uv_idle_start(&link->idle, on_idle);
}

/* False when nothing was there. */
static bool receive_one(struct link *link)
{
    struct str peer, data;
    if (transport_receive(link->transport, &peer, &data) != STATUS_OK)
        return false;
    link->frames_in++;
    struct frame frame;
    struct err err;
    arena_reset(&link->arena);
    if (frame_decode(data.data, data.len, &link->arena, &frame, &err) == STATUS_OK)
        link->ops->frame(link->ctx, peer, &frame);
    else
        link->ops->corrupt(link->ctx, peer, &err);
    return true;
}

static void on_check(uv_check_t *check)
{
    struct link *link = check->data;
    uv_idle_stop(&link->idle);
    if (link->drained)
        return;
    uint64_t until = clock_now_ns() + LINK_BUSY_NS;
    for (int i = 0; i < LINK_FRAMES_MAX && clock_now_ns() < until; i++) {
        if (receive_one(link))
            continue;
        link->drained = true;
        return;
    }
}

static void on_close(uv_handle_t *handle)
{
    struct link *link = handle->data;
    link->handles_open--;
}

enum status link_start(struct link *link, uv_loop_t *loop, struct transport *transport,
                       const struct link_ops *ops, void *ctx, struct err *err)
{
    memset(link, 0, sizeof(*link));
    link->transport = transport;
    link->ops = ops;
    link->ctx = ctx;
    arena_init(&link->arena);
    int rc = uv_poll_init(loop, &link->poll, transport_fd(transport));
    if (rc != 0)
        return err_set(err, STATUS_IO, "cannot watch the workers' socket: %s", uv_strerror(rc));
    CHECK(uv_prepare_init(loop, &link->prepare) == 0 && uv_check_init(loop, &link->check) == 0 &&
          uv_idle_init(loop, &link->idle) == 0);
    link->poll.data = link->prepare.data = link->check.data = link->idle.data = link;
    link->handles_open = 4;
    uv_poll_start(&link->poll, UV_READABLE, on_poll);
    uv_prepare_start(&link->prepare, on_prepare);
    uv_check_start(&link->check, on_check);
    return STATUS_OK;
}

enum status link_send(struct link *link, struct str peer, const struct frame *frame)
{
    frame_encode(frame, &link->out);
    link->frames_out++;
    link->drained = false;
    return transport_send_to(link->transport, peer, &link->out);
}

void link_close(struct link *link)
{
    if (link->handles_open < 4)
        return;
    uv_close((uv_handle_t *)&link->poll, on_close);
    uv_close((uv_handle_t *)&link->prepare, on_close);
    uv_close((uv_handle_t *)&link->check, on_close);
    uv_close((uv_handle_t *)&link->idle, on_close);
    arena_release(&link->arena);
    buf_release(&link->out);
}

bool link_closed(const struct link *link)
{
    return link->handles_open == 0;
}
