/* The queue alone: who dispatches, answers and what time it is are played here. */
#include "router/queue.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "router/telemetry.h"

static struct {
    struct router router;
    struct model model;
    uint64_t now_ns, step_ns; /* the clock, and what each look at it takes */
    int failed;               /* calls that were answered with an error */
} world;

uint64_t clock_now_ns(void)
{
    return world.now_ns += world.step_ns;
}

uint64_t clock_unix_ms(void)
{
    return 0;
}

enum dispatch stream_dispatch(struct stream *stream)
{
    return DISPATCH_NOWHERE;
}

void call_fail(struct call *call, const struct api_error *error)
{
    world.failed++;
    for (uint32_t i = 0; i < call->stream_count; i++)
        queue_remove(&call->streams[i]);
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
        queue_add(stream, true);
    }
}

static void on_worker(void *ctx, struct worker *worker)
{
}

static const struct fleet_ops ops = {on_send, on_ended, on_worker, on_worker, on_worker};

static void begin(void)
{
    struct router *router = &world.router;
    static char name[] = "toy";
    memset(&world, 0, sizeof(world));
    world.now_ns = 1000000000;
    world.model.name = name;
    router->models = (struct models){&world.model, 1};
    router->config =
        (struct router_config){.queue_max = 100, .queue_wait_s = 120, .failover_wait_s = 5};
    router->metrics = telemetry_new();
    list_init(&router->queue);
    fleet_init(&router->fleet, &router->models, "router", 1, &ops, NULL);
}

static void end(void)
{
    fleet_release(&world.router.fleet);
    metrics_free(world.router.metrics);
}

static struct worker *join(const char *name)
{
    struct frame_hello hello = {.version = PROTO_VERSION,
                                .worker = str_from(name),
                                .epoch = 5,
                                .session = 1,
                                .model = STR("toy"),
                                .page_size = 16,
                                .length_max = 1000,
                                .pages = 100,
                                .tp = 1,
                                .slots = 4};
    fleet_hello(&world.router.fleet, str_from(name), &hello, clock_now_ms());
    return fleet_sender(&world.router.fleet, str_from(name), clock_now_ms());
}

static void make_call(struct call *call, struct stream *stream, uint32_t attempt)
{
    *call = (struct call){.router = &world.router,
                          .model = &world.model,
                          .streams = stream,
                          .stream_count = 1,
                          .began_ns = world.now_ns,
                          .limit_ms = 600000};
    *stream = (struct stream){.call = call, .attempt = attempt};
    list_init(&stream->queue_node);
    list_init(&stream->worker_node);
}

START_TEST(test_lost_in_the_tick_that_looks_through_the_queue)
{
    begin();
    struct call call;
    struct stream stream;
    struct worker *worker = join("a");
    make_call(&call, &stream, 1);
    stream.state = STREAM_RUNNING;
    list_append(&worker->streams, &stream.worker_node);
    worker->stream_count++;
    world.now_ns += (uint64_t)3 * PROTO_WORKER_DEAD_MS * 1000000u;
    world.step_ns = 1000000; /* a slow machine: time goes on within the tick, as in router.c's */
    world.router.fleet.ticked_ms = clock_now_ms();
    uint64_t now_ms = clock_now_ms(); /* all of the tick used to go by this */
    fleet_tick(&world.router.fleet, now_ms);
    ck_assert_int_eq(stream.state, STREAM_QUEUED);
    queue_pump(&world.router);
    queue_expire(&world.router);
    ck_assert_int_eq(world.failed, 0);
    ck_assert_uint_eq(world.router.queued, 1);
    world.now_ns += (uint64_t)5000 * 1000000u; /* --failover-wait-s */
    queue_expire(&world.router);
    ck_assert_int_eq(world.failed, 1);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("queue");
    tcase_add_test(tc, test_lost_in_the_tick_that_looks_through_the_queue);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
