/* test_batch - packets round-trip, and no damaged block passes for one. */
#include "worker/sched/batch.h"

#include "common/mem.h"
#include "common/rng.h"
#include "tests/effort.h"

#include <check.h>
#include <string.h>

static const struct step_limits limits = {
    .rows = 4, .tokens = 16, .deltas = 6, .groups = 2, .words = 12};

/* Two decode rows in a group, and a chunk. */
static const struct step_packet *example(struct step_builder *b, void *block)
{
    step_builder_reset(b);
    b->rows[0] = (struct step_row){.slot = 2, .token_first = 0, .token_count = 1, .pos_first = 40};
    b->rows[1] = (struct step_row){.slot = 0, .token_first = 1, .token_count = 1, .pos_first = 33};
    b->rows[2] = (struct step_row){.slot = 1, .token_first = 2, .token_count = 5, .pos_first = 0};
    b->row_count = 3;
    for (uint32_t i = 0; i < 7; i++)
        b->tokens[i] = 100 + i;
    b->tokens[0] = STEP_TOKEN_LAST;
    b->token_count = 7;
    b->deltas[0] = (struct page_delta){.slot = 1, .idx = 0, .page = 9};
    b->delta_count = 1;
    b->samples[0] = (struct step_sample){.row = 0, .position = 41, .sampling = sampling_default()};
    b->samples[1] = (struct step_sample){.row = 1, .position = 34, .sampling = sampling_default()};
    b->sample_count = 2;
    b->groups[0] = (struct prefix_group){.row_first = 0, .row_count = 2, .page_count = 2};
    b->group_count = 1;
    b->scores[0] = (struct step_score){.token = 3, .target = 104, .logprobs = 1};
    b->scores[1] = (struct step_score){.token = 4, .target = 105, .logprobs = 6};
    b->score_count = 2;
    b->setups[0] = (struct step_setup){.slot = 2,
                                       .prompt_count = 2,
                                       .history_count = 3,
                                       .stop_first = 3,
                                       .stop_count = 1,
                                       .bias_first = 4,
                                       .bias_count = 2};
    b->setup_count = 1;
    for (uint32_t i = 0; i < 8; i++)
        b->words[i] = 50 + i;
    b->word_count = 8;
    return step_builder_finish(b, 7, block);
}

START_TEST(parts_come_back)
{
    struct step_builder b;
    step_builder_init(&b, &limits);
    size_t bytes_max = step_packet_bytes_max(&limits);
    void *block = mem_aligned(bytes_max, 64);
    const struct step_packet *p = example(&b, block);
    ck_assert_uint_le(p->bytes, bytes_max);
    ck_assert_uint_eq(p->step, 7);
    ck_assert_uint_eq(step_rows(p)[2].token_count, 5);
    ck_assert_uint_eq(step_tokens(p)[0], STEP_TOKEN_LAST);
    ck_assert_uint_eq(step_tokens(p)[6], 106);
    ck_assert_uint_eq(step_deltas(p)[0].page, 9);
    ck_assert_uint_eq(step_samples(p)[1].position, 34);
    ck_assert_uint_eq(step_groups(p)[0].page_count, 2);
    ck_assert_uint_eq(step_scores(p)[1].target, 105);
    ck_assert_uint_eq(step_setups(p)[0].bias_count, 2);
    ck_assert_uint_eq(step_words(p)[7], 57);
    ck_assert_uint_eq((uintptr_t)step_samples(p) % 16, 0);
    ck_assert(step_packet_valid(block, p->bytes, &limits, 4));
    step_builder_reset(&b);
    p = step_builder_finish(&b, 8, block);
    ck_assert(step_packet_valid(block, p->bytes, &limits, 4)); /* an empty step is a packet too */
    mem_free(block);
    step_builder_release(&b);
}
END_TEST

START_TEST(equal_steps_are_equal_bytes)
{
    struct step_builder b;
    step_builder_init(&b, &limits);
    size_t bytes_max = step_packet_bytes_max(&limits);
    void *one = mem_aligned(bytes_max, 64), *two = mem_aligned(bytes_max, 64);
    memset(one, 0xff, bytes_max);
    const struct step_packet *p = example(&b, one);
    example(&b, two);
    ck_assert_mem_eq(one, two, p->bytes);
    mem_free(one);
    mem_free(two);
    step_builder_release(&b);
}
END_TEST

/* Each line makes one field wrong; the block must be refused. */
START_TEST(damage_is_refused)
{
    struct step_builder b;
    step_builder_init(&b, &limits);
    void *block = mem_aligned(step_packet_bytes_max(&limits), 64);
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct step_packet *p = (struct step_packet *)(uintptr_t)example(&b, block);               \
        size_t bytes = p->bytes;                                                                   \
        ck_assert(step_packet_valid(block, bytes, &limits, 4));                                    \
        change;                                                                                    \
        ck_assert_msg(!step_packet_valid(block, bytes, &limits, 4), #change);                      \
    } while (0)
#define ROW(i)    ((struct step_row *)(uintptr_t)step_rows(p))[i]
#define SAMPLE(i) ((struct step_sample *)(uintptr_t)step_samples(p))[i]
#define GROUP(i)  ((struct prefix_group *)(uintptr_t)step_groups(p))[i]
#define SCORE(i)  ((struct step_score *)(uintptr_t)step_scores(p))[i]
#define SETUP     ((struct step_setup *)(uintptr_t)step_setups(p))[0]
    REFUSED(bytes -= 1);
    REFUSED(p->score_count = 3);
    REFUSED(p->setup_count = 4);
    REFUSED(p->word_count = 13);
    REFUSED(SAMPLE(0).logprobs = SAMPLING_TOP_MAX + 2);
    REFUSED(SCORE(0).token = 7);
    REFUSED(SCORE(1).token = 3);
    REFUSED(SCORE(1).logprobs = 22);
    REFUSED(SETUP.slot = 4);
    REFUSED(SETUP.prompt_count = 4);
    REFUSED(SETUP.history_count = 9);
    REFUSED(SETUP.history_first = UINT32_MAX);
    REFUSED(SETUP.stop_first = 8);
    REFUSED(SETUP.bias_count = 3);
    REFUSED(SETUP.bias_count = UINT32_MAX);
    REFUSED(bytes = 8);
    REFUSED(p->bytes += 16);
    REFUSED(p->row_count = 5);
    REFUSED(p->row_count = 2);
    REFUSED(p->token_count = 6);
    REFUSED(p->token_count = UINT32_MAX);
    REFUSED(p->delta_count = 7);
    REFUSED(p->sample_count = 4);
    REFUSED(p->group_count = 3);
    REFUSED(p->tokens_off += 16);
    REFUSED(p->groups_off = 0xfffffff0u);
    REFUSED(ROW(0).slot = 4);
    REFUSED(ROW(1).token_first = 0);
    REFUSED(ROW(1).token_count = 0);
    REFUSED(ROW(2).token_count = 6);
    REFUSED(ROW(2).token_count = UINT32_MAX);
    REFUSED(ROW(2).pos_first = UINT32_MAX - 2);
    REFUSED(((uint32_t *)(uintptr_t)step_tokens(p))[3] = STEP_TOKEN_LAST);
    REFUSED(((struct page_delta *)(uintptr_t)step_deltas(p))[0].slot = 4);
    REFUSED(SAMPLE(0).row = 3);
    REFUSED(SAMPLE(1).row = 0);
    REFUSED(SAMPLE(0).position = 40);
    REFUSED(GROUP(0).row_count = 1);
    REFUSED(GROUP(0).row_count = 4);
    REFUSED(GROUP(0).row_first = 2);
    REFUSED(GROUP(0).row_first = UINT32_MAX);
    REFUSED(GROUP(0).page_count = 0);
    mem_free(block);
    step_builder_release(&b);
}
END_TEST

/* Random words anywhere never make a valid() call read out of bounds (ASan watches). */
START_TEST(random_damage_is_survived)
{
    struct step_builder b;
    step_builder_init(&b, &limits);
    uint64_t rng = 5;
    uint32_t refused = 0;
    uint64_t turns = effort(200000);
    for (uint64_t turn = 0; turn < turns; turn++) {
        uint64_t scratch[128];
        ck_assert_uint_le(step_packet_bytes_max(&limits), sizeof(scratch));
        uint32_t bytes = example(&b, scratch)->bytes;
        uint32_t *exact = mem_alloc(bytes);
        memcpy(exact, scratch, bytes);
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
            exact[rng_below(&rng, bytes / 4)] = (uint32_t)rng_next(&rng) >> rng_below(&rng, 32);
        refused += !step_packet_valid(exact, bytes, &limits, 4);
        mem_free(exact);
    }
    ck_assert_uint_gt(refused, turns / 20);
    step_builder_release(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch");
    TCase *tcase = tcase_create("batch");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parts_come_back);
    tcase_add_test(tcase, equal_steps_are_equal_bytes);
    tcase_add_test(tcase, damage_is_refused);
    tcase_add_test(tcase, random_damage_is_survived);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
