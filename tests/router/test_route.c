#include "router/route.h"

#include <check.h>
#include <stdlib.h>

static struct route_candidate candidate(uint32_t held, uint32_t expected, uint64_t pending,
                                        uint64_t reqs, uint64_t turn)
{
    struct route_candidate c = {.prompt_tokens = 1000,
                                .held_tokens = held,
                                .expected_tokens = expected,
                                .pending_tokens = pending,
                                .reqs = reqs,
                                .last_turn = turn};
    c.cost = route_cost(&c, 32);
    return c;
}

START_TEST(test_cost_is_in_tokens)
{
    struct route_candidate c = candidate(400, 0, 250, 3, 0);
    ck_assert_double_eq(c.cost, 600 + 250 + 96);
    c = candidate(0, 400, 450, 0, 0); /* of 450 waiting tokens, 400 are this prompt's own */
    ck_assert_double_eq(c.cost, 600 + 450 - 400 / 2);
    c.busy = 0.5;
    ck_assert_double_eq(route_cost(&c, 32), 1200 + 450 - 300);
    c = candidate(0, 400, 100, 0, 0); /* most of the prefix is done meanwhile */
    ck_assert_double_eq(c.cost, 600 + 100 / 2);
}
END_TEST

/* A few siblings of a prompt that is being computed stay together on an idle fleet, many do not. */
START_TEST(test_siblings_stay_until_they_are_many)
{
    for (uint32_t siblings = 1; siblings < 20; siblings++) {
        struct route_candidate c[] = {candidate(0, 900, 900 + 100 * siblings, siblings, 9),
                                      candidate(0, 0, 0, 0, 0)};
        ck_assert_uint_eq(route_prefix.pick(c, 2), siblings <= 3 ? 0 : 1);
    }
}
END_TEST

START_TEST(test_prefix_follows_the_cache_until_it_is_too_busy)
{
    struct route_candidate c[] = {candidate(0, 0, 0, 0, 1), candidate(900, 0, 0, 5, 9),
                                  candidate(0, 0, 0, 0, 0)};
    ck_assert_uint_eq(route_prefix.pick(c, 3), 1);
    c[1] = candidate(900, 0, 0, 40, 9);
    ck_assert_uint_eq(route_prefix.pick(c, 3), 2); /* equal costs: the longest unused */
    c[1] = candidate(900, 0, 2000, 0, 9);
    ck_assert_uint_eq(route_prefix.pick(c, 3), 2);
}
END_TEST

/* All are busy: what waits at the holder is shorter than what everybody would wait for. */
START_TEST(test_a_busy_fleet_computes_nothing_twice)
{
    struct route_candidate c[] = {candidate(0, 0, 500, 1, 0), candidate(900, 0, 2000, 1, 9)};
    ck_assert_uint_eq(route_prefix.pick(c, 2), 0);
    for (int i = 0; i < 2; i++) {
        c[i].busy = 0.75;
        c[i].cost = route_cost(&c[i], 32);
    }
    ck_assert_double_eq(c[0].cost, 4000 + 500 + 32);
    ck_assert_double_eq(c[1].cost, 400 + 2000 + 32);
    ck_assert_uint_eq(route_prefix.pick(c, 2), 1);
    c[1].pending_tokens = 9000; /* but not at any price */
    c[1].cost = route_cost(&c[1], 32);
    ck_assert_uint_eq(route_prefix.pick(c, 2), 0);
    c[1].busy = 1; /* the price is bounded */
    ck_assert(route_cost(&c[1], 32) < 20000);
}
END_TEST

/* One holder of a hot prefix that is always busy, beside workers that never are: it spreads. */
START_TEST(test_a_hot_prefix_spreads)
{
    struct route_candidate c[] = {candidate(800, 0, 0, 0, 9), candidate(0, 0, 0, 0, 0)};
    ck_assert_uint_eq(route_prefix.pick(c, 2), 0);
    c[0].busy = 0.9;
    c[0].cost = route_cost(&c[0], 32);
    ck_assert_uint_eq(route_prefix.pick(c, 2), 1);
}
END_TEST

START_TEST(test_busy_share_follows)
{
    double busy = 0;
    uint64_t looks = 1000;
    for (int i = 0; i < 8 * 16; i++)
        busy = route_busy(busy, true, 8, looks++);
    ck_assert(busy > 0.6 && busy < 0.66); /* 1 - 1/e after 16 turns of each of 8 workers */
    for (int i = 0; i < 4000; i++)
        busy = route_busy(busy, true, 8, looks++);
    ck_assert(busy > 0.99 && busy <= 1);
    for (int i = 0; i < 4000; i++)
        busy = route_busy(busy, i % 2 == 0, 8, looks++);
    ck_assert(busy > 0.45 && busy < 0.55);
    for (int i = 0; i < 4000; i++)
        busy = route_busy(busy, false, 8, looks++);
    ck_assert(busy >= 0 && busy < 0.01);
}
END_TEST
/* A router that has just started, one of several, sees few decisions: it must not take as long as all. */
START_TEST(test_busy_share_is_learned_soon)
{
    double busy = 0;
    uint64_t looks = 0;
    for (; looks < 8; looks++)
        busy = route_busy(busy, true, 8, looks);
    ck_assert_double_eq_tol(busy, 0.5, 1e-9); /* one turn idle, one busy */
    for (; looks < 72; looks++)
        busy = route_busy(busy, true, 8, looks);
    ck_assert_double_eq_tol(busy, 0.9, 1e-9);
}
END_TEST

START_TEST(test_least_and_turns)
{
    struct route_candidate c[] = {candidate(999, 0, 10, 2, 1), candidate(0, 0, 50, 1, 9),
                                  candidate(0, 0, 20, 1, 5)};
    ck_assert_uint_eq(route_least.pick(c, 3), 2);
    ck_assert_uint_eq(route_rr.pick(c, 3), 0);
    c[0].last_turn = 10;
    ck_assert_uint_eq(route_rr.pick(c, 3), 2);
    ck_assert_uint_eq(route_rr.pick(c, 1), 0);
}
END_TEST

START_TEST(test_policies_by_kind)
{
    ck_assert_ptr_eq(route_policy_of(ROUTE_PREFIX), &route_prefix);
    ck_assert_ptr_eq(route_policy_of(ROUTE_LEAST), &route_least);
    ck_assert_ptr_eq(route_policy_of(ROUTE_RR), &route_rr);
    ck_assert_str_eq(ROUTE_POLICIES, "prefix|least|rr");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route");
    TCase *tc = tcase_create("route");
    tcase_add_test(tc, test_cost_is_in_tokens);
    tcase_add_test(tc, test_siblings_stay_until_they_are_many);
    tcase_add_test(tc, test_prefix_follows_the_cache_until_it_is_too_busy);
    tcase_add_test(tc, test_a_busy_fleet_computes_nothing_twice);
    tcase_add_test(tc, test_a_hot_prefix_spreads);
    tcase_add_test(tc, test_busy_share_follows);
    tcase_add_test(tc, test_busy_share_is_learned_soon);
    tcase_add_test(tc, test_least_and_turns);
    tcase_add_test(tc, test_policies_by_kind);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
