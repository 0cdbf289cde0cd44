/* rank_message - what rank 0 of a tensor-parallel worker and its other ranks say to each other.
 *
 *   ┌ "MSRK" u32 ┬ version u16 ┬ kind u16 ┬ rank u32 ┬ 0 u32 ┬ group u64 ┬ value u64 ┬ body ┐
 *
 * Little-endian, 32 bytes in front of the body. `group` names one start of one worker: messages of
 * another are dropped. proto/PROTOCOL.md says when each is sent. Any thread.
 */
#ifndef MSGL_PROTO_RANK_MESSAGE_H
#define MSGL_PROTO_RANK_MESSAGE_H

#include "common/buf.h"
#include "common/status.h"

#define RANK_MESSAGE_VERSION    1
#define RANK_MESSAGE_HEAD_BYTES 32

enum rank_kind {
    RANK_JOIN = 1, /* rank N: value = hash of the options that ranks must share; group 0 */
    RANK_START,    /* rank 0: body = name of the rendezvous */
    RANK_READY,    /* rank N: its engine is open */
    RANK_STEP,     /* rank 0: value = 1, 2, 3 …; body = a step packet */
    RANK_BEAT,     /* both, every RANK_BEAT_EVERY_MS: value = steps done */
    RANK_FAILED,   /* both: body = why; the sender leaves */
    RANK_STOP,     /* rank 0: leave cleanly */
    RANK_LEFT,     /* rank N: has got STOP */
    RANK_GRAMMAR, /* rank 0: value = its number on every rank; body = an automaton or a list of tokens */
    RANK_GRAMMAR_DROP, /* rank 0: value = the number */
    RANK_KIND_END,
};
#define RANK_BEAT_EVERY_MS 250

struct rank_message {
    enum rank_kind kind;
    uint32_t rank; /* of the sender */
    uint64_t group, value;
    struct str body; /* borrowed */
};

void rank_message_encode(const struct rank_message *message, struct buf *out); /* appends */
/* CONFLICT: another version. CORRUPT: no such message. `out->body` points into `bytes`. */
enum status MUST_USE rank_message_decode(struct str bytes, struct rank_message *out,
                                         struct err *err);

#endif
