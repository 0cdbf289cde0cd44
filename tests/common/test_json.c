#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "tests/common/suite.h"

static json_t *parsed(const char *text)
{
    json_t *json = NULL;
    struct err err = {0};
    ck_assert_msg(json_parse(text, strlen(text), &json, &err) == STATUS_OK, "%s", err.text);
    return json;
}

START_TEST(test_refuses)
{
    static const char *const bad[] = {
        "", "{", "{\"a\":1,\"a\":2}", "[1,]", "\"\xff\"", "{} {}", "nul", "1e999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *json = NULL;
        struct err err = {0};
        ck_assert_msg(json_parse(bad[i], strlen(bad[i]), &json, &err) == STATUS_INVALID, "case %zu",
                      i);
        ck_assert_ptr_nonnull(strstr(err.text, "JSON"));
    }
    char *deep = malloc(100000);
    json_t *json = NULL;
    memset(deep, '[', 100000);
    ck_assert_int_eq(json_parse(deep, 100000, &json, NULL), STATUS_INVALID);
    free(deep);
}
END_TEST

START_TEST(test_getters)
{
    json_t *json =
        parsed("{\"t\":true,\"i\":7,\"r\":3.0,\"h\":2.5,\"s\":\"x\",\"n\":null,\"big\":1e300}");
    bool flag = false;
    int64_t integer = -1;
    double number = -1;
    const char *text = "default";
    struct err err;

    ck_assert_int_eq(json_get_bool(json, "t", &flag, &err), STATUS_OK);
    ck_assert(flag);
    ck_assert_int_eq(json_get_int(json, "i", 0, 10, &integer, &err), STATUS_OK);
    ck_assert_int_eq(integer, 7);
    ck_assert_int_eq(json_get_int(json, "r", 0, 10, &integer, &err), STATUS_OK);
    ck_assert_int_eq(integer, 3);
    ck_assert_int_eq(json_get_number(json, "i", 0, 10, &number, &err), STATUS_OK);
    ck_assert_double_eq(number, 7);
    ck_assert_int_eq(json_get_string(json, "s", &text, &err), STATUS_OK);
    ck_assert_str_eq(text, "x");
    integer = 42;
    ck_assert_int_eq(json_get_int(json, "n", 0, 10, &integer, &err), STATUS_OK);
    ck_assert_int_eq(json_get_int(json, "missing", 0, 10, &integer, &err), STATUS_OK);
    ck_assert_int_eq(integer, 42);

    ck_assert_int_eq(json_get_int(json, "h", 0, 10, &integer, &err), STATUS_INVALID);
    ck_assert_str_eq(err.text, "'h' must be an integer, not a number");
    ck_assert_int_eq(json_get_int(json, "big", 0, 10, &integer, &err), STATUS_INVALID);
    ck_assert_int_eq(json_get_int(json, "i", 0, 6, &integer, &err), STATUS_INVALID);
    ck_assert_str_eq(err.text, "'i' must be between 0 and 6, not 7");
    ck_assert_int_eq(json_get_number(json, "s", 0, 6, &number, &err), STATUS_INVALID);
    ck_assert_int_eq(json_get_number(json, "big", 0, 6, &number, &err), STATUS_INVALID);
    ck_assert_int_eq(json_get_bool(json, "i", &flag, &err), STATUS_INVALID);
    ck_assert_int_eq(json_get_string(json, "t", &text, &err), STATUS_INVALID);
    ck_assert_int_eq(integer, 42);
    json_decref(json);
}
END_TEST

START_TEST(test_files)
{
    char path[] = "/tmp/msgl-json-XXXXXX";
    int fd = mkstemp(path);
    json_t *json = NULL;
    struct buf text = {0};
    struct err err;

    ck_assert_int_eq(write(fd, "{\"a\": 1}", 8), 8);
    close(fd);
    ck_assert_int_eq(json_parse_file(path, 100, &json, &err), STATUS_OK);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "a")), 1);
    json_decref(json);
    ck_assert_int_eq(json_parse_file(path, 7, &json, &err), STATUS_TOO_LARGE);
    ck_assert_int_eq(truncate(path, 5), 0);
    ck_assert_int_eq(json_parse_file(path, 100, &json, &err), STATUS_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    unlink(path);
    ck_assert_int_eq(json_parse_file(path, 100, &json, &err), STATUS_NOT_FOUND);
    ck_assert_int_eq(file_read("/tmp", 100, &text, &err), STATUS_IO);
    char *joined = path_join("a/", "b"), *plain = path_join("a", "b");
    ck_assert_str_eq(joined, "a/b");
    ck_assert_str_eq(plain, "a/b");
    free(joined);
    free(plain);
    buf_release(&text);
}
END_TEST

SUITE_MAIN("json", test_refuses, test_getters, test_files)
