/* run - who holds pages and a slot: admission, retraction, the end, pages for the next step. */
#include "worker/sched/sched.h"

#include <string.h>

#define CAUTION_RAISE        0.5 /* after a retraction: expect more */
#define CAUTION_MAX          8.0
#define POOL_CEIL(s, tokens) DIV_CEIL(tokens, (s)->opts.page_size)

uint32_t run_pages_expected(const struct scheduler *s, const struct req *req)
{
    uint32_t known = req->token_count + req->in_flight;
    uint32_t rest = req->end_count > known ? req->end_count - known : 0;
    double usual = s->usual_tokens * s->caution, done = known - req->prompt_count;
    double growth = MIN(MAX(usual - done, usual / 4), (double)rest);
    /* The last token's KV is never computed. */
    uint32_t pages = POOL_CEIL(s, MIN(known + (uint32_t)growth, req->end_count - 1));
    return pages > req->page_count ? pages - req->page_count : 0;
}

/* Pages that are free, or will be before this plan's reqs can need them. */
static uint32_t pages_coming(const struct scheduler *s)
{
    return s->pages.free_count + pages_limbo(&s->pages) + (s->opts.cache ? s->radix.evictable : 0);
}

/* Whether the req's expected need fits beside that of all running ones. */
static bool fits(const struct scheduler *s, const struct req *req)
{
    if (s->running_count == 0)
        return true; /* alone, everything is evictable for it: scheduler_add checked the pool */
    uint64_t need = run_pages_expected(s, req);
    for (uint32_t i = 0; i < s->running_count; i++)
        need += run_pages_expected(s, s->running[i]);
    return need <= pages_coming(s);
}

static void first_admission(struct scheduler *s, struct req *req)
{
    if (req->admitted_before)
        return;
    req->admitted_before = true;
    req->cached_tokens = req->planned;
    s->cached_tokens += req->planned;
    s->prompt_tokens += req->token_count;
}

bool run_admit(struct scheduler *s, struct req *req, uint64_t now_ms)
{
    if (s->running_count + s->scores_extra >= s->limits.rows)
        return false; /* its row of logits is taken by a prompt that is scored */
    uint32_t slot = pages_take(&s->slots);
    if (slot == PAGE_NONE)
        return false;
    req->slot = slot;
    req->table = s->table + (size_t)slot * s->pages_per_slot;
    req->page_count = 0;
    if (s->opts.cache) {
        uint32_t limit = (req->token_count - 1) / s->opts.page_size; /* one token is computed */
        if (req_scores(req)) /* as is every token in front of one whose score is wanted */
            limit = MIN(limit, (req->score_next - 1) / s->opts.page_size);
        req_hash(req, req->token_count / s->opts.page_size, s->opts.page_size);
        req->node = radix_lock(&s->radix, req->namespace_hash, req->tokens, req->hashes, limit,
                               req->table, &req->page_count);
    }
    if (req->page_count > s->deltas_left || !fits(s, req)) {
        if (req->node)
            radix_unlock(&s->radix, req->node, 0);
        req->node = NULL;
        req->page_count = 0;
        pages_drop(&s->slots, slot, 0);
        return false;
    }
    queue_remove(&s->waiting, req, now_ms);
    req->state = REQ_RUNNING;
    req->run++;
    req->tree_pages = req->page_count;
    req->planned = req->computed = req->page_count * s->opts.page_size;
    req->synced = 0;
    req->chunk = 0;
    req->last_step = 0;
    req->setup_due = req_setup_words(req) > 0;
    req->running_at = s->running_count;
    s->running[s->running_count++] = req;
    s->decode_set++;
    first_admission(s, req);
    return true;
}

/* Gives back the slot and every page; what the tree has stays cached. */
static void leave(struct scheduler *s, struct req *req)
{
    if (req->node)
        radix_unlock(&s->radix, req->node, req->last_step);
    for (uint32_t i = req->tree_pages; i < req->page_count; i++)
        pages_drop(&s->pages, req->table[i], req->last_step);
    pages_drop(&s->slots, req->slot, req->last_step);
    req->node = NULL;
    req->page_count = req->tree_pages = req->synced = 0;
    req->planned = req->computed = req->chunk = 0;
    s->running[req->running_at] = NULL;
    s->running_holes = true;
    s->decode_set++;
}

void run_retract(struct scheduler *s, struct req *req, uint64_t now_ms)
{
    leave(s, req);
    req->run++;
    req->state = REQ_WAITING;
    req->retracted = true;
    req->hint_version = 0;
    queue_put(&s->waiting, req, now_ms);
    s->retractions++;
    s->caution = MIN(CAUTION_MAX, s->caution + CAUTION_RAISE);
}

void run_end(struct scheduler *s, struct req *req, uint64_t now_ms)
{
    if (req->state == REQ_RUNNING)
        leave(s, req);
    else
        queue_remove(&s->waiting, req, now_ms);
    req_release(req);
    s->req_free[s->req_free_count++] = (uint32_t)(req - s->reqs);
}

void run_compact(struct scheduler *s)
{
    if (!s->running_holes)
        return;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->running_count; i++) {
        struct req *req = s->running[i];
        if (!req)
            continue;
        req->running_at = kept;
        s->running[kept++] = req;
    }
    s->running_count = kept;
    s->running_holes = false;
}

/* The lowest-ranked running req, when it ranks below `req`. */
static struct req *victim_of(const struct scheduler *s, const struct req *req)
{
    const struct req *victim = req;
    for (uint32_t i = 0; i < s->running_count; i++)
        if (s->running[i] && req_outranks(victim, s->running[i]))
            victim = s->running[i];
    return victim == req ? NULL : s->running[victim->running_at];
}

uint32_t run_pages(struct scheduler *s, struct req *req, uint32_t count, bool force, bool self,
                   uint64_t now_ms)
{
    CHECK(count <= s->pages_per_slot);
    while (req->page_count < count) {
        uint32_t page = pages_take(&s->pages);
        if (page == PAGE_NONE && s->opts.cache) {
            radix_evict(&s->radix, count - req->page_count);
            page = pages_take(&s->pages);
        }
        if (page != PAGE_NONE) {
            req->table[req->page_count++] = page;
            continue;
        }
        if (!force || pages_coming(s) > 0) /* a step in flight holds some: wait for its commit */
            break;
        struct req *victim = victim_of(s, req);
        if (victim) {
            run_retract(s, victim, now_ms);
            continue;
        }
        if (self)
            run_retract(s, req, now_ms);
        break;
    }
    return req->page_count;
}
