/* route - where a prompt goes. One unit, tokens of prefill:
 *
 *   cost(w) = uncached(w) / (1 - busy(w)) + waiting(w) + decode_weight * reqs(w)
 *
 * uncached(w)  prompt tokens that w does not hold and does not expect
 * waiting(w)   w's pending prefill tokens, those of our own dispatches that it has not acknowledged
 *              included, less (1 + busy(w)) / 2 of the tokens that this prompt shares with them: a
 *              busy fleet waits for such work, an idle one does half of its siblings' anew, so that a
 *              prefix that turns out hot is soon at several workers (decisions/0008)
 * reqs(w)      reqs there, running and waiting
 * busy(w)      share of the recent decisions that found prefill pending there. Work that is given to
 *              a worker delays those who come later, too: in a queue that is busy for the share b of
 *              the time a unit of work lasts 1 / (1 - b) units. So an idle fleet spreads a prefix as
 *              soon as waiting for it takes longer than computing it again; a fleet at its limit
 *              computes nothing twice that can be waited for; a holder that is busy all the time
 *              shares its prefix with those that are not.
 *
 * A policy is one function that picks among candidates; each candidate has room for the req. Pure.
 */
#ifndef MSGL_ROUTER_ROUTE_H
#define MSGL_ROUTER_ROUTE_H

#include "common/base.h"

struct route_candidate {
    uint32_t worker; /* index in the fleet */
    uint32_t prompt_tokens;
    uint32_t held_tokens;     /* reported by the worker */
    uint32_t expected_tokens; /* more of the chain: of prompts that were just sent there */
    uint64_t pending_tokens;
    uint64_t reqs;
    double busy;        /* share of the recent decisions that found prefill pending there */
    uint64_t last_turn; /* when the router last sent something there; breaks ties */
    double cost;        /* route_cost */
};

struct route_policy {
    const char *name;
    size_t (*pick)(const struct route_candidate *candidates, size_t count); /* count >= 1 */
};

#define ROUTE_POLICIES "prefix|least|rr"
enum route_kind { ROUTE_PREFIX, ROUTE_LEAST, ROUTE_RR, ROUTE_KINDS };

extern const struct route_policy route_prefix; /* lowest cost, then longest unused */
extern const struct route_policy route_least;  /* least waiting work, whatever is cached where */
extern const struct route_policy route_rr;     /* each in turn */
const struct route_policy *route_policy_of(enum route_kind kind);

double route_cost(const struct route_candidate *candidate, double decode_weight);

/* A worker's busy share after one more look at it: one decision among `count` candidates. `looks`: at
 * it before this one; while they are few each counts more. */
double route_busy(double busy, bool working, size_t count, uint64_t looks);

#endif
