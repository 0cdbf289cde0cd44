/* test_scheduler - policies that the simulator cannot see: order, sharing, budgets, bounds. */
#include "common/mem.h"
#include "worker/sched/sched.h"

#include <check.h>
#include <string.h>

/* One scheduler with a trivial engine: every sample is `next_token`. */
struct rig {
    struct scheduler *s;
    struct sched_event events[512];
    uint32_t event_count;
    void *block;
    const struct step_packet *packet;
    uint64_t now_ms;
    uint32_t next_token;
};

static struct sched_opts opts_default(void)
{
    return (struct sched_opts){.pages = 64,
                               .page_size = 4,
                               .slots = 8,
                               .waiting_max = 100,
                               .context_max = 128,
                               .step_tokens = 64,
                               .prefill_us_per_token = 100,
                               .decode_us_per_row = 100,
                               .cache = true,
                               .prefix_groups = true,
                               .age_ms = 1000,
                               .fingerprint = 3};
}

static struct rig rig_new(const struct sched_opts *opts)
{
    struct rig rig = {.now_ms = 1, .next_token = 7};
    struct err err = {.text = ""};
    ck_assert_msg(scheduler_new(opts, &rig.s, &err) == STATUS_OK, "%s", err.text);
    struct step_limits limits;
    scheduler_limits(rig.s, &limits);
    rig.block = mem_aligned(step_packet_bytes_max(&limits), 64);
    return rig;
}

static void rig_free(struct rig *rig)
{
    struct err err = {.text = ""};
    ck_assert_msg(scheduler_check(rig->s, &err), "%s", err.text);
    scheduler_free(rig->s);
    mem_free(rig->block);
}

static bool rig_plan(struct rig *rig)
{
    rig->event_count = ARRAY_LEN(rig->events);
    rig->packet = scheduler_plan(rig->s, rig->now_ms, rig->block, rig->events, &rig->event_count);
    return rig->packet != NULL;
}

static void rig_commit(struct rig *rig, uint32_t samples)
{
    uint32_t tokens[64];
    for (uint32_t i = 0; i < samples; i++)
        tokens[i] = rig->next_token;
    rig->event_count = ARRAY_LEN(rig->events);
    scheduler_commit(rig->s, tokens, samples, rig->now_ms, 0, rig->events, &rig->event_count);
}

/* One whole step; false when there was nothing to do. */
static bool rig_step(struct rig *rig)
{
    if (!rig_plan(rig))
        return false;
    rig_commit(rig, rig->packet->sample_count);
    return true;
}

/* A prompt of `count` tokens: `base`, base + 1, ... */
static struct req_spec spec_of(uint32_t *tokens, uint64_t user, uint32_t base, uint32_t count,
                               uint32_t tokens_max)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = base + i;
    return (struct req_spec){.user = user,
                             .tokens = tokens,
                             .token_count = count,
                             .prompt_count = count,
                             .tokens_max = tokens_max,
                             .sampling = sampling_default()};
}

static uint64_t add(struct rig *rig, const struct req_spec *spec)
{
    struct err err = {.text = ""};
    uint64_t id = 0;
    ck_assert_msg(scheduler_add(rig->s, spec, rig->now_ms, &id, &err) == STATUS_OK, "%s", err.text);
    ck_assert_uint_ne(id, 0);
    return id;
}

static uint64_t add_plain(struct rig *rig, uint64_t user, uint32_t base, uint32_t count,
                          uint32_t tokens_max)
{
    uint32_t tokens[256];
    struct req_spec spec = spec_of(tokens, user, base, count, tokens_max);
    return add(rig, &spec);
}

/* The user whose req has the row's slot. */
static uint64_t row_user(const struct rig *rig, uint32_t row)
{
    for (uint32_t i = 0; i < rig->s->running_count; i++)
        if (rig->s->running[i]->slot == step_rows(rig->packet)[row].slot)
            return rig->s->running[i]->user;
    return UINT64_MAX;
}

START_TEST(bad_input_is_refused)
{
    struct sched_opts opts = opts_default();
    struct err err;
    struct scheduler *none;
    opts.step_tokens = 4;
    ck_assert_int_eq(scheduler_new(&opts, &none, &err), STATUS_INVALID);
    opts = opts_default();
    opts.pages = 0;
    ck_assert_int_eq(scheduler_new(&opts, &none, &err), STATUS_INVALID);
    opts = opts_default();
    opts.pages = 8; /* 32 tokens: less than the context */
    struct rig rig = rig_new(&opts);
    uint32_t tokens[256];
    uint64_t id;
    struct req_spec spec = spec_of(tokens, 1, 0, 31, 4);
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_OK);
    spec = spec_of(tokens, 1, 0, 32, 4);
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_TOO_LONG);
    ck_assert_ptr_nonnull(strstr(err.text, "32"));
    spec = spec_of(tokens, 1, 0, 0, 4);
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_INVALID);
    spec = spec_of(tokens, 1, 0, 8, 0);
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_INVALID);
    spec = spec_of(tokens, 1, 0, 8, 2);
    spec.prompt_count = 6; /* resumed with both tokens made */
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_INVALID);
    spec.prompt_count = 9;
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_INVALID);
    spec = spec_of(tokens, 1, 0, 8, 2);
    tokens[3] = STEP_TOKEN_LAST;
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_INVALID);
    tokens[3] = 3;
    spec.stop_id_count = SCHED_STOP_IDS_MAX + 1;
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_INVALID);
    scheduler_cancel(rig.s, 0);
    scheduler_cancel(rig.s, UINT64_MAX);
    rig_free(&rig);
}
END_TEST

START_TEST(a_full_queue_says_so)
{
    struct sched_opts opts = opts_default();
    opts.slots = 2;
    opts.waiting_max = 3;
    struct rig rig = rig_new(&opts);
    for (uint32_t i = 0; i < 5; i++)
        add_plain(&rig, i, i * 50, 4, 2);
    uint32_t tokens[4];
    uint64_t id;
    struct err err;
    struct req_spec spec = spec_of(tokens, 9, 0, 4, 2);
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_QUEUE_FULL);
    while (rig_step(&rig))
        ;
    ck_assert_int_eq(scheduler_add(rig.s, &spec, 1, &id, &err), STATUS_OK);
    rig_free(&rig);
}
END_TEST

/* Decode rows first, then chunks; both bounds of a chunk hold. */
START_TEST(prefill_joins_decode)
{
    struct sched_opts opts = opts_default();
    opts.chunk_tokens = 24;
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 5, 50);
    ck_assert(rig_step(&rig));
    add_plain(&rig, 2, 500, 60, 5);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.packet->row_count, 2);
    ck_assert_uint_eq(row_user(&rig, 0), 1);
    ck_assert_uint_eq(step_rows(rig.packet)[0].token_count, 1);
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 24);
    ck_assert_uint_eq(rig.packet->sample_count, 1);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].pos_first, 24);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 12);
    ck_assert_uint_eq(rig.packet->sample_count, 2);
    rig_free(&rig);
}
END_TEST

/* step_ms bounds a chunk only while something decodes. */
START_TEST(step_ms_bounds_chunks_beside_decode)
{
    struct sched_opts opts = opts_default();
    opts.step_ms = 2;
    opts.prefill_us_per_token = 100; /* room for 19 tokens beside one decode row */
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 60, 50);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[0].token_count, 60);
    add_plain(&rig, 2, 500, 60, 5);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 16); /* 19, down to a page's end */
    opts.step_ms = 0.01; /* no room at all: a page a step, not a stop */
    struct rig tight = rig_new(&opts);
    add_plain(&tight, 1, 0, 5, 50);
    ck_assert(rig_step(&tight));
    add_plain(&tight, 2, 500, 60, 5);
    ck_assert(rig_step(&tight));
    ck_assert_uint_eq(step_rows(tight.packet)[1].token_count, 4);
    rig_free(&tight);
    rig_free(&rig);
}
END_TEST

/* A quarter more ends a prompt, beside another prompt's share as well, and does nothing else. */
START_TEST(a_step_stretches_to_end_a_prompt)
{
    struct sched_opts opts = opts_default();
    opts.step_ms = 2.1; /* room for 20 tokens beside one decode row, for 25 with a quarter more */
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 5, 50);
    ck_assert(rig_step(&rig));
    add_plain(&rig, 2, 500, 25, 1);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 25);
    add_plain(&rig, 3, 1000, 26, 1);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 20);
    add_plain(&rig, 4, 1500, 17, 1); /* beside the 6 that are left of the one before: 23 */
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.packet->row_count, 3);
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 6);
    ck_assert_uint_eq(step_rows(rig.packet)[2].token_count, 17);
    add_plain(&rig, 5, 2000, 17, 1);
    add_plain(&rig, 6, 2500, 17, 1);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 17);
    ck_assert_uint_le(rig.packet->token_count, 1 + 20);
    rig_free(&rig);
}
END_TEST

/* Steps until `user` has its first token; 0 when `most` steps bring none. `each` may add reqs. */
static uint32_t steps_to_first(struct rig *rig, uint64_t user, uint32_t most,
                               void (*each)(struct rig *rig, uint32_t step))
{
    for (uint32_t step = 1; step <= most; step++) {
        if (each)
            each(rig, step);
        ck_assert(rig_step(rig));
        for (uint32_t e = 0; e < rig->event_count; e++)
            if (rig->events[e].user == user && rig->events[e].has_token)
                return step;
    }
    return 0;
}

/* A decoding req beside which 20 tokens of prefill fit a step, and a prompt of 400 behind it. */
static struct rig rig_tight(void)
{
    struct sched_opts opts = opts_default();
    opts.pages = 2000;
    opts.context_max = 1000;
    opts.slots = 32;
    opts.step_ms = 2.1;
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 5, 500);
    ck_assert(rig_step(&rig));
    uint32_t tokens[400];
    struct req_spec spec = spec_of(tokens, 2, 10000, 400, 5);
    add(&rig, &spec);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(step_rows(rig.packet)[1].token_count, 20);
    return rig;
}

static void add_a_short_one(struct rig *rig, uint32_t step)
{
    add_plain(rig, 100 + step, 20000 + step * 100, 12, 1);
}

/* A short prompt does not wait for a long one before it; the long one keeps half of each step even
 * when short ones never end. */
START_TEST(short_prompts_pass_a_long_one)
{
    struct rig alone = rig_tight();
    uint32_t undisturbed = steps_to_first(&alone, 2, 100, NULL);
    ck_assert_uint_eq(undisturbed, 19);
    rig_free(&alone);

    struct rig rig = rig_tight();
    add_plain(&rig, 3, 20000, 12, 5);
    ck_assert_uint_eq(steps_to_first(&rig, 3, 100, NULL), 1);
    uint32_t rest = steps_to_first(&rig, 2, 100, NULL);
    ck_assert_uint_ge(rest, undisturbed - 2);
    ck_assert_uint_le(rest, undisturbed);
    rig_free(&rig);

    struct rig busy = rig_tight();
    uint32_t steps = steps_to_first(&busy, 2, 100, add_a_short_one);
    ck_assert_uint_gt(steps, undisturbed);
    ck_assert_uint_le(steps, 2 * undisturbed + 1);
    rig_free(&busy);
}
END_TEST

/* Prompts that are as long wait for their turn: sharing would only delay the first of them. Higher
 * priorities do not give way. */
START_TEST(long_prompts_take_turns)
{
    struct rig rig = rig_tight();
    uint32_t tokens[500];
    struct req_spec longer = spec_of(tokens, 3, 20000, 500, 5);
    add(&rig, &longer);
    ck_assert_uint_eq(steps_to_first(&rig, 2, 100, NULL), 19);
    rig_free(&rig);

    struct rig ranked = rig_tight();
    struct req_spec spec = spec_of(tokens, 3, 20000, 300, 5);
    spec.priority = 1;
    add(&ranked, &spec);
    ck_assert(rig_step(&ranked)); /* shorter than what 2 has left: it is admitted */
    add_plain(&ranked, 4, 30000, 12, 5);
    ck_assert_uint_eq(steps_to_first(&ranked, 3, 100, NULL), 16);
    rig_free(&ranked);
}
END_TEST

/* The next step is planned with time left to launch it and a tenth for the unknown; at once where steps are
 * short or none runs. */
START_TEST(the_next_step_is_planned_late)
{
    const double step_ms[] = {3, 8, 40}, late_ms[] = {0, 6.5, 36};
    for (size_t i = 0; i < ARRAY_LEN(step_ms); i++) {
        struct sched_opts opts = opts_default();
        opts.step_us = step_ms[i] * 1000 - 100;
        struct rig rig = rig_new(&opts);
        ck_assert_double_eq(scheduler_late_ms(rig.s), 0);
        add_plain(&rig, 1, 0, 1, 50);
        ck_assert(rig_plan(&rig));
        ck_assert_double_eq_tol(scheduler_step_ms_bound(rig.s), step_ms[i], 1e-9);
        ck_assert_double_eq_tol(scheduler_late_ms(rig.s), late_ms[i], 1e-9);
        rig_free(&rig);
    }
}
END_TEST

/* What the test's device takes; one step in eight is of prompts and decode rows. */
static uint64_t true_ns(uint32_t prefill, uint32_t decode)
{
    return (uint64_t)(7000 + (prefill && decode ? 2500 : 0) + prefill * 30 + decode * 60) * 1000;
}

static void learn(struct cost *cost, uint32_t steps, uint32_t seed)
{
    for (uint32_t i = seed; i < seed + steps; i++) {
        uint32_t prefill = i % 8 ? 0 : 200 + 37 * i % 300, decode = 20 + 13 * i % 20;
        cost_learn(cost, prefill, decode, true_ns(prefill, decode));
    }
}

static void expect_true(const struct cost *cost, uint32_t prefill, uint32_t decode)
{
    double us = (double)true_ns(prefill, decode) / 1000;
    ck_assert_double_eq_tol(cost_us(cost, prefill, decode), us, 0.05 * us);
}

/* From guesses that are right, that know nothing of what rows share, or are ten times too high or low. */
START_TEST(the_cost_model_learns)
{
    const double guesses[][3] = {
        {7000, 30, 60}, {0, 30, 7060}, {70000, 300, 600}, {700, 3, 6}, {3000, 60, 120}};
    for (size_t g = 0; g < ARRAY_LEN(guesses); g++) {
        struct cost cost;
        cost_init(&cost, guesses[g][0], guesses[g][1], guesses[g][2]);
        learn(&cost, 400, 0);
        expect_true(&cost, 0, 20);
        expect_true(&cost, 0, 39);
        expect_true(&cost, 200, 30);
        expect_true(&cost, 500, 30);
    }
}
END_TEST

/* A step that took 50 times as long is not what the next ones take; a device that became slower is. */
START_TEST(the_cost_model_doubts_a_hiccup)
{
    struct cost cost;
    cost_init(&cost, 7000, 30, 60);
    learn(&cost, 400, 0);
    cost_learn(&cost, 0, 30, 50 * true_ns(0, 30));
    cost_learn(&cost, 300, 30, 50 * true_ns(300, 30));
    expect_true(&cost, 0, 30);
    expect_true(&cost, 300, 30);
    for (int i = 0; i < 60; i++)
        cost_learn(&cost, 0, 30, 2 * true_ns(0, 30));
    ck_assert_double_eq_tol(cost_us(&cost, 0, 30), 2e-3 * (double)true_ns(0, 30), 500);
}
END_TEST

/* Years of steps of one kind leave the numbers sound. */
START_TEST(the_cost_model_lasts)
{
    struct cost cost;
    cost_init(&cost, 0, 50, 7000);
    for (uint32_t i = 0; i < 3000000; i++)
        cost_learn(&cost, 0, 30, true_ns(0, 30));
    expect_true(&cost, 0, 30);
    learn(&cost, 400, 0);
    expect_true(&cost, 0, 20);
    expect_true(&cost, 400, 30);
}
END_TEST

START_TEST(the_room_is_what_fits)
{
    struct cost cost;
    cost_init(&cost, 1000, 10, 100);
    ck_assert_uint_eq(cost_prefill_room(&cost, 3, 10), 100);
    ck_assert_uint_eq(cost_prefill_room(&cost, 3, 20), 0);
    learn(&cost, 400, 0);
    uint32_t room = cost_prefill_room(&cost, 25, 30);
    ck_assert_double_eq_tol(1e-6 * (double)true_ns(room, 30), 25, 1);
}
END_TEST

/* The second equal prompt waits for the first's pages instead of computing them again. */
START_TEST(equal_prompts_in_flight_share)
{
    struct sched_opts opts = opts_default();
    opts.chunk_tokens = 16;
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 41, 10);
    add_plain(&rig, 2, 0, 41, 10);
    add_plain(&rig, 3, 900, 9, 10); /* another one is not held up */
    uint32_t computed = 0;
    for (int i = 0; i < 5; i++) {
        ck_assert(rig_step(&rig));
        for (uint32_t r = 0; r < rig.packet->row_count; r++)
            if (row_user(&rig, r) == 2 && step_rows(rig.packet)[r].token_count > 0 &&
                step_rows(rig.packet)[r].pos_first < 41)
                computed += step_rows(rig.packet)[r].token_count;
        if (i == 0)
            ck_assert_uint_eq(rig.packet->row_count, 2);
    }
    ck_assert_uint_eq(computed, 1); /* 40 of 41 tokens came from the first */
    rig_free(&rig);
}
END_TEST

START_TEST(cached_tokens_are_reported)
{
    struct sched_opts opts = opts_default();
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 32, 1);
    while (rig_step(&rig))
        ck_assert_uint_eq(rig.event_count ? rig.events[0].cached_tokens : 0, 0);
    add_plain(&rig, 2, 0, 32, 1); /* the last token is always computed: 7 pages, not 8 */
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.event_count, 1);
    ck_assert_uint_eq(rig.events[0].cached_tokens, 28);
    ck_assert_uint_eq(rig.packet->token_count, 4);
    struct sched_load load;
    scheduler_load(rig.s, &load);
    ck_assert_uint_eq(load.cached_tokens, 28);
    ck_assert_uint_eq(load.prompt_tokens, 64);
    rig_free(&rig);
}
END_TEST

/* Which of two waiting reqs the only slot goes to. */
static uint64_t first_of(struct rig *rig)
{
    ck_assert(rig_step(rig));
    uint64_t user = row_user(rig, 0);
    ck_assert_uint_ne(user, UINT64_MAX);
    return user;
}

START_TEST(waiting_order)
{
    struct sched_opts opts = opts_default();
    opts.slots = 1;
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 32, 1);
    while (rig_step(&rig))
        ;
    add_plain(&rig, 2, 700, 32, 3);
    add_plain(&rig, 3, 0, 33, 3); /* has its prefix cached */
    ck_assert_uint_eq(first_of(&rig), 3);
    while (rig_step(&rig))
        ;
    add_plain(&rig, 4, 800, 32, 3);
    rig.now_ms += opts.age_ms;
    add_plain(&rig, 5, 0, 33, 3);
    ck_assert_uint_eq(first_of(&rig), 4); /* waited long enough to outrank a cached prefix */
    while (rig_step(&rig))
        ;
    uint32_t tokens[40];
    add_plain(&rig, 6, 0, 33, 3);
    struct req_spec spec = spec_of(tokens, 7, 900, 20, 3);
    spec.priority = 1;
    add(&rig, &spec);
    ck_assert_uint_eq(first_of(&rig), 7);
    rig_free(&rig);
}
END_TEST

/* A stream of higher priority cannot hold a req back for ever. */
START_TEST(nobody_starves)
{
    struct sched_opts opts = opts_default();
    opts.slots = 1;
    opts.age_ms = 50;
    struct rig rig = rig_new(&opts);
    uint32_t tokens[40];
    add_plain(&rig, 1000, 0, 9, 2);
    bool served = false;
    uint64_t served_ms = 0;
    for (uint32_t i = 0; i < 1000 && !served; i++) {
        struct req_spec spec = spec_of(tokens, i, 100 + i, 9, 2);
        spec.priority = 5;
        if (i % 2 == 0)
            add(&rig, &spec);
        ck_assert(rig_step(&rig));
        rig.now_ms += 10;
        for (uint32_t e = 0; e < rig.event_count; e++)
            served |= rig.events[e].user == 1000;
        served_ms = rig.now_ms;
    }
    ck_assert(served);
    ck_assert_uint_ge(served_ms, 50 * QUEUE_STARVE_FACTOR); /* priority counted until then */
    ck_assert_uint_le(served_ms, 50 * QUEUE_STARVE_FACTOR + 100);
    rig_free(&rig);
}
END_TEST

/* When pages run out the youngest goes back to waiting; its pages stay cached. */
START_TEST(the_youngest_is_retracted)
{
    struct sched_opts opts = opts_default();
    opts.pages = 10;
    struct rig rig = rig_new(&opts);
    rig.s->usual_tokens = 0;
    add_plain(&rig, 1, 0, 14, 26);
    add_plain(&rig, 2, 500, 14, 26);
    uint32_t tokens_of[3] = {0, 0, 0};
    bool first_ended = false;
    for (uint32_t i = 0; i < 200 && rig_plan(&rig); i++) {
        rig.s->usual_tokens = 0;
        rig_commit(&rig, rig.packet->sample_count);
        struct sched_load load;
        scheduler_load(rig.s, &load);
        for (uint32_t e = 0; e < rig.event_count; e++) {
            uint64_t user = rig.events[e].user;
            ck_assert_uint_eq(rig.events[e].index, tokens_of[user]++);
            if (rig.events[e].finish != SCHED_RUNNING) {
                ck_assert(user == 1 || first_ended);
                first_ended = true;
            }
        }
        if (!first_ended && load.running == 1)
            ck_assert_uint_eq(rig.s->running[0]->user, 1);
    }
    ck_assert_uint_eq(tokens_of[1], 26);
    ck_assert_uint_eq(tokens_of[2], 26);
    ck_assert_uint_ge(rig.s->retractions, 1);
    rig_free(&rig);
}
END_TEST

/* A req is admitted when what all usually need fits, not only what they need now. */
START_TEST(admission_expects_growth)
{
    struct sched_opts opts = opts_default();
    opts.pages = 10;
    struct rig rig = rig_new(&opts);
    add_plain(&rig, 1, 0, 14, 26);
    add_plain(&rig, 2, 500, 14, 26);
    rig.s->usual_tokens = 26; /* 10 pages each */
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.packet->row_count, 1);
    while (rig_step(&rig))
        ;
    ck_assert_uint_eq(rig.s->retractions, 0);
    add_plain(&rig, 3, 0, 14, 26);
    add_plain(&rig, 4, 500, 14, 26);
    rig.s->usual_tokens = 2; /* 4 pages each */
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.packet->row_count, 2);
    rig_free(&rig);
}
END_TEST

START_TEST(naive_keeps_nothing)
{
    struct sched_opts opts = opts_default();
    opts.cache = false;
    struct rig rig = rig_new(&opts);
    for (uint64_t user = 0; user < 2; user++) {
        add_plain(&rig, user, 0, 32, 8);
        while (rig_step(&rig))
            ck_assert_uint_eq(rig.event_count ? rig.events[0].cached_tokens : 0, 0);
    }
    struct sched_cache_event events[4];
    uint32_t count = 4;
    bool lost;
    ck_assert(!scheduler_cache_events(rig.s, events, &count, &lost));
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(rig.s->pages.free_count, opts.pages);
    rig_free(&rig);
}
END_TEST

/* Overlap: N+1 uses what N will sample; a stop in N wastes one row of N+1; length wastes none. */
START_TEST(overlap_rows)
{
    struct sched_opts opts = opts_default();
    struct rig rig = rig_new(&opts);
    uint32_t tokens[8], stop = 7;
    struct req_spec spec = spec_of(tokens, 1, 0, 8, 10);
    spec.stop_ids = &stop;
    spec.stop_id_count = 1;
    add(&rig, &spec);
    add_plain(&rig, 2, 100, 8, 2);
    ck_assert(rig_plan(&rig)); /* both prompts */
    ck_assert(rig_plan(&rig)); /* both decode from what is not known yet */
    ck_assert_uint_eq(rig.packet->row_count, 2);
    ck_assert_uint_eq(step_tokens(rig.packet)[0], STEP_TOKEN_LAST);
    ck_assert(!rig_plan(&rig)); /* two in flight are enough */
    rig_commit(&rig, 2);        /* req 1 stops */
    ck_assert_uint_eq(rig.event_count, 2);
    ck_assert_uint_eq(rig.events[0].finish + rig.events[1].finish, SCHED_STOP);
    ck_assert(!rig_plan(&rig)); /* req 2 ends by length in the step in flight: no row */
    ck_assert_uint_gt(pages_limbo(&rig.s->pages), 0);
    rig_commit(&rig, 2);
    ck_assert_uint_eq(rig.event_count, 1); /* the wasted row is silent */
    ck_assert_uint_eq(rig.events[0].user, 2);
    ck_assert_int_eq(rig.events[0].finish, SCHED_LENGTH);
    ck_assert_uint_eq(pages_limbo(&rig.s->pages), 0);
    rig_free(&rig);
}
END_TEST

START_TEST(ends_without_a_token)
{
    struct sched_opts opts = opts_default();
    opts.slots = 1;
    struct rig rig = rig_new(&opts);
    uint32_t tokens[16];
    uint64_t running = add_plain(&rig, 1, 0, 8, 20);
    ck_assert(rig_step(&rig));
    uint64_t waiting = add_plain(&rig, 2, 100, 8, 20);
    struct req_spec spec = spec_of(tokens, 3, 200, 8, 20);
    spec.deadline_ms = rig.now_ms + 10;
    add(&rig, &spec);
    scheduler_cancel(rig.s, waiting);
    scheduler_cancel(rig.s, waiting);
    ck_assert(rig_plan(&rig));
    ck_assert_uint_eq(rig.event_count, 1);
    ck_assert_uint_eq(rig.events[0].user, 2);
    ck_assert_int_eq(rig.events[0].finish, SCHED_CANCELLED);
    ck_assert(!rig.events[0].has_token);
    scheduler_cancel(rig.s, running); /* while its step runs */
    rig.now_ms += 10;
    rig_commit(&rig, 1);
    ck_assert_uint_eq(rig.event_count, 2);
    ck_assert_int_eq(rig.events[0].finish, SCHED_CANCELLED);
    ck_assert_int_eq(rig.events[1].finish, SCHED_EXPIRED);
    ck_assert(!rig_plan(&rig) && !scheduler_runnable(rig.s));
    scheduler_cancel(rig.s, running);
    ck_assert(!scheduler_runnable(rig.s));
    rig_free(&rig);
}
END_TEST

/* r1, r2 share 4 pages and more; r3..r5 share the same 4: one group of 5 saves more (16 pages) than
 * a group of two. Then the pair shares so much that it is worth its own group. */
START_TEST(groups_save_the_most)
{
    struct sched_opts opts = opts_default();
    opts.pages = 400;
    opts.step_tokens = 1000;
    struct rig rig = rig_new(&opts);
    uint32_t tokens[128];
    for (uint64_t user = 1; user <= 5; user++) {
        struct req_spec spec = spec_of(tokens, user, 0, user <= 2 ? 29 : 17, 40);
        for (uint32_t i = 16; user > 2 && i < 17; i++)
            tokens[i] = (uint32_t)(5000 + user);
        add(&rig, &spec);
    }
    for (int i = 0; i < 4; i++)
        ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.packet->row_count, 5);
    ck_assert_uint_eq(rig.packet->group_count, 1);
    ck_assert_uint_eq(step_groups(rig.packet)[0].row_count, 5);
    ck_assert_uint_eq(step_groups(rig.packet)[0].page_count, 4);
    for (uint64_t user = 11; user <= 12; user++) { /* 1 * 31 pages saved */
        struct req_spec spec = spec_of(tokens, user, 0, 125, 3);
        for (uint32_t i = 16; i < 125; i++)
            tokens[i] = 7000 + i;
        add(&rig, &spec);
    }
    for (int i = 0; i < 3; i++)
        ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.packet->row_count, 7);
    ck_assert_uint_eq(rig.packet->group_count, 2);
    ck_assert_uint_eq(step_groups(rig.packet)[0].row_count, 2);
    ck_assert_uint_eq(step_groups(rig.packet)[0].page_count, 31);
    ck_assert_uint_ge(row_user(&rig, step_groups(rig.packet)[0].row_first), 11);
    rig_free(&rig);
}
END_TEST

/* A resumed req goes on with the next index and replays nothing. */
START_TEST(resume_goes_on)
{
    struct sched_opts opts = opts_default();
    struct rig rig = rig_new(&opts);
    uint32_t tokens[16];
    struct req_spec spec = spec_of(tokens, 1, 0, 12, 6);
    spec.prompt_count = 8;
    add(&rig, &spec);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.events[0].index, 4);
    ck_assert_uint_eq(step_samples(rig.packet)[0].position, 12);
    ck_assert(rig_step(&rig));
    ck_assert_uint_eq(rig.events[0].index, 5);
    ck_assert_int_eq(rig.events[0].finish, SCHED_LENGTH);
    rig_free(&rig);
}
END_TEST

/* What routers hear: tokens of a step in flight are not done yet. */
START_TEST(pending_tokens_last_until_the_commit)
{
    struct sched_opts opts = opts_default();
    opts.chunk_tokens = 16;
    struct rig rig = rig_new(&opts);
    struct sched_load load;
    add_plain(&rig, 1, 0, 40, 4);
    add_plain(&rig, 2, 100, 20, 4);
    scheduler_load(rig.s, &load);
    ck_assert_uint_eq(load.pending_prefill_tokens, 60);
    ck_assert(rig_plan(&rig)); /* 16 tokens of each */
    scheduler_load(rig.s, &load);
    ck_assert_uint_eq(load.pending_prefill_tokens, 60);
    rig_commit(&rig, rig.packet->sample_count);
    scheduler_load(rig.s, &load);
    ck_assert_uint_eq(load.pending_prefill_tokens, 28);
    while (rig_step(&rig))
        scheduler_load(rig.s, &load);
    ck_assert_uint_eq(load.pending_prefill_tokens, 0);
    rig_free(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler");
    TCase *tcase = tcase_create("scheduler");
    tcase_add_test(tcase, bad_input_is_refused);
    tcase_add_test(tcase, a_full_queue_says_so);
    tcase_add_test(tcase, prefill_joins_decode);
    tcase_add_test(tcase, step_ms_bounds_chunks_beside_decode);
    tcase_add_test(tcase, a_step_stretches_to_end_a_prompt);
    tcase_add_test(tcase, short_prompts_pass_a_long_one);
    tcase_add_test(tcase, long_prompts_take_turns);
    tcase_add_test(tcase, the_next_step_is_planned_late);
    tcase_add_test(tcase, the_cost_model_learns);
    tcase_add_test(tcase, the_cost_model_doubts_a_hiccup);
    tcase_add_test(tcase, the_cost_model_lasts);
    tcase_add_test(tcase, the_room_is_what_fits);
    tcase_add_test(tcase, equal_prompts_in_flight_share);
    tcase_add_test(tcase, cached_tokens_are_reported);
    tcase_add_test(tcase, waiting_order);
    tcase_add_test(tcase, nobody_starves);
    tcase_add_test(tcase, the_youngest_is_retracted);
    tcase_add_test(tcase, admission_expects_growth);
    tcase_add_test(tcase, naive_keeps_nothing);
    tcase_add_test(tcase, overlap_rows);
    tcase_add_test(tcase, ends_without_a_token);
    tcase_add_test(tcase, groups_save_the_most);
    tcase_add_test(tcase, resume_goes_on);
    tcase_add_test(tcase, pending_tokens_last_until_the_commit);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
