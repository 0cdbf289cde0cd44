#include "router/route.h"

#define BUSY_TURNS 16    /* how far back the busy share looks: so many of a worker's own turns */
#define BUSY_MAX   0.985 /* a recomputed token costs 67 waiting ones at most */

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
    return (double)(candidate->prompt_tokens - have) / (1 - MIN(candidate->busy, BUSY_MAX)) +
           (double)candidate->pending_tokens - (1 + candidate->busy) / 2 * (double)shared +
           decode_weight * (double)candidate->reqs;
}

double route_busy(double busy, bool working, size_t count, uint64_t looks)
{
    /* The mean of all looks, and of one turn of each in which nobody worked; in the end a moving one. */
    double weight = MIN((double)looks + (double)count + 1, BUSY_TURNS * (double)count);
    return busy + (working - busy) / weight;
}
