/* Messages between ranks: what is put in comes out, and anything else is refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "proto/rank_message.h"

START_TEST(round_trip)
{
    for (int kind = RANK_JOIN; kind < RANK_KIND_END; kind++) {
        struct rank_message in = {.kind = (enum rank_kind)kind,
                                  .rank = 63,
                                  .group = UINT64_C(0x1122334455667788),
                                  .value = UINT64_MAX - (uint64_t)kind,
                                  .body = STR("a body\0with a NUL")};
        struct rank_message out;
        struct buf bytes = {0};
        rank_message_encode(&in, &bytes);
        ck_assert_int_eq(rank_message_decode((struct str){bytes.data, bytes.len}, &out, NULL),
                         STATUS_OK);
        ck_assert(out.kind == in.kind && out.rank == in.rank && out.group == in.group &&
                  out.value == in.value && str_eq(out.body, in.body));
        buf_release(&bytes);
    }
}
END_TEST

START_TEST(what_is_no_message_is_refused)
{
    struct rank_message in = {.kind = RANK_STEP, .body = STR("packet")}, out;
    struct buf bytes = {0};
    struct err err = {.text = ""};

    rank_message_encode(&in, &bytes);
    for (size_t len = 0; len < RANK_MESSAGE_HEAD_BYTES; len++)
        ck_assert_int_eq(rank_message_decode((struct str){bytes.data, len}, &out, NULL),
                         STATUS_CORRUPT);
    bytes.data[4] = 9;
    ck_assert_int_eq(rank_message_decode((struct str){bytes.data, bytes.len}, &out, &err),
                     STATUS_CONFLICT);
    ck_assert_ptr_nonnull(strstr(err.text, "version 9"));
    bytes.data[4] = RANK_MESSAGE_VERSION;
    bytes.data[6] = RANK_KIND_END;
    ck_assert_int_eq(rank_message_decode((struct str){bytes.data, bytes.len}, &out, NULL),
                     STATUS_CORRUPT);
    bytes.data[6] = RANK_STEP;
    bytes.data[0] ^= 1;
    ck_assert_int_eq(rank_message_decode((struct str){bytes.data, bytes.len}, &out, NULL),
                     STATUS_CORRUPT);
    buf_release(&bytes);
}
END_TEST

START_TEST(random_bytes_are_survived)
{
    uint64_t rng = 3;
    struct rank_message in = {.kind = RANK_START, .body = STR("name")}, out;
    struct buf bytes = {0};

    rank_message_encode(&in, &bytes);
    for (int n = 0; n < 100000; n++) {
        char copy[64];
        size_t len = rng_below(&rng, bytes.len + 1);
        memcpy(copy, bytes.data, bytes.len);
        copy[rng_below(&rng, bytes.len)] = (char)rng_next(&rng);
        if (rank_message_decode((struct str){copy, len}, &out, NULL) == STATUS_OK)
            ck_assert(out.body.data + out.body.len == copy + len);
    }
    buf_release(&bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rank_message");
    TCase *tc = tcase_create("rank_message");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, what_is_no_message_is_refused);
    tcase_add_test(tc, random_bytes_are_survived);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
