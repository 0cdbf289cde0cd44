/* queue_line - what queue.h is made of.
 *
 *   struct queue    streams: all, in the order they came     (who waits longest, who waits too long)
 *                   lost[model]: a lane of streams that had a worker
 *                   lines ──► alice's line ──► bob's line    only those with somebody in them
 *                               lanes[model]: the lane of alice's streams for that model
 *
 *   struct queue_lane   a ─► b ─► c ─► d
 *                            ▲           tried: as far as this round has come; c is next. Streams that
 *                                        found no worker stay, and are not looked at again in the round.
 *
 * A stream is in `streams` and in one lane. So whose turn it is costs a look at each line, however
 * many streams wait.
 */
#ifndef MSGL_ROUTER_QUEUE_LINE_H
#define MSGL_ROUTER_QUEUE_LINE_H

#include "common/list.h"
#include "router/models.h"

struct queue_lane {
    struct list streams; /* struct stream.lane_node */
    struct list *tried;  /* the head: nobody yet */
    uint64_t round;
};

/* An API key's share of the slots. */
struct queue_line {
    struct list node;          /* in queue.lines */
    uint32_t waiting, running; /* streams: never sent yet; on workers */
    uint64_t turn;             /* when it was served last */
    struct queue_lane lanes[MODELS_MAX];
};

struct queue {
    struct list streams; /* struct stream.queue_node */
    struct list lines;
    struct queue_line common; /* of callers without a key */
    struct queue_lane lost[MODELS_MAX];
    uint32_t count, of_model[MODELS_MAX];
    uint64_t round, turn;
    bool pumping;
};

void queue_init(struct queue *queue);
void queue_line_init(struct queue_line *line);

#endif
