/* outbox - what the scheduler did, told to the routers: TOKENS, ERROR, CACHE, SNAPSHOT, LOAD.
 *
 *   events ─┬─ of link A's reqs ─► one TOKENS to A
 *           └─ of link B's reqs ─► one TOKENS to B      (a router may want several steps in one)
 *   cache events ─► runs: a page whose parent is the page before it joins its run ─► CACHE to all
 *
 * Buffers are sized at init and keep their memory: a steady step allocates nothing here but the
 * bytes of frames above 1 KiB, which are given to ZeroMQ. Loop thread.
 */
#ifndef MSGL_WORKER_OUTBOX_H
#define MSGL_WORKER_OUTBOX_H

#include "common/buf.h"
#include "proto/frames.h"
#include "worker/sched/scheduler.h"

struct worker;
struct link;
struct step_result;

/* Runs being put together; page_run.hashes points into `hashes` once they are complete. */
struct run_list {
    uint64_t *hashes;
    struct page_run *runs;
    uint32_t hash_count, hash_cap, run_count, run_cap;
};

struct outbox {
    struct buf frame;
    struct tokens_item *items; /* [a step's events, or all reqs] */
    uint32_t *score_words;     /* alternatives of scores, without the gaps of the results */
    uint32_t score_word_count, score_word_cap;
    struct sched_cache_event *changes; /* [OUTBOX_CHANGES_MAX] */
    struct run_list runs;
    uint64_t cache_seq;
};
#define OUTBOX_CHANGES_MAX 4096

void outbox_init(struct worker *worker);
void outbox_release(struct worker *worker);

/* Tells the routers about the events and forgets the reqs that ended. `result`: of the step that
 * they are of; NULL when they come from no step. */
void outbox_events(struct worker *worker, const struct sched_event *events, uint32_t count,
                   const struct step_result *result);
/* Tokens that still wait for more of them: see outbox_tokens.c. */
void outbox_tokens_due(struct worker *worker, struct link *link, uint64_t now_ms);
uint64_t outbox_tokens_at_ms(const struct link *link); /* when they are; UINT64_MAX: none wait */
void outbox_cache(struct worker *worker);              /* all changes since the last call */
void outbox_snapshot(struct worker *worker, struct link *link);
void outbox_hello(struct worker *worker, struct link *link);
void outbox_load(struct worker *worker, struct link *link, uint64_t now_ms);
void outbox_error(struct worker *worker, struct link *link, const struct req_key *key,
                  enum status status, const char *text);
void outbox_drain(struct worker *worker);                /* to every open link */
void outbox_bye(struct worker *worker, const char *why); /* to every open link */

/* ---- within outbox*.c ---- */

void outbox_send(struct worker *worker, struct link *link, const struct frame *frame);
void *outbox_grow(void *array, uint32_t *cap, uint32_t need, size_t item_bytes);

/* Sending to one link may end its session, never change the list of links. */
#define OPEN_LINKS_EACH(link, worker)                                                              \
    for (uint32_t link##_i = 0; link##_i < (worker)->links.count; link##_i++)                      \
        for (struct link *link = (worker)->links.items[link##_i]; link && link_is_open(link);      \
             link = NULL)

/* For tests: appends one page, joined to the run before where it continues it. */
void run_list_add(struct run_list *list, uint64_t parent, uint64_t hash, bool removed);

#endif
