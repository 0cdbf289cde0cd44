/* queue - insertion into two sorted lists, and the choice of the next req. */
#include "worker/sched/queue.h"

#define STARVE_LOOK 16

void queue_init(struct queue *queue, uint32_t age_ms, uint32_t page_size)
{
    *queue = (struct queue){.age_ms = age_ms, .page_size = page_size};
    list_init(&queue->by_rank);
    list_init(&queue->by_age);
}

static bool rank_before(const struct req *a, const struct req *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->order < b->order;
}

/* New reqs belong at the end of by_age and of their priority: the walk from the end is short. A
 * retracted one is older than most: it walks from the front. */
void queue_put(struct queue *queue, struct req *req, uint64_t now_ms)
{
    struct list *at = &queue->by_rank;
    if (req->retracted) {
        do
            at = at->next;
        while (at != &queue->by_rank && rank_before(LIST_ITEM(at, struct req, by_rank), req));
    } else {
        while (at->prev != &queue->by_rank &&
               rank_before(req, LIST_ITEM(at->prev, struct req, by_rank)))
            at = at->prev;
    }
    list_insert_before(at, &req->by_rank);
    at = &queue->by_age;
    if (req->retracted) {
        do
            at = at->next;
        while (at != &queue->by_age && LIST_ITEM(at, struct req, by_age)->order < req->order);
    }
    list_insert_before(at, &req->by_age);
    req->wait_from_ms = now_ms;
    queue->count++;
}

void queue_remove(struct queue *queue, struct req *req, uint64_t now_ms)
{
    req->waited_ms = req_waited_ms(req, now_ms);
    list_remove(&req->by_rank);
    list_remove(&req->by_age);
    queue->count--;
}

void queue_age(struct queue *queue, uint64_t now_ms)
{
    uint64_t limit_ms =
        queue->age_ms ? (uint64_t)queue->age_ms * QUEUE_STARVE_FACTOR : QUEUE_STARVE_DEFAULT_MS;
    uint32_t looked = 0;
    LIST_EACH(pos, &queue->by_age) {
        struct req *req = LIST_ITEM(pos, struct req, by_age);
        if (!req->starved && looked++ == STARVE_LOOK)
            return;
        if (req_waited_ms(req, now_ms) >= limit_ms)
            req->starved = true;
    }
}

static bool better(const struct queue *queue, const struct req *a, const struct req *b,
                   uint64_t now_ms)
{
    if (a->starved || b->starved || a->priority != b->priority)
        return req_outranks(a, b);
    bool a_old = a->retracted || req_waited_ms(a, now_ms) >= queue->age_ms;
    bool b_old = b->retracted || req_waited_ms(b, now_ms) >= queue->age_ms;
    if (a_old != b_old)
        return a_old;
    if (!a_old && a->hint_pages != b->hint_pages)
        return a->hint_pages > b->hint_pages;
    return a->order < b->order;
}

static bool eligible(const struct req *req, uint64_t plan)
{
    return req->skip_plan != plan && req->in_flight == 0;
}

struct req *queue_best(const struct queue *queue, uint64_t plan, uint32_t left_max, uint64_t now_ms)
{
    uint32_t looked = 0;
    LIST_EACH(pos, &queue->by_age) { /* the oldest starved one, if any */
        struct req *req = LIST_ITEM(pos, struct req, by_age);
        if (!req->starved && looked++ == STARVE_LOOK)
            break;
        if (req->starved && eligible(req, plan))
            return req;
    }
    struct req *best = NULL;
    looked = 0;
    LIST_EACH(pos, &queue->by_rank) {
        struct req *req = LIST_ITEM(pos, struct req, by_rank);
        if (looked++ == QUEUE_WINDOW || (best && best->priority > req->priority))
            break;
        if (eligible(req, plan) &&
            req->token_count - req->hint_pages * queue->page_size <= left_max &&
            (!best || better(queue, req, best, now_ms)))
            best = req;
    }
    return best;
}

bool queue_check(const struct queue *queue, struct err *err)
{
    uint32_t ranked = 0, aged = 0;
    const struct req *last = NULL;
    LIST_EACH(pos, &queue->by_rank) {
        const struct req *req = LIST_ITEM(pos, struct req, by_rank);
        if (req->state != REQ_WAITING || (last && !rank_before(last, req))) {
            err_set(err, STATUS_INTERNAL, "queue: a req is out of order or not waiting");
            return false;
        }
        last = req;
        ranked++;
    }
    last = NULL;
    LIST_EACH(pos, &queue->by_age) {
        const struct req *req = LIST_ITEM(pos, struct req, by_age);
        if (last && last->order >= req->order) {
            err_set(err, STATUS_INTERNAL, "queue: ages are out of order");
            return false;
        }
        last = req;
        aged++;
    }
    if (ranked != queue->count || aged != queue->count) {
        err_set(err, STATUS_INTERNAL, "queue: %u by rank, %u by age, %u counted", ranked, aged,
                queue->count);
        return false;
    }
    return true;
}
