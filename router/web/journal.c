#include "router/web/journal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#define SAME_MS 1000

struct journal_decision *journal_decide(struct journal *journal)
{
    uint64_t number = ++journal->decision_last;
    struct journal_decision *decision = &journal->decisions[number % JOURNAL_DECISIONS];
    decision->number = number;
    decision->at_ms = clock_unix_ms();
    return decision;
}

uint32_t journal_pick(const struct route_candidate *candidates, size_t count, size_t chosen,
                      size_t *out, uint32_t *at)
{
    uint32_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t place = kept;
        while (place > 0 && candidates[i].cost < candidates[out[place - 1]].cost)
            place--;
        if (place == JOURNAL_CANDIDATES)
            continue;
        kept += kept < JOURNAL_CANDIDATES;
        memmove(out + place + 1, out + place, (kept - 1 - place) * sizeof(*out));
        out[place] = i;
    }
    for (*at = 0; *at < kept && out[*at] != chosen; ++*at)
        ;
    if (*at == kept) { /* another policy than the cost chose it */
        *at = kept - 1;
        out[*at] = chosen;
    }
    return kept;
}

void journal_name(char out[JOURNAL_NAME], const char *name)
{
    size_t len = strnlen(name, JOURNAL_NAME);
    if (len == JOURNAL_NAME)
        for (len--; len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80; len--)
            ;
    memcpy(out, name, len);
    out[len] = '\0';
}

void journal_event(struct journal *journal, enum journal_kind kind, const char *worker,
                   const char *format, ...)
{
    char cut[JOURNAL_NAME] = {0};
    journal_name(cut, worker);
    uint64_t now_ms = clock_unix_ms();
    struct journal_event *event = &journal->events[journal->event_last % JOURNAL_EVENTS];
    bool same = journal->event_last > 0 && event->kind == kind && now_ms < event->at_ms + SAME_MS &&
                strcmp(event->worker, cut) == 0;
    if (!same) {
        event = &journal->events[++journal->event_last % JOURNAL_EVENTS];
        event->number = journal->event_last;
        event->count = 0;
        event->kind = kind;
        event->at_ms = now_ms;
        memcpy(event->worker, cut, sizeof(cut));
    }
    event->count++;
    event->changed = ++journal->change_last;
    va_list args;
    va_start(args, format);
    vsnprintf(event->text, sizeof(event->text), format, args);
    va_end(args);
}

const char *journal_kind_name(enum journal_kind kind)
{
    static const char *const names[JOURNAL_KINDS] = {
        [JOURNAL_JOINED] = "joined",   [JOURNAL_DRAINING] = "draining",
        [JOURNAL_SERVING] = "serving", [JOURNAL_LEFT] = "left",
        [JOURNAL_DIED] = "died",       [JOURNAL_RETRIED] = "retried",
        [JOURNAL_RESUMED] = "resumed"};
    return names[kind];
}
