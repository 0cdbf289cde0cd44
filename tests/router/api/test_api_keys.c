/* Keys, limits and spaces, with a clock of the test's own. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "router/api/api_keys.h"

static char path[64];

static void write_keys(const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void setup(void)
{
    snprintf(path, sizeof(path), "/tmp/msgl-keys-%d", (int)getpid());
}

static void teardown(void)
{
    unlink(path);
}

static struct api_key *find(struct api_keys *keys, const char *secret)
{
    char header[256];
    snprintf(header, sizeof(header), "Bearer %s", secret);
    return api_keys_find(keys, str_from(header));
}

static void load(struct api_keys *keys, const char *one, const char *text)
{
    struct err err = {.text = ""};
    write_keys(text);
    ck_assert_msg(api_keys_init(keys, one, path, &err) == STATUS_OK, "%s", err.text);
}

START_TEST(keys_are_found_and_nothing_else)
{
    struct api_keys keys;
    /* The second is "password" as a digest. */
    load(&keys, "of-the-command-line",
         "# people\nalice sk-alice-1\n\n  bob "
         "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 space=team\r\n");
    ck_assert(api_keys_needed(&keys));
    ck_assert_str_eq(find(&keys, "sk-alice-1")->name, "alice");
    ck_assert_str_eq(find(&keys, "password")->name, "bob");
    ck_assert_str_eq(find(&keys, "of-the-command-line")->name, "");
    ck_assert_ptr_null(find(&keys, "sk-alice-2"));
    ck_assert_ptr_null(find(&keys, "sk-alice-"));
    ck_assert_ptr_null(find(&keys, "sk-alice-11"));
    ck_assert_ptr_null(find(&keys, ""));
    ck_assert_ptr_null(
        find(&keys, "sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"));
    ck_assert_ptr_null(api_keys_find(&keys, STR("")));
    ck_assert_ptr_null(api_keys_find(&keys, STR("Basic sk-alice-1")));
    ck_assert_ptr_nonnull(api_keys_find(&keys, STR("bearer sk-alice-1")));
    api_keys_release(&keys);
}
END_TEST

START_TEST(no_keys_no_question)
{
    struct api_keys keys;
    ck_assert_int_eq(api_keys_init(&keys, NULL, NULL, NULL), STATUS_OK);
    ck_assert(!api_keys_needed(&keys));
    ck_assert_int_eq(api_key_admit(NULL, 99, 1u << 30, 0, NULL, NULL), STATUS_OK);
    ck_assert_uint_eq(api_key_namespace(NULL, STR("")), 0);
    api_keys_release(&keys);
}
END_TEST

START_TEST(wrong_files_are_refused_with_the_line)
{
    static const char *const wrong[] = {
        "a longenough nonsense=1\n",
        "a short\n",
        "a\n",
        "",
        "# nothing\n",
        "a longenough streams=-1\n",
        "a longenough streams=x\n",
        "a longenough calls-per-minute=\n",
        "a/b longenough\n",
        "a longenough space=\n",
        "a sha256:12345678\n",
        "a longenough\na otherlong1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct api_keys keys;
        struct err err = {.text = ""};
        write_keys(wrong[i]);
        ck_assert_msg(api_keys_init(&keys, NULL, path, &err) != STATUS_OK, "%s", wrong[i]);
        ck_assert_ptr_nonnull(strstr(err.text, path));
        ck_assert_ptr_null(strstr(err.text, "longenough")); /* keys stay out of messages */
        api_keys_release(&keys);
    }
}
END_TEST

START_TEST(limits)
{
    struct api_keys keys;
    uint32_t retry = 0;
    struct err err = {.text = ""};
    load(&keys, NULL, "a secret-a streams=3 calls-per-minute=4 tokens-per-minute=600\n");
    struct api_key *a = find(&keys, "secret-a");
    ck_assert_int_eq(api_key_admit(a, 2, 100, 1000, &retry, &err), STATUS_OK);
    ck_assert_int_eq(api_key_admit(a, 2, 100, 1000, &retry, &err), STATUS_QUEUE_FULL);
    ck_assert_ptr_nonnull(strstr(err.text, "streams at once"));
    api_key_done(a, 2);
    ck_assert_int_eq(api_key_admit(a, 1, 400, 1000, &retry, &err), STATUS_OK);
    api_key_generated(a, 200); /* 100 below zero */
    ck_assert_int_eq(api_key_admit(a, 1, 1, 1000, &retry, &err), STATUS_QUEUE_FULL);
    ck_assert_ptr_nonnull(strstr(err.text, "tokens per minute"));
    ck_assert_uint_eq(retry, 11); /* 10 tokens a second */
    ck_assert_int_eq(api_key_admit(a, 1, 1, 12000, &retry, &err), STATUS_OK);
    api_key_done(a, 2);
    ck_assert_int_eq(api_key_admit(a, 1, 1, 12100, &retry, &err), STATUS_OK);
    ck_assert_int_eq(api_key_admit(a, 1, 1, 12100, &retry, &err), STATUS_QUEUE_FULL);
    ck_assert_ptr_nonnull(strstr(err.text, "calls per minute"));
    /* A prompt larger than the bucket passes when the bucket is full, and empties it. */
    ck_assert_int_eq(api_key_admit(a, 1, 5000, 200000, &retry, &err), STATUS_OK);
    ck_assert_int_eq(api_key_admit(a, 1, 1, 230000, &retry, &err), STATUS_QUEUE_FULL);
    ck_assert_uint_eq(a->refused_total, 4);
    ck_assert_uint_eq(a->calls_total, 5);
    ck_assert_uint_eq(a->streams, 2);
    api_keys_release(&keys);
}
END_TEST

START_TEST(spaces)
{
    struct api_keys keys;
    load(&keys, "nobody-special", "a secret-a\nb secret-b space=team\nc secret-c space=team\n");
    struct api_key *a = find(&keys, "secret-a"), *b = find(&keys, "secret-b"),
                   *c = find(&keys, "secret-c"), *one = find(&keys, "nobody-special");
    struct str none = STR(""), salt = STR("s");
    ck_assert_uint_ne(api_key_namespace(a, none), 0);
    ck_assert_uint_ne(api_key_namespace(a, none), api_key_namespace(b, none));
    ck_assert_uint_eq(api_key_namespace(b, none), api_key_namespace(c, none));
    ck_assert_uint_eq(api_key_namespace(b, salt), api_key_namespace(c, salt));
    ck_assert_uint_ne(api_key_namespace(b, salt), api_key_namespace(b, none));
    ck_assert_uint_ne(api_key_namespace(a, salt), api_key_namespace(b, salt));
    ck_assert_uint_eq(api_key_namespace(one, none), 0);
    /* A salt that looks like a space and its salt is neither. */
    ck_assert_uint_ne(api_key_namespace(one, STR("a\0")), api_key_namespace(a, none));
    ck_assert_uint_ne(api_key_namespace(one, STR("team\0s")), api_key_namespace(b, salt));
    api_keys_release(&keys);
}
END_TEST

START_TEST(a_changed_file_is_read_again)
{
    struct api_keys keys;
    uint32_t retry;
    load(&keys, NULL, "a secret-a calls-per-minute=10\nb secret-b\n");
    struct api_key *a = find(&keys, "secret-a");
    ck_assert_int_eq(api_key_admit(a, 1, 5, 1000, &retry, NULL), STATUS_OK);
    write_keys("a secret-new calls-per-minute=10\nc secret-c\n");
    api_keys_refresh(&keys, 5000);
    ck_assert_ptr_null(find(&keys, "secret-a"));
    ck_assert_ptr_null(find(&keys, "secret-b"));
    ck_assert_ptr_nonnull(find(&keys, "secret-c"));
    ck_assert_ptr_eq(find(&keys, "secret-new"), a);
    ck_assert_uint_eq(a->streams, 1); /* its call still runs */
    ck_assert(a->calls.left < 10);
    write_keys("broken\n");
    api_keys_refresh(&keys, 9000);
    ck_assert_ptr_eq(find(&keys, "secret-new"), a);
    api_keys_release(&keys);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("api_keys");
    TCase *tc = tcase_create("api_keys");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, keys_are_found_and_nothing_else);
    tcase_add_test(tc, no_keys_no_question);
    tcase_add_test(tc, wrong_files_are_refused_with_the_line);
    tcase_add_test(tc, limits);
    tcase_add_test(tc, spaces);
    tcase_add_test(tc, a_changed_file_is_read_again);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
