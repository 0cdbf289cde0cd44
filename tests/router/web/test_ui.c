#include "router/web/ui.h"

#include <check.h>
#include <string.h>

#include "tests/common/suite.h"

#define UI_BYTES_MAX (100 * 1000) /* all of the page */

START_TEST(test_paths)
{
    const struct ui_file *index = ui_find(STR("/"), false);
    ck_assert_ptr_nonnull(index);
    ck_assert_str_eq(index->name, "index.html");
    ck_assert_str_eq(index->type, "text/html; charset=utf-8");
    ck_assert_uint_eq(index->data[index->len], 0);
    ck_assert_ptr_eq(ui_find(STR("/ui/index.html"), true), index);
    ck_assert_str_eq(ui_find(STR("/ui/main.js"), true)->type, "text/javascript; charset=utf-8");
    ck_assert_str_eq(ui_find(STR("/ui/style.css"), false)->type, "text/css; charset=utf-8");
    ck_assert_str_eq(ui_find(STR("/ui/icon.svg"), false)->type, "image/svg+xml; charset=utf-8");
    ck_assert_ptr_null(ui_find(STR("/ui/"), false));
    ck_assert_ptr_null(ui_find(STR("/ui"), false));
    ck_assert_ptr_null(ui_find(STR("/ui/../main.c"), false));
    ck_assert_ptr_null(ui_find(STR("/v1/models"), false));
    ck_assert_ptr_null(ui_find(STR(""), false));
}
END_TEST

/* The one file that differs between the two ports. */
START_TEST(test_port)
{
    const struct ui_file *api = ui_find(STR("/ui/port.js"), false);
    const struct ui_file *admin = ui_find(STR("/ui/port.js"), true);
    ck_assert_ptr_nonnull(memmem(api->data, api->len, "false", 5));
    ck_assert_ptr_nonnull(memmem(admin->data, admin->len, "true", 4));
    ck_assert_str_ne(api->etag, admin->etag);
}
END_TEST

START_TEST(test_tags)
{
    ck_assert(ui_matches(STR("\"abc\""), "\"abc\""));
    ck_assert(ui_matches(STR("W/\"x\", W/\"abc\""), "\"abc\""));
    ck_assert(ui_matches(STR("*"), "\"abc\""));
    ck_assert(!ui_matches(STR("\"ab\""), "\"abc\""));
    ck_assert(!ui_matches(STR("abc"), "\"abc\""));
    ck_assert(!ui_matches(STR(""), "\"abc\""));
    for (size_t i = 0; i < ui_file_count; i++) {
        ck_assert_uint_eq(strlen(ui_files[i].etag), 18);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(ui_files[i].etag, ui_files[k].etag);
    }
}
END_TEST

START_TEST(test_small)
{
    size_t bytes = 0;
    ck_assert_uint_gt(ui_file_count, 8);
    for (size_t i = 0; i < ui_file_count; i++)
        bytes += ui_files[i].len;
    ck_assert_uint_gt(bytes, 10000);
    ck_assert_uint_lt(bytes, UI_BYTES_MAX);
}
END_TEST

SUITE_MAIN("ui", test_paths, test_port, test_tags, test_small)
