#include "router/route.h"

static size_t pick(const struct route_candidate *candidates, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (candidates[i].last_turn < candidates[best].last_turn)
            best = i;
    }
    return best;
}

const struct route_policy route_rr = {"rr", pick};
