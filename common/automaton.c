#include "common/automaton.h"

#include <string.h>

#define HEADER_WORDS 5

static bool entry_fits(const struct automaton *a, uint16_t entry)
{
    if (entry == AUTOMATON_NONE)
        return true;
    return entry & AUTOMATON_CALL ? (uint32_t)(entry & ~AUTOMATON_CALL) < a->calls
                                  : entry < a->states;
}

enum status automaton_open(struct automaton *out, struct str data, struct err *err)
{
    uint32_t header[HEADER_WORDS];
    if (data.len < sizeof(header) || (uintptr_t)data.data % 4 != 0)
        return err_set(err, STATUS_CORRUPT, "a grammar has no header");
    memcpy(header, data.data, sizeof(header));
    *out = (struct automaton){
        .states = header[1], .classes = header[2], .calls = header[3], .start = header[4]};
    if (header[0] != AUTOMATON_MAGIC || out->states == 0 || out->states > AUTOMATON_STATES_MAX ||
        out->classes == 0 || out->classes > 256 || out->calls > AUTOMATON_STATES_MAX ||
        out->start >= out->states)
        return err_set(err, STATUS_CORRUPT, "a grammar's sizes are out of range");
    size_t classes_at = sizeof(header), ends_at = classes_at + 256;
    size_t calls_at = ROUND_UP(ends_at + out->states, 4u);
    size_t table_at = calls_at + out->calls * sizeof(*out->call);
    size_t bytes = table_at + (size_t)out->states * out->classes * sizeof(*out->table);
    if (data.len != bytes)
        return err_set(err, STATUS_CORRUPT, "a grammar has %zu bytes, not %zu", data.len, bytes);
    out->class_of = (const uint8_t *)data.data + classes_at;
    out->ends = (const uint8_t *)data.data + ends_at;
    out->call = (const void *)(data.data + calls_at);
    out->table = (const void *)(data.data + table_at);
    bool fits = true;
    for (uint32_t i = 0; i < 256; i++)
        fits &= out->class_of[i] < out->classes;
    for (uint32_t i = 0; i < out->calls; i++)
        fits &= out->call[i].enter < out->states && out->call[i].back < out->states;
    for (size_t i = 0; i < (size_t)out->states * out->classes; i++)
        fits &= entry_fits(out, out->table[i]);
    return fits ? STATUS_OK : err_set(err, STATUS_CORRUPT, "a grammar names what it does not have");
}

const uint32_t *automaton_tokens(struct str data, uint32_t *count)
{
    uint32_t magic;
    if (data.len < 2 * sizeof(magic) || data.len % sizeof(magic) != 0 ||
        (uintptr_t)data.data % sizeof(magic) != 0)
        return NULL;
    memcpy(&magic, data.data, sizeof(magic));
    *count = (uint32_t)(data.len / sizeof(magic)) - 1;
    return magic == AUTOMATON_TOKENS_MAGIC
               ? (const uint32_t *)(const void *)(data.data + sizeof(magic))
               : NULL;
}

void automaton_begin(const struct automaton *a, struct automaton_at *at)
{
    at->state = (uint16_t)a->start;
    at->depth = 0;
}

bool automaton_step(const struct automaton *a, struct automaton_at *at, uint8_t byte)
{
    uint32_t class = a->class_of[byte];
    /* A pop lowers the stack; a call raises it, and the rule it enters begins with a byte or with
     * another call: what does neither within the stack's bound is refused. */
    for (uint32_t moves = 0; moves < 3 * AUTOMATON_DEPTH_MAX; moves++) {
        uint16_t entry = a->table[(size_t)at->state * a->classes + class];
        if (entry == AUTOMATON_NONE) {
            if (at->depth == 0 || !a->ends[at->state])
                return false;
            at->state = at->back[--at->depth];
        } else if (entry & AUTOMATON_CALL) {
            const struct automaton_call *call = &a->call[entry & ~AUTOMATON_CALL];
            if (at->depth == AUTOMATON_DEPTH_MAX)
                return false;
            at->back[at->depth++] = (uint16_t)call->back;
            at->state = (uint16_t)call->enter;
        } else {
            at->state = entry;
            return true;
        }
    }
    return false;
}

bool automaton_may_end(const struct automaton *a, const struct automaton_at *at)
{
    uint16_t state = at->state;
    for (uint32_t depth = at->depth; depth > 0; depth--) {
        if (!a->ends[state])
            return false;
        state = at->back[depth - 1];
    }
    return a->ends[state] != 0;
}
