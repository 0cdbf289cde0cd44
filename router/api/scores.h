/* scores - log probabilities of a run of tokens, each with the same number of alternatives.
 *
 *   logprobs      │ l0 │ l1 │ l2 │ …
 *   ranks         │ r0 │ r1 │ r2 │ …              0: the worker did not say
 *   top_ids       │ a0 b0 │ a1 b1 │ a2 b2 │ …      width = 2, likeliest first
 *   top_logprobs  │ …                              as top_ids
 */
#ifndef MSGL_ROUTER_API_SCORES_H
#define MSGL_ROUTER_API_SCORES_H

#include "common/buf.h"
#include "proto/frames.h"

struct scores { /* zero-initialise with the width; release */
    float *logprobs;
    uint32_t *ranks;
    uint32_t *top_ids;
    float *top_logprobs;
    uint32_t count, cap, width;
};

/* Appends `count` tokens as they lie in a frame; false when the lengths do not fit together. Ranks
 * may be none. */
bool scores_append(struct scores *scores, uint32_t count, struct str logprobs,
                   struct token_view ranks, struct token_view top_ids, struct str top_logprobs);
void scores_release(struct scores *scores);

#endif
