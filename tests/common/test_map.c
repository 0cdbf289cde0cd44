#include "common/map.h"
#include "common/mem.h"
#include "common/rng.h"
#include "tests/common/suite.h"
#include "tests/effort.h"

/* A plain array of small keys says what the map must hold after any mix of calls. */
START_TEST(test_equals_a_plain_array)
{
    enum { KEYS = 700 };
    uint64_t want[KEYS] = {0}, rng = 5;
    bool there[KEYS] = {false};
    size_t count = 0;
    struct map map;

    map_init(&map);
    uint64_t steps = effort(200000);
    for (uint64_t step = 0; step < steps; step++) {
        uint64_t index = rng_below(&rng, KEYS), value = rng_next(&rng);
        uint64_t key = index * 0x9e3779b97f4a7c15u; /* 0 is a key too */
        if (rng_below(&rng, 5) < (step * 10 / steps % 2 ? 2 : 3)) {
            ck_assert(map_put(&map, key, value) == !there[index]);
            count += !there[index];
            there[index] = true;
            want[index] = value;
        } else {
            ck_assert(map_remove(&map, key) == there[index]);
            count -= there[index];
            there[index] = false;
        }
        index = rng_below(&rng, KEYS);
        uint64_t *got = map_get(&map, index * 0x9e3779b97f4a7c15u);
        ck_assert((got != NULL) == there[index]);
        ck_assert(!got || *got == want[index]);
        ck_assert_uint_eq(map.count, count);
    }
    map_release(&map);
}
END_TEST

START_TEST(test_walk_meets_each_entry_once)
{
    struct map map;
    uint64_t key, value, sum = 0;
    size_t cursor = 0, met = 0;

    map_init(&map);
    ck_assert(!map_next(&map, &cursor, &key, &value));
    for (uint64_t i = 0; i < 1000; i++)
        map_put(&map, i << 40, i);
    for (cursor = 0; map_next(&map, &cursor, &key, &value); met++) {
        ck_assert_uint_eq(key, value << 40);
        sum += value;
    }
    ck_assert_uint_eq(met, 1000);
    ck_assert_uint_eq(sum, 999 * 1000 / 2);
    map_clear(&map);
    ck_assert_ptr_null(map_get(&map, 0));
    ck_assert(!map_remove(&map, 0));
    map_release(&map);
}
END_TEST

START_TEST(test_reserved_map_allocates_nothing)
{
    struct map map;
    uint64_t before;

    map_init(&map);
    map_reserve(&map, 1000);
    before = mem_alloc_count();
    for (uint64_t i = 0; i < 1000; i++)
        map_put_ptr(&map, i, &map);
    ck_assert_uint_eq(mem_alloc_count(), before);
    ck_assert_ptr_eq(map_get_ptr(&map, 999), &map);
    ck_assert_ptr_null(map_get_ptr(&map, 1000));
    map_release(&map);
}
END_TEST

SUITE_MAIN("map", test_equals_a_plain_array, test_walk_meets_each_entry_once,
           test_reserved_map_allocates_nothing)
