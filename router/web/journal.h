/* journal - the last things that happened: where prompts went and why, workers, streams that moved.
 *
 *   decisions:  [ 33 ][ 34 ][ 35 ][ 4 ] …      rings: number N lies at N % size, the oldest goes
 *   events:     [ 8 ][ 9 ][ 2 ] …
 *
 * Kept whether or not somebody looks, so that the page opens with a past. Loop thread.
 */
#ifndef MSGL_ROUTER_WEB_JOURNAL_H
#define MSGL_ROUTER_WEB_JOURNAL_H

#include "common/base.h"
#include "router/route.h"

#define JOURNAL_DECISIONS  32
#define JOURNAL_EVENTS     64
#define JOURNAL_CANDIDATES 8 /* of a decision: those with the lowest cost, the chosen one always */
#define JOURNAL_NAME       64
#define JOURNAL_TEXT       128

struct journal_candidate {
    uint32_t worker; /* struct worker.serial */
    char name[JOURNAL_NAME];
    uint32_t held, expected; /* tokens */
    uint64_t pending, reqs;
    double busy, cost;
};

struct journal_decision {
    uint64_t number, at_ms; /* since the epoch */
    uint64_t call;
    uint32_t choice, attempt, prompt, generated;
    const char *reason; /* a constant */
    uint32_t chosen;    /* in candidates */
    uint32_t count, of; /* candidates kept, and how many there were */
    struct journal_candidate candidates[JOURNAL_CANDIDATES];
};

enum journal_kind {
    JOURNAL_JOINED,
    JOURNAL_DRAINING,
    JOURNAL_SERVING,
    JOURNAL_LEFT,
    JOURNAL_DIED,
    JOURNAL_RETRIED, /* a stream without a token yet went elsewhere */
    JOURNAL_RESUMED, /* one in the middle of its answer did */
    JOURNAL_KINDS
};

struct journal_event {
    uint64_t number, changed, at_ms;
    enum journal_kind kind;
    uint32_t count; /* the same, within a second: said once */
    char worker[JOURNAL_NAME], text[JOURNAL_TEXT];
};

struct journal {
    uint64_t decision_last, event_last; /* numbers, from 1 */
    uint64_t change_last;               /* of events: new, or counted again */
    struct journal_decision decisions[JOURNAL_DECISIONS];
    struct journal_event events[JOURNAL_EVENTS];
};

/* The next decision, its number and time filled in; the caller fills in the rest. */
struct journal_decision *journal_decide(struct journal *journal);
/* Which candidates a decision keeps: the cheapest, in order of cost, and the chosen one. Their places
 * in candidates[] go to out[JOURNAL_CANDIDATES]; returns how many, *at says which is the chosen one. */
uint32_t journal_pick(const struct route_candidate *candidates, size_t count, size_t chosen,
                      size_t *out, uint32_t *at);
void journal_event(struct journal *journal, enum journal_kind kind, const char *worker,
                   const char *format, ...) PRINTF_LIKE(4, 5);
/* The name, cut to its room between two characters. */
void journal_name(char out[JOURNAL_NAME], const char *name);
const char *journal_kind_name(enum journal_kind kind);

#endif
