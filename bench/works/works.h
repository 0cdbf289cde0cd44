/* works - the offline workloads, token for token those that other engines were measured on.
 *
 *   reference  256 prompts of 100..1024 tokens, 100..1024 tokens out: mini-sglang's benchmark
 *   single     one prompt of 128, 1,024 out
 *   prefill    32 prompts of 4,000, one token out
 *   shared     256 prompts of 2,000 shared and 100 own tokens, 100 out
 *
 * Token ids 0..10000; every answer has its exact length (ignore_eos).
 */
#ifndef MSGL_BENCH_WORKS_WORKS_H
#define MSGL_BENCH_WORKS_WORKS_H

#include "common/base.h"

#define WORKS "reference|single|prefill|shared" /* enum work_kind's order */
enum work_kind { WORK_REFERENCE, WORK_SINGLE, WORK_PREFILL, WORK_SHARED, WORK_COUNT };

struct work_req {
    uint32_t *tokens;
    uint32_t token_count, out_count;
};

struct work {
    struct work_req *reqs;
    uint32_t req_count;
    uint64_t tokens_in, tokens_out;
};

/* divide > 1: lengths and counts are that many times smaller, for a quick run of the same shape. */
void work_init(struct work *work, enum work_kind kind, uint64_t seed, uint32_t divide);
void work_release(struct work *work);
const char *work_name(enum work_kind kind);

#endif
