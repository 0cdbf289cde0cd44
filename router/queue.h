/* queue - streams that wait for a slot, fair between API keys.
 *
 *   r ─► r ─► a ─► a ─► b ─► a ─► b        r: had a worker before, go first
 *             │         │
 *        alice's line  bob's line          all callers without a key share a line
 *
 * A slot that gets free goes to the line that holds the fewest; of equals, to the one that was served
 * longest ago; in a line, to who came first. The queue is bounded. When it is full, a newcomer whose
 * line would still be shorter than the longest one pushes out the newest of that, with 429: who floods
 * the queue waits, and is refused, alone. A stream whose call's time is over is answered, never sent.
 * Streams of different models wait for different slots and do not stand in each other's way.
 *
 * Loop thread.
 */
#ifndef MSGL_ROUTER_QUEUE_H
#define MSGL_ROUTER_QUEUE_H

#include "router/stream.h"

/* Behind the others; before all lines when it had a worker before. */
void queue_add(struct stream *stream);
void queue_remove(struct stream *stream);
struct queue_line *queue_line_of(const struct call *call);

/* How many of so many new streams of the call would have to wait: free slots of its model belong to
 * those who wait for them already. */
uint64_t queue_surplus(const struct call *call, uint64_t streams);
/* May so many streams of this call wait? Then, when nothing else refuses it: make them room. */
bool queue_takes(const struct call *call, uint64_t streams);
void queue_push_out(const struct call *call, uint64_t streams);
/* For Retry-After: as long as the one waits that has waited longest. */
uint32_t queue_retry_s(const struct router *router);

/* queue_turn.c */
void queue_pump(struct router *router);   /* sends what can be sent */
void queue_expire(struct router *router); /* fails what waited too long */

#endif
