#include "router/fleet.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* What the fleet sent last, and how often. */
struct sent {
    int welcomes, errors, snapshots, drains, byes, ended, joined;
    uint32_t status;
    bool want_snapshot;
    char text[256];
};

static enum status on_send(void *ctx, struct str peer, const struct frame *frame)
{
    struct sent *sent = ctx;
    switch (frame->type) {
    case FRAME_WELCOME:
        sent->welcomes++;
        sent->want_snapshot = frame->welcome.want_snapshot;
        break;
    case FRAME_ERROR:
        sent->errors++;
        sent->status = frame->error.status;
        ck_assert_uint_lt(frame->error.text.len, sizeof(sent->text));
        memcpy(sent->text, frame->error.text.data, frame->error.text.len);
        sent->text[frame->error.text.len] = '\0';
        break;
    case FRAME_SNAPSHOT:
        ck_assert(frame->snapshot.request);
        sent->snapshots++;
        break;
    case FRAME_DRAIN:
        sent->drains++;
        break;
    case FRAME_BYE:
        sent->byes++;
        break;
    default:
        ck_abort_msg("the fleet sends no such frame");
    }
    return STATUS_OK;
}

static void on_ended(void *ctx, struct worker *worker, const char *reason)
{
    ((struct sent *)ctx)->ended++;
}

static void on_joined(void *ctx, struct worker *worker)
{
    ((struct sent *)ctx)->joined++;
}

static void on_drains(void *ctx, struct worker *worker)
{
}

static void on_loaded(void *ctx, struct worker *worker)
{
}

static const struct fleet_ops ops = {on_send, on_ended, on_joined, on_drains, on_loaded};

struct world {
    struct sent sent;
    char name[8];
    struct model model;
    struct models models;
    struct fleet fleet;
};

static void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    memcpy(world->name, "toy", 4);
    world->model.name = world->name;
    world->model.fingerprint = 7;
    world->model.tokenizer_hash = 8;
    world->models = (struct models){&world->model, 1};
    fleet_init(&world->fleet, &world->models, "router", 1, &ops, &world->sent);
}

static struct frame_hello hello_of(const char *name, uint64_t epoch, uint64_t session)
{
    return (struct frame_hello){.version = PROTO_VERSION,
                                .worker = str_from(name),
                                .epoch = epoch,
                                .session = session,
                                .model = STR("toy"),
                                .fingerprint = 7,
                                .tokenizer_hash = 8,
                                .weights_hash = 9,
                                .page_size = 16,
                                .length_max = 1000,
                                .pages = 100,
                                .tp = 1,
                                .slots = 4};
}

START_TEST(test_hello_rules)
{
    struct world w;
    world_init(&w);
    struct frame_hello hello = hello_of("a", 5, 1);
    fleet_hello(&w.fleet, STR("p"), &hello, 0);
    ck_assert_int_eq(w.sent.welcomes, 1);
    ck_assert(w.sent.want_snapshot);
    fleet_hello(&w.fleet, STR("p"), &hello, 10); /* a repeat */
    ck_assert_int_eq(w.sent.welcomes, 2);
    ck_assert_int_eq(w.sent.ended, 0);
    fleet_hello(&w.fleet, STR("q"), &hello, 20); /* two links of one worker */
    ck_assert_uint_eq(w.sent.status, STATUS_CONFLICT);
    hello.session = 2;
    fleet_hello(&w.fleet, STR("p"), &hello, 30);
    ck_assert_int_eq(w.sent.ended, 1);
    hello = hello_of("a", 6, 1); /* restarted, on another address */
    fleet_hello(&w.fleet, STR("q"), &hello, 40);
    ck_assert_int_eq(w.sent.ended, 2);
    ck_assert_uint_eq(w.fleet.count, 1);
    hello = hello_of("b", 7, 1); /* another worker takes the address over */
    fleet_hello(&w.fleet, STR("q"), &hello, 50);
    ck_assert_int_eq(w.sent.ended, 3);
    ck_assert_uint_eq(w.fleet.count, 1);
    fleet_release(&w.fleet);
    ck_assert_int_eq(w.sent.ended, 4);
}
END_TEST

START_TEST(test_refusals)
{
    struct world w;
    world_init(&w);
    struct frame_hello good = hello_of("good", 1, 1), bad;
    fleet_hello(&w.fleet, STR("good"), &good, 0);
    bad = hello_of("bad", 2, 1), bad.version = 2;
    fleet_hello(&w.fleet, STR("bad"), &bad, 0);
    ck_assert(w.sent.status == STATUS_CONFLICT && strstr(w.sent.text, "version"));
    bad = hello_of("bad", 2, 1), bad.model = STR("nope");
    fleet_hello(&w.fleet, STR("bad"), &bad, 0);
    ck_assert(w.sent.status == STATUS_NOT_FOUND && strstr(w.sent.text, "nope"));
    bad = hello_of("bad", 2, 1), bad.fingerprint = 1;
    fleet_hello(&w.fleet, STR("bad"), &bad, 0);
    ck_assert(w.sent.status == STATUS_CONFLICT && strstr(w.sent.text, "config.json"));
    bad = hello_of("bad", 2, 1), bad.tokenizer_hash = 1;
    fleet_hello(&w.fleet, STR("bad"), &bad, 0);
    ck_assert(w.sent.status == STATUS_CONFLICT && strstr(w.sent.text, "tokenizer.json"));
    bad = hello_of("bad", 2, 1), bad.weights_hash = 1;
    fleet_hello(&w.fleet, STR("bad"), &bad, 0);
    ck_assert(w.sent.status == STATUS_CONFLICT && strstr(w.sent.text, "weights"));
    ck_assert_uint_eq(w.fleet.count, 1);
    ck_assert_int_eq(w.sent.errors, 5);
    /* The same worker may come back with new weights when it is the only one. */
    good.epoch = 3, good.weights_hash = 77;
    fleet_hello(&w.fleet, STR("good"), &good, 0);
    ck_assert_int_eq(w.sent.errors, 5);
    fleet_release(&w.fleet);
}
END_TEST

START_TEST(test_strangers_are_told_once_a_second)
{
    struct world w;
    world_init(&w);
    for (uint64_t now_ms = 0; now_ms < 2500; now_ms += 100)
        ck_assert_ptr_null(fleet_sender(&w.fleet, STR("who"), now_ms));
    ck_assert_int_eq(w.sent.errors, 3);
    ck_assert_uint_eq(w.sent.status, STATUS_NOT_FOUND);
    fleet_release(&w.fleet);
}
END_TEST

static struct worker *join(struct world *w, const char *name)
{
    struct frame_hello hello = hello_of(name, 5, 1);
    fleet_hello(&w->fleet, str_from(name), &hello, 0);
    struct worker *worker = fleet_sender(&w->fleet, str_from(name), 0);
    ck_assert_ptr_nonnull(worker);
    return worker;
}

START_TEST(test_a_newcomer_looks_as_busy_as_the_others)
{
    struct world w;
    world_init(&w);
    struct worker *a = join(&w, "a");
    ck_assert_double_eq(a->busy, 0);
    struct worker *b = join(&w, "b");
    a->busy = 0.9;
    b->busy = 0.7;
    b->looks = 9; /* and as sure of it */
    struct worker *c = join(&w, "c");
    ck_assert_double_eq_tol(c->busy, 0.8, 1e-12);
    ck_assert_uint_eq(c->looks, 9);
    fleet_release(&w.fleet);
}
END_TEST

START_TEST(test_load_and_credits)
{
    struct world w;
    world_init(&w);
    struct worker *worker = join(&w, "a");
    ck_assert_uint_eq(worker_room(worker), 4);
    for (uint32_t i = 1; i <= 40; i++) { /* the ring grows and wraps */
        fleet_dispatched(&w.fleet, worker, i);
        ck_assert_uint_eq(worker->unacked_tokens, i + (i > 1 ? i - 1 : 0));
        struct frame_load load = {.epoch = 5, .received = i - 1, .slots_free = 4};
        fleet_load(&w.fleet, worker, &load, i);
        ck_assert_uint_eq(worker_pending_tokens(worker), i);
        ck_assert_uint_eq(worker_room(worker), 3);
        ck_assert_uint_eq(worker_reqs(worker), 1);
    }
    for (int i = 0; i < 30; i++)
        fleet_dispatched(&w.fleet, worker, 10);
    ck_assert_uint_eq(worker_pending_tokens(worker), 340);
    ck_assert_uint_eq(worker_room(worker), 0);
    struct frame_load load = {
        .epoch = 5, .received = 70, .slots_free = 2, .running = 2, .pending_prefill_tokens = 5};
    fleet_load(&w.fleet, worker, &load, 50);
    ck_assert_uint_eq(worker_pending_tokens(worker), 5);
    ck_assert_uint_eq(worker_room(worker), 2);
    ck_assert_uint_eq(worker_reqs(worker), 2);
    load.epoch = 6; /* an older life of the worker */
    load.slots_free = 4;
    fleet_load(&w.fleet, worker, &load, 60);
    ck_assert_uint_eq(worker_room(worker), 2);
    load.epoch = 5, load.received = 1000000; /* more than was sent: a liar, not a crash */
    fleet_load(&w.fleet, worker, &load, 70);
    ck_assert_uint_eq(worker->unacked_tokens, 0);
    fleet_release(&w.fleet);
}
END_TEST

START_TEST(test_liveness)
{
    struct world w;
    world_init(&w);
    struct worker *worker = join(&w, "a");
    struct frame_load load = {.epoch = 5, .step = 1, .running = 1, .step_ms_bound = 100};
    for (uint64_t now_ms = 0; now_ms <= 1900; now_ms += 100) {
        fleet_sender(&w.fleet, STR("a"), now_ms);
        fleet_load(&w.fleet, worker, &load, now_ms);
        fleet_tick(&w.fleet, now_ms);
    }
    ck_assert_int_eq(w.sent.welcomes, 4); /* the first, then heartbeats */
    ck_assert(!w.sent.want_snapshot);
    ck_assert_uint_eq(w.fleet.count, 1);
    fleet_sender(&w.fleet, STR("a"), 2050);
    fleet_tick(&w.fleet, 2050); /* it talks, but its step does not end */
    ck_assert_uint_eq(w.fleet.count, 0);
    ck_assert_int_eq(w.sent.ended, 1);

    fleet_release(&w.fleet);
    world_init(&w);
    worker = join(&w, "b"); /* a long step that was announced */
    load.step_ms_bound = 5000;
    fleet_load(&w.fleet, worker, &load, 0);
    for (uint64_t now_ms = 0; now_ms <= 17000; now_ms += 500) {
        fleet_sender(&w.fleet, STR("b"), now_ms);
        fleet_tick(&w.fleet, now_ms);
    }
    for (uint64_t now_ms = 17000; now_ms <= 17000 + PROTO_WORKER_DEAD_MS; now_ms += 500)
        fleet_tick(&w.fleet, now_ms);
    ck_assert_uint_eq(w.fleet.count, 1);
    fleet_tick(&w.fleet, 17000 + PROTO_WORKER_DEAD_MS + 1); /* silence */
    ck_assert_uint_eq(w.fleet.count, 0);
    fleet_release(&w.fleet);
}
END_TEST

START_TEST(test_a_routers_own_pause_is_nobodys_silence)
{
    struct world w;
    world_init(&w);
    struct worker *worker = join(&w, "a");
    struct frame_load load = {.epoch = 5, .step = 1, .running = 1, .step_ms_bound = 100};
    fleet_load(&w.fleet, worker, &load, 0);
    for (uint64_t now_ms = 50; now_ms <= 1000; now_ms += 50)
        fleet_tick(&w.fleet, now_ms);
    fleet_tick(&w.fleet, 60000); /* stopped and continued; the worker's frames are not read yet */
    ck_assert_uint_eq(w.fleet.count, 1);
    uint64_t left_ms = PROTO_WORKER_DEAD_MS - 1000; /* the silence before counts */
    for (uint64_t now_ms = 60050; now_ms < 60000 + left_ms; now_ms += 50)
        fleet_tick(&w.fleet, now_ms);
    ck_assert_uint_eq(w.fleet.count, 1);
    fleet_tick(&w.fleet, 60000 + left_ms + 50);
    ck_assert_uint_eq(w.fleet.count, 0);
    fleet_release(&w.fleet);
}
END_TEST

static struct frame_cache cache_of(uint64_t seq, struct page_run *run, const uint64_t *hashes,
                                   uint32_t count, bool removed)
{
    *run = (struct page_run){
        .hashes = (const unsigned char *)hashes, .count = count, .removed = removed};
    return (struct frame_cache){.epoch = 5, .seq = seq, .runs = run, .run_count = 1};
}

START_TEST(test_cache_and_snapshots)
{
    struct world w;
    world_init(&w);
    struct worker *worker = join(&w, "a");
    struct page_run run;
    uint64_t hashes[200];
    for (uint64_t i = 0; i < 200; i++)
        hashes[i] = i * 1000 + 1;
    struct frame_cache cache = cache_of(1, &run, hashes, 3, false);
    fleet_cache(&w.fleet, worker, &cache, 0); /* before the snapshot: it will be in there */
    ck_assert_uint_eq(prefix_index_pages(&w.fleet.index, 0), 0);
    struct frame_snapshot part = {
        .part = 0, .part_count = 2, .cache = cache_of(7, &run, hashes, 4, false)};
    fleet_snapshot(&w.fleet, worker, &part, 0);
    ck_assert(!worker->cache_known);
    part.part = 1, part.cache = cache_of(7, &run, hashes + 4, 2, false);
    fleet_snapshot(&w.fleet, worker, &part, 0);
    ck_assert(worker->cache_known);
    ck_assert_uint_eq(prefix_index_pages(&w.fleet.index, 0), 6);
    cache = cache_of(7, &run, hashes + 50, 5, false); /* old */
    fleet_cache(&w.fleet, worker, &cache, 0);
    cache = cache_of(8, &run, hashes + 1, 2, true);
    fleet_cache(&w.fleet, worker, &cache, 0);
    ck_assert_uint_eq(prefix_index_pages(&w.fleet.index, 0), 4);
    cache = cache_of(10, &run, hashes + 50, 5, false); /* 9 is missing */
    fleet_cache(&w.fleet, worker, &cache, 0);
    ck_assert_int_eq(w.sent.snapshots, 1);
    ck_assert_uint_eq(prefix_index_pages(&w.fleet.index, 0), 0);
    ck_assert(!worker->cache_known);
    fleet_tick(&w.fleet, 900);
    ck_assert_int_eq(w.sent.snapshots, 1);
    fleet_tick(&w.fleet, 1100); /* no answer: again */
    ck_assert_int_eq(w.sent.snapshots, 2);
    part = (struct frame_snapshot){
        .part = 1, .part_count = 2, .cache = cache_of(11, &run, hashes, 4, false)};
    fleet_snapshot(&w.fleet, worker, &part, 1200); /* a part is missing */
    ck_assert_int_eq(w.sent.snapshots, 3);
    part = (struct frame_snapshot){
        .part = 0, .part_count = 1, .cache = cache_of(12, &run, hashes, 200, false)};
    fleet_snapshot(&w.fleet, worker, &part, 1300);
    ck_assert_uint_eq(prefix_index_pages(&w.fleet.index, 0), 100); /* no more than its pool has */
    fleet_end(&w.fleet, worker, "test");
    ck_assert_uint_eq(prefix_index_pages(&w.fleet.index, 0), 0);
    fleet_release(&w.fleet);
}
END_TEST

START_TEST(test_serving)
{
    struct world w;
    world_init(&w);
    uint32_t least, best;
    ck_assert_uint_eq(fleet_serving(&w.fleet, &w.model, &least, &best), 0);
    struct frame_hello hello = hello_of("a", 5, 1);
    fleet_hello(&w.fleet, STR("a"), &hello, 0);
    hello = hello_of("b", 5, 1), hello.length_max = 4000;
    fleet_hello(&w.fleet, STR("b"), &hello, 0);
    ck_assert_uint_eq(fleet_serving(&w.fleet, &w.model, &least, &best), 2);
    ck_assert(least == 1000 && best == 4000);
    fleet_drain(&w.fleet, fleet_sender(&w.fleet, STR("a"), 0), true);
    ck_assert_uint_eq(fleet_serving(&w.fleet, NULL, &least, &best), 1);
    ck_assert(least == 4000 && best == 4000);
    fleet_leave(&w.fleet, true);
    fleet_leave(&w.fleet, false);
    ck_assert(w.sent.drains == 2 && w.sent.byes == 2);
    fleet_release(&w.fleet);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fleet");
    TCase *tc = tcase_create("fleet");
    tcase_add_test(tc, test_hello_rules);
    tcase_add_test(tc, test_refusals);
    tcase_add_test(tc, test_strangers_are_told_once_a_second);
    tcase_add_test(tc, test_a_newcomer_looks_as_busy_as_the_others);
    tcase_add_test(tc, test_load_and_credits);
    tcase_add_test(tc, test_liveness);
    tcase_add_test(tc, test_a_routers_own_pause_is_nobodys_silence);
    tcase_add_test(tc, test_cache_and_snapshots);
    tcase_add_test(tc, test_serving);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
