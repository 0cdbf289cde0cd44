/* req - one request inside the scheduler.
 *
 *     tokens   ├──── prompt ────┤─ generated ─┤┄ in flight ┄┤         end_count at most
 *     KV       ├─ computed ─┤┄┄ planned ┄┤                            computed: by committed steps
 *     pages    ├─ tree_pages ─┤─ own pages ─┤                         page_count in all
 *     device   ├──── synced ────┤                                     table entries it knows
 *
 * A req has what it computes next when planned < token_count + in_flight: one token left is a
 * decode step, more are a prefill. `run` counts admissions, so that rows of a step planned before a
 * retraction are recognised. Loop thread.
 */
#ifndef MSGL_WORKER_SCHED_REQ_H
#define MSGL_WORKER_SCHED_REQ_H

#include "common/list.h"
#include "worker/sched/radix.h"

enum req_state { REQ_UNUSED, REQ_WAITING, REQ_RUNNING };

struct req {
    uint64_t id; /* generation << 32 | index in the pool */
    uint64_t user;
    enum req_state state;

    uint32_t *tokens; /* [end_count] */
    uint64_t *hashes; /* [end_count / page_size] the first hash_count are known */
    uint32_t token_count, prompt_count, hash_count;
    uint32_t end_count; /* token_count at which the req ends by length */
    uint32_t tokens_min;
    uint32_t stop_ids[SCHED_STOP_IDS_MAX];
    uint32_t stop_id_count; /* 0 when end-of-sequence ids are ignored */
    struct sampling sampling;
    uint64_t namespace_hash, root_hash;
    int32_t priority;
    uint64_t deadline_ms; /* 0 = none */
    uint32_t logprobs;    /* 0 = none, else 1 + alternatives */
    uint32_t score_next;  /* prompt index whose log probability is to be reported next; 0 = none */
    uint32_t *bias;       /* pairs: id, bits of an f32 */
    uint32_t bias_count;
    uint32_t grammar; /* 0 = none */

    /* waiting */
    uint64_t order;                   /* of arrival */
    uint64_t wait_from_ms, waited_ms; /* this wait's start, earlier waits' sum */
    uint64_t hint_version;            /* of the tree, when hint_pages was looked up; 0 = never */
    uint32_t hint_pages;              /* cached prefix, for ordering only */
    uint64_t skip_plan;               /* not to be considered again in this plan */
    bool retracted, starved;
    struct list by_rank, by_age;

    /* running */
    uint32_t slot, running_at;
    uint32_t *table; /* [pages_per_slot] the slot's row of the page table */
    uint32_t page_count, tree_pages, synced;
    uint32_t planned, computed; /* KV entries */
    uint32_t chunk;             /* tokens of the step being planned */
    uint32_t in_flight;         /* samples of uncommitted steps, also while waiting */
    uint32_t run;
    uint64_t last_step;      /* newest step with a row of this run */
    struct radix_node *node; /* locked; NULL without a cache */
    struct req *group_next;
    bool setup_due; /* the device must learn history, bias or stops with its next sample */

    uint32_t cached_tokens;
    bool admitted_before;
    bool cancelled;
    struct list cancel;
};

/* Copies the spec into an unused req; `end_count` bounds its arrays. */
void req_fill(struct req *req, const struct req_spec *spec, uint32_t end_count, uint32_t page_size,
              uint64_t root_hash);
void req_release(struct req *req); /* frees the arrays and makes a new generation of the id */

/* Makes hashes[0 .. page_count) known; the tokens must be. */
void req_hash(struct req *req, uint32_t page_count, uint32_t page_size);

bool req_stops_at(const struct req *req, uint32_t token); /* `token` is one of the stop ids */

/* Words of the setup that its next sample in this run needs; 0 = none. */
uint32_t req_setup_words(const struct req *req);

/* Prompt tokens are still to be scored. */
static inline bool req_scores(const struct req *req)
{
    return req->score_next > 0 && req->score_next < req->prompt_count;
}

/* Tokens that it may still compute: 0 when only samples in flight are awaited. */
static inline uint32_t req_left(const struct req *req)
{
    uint32_t known = req->token_count + req->in_flight;
    return known >= req->end_count ? 0 : known - req->planned;
}

static inline uint64_t req_waited_ms(const struct req *req, uint64_t now_ms)
{
    return req->waited_ms + (now_ms > req->wait_from_ms ? now_ms - req->wait_from_ms : 0);
}

/* Who keeps its pages when they run out: starved ones, then by priority, then the older. */
static inline bool req_outranks(const struct req *a, const struct req *b)
{
    if (a->starved != b->starved)
        return a->starved;
    if (!a->starved && a->priority != b->priority)
        return a->priority > b->priority;
    return a->order < b->order;
}

#endif
