/* links - the worker's connections: one DEALER per address of every router, and the session on
 * each.
 *
 *            connect                WELCOME
 *   (new) ──────────► GREETING ───────────────► OPEN
 *                      ▲  │ ERROR                 │ broke, silent, BYE, other epoch, "say HELLO"
 *                      │  ▼                       │
 *                      │ REFUSED ──5 s──┐         │
 *                      └────────────────┴─────────┘   a new session: its reqs are cancelled
 *
 * Heartbeats (LOAD) come from this loop, which never computes and never blocks: the engine works on
 * threads of its own, name look-ups on another. That is the thread that PROTOCOL.md asks for.
 * Loop thread.
 */
#ifndef MSGL_WORKER_LINKS_H
#define MSGL_WORKER_LINKS_H

#include "common/list.h"
#include "proto/frames.h"
#include "proto/keys.h"
#include "proto/transport.h"
#include "worker/resolver.h"

struct worker;

enum link_state { LINK_GREETING, LINK_REFUSED, LINK_OPEN };

/* What the last LOAD said: the next comes early when this changed. */
struct load_seen {
    uint32_t running, waiting;
    uint64_t received;
    bool draining;
    uint32_t credits;
};

struct link {
    struct transport *transport;
    char endpoint[RESOLVER_ENDPOINT_MAX];
    enum link_state state;
    bool wanted; /* the resolver still names it */
    uint64_t session;
    uint64_t router_epoch; /* OPEN */
    uint64_t disconnects;  /* seen so far */
    uint64_t last_frame_ms, hello_at_ms, load_sent_ms;
    uint64_t received;  /* GENERATEs of this session */
    uint32_t gather_ms; /* how long its router lets tokens wait for more: see outbox_tokens.c */
    uint64_t waiting_since_ms,
        events_ms; /* the oldest token that waits, 0 = none; the last events */
    uint64_t bad_frames;
    struct load_seen load;
    uint64_t generate_ms; /* when the newest GENERATE came */
    uint32_t credits;     /* reqs that its router may send now: see credits.h */
    uint32_t req_count;
    struct list reqs; /* struct req_entry.node */
};

static inline bool link_is_open(const struct link *link)
{
    return link->state == LINK_OPEN;
}

struct links {
    struct transport_context *context;
    struct transport_security security;
    struct key_pair keys; /* what `security` points at */
    char router_key[KEY_TEXT_BYTES];
    struct resolver *resolver;
    struct link *items[RESOLVER_ADDRESSES_MAX];
    uint32_t count;
};

enum status MUST_USE links_init(struct worker *worker, struct err *err);
void links_release(struct worker *worker); /* lets frames in hand go out, at most 200 ms */

/* Everything that time brings: new addresses, HELLOs, silence, LOADs. */
void links_tick(struct worker *worker, uint64_t now_ms);
/* When links_tick() has something to do next, in ms from now. */
uint64_t links_wait_ms(const struct worker *worker, uint64_t now_ms);
bool links_readable(const struct worker *worker); /* frames are there although no fd may say so */

/* The session is over: its reqs are cancelled and nobody is told. Says HELLO after delay_ms. */
void link_restart(struct worker *worker, struct link *link, uint64_t delay_ms, const char *why);

/* Gives *data away. A failure ends the session. */
void link_send(struct worker *worker, struct link *link, struct buf *data);

#endif
