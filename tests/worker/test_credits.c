#include "worker/credits.h"

#include <check.h>
#include <stdlib.h>

#include "common/rng.h"

START_TEST(one_router_has_all)
{
    struct credit_user one = {.held = 20};
    credits_split(320, 300, &one, 1);
    ck_assert_uint_eq(one.credits, 300);
    one = (struct credit_user){.held = 0};
    credits_split(4, 4, &one, 1);
    ck_assert_uint_eq(one.credits, 4);
    credits_split(4, 0, &one, 1); /* draining */
    ck_assert_uint_eq(one.credits, 0);
    credits_split(4, 4, NULL, 0);
}
END_TEST

START_TEST(the_picture_in_the_header)
{
    struct credit_user users[] = {{.held = 40}, {.held = 150}, {.held = 0}};
    credits_split(320, 130, users, 3);
    ck_assert_uint_eq(users[0].credits, 110);
    ck_assert_uint_eq(users[1].credits, 0);
    ck_assert_uint_eq(users[2].credits, 18);
}
END_TEST

START_TEST(the_last_slots_go_to_who_holds_least)
{
    struct credit_user users[] = {
        {.held = 9, .active = true}, {.held = 7, .active = true}, {.held = 8, .active = true}};
    credits_split(30, 2, users, 3);
    ck_assert_uint_eq(users[0].credits + users[1].credits + users[2].credits, 2);
    ck_assert_uint_ge(users[1].credits, 1);
    struct credit_user few[] = {
        {.held = 1}, {.held = 0, .active = true}, {.held = 0, .active = true}};
    credits_split(2, 1, few, 3); /* fewer slots than routers */
    ck_assert_uint_eq(few[0].credits, 0);
    ck_assert_uint_eq(few[1].credits + few[2].credits, 1);
}
END_TEST

/* Saturated routers with unlike demand, reqs that end at random: all hold the same in the mean. */
START_TEST(shares_hold_in_the_long_run)
{
    struct credit_user users[4] = {{0}};
    uint64_t random = 5, sums[4] = {0}, slots = 64, rounds = 20000;
    for (uint64_t round = 0; round < rounds; round++) {
        uint32_t held = 0, active = round < rounds / 2 ? 4 : 3; /* then one disappears */
        for (uint32_t i = 0; i < 4; i++) {
            if (i >= active)
                users[i] = (struct credit_user){0};
            if (users[i].held > 0 && rng_below(&random, 3) == 0)
                users[i].held--;
            users[i].active = true;
            held += users[i].held;
        }
        credits_split((uint32_t)slots, (uint32_t)slots - held, users, active);
        for (uint32_t i = 0; i < active; i++) {
            /* The first router's queue is endless, the others send a few at a time. */
            uint32_t sent = MIN(users[i].credits, i == 0 ? UINT32_MAX : 2u);
            users[i].held += sent;
            held += sent;
            if (round % (rounds / 2) > 1000)
                sums[i] += users[i].held;
        }
        ck_assert_uint_le(held, slots);
        if (round == rounds / 2 - 1 || round == rounds - 1) {
            for (uint32_t i = 1; i < active; i++) {
                double ratio = (double)sums[i] / (double)sums[0];
                ck_assert_msg(ratio > 0.95 && ratio < 1.05, "round %llu, router %u: %f",
                              (unsigned long long)round, i, ratio);
            }
            double mean = (double)sums[0] / (double)(rounds / 2 - 1001);
            ck_assert(mean > 0.9 * (double)slots / active); /* nothing lies idle */
            for (uint32_t i = 0; i < 4; i++)
                sums[i] = 0;
        }
    }
}
END_TEST

START_TEST(never_more_than_is_free)
{
    uint64_t random = 1;
    for (int round = 0; round < 100000; round++) {
        struct credit_user users[8];
        uint32_t count = 1 + (uint32_t)rng_below(&random, 8);
        uint32_t slots = 1 + (uint32_t)rng_below(&random, 400), held = 0;
        for (uint32_t i = 0; i < count; i++) {
            users[i] = (struct credit_user){.held = (uint32_t)rng_below(&random, slots - held + 1),
                                            .active = rng_below(&random, 2) == 1};
            held += users[i].held;
        }
        uint32_t sum = 0, free = slots - held;
        credits_split(slots, free, users, count);
        for (uint32_t i = 0; i < count; i++)
            sum += users[i].credits;
        ck_assert_uint_le(sum, free);
        if (count == 1)
            ck_assert_uint_eq(sum, free);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("credits");
    TCase *tc = tcase_create("credits");
    tcase_add_test(tc, one_router_has_all);
    tcase_add_test(tc, the_picture_in_the_header);
    tcase_add_test(tc, the_last_slots_go_to_who_holds_least);
    tcase_add_test(tc, shares_hold_in_the_long_run);
    tcase_add_test(tc, never_more_than_is_free);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
