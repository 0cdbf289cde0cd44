/* check - the invariants that hold between two calls, over all parts of the scheduler. */
#include "worker/sched/sched.h"

static bool fail(struct err *err, const char *what)
{
    err_set(err, STATUS_INTERNAL, "scheduler: %s", what);
    return false;
}

/* The req's tree pages are those of its node's path. */
static bool path_check(const struct scheduler *s, const struct req *req)
{
    const struct radix_node *node = req->node;
    if (node->depth + node->count != req->tree_pages)
        return false;
    for (; node; node = node->parent) {
        uint32_t page = node->first;
        for (uint32_t i = 0; i < node->count; i++, page = s->radix.next[page])
            if (req->table[node->depth + i] != page)
                return false;
        if (!node->parent && node->key != req->namespace_hash)
            return false;
    }
    return true;
}

static bool running_check(const struct scheduler *s, const struct req *req, struct err *err)
{
    uint32_t size = s->opts.page_size;
    if (!req || req->state != REQ_RUNNING)
        return fail(err, "a req on the running list does not run");
    if (req->table != s->table + (size_t)req->slot * s->pages_per_slot ||
        s->slots.owner[req->slot] != PAGE_REQ)
        return fail(err, "a running req does not own its slot");
    if (req->computed > req->planned || req->planned > req->token_count + req->in_flight ||
        req->token_count > req->end_count || req->page_count * size < req->planned ||
        req->synced > req->page_count || req->tree_pages > req->page_count)
        return fail(err, "a running req's counters are out of order");
    if (s->opts.cache ? req->tree_pages != req->computed / size : req->tree_pages != 0)
        return fail(err, "a full page is not in the tree, or a partial one is");
    if ((req->node != NULL) != s->opts.cache || (req->node && !path_check(s, req)))
        return fail(err, "a req's table and its path in the tree differ");
    for (uint32_t i = req->tree_pages; i < req->page_count; i++)
        if (s->pages.owner[req->table[i]] != PAGE_REQ)
            return fail(err, "a req's own page is not its own");
    return true;
}

/* Every lock is a running req's: the roots' locks are as many as running reqs, and each req's node
 * is locked (radix_check sees that locks add up towards the roots). */
static bool locks_check(const struct scheduler *s, struct err *err)
{
    uint64_t locks = 0;
    for (const struct radix_node *root = s->radix.roots; root; root = root->next)
        locks += root->locks;
    if (locks != (s->opts.cache ? s->running_count : 0))
        return fail(err, "the tree is locked more or less often than reqs run");
    return true;
}

bool scheduler_check(const struct scheduler *s, struct err *err)
{
    if (!pages_check(&s->pages, err) || !pages_check(&s->slots, err) ||
        !radix_check(&s->radix, err) || !queue_check(&s->waiting, err) || !groups_check(s, err))
        return false;
    uint64_t own = 0;
    if (s->running_holes)
        return fail(err, "the running list has holes");
    for (uint32_t i = 0; i < s->running_count; i++) {
        if (!running_check(s, s->running[i], err))
            return false;
        own += s->running[i]->page_count - s->running[i]->tree_pages;
    }
    if (own != s->pages.req_count)
        return fail(err, "a page of a req was lost");
    if (s->running_count != s->slots.req_count)
        return fail(err, "a slot was lost");
    if (s->running_count + s->waiting.count + s->req_free_count != s->req_max)
        return fail(err, "a req was lost");
    if (s->planned == s->committed && pages_limbo(&s->pages) + pages_limbo(&s->slots) > 0)
        return fail(err, "pages wait for a step that is not in flight");
    return locks_check(s, err);
}
