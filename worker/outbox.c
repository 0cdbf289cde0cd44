#include "worker/outbox.h"

#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/codec.h"
#include "worker/worker.h"

#define SNAPSHOT_RUNS_MAX  4096u        /* of one part */
#define SNAPSHOT_PAGES_MAX (256u << 10) /* of one part: 2 MiB, sent in one go */

void outbox_init(struct worker *worker)
{
    struct outbox *outbox = &worker->outbox;
    outbox->items = mem_array(worker->event_max, sizeof(*outbox->items));
    outbox->changes = mem_array(OUTBOX_CHANGES_MAX, sizeof(*outbox->changes));
}

void outbox_release(struct worker *worker)
{
    struct outbox *outbox = &worker->outbox;
    buf_release(&outbox->frame);
    mem_free(outbox->items);
    mem_free(outbox->score_words);
    mem_free(outbox->changes);
    mem_free(outbox->runs.hashes);
    mem_free(outbox->runs.runs);
    memset(outbox, 0, sizeof(*outbox));
}

static void send_frame(struct worker *worker, struct link *link, const struct frame *frame)
{
    struct buf *bytes = &worker->outbox.frame;
    buf_clear(bytes);
    frame_encode(frame, bytes);
    link_send(worker, link, bytes);
}

static bool is_open(const struct link *link)
{
    return link->state == LINK_OPEN;
}

/* Sending to one link may end its session, never change the list of links. */
#define OPEN_LINKS_EACH(link, worker)                                                              \
    for (uint32_t link##_i = 0; link##_i < (worker)->links.count; link##_i++)                      \
        for (struct link *link = (worker)->links.items[link##_i]; link && is_open(link);           \
             link = NULL)

void outbox_error(struct worker *worker, struct link *link, const struct req_key *key,
                  enum status status, const char *text)
{
    struct frame frame = {.type = FRAME_ERROR,
                          .error = {.key = *key, .status = status, .text = str_from(text)}};
    send_frame(worker, link, &frame);
}

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

static void *grow(void *array, uint32_t *cap, uint32_t need, size_t item_bytes)
{
    if (need <= *cap)
        return array;
    *cap = MAX(need, MAX(*cap * 2, 1024u));
    return mem_realloc(array, *cap * item_bytes);
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
        memcpy(out + (size_t)i * width,
               (const uint32_t *)rows + (size_t)i * SAMPLING_TOP_MAX, width * sizeof(*out));
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
    outbox->score_words = grow(outbox->score_words, &outbox->score_word_cap, (uint32_t)words,
                               sizeof(*outbox->score_words));
}

/* The link's share of the events; returns the number of items. */
static uint32_t gather(struct worker *worker, const struct link *link,
                       const struct sched_event *events, uint32_t count,
                       const struct step_result *result)
{
    struct tokens_item *items = worker->outbox.items;
    uint32_t item_count = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &events[i];
        struct req_entry *entry = entry_of(worker, event);
        if (entry->link != link || (event->finish == SCHED_EXPIRED && !event->has_token))
            continue;
        items[item_count++] = (struct tokens_item){
            .key = entry->key,
            .first = event->index,
            .tokens = token_view_of(&event->token, event->has_token),
            .finish = finish_of(event->finish),
            .cached_tokens = entry->answered ? 0 : event->cached_tokens,
        };
        if (event->logprobs && result)
            put_logprobs(&worker->outbox, &items[item_count - 1], event, result);
        entry->answered = true;
    }
    return item_count;
}

static void send_tokens(struct worker *worker, struct link *link, const struct sched_event *events,
                        uint32_t count, const struct step_result *result, uint64_t step)
{
    uint32_t item_count = gather(worker, link, events, count, result);

    for (uint32_t done = 0; done < item_count && is_open(link);) {
        uint32_t part = MIN(item_count - done, (uint32_t)PROTO_TOKEN_ITEMS_MAX);
        struct frame frame = {.type = FRAME_TOKENS,
                              .tokens = {.epoch = link->router_epoch,
                                         .step = step,
                                         .items = worker->outbox.items + done,
                                         .item_count = part}};
        send_frame(worker, link, &frame);
        done += part;
    }
}

/* The same id and trace stand in the router's line of the call. */
static void log_end(const struct req_entry *entry, const struct sched_event *event)
{
    static const char *const ends[] = {[SCHED_STOP] = "stop",
                                       [SCHED_LENGTH] = "length",
                                       [SCHED_CANCELLED] = "cancelled",
                                       [SCHED_EXPIRED] = "expired"};
    uint64_t now_ms = clock_now_ms(), first_ms = entry->first_ms ? entry->first_ms : now_ms;

    LOG_INFO("req", "done",
             "id=%s trace=%s choice=%u attempt=%u index=%u cached=%u ttft_ms=%llu total_ms=%llu end=%s",
             entry->request_id, entry->trace_id, entry->key.choice, entry->key.attempt,
             event->index + event->has_token, entry->cached_tokens,
             (unsigned long long)(first_ms - entry->arrived_ms),
             (unsigned long long)(now_ms - entry->arrived_ms), ends[event->finish]);
}

void outbox_events(struct worker *worker, const struct sched_event *events, uint32_t count,
                   const struct step_result *result)
{
    struct sched_load load;

    if (count == 0)
        return;
    scheduler_load(worker->scheduler, &load);
    if (result)
        reserve_words(&worker->outbox, events, count);
    OPEN_LINKS_EACH(link, worker)
    send_tokens(worker, link, events, count, result, load.steps);
    for (uint32_t i = 0; i < count; i++) {
        struct req_entry *entry = entry_of(worker, &events[i]);
        if (entry->first_ms == 0 && events[i].has_token) {
            entry->first_ms = clock_now_ms();
            entry->cached_tokens = events[i].cached_tokens;
        }
        if (events[i].finish == SCHED_RUNNING)
            continue;
        log_end(entry, &events[i]);
        if (events[i].finish == SCHED_EXPIRED && entry->link && is_open(entry->link))
            outbox_error(worker, entry->link, &entry->key, STATUS_TIMEOUT,
                         "the req's deadline has passed");
        worker_forget(worker, entry);
    }
}

/* ---- cache ---- */

void run_list_add(struct run_list *list, uint64_t parent, uint64_t hash, bool removed)
{
    struct page_run *last = list->run_count ? &list->runs[list->run_count - 1] : NULL;
    bool joins = last && last->removed == removed &&
                 (removed || list->hashes[list->hash_count - 1] == parent);

    list->hashes = grow(list->hashes, &list->hash_cap, list->hash_count + 1, sizeof(*list->hashes));
    list->hashes[list->hash_count++] = hash;
    if (joins) {
        last->count++;
        return;
    }
    list->runs = grow(list->runs, &list->run_cap, list->run_count + 1, sizeof(*list->runs));
    list->runs[list->run_count++] =
        (struct page_run){.parent = removed ? 0 : parent, .count = 1, .removed = removed};
}

/* The hashes have moved for the last time. */
static void run_list_finish(struct run_list *list)
{
    const uint64_t *at = list->hashes;
    for (uint32_t i = 0; i < list->run_count; i++) {
        list->runs[i].hashes = (const unsigned char *)at;
        at += list->runs[i].count;
    }
}

static void run_list_clear(struct run_list *list)
{
    list->run_count = list->hash_count = 0;
}

static void send_cache(struct worker *worker)
{
    struct outbox *outbox = &worker->outbox;
    struct frame frame = {.type = FRAME_CACHE,
                          .cache = {.epoch = worker->epoch,
                                    .seq = ++outbox->cache_seq,
                                    .runs = outbox->runs.runs,
                                    .run_count = outbox->runs.run_count}};

    run_list_finish(&outbox->runs);
    OPEN_LINKS_EACH(link, worker)
    send_frame(worker, link, &frame);
}

static void send_snapshot(struct worker *worker, struct link *link);

void outbox_cache(struct worker *worker)
{
    struct outbox *outbox = &worker->outbox;
    bool more = true, lost = false;

    while (more && !lost) {
        uint32_t count = OUTBOX_CHANGES_MAX;
        more = scheduler_cache_events(worker->scheduler, outbox->changes, &count, &lost);
        if (count == 0 || lost)
            continue;
        run_list_clear(&outbox->runs);
        for (uint32_t i = 0; i < count; i++)
            run_list_add(&outbox->runs, outbox->changes[i].parent, outbox->changes[i].hash,
                         outbox->changes[i].removed);
        send_cache(worker);
    }
    if (lost) {
        outbox->cache_seq++;
        OPEN_LINKS_EACH(link, worker)
        send_snapshot(worker, link);
    }
}

static void collect_page(void *ctx, uint64_t parent, uint64_t hash)
{
    run_list_add(ctx, parent, hash, false);
}

/* First and last run of the part that starts at *run; runs longer than a part were cut already. */
static uint32_t part_end(const struct run_list *list, uint32_t run)
{
    uint64_t pages = 0;
    uint32_t end = run;
    while (end < list->run_count && end - run < SNAPSHOT_RUNS_MAX &&
           (end == run || pages + list->runs[end].count <= SNAPSHOT_PAGES_MAX))
        pages += list->runs[end++].count;
    return end;
}

static void send_snapshot(struct worker *worker, struct link *link)
{
    struct outbox *outbox = &worker->outbox;
    struct run_list *list = &outbox->runs;
    uint32_t parts = 0, run = 0;

    run_list_clear(list);
    scheduler_cache_walk(worker->scheduler, collect_page, list);
    run_list_finish(list);
    do {
        run = part_end(list, run);
        parts++;
    } while (run < list->run_count);
    run = 0;
    for (uint32_t part = 0; part < parts && is_open(link); part++) {
        uint32_t end = part_end(list, run);
        struct frame frame = {.type = FRAME_SNAPSHOT,
                              .snapshot = {.part = part,
                                           .part_count = parts,
                                           .cache = {.epoch = worker->epoch,
                                                     .seq = outbox->cache_seq,
                                                     .runs = list->runs + run,
                                                     .run_count = end - run}}};
        send_frame(worker, link, &frame);
        run = end;
    }
}

void outbox_snapshot(struct worker *worker, struct link *link)
{
    outbox_cache(worker); /* so that the snapshot is as of the last CACHE */
    if (is_open(link))
        send_snapshot(worker, link);
}

/* ---- greetings and load ---- */

void outbox_hello(struct worker *worker, struct link *link)
{
    struct frame frame = {.type = FRAME_HELLO, .hello = worker->hello};
    frame.hello.session = link->session;
    send_frame(worker, link, &frame);
}

void outbox_load(struct worker *worker, struct link *link, uint64_t now_ms)
{
    struct sched_load load;
    uint32_t bound_ms = 0;

    scheduler_load(worker->scheduler, &load);
    if (worker->in_flight) /* the step's time lies between now and here */
        bound_ms = 1 + (uint32_t)MIN(ceil(scheduler_step_ms_bound(worker->scheduler)), 1e9);
    struct frame frame = {.type = FRAME_LOAD,
                          .load = {.epoch = worker->epoch,
                                   .step = load.steps,
                                   .received = link->received,
                                   .running = load.running,
                                   .waiting = load.waiting,
                                   .pending_prefill_tokens = load.pending_prefill_tokens,
                                   .decode_tokens = load.decode_tokens,
                                   .pages_free = load.pages_free,
                                   .slots_free = link->credits,
                                   .step_ms_bound = bound_ms,
                                   .draining = worker->draining,
                                   .retractions = load.retractions}};
    link->load_sent_ms = now_ms;
    link->load = (struct load_seen){load.running, load.waiting, link->received, worker->draining,
                                    link->credits};
    send_frame(worker, link, &frame);
}

void outbox_drain(struct worker *worker)
{
    struct frame frame = {.type = FRAME_DRAIN, .drain = {.draining = worker->draining}};
    OPEN_LINKS_EACH(link, worker)
    send_frame(worker, link, &frame);
}

void outbox_bye(struct worker *worker, const char *why)
{
    struct frame frame = {.type = FRAME_BYE, .bye = {.reason = str_from(why)}};
    OPEN_LINKS_EACH(link, worker)
    send_frame(worker, link, &frame);
}
