/* load - the online workloads as a list of conversations, word for word those of the Python that
 * other engines were measured with.
 *
 *   chat:SESSIONS:TURNS    closed loop: each session asks its next turn when the last has ended
 *   open:RATE:SECONDS      Poisson arrivals, RATE a second
 *
 * All calls share one system prompt of 1,500 words. A turn asks 120 words and takes 150 fixed ones
 * into the history, whatever was answered; an open call has 500 words of its own. 150 tokens out.
 */
#ifndef MSGL_BENCH_WORKS_LOAD_H
#define MSGL_BENCH_WORKS_LOAD_H

#include "common/buf.h"
#include "common/status.h"

#define LOAD_TOKENS_OUT 150

struct load_call {
    struct buf body;  /* of POST /v1/chat/completions */
    uint32_t session; /* chat: whose turn */
    double arrival_s; /* open */
};

struct load {
    struct load_call *calls;              /* chat: session by session; open: by arrival */
    uint32_t call_count, sessions, turns; /* open: sessions = 0 */
};

enum status MUST_USE load_init(struct load *load, const char *work, const char *model,
                               uint64_t seed, struct err *err);
void load_release(struct load *load);

#endif
