#include "router/web/page_tree.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/rng.h"
#include "tests/common/suite.h"
#include "tests/effort.h"

static struct page_branch out[1000];

static const struct page_branch *branch_with(size_t count, uint64_t first)
{
    for (size_t i = 0; i < count; i++)
        if (out[i].first == first)
            return &out[i];
    return NULL;
}

START_TEST(test_two_prompts)
{
    struct page_tree tree;
    const uint64_t one[] = {1, 2, 3, 4, 5}, two[] = {6, 7};
    page_tree_init(&tree);
    page_tree_add(&tree, 99, one, 5); /* 99: the root's seed, no page */
    ck_assert_uint_eq(page_tree_top(&tree, 10, 0, out), 1);
    ck_assert_uint_eq(out[0].pages, 5);
    uint32_t id = out[0].id;
    page_tree_add(&tree, 3, two, 2);
    page_tree_check(&tree);
    ck_assert_uint_eq(page_tree_top(&tree, 10, 0, out), 3);
    const struct page_branch *top = branch_with(3, 1), *four = branch_with(3, 4),
                             *six = branch_with(3, 6);
    ck_assert(top && four && six);
    ck_assert_uint_eq(top->id, id); /* a split keeps the name of what is above it */
    ck_assert_uint_eq(top->parent, 0);
    ck_assert_uint_eq(top->pages, 3);
    ck_assert_uint_eq(top->below, 7);
    ck_assert_uint_eq(top->hidden, 0);
    ck_assert_uint_eq(top->last, 3);
    ck_assert_uint_eq(four->parent, id);
    ck_assert_uint_eq(four->below, 2);
    ck_assert_uint_eq(six->pages, 2);
    /* A branch less: drawn as one chain again. */
    page_tree_remove(&tree, 7);
    page_tree_remove(&tree, 6);
    page_tree_check(&tree);
    ck_assert_uint_eq(page_tree_top(&tree, 10, 0, out), 1);
    ck_assert_uint_eq(out[0].pages, 5);
    ck_assert_uint_eq(out[0].last, 5);
    page_tree_release(&tree);
}
END_TEST

START_TEST(test_idempotent_and_any_order)
{
    struct page_tree tree;
    const uint64_t pages[] = {1, 2, 3, 4};
    page_tree_init(&tree);
    page_tree_add(&tree, 0, pages, 4);
    page_tree_add(&tree, 0, pages, 4);
    page_tree_add(&tree, 2, pages + 2, 2);
    page_tree_check(&tree);
    ck_assert_uint_eq(tree.pages.count, 4);
    uint64_t revision = tree.revision;
    page_tree_remove(&tree, 77);
    ck_assert_uint_eq(tree.revision, revision);
    page_tree_remove(&tree, 2); /* in the middle: the rest stays until it goes, too */
    page_tree_check(&tree);
    ck_assert_uint_eq(page_tree_top(&tree, 10, 0, out), 1);
    ck_assert_uint_eq(out[0].pages, 3);
    page_tree_remove(&tree, 4);
    page_tree_remove(&tree, 1);
    page_tree_remove(&tree, 3);
    page_tree_check(&tree);
    ck_assert_uint_eq(tree.pages.count, 0);
    ck_assert_uint_eq(page_tree_top(&tree, 10, 0, out), 0);
    page_tree_release(&tree);
}
END_TEST

START_TEST(test_long_chains_are_one_branch)
{
    struct page_tree tree;
    static uint64_t pages[10 * PAGE_TREE_SEGMENT];
    page_tree_init(&tree);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        pages[i] = i + 1;
    page_tree_add(&tree, 0, pages, 700);
    page_tree_add(&tree, pages[699], pages + 700, ARRAY_LEN(pages) - 700);
    page_tree_check(&tree);
    ck_assert_uint_eq(page_tree_top(&tree, 1000, 0, out), 1);
    ck_assert_uint_eq(out[0].pages, ARRAY_LEN(pages));
    ck_assert_uint_eq(out[0].first, 1);
    ck_assert_uint_eq(out[0].last, ARRAY_LEN(pages));
    page_tree_release(&tree);
}
END_TEST

/* The largest are drawn, what is left out is counted, and every parent is there. */
START_TEST(test_top)
{
    struct page_tree tree;
    page_tree_init(&tree);
    const uint64_t trunk[] = {1, 2};
    page_tree_add(&tree, 0, trunk, 2);
    for (uint64_t i = 0; i < 500; i++) {
        uint64_t pages[50];
        for (uint64_t k = 0; k < 50; k++)
            pages[k] = 1000 + i * 100 + k;
        page_tree_add(&tree, 2, pages, 1 + i % 50);
    }
    page_tree_check(&tree);
    size_t count = page_tree_top(&tree, 101, 0, out);
    ck_assert_uint_eq(count, 101);
    const struct page_branch *top = branch_with(count, 1);
    ck_assert_ptr_nonnull(top);
    ck_assert_uint_eq(top->hidden, 400);
    ck_assert_uint_eq(top->below, 2 + 500 * 51 / 2);
    for (size_t i = 0; i < count; i++) {
        ck_assert(i == 0 || out[i].id > out[i - 1].id);
        if (&out[i] != top) {
            ck_assert_uint_ge(out[i].pages, 41);
            ck_assert_uint_eq(out[i].parent, top->id);
        }
    }
    page_tree_release(&tree);
}
END_TEST

START_TEST(test_heat)
{
    struct page_tree tree;
    const uint64_t trunk[] = {1, 2}, hot[] = {3, 4}, cold[] = {5, 6};
    page_tree_init(&tree);
    page_tree_add(&tree, 0, trunk, 2);
    page_tree_add(&tree, 2, hot, 2);
    page_tree_add(&tree, 2, cold, 2);
    ck_assert(!page_tree_warm(&tree, 1000));
    for (int i = 0; i < 40; i++)
        page_tree_touch(&tree, 4, 1000);
    page_tree_touch(&tree, 12345, 1000);
    ck_assert(page_tree_warm(&tree, 1000));
    size_t count = page_tree_top(&tree, 10, 1000, out);
    ck_assert_uint_eq(branch_with(count, 1)->heat, PAGE_TREE_HEAT_MAX);
    ck_assert_uint_eq(branch_with(count, 3)->heat, PAGE_TREE_HEAT_MAX);
    ck_assert_uint_eq(branch_with(count, 5)->heat, 0);
    count = page_tree_top(&tree, 10, 1000 + 2 * PAGE_TREE_HALF_MS, out); /* 10 of 40 are left */
    ck_assert_uint_eq(branch_with(count, 3)->heat, 3);
    count = page_tree_top(&tree, 10, 1000 + 30 * PAGE_TREE_HALF_MS, out);
    ck_assert_uint_eq(branch_with(count, 3)->heat, 0);
    ck_assert(!page_tree_warm(&tree, 1000 + 30 * PAGE_TREE_HALF_MS));
    page_tree_release(&tree);
}
END_TEST

/* Random chains that branch anywhere, removed leaf first or in any order; checked against its own sums. */
START_TEST(test_random)
{
    enum { PAGES = 4000 };
    static uint64_t parents[PAGES + 1];
    static bool here[PAGES + 1];
    struct page_tree tree;
    uint64_t state = 11, count = 0;
    memset(here, 0, sizeof(here));
    page_tree_init(&tree);
    for (uint64_t step = 0, steps = effort(60000); step < steps; step++) {
        uint64_t hash = 1 + rng_below(&state, PAGES);
        if (!here[hash]) {
            /* A parent that is older in number: no circles. Often the one before, so that chains grow. */
            parents[hash] = rng_below(&state, 4) == 0 ? rng_below(&state, hash) : hash - 1;
            page_tree_add(&tree, parents[hash], &hash, 1);
            count++;
            here[hash] = true;
        } else if (rng_below(&state, 2) == 0) {
            page_tree_remove(&tree, hash);
            count--;
            here[hash] = false;
        }
        if (step % 2000 == 0) {
            page_tree_check(&tree);
            ck_assert_uint_eq(tree.pages.count, count);
            size_t rows = page_tree_top(&tree, ARRAY_LEN(out), step, out);
            for (size_t i = 0; i < rows; i++) {
                bool found = out[i].parent == 0;
                for (size_t k = 0; k < rows && !found; k++)
                    found = out[k].id == out[i].parent && out[k].below >= out[i].below;
                ck_assert(found);
            }
        }
    }
    for (uint64_t hash = 1; hash <= PAGES; hash++)
        page_tree_remove(&tree, hash);
    page_tree_check(&tree);
    ck_assert_uint_eq(tree.pages.count, 0);
    for (uint32_t i = 1; i < tree.used; i++)
        ck_assert_uint_eq(tree.segments[i].id, 0);
    page_tree_release(&tree);
}
END_TEST

START_TEST(test_bounded)
{
    struct page_tree tree;
    uint64_t *pages = mem_array(PAGE_TREE_PAGES_MAX + 100, sizeof(*pages));
    for (uint64_t i = 0; i < PAGE_TREE_PAGES_MAX + 100; i++)
        pages[i] = i + 1;
    page_tree_init(&tree);
    page_tree_add(&tree, 0, pages, PAGE_TREE_PAGES_MAX + 100);
    ck_assert_uint_eq(tree.pages.count, PAGE_TREE_PAGES_MAX);
    ck_assert_uint_lt(page_tree_bytes(&tree), 64u << 20);
    ck_assert_uint_eq(page_tree_top(&tree, 1000, 0, out), 1);
    page_tree_release(&tree);
    mem_free(pages);
}
END_TEST

SUITE_MAIN("page_tree", test_two_prompts, test_idempotent_and_any_order,
           test_long_chains_are_one_branch, test_top, test_heat, test_random, test_bounded)
