/* queue - streams that wait for a slot, fair between API keys.
 *
 *   router->queue:   r ─► r ─► a ─► a ─► b ─► a ─► b        r: had a worker before, go first
 *                              │         │
 *                       alice's line   bob's line            all callers without a key share a line
 *
 * A slot that gets free goes to the line that holds the fewest; of equals, to the one that was served
 * longest ago; in a line, to who came first. The queue is bounded. When it is full, a newcomer whose
 * line would still be shorter than the longest one pushes out the newest of that, with 429: who floods
 * the queue waits, and is refused, alone. A stream whose call's time is over is answered, never sent.
 *
 * Loop thread.
 */
#ifndef MSGL_ROUTER_QUEUE_H
#define MSGL_ROUTER_QUEUE_H

#include "router/stream.h"

void queue_add(struct stream *stream, bool first);
void queue_remove(struct stream *stream);
struct queue_line *queue_line_of(const struct call *call);
uint64_t queue_room(const struct router *router, const struct model *model); /* free slots */

/* May so many streams of this call wait? Then, when nothing else refuses it: make them room. */
bool queue_takes(const struct call *call, uint64_t streams);
void queue_push_out(const struct call *call, uint64_t streams);
/* For Retry-After: as long as the one waits that has waited longest. */
uint32_t queue_retry_s(const struct router *router);

void queue_pump(struct router *router);   /* sends what can be sent */
void queue_expire(struct router *router); /* fails what waited too long */

#endif
