#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "worker/resolver.h"

static enum status start(const char *name, struct resolver **resolver, struct err *err)
{
    static struct config_list names;
    names = (struct config_list){.items = {name}, .count = 1};
    return resolver_start(&names, resolver, err);
}

static void take(struct resolver *resolver, struct resolver_list *list)
{
    struct pollfd fd = {.fd = resolver_fd(resolver), .events = POLLIN};
    ck_assert_int_eq(poll(&fd, 1, 10000), 1);
    ck_assert(resolver_take(resolver, list));
    ck_assert(!resolver_take(resolver, list));
    ck_assert_int_eq(poll(&fd, 1, 0), 0);
}

START_TEST(addresses_and_names)
{
    static const char *const texts[][2] = {{"tcp://127.0.0.1:5600", "tcp://127.0.0.1:5600"},
                                           {"tcp://[::1]:5601", "tcp://[::1]:5601"},
                                           {"tcp://localhost:5602", "tcp://127.0.0.1:5602"}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct resolver *resolver = NULL;
        struct resolver_list list;
        struct err err;
        bool found = false;
        ck_assert_msg(start(texts[i][0], &resolver, &err) == STATUS_OK, "%s", err.text);
        take(resolver, &list);
        for (uint32_t n = 0; n < list.count; n++)
            found |= strcmp(list.endpoints[n], texts[i][1]) == 0;
        ck_assert_msg(found, "%s", texts[i][0]);
        resolver_stop(resolver);
    }
}
END_TEST

START_TEST(two_names_of_one_address_are_one)
{
    struct config_list names = {
        .items = {"tcp://127.0.0.1:7", "tcp://127.0.0.1:7", "tcp://127.0.0.2:7"}, .count = 3};
    struct resolver *resolver = NULL;
    struct resolver_list list;
    struct err err;
    ck_assert_int_eq(resolver_start(&names, &resolver, &err), STATUS_OK);
    take(resolver, &list);
    ck_assert_uint_eq(list.count, 2);
    resolver_stop(resolver);
}
END_TEST

START_TEST(bad_names_are_refused)
{
    static const char *const bad[] = {"127.0.0.1:5600",   "tcp://",        "tcp://:5",
                                      "tcp://host",       "tcp://host:",   "tcp://host:0",
                                      "tcp://host:70000", "tcp://host:5x", "tcp://[]:5",
                                      "ipc:///tmp/x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct resolver *resolver = NULL;
        struct err err;
        ck_assert_msg(start(bad[i], &resolver, &err) == STATUS_INVALID, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(err.text, bad[i]));
    }
}
END_TEST

START_TEST(stops_at_once)
{
    struct resolver *resolver = NULL;
    struct err err;
    uint64_t start_ms = clock_now_ms();
    ck_assert_int_eq(start("tcp://127.0.0.1:5600", &resolver, &err), STATUS_OK);
    resolver_stop(resolver);
    resolver_stop(NULL);
    ck_assert_uint_lt(clock_now_ms() - start_ms, RESOLVER_EVERY_MS / 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolver");
    TCase *tc = tcase_create("resolver");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, addresses_and_names);
    tcase_add_test(tc, two_names_of_one_address_are_one);
    tcase_add_test(tc, bad_names_are_refused);
    tcase_add_test(tc, stops_at_once);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
