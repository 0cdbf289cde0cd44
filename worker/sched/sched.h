/* sched - the inside of struct scheduler, for the files of this folder only.
 *
 *      scheduler.c   add, cancel, plan's frame, load         step.c    rows into a packet, commit
 *      decode.c      which running reqs decode               run.c     admit, retract, end, pages
 *      prefill.c     which chunks join them, who is admitted groups.c  order of decode rows
 *
 * A plan decides first (req.chunk of each running req; only here are pages taken and reqs
 * retracted) and writes the packet afterwards, so that a retraction never has to undo a row.
 */
#ifndef MSGL_WORKER_SCHED_SCHED_H
#define MSGL_WORKER_SCHED_SCHED_H

#include "worker/sched/cost.h"
#include "worker/sched/queue.h"

/* What a planned step did, until its commit. */
struct step_record {
    uint64_t step;
    uint32_t row_count, sample_count, prefill_tokens, decode_rows;
    struct {
        uint64_t req;
        uint32_t run, token_count;
        bool sampled;
    } *rows; /* [slots] */
};

struct scheduler {
    struct sched_opts opts;
    struct step_limits limits;
    uint32_t length_max;     /* tokens of one req: context_max or what the pool holds */
    uint32_t pages_per_slot;

    struct pages pages;
    struct pages slots; /* the same rules: a slot of a step in flight is not reused */
    struct cache_log log;
    struct radix radix;
    struct cost cost;
    struct step_builder builder;

    struct req *reqs; /* [req_max] */
    uint32_t *req_free;
    uint32_t req_max, req_free_count;
    struct queue waiting;
    struct req **running; /* [slots] in order of admission; NULL = left a moment ago */
    uint32_t running_count;
    bool running_holes;
    struct list cancels;
    uint64_t deadline_min_ms; /* no deadline is earlier; UINT64_MAX = none */
    uint32_t *table;          /* [slots, pages_per_slot] */

    struct step_record records[2]; /* by step & 1 */
    uint64_t planned, committed;
    uint64_t plans, arrivals;
    uint32_t deltas_left; /* of the plan being made */
    double reserve;       /* share of a req's remaining tokens that admission expects */

    struct req **order; /* [slots] decoding reqs, groups adjacent */
    uint32_t order_count;
    struct prefix_group *groups; /* [limits.groups] rows are indexes into order */
    struct prefix_group *groups_left; /* [limits.groups] their members in the step being built */
    uint32_t *group_of;          /* [slots] order's groups; UINT32_MAX = none */
    uint32_t group_count;
    uint64_t decode_set, order_set, order_shape, group_epoch;

    uint64_t retractions, cached_tokens, prompt_tokens;
};

/* Where ends and tokens go; full = keep the rest for the next call. */
struct sched_out {
    struct sched_event *events;
    uint32_t count, cap;
};

/* run.c */
bool run_admit(struct scheduler *s, struct req *req, uint64_t now_ms);
void run_retract(struct scheduler *s, struct req *req, uint64_t now_ms);
void run_end(struct scheduler *s, struct req *req, uint64_t now_ms);
void run_compact(struct scheduler *s); /* closes the holes in running[] */
/* Makes the req's table hold `count` pages; returns how many it has. With `force`, lower-ranked
 * reqs are retracted for it; `self`: or itself, when there is none. */
uint32_t run_pages(struct scheduler *s, struct req *req, uint32_t count, bool force, bool self,
                   uint64_t now_ms);
uint32_t run_pages_expected(const struct scheduler *s, const struct req *req); /* still to come */

uint32_t decode_decide(struct scheduler *s, uint64_t now_ms); /* returns rows */
void prefill_decide(struct scheduler *s, uint32_t decode_rows, uint64_t now_ms);
void groups_order(struct scheduler *s);
bool groups_check(const struct scheduler *s, struct err *err);

/* step.c */
bool step_build(struct scheduler *s); /* false: nothing to compute */
void step_commit(struct scheduler *s, const uint32_t *tokens, uint32_t count, uint64_t now_ms,
                 uint64_t step_ns, struct sched_out *out);

struct req *sched_req(const struct scheduler *s, uint64_t id); /* NULL when it has ended */
void sched_emit(struct sched_out *out, const struct req *req, const uint32_t *token,
                enum sched_finish finish);

#endif
