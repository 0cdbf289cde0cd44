#include "worker/credits.h"

#define ACTIVE_WEIGHT 8

static uint64_t weight_of(const struct credit_user *user)
{
    return user->active || user->held > 0 ? ACTIVE_WEIGHT : 1;
}

/* What is left goes one by one to those that want more, from the one that holds least. */
static void give_rest(struct credit_user *users, uint32_t count, const uint32_t *want,
                      uint32_t rest)
{
    while (rest > 0) {
        uint32_t best = count;
        for (uint32_t i = 0; i < count; i++) {
            if (users[i].credits < want[i] &&
                (best == count ||
                 users[i].held + users[i].credits < users[best].held + users[best].credits))
                best = i;
        }
        if (best == count)
            return;
        users[best].credits++;
        rest--;
    }
}

void credits_split(uint32_t slots, uint32_t slots_free, struct credit_user *users, uint32_t count)
{
    uint32_t want[CREDIT_USERS_MAX];
    uint64_t weights = 0, wanted = 0;
    CHECK(count <= CREDIT_USERS_MAX);
    for (uint32_t i = 0; i < count; i++)
        weights += weight_of(&users[i]);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t share = slots * weight_of(&users[i]) / weights;
        share = MAX(share, (uint64_t)1);
        want[i] = share > users[i].held ? (uint32_t)share - users[i].held : 0;
        wanted += want[i];
    }
    uint32_t given = 0;
    for (uint32_t i = 0; i < count; i++) {
        users[i].credits =
            wanted <= slots_free ? want[i] : (uint32_t)((uint64_t)want[i] * slots_free / wanted);
        given += users[i].credits;
    }
    if (wanted > slots_free)
        give_rest(users, count, want, slots_free - given);
}
