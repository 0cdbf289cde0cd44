#include <check.h>
#include <stdlib.h>

#include "common/rng.h"
#include "tests/effort.h"
#include "worker/req_table.h"

START_TEST(attempts_of_a_choice)
{
    struct req_table table;
    struct req_key key = {9, 1, 2, 1};
    struct req_entry *first, *third;

    req_table_init(&table, 4);
    ck_assert_ptr_null(req_table_newest(&table, &key));
    first = req_table_add(&table, &key);
    key.attempt = 3;
    third = req_table_add(&table, &key);
    key.attempt = 2;
    ck_assert_ptr_null(req_table_find(&table, &key));
    ck_assert_ptr_eq(req_table_newest(&table, &key), third);
    key.attempt = 1;
    ck_assert_ptr_eq(req_table_find(&table, &key), first);
    key.choice = 3;
    ck_assert_ptr_null(req_table_newest(&table, &key));
    key = (struct req_key){8, 1, 2, 1};
    ck_assert_ptr_null(req_table_newest(&table, &key)); /* another router's */
    key.epoch = 9;
    req_table_remove(&table, third);
    ck_assert_ptr_eq(req_table_newest(&table, &key), first);
    req_table_release(&table);
}
END_TEST

START_TEST(full_means_null)
{
    struct req_table table;
    struct req_key key = {1, 0, 0, 1};
    struct req_entry *entry = NULL;

    req_table_init(&table, 3);
    for (key.call = 0; key.call < 3; key.call++)
        ck_assert_ptr_nonnull(entry = req_table_add(&table, &key));
    ck_assert_ptr_null(req_table_add(&table, &key));
    req_table_remove(&table, entry);
    ck_assert_ptr_nonnull(req_table_add(&table, &key));
    ck_assert_uint_eq(table.count, 3);
    req_table_release(&table);
}
END_TEST

/* Random adds and removes against a plain array. */
START_TEST(agrees_with_a_plain_array)
{
    enum { CAP = 50, CALLS = 40 };
    uint64_t rng = 7;
    bool held[CALLS][3] = {{false}};
    uint32_t count = 0;
    struct req_table table;
    struct list link_reqs;

    req_table_init(&table, CAP);
    list_init(&link_reqs);
    for (uint64_t n = 0, rounds = effort(200000); n < rounds; n++) {
        struct req_key key = {1, rng_below(&rng, CALLS), 0, (uint32_t)rng_below(&rng, 3)};
        bool *is_held = &held[key.call][key.attempt];
        struct req_entry *entry = req_table_find(&table, &key);
        ck_assert_int_eq(entry != NULL, *is_held);
        if (entry) {
            req_table_remove(&table, entry);
        } else {
            entry = req_table_add(&table, &key);
            ck_assert_int_eq(entry != NULL, count < CAP);
            if (!entry)
                continue;
            list_append(&link_reqs, &entry->node);
        }
        *is_held = !*is_held;
        count += *is_held ? 1 : -1u;
        ck_assert_uint_eq(table.count, count);
    }
    uint32_t listed = 0;
    LIST_EACH(node, &link_reqs)
        listed++;
    ck_assert_uint_eq(listed, count);
    req_table_release(&table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("req_table");
    TCase *tc = tcase_create("req_table");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, attempts_of_a_choice);
    tcase_add_test(tc, full_means_null);
    tcase_add_test(tc, agrees_with_a_plain_array);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
