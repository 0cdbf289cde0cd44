#include "common/hash.h"
#include "tests/common/suite.h"

/* Known answers from the reference xxHash (XXH3, 64 bits). They are part of the wire: a router and
 * a worker of different builds must agree. */
START_TEST(test_known_answers)
{
    uint32_t tokens[16];
    for (uint32_t i = 0; i < 16; i++)
        tokens[i] = i;
    ck_assert_uint_eq(hash_bytes("", 0), 0x2d06800538d394c2u);
    ck_assert_uint_eq(page_hash_next(0x123456789abcdef0u, tokens, 16), 0x6b14d9f7be105bdbu);
    ck_assert_uint_eq(hash_bytes_seeded(tokens, 64, 0x123456789abcdef0u), 0x6b14d9f7be105bdbu);
    ck_assert_uint_eq(page_hash_root(42, 7), 0xe2b7c088a70bf583u);
    ck_assert_uint_eq(model_fingerprint("{}", 2, "tok", 3), 0x64d552e4fa0eb013u);
}
END_TEST

START_TEST(test_a_page_depends_on_all_before_it)
{
    uint32_t page[16] = {1, 2, 3};
    uint64_t a = page_hash_next(page_hash_root(1, 0), page, 16);
    uint64_t b = page_hash_next(page_hash_root(1, 9), page, 16);
    uint64_t c = page_hash_next(page_hash_root(2, 0), page, 16);
    ck_assert(a != b && a != c && b != c);
    ck_assert(page_hash_next(a, page, 16) != page_hash_next(b, page, 16));
    page[15] = 1;
    ck_assert_uint_ne(page_hash_next(page_hash_root(1, 0), page, 16), a);
}
END_TEST

SUITE_MAIN("hash", test_known_answers, test_a_page_depends_on_all_before_it)
