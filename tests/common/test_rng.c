#include <string.h>

#include "common/clock.h"
#include "common/rng.h"
#include "tests/common/suite.h"

/* Known answers of Random123's kat_vectors for philox4x32, 10 rounds. */
START_TEST(test_philox)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t out[4];
        philox4x32(cases[i].counter, cases[i].key, out);
        ck_assert_mem_eq(out, cases[i].want, sizeof(out));
    }
}
END_TEST

/* The reference implementation's first numbers for seed 1234567. */
START_TEST(test_splitmix)
{
    static const uint64_t want[] = {6457827717110365317u, 3203168211198807973u,
                                    9817491932198370423u, 4593380528125082431u,
                                    16408922859458223821u};
    uint64_t state = 1234567;
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        ck_assert_uint_eq(rng_next(&state), want[i]);
}
END_TEST

START_TEST(test_ranges)
{
    uint64_t state = 1;
    unsigned met[7] = {0};
    double sum = 0;
    for (int i = 0; i < 70000; i++) {
        uint64_t n = rng_below(&state, 7);
        double x = rng_unit(&state);
        ck_assert(n < 7 && x >= 0 && x < 1);
        met[n]++;
        sum += x;
    }
    for (int i = 0; i < 7; i++)
        ck_assert(met[i] > 9500 && met[i] < 10500);
    ck_assert(sum > 34500 && sum < 35500);
    ck_assert_uint_ne(rng_os(), rng_os());
}
END_TEST

START_TEST(test_clock)
{
    uint64_t before = clock_now_ns();
    ck_assert_uint_ge(clock_now_ns(), before);
    ck_assert_uint_gt(clock_unix_s(), 1600000000);
}
END_TEST

SUITE_MAIN("rng", test_philox, test_splitmix, test_ranges, test_clock)
