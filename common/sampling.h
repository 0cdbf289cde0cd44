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
    float temperature;       /* >= 0; 0 = greedy */
    float top_p;             /* (0, 1]; 1 = off */
    float min_p;             /* [0, 1); 0 = off */
    uint32_t top_k;          /* 0 = off */
    uint64_t seed;           /* drawn by the router when the client names none */
    uint32_t choice;         /* 0..n-1 */
    float presence_penalty;  /* off a logit whose token was generated; 0 = off */
    float frequency_penalty; /* off a logit for each time it was generated; 0 = off */
    /* divides what prompt or answer hold (a negative one: times); 1 = off */
    float repetition_penalty;
};

/* What an engine can do beyond drawing a token: told in HELLO, wanted by calls. Bits. */
enum feature {
    FEATURE_ADJUST = 1,   /* penalties, logit bias, stop tokens banned before min_tokens */
    FEATURE_LOGPROBS = 2, /* of drawn tokens, and of a prompt's */
    FEATURE_GRAMMAR = 4,  /* constrained decoding */
};

/* What is done to a row of logits before its draw; kernels/ops.h says how and in which order. */
enum sample_flags {
    SAMPLE_PENALTIES = 1, /* the three penalties, with what the slot has seen */
    SAMPLE_COUNT = 2,     /* first count the slot's last token, drawn since its setup */
    SAMPLE_BIAS = 4,      /* the slot's list of biases */
    SAMPLE_BAN = 8,       /* the slot's stop tokens, up to a position */
    SAMPLE_MASK = 16,     /* tokens that a grammar forbids */
};

#define SAMPLING_BIAS_MAX 1024 /* logit_bias entries of one req */
#define SAMPLING_TOP_MAX  20   /* alternatives reported with a log probability */

static inline bool sampling_penalized(const struct sampling *sampling)
{
    return sampling->presence_penalty != 0 || sampling->frequency_penalty != 0 ||
           sampling->repetition_penalty != 1;
}

static inline struct sampling sampling_default(void)
{
    return (struct sampling){.temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f};
}

#endif
