/* TOKENS: what a step gave to each router's reqs. A router may ask (WELCOME `g`) that tokens wait so
 * many ms for the next ones, since a frame, an event and a write cost it the same for five tokens as
 * for one:
 *
 *   step   1    2    3    4    5        first token, end, log probabilities: at once, and what
 *   req    t1   t2   t3   t4   t5 end    waits of the other reqs goes with them
 *   sent   t1 ······ t2-t4 ··· t5 end
 */
#include "worker/outbox.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/worker.h"

static enum finish finish_of(enum sched_finish finish)
{
    switch (finish) {
    case SCHED_RUNNING:
        return FINISH_NONE;
    case SCHED_STOP:
        return FINISH_STOP;
    case SCHED_LENGTH:
        return FINISH_LENGTH;
    case SCHED_CANCELLED:
        return FINISH_CANCEL;
    case SCHED_EXPIRED:
        return FINISH_NONE; /* an ERROR follows */
    }
    return FINISH_ERROR;
}

static struct req_entry *entry_of(struct worker *worker, const struct sched_event *event)
{
    CHECK(event->user < worker->reqs.cap && worker->reqs.entries[event->user].live);
    return &worker->reqs.entries[event->user];
}

static struct str bytes_of(const void *data, size_t count)
{
    return (struct str){data, count * sizeof(uint32_t)};
}

/* Copies the first `width` of each row's alternatives, so that they lie without gaps. The words
 * are there: outbox_events() has counted them. */
static const uint32_t *pack_rows(struct outbox *outbox, const void *rows, uint32_t count,
                                 uint32_t width)
{
    uint32_t *out = outbox->score_words + outbox->score_word_count;
    for (uint32_t i = 0; i < count; i++)
        memcpy(out + (size_t)i * width, (const uint32_t *)rows + (size_t)i * SAMPLING_TOP_MAX,
               width * sizeof(*out));
    outbox->score_word_count += count * width;
    return out;
}

static void put_logprobs(struct outbox *outbox, struct tokens_item *item,
                         const struct sched_event *event, const struct step_result *result)
{
    uint32_t width = event->logprobs - 1, count = event->score_count;
    size_t row = result->sample_count + event->score_first, top = row * SAMPLING_TOP_MAX;
    if (event->has_token) {
        size_t at = (size_t)event->sample * SAMPLING_TOP_MAX;
        item->logprobs = bytes_of(result->logprobs + event->sample, 1);
        item->top_ids = token_view_of(result->top_ids + at, width);
        item->top_logprobs = bytes_of(result->top_logprobs + at, width);
    }
    if (count == 0)
        return;
    item->score_first = event->score_index;
    item->scores = bytes_of(result->logprobs + row, count);
    item->score_ranks = token_view_of(result->ranks + row, count);
    item->score_top_ids =
        token_view_of(pack_rows(outbox, result->top_ids + top, count, width), count * width);
    item->score_top_logprobs =
        bytes_of(pack_rows(outbox, result->top_logprobs + top, count, width), count * width);
}

/* Room for all alternatives of the events' scores: pointers into it go into frames. */
static void reserve_words(struct outbox *outbox, const struct sched_event *events, uint32_t count)
{
    uint64_t words = 0;
    for (uint32_t i = 0; i < count; i++)
        words += events[i].logprobs ? UINT64_C(2) * events[i].score_count * events[i].logprobs : 0;
    outbox->score_word_count = 0;
    outbox->score_words = outbox_grow(outbox->score_words, &outbox->score_word_cap, (uint32_t)words,
                                      sizeof(*outbox->score_words));
}

/* Keeps the event's token with those of its req that wait. */
static void hold(struct req_entry *entry, const struct sched_event *event)
{
    if (!event->has_token)
        return;
    if (entry->held_count == 0)
        entry->held_first = event->index;
    entry->held[entry->held_count++] = event->token;
}

/* Takes the link's events; how many they are, and *urgent: one of them cannot wait. */
static uint32_t take(struct worker *worker, const struct link *link,
                     const struct sched_event *events, uint32_t count, bool *urgent)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &events[i];
        struct req_entry *entry = entry_of(worker, event);
        if (entry->link != link)
            continue;
        hold(entry, event);
        *urgent |= !entry->answered || event->finish != SCHED_RUNNING || event->logprobs ||
                   entry->held_count == REQ_HELD_MAX;
        taken++;
    }
    return taken;
}

/* All that waits of the req. */
static struct tokens_item *put_item(struct worker *worker, struct req_entry *entry, uint32_t *count)
{
    struct tokens_item *item = &worker->outbox.items[(*count)++];
    *item = (struct tokens_item){.key = entry->key,
                                 .first = entry->held_first,
                                 .tokens = token_view_of(entry->held, entry->held_count),
                                 .finish = FINISH_NONE};
    entry->held_count = 0;
    entry->answered = true;
    return item;
}

/* The items of the link's events, then those of what waits. */
static uint32_t collect(struct worker *worker, const struct link *link,
                        const struct sched_event *events, uint32_t count,
                        const struct step_result *result)
{
    uint32_t item_count = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &events[i];
        struct req_entry *entry = entry_of(worker, event);
        bool empty = entry->held_count == 0;
        enum sched_finish idle = event->has_token ? SCHED_RUNNING : SCHED_EXPIRED;
        if (entry->link != link || (empty && event->finish == idle))
            continue;
        if (empty)
            entry->held_first = event->index + event->has_token;
        uint32_t cached = entry->answered ? 0 : event->cached_tokens;
        struct tokens_item *item = put_item(worker, entry, &item_count);
        item->cached_tokens = cached;
        item->finish = finish_of(event->finish);
        if (event->logprobs && result)
            put_logprobs(&worker->outbox, item, event, result);
    }
    if (link->gather_ms == 0)
        return item_count;
    LIST_EACH(node, &link->reqs) {
        struct req_entry *entry = LIST_ITEM(node, struct req_entry, node);
        if (entry->held_count > 0)
            put_item(worker, entry, &item_count);
    }
    return item_count;
}

static void send_tokens(struct worker *worker, struct link *link, const struct sched_event *events,
                        uint32_t count, const struct step_result *result)
{
    struct sched_load load;
    uint32_t item_count = collect(worker, link, events, count, result);

    scheduler_load(worker->scheduler, &load);
    link->waiting_since_ms = 0;
    for (uint32_t done = 0; done < item_count && link_is_open(link);) {
        uint32_t part = MIN(item_count - done, (uint32_t)PROTO_TOKEN_ITEMS_MAX);
        struct frame frame = {.type = FRAME_TOKENS,
                              .tokens = {.epoch = link->router_epoch,
                                         .step = load.steps,
                                         .items = worker->outbox.items + done,
                                         .item_count = part}};
        outbox_send(worker, link, &frame);
        done += part;
    }
}

uint64_t outbox_tokens_at_ms(const struct link *link)
{
    return link->waiting_since_ms ? link->waiting_since_ms + link->gather_ms : UINT64_MAX;
}

void outbox_tokens_due(struct worker *worker, struct link *link, uint64_t now_ms)
{
    if (now_ms >= outbox_tokens_at_ms(link))
        send_tokens(worker, link, NULL, 0, NULL);
}

static void take_events(struct worker *worker, struct link *link, const struct sched_event *events,
                        uint32_t count, const struct step_result *result)
{
    uint64_t now_ms = clock_now_ms(), step_ms = now_ms - link->events_ms;
    bool urgent = false;

    if (take(worker, link, events, count, &urgent) == 0)
        return;
    link->events_ms = now_ms;
    if (link->waiting_since_ms == 0)
        link->waiting_since_ms = now_ms;
    /* The next events are about as far away as the last ones. */
    if (urgent || now_ms + MIN(step_ms, link->gather_ms) >= outbox_tokens_at_ms(link))
        send_tokens(worker, link, events, count, result);
}

/* The same id and trace stand in the router's line of the call. */
static void log_end(const struct req_entry *entry, const struct sched_event *event)
{
    static const char *const ends[] = {[SCHED_STOP] = "stop",
                                       [SCHED_LENGTH] = "length",
                                       [SCHED_CANCELLED] = "cancelled",
                                       [SCHED_EXPIRED] = "expired"};
    uint64_t now_ms = clock_now_ms(), first_ms = entry->first_ms ? entry->first_ms : now_ms;

    LOG_INFO(
        "req", "done",
        "id=%s trace=%s choice=%u attempt=%u index=%u cached=%u ttft_ms=%llu total_ms=%llu end=%s",
        entry->request_id, entry->trace_id, entry->key.choice, entry->key.attempt,
        event->index + event->has_token, entry->cached_tokens,
        (unsigned long long)(first_ms - entry->arrived_ms),
        (unsigned long long)(now_ms - entry->arrived_ms), ends[event->finish]);
}

void outbox_events(struct worker *worker, const struct sched_event *events, uint32_t count,
                   const struct step_result *result)
{
    if (count == 0)
        return;
    if (result)
        reserve_words(&worker->outbox, events, count);
    OPEN_LINKS_EACH(link, worker)
        take_events(worker, link, events, count, result);
    for (uint32_t i = 0; i < count; i++) {
        struct req_entry *entry = entry_of(worker, &events[i]);
        if (entry->first_ms == 0 && events[i].has_token) {
            entry->first_ms = clock_now_ms();
            entry->cached_tokens = events[i].cached_tokens;
        }
        if (events[i].finish == SCHED_RUNNING)
            continue;
        log_end(entry, &events[i]);
        if (events[i].finish == SCHED_EXPIRED && entry->link && link_is_open(entry->link))
            outbox_error(worker, entry->link, &entry->key, STATUS_TIMEOUT,
                         "the req's deadline has passed");
        worker_forget(worker, entry);
    }
}
