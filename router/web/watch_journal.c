/* Decisions and events of /cluster/events. */
#include <string.h>

#include "router/router.h"

static void write_candidate(const struct journal_candidate *row, struct buf *out)
{
    buf_printf(out, "{\"id\":%u,\"name\":", row->worker);
    buf_json_string(out, row->name, strlen(row->name));
    buf_printf(out,
               ",\"held\":%u,\"expected\":%u,\"pending\":%llu,\"reqs\":%llu,\"busy\":%.3f,"
               "\"cost\":%.0f},",
               row->held, row->expected, (unsigned long long)row->pending,
               (unsigned long long)row->reqs, row->busy, row->cost);
}

static void write_decision(const struct journal_decision *decision, struct buf *out)
{
    buf_printf(out,
               "{\"n\":%llu,\"at\":%llu,\"call\":%llu,\"choice\":%u,\"attempt\":%u,\"prompt\":%u,"
               "\"generated\":%u,\"reason\":\"%s\",\"chosen\":%u,\"of\":%u,\"candidates\":[",
               (unsigned long long)decision->number, (unsigned long long)decision->at_ms,
               (unsigned long long)decision->call, decision->choice, decision->attempt,
               decision->prompt, decision->generated, decision->reason, decision->chosen,
               decision->of);
    for (uint32_t i = 0; i < decision->count; i++)
        write_candidate(&decision->candidates[i], out);
    out->len--;
    buf_str(out, "]},");
}

static void write_event(const struct journal_event *event, struct buf *out)
{
    buf_printf(out, "{\"n\":%llu,\"at\":%llu,\"kind\":\"%s\",\"count\":%u,\"worker\":",
               (unsigned long long)event->number, (unsigned long long)event->at_ms,
               journal_kind_name(event->kind), event->count);
    buf_json_string(out, event->worker, strlen(event->worker));
    buf_str(out, ",\"text\":");
    buf_json_string(out, event->text, strlen(event->text));
    buf_str(out, "},");
}

/* The oldest number that a ring still has. */
static uint64_t oldest(uint64_t last, uint64_t size)
{
    return last >= size ? last - size + 1 : 1;
}

static void write_decisions(const struct journal *journal, uint64_t after, struct buf *out)
{
    if (journal->decision_last <= after)
        return;
    buf_str(out, ",\"decisions\":[");
    for (uint64_t n = MAX(after + 1, oldest(journal->decision_last, JOURNAL_DECISIONS));
         n <= journal->decision_last; n++)
        write_decision(&journal->decisions[n % JOURNAL_DECISIONS], out);
    out->len--;
    buf_char(out, ']');
}

static void write_events(const struct journal *journal, uint64_t after, struct buf *out)
{
    if (journal->change_last <= after)
        return;
    buf_str(out, ",\"events\":[");
    for (uint64_t n = oldest(journal->event_last, JOURNAL_EVENTS); n <= journal->event_last; n++) {
        const struct journal_event *event = &journal->events[n % JOURNAL_EVENTS];
        if (event->changed > after)
            write_event(event, out);
    }
    out->len--;
    buf_char(out, ']');
}

void watch_journal(struct router *router, bool all, struct buf *out)
{
    struct watch *watch = &router->watch;
    const struct journal *journal = &watch->journal;
    bool fresh = all || !watch->started;
    write_decisions(journal, fresh ? 0 : watch->said_decision, out);
    write_events(journal, fresh ? 0 : watch->said_change, out);
    if (!all) {
        watch->said_decision = journal->decision_last;
        watch->said_change = journal->change_last;
    }
}
