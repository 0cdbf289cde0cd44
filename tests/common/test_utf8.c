#include <string.h>

#include "common/buf.h"
#include "common/utf8.h"
#include "tests/common/suite.h"

START_TEST(test_every_scalar_round_trips)
{
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char text[4];
        uint32_t back = 0xffffffff;
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        int len = utf8_encode(cp, text);
        if (utf8_decode(text, (size_t)len, &back) != len || back != cp)
            ck_abort_msg("U+%04X came back as U+%04X", cp, back);
        for (int cut = 1; cut < len; cut++)
            if (utf8_decode(text, (size_t)cut, &back) ||
                utf8_incomplete_tail(text, (size_t)cut) != (size_t)cut)
                ck_abort_msg("U+%04X cut to %d bytes", cp, cut);
        if (utf8_incomplete_tail(text, (size_t)len))
            ck_abort_msg("U+%04X is whole", cp);
    }
}
END_TEST

START_TEST(test_refuses)
{
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x80\x80",     "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
        "a\xe2\x82",    "\xe2\x28\xa1",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!utf8_valid(bad[i], strlen(bad[i])), "case %zu", i);
    ck_assert(utf8_valid("", 0));
    ck_assert(utf8_valid("a\0é日🙂", 11));
    ck_assert_uint_eq(utf8_incomplete_tail("a\xed\xa0", 3), 0); /* a surrogate: never valid */
    ck_assert_uint_eq(utf8_incomplete_tail("\x80\x80\x80\x80", 4), 0);
}
END_TEST

/* The second column is what Python's bytes.decode("utf-8", "replace") makes of it. */
START_TEST(test_lossy)
{
    static const char *const cases[][2] = {
        {"abc", "abc"},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xe2\x82", "\xef\xbf\xbd"},
        {"\xe2\x82\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x99!", "\xef\xbf\xbd!"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        utf8_append_lossy(&out, cases[i][0], strlen(cases[i][0]));
        ck_assert_str_eq(out.data, cases[i][1]);
        buf_release(&out);
    }
}
END_TEST

SUITE_MAIN("utf8", test_every_scalar_round_trips, test_refuses, test_lossy)
