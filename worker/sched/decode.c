/* decode - every running req with one token left to compute decodes in this step. */
#include "worker/sched/sched.h"

bool sched_take_room(struct scheduler *s, const struct req *req, bool sampled)
{
    uint32_t deltas = req->page_count - req->synced;
    uint32_t words = sampled && req->setup_due ? req_setup_words(req) : 0;
    if (deltas > s->deltas_left || words > s->words_left)
        return false;
    s->deltas_left -= deltas;
    s->words_left -= words;
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
        if (sched_take_room(s, req, true))
            req->chunk = 1;
    }
    for (uint32_t i = 0; i < s->running_count; i++)
        rows += s->running[i] && s->running[i]->chunk == 1;
    return rows;
}
