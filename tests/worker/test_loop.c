/* The whole worker but its engine, against a router that this file scripts over real sockets. */
#include "tests/worker/fake_engine.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/map.h"
#include "common/rng.h"
#include "proto/codec.h"
#include "worker/loop.h"

#define WAIT_MS 15000
#define PAGE    16

/* ---- a worker on a thread ---- */

struct running {
    struct worker_config config;
    struct worker worker;
    pthread_t thread;
    int signals[2]; /* a pipe in the place of a signalfd */
    enum status status;
    struct err err;
    char model[32];
};

/* ---- a scripted router ---- */

struct router {
    struct transport *socket;
    char peer[64];
    size_t peer_len;
    uint64_t epoch, session, received, seq;
    struct frame_hello hello;
    char worker_name[64];
    struct arena arena;
    struct frame frame; /* the last one */
    struct frame_load load;
    struct map pages; /* as CACHE and SNAPSHOT say */
    bool have_pages;
    uint64_t last_frame_ms, welcome_ms, gap_max_ms;
    bool mute; /* no WELCOMEs */
};

static struct transport_context *context;

static void *worker_main(void *arg)
{
    struct running *running = arg;
    running->status = loop_run(&running->worker, running->signals[0], &running->err);
    worker_close(&running->worker);
    return NULL;
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[96];
    FILE *file;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void start_worker(struct running *running, const char *const *endpoints, size_t count)
{
    char max_waiting[] = "12";
    const char *argv[32] = {"msgl-worker",
                            "--model",
                            running->model,
                            "--id",
                            "worker-t",
                            "--max-running",
                            "8",
                            "--max-waiting",
                            max_waiting,
                            "--drain-timeout",
                            "5",
                            "--served-model-name",
                            "m",
                            "--log-level",
                            "error"};
    int argc = 15;
    enum config_action action;
    struct err err = {.text = ""};

    memset(running, 0, sizeof(*running));
    memcpy(running->model, "/tmp/msgl-loop-XXXXXX", 22);
    ck_assert_ptr_nonnull(mkdtemp(running->model));
    write_file(running->model, "config.json", "{}");
    write_file(running->model, "tokenizer.json", "{\"a\": 1}");
    for (size_t i = 0; i < count; i++) {
        argv[argc++] = "--router";
        argv[argc++] = endpoints[i];
    }
    ck_assert_msg(worker_config_parse(argc, (char **)(uintptr_t)argv, &running->config, &action,
                                      &err) == STATUS_OK,
                  "%s", err.text);
    log_init("test", (enum log_level)running->config.log_level);
    ck_assert_int_eq(pipe2(running->signals, 04000 /* O_NONBLOCK */), 0);
    ck_assert_msg(worker_open(&running->config, NULL, NULL, &running->worker, &err) == STATUS_OK,
                  "%s", err.text);
    ck_assert_msg(links_init(&running->worker, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(pthread_create(&running->thread, NULL, worker_main, running), 0);
}

static void send_signal(struct running *running)
{
    struct signalfd_siginfo info = {.ssi_signo = SIGTERM};
    ck_assert_int_eq(write(running->signals[1], &info, sizeof(info)), sizeof(info));
}

static void end_worker(struct running *running)
{
    char command[64];
    pthread_join(running->thread, NULL);
    close(running->signals[0]);
    close(running->signals[1]);
    config_release(&worker_spec, &running->config);
    snprintf(command, sizeof(command), "rm -r %s", running->model);
    ck_assert_int_eq(system(command), 0);
}

static void stop_worker(struct running *running)
{
    send_signal(running);
    end_worker(running);
    ck_assert_msg(running->status == STATUS_OK, "%s", running->err.text);
}

static void start_router(struct router *router, const char *endpoint)
{
    struct err err = {.text = ""};
    uint64_t end = clock_now_ms() + WAIT_MS;
    memset(router, 0, sizeof(*router));
    while (transport_bind(context, endpoint, NULL, &router->socket, &err) != STATUS_OK)
        ck_assert_msg(clock_now_ms() < end, "%s", err.text);
    router->epoch = rng_os() | 1;
    arena_init(&router->arena);
    map_init(&router->pages);
}

static void end_router(struct router *router)
{
    transport_free(router->socket);
    arena_release(&router->arena);
    map_release(&router->pages);
}

static void send_raw(struct router *router, struct buf *bytes)
{
    (void)!transport_send_to(router->socket, (struct str){router->peer, router->peer_len}, bytes);
    buf_release(bytes);
}

static void send_frame(struct router *router, const struct frame *frame)
{
    struct buf bytes = {0};
    frame_encode(frame, &bytes);
    send_raw(router, &bytes);
}

static void send_welcome(struct router *router, bool want_snapshot)
{
    struct frame frame = {
        .type = FRAME_WELCOME,
        .welcome = {PROTO_VERSION, STR("r"), router->epoch, router->session, want_snapshot}};
    router->welcome_ms = clock_now_ms();
    send_frame(router, &frame);
}

static void apply_runs(struct router *router, const struct frame_cache *cache)
{
    for (uint32_t r = 0; r < cache->run_count; r++) {
        const struct page_run *run = &cache->runs[r];
        uint64_t parent = run->parent;
        for (uint32_t i = 0; i < run->count; i++) {
            uint64_t hash = page_run_hash(run, i);
            if (run->removed)
                ck_assert_msg(map_remove(&router->pages, hash), "a page left that was not there");
            else
                ck_assert_msg(map_put(&router->pages, hash, parent), "a page came twice");
            parent = hash;
        }
    }
    router->seq = cache->seq;
}

static void keep_books(struct router *router)
{
    struct frame *frame = &router->frame;
    uint64_t now_ms = clock_now_ms();

    if (frame->type == FRAME_HELLO) {
        ck_assert_uint_le(frame->hello.worker.len, sizeof(router->worker_name));
        router->hello = frame->hello;
        memcpy(router->worker_name, frame->hello.worker.data, frame->hello.worker.len);
        router->hello.worker.data = router->worker_name;
    } else if (frame->type == FRAME_LOAD) {
        router->load = frame->load;
        ck_assert_uint_eq(frame->load.epoch, router->hello.epoch);
    } else if (frame->type == FRAME_SNAPSHOT) {
        ck_assert(!frame->snapshot.request);
        if (frame->snapshot.part == 0)
            map_clear(&router->pages);
        apply_runs(router, &frame->snapshot.cache);
        router->have_pages = frame->snapshot.part + 1 == frame->snapshot.part_count;
    } else if (frame->type == FRAME_CACHE && router->have_pages) {
        ck_assert_uint_eq(frame->cache.seq, router->seq + 1);
        apply_runs(router, &frame->cache);
    }
    if (router->last_frame_ms)
        router->gap_max_ms = MAX(router->gap_max_ms, now_ms - router->last_frame_ms);
    router->last_frame_ms = now_ms;
}

/* The next frame, or NULL when none came in wait_ms. Heartbeats go out meanwhile. */
static struct frame *next_frame(struct router *router, uint64_t wait_ms)
{
    uint64_t end = clock_now_ms() + wait_ms;
    struct str peer, data;

    for (;;) {
        if (router->session && !router->mute && clock_now_ms() > router->welcome_ms + 400)
            send_welcome(router, false);
        if (transport_receive(router->socket, &peer, &data) == STATUS_OK) {
            struct err err = {.text = ""};
            ck_assert_uint_le(peer.len, sizeof(router->peer));
            memcpy(router->peer, peer.data, peer.len);
            router->peer_len = peer.len;
            arena_reset(&router->arena);
            ck_assert_msg(frame_decode(data.data, data.len, &router->arena, &router->frame, &err) ==
                              STATUS_OK,
                          "%s", err.text);
            keep_books(router);
            return &router->frame;
        }
        if (clock_now_ms() >= end)
            return NULL;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
}

/* The next frame of this type; others are passed over. */
static struct frame *await(struct router *router, enum frame_type type)
{
    uint64_t end = clock_now_ms() + WAIT_MS;
    while (clock_now_ms() < end) {
        struct frame *frame = next_frame(router, 100);
        if (frame && frame->type == type)
            return frame;
    }
    ck_abort_msg("no %s came", frame_name(type));
    return NULL;
}

static void greet(struct router *router)
{
    await(router, FRAME_HELLO);
    router->session = router->hello.session;
    send_welcome(router, true);
    await(router, FRAME_SNAPSHOT);
    await(router, FRAME_LOAD);
}

static uint32_t prompt[FAKE_CONTEXT + 10];

static struct frame generate(struct router *router, uint64_t call, uint32_t attempt,
                             uint32_t prompt_count, uint32_t tokens_max)
{
    struct frame frame = {.type = FRAME_GENERATE,
                          .generate = {.key = {router->epoch, call, 0, attempt},
                                       .tokens = token_view_of(prompt, prompt_count),
                                       .n_prompt = prompt_count,
                                       .tokens_max = tokens_max,
                                       .sampling = sampling_default()}};
    frame.generate.sampling.temperature = 0;
    frame.generate.sampling.seed = call;
    return frame;
}

/* The item of a call in a TOKENS frame, waiting for one. */
static struct tokens_item *await_item(struct router *router, uint64_t call)
{
    for (;;) {
        struct frame *frame = await(router, FRAME_TOKENS);
        ck_assert_uint_eq(frame->tokens.epoch, router->epoch);
        for (uint32_t i = 0; i < frame->tokens.item_count; i++)
            if (frame->tokens.items[i].key.call == call)
                return &frame->tokens.items[i];
    }
}

static struct frame_error *await_error(struct router *router, uint64_t call)
{
    struct frame_error *error;
    do
        error = &await(router, FRAME_ERROR)->error;
    while (error->key.call != call);
    return error;
}

/* All tokens of a call, in order and as the fake engine makes them; returns its finish. */
static enum finish collect(struct router *router, uint64_t call, uint32_t from, uint32_t *count,
                           uint32_t *cached)
{
    uint32_t n_prompt = *count, next = from;
    for (;;) {
        struct tokens_item *item = await_item(router, call);
        ck_assert_uint_eq(item->first, next);
        if (next == from)
            *cached = item->cached_tokens;
        for (uint32_t i = 0; i < item->tokens.count; i++) {
            uint32_t token;
            memcpy(&token, item->tokens.data + 4 * i, 4);
            ck_assert_uint_eq(token, (call + n_prompt + next) % FAKE_VOCAB);
            next++;
        }
        if (item->finish) {
            *count = next;
            return (enum finish)item->finish;
        }
    }
}

static struct running running;
static struct router router;

static void setup(void)
{
    const char *endpoint;
    memset(&fake, 0, sizeof(fake));
    context = transport_context_new();
    for (uint32_t i = 0; i < ARRAY_LEN(prompt); i++)
        prompt[i] = (i * 31) % FAKE_VOCAB;
    start_router(&router, "tcp://127.0.0.1:*");
    endpoint = transport_endpoint(router.socket);
    start_worker(&running, &endpoint, 1);
}

static void teardown(void)
{
    end_router(&router);
    transport_context_free(context);
}

START_TEST(says_who_it_is_until_it_is_welcomed)
{
    uint64_t first_ms;
    await(&router, FRAME_HELLO);
    first_ms = clock_now_ms();
    ck_assert(str_is(router.hello.worker, "worker-t"));
    ck_assert_uint_eq(router.hello.version, PROTO_VERSION);
    ck_assert_uint_eq(router.hello.fingerprint, model_fingerprint("{}", 2, "{\"a\": 1}", 8));
    ck_assert_uint_eq(router.hello.tokenizer_hash, hash_bytes("{\"a\": 1}", 8));
    ck_assert_uint_eq(router.hello.weights_hash, 77);
    ck_assert_uint_eq(router.hello.page_size, PAGE);
    ck_assert_uint_eq(router.hello.pages, FAKE_PAGES);
    ck_assert_uint_eq(router.hello.length_max, FAKE_CONTEXT);
    ck_assert_uint_eq(router.hello.slots, 20);
    ck_assert_uint_eq(router.hello.session, 1);
    await(&router, FRAME_HELLO);
    ck_assert_uint_ge(clock_now_ms() - first_ms, PROTO_HELLO_EVERY_MS - 200);
    ck_assert_uint_eq(router.hello.session, 1);
    router.session = 1;
    send_welcome(&router, true);
    await(&router, FRAME_SNAPSHOT);
    await(&router, FRAME_LOAD);
    ck_assert_uint_eq(router.load.slots_free, 20);
    ck_assert_uint_eq(router.load.running, 0);
    stop_worker(&running);
}
END_TEST

START_TEST(a_req_runs_and_its_pages_are_told)
{
    uint32_t count = 100, cached = 9;
    greet(&router);
    ck_assert_uint_eq(router.pages.count, 0);
    struct frame frame = generate(&router, 5, 1, 100, 40);
    send_frame(&router, &frame);
    ck_assert_int_eq(collect(&router, 5, 0, &count, &cached), FINISH_LENGTH);
    ck_assert_uint_eq(count, 40);
    ck_assert_uint_eq(cached, 0);
    while (router.pages.count < 8) /* of 139 tokens computed, 8 pages are whole */
        await(&router, FRAME_CACHE);
    frame = generate(&router, 6, 1, 100, 1);
    send_frame(&router, &frame);
    count = 100;
    ck_assert_int_eq(collect(&router, 6, 0, &count, &cached), FINISH_LENGTH);
    ck_assert_uint_eq(cached, 96);
    /* the chain of the prompt's pages is what the router computes from the tokens */
    uint64_t hash = page_hash_root(router.hello.fingerprint, 0);
    for (uint32_t page = 0; page < 6; page++) {
        uint64_t parent = hash;
        hash = page_hash_next(parent, prompt + page * PAGE, PAGE);
        ck_assert_ptr_nonnull(map_get(&router.pages, hash));
        ck_assert_uint_eq(*map_get(&router.pages, hash), parent);
    }
    ck_assert_uint_gt(fake.overlapped, 0);
    do
        await(&router, FRAME_LOAD);
    while (router.load.received != 2 || router.load.running != 0);
    stop_worker(&running);
}
END_TEST

START_TEST(a_resumed_req_goes_on_where_it_was)
{
    struct frame frame;
    uint32_t tokens[60], count = 50, cached;
    greet(&router);
    memcpy(tokens, prompt, 50 * sizeof(*tokens));
    for (uint32_t i = 50; i < 60; i++)
        tokens[i] = (7 + i) % FAKE_VOCAB;
    frame = generate(&router, 7, 3, 50, 30);
    frame.generate.tokens = token_view_of(tokens, 60);
    send_frame(&router, &frame);
    ck_assert_int_eq(collect(&router, 7, 10, &count, &cached), FINISH_LENGTH);
    ck_assert_uint_eq(count, 30);
    stop_worker(&running);
}
END_TEST

START_TEST(a_stop_token_ends_a_req)
{
    struct frame frame;
    uint32_t stop = (9 + 50 + 4) % FAKE_VOCAB, count = 50, cached;
    greet(&router);
    frame = generate(&router, 9, 1, 50, 100);
    frame.generate.stop_ids = token_view_of(&stop, 1);
    send_frame(&router, &frame);
    ck_assert_int_eq(collect(&router, 9, 0, &count, &cached), FINISH_STOP);
    ck_assert_uint_eq(count, 5); /* with the stop token */
    stop_worker(&running);
}
END_TEST

START_TEST(snapshot_equals_the_sum_of_changes)
{
    uint32_t count, cached;
    uint64_t key, value, seq;
    size_t cursor = 0;
    struct map before;
    greet(&router);
    for (uint64_t call = 1; call <= 30; call++) { /* more than the pool holds */
        struct frame frame = generate(&router, call, 1, 120, 20);
        for (uint32_t i = 40; i < 120; i++)
            prompt[i] = (uint32_t)(call * 97 + i) % FAKE_VOCAB;
        count = 120;
        send_frame(&router, &frame);
        collect(&router, call, 0, &count, &cached);
    }
    do
        await(&router, FRAME_LOAD);
    while (router.load.running != 0);
    map_init(&before);
    while (map_next(&router.pages, &cursor, &key, &value))
        map_put(&before, key, value);
    ck_assert_uint_gt(before.count, 30);
    seq = router.seq;
    struct frame ask = {.type = FRAME_SNAPSHOT, .snapshot = {.request = true}};
    send_frame(&router, &ask);
    await(&router, FRAME_SNAPSHOT);
    ck_assert_uint_eq(router.seq, seq);
    ck_assert_uint_eq(router.pages.count, before.count);
    cursor = 0;
    while (map_next(&before, &cursor, &key, &value)) {
        ck_assert_ptr_nonnull(map_get(&router.pages, key));
        ck_assert_uint_eq(*map_get(&router.pages, key), value);
    }
    map_release(&before);
    stop_worker(&running);
}
END_TEST

START_TEST(cancel_frees_the_credit)
{
    struct frame frame, cancel = {.type = FRAME_CANCEL};
    greet(&router);
    fake.step_delay_ms = 5;
    frame = generate(&router, 11, 1, 20, 400);
    send_frame(&router, &frame);
    await_item(&router, 11);
    cancel.cancel.key = frame.generate.key;
    cancel.cancel.key.attempt = 9; /* not this one */
    send_frame(&router, &cancel);
    for (int i = 0; i < 10; i++)
        ck_assert_uint_eq(await_item(&router, 11)->finish, FINISH_NONE);
    cancel.cancel.key.attempt = 1;
    send_frame(&router, &cancel);
    while (await_item(&router, 11)->finish == FINISH_NONE)
        continue;
    do
        await(&router, FRAME_LOAD);
    while (router.load.slots_free != 20);
    stop_worker(&running);
}
END_TEST

START_TEST(bad_reqs_get_an_error)
{
    uint32_t bad_token = FAKE_VOCAB;
    struct frame frame;
    greet(&router);
    frame = generate(&router, 1, 1, FAKE_CONTEXT + 1, 5);
    send_frame(&router, &frame);
    ck_assert_uint_eq(await_error(&router, 1)->status, STATUS_TOO_LONG);
    frame = generate(&router, 2, 1, 1, 5);
    frame.generate.tokens = token_view_of(&bad_token, 1);
    send_frame(&router, &frame);
    ck_assert_uint_eq(await_error(&router, 2)->status, STATUS_INVALID);
    frame = generate(&router, 3, 1, 1, 5);
    frame.generate.sampling.presence_penalty = 1;
    send_frame(&router, &frame);
    ck_assert_uint_eq(await_error(&router, 3)->status, STATUS_UNSUPPORTED);
    frame = generate(&router, 4, 1, 1, 5);
    frame.generate.automaton = STR("x");
    send_frame(&router, &frame);
    ck_assert_uint_eq(await_error(&router, 4)->status, STATUS_UNSUPPORTED);
    fake.step_delay_ms = 20;
    uint32_t full = 0;
    for (uint64_t call = 100; call < 140; call++) {
        frame = generate(&router, call, 1, 4, 400);
        send_frame(&router, &frame);
    }
    for (uint64_t end = clock_now_ms() + WAIT_MS; full < 20 && clock_now_ms() < end;) {
        struct frame *got = next_frame(&router, 100);
        if (got && got->type == FRAME_ERROR) {
            ck_assert_uint_eq(got->error.status, STATUS_QUEUE_FULL);
            full++;
        }
    }
    ck_assert_uint_eq(full, 20);
    fake.step_delay_ms = 0;
    stop_worker(&running);
}
END_TEST

START_TEST(a_deadline_ends_a_req)
{
    struct frame frame;
    greet(&router);
    fake.step_delay_ms = 20;
    frame = generate(&router, 1, 1, 20, 400);
    frame.generate.deadline_ms = 300;
    send_frame(&router, &frame);
    ck_assert_uint_eq(await_error(&router, 1)->status, STATUS_TIMEOUT);
    do
        await(&router, FRAME_LOAD);
    while (router.load.slots_free != 20);
    stop_worker(&running);
}
END_TEST

START_TEST(a_newer_attempt_ends_the_older)
{
    struct frame frame;
    bool old_ended = false, new_runs = false;
    greet(&router);
    fake.step_delay_ms = 5;
    frame = generate(&router, 1, 2, 20, 300);
    send_frame(&router, &frame);
    await_item(&router, 1);
    send_frame(&router, &frame); /* again, and an older one: dropped */
    frame.generate.key.attempt = 1;
    send_frame(&router, &frame);
    frame.generate.key.attempt = 3;
    send_frame(&router, &frame);
    while (!old_ended || !new_runs) {
        struct tokens_item *item = await_item(&router, 1);
        ck_assert(item->key.attempt == 2 || item->key.attempt == 3);
        if (item->key.attempt == 2 && item->finish) {
            ck_assert_uint_eq(item->finish, FINISH_CANCEL);
            old_ended = true;
        } else if (item->key.attempt == 3) {
            new_runs = true;
        }
    }
    do
        await(&router, FRAME_LOAD);
    while (router.load.received != 4 || router.load.running != 1);
    fake.step_delay_ms = 0;
    stop_worker(&running);
}
END_TEST

START_TEST(junk_frames_change_nothing)
{
    uint64_t rng = rng_os();
    uint32_t count = 30, cached;
    greet(&router);
    struct frame frame = generate(&router, 1, 1, 30, 200);
    send_frame(&router, &frame);
    for (int n = 0; n < 2000; n++) {
        struct buf junk = {0};
        if (n % 2) { /* a damaged frame of ours */
            frame = generate(&router, 2 + (uint64_t)n, 1, 8, 1);
            frame_encode(&frame, &junk);
            junk.data[rng_below(&rng, junk.len)] = (char)rng_next(&rng);
            junk.len -= rng_below(&rng, 3);
        } else {
            for (uint64_t i = rng_below(&rng, 40); i > 0; i--)
                buf_char(&junk, (char)rng_next(&rng));
        }
        send_raw(&router, &junk);
    }
    ck_assert_int_eq(collect(&router, 1, 0, &count, &cached), FINISH_LENGTH);
    ck_assert_uint_eq(count, 200);
    ck_assert_uint_eq(router.hello.session, 1);
    stop_worker(&running);
}
END_TEST

START_TEST(a_restarted_router_is_greeted_anew)
{
    char endpoint[64];
    uint64_t worker_epoch;
    uint32_t count = 30, cached;
    greet(&router);
    worker_epoch = router.hello.epoch;
    fake.step_delay_ms = 10;
    struct frame frame = generate(&router, 1, 1, 30, 400);
    send_frame(&router, &frame);
    await_item(&router, 1);
    snprintf(endpoint, sizeof(endpoint), "%s", transport_endpoint(router.socket));
    end_router(&router);
    start_router(&router, endpoint);
    greet(&router); /* the HELLO comes unasked: the connection broke */
    ck_assert_uint_eq(router.hello.epoch, worker_epoch);
    ck_assert_uint_ge(router.hello.session, 2);
    do
        await(&router, FRAME_LOAD);
    while (router.load.running != 0); /* the old router's req is gone */
    fake.step_delay_ms = 0;
    frame = generate(&router, 1, 1, 30, 10);
    send_frame(&router, &frame);
    ck_assert_int_eq(collect(&router, 1, 0, &count, &cached), FINISH_LENGTH);
    stop_worker(&running);
}
END_TEST

START_TEST(forgotten_or_other_epoch_means_a_new_session)
{
    struct frame unknown = {.type = FRAME_ERROR,
                            .error = {.status = STATUS_NOT_FOUND, .text = STR("say HELLO first")}};
    greet(&router);
    send_frame(&router, &unknown);
    greet(&router);
    ck_assert_uint_eq(router.hello.session, 2);
    router.epoch += 2;
    send_welcome(&router, false);
    greet(&router);
    ck_assert_uint_eq(router.hello.session, 3);
    struct frame bye = {.type = FRAME_BYE};
    send_frame(&router, &bye);
    greet(&router);
    ck_assert_uint_eq(router.hello.session, 4);
    stop_worker(&running);
}
END_TEST

START_TEST(a_refused_worker_asks_again)
{
    struct frame refuse = {.type = FRAME_ERROR,
                           .error = {.status = STATUS_CONFLICT, .text = STR("another version")}};
    uint64_t refused_ms;
    await(&router, FRAME_HELLO);
    send_frame(&router, &refuse);
    refused_ms = clock_now_ms();
    await(&router, FRAME_HELLO);
    ck_assert_uint_ge(clock_now_ms() - refused_ms, PROTO_REFUSED_EVERY_MS - 500);
    greet(&router);
    stop_worker(&running);
}
END_TEST

START_TEST(a_silent_router_is_given_up)
{
    struct frame frame;
    uint64_t silent_ms;
    greet(&router);
    fake.step_delay_ms = 10;
    frame = generate(&router, 1, 1, 30, 480);
    send_frame(&router, &frame);
    router.mute = true;
    silent_ms = clock_now_ms();
    await(&router, FRAME_HELLO);
    ck_assert_uint_ge(clock_now_ms() - silent_ms, PROTO_ROUTER_DEAD_MS - 600);
    ck_assert_uint_eq(router.hello.session, 2);
    router.mute = false;
    greet(&router);
    do
        await(&router, FRAME_LOAD);
    while (router.load.running != 0);
    stop_worker(&running);
}
END_TEST

START_TEST(heartbeats_go_on_while_a_step_runs)
{
    struct frame frame;
    bool bound = false;
    greet(&router);
    fake.step_delay_ms = 2500;
    frame = generate(&router, 1, 1, 30, 1);
    send_frame(&router, &frame);
    router.gap_max_ms = 0;
    for (;;) {
        struct frame *got = next_frame(&router, 3000);
        ck_assert_ptr_nonnull(got);
        bound |= got->type == FRAME_LOAD && got->load.step_ms_bound > 0;
        if (got->type == FRAME_TOKENS)
            break;
    }
    ck_assert(bound);
    ck_assert_uint_lt(router.gap_max_ms, 1000);
    stop_worker(&running);
}
END_TEST

START_TEST(drain_finishes_what_runs)
{
    struct frame frame;
    greet(&router);
    fake.step_delay_ms = 5;
    frame = generate(&router, 1, 1, 30, 100);
    send_frame(&router, &frame);
    await_item(&router, 1);
    send_signal(&running);
    ck_assert(await(&router, FRAME_DRAIN)->drain.draining);
    frame = generate(&router, 2, 1, 30, 100);
    send_frame(&router, &frame);
    bool refused = false;
    enum finish finish = FINISH_NONE;
    for (uint64_t end = clock_now_ms() + WAIT_MS; clock_now_ms() < end;) {
        struct frame *got = next_frame(&router, 100);
        if (got && got->type == FRAME_ERROR)
            refused |= got->error.key.call == 2 && got->error.status == STATUS_UNAVAILABLE;
        if (got && got->type == FRAME_TOKENS)
            finish = (enum finish)got->tokens.items[0].finish;
        if (got && got->type == FRAME_BYE)
            break;
    }
    ck_assert(refused);
    ck_assert_int_eq(finish, FINISH_LENGTH);
    ck_assert_int_eq(router.frame.type, FRAME_BYE);
    end_worker(&running);
    ck_assert_int_eq(running.status, STATUS_OK);
}
END_TEST

START_TEST(a_second_signal_ends_at_once)
{
    struct frame frame;
    greet(&router);
    fake.step_delay_ms = 50;
    frame = generate(&router, 1, 1, 30, 400);
    send_frame(&router, &frame);
    await_item(&router, 1);
    send_signal(&running);
    await(&router, FRAME_DRAIN);
    send_signal(&running);
    end_worker(&running);
    ck_assert_int_eq(running.status, STATUS_CANCELLED);
}
END_TEST

START_TEST(a_broken_engine_is_told)
{
    struct frame frame;
    greet(&router);
    fake.step_delay_ms = 5;
    frame = generate(&router, 1, 1, 30, 400);
    send_frame(&router, &frame);
    await_item(&router, 1);
    fake.broken = true;
    ck_assert_uint_eq(await_error(&router, 1)->status, STATUS_INTERNAL);
    await(&router, FRAME_BYE);
    end_worker(&running);
    ck_assert_int_eq(running.status, STATUS_INTERNAL);
    ck_assert_str_eq(running.err.text, "the fake engine is broken");
}
END_TEST

/* Two hundred steps: what is allocated meanwhile is this file's own (a few for each WELCOME). */
START_TEST(a_steady_step_allocates_nothing)
{
    struct frame frame;
    uint64_t before = 0, welcomes_ms = 0;
    greet(&router);
    fake.step_delay_ms = 1;
    frame = generate(&router, 1, 1, 30, 300);
    send_frame(&router, &frame);
    for (;;) {
        struct tokens_item *item = await_item(&router, 1);
        if (item->first == 50) {
            before = mem_alloc_count();
            welcomes_ms = clock_now_ms();
        } else if (item->first == 250) {
            break;
        }
    }
    ck_assert_uint_lt(mem_alloc_count() - before, 20 + (clock_now_ms() - welcomes_ms) / 100);
    fake.step_delay_ms = 0;
    stop_worker(&running);
}
END_TEST

/* Two routers share one worker: each gets its own tokens and the same cache. */
START_TEST(two_routers)
{
    static struct router other;
    const char *endpoints[2];
    uint32_t count = 40, cached;

    stop_worker(&running);
    start_router(&other, "tcp://127.0.0.1:*");
    endpoints[0] = transport_endpoint(router.socket);
    endpoints[1] = transport_endpoint(other.socket);
    start_worker(&running, endpoints, 2);
    while (next_frame(&router, 50)) /* the first worker's last words */
        continue;
    greet(&router);
    greet(&other);
    struct frame a = generate(&router, 1, 1, 40, 50), b = generate(&other, 1, 1, 40, 50);
    send_frame(&router, &a);
    ck_assert_int_eq(collect(&router, 1, 0, &count, &cached), FINISH_LENGTH);
    send_frame(&other, &b); /* the same call number: another router's req */
    count = 40;
    ck_assert_int_eq(collect(&other, 1, 0, &count, &cached), FINISH_LENGTH);
    ck_assert_uint_eq(cached, 32); /* computed for the first */
    for (int i = 0; i < 3; i++) {
        await(&router, FRAME_LOAD);
        await(&other, FRAME_LOAD);
    }
    ck_assert_uint_eq(router.seq, other.seq);
    ck_assert_uint_eq(router.pages.count, other.pages.count);
    ck_assert_uint_eq(router.load.received, 1);
    ck_assert_uint_eq(other.load.received, 1);
    stop_worker(&running);
    end_router(&other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("loop");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, says_who_it_is_until_it_is_welcomed);
    tcase_add_test(tc, a_req_runs_and_its_pages_are_told);
    tcase_add_test(tc, a_resumed_req_goes_on_where_it_was);
    tcase_add_test(tc, a_stop_token_ends_a_req);
    tcase_add_test(tc, snapshot_equals_the_sum_of_changes);
    tcase_add_test(tc, cancel_frees_the_credit);
    tcase_add_test(tc, bad_reqs_get_an_error);
    tcase_add_test(tc, a_deadline_ends_a_req);
    tcase_add_test(tc, a_newer_attempt_ends_the_older);
    tcase_add_test(tc, junk_frames_change_nothing);
    tcase_add_test(tc, a_restarted_router_is_greeted_anew);
    tcase_add_test(tc, forgotten_or_other_epoch_means_a_new_session);
    tcase_add_test(tc, a_refused_worker_asks_again);
    tcase_add_test(tc, a_silent_router_is_given_up);
    tcase_add_test(tc, heartbeats_go_on_while_a_step_runs);
    tcase_add_test(tc, drain_finishes_what_runs);
    tcase_add_test(tc, a_second_signal_ends_at_once);
    tcase_add_test(tc, a_broken_engine_is_told);
    tcase_add_test(tc, a_steady_step_allocates_nothing);
    tcase_add_test(tc, two_routers);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
