/* drive - runs a work through the real scheduler and engine as the worker's loop does, without
 * sockets, and says where the time went. */
#ifndef MSGL_BENCH_WORKS_DRIVE_H
#define MSGL_BENCH_WORKS_DRIVE_H

#include "bench/works/works.h"
#include "worker/engine/engine.h"
#include "worker/sched/scheduler.h"

/* By what is in them: prompts only; one token of each row; both. */
enum step_kind { STEP_PREFILL, STEP_DECODE, STEP_MIXED, STEP_KINDS };

struct drive_opts {
    struct engine *engine;
    struct sched_opts sched;
    struct sampling sampling; /* its seed is each req's index */
    bool overlap;
};

struct drive_kind {
    uint64_t steps, graphs, tokens, rows;
    uint64_t plan_ns, commit_ns; /* the caller's thread: scheduler */
    uint64_t fill_ns, launch_ns; /* the launcher's: block and attention plan; with the launch */
    uint64_t device_ns;          /* from a step's begin to its end */
};

struct drive_result {
    uint64_t ns; /* from the first req's arrival to the last token */
    uint64_t wait_ns;
    uint64_t tokens_out, cached_tokens, retractions;
    uint64_t hash; /* of all answers, in the order of the reqs */
    struct drive_kind kinds[STEP_KINDS];
};

enum status MUST_USE drive_run(const struct drive_opts *opts, const struct work *work,
                               struct drive_result *result, struct err *err);

#endif
