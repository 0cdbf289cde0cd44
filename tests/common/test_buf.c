#include <stdio.h>
#include <string.h>

#include "common/arena.h"
#include "common/buf.h"
#include "common/list.h"
#include "tests/common/suite.h"

START_TEST(test_append_consume)
{
    struct buf buf = {0};

    for (int i = 0; i < 1000; i++)
        buf_printf(&buf, "%d,", i);
    ck_assert_uint_eq(buf.len, 10 * 2 + 90 * 3 + 900 * 4);
    ck_assert_uint_eq(strlen(buf.data), buf.len);
    buf_consume(&buf, 4);
    ck_assert(strncmp(buf.data, "2,3,", 4) == 0);
    buf_consume(&buf, buf.len);
    ck_assert_uint_eq(buf.len, 0);
    buf_append(&buf, "a\0b", 3);
    ck_assert_int_eq(memcmp(buf.data, "a\0b", 4), 0);
    buf_clear(&buf);
    ck_assert_str_eq(buf.data, "");
    buf_release(&buf);
    ck_assert_ptr_null(buf.data);
}
END_TEST

START_TEST(test_json_string)
{
    struct buf buf = {0};
    buf_json_string(&buf, "a\"b\\c\n\r\t\x01\x7f\0é", 13);
    ck_assert_str_eq(buf.data, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f\\u0000é\"");
    buf_release(&buf);
}
END_TEST

START_TEST(test_str)
{
    ck_assert(str_eq(STR("abc"), str_from("abc")));
    ck_assert(!str_eq(STR("abc"), STR("abd")));
    ck_assert(!str_eq(STR("abc"), STR("ab")));
    ck_assert(str_is(str_from(NULL), ""));
}
END_TEST

START_TEST(test_arena)
{
    struct arena arena;
    char *texts[500];

    arena_init(&arena);
    for (int i = 0; i < 500; i++) {
        char *aligned = arena_alloc(&arena, (size_t)i * 37);
        ck_assert_uint_eq((uintptr_t)aligned % 16, 0);
        memset(aligned, 0xee, (size_t)i * 37);
        texts[i] = arena_printf(&arena, "text %d", i);
    }
    for (int i = 0; i < 500; i++) {
        char want[32];
        snprintf(want, sizeof(want), "text %d", i);
        ck_assert_str_eq(texts[i], want);
    }
    uint64_t *zeros = arena_array(&arena, 5000, sizeof(*zeros));
    for (int i = 0; i < 5000; i++)
        ck_assert_uint_eq(zeros[i], 0);
    ck_assert_str_eq(arena_strndup(&arena, "abcdef", 3), "abc");
    arena_reset(&arena);
    ck_assert_uint_eq(arena.used_bytes, 0);
    memset(arena_alloc(&arena, 100000), 1, 100000);
    arena_release(&arena);
    arena_release(&arena);
}
END_TEST

START_TEST(test_list)
{
    struct item {
        int value;
        struct list node;
    } items[5];
    struct list head;
    int sum = 0;

    list_init(&head);
    ck_assert(list_empty(&head));
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_append(&head, &items[i].node);
    }
    list_remove(&items[0].node);
    list_remove(&items[0].node); /* in no list: harmless */
    list_prepend(&head, &items[0].node);
    LIST_EACH(pos, &head)
        sum = sum * 10 + LIST_ITEM(pos, struct item, node)->value;
    ck_assert_int_eq(sum, 1234);
    LIST_EACH_SAFE(pos, tmp, &head)
        if (LIST_ITEM(pos, struct item, node)->value % 2)
            list_remove(pos);
    sum = 0;
    LIST_EACH(pos, &head)
        sum = sum * 10 + LIST_ITEM(pos, struct item, node)->value;
    ck_assert_int_eq(sum, 24);
}
END_TEST

SUITE_MAIN("buf", test_append_consume, test_json_string, test_str, test_arena, test_list)
