#include "router/route.h"

static size_t pick(const struct route_candidate *candidates, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        const struct route_candidate *a = &candidates[i], *b = &candidates[best];
        if (a->reqs != b->reqs)
            best = a->reqs < b->reqs ? i : best;
        else if (a->pending_tokens != b->pending_tokens)
            best = a->pending_tokens < b->pending_tokens ? i : best;
        else if (a->last_turn < b->last_turn)
            best = i;
    }
    return best;
}

const struct route_policy route_least = {"least", pick};
