/* The sim engine: its tokens are a function of the prompt alone and betray wrong pages; its time is
 * the table's. */
#include "common/clock.h"
#include "worker/engine/kinds.h"
#include "worker/engine/sim.h"
#include "worker/engine/sim_table.h"

#include "tests/worker/engine/fixture.h"

#include <math.h>
#include <poll.h>

#define VOCAB 1000u

static struct fixture_dir make_dir(void)
{
    json_t *config =
        json_pack("{s:[s], s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f}", "architectures",
                  "LlamaForCausalLM", "hidden_size", 64, "num_hidden_layers", 2,
                  "num_attention_heads", 4, "num_key_value_heads", 2, "intermediate_size", 128,
                  "vocab_size", VOCAB, "max_position_embeddings", 512, "rms_norm_eps", 1e-5);
    struct fixture_dir dir = fixture_dir_make(config);
    json_decref(config);
    return dir;
}

/* A table by hand: 1 ms a step, whatever is in it. */
static void write_table(const struct fixture_dir *dir, const char *text, char path[128])
{
    snprintf(path, 128, "%s/model.safetensors",
             dir->path); /* a name that fixture_dir_remove knows */
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

struct world {
    struct fixture_dir dir;
    char table[128];
    struct engine *engine;
    const struct engine_info *info;
    struct step_builder builder;
    void *block;
    uint32_t page_size;
    uint64_t steps;
};

static void world_init(struct world *w, uint32_t page_size, const char *table, double speed)
{
    struct err err = {0};
    *w = (struct world){.dir = make_dir(), .page_size = page_size};
    write_table(&w->dir, table, w->table);
    struct engine_opts opts = fixture_opts(w->dir.path, false, 0);
    opts.page_size = page_size;
    opts.kv_bytes = 64 * page_size; /* 64 pages at a byte a token */
    opts.sim_table = w->table;
    opts.sim_speed = speed;
    ck_assert_msg(sim_open(&opts, &w->engine, &err) == STATUS_OK, "%s", err.text);
    w->info = sim_info(w->engine);
    ck_assert_uint_eq(w->info->pages, 64);
    w->block = mem_aligned(ROUND_UP(step_packet_bytes_max(&w->info->limits), 64u), 64);
    step_builder_init(&w->builder, &w->info->limits);
}

static void world_release(struct world *w)
{
    sim_close(w->engine);
    step_builder_release(&w->builder);
    mem_free(w->block);
    fixture_dir_remove(&w->dir);
}

/* One row into the packet being built; pages of the slot are first_page, first_page + 1, … */
static void put_row(struct world *w, uint32_t slot, uint32_t first_page, const uint32_t *tokens,
                    uint32_t count, uint32_t pos, bool sampled)
{
    struct step_builder *b = &w->builder;
    for (uint32_t i = pos; i < pos + count; i++)
        if (i == pos || i % w->page_size == 0)
            b->deltas[b->delta_count++] =
                (struct page_delta){slot, i / w->page_size, first_page + i / w->page_size};
    uint32_t row = b->row_count++;
    b->rows[row] = (struct step_row){slot, b->token_count, count, pos};
    for (uint32_t i = 0; i < count; i++)
        b->tokens[b->token_count++] = tokens ? tokens[i] : STEP_TOKEN_LAST;
    if (sampled)
        b->samples[b->sample_count++] = (struct step_sample){.row = row, .position = pos + count};
}

static uint64_t submit(struct world *w)
{
    struct err err = {0};
    uint64_t ticket;
    const struct step_packet *packet = step_builder_finish(&w->builder, ++w->steps, w->block);
    ck_assert_msg(sim_submit(w->engine, packet, &ticket, &err) == STATUS_OK, "%s", err.text);
    step_builder_reset(&w->builder);
    return ticket;
}

static struct step_result wait_for(struct world *w, uint64_t ticket)
{
    struct step_result result;
    struct err err = {0};
    ck_assert_int_eq(sim_wait(w->engine, ticket, &result, &err), STATUS_OK);
    return result;
}

#define FAST "{\"launch_us\": 1}"

/* Prompt in chunks, then decode steps of which two are in flight: as sim_next_token() says. */
START_TEST(tokens_follow_from_the_prompt_alone)
{
    static const uint32_t pages[] = {1, 4, 16, 64}, chunks[] = {3, 50, 200, 17};
    struct world w;
    uint32_t text[80];
    for (uint32_t i = 0; i < 50; i++)
        text[i] = (i * 37 + 5) % VOCAB;
    world_init(&w, pages[_i], FAST, 1);
    for (uint32_t pos = 0; pos < 50; pos += chunks[_i]) {
        uint32_t count = MIN(chunks[_i], 50 - pos);
        put_row(&w, 2, 0, text + pos, count, pos, pos + count == 50);
        struct step_result result = wait_for(&w, submit(&w));
        if (pos + count == 50)
            text[50] = result.tokens[0];
    }
    put_row(&w, 2, 0, NULL, 1, 50, true);
    uint64_t ticket = submit(&w);
    for (uint32_t i = 51; i < 60; i++) {
        put_row(&w, 2, 0, NULL, 1, i, true);
        uint64_t next = submit(&w);
        text[i] = wait_for(&w, ticket).tokens[0];
        ticket = next;
    }
    wait_for(&w, ticket);
    for (uint32_t i = 50; i < 60; i++)
        ck_assert_uint_eq(text[i], sim_next_token(text, i, VOCAB));
    world_release(&w);
}
END_TEST

START_TEST(ids_are_text)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t small = sim_next_token(&i, 1, 512), large = sim_next_token(&i, 1, 151936);
        ck_assert(small >= 256 && small < 256 + 192);
        ck_assert(large >= 256 && large < 256 + 32768);
        seen += large >= 20000;
    }
    ck_assert_uint_gt(seen, 500);
}
END_TEST

/* Two slots share the first pages of one prompt, as after a cache hit; then the page is wrong. */
START_TEST(a_wrongly_shared_page_changes_the_text)
{
    struct world w;
    uint32_t text[40], other[40];
    for (uint32_t i = 0; i < 40; i++) {
        text[i] = i + 3;
        other[i] = i + 300;
    }
    world_init(&w, 16, FAST, 1);
    put_row(&w, 0, 0, text, 40, 0, false);
    put_row(&w, 1, 8, other, 40, 0, false);
    wait_for(&w, submit(&w));

    for (uint32_t wrong = 0; wrong < 3; wrong++) {
        uint32_t swapped[] = {0, 1};
        if (wrong == 1)
            swapped[1] = 9; /* another prompt's page */
        if (wrong == 2)
            swapped[0] = 1, swapped[1] = 0; /* the right pages in the wrong order */
        for (uint32_t i = 0; i < 2; i++)
            w.builder.deltas[w.builder.delta_count++] = (struct page_delta){3, i, swapped[i]};
        put_row(&w, 3, 20, text + 32, 8, 32, true);
        struct step_result result = wait_for(&w, submit(&w));
        /* The order of pages alone adds up to the same sum: kv knows its position, so what attention
         * reads is the same, too. */
        if (wrong == 1)
            ck_assert_uint_ne(result.tokens[0], sim_next_token(text, 40, VOCAB));
        else
            ck_assert_uint_eq(result.tokens[0], sim_next_token(text, 40, VOCAB));
    }
    world_release(&w);
}
END_TEST

START_TEST(an_overwritten_page_changes_the_text)
{
    struct world w;
    uint32_t text[40];
    for (uint32_t i = 0; i < 40; i++)
        text[i] = i + 3;
    world_init(&w, 16, FAST, 1);
    put_row(&w, 0, 0, text, 40, 0, false);
    wait_for(&w, submit(&w));
    put_row(&w, 1, 1, text, 16, 0, false); /* page 1, which slot 0 still has */
    wait_for(&w, submit(&w));
    put_row(&w, 0, 0, text + 39, 1, 39, true);
    ck_assert_uint_ne(wait_for(&w, submit(&w)).tokens[0], sim_next_token(text, 40, VOCAB));
    world_release(&w);
}
END_TEST

static bool readable(const struct world *w, int timeout_ms)
{
    struct pollfd fd = {.fd = sim_event_fd(w->engine), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

/* 20 ms a step at speed 2 of 40: the fd tells in time, steps queue one behind the other. */
START_TEST(steps_take_their_time)
{
    struct world w;
    uint32_t token = 7;
    world_init(&w, 16, "{\"launch_us\": 10000, \"weights_us\": 30000, \"token_us\": 1}", 2);
    ck_assert(!readable(&w, 0));
    uint64_t start_ns = clock_now_ns();
    put_row(&w, 0, 0, &token, 1, 0, true);
    uint64_t first = submit(&w);
    put_row(&w, 0, 0, NULL, 1, 1, true);
    uint64_t second = submit(&w);
    ck_assert(!readable(&w, 5));
    ck_assert(readable(&w, 1000));
    struct step_result result = wait_for(&w, first);
    uint64_t one_ns = clock_now_ns() - start_ns;
    ck_assert_uint_eq(result.device_ns, 20000000);
    ck_assert(one_ns >= 20000000);
    ck_assert(!readable(&w, 0));
    ck_assert(readable(&w, 1000));
    wait_for(&w, second);
    ck_assert(clock_now_ns() - start_ns >= 40000000);
    ck_assert(!readable(&w, 5)); /* nothing in flight: nothing to say */
    world_release(&w);
}
END_TEST

START_TEST(the_table_adds_up)
{
    static const struct sim_table table = {.launch_us = 5,
                                           .weights_us = 100,
                                           .token_us = 2,
                                           .attention_us = 0.5,
                                           .kv_us = 0.25,
                                           .mixed_us = 1000};
    struct world w;
    uint32_t tokens[100] = {0};
    world_init(&w, 16, FAST, 1);
    put_row(&w, 0, 0, tokens, 1, 63, true);
    put_row(&w, 1, 0, tokens, 1, 79, true);
    w.builder.groups[w.builder.group_count++] = (struct prefix_group){0, 2, 3};
    const struct step_packet *packet = step_builder_finish(&w.builder, 1, w.block);
    ck_assert_double_eq_tol(sim_table_step_us(&table, packet, 16),
                            5 + hypot(100, 4) + 0.25 * (63 + 79 - 48), 1e-9);
    put_row(&w, 2, 8, tokens, 100, 32, false);
    packet = step_builder_finish(&w.builder, 2, w.block);
    ck_assert_double_eq_tol(
        sim_table_step_us(&table, packet, 16),
        5 + hypot(100, 204) + 0.25 * (63 + 79 - 48) + 0.5 * 100 * (32 + 50) + 1000, 1e-9);
    step_builder_reset(&w.builder);
    put_row(&w, 2, 8, tokens, 100, 32, false);
    packet = step_builder_finish(&w.builder, 3, w.block);
    ck_assert_double_eq_tol(sim_table_step_us(&table, packet, 16),
                            5 + hypot(100, 200) + 0.5 * 100 * (32 + 50), 1e-9);
    step_builder_reset(&w.builder);
    world_release(&w);
}
END_TEST

START_TEST(tables_are_checked)
{
    struct fixture_dir dir = make_dir();
    struct sim_table table;
    struct err err = {0};
    char path[128];
    ck_assert_int_eq(sim_table_load(NULL, &table, &err), STATUS_OK);
    double default_us = table.weights_us;
    ck_assert_int_eq(sim_table_load("h200-qwen3-14b", &table, &err), STATUS_OK);
    ck_assert_double_eq(table.weights_us, default_us);
    ck_assert_int_eq(sim_table_load("h300", &table, &err), STATUS_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "h200-qwen3-0.6b"));
    ck_assert_int_eq(sim_table_load("./none.json", &table, &err), STATUS_NOT_FOUND);
    write_table(&dir, "{\"mixed_us\": 2.5}", path);
    ck_assert_int_eq(sim_table_load(path, &table, &err), STATUS_OK);
    ck_assert_double_eq(table.mixed_us, 2.5);
    write_table(&dir, "{\"token_us\": \"much\"}", path);
    ck_assert_int_eq(sim_table_load(path, &table, &err), STATUS_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "token_us"));
    write_table(&dir, "{\"token_us\": -1}", path);
    ck_assert_int_eq(sim_table_load(path, &table, &err), STATUS_INVALID);
    fixture_dir_remove(&dir);
}
END_TEST

START_TEST(broken_packets_are_refused)
{
    struct world w;
    uint32_t token = VOCAB;
    uint64_t ticket;
    struct err err = {0};
    world_init(&w, 16, FAST, 1);
    put_row(&w, 0, 0, &token, 1, 0, true);
    const struct step_packet *packet = step_builder_finish(&w.builder, 1, w.block);
    ck_assert_int_eq(sim_submit(w.engine, packet, &ticket, &err), STATUS_INVALID);
    step_builder_reset(&w.builder);
    token = 0;
    put_row(&w, 0, 64, &token, 1, 0, true); /* a page beyond the pool */
    packet = step_builder_finish(&w.builder, 1, w.block);
    ck_assert_int_eq(sim_submit(w.engine, packet, &ticket, &err), STATUS_INVALID);
    step_builder_reset(&w.builder);
    world_release(&w);
}
END_TEST

START_TEST(kinds_are_in_the_option_s_order)
{
    ck_assert_str_eq(engine_kind_of(0)->name, "model");
    ck_assert_str_eq(engine_kind_of(1)->name, "sim");
    ck_assert_str_eq(ENGINE_KINDS, "model|sim");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, tokens_follow_from_the_prompt_alone, 0, 4);
    tcase_add_test(tcase, ids_are_text);
    tcase_add_test(tcase, a_wrongly_shared_page_changes_the_text);
    tcase_add_test(tcase, an_overwritten_page_changes_the_text);
    tcase_add_test(tcase, steps_take_their_time);
    tcase_add_test(tcase, the_table_adds_up);
    tcase_add_test(tcase, tables_are_checked);
    tcase_add_test(tcase, broken_packets_are_refused);
    tcase_add_test(tcase, kinds_are_in_the_option_s_order);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
