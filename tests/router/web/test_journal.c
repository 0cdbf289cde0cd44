#include "router/web/journal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "tests/common/suite.h"

static struct journal journal;

START_TEST(test_picks_the_cheapest_and_the_chosen)
{
    struct route_candidate all[50];
    size_t kept[JOURNAL_CANDIDATES];
    uint32_t at;
    uint64_t state = 3;
    for (int round = 0; round < 200; round++) {
        size_t count = 1 + rng_below(&state, 50), chosen = rng_below(&state, count);
        for (size_t i = 0; i < count; i++)
            all[i].cost = (double)rng_below(&state, 20);
        uint32_t n = journal_pick(all, count, chosen, kept, &at);
        ck_assert_uint_eq(n, MIN(count, (size_t)JOURNAL_CANDIDATES));
        ck_assert_uint_lt(at, n);
        ck_assert_uint_eq(kept[at], chosen);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t cheaper = 0;
            for (size_t k = 0; k < count; k++)
                cheaper += all[k].cost < all[kept[i]].cost;
            ck_assert(i == at || cheaper <= i);
            for (uint32_t k = 0; k < i; k++)
                ck_assert_uint_ne(kept[k], kept[i]);
        }
    }
}
END_TEST

START_TEST(test_events_of_one_kind_are_one)
{
    memset(&journal, 0, sizeof(journal));
    for (int i = 0; i < 500; i++)
        journal_event(&journal, JOURNAL_RESUMED, "worker-1", "call %d", i);
    ck_assert_uint_eq(journal.event_last, 1);
    ck_assert_uint_eq(journal.events[1].count, 500);
    ck_assert_str_eq(journal.events[1].text, "call 499");
    ck_assert_uint_eq(journal.events[1].changed, 500);
    journal_event(&journal, JOURNAL_RESUMED, "worker-2", "call");
    journal_event(&journal, JOURNAL_LEFT, "worker-2", "bye");
    ck_assert_uint_eq(journal.event_last, 3);
    for (int i = 0; i < 200; i++)
        journal_event(&journal, i % 2 ? JOURNAL_JOINED : JOURNAL_LEFT, "x", "y");
    ck_assert_uint_eq(journal.event_last, 203);
    ck_assert_uint_eq(journal.events[203 % JOURNAL_EVENTS].number, 203);
    ck_assert_str_eq(journal_kind_name(journal.events[203 % JOURNAL_EVENTS].kind), "joined");
}
END_TEST

START_TEST(test_names_are_cut_between_characters)
{
    char name[JOURNAL_NAME], text[300];
    journal_name(name, "short");
    ck_assert_str_eq(name, "short");
    for (size_t lead = 0; lead < 4; lead++) {
        memset(text, 'a', lead);
        for (size_t i = lead; i < 290; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[290] = '\0';
        journal_name(name, text);
        size_t len = strlen(name);
        ck_assert_uint_ge(len, JOURNAL_NAME - 3);
        ck_assert_uint_eq((len - lead) % 3, 0);
    }
}
END_TEST

START_TEST(test_decisions_go_round)
{
    memset(&journal, 0, sizeof(journal));
    for (uint64_t i = 1; i <= 100; i++) {
        struct journal_decision *decision = journal_decide(&journal);
        ck_assert_uint_eq(decision->number, i);
        ck_assert_ptr_eq(decision, &journal.decisions[i % JOURNAL_DECISIONS]);
        ck_assert_uint_gt(decision->at_ms, 1600000000000u);
    }
}
END_TEST

SUITE_MAIN("journal", test_picks_the_cheapest_and_the_chosen, test_events_of_one_kind_are_one,
           test_names_are_cut_between_characters, test_decisions_go_round)
