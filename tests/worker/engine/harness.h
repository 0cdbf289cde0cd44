/* harness - a scheduler and its engines (one for each rank) as the worker's loop drives them, without
 * sockets. Header only, as fixture.h. */
#ifndef MSGL_TESTS_WORKER_ENGINE_HARNESS_H
#define MSGL_TESTS_WORKER_ENGINE_HARNESS_H

#include "tests/worker/engine/fixture.h"
#include "worker/sched/scheduler.h"

#include <pthread.h>

#define HARNESS_REQS_MAX  16
#define HARNESS_RANKS_MAX 4

/* What a client asks, and what comes back. */
struct harness_req {
    uint32_t prompt[FIXTURE_TOKENS_MAX]; /* earlier attempts' tokens follow the prompt */
    uint32_t token_count, prompt_count, tokens_max;
    struct sampling sampling;
    uint32_t tokens_min;                       /* not 0: harness_stops are stop tokens */
    uint32_t logprobs, score_from, bias_count; /* as in req_spec */
    uint32_t bias[8];
    float out_logprobs[FIXTURE_TOKENS_MAX], scores[FIXTURE_TOKENS_MAX];
    uint32_t score_count;
    uint32_t arrive_step; /* added before this step is planned */
    uint32_t out[FIXTURE_TOKENS_MAX], out_count;
    bool done;
};

#define HARNESS_STOPS 50
/* 2 and what follows: a good part of a small vocabulary, so that a ban shows. */
static inline uint32_t harness_stop(uint32_t i)
{
    return 2 + i;
}

/* How the worker runs; answers must not depend on any of it. */
struct harness_way {
    const char *name;
    uint32_t page_size, slots, pages, step_tokens, chunk_tokens, tp;
    bool cache, overlap, groups, one_by_one;
    bool pad; /* decode steps, as for graphs */
};

struct harness {
    struct engine *engines[HARNESS_RANKS_MAX];
    uint32_t tp;
    struct scheduler *scheduler;
    struct sched_event *events;
    void *block;
    uint64_t tickets[ENGINE_IN_FLIGHT], steps, committed, cached_tokens;
};

struct harness_open {
    struct engine_opts opts;
    struct engine *engine;
};

static void *harness_open_thread(void *arg)
{
    struct harness_open *open = arg;
    open->engine = fixture_engine(&open->opts);
    return NULL;
}

/* Ranks meet while they open, so each opens on a thread of its own. */
static UNUSED void harness_init(struct harness *h, const char *dir, bool dummy, uint64_t seed,
                                const struct harness_way *way)
{
    struct harness_open opens[HARNESS_RANKS_MAX];
    pthread_t threads[HARNESS_RANKS_MAX];
    char comm[64];
    snprintf(comm, sizeof(comm), "msgl_test_%d_%s", (int)getpid(), way->name);
    *h = (struct harness){.tp = way->tp ? way->tp : 1};
    for (uint32_t i = 0; i < h->tp; i++) {
        opens[i].opts = fixture_opts(dir, dummy, seed);
        opens[i].opts.page_size = way->page_size;
        opens[i].opts.slots = way->slots;
        opens[i].opts.step_tokens_max = way->step_tokens;
        opens[i].opts.pad_decode = way->pad;
        opens[i].opts.rank = (int)i;
        opens[i].opts.tp = (int)h->tp;
        opens[i].opts.comm = h->tp > 1 ? comm : NULL;
        opens[i].opts.threads = h->tp > 1 ? 1 : 2;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, harness_open_thread, &opens[i]), 0);
    }
    for (uint32_t i = 0; i < h->tp; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        h->engines[i] = opens[i].engine;
    }
    const struct engine_info *info = engine_info(h->engines[0]);
    struct sched_opts opts = {
        .pages = way->pages ? MIN(way->pages, info->pages) : info->pages,
        .page_size = way->page_size,
        .slots = way->slots,
        .waiting_max = HARNESS_REQS_MAX,
        .context_max =
            MIN(info->context_max, (way->pages ? way->pages : info->pages) * way->page_size),
        .step_tokens = way->step_tokens,
        .chunk_tokens = way->chunk_tokens,
        .step_us = info->step_us,
        .prefill_us_per_token = info->prefill_us_per_token,
        .decode_us_per_row = info->decode_us_per_row,
        .cache = way->cache,
        .prefix_groups = way->groups,
        .age_ms = 1000,
    };
    struct err err = {0};
    ck_assert_msg(scheduler_new(&opts, &h->scheduler, &err) == STATUS_OK, "%s", err.text);
    h->events = mem_array(scheduler_event_max(h->scheduler), sizeof(*h->events));
    h->block = mem_aligned(ROUND_UP(step_packet_bytes_max(&info->limits), 64u), 64);
}

static UNUSED void harness_release(struct harness *h)
{
    scheduler_free(h->scheduler);
    for (uint32_t i = 0; i < h->tp; i++)
        engine_close(h->engines[i]);
    mem_free(h->events);
    mem_free(h->block);
}

static void harness_take_results(struct harness_req *req, const struct sched_event *event,
                                 const struct step_result *result)
{
    if (event->has_token && req->logprobs)
        req->out_logprobs[req->out_count - 1] = result->logprobs[event->sample];
    for (uint32_t i = 0; i < event->score_count; i++) {
        ck_assert_uint_eq(event->score_index + i, req->score_from + req->score_count);
        req->scores[req->score_count++] =
            result->logprobs[result->sample_count + event->score_first + i];
    }
}

static void harness_take_events(struct harness *h, struct harness_req *reqs, uint32_t count,
                                const struct step_result *result)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sched_event *event = &h->events[i];
        struct harness_req *req = &reqs[event->user];
        ck_assert(!req->done);
        if (event->has_token) {
            ck_assert_uint_eq(event->index, req->token_count - req->prompt_count + req->out_count);
            req->out[req->out_count++] = event->token;
        }
        if (result)
            harness_take_results(req, event, result);
        h->cached_tokens += event->cached_tokens;
        req->done = event->finish != SCHED_RUNNING;
    }
}

static void harness_add(struct harness *h, struct harness_req *req, uint64_t user)
{
    struct err err = {0};
    uint32_t stops[HARNESS_STOPS];
    for (uint32_t i = 0; i < HARNESS_STOPS; i++)
        stops[i] = harness_stop(i);
    uint64_t id = 0;
    struct req_spec spec = {
        .user = user,
        .tokens = req->prompt,
        .token_count = req->token_count,
        .prompt_count = req->prompt_count,
        .tokens_max = req->tokens_max,
        .stop_ids = stops,
        .stop_id_count = HARNESS_STOPS,
        .ignore_eos = req->tokens_min == 0,
        .tokens_min = req->tokens_min,
        .sampling = req->sampling,
        .logprobs = req->logprobs,
        .score_from = req->score_from,
        .bias = req->bias,
        .bias_count = req->bias_count,
    };
    ck_assert_msg(scheduler_add(h->scheduler, &spec, h->steps, &id, &err) == STATUS_OK, "%s",
                  err.text);
}

/* Plans and submits to every rank; false when there is nothing to compute. */
static bool harness_submit(struct harness *h, struct harness_req *reqs)
{
    struct err err = {0};
    uint32_t count = scheduler_event_max(h->scheduler);
    const struct step_packet *packet =
        scheduler_plan(h->scheduler, h->steps, h->block, h->events, &count);
    harness_take_events(h, reqs, count, NULL);
    if (packet == NULL)
        return false;
    for (uint32_t i = 0; i < h->tp; i++)
        ck_assert_msg(engine_submit(h->engines[i], packet, &h->tickets[h->steps % 2], &err) ==
                          STATUS_OK,
                      "%s", err.text);
    h->steps++;
    return true;
}

static void harness_commit(struct harness *h, struct harness_req *reqs)
{
    struct err err = {0};
    struct step_result results[HARNESS_RANKS_MAX];
    for (uint32_t i = 0; i < h->tp; i++) {
        ck_assert_msg(engine_wait(h->engines[i], h->tickets[h->committed % 2], &results[i], &err) ==
                          STATUS_OK,
                      "%s", err.text);
        ck_assert_uint_eq(results[i].sample_count, results[0].sample_count);
        for (uint32_t j = 0; j < results[0].sample_count; j++)
            ck_assert_uint_eq(results[i].tokens[j], results[0].tokens[j]);
    }
    uint32_t count = scheduler_event_max(h->scheduler);
    scheduler_commit(h->scheduler, results[0].tokens, results[0].sample_count, h->steps,
                     results[0].device_ns, h->events, &count);
    h->committed++;
    harness_take_events(h, reqs, count, &results[0]);
}

/* Runs all reqs to their ends. */
static UNUSED void harness_run(struct harness *h, struct harness_req *reqs, uint32_t req_count,
                               const struct harness_way *way)
{
    uint32_t added = 0;
    uint64_t first_step = h->steps;
    uint32_t depth = way->overlap ? ENGINE_IN_FLIGHT : 1;
    struct err err = {0};
    for (;;) {
        bool idle = h->steps == h->committed && !scheduler_runnable(h->scheduler);
        while (
            added < req_count &&
            (way->one_by_one ? idle : idle || h->steps - first_step >= reqs[added].arrive_step)) {
            harness_add(h, &reqs[added], added);
            added++;
            idle = false;
        }
        while (h->steps - h->committed < depth && harness_submit(h, reqs))
            ;
        if (h->steps == h->committed && added == req_count)
            break;
        if (h->steps > h->committed)
            harness_commit(h, reqs);
    }
    for (uint32_t i = 0; i < req_count; i++)
        ck_assert_msg(reqs[i].done, "%s: req %u never ended", way->name, i);
    ck_assert_msg(scheduler_check(h->scheduler, &err), "%s: %s", way->name, err.text);
}

#endif
