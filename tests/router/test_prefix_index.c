#include "router/prefix_index.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"
#include "tests/effort.h"

START_TEST(test_chains)
{
    struct prefix_index index;
    const uint64_t h[] = {11, 22, 33, 44, 55};
    const uint32_t workers[] = {0, 1, 2, 70};
    struct prefix_match out[4];
    prefix_index_init(&index);
    for (int i = 0; i < 3; i++)
        prefix_index_add(&index, 0, h[i]);
    prefix_index_add(&index, 1, h[0]);
    prefix_index_add(&index, 1, h[2]); /* beyond a gap: does not count */
    prefix_index_add(&index, 2, h[0]);
    prefix_index_expect(&index, 2, h, 4);
    for (int i = 0; i < 5; i++)
        prefix_index_add(&index, 70, h[i]);
    prefix_index_match(&index, h, 5, workers, 4, out);
    ck_assert_uint_eq(out[0].pages, 3);
    ck_assert_uint_eq(out[1].pages, 1);
    ck_assert_uint_eq(out[2].pages, 4);
    ck_assert_uint_eq(out[2].expected, 3);
    ck_assert_uint_eq(out[3].pages, 5);
    ck_assert_uint_eq(out[3].expected, 0);
    prefix_index_unexpect(&index, 2, h, 4);
    prefix_index_remove(&index, 0, h[1]);
    prefix_index_remove(&index, 0, 999);
    prefix_index_drop_worker(&index, 70, NULL, NULL);
    prefix_index_match(&index, h, 5, workers, 4, out);
    ck_assert_uint_eq(out[0].pages, 1);
    ck_assert_uint_eq(out[2].pages, 1);
    ck_assert_uint_eq(out[3].pages, 0);
    ck_assert_uint_eq(index.expected.count, 0);
    prefix_index_release(&index);
}
END_TEST

START_TEST(test_expected_counts_streams)
{
    struct prefix_index index;
    const uint64_t h[] = {1, 2};
    const uint32_t worker = 3;
    struct prefix_match out;
    prefix_index_init(&index);
    prefix_index_expect(&index, 3, h, 2);
    prefix_index_expect(&index, 3, h, 1);
    prefix_index_unexpect(&index, 3, h, 2);
    prefix_index_match(&index, h, 2, &worker, 1, &out);
    ck_assert_uint_eq(out.pages, 1);
    prefix_index_unexpect(&index, 3, h, 1);
    prefix_index_match(&index, h, 2, &worker, 1, &out);
    ck_assert_uint_eq(out.pages, 0);
    prefix_index_release(&index);
}
END_TEST

/* Against a plain table: adds, removes, dropped workers; colliding hashes on purpose. */
START_TEST(test_random_against_table)
{
    enum { WORKERS = 130, HASHES = 400 };
    static bool table[WORKERS][HASHES];
    struct prefix_index index;
    uint64_t state = 7, counts[WORKERS] = {0};
    memset(table, 0, sizeof(table));
    prefix_index_init(&index);
    for (uint64_t step = 0, steps = effort(200000); step < steps; step++) {
        uint32_t w = (uint32_t)rng_below(&state, WORKERS), k = (uint32_t)rng_below(&state, HASHES);
        uint64_t hash = (uint64_t)k << 20; /* the low bits are all alike */
        switch (rng_below(&state, 100)) {
        case 0:
            prefix_index_drop_worker(&index, w, NULL, NULL);
            memset(table[w], 0, sizeof(table[w]));
            counts[w] = 0;
            break;
        case 1 ... 40:
            prefix_index_remove(&index, w, hash);
            counts[w] -= table[w][k];
            table[w][k] = false;
            break;
        default:
            prefix_index_add(&index, w, hash);
            counts[w] += !table[w][k];
            table[w][k] = true;
        }
        ck_assert_uint_eq(prefix_index_pages(&index, w), counts[w]);
        if (step % 100 == 0) {
            struct prefix_match out;
            prefix_index_match(&index, &hash, 1, &w, 1, &out);
            ck_assert_uint_eq(out.pages, table[w][k]);
        }
    }
    for (uint32_t w = 0; w < WORKERS; w++) {
        for (uint32_t k = 0; k < HASHES; k++) {
            uint64_t hash = (uint64_t)k << 20;
            struct prefix_match out;
            prefix_index_match(&index, &hash, 1, &w, 1, &out);
            ck_assert_uint_eq(out.pages, table[w][k]);
        }
    }
    prefix_index_release(&index);
}
END_TEST

START_TEST(test_memory)
{
    struct prefix_index index;
    uint64_t state = 1;
    prefix_index_init(&index);
    uint64_t empty = prefix_index_bytes(&index);
    for (uint64_t pages = 1; pages <= 300000; pages++) {
        prefix_index_add(&index, 5, rng_next(&state));
        if (pages >= 1000)
            ck_assert_uint_le(prefix_index_bytes(&index) - empty, pages * 64);
    }
    ck_assert_uint_eq(prefix_index_pages(&index, 5), 300000);
    prefix_index_drop_worker(&index, 5, NULL, NULL);
    ck_assert_uint_eq(prefix_index_pages(&index, 5), 0);
    ck_assert_uint_eq(index.blocks[0].count, 0);
    prefix_index_release(&index);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_index");
    TCase *tc = tcase_create("prefix_index");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_chains);
    tcase_add_test(tc, test_expected_counts_streams);
    tcase_add_test(tc, test_random_against_table);
    tcase_add_test(tc, test_memory);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
