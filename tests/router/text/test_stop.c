#include "router/text/stop.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "tests/effort.h"

/* The rule in its plainest form: the match that completes first, of these the longest. */
static size_t reference(const char *text, const char *const *stops, size_t count, bool include,
                        bool *hit)
{
    size_t len = strlen(text);
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < count; i++) {
            size_t n = strlen(stops[i]);
            if (n <= end && n > longest && memcmp(text + end - n, stops[i], n) == 0)
                longest = n;
        }
        if (longest > 0) {
            *hit = true;
            return include ? end : end - longest;
        }
    }
    *hit = false;
    return len;
}

static void run_cut(const char *text, const char *const *stops, size_t count, bool include,
                    uint64_t seed)
{
    struct str strings[STOP_STRINGS_MAX];
    struct stop stop;
    struct buf out = {0};
    bool expected_hit, hit = false;
    size_t expected = reference(text, stops, count, include, &expected_hit);
    for (size_t i = 0; i < count; i++)
        strings[i] = str_from(stops[i]);
    stop_init(&stop, strings, count, include);
    for (size_t at = 0, len = strlen(text); at < len;) {
        size_t want = rng_below(&seed, 4), piece = MIN(len - at, want);
        hit = stop_push(&stop, text + at, piece, &out);
        ck_assert_msg(out.len <= expected, "text of a stop string got out");
        at += piece;
    }
    stop_finish(&stop, &out);
    ck_assert_int_eq(hit, expected_hit);
    ck_assert_uint_eq(out.len, expected);
    ck_assert(memcmp(out.data ? out.data : "", text, expected) == 0);
    stop_release(&stop);
    buf_release(&out);
}

START_TEST(test_across_borders)
{
    const char *const stops[] = {"</end>", "\n\n", "STOP"};
    for (uint64_t seed = 0; seed < 50; seed++) {
        run_cut("hello </en </end> tail", stops, 3, false, seed);
        run_cut("hello </end tail\n no STO", stops, 3, false, seed);
        run_cut("", stops, 3, false, seed);
        run_cut("STOP", stops, 3, true, seed);
    }
}
END_TEST

START_TEST(test_overlapping)
{
    const char *const stops[] = {"aab", "ab", "abab"};
    for (uint64_t seed = 0; seed < 50; seed++) {
        run_cut("aaaab", stops, 3, false, seed);
        run_cut("abab", stops + 2, 1, false, seed);
        run_cut("ababaabab", stops + 2, 1, true, seed);
    }
}
END_TEST

START_TEST(test_random)
{
    uint64_t state = 42;
    for (uint64_t round = 0, rounds = effort(5000); round < rounds; round++) {
        char text[64] = {0}, stops[4][6] = {{0}};
        const char *list[4];
        size_t len = rng_below(&state, 60), count = 1 + rng_below(&state, 4);
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + rng_below(&state, 2));
        for (size_t i = 0; i < count; i++) {
            size_t n = 1 + rng_below(&state, 5);
            for (size_t k = 0; k < n; k++)
                stops[i][k] = (char)('a' + rng_below(&state, 2));
            list[i] = stops[i];
        }
        run_cut(text, list, count, rng_below(&state, 2) == 0, rng_next(&state));
    }
}
END_TEST

START_TEST(test_holds_no_more_than_needed)
{
    struct str strings[] = {STR("abc")};
    struct stop stop;
    struct buf out = {0};
    stop_init(&stop, strings, 1, false);
    ck_assert(!stop_push(&stop, "xxab", 4, &out));
    ck_assert_uint_eq(out.len, 2);
    ck_assert(!stop_push(&stop, "d", 1, &out));
    ck_assert_uint_eq(out.len, 5);
    ck_assert(stop_push(&stop, "abcabc", 6, &out));
    ck_assert(stop_push(&stop, "more", 4, &out));
    ck_assert_uint_eq(out.len, 5);
    stop_release(&stop);
    buf_release(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stop");
    TCase *tc = tcase_create("stop");
    tcase_add_test(tc, test_across_borders);
    tcase_add_test(tc, test_overlapping);
    tcase_add_test(tc, test_random);
    tcase_add_test(tc, test_holds_no_more_than_needed);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
