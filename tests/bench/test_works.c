/* The offline workloads against what Python's random draws for them (numbers made with
 * shared/workloads' work.py under Python 3.11). */
#include "bench/works/pyrandom.h"
#include "bench/works/works.h"

#include <check.h>

static uint64_t mix(uint64_t hash, uint32_t word)
{
    return (hash ^ word) * UINT64_C(0x100000001b3);
}

static uint64_t work_hash(const struct work *work)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < work->req_count; i++)
        for (uint32_t j = 0; j < work->reqs[i].token_count; j++)
            hash = mix(hash, work->reqs[i].tokens[j]);
    for (uint32_t i = 0; i < work->req_count; i++)
        hash = mix(hash, work->reqs[i].out_count);
    return hash;
}

static const struct {
    enum work_kind kind;
    uint64_t seed, tokens_in, tokens_out, hash;
} golden[] = {
    {WORK_REFERENCE, 0, 142827, 133966, UINT64_C(0xf6cfd01a95b55a67)},
    {WORK_REFERENCE, 7, 143291, 144565, UINT64_C(0xa7c2abfc6820e9bf)},
    {WORK_SINGLE, 0, 128, 1024, UINT64_C(0x91a53aa2bb7d7e7)},
    {WORK_SINGLE, 7, 128, 1024, UINT64_C(0x71413b2ceb5a9c07)},
    {WORK_PREFILL, 0, 128000, 32, UINT64_C(0x424db7103b3de360)},
    {WORK_PREFILL, 7, 128000, 32, UINT64_C(0xe61d9be569ef8784)},
    {WORK_SHARED, 0, 537600, 25600, UINT64_C(0x7bdc32ee919a8754)},
    {WORK_SHARED, 7, 537600, 25600, UINT64_C(0x28695107636391e7)},
};

START_TEST(works_are_pythons)
{
    struct work work;
    work_init(&work, golden[_i].kind, golden[_i].seed, 1);
    ck_assert_uint_eq(work.tokens_in, golden[_i].tokens_in);
    ck_assert_uint_eq(work.tokens_out, golden[_i].tokens_out);
    ck_assert_uint_eq(work_hash(&work), golden[_i].hash);
    work_release(&work);
}
END_TEST

/* random.seed(x); random.random(), random.getrandbits(32), random.randint(1, 6) */
START_TEST(pyrandom_is_pythons)
{
    struct pyrandom random;
    pyrandom_seed(&random, 42);
    ck_assert(pyrandom_unit(&random) == 0.6394267984578837);
    ck_assert_uint_eq(pyrandom_u32(&random), 107420369u);
    ck_assert_uint_eq(pyrandom_int(&random, 1, 6), 6);
    pyrandom_seed(&random, UINT64_C(123456789012345));
    ck_assert(pyrandom_unit(&random) == 0.6744750084019356);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("works");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, pyrandom_is_pythons);
    tcase_add_loop_test(tcase, works_are_pythons, 0, ARRAY_LEN(golden));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
