#include "router/route.h"

const struct route_policy *route_policy_of(enum route_kind kind)
{
    switch (kind) {
    case ROUTE_PREFIX:
        return &route_prefix;
    case ROUTE_LEAST:
        return &route_least;
    case ROUTE_RR:
        return &route_rr;
    case ROUTE_KINDS:
        break;
    }
    CHECK(!"a policy of this number");
    return NULL;
}

double route_cost(const struct route_candidate *candidate, double decode_weight)
{
    uint32_t have = candidate->held_tokens + candidate->expected_tokens;
    CHECK(have <= candidate->prompt_tokens);
    uint64_t shared = MIN((uint64_t)candidate->expected_tokens, candidate->pending_tokens);
    return (double)(candidate->prompt_tokens - have) +
           (double)(candidate->pending_tokens - shared) + decode_weight * (double)candidate->reqs;
}
