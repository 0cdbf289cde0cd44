/* credits - how many more reqs each router may send.
 *
 *   slots = 320, three routers, one of them quiet:       share       holds     may send
 *     A  ████████████████████████████████                 150          40          110
 *     B  ████████████████████████████████                 150         150            0
 *     C  ██                                                18           0           18
 *
 * A router that has reqs here, or sent one a moment ago, weighs 8, a quiet one 1: it can begin at
 * once, and then counts in full. Who holds more than its share gets nothing until it has come down;
 * so shares hold in the long run whatever the routers' queues are, and no two race for one slot.
 * Pure.
 */
#ifndef MSGL_WORKER_CREDITS_H
#define MSGL_WORKER_CREDITS_H

#include "common/base.h"

#define CREDIT_USERS_MAX 256

struct credit_user {
    uint32_t held;
    bool active;
    uint32_t credits; /* out */
};

/* `slots_free` of `slots` may be taken. The sum of credits never exceeds slots_free. */
void credits_split(uint32_t slots, uint32_t slots_free, struct credit_user *users, uint32_t count);

#endif
