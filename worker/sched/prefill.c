/* prefill - which chunks of prompts join the decode rows, and who is admitted.
 *
 * A chunk is bounded by chunk_tokens, by what is left of step_tokens and, beside decode rows, by
 * what the cost model lets into step_ms (at least one page, so that prompts never stand still).
 * A chunk that ends its prompt may make the step a quarter longer: the remainder would begin a mixed
 * step of its own, and its first token come a step later.
 * A chunk that does not finish its prompt ends on a page's end when it can: only full pages can be
 * shared.
 *
 * Who gets the budget: the highest-ranked unfinished prompt, the head, is sure of half of it. Of
 * the other half prompts with less left to compute than the head take what they need, the shortest
 * first, waiting ones after running ones; so a short prompt does not wait for a long one, and a
 * long one takes at most twice its time. What they leave goes to the head, then to the others.
 *
 *     budget  ├─ shorter than the head ─┤───────────── head ─────────────┤─ longer ─┤
 *             0                     at most half                                 budget
 */
#include "worker/sched/sched.h"

#define HINTS_PER_PLAN   16 /* cached-prefix look-ups that only serve the waiting order */
#define SHORTER_PER_PLAN 8  /* running prompts looked up to go before the head */
#define STRETCH          1.25

/* Rows of logits left in the step when each running req keeps one. */
static uint32_t score_room(const struct scheduler *s)
{
    uint32_t taken = s->running_count + s->scores_extra;
    return s->limits.rows - MIN(taken, s->limits.rows);
}

/* The budget that remains when the req's next chunk is decided: the same when it has to wait. Takes
 * its pages and deltas. */
static uint32_t chunk_decide(struct scheduler *s, struct req *req, uint32_t budget, bool force,
                             uint64_t now_ms)
{
    uint32_t size = s->opts.page_size, left = req_left(req);
    bool ends = budget > 0 && left <= budget + s->stretch;
    uint32_t tokens = ends ? left : budget;
    if (s->opts.chunk_tokens)
        tokens = MIN(tokens, s->opts.chunk_tokens);
    if (req_scores(req)) /* a row of logits a token */
        tokens = MIN(tokens, 1 + score_room(s));
    if (tokens == 0)
        return budget;
    uint32_t end = req->planned + tokens;
    if (tokens < left && end / size * size > req->planned)
        end = end / size * size;
    uint32_t pages = run_pages(s, req, DIV_CEIL(end, size), force, false, now_ms);
    end = MIN(end, pages * size);
    if (end <= req->planned || !sched_take_room(s, req, end == req->planned + left))
        return budget;
    req->chunk = end - req->planned;
    if (req_scores(req))
        s->scores_extra += req->chunk - 1;
    uint32_t within = MIN(req->chunk, budget);
    s->stretch -= req->chunk - within;
    return budget - within;
}

/* A running prefill is about to compute the very page that the req needs next: better wait for it
 * than compute it twice. Only a hint, so equal hashes are enough. */
static bool peer_computes(const struct scheduler *s, const struct req *req, uint32_t page)
{
    if (page >= (req->token_count - 1) / s->opts.page_size)
        return false;
    for (uint32_t i = 0; i < s->running_count; i++) {
        const struct req *peer = s->running[i];
        if (peer->tree_pages <= page && page < peer->hash_count &&
            peer->namespace_hash == req->namespace_hash && peer->hashes[page] == req->hashes[page])
            return true;
    }
    return false;
}

static void hint_update(struct scheduler *s, struct req *req)
{
    uint32_t limit = (req->token_count - 1) / s->opts.page_size;
    if (req->hint_version == s->radix.version + 1)
        return;
    req_hash(req, limit, s->opts.page_size);
    req->hint_pages = radix_match(&s->radix, req->namespace_hash, req->tokens, req->hashes, limit);
    req->hint_version = s->radix.version + 1;
}

/* Looks up a few of the window's reqs a plan, in turns. */
static void hints_refresh(struct scheduler *s)
{
    uint32_t window = MIN(s->waiting.count, QUEUE_WINDOW);
    uint32_t turns = MAX(1u, DIV_CEIL(window, HINTS_PER_PLAN));
    uint32_t from = (uint32_t)(s->plans % turns) * HINTS_PER_PLAN, at = 0;
    LIST_EACH(pos, &s->waiting.by_rank) {
        if (at >= from + HINTS_PER_PLAN || at >= window)
            return;
        if (at++ >= from)
            hint_update(s, LIST_ITEM(pos, struct req, by_rank));
    }
}

/* Admits waiting reqs with at most `left_max` tokens to compute; returns what they leave. */
static uint32_t admit(struct scheduler *s, uint32_t budget, uint32_t left_max, uint64_t now_ms)
{
    if (s->waiting.count == 0 || s->slots.free_count == 0)
        return budget;
    while (budget > 0) {
        struct req *req = queue_best(&s->waiting, s->plans, left_max, now_ms);
        if (!req)
            break;
        if (s->opts.cache) {
            hint_update(s, req);
            if (peer_computes(s, req, req->hint_pages)) {
                req->skip_plan = s->plans;
                continue;
            }
        }
        if (!run_admit(s, req, now_ms))
            break;
        budget = chunk_decide(s, req, budget, false, now_ms);
        if (req->chunk == 0) /* its pages are in limbo */
            break;
    }
    return budget;
}

static bool unfinished(const struct req *req)
{
    return req && req_left(req) > 1 && req->chunk == 0;
}

static struct req *head_of(const struct scheduler *s)
{
    struct req *head = NULL;
    for (uint32_t i = 0; i < s->running_count; i++)
        if (unfinished(s->running[i]) && (!head || req_outranks(s->running[i], head)))
            head = s->running[i];
    return head;
}

/* The running prompt with the least to compute, less than `head`; priorities do not give way. */
static struct req *shortest_before(const struct scheduler *s, const struct req *head)
{
    struct req *best = NULL;
    uint32_t least = req_left(head);
    for (uint32_t i = 0; i < s->running_count; i++) {
        struct req *req = s->running[i];
        if (unfinished(req) && req_left(req) < least && req->priority >= head->priority) {
            best = req;
            least = req_left(req);
        }
    }
    return best;
}

/* Gives to prompts shorter than the head what they need; returns what they leave. */
static uint32_t shorter_decide(struct scheduler *s, const struct req *head, uint32_t budget,
                               uint64_t now_ms)
{
    for (uint32_t i = 0; i < SHORTER_PER_PLAN && budget > 0; i++) {
        struct req *req = shortest_before(s, head);
        if (!req)
            break;
        budget = chunk_decide(s, req, budget, true, now_ms);
        if (req->chunk == 0)
            break;
    }
    run_compact(s);
    return admit(s, budget, req_left(head) - 1, now_ms);
}

/* The nearest whole number of pages, so that rounding down to a page's end costs the head nothing. */
static uint32_t half_of(const struct scheduler *s, uint32_t budget)
{
    uint32_t size = s->opts.page_size, half = DIV_CEIL(budget, 2);
    return half < size ? half : MIN((half + size / 2) / size * size, budget);
}

/* Prompt tokens of the step; s->stretch becomes what may be added to end a prompt. */
static uint32_t budget_of(struct scheduler *s, uint32_t decode_rows)
{
    uint32_t most = s->opts.step_tokens - decode_rows;
    s->stretch = 0;
    if (decode_rows == 0 || s->opts.step_ms == 0)
        return most;
    uint32_t room = cost_prefill_room(&s->cost, s->opts.step_ms, decode_rows);
    uint32_t stretched = cost_prefill_room(&s->cost, STRETCH * s->opts.step_ms, decode_rows);
    uint32_t budget = MIN(most, MAX(room, s->opts.page_size));
    s->stretch = MAX(MIN(most, stretched), budget) - budget;
    return budget;
}

void prefill_decide(struct scheduler *s, uint32_t decode_rows, uint64_t now_ms)
{
    uint32_t budget = budget_of(s, decode_rows);
    if (s->opts.cache && budget > 0)
        hints_refresh(s);
    struct req *head = head_of(s);
    if (head && budget > 0) {
        uint32_t kept = MIN(half_of(s, budget), req_left(head));
        budget = kept + shorter_decide(s, head, budget - kept, now_ms);
        budget = chunk_decide(s, head, budget, true, now_ms);
    }
    for (uint32_t i = 0; i < s->running_count; i++)
        if (unfinished(s->running[i]))
            budget = chunk_decide(s, s->running[i], budget, true, now_ms);
    run_compact(s);
    admit(s, budget, UINT32_MAX, now_ms);
}
