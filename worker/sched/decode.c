/* decode - every running req with one token left to compute decodes in this step. */
#include "worker/sched/sched.h"

/* Pages the device must be told of for this req's row, when they fit the plan. */
static bool take_deltas(struct scheduler *s, const struct req *req)
{
    uint32_t deltas = req->page_count - req->synced;
    if (deltas > s->deltas_left)
        return false;
    s->deltas_left -= deltas;
    return true;
}

/* Retractions may take rows decided before: the caller counts at the end. */
uint32_t decode_decide(struct scheduler *s, uint64_t now_ms)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < s->running_count; i++) {
        struct req *req = s->running[i];
        if (!req || req_left(req) != 1)
            continue;
        uint32_t need = req->planned / s->opts.page_size + 1;
        if (need > req->page_count && run_pages(s, req, need, true, true, now_ms) < need)
            continue; /* waits for a commit, or was retracted */
        if (take_deltas(s, req))
            req->chunk = 1;
    }
    for (uint32_t i = 0; i < s->running_count; i++)
        rows += s->running[i] && s->running[i]->chunk == 1;
    return rows;
}
