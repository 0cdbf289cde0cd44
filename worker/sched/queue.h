/* queue - the waiting reqs, in two orders.
 *
 *     by_rank   priority (higher first), then arrival       candidates come from its front
 *     by_age    arrival                                      starving ones are found at its front
 *
 * Who goes next, among the first QUEUE_WINDOW of by_rank: starved before all, then priority, then
 * those that waited age_ms or were retracted (by arrival), then the longest cached prefix, then
 * arrival. A req starves after QUEUE_STARVE_FACTOR * age_ms; from then on priorities of others do
 * not count against it, so every req's wait is bounded. Loop thread.
 */
#ifndef MSGL_WORKER_SCHED_QUEUE_H
#define MSGL_WORKER_SCHED_QUEUE_H

#include "worker/sched/req.h"

#define QUEUE_WINDOW            64
#define QUEUE_STARVE_FACTOR     8
#define QUEUE_STARVE_DEFAULT_MS 30000 /* when age_ms is 0 */

struct queue {
    struct list by_rank, by_age;
    uint32_t count;
    uint32_t age_ms, page_size;
};

void queue_init(struct queue *queue, uint32_t age_ms, uint32_t page_size);
void queue_put(struct queue *queue, struct req *req, uint64_t now_ms);
void queue_remove(struct queue *queue, struct req *req, uint64_t now_ms);

/* Marks those that starve; once a plan. */
void queue_age(struct queue *queue, uint64_t now_ms);

/* The best that is not skipped in plan `plan`, awaits no sample and, unless it starves, has no more
 * than left_max tokens to compute (as far as its hint tells); NULL when there is none. It stays in
 * the queue. */
struct req *queue_best(const struct queue *queue, uint64_t plan, uint32_t left_max,
                       uint64_t now_ms);

bool queue_check(const struct queue *queue, struct err *err);

#endif
