/* queue - what the router's queue costs when it is long: bench_queue [STREAMS] [KEYS]
 *
 * STREAMS (10,000) wait, of KEYS API keys (100) and two models, one of which has no free slot. Again and
 * again a slot of the other gets free, the stream whose turn it is is sent, and a new one comes. The
 * send itself is played. Prints CSV: case, microseconds each at the median and at 99 %.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/mem.h"
#include "router/queue.h"
#include "router/telemetry.h"

#define ROUNDS 2000u

static struct {
    struct router router;
    struct model models[2];
    struct api_key *keys;
    struct call *calls;
    struct stream *streams;
    struct stream *sent;
} bench;

enum dispatch stream_dispatch(struct stream *stream)
{
    if (stream->call->model == &bench.models[1] || bench.sent)
        return DISPATCH_FULL;
    queue_remove(stream);
    bench.sent = stream;
    return DISPATCH_SENT;
}

void call_fail(struct call *call, const struct api_error *error)
{
    CHECK(false);
}

static void begin(uint32_t streams, uint32_t keys)
{
    struct router *router = &bench.router;
    static char name[] = "model";
    bench.keys = mem_array(keys, sizeof(*bench.keys));
    bench.calls = mem_array(streams, sizeof(*bench.calls));
    bench.streams = mem_array(streams, sizeof(*bench.streams));
    bench.models[0].name = bench.models[1].name = name;
    router->models = (struct models){bench.models, 2};
    router->config = (struct router_config){
        .queue_max = streams, .queue_wait_s = 86400, .failover_wait_s = 86400};
    router->metrics = telemetry_new();
    queue_init(&router->queue);
    for (uint32_t k = 0; k < keys; k++)
        queue_line_init(&bench.keys[k].line);
    for (uint32_t i = 0; i < streams; i++) {
        struct call *call = &bench.calls[i];
        struct stream *stream = &bench.streams[i];
        *call = (struct call){.router = router,
                              .id = i + 1,
                              .model = &bench.models[i % 2],
                              .key = &bench.keys[i / 2 % keys],
                              .streams = stream,
                              .stream_count = 1,
                              .began_ns = clock_now_ns(),
                              .limit_ms = 86400000};
        *stream = (struct stream){.call = call};
        list_init(&stream->queue_node);
        list_init(&stream->lane_node);
        queue_add(stream);
    }
}

/* One slot gets free; who was sent comes again as a new stream. */
static void one_turn(void)
{
    bench.sent = NULL;
    queue_pump(&bench.router);
    CHECK(bench.sent);
    bench.sent->call->id += ROUNDS * 1000;
    queue_add(bench.sent);
}

static void one_tick(void)
{
    queue_expire(&bench.router);
}

/* Asks for a place when all is full; the lines are equally long, so there is none. */
static void one_refusal(void)
{
    CHECK(!queue_takes(&bench.calls[0], 1));
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, void (*one)(void))
{
    static uint64_t ns[ROUNDS];
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t began = clock_now_ns();
        one();
        ns[i] = clock_now_ns() - began;
    }
    qsort(ns, ROUNDS, sizeof(*ns), compare);
    printf("%s,%.2f,%.2f\n", name, (double)ns[ROUNDS / 2] / 1e3,
           (double)ns[ROUNDS * 99 / 100] / 1e3);
}

int main(int argc, char **argv)
{
    uint32_t streams = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 10000;
    uint32_t keys = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100;
    begin(streams, keys);
    printf("case,p50_us,p99_us\n");
    measure("turn", one_turn);
    measure("tick", one_tick);
    measure("refusal", one_refusal);
    metrics_free(bench.router.metrics);
    mem_free(bench.streams);
    mem_free(bench.calls);
    mem_free(bench.keys);
    return 0;
}
