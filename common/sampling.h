/* sampling - how one choice wants its next token drawn; the same struct on the wire, in a req, in a
 * step packet and at the sampler op. Plain data, no pointers, so it can be copied to a device.
 *
 * Greedy iff temperature == 0. The draw of the token at absolute position p uses
 * philox4x32(counter = {p, p >> 32, 0, 0}, key = {seed_lo ^ choice, seed_hi}).
 */
#ifndef MSGL_COMMON_SAMPLING_H
#define MSGL_COMMON_SAMPLING_H

#include "common/base.h"

struct sampling {
    float temperature;        /* >= 0; 0 = greedy */
    float top_p;              /* (0, 1]; 1 = off */
    float min_p;              /* [0, 1); 0 = off */
    uint32_t top_k;           /* 0 = off */
    uint64_t seed;            /* drawn by the router when the client names none */
    uint32_t choice;          /* 0..n-1 */
    float presence_penalty;   /* reserved, 0 = off */
    float frequency_penalty;  /* reserved, 0 = off */
    float repetition_penalty; /* reserved, 1 = off */
};

static inline struct sampling sampling_default(void)
{
    return (struct sampling){.temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f};
}

#endif
