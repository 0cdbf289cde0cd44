#include "worker/outbox.h"

#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "proto/codec.h"
#include "worker/worker.h"

#define SNAPSHOT_RUNS_MAX  4096u        /* of one part */
#define SNAPSHOT_PAGES_MAX (256u << 10) /* of one part: 2 MiB, sent in one go */

void outbox_init(struct worker *worker)
{
    struct outbox *outbox = &worker->outbox;
    outbox->items = mem_array(MAX(worker->event_max, worker->reqs.cap), sizeof(*outbox->items));
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

void outbox_send(struct worker *worker, struct link *link, const struct frame *frame)
{
    struct buf *bytes = &worker->outbox.frame;
    buf_clear(bytes);
    frame_encode(frame, bytes);
    link_send(worker, link, bytes);
}

void outbox_error(struct worker *worker, struct link *link, const struct req_key *key,
                  enum status status, const char *text)
{
    struct frame frame = {.type = FRAME_ERROR,
                          .error = {.key = *key, .status = status, .text = str_from(text)}};
    outbox_send(worker, link, &frame);
}

void *outbox_grow(void *array, uint32_t *cap, uint32_t need, size_t item_bytes)
{
    if (need <= *cap)
        return array;
    *cap = MAX(need, MAX(*cap * 2, 1024u));
    return mem_realloc(array, *cap * item_bytes);
}

/* ---- cache ---- */

void run_list_add(struct run_list *list, uint64_t parent, uint64_t hash, bool removed)
{
    struct page_run *last = list->run_count ? &list->runs[list->run_count - 1] : NULL;
    bool joins = last && last->removed == removed &&
                 (removed || list->hashes[list->hash_count - 1] == parent);

    list->hashes =
        outbox_grow(list->hashes, &list->hash_cap, list->hash_count + 1, sizeof(*list->hashes));
    list->hashes[list->hash_count++] = hash;
    if (joins) {
        last->count++;
        return;
    }
    list->runs = outbox_grow(list->runs, &list->run_cap, list->run_count + 1, sizeof(*list->runs));
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
        outbox_send(worker, link, &frame);
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
    for (uint32_t part = 0; part < parts && link_is_open(link); part++) {
        uint32_t end = part_end(list, run);
        struct frame frame = {.type = FRAME_SNAPSHOT,
                              .snapshot = {.part = part,
                                           .part_count = parts,
                                           .cache = {.epoch = worker->epoch,
                                                     .seq = outbox->cache_seq,
                                                     .runs = list->runs + run,
                                                     .run_count = end - run}}};
        outbox_send(worker, link, &frame);
        run = end;
    }
}

void outbox_snapshot(struct worker *worker, struct link *link)
{
    outbox_cache(worker); /* so that the snapshot is as of the last CACHE */
    if (link_is_open(link))
        send_snapshot(worker, link);
}

/* ---- greetings and load ---- */

void outbox_hello(struct worker *worker, struct link *link)
{
    struct frame frame = {.type = FRAME_HELLO, .hello = worker->hello};
    frame.hello.session = link->session;
    outbox_send(worker, link, &frame);
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
    outbox_send(worker, link, &frame);
}

void outbox_drain(struct worker *worker)
{
    struct frame frame = {.type = FRAME_DRAIN, .drain = {.draining = worker->draining}};
    OPEN_LINKS_EACH(link, worker)
        outbox_send(worker, link, &frame);
}

void outbox_bye(struct worker *worker, const char *why)
{
    struct frame frame = {.type = FRAME_BYE, .bye = {.reason = str_from(why)}};
    OPEN_LINKS_EACH(link, worker)
        outbox_send(worker, link, &frame);
}
