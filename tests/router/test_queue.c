/* The queue alone: who dispatches, answers and what time it is are played here. */
#include "router/queue.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/rng.h"
#include "router/telemetry.h"

#define CALLS 400
#define KEYS  5

static struct {
    struct router router;
    struct model models[2];
    struct api_key keys[KEYS];
    struct call calls[CALLS];
    struct stream streams[CALLS];
    uint32_t count;
    uint64_t now_ns, step_ns; /* the clock, and what each look at it takes */
    int failed;               /* calls that were answered with an error */
    uint32_t slots[2];        /* free, of each model */
    uint64_t asked;           /* calls of stream_dispatch */
    struct stream *nowhere;   /* finds no worker that could ever run it */
    struct call *sent[CALLS];
    uint32_t sent_count;
} world;

uint64_t clock_now_ns(void)
{
    return world.now_ns += world.step_ns;
}

uint64_t clock_unix_ms(void)
{
    return 0;
}

static size_t model_of(const struct call *call)
{
    return (size_t)(call->model - world.models);
}

enum dispatch stream_dispatch(struct stream *stream)
{
    uint32_t *slots = &world.slots[model_of(stream->call)];
    world.asked++;
    ck_assert_int_eq(stream->state, STREAM_QUEUED);
    if (stream == world.nowhere)
        return DISPATCH_NOWHERE;
    if (*slots == 0)
        return DISPATCH_FULL;
    (*slots)--;
    queue_remove(stream);
    queue_line_of(stream->call)->running++;
    stream->state = STREAM_RUNNING;
    stream->attempt++;
    world.sent[world.sent_count++] = stream->call;
    return DISPATCH_SENT;
}

void call_fail(struct call *call, const struct api_error *error)
{
    world.failed++;
    for (uint32_t i = 0; i < call->stream_count; i++) {
        if (call->streams[i].state == STREAM_QUEUED)
            queue_remove(&call->streams[i]);
        call->streams[i].state = STREAM_DONE;
    }
}

static enum status on_send(void *ctx, struct str peer, const struct frame *frame)
{
    return STATUS_OK;
}

/* What router/frames_in.c does: the dead worker's streams wait for another. */
static void on_ended(void *ctx, struct worker *worker, const char *reason)
{
    while (!list_empty(&worker->streams)) {
        struct stream *stream = LIST_ITEM(worker->streams.prev, struct stream, worker_node);
        list_remove(&stream->worker_node);
        worker->stream_count--;
        queue_add(stream);
    }
}

static void on_worker(void *ctx, struct worker *worker)
{
}

static const struct fleet_ops ops = {on_send, on_ended, on_worker, on_worker, on_worker};

static void begin(void)
{
    struct router *router = &world.router;
    static char names[][8] = {"toy", "other"};
    memset(&world, 0, sizeof(world));
    world.now_ns = 1000000000;
    for (size_t m = 0; m < 2; m++)
        world.models[m].name = names[m];
    for (size_t k = 0; k < KEYS; k++)
        queue_line_init(&world.keys[k].line);
    router->models = (struct models){world.models, 2};
    router->config =
        (struct router_config){.queue_max = CALLS, .queue_wait_s = 120, .failover_wait_s = 5};
    router->metrics = telemetry_new();
    queue_init(&router->queue);
    fleet_init(&router->fleet, &router->models, "router", 1, &ops, NULL);
}

static void end(void)
{
    fleet_release(&world.router.fleet);
    metrics_free(world.router.metrics);
}

static struct worker *join(const char *name, size_t model)
{
    struct frame_hello hello = {.version = PROTO_VERSION,
                                .worker = str_from(name),
                                .epoch = 5,
                                .session = 1,
                                .model = str_from(world.models[model].name),
                                .page_size = 16,
                                .length_max = 1000,
                                .pages = 100,
                                .tp = 1,
                                .slots = 4};
    fleet_hello(&world.router.fleet, str_from(name), &hello, clock_now_ms());
    return fleet_sender(&world.router.fleet, str_from(name), clock_now_ms());
}

/* Of one stream; `key` below 0: of nobody's. */
static struct stream *make(size_t model, int key, uint32_t attempt)
{
    struct call *call = &world.calls[world.count];
    struct stream *stream = &world.streams[world.count++];
    *call = (struct call){.router = &world.router,
                          .id = world.count,
                          .model = &world.models[model],
                          .key = key < 0 ? NULL : &world.keys[key],
                          .streams = stream,
                          .stream_count = 1,
                          .began_ns = world.now_ns,
                          .limit_ms = 600000};
    *stream = (struct stream){.call = call, .attempt = attempt, .state = STREAM_DONE};
    list_init(&stream->queue_node);
    list_init(&stream->lane_node);
    list_init(&stream->worker_node);
    return stream;
}

static struct stream *add(size_t model, int key, uint32_t attempt)
{
    struct stream *stream = make(model, key, attempt);
    queue_add(stream);
    return stream;
}

static void pump(uint32_t slots, uint32_t others)
{
    world.slots[0] = slots;
    world.slots[1] = others;
    world.sent_count = 0;
    queue_pump(&world.router);
}

START_TEST(test_lost_in_the_tick_that_looks_through_the_queue)
{
    begin();
    struct worker *worker = join("a", 0);
    struct stream *stream = make(0, -1, 1);
    stream->state = STREAM_RUNNING;
    list_append(&worker->streams, &stream->worker_node);
    worker->stream_count++;
    world.now_ns += (uint64_t)3 * PROTO_WORKER_DEAD_MS * 1000000u;
    world.step_ns = 1000000; /* a slow machine: time goes on within the tick, as in router.c's */
    world.router.fleet.ticked_ms = clock_now_ms();
    uint64_t now_ms = clock_now_ms(); /* all of the tick used to go by this */
    fleet_tick(&world.router.fleet, now_ms);
    ck_assert_int_eq(stream->state, STREAM_QUEUED);
    queue_pump(&world.router);
    queue_expire(&world.router);
    ck_assert_int_eq(world.failed, 0);
    ck_assert_uint_eq(world.router.queue.count, 1);
    world.now_ns += (uint64_t)5000 * 1000000u; /* --failover-wait-s */
    queue_expire(&world.router);
    ck_assert_int_eq(world.failed, 1);
    end();
}
END_TEST

START_TEST(test_order)
{
    begin();
    add(0, 0, 0), add(0, 0, 0), add(0, 1, 0), add(0, -1, 0), add(0, 1, 0);
    add(0, 0, 2), add(0, 1, 1); /* lost: the last first */
    ck_assert_uint_eq(world.router.queue.count, 7);
    pump(2, 9);
    ck_assert(world.sent_count == 2 && world.sent[0]->id == 7 && world.sent[1]->id == 6);
    ck_assert_uint_eq(world.asked, 3);
    /* alice and bob hold one each, nobody none: nobody, then those who were served longest ago */
    pump(9, 9);
    uint64_t want[] = {4, 3, 1, 5, 2};
    ck_assert_uint_eq(world.sent_count, 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_uint_eq(world.sent[i]->id, want[i]);
    ck_assert_uint_eq(world.router.queue.count, 0);
    ck_assert(list_empty(&world.router.queue.lines));
    end();
}
END_TEST

START_TEST(test_a_full_model_holds_nobody_up)
{
    begin();
    for (int i = 0; i < 100; i++)
        add(0, 0, i % 2);
    struct stream *first = add(1, 0, 0), *second = add(1, 0, 1);
    pump(0, 1);
    ck_assert(world.sent_count == 1 && world.sent[0] == second->call);
    ck_assert_uint_eq(world.asked, 3);
    pump(0, 1);
    ck_assert(world.sent_count == 1 && world.sent[0] == first->call);
    end();
}
END_TEST

START_TEST(test_who_finds_no_worker_holds_nobody_up)
{
    begin();
    world.nowhere = add(0, 0, 0);
    add(0, 0, 0), add(0, 1, 0);
    pump(9, 9);
    ck_assert_uint_eq(world.sent_count, 2);
    ck_assert_uint_eq(world.asked, 3); /* once a round */
    world.nowhere = NULL;
    pump(9, 9);
    ck_assert_uint_eq(world.sent_count, 1);
    end();
}
END_TEST

START_TEST(test_free_slots_are_counted_by_model)
{
    begin();
    join("a", 0), join("b", 1); /* 4 slots each */
    for (int i = 0; i < 10; i++)
        add(0, 0, 0);
    struct call *busy = make(0, 1, 0)->call, *idle = make(1, 1, 0)->call;
    ck_assert_uint_eq(queue_surplus(busy, 3), 3);
    ck_assert_uint_eq(queue_surplus(idle, 3), 0); /* though ten wait for the other model's slots */
    ck_assert_uint_eq(queue_surplus(idle, 6), 2);
    add(1, 0, 1);
    ck_assert_uint_eq(queue_surplus(idle, 4), 1);
    end();
}
END_TEST

START_TEST(test_the_longest_line_is_pushed_out)
{
    begin();
    world.router.config.queue_max = 10;
    for (int i = 0; i < 7; i++)
        add((size_t)(i % 2), 0, 0); /* of both models */
    add(0, 1, 0), add(0, 1, 0), add(0, 1, 3);
    struct call *call = make(0, 2, 0)->call;
    ck_assert(queue_takes(call, 1) && queue_takes(call, 3) && !queue_takes(call, 4));
    queue_push_out(call, 2);
    ck_assert_int_eq(world.failed, 2);
    ck_assert_int_eq(world.streams[6].state, STREAM_DONE);
    ck_assert_int_eq(world.streams[5].state, STREAM_DONE);
    ck_assert_uint_eq(world.router.queue.count, 8);
    world.now_ns += (uint64_t)2500 * 1000000u;
    ck_assert_uint_eq(queue_retry_s(&world.router), 3);
    end();
}
END_TEST

/* However long the queue is, a dispatch asks one stream, and a line's turn comes as the header says. */
START_TEST(test_random_rounds)
{
    begin();
    uint64_t random = 7, before = 0;
    struct worker *workers[] = {join("a", 0), join("b", 1)};
    for (int round = 0; round < 300; round++) {
        uint64_t what = rng_below(&random, 10);
        if (what < 6 && world.count < CALLS)
            add(rng_below(&random, 2), (int)rng_below(&random, KEYS + 1) - 1,
                (uint32_t)rng_below(&random, 8) / 6);
        else if (what == 6)
            world.now_ns += rng_below(&random, 100000) * 1000000u;
        else if (what == 7)
            queue_expire(&world.router);
        else
            pump((uint32_t)rng_below(&random, 4), (uint32_t)rng_below(&random, 4));
        ck_assert_uint_le(world.asked, before + world.sent_count + 2);
        before = world.asked;
        uint32_t waiting = 0, queued = 0;
        for (uint32_t i = 0; i < world.count; i++) {
            queued += world.streams[i].state == STREAM_QUEUED;
            waiting += world.streams[i].state == STREAM_QUEUED && world.streams[i].attempt == 0;
        }
        ck_assert_uint_eq(queued, world.router.queue.count);
        uint32_t in_lines = 0;
        LIST_EACH(node, &world.router.queue.lines)
            in_lines += LIST_ITEM(node, struct queue_line, node)->waiting;
        ck_assert_uint_eq(in_lines, waiting);
    }
    ck_assert(workers[0] && workers[1]);
    world.now_ns += (uint64_t)700 * 1000 * 1000000u;
    queue_expire(&world.router);
    ck_assert(world.router.queue.count == 0 && list_empty(&world.router.queue.lines) &&
              list_empty(&world.router.queue.streams));
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("queue");
    tcase_add_test(tc, test_lost_in_the_tick_that_looks_through_the_queue);
    tcase_add_test(tc, test_order);
    tcase_add_test(tc, test_a_full_model_holds_nobody_up);
    tcase_add_test(tc, test_who_finds_no_worker_holds_nobody_up);
    tcase_add_test(tc, test_free_slots_are_counted_by_model);
    tcase_add_test(tc, test_the_longest_line_is_pushed_out);
    tcase_add_test(tc, test_random_rounds);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
