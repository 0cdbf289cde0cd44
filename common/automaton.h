/* automaton - a grammar over bytes, as it travels from the router to the worker's sampler.
 *
 *   byte ─► class ─► table[state][class] ─┬─► state'
 *                                         ├─► call i: push calls[i].back, go to calls[i].enter, again
 *                                         └─► none: pop when the state may end, again; else refuse
 *
 * A deterministic automaton with a stack of return states: what a schema spells out is states, what
 * nests without bound (any JSON value, a schema that names itself) is a call. One block of memory:
 *
 *   │ header: u32 magic, states, classes, calls, start │ u8 class[256] │ u8 ends[states] │ pad to 4
 *   │ u32 enter, back (calls) │ u16 table[states][classes] │                       little-endian
 *
 * A table entry is a state, AUTOMATON_CALL | call, or AUTOMATON_NONE.
 *
 * Where it is no text that binds an answer, a list of tokens takes the automaton's place:
 *
 *   │ u32 AUTOMATON_TOKENS_MAGIC │ u32 ids[] │          no other may come, whatever these spell
 */
#ifndef MSGL_COMMON_AUTOMATON_H
#define MSGL_COMMON_AUTOMATON_H

#include "common/buf.h"
#include "common/status.h"

#define AUTOMATON_MAGIC        0x3161676du /* "mga1" */
#define AUTOMATON_TOKENS_MAGIC 0x3174676du /* "mgt1" */
#define AUTOMATON_CALL         0x8000u
#define AUTOMATON_NONE         0xffffu
#define AUTOMATON_STATES_MAX   0x7fff
#define AUTOMATON_DEPTH_MAX    24 /* calls within calls: deeper nesting is refused */

struct automaton_call {
    uint32_t enter, back;
};

struct automaton { /* views into the block */
    uint32_t states, classes, calls, start;
    const uint8_t *class_of, *ends;
    const struct automaton_call *call;
    const uint16_t *table;
};

/* Where a reading stands. */
struct automaton_at {
    uint16_t state, depth;
    uint16_t back[AUTOMATON_DEPTH_MAX];
};

/* Checks every index, so that a walk stays inside. `data` is 4-byte aligned and outlives *out. */
enum status MUST_USE automaton_open(struct automaton *out, struct str data, struct err *err);

/* The ids of a list of tokens, *count of them, at least one; NULL: it is none. Aligned as above. */
const uint32_t *automaton_tokens(struct str data, uint32_t *count);

void automaton_begin(const struct automaton *automaton, struct automaton_at *at);
/* False when the byte may not come here; *at is then undefined. */
bool automaton_step(const struct automaton *automaton, struct automaton_at *at, uint8_t byte);
/* The text so far is complete. */
bool automaton_may_end(const struct automaton *automaton, const struct automaton_at *at);

#endif
