/* test_radix - the tree by hand: match, split, share, evict in order, and never by hash alone. */
#include "worker/sched/radix.h"

#include "common/hash.h"

#include <check.h>
#include <string.h>

#define SIZE 2u /* tokens a page */

static struct pages pages;
static struct cache_log cache_log;
static struct radix radix;

static void setup(void)
{
    pages_init(&pages, 16);
    cache_log_init(&cache_log, 64);
    radix_init(&radix, &pages, &cache_log, SIZE, 8, 1234);
}

static void teardown(void)
{
    struct err err = {.text = ""};
    ck_assert_msg(pages_check(&pages, &err) && radix_check(&radix, &err), "%s", err.text);
    radix_release(&radix);
    cache_log_release(&cache_log);
    pages_release(&pages);
}

/* Token i of the sequence "text" is its letter: "aabb" is two pages. */
struct seq {
    uint32_t tokens[32];
    uint64_t hashes[16];
    uint32_t table[16];
    uint32_t page_count;
};

static struct seq seq_of(const char *text, uint64_t namespace_hash)
{
    struct seq seq = {.page_count = (uint32_t)strlen(text) / SIZE};
    uint64_t hash = radix_root_hash(&radix, namespace_hash);
    for (uint32_t i = 0; text[i]; i++)
        seq.tokens[i] = (uint32_t)text[i];
    for (uint32_t i = 0; i < seq.page_count; i++)
        hash = seq.hashes[i] = page_hash_next(hash, seq.tokens + i * SIZE, SIZE);
    return seq;
}

/* What a req does: lock what is there, compute the rest, insert it. */
static struct radix_node *enter(struct seq *seq, uint64_t namespace_hash, uint32_t *matched)
{
    struct radix_node *node = radix_lock(&radix, namespace_hash, seq->tokens, seq->hashes,
                                         seq->page_count, seq->table, matched);
    for (uint32_t i = *matched; i < seq->page_count; i++)
        ck_assert_uint_ne(seq->table[i] = pages_take(&pages), PAGE_NONE);
    uint32_t shared;
    if (*matched < seq->page_count)
        node = radix_insert(&radix, node, seq->tokens + *matched * SIZE, seq->hashes + *matched,
                            seq->table + *matched, seq->page_count - *matched, 0, &shared);
    return node;
}

static uint32_t cached(const char *text, uint64_t namespace_hash)
{
    struct seq seq = seq_of(text, namespace_hash);
    return radix_match(&radix, namespace_hash, seq.tokens, seq.hashes, seq.page_count);
}

START_TEST(prefixes_are_shared_and_split)
{
    uint32_t matched;
    struct seq one = seq_of("aabbccdd", 0), two = seq_of("aabbxxyy", 0);
    struct radix_node *first = enter(&one, 0, &matched);
    ck_assert_uint_eq(matched, 0);
    ck_assert_uint_eq(first->count, 4);
    struct radix_node *second = enter(&two, 0, &matched);
    ck_assert_uint_eq(matched, 2);
    ck_assert_uint_eq(two.table[0], one.table[0]);
    ck_assert_uint_eq(two.table[1], one.table[1]);
    ck_assert_uint_ne(two.table[2], one.table[2]);
    ck_assert_ptr_eq(first->parent, second->parent); /* the split part */
    ck_assert_uint_eq(first->parent->count, 2);
    ck_assert_uint_eq(first->parent->locks, 2);
    ck_assert_uint_eq(first->count, 2);
    ck_assert_uint_eq(pages.tree_count, 6);
    ck_assert_uint_eq(radix.evictable, 0);
    ck_assert_uint_eq(cached("aabbccddee", 0), 4);
    ck_assert_uint_eq(cached("aabbcc", 0), 3);
    ck_assert_uint_eq(cached("aacc", 0), 1);
    ck_assert_uint_eq(cached("bb", 0), 0);
    struct err err = {.text = ""};
    ck_assert_msg(radix_check(&radix, &err), "%s", err.text);
    radix_unlock(&radix, first, 0);
    ck_assert_uint_eq(radix.evictable, 2);
    radix_unlock(&radix, second, 0);
    ck_assert_uint_eq(radix.evictable, 6);
}
END_TEST

START_TEST(namespaces_do_not_mix)
{
    uint32_t matched;
    struct seq one = seq_of("aabb", 1), two = seq_of("aabb", 2);
    struct radix_node *a = enter(&one, 1, &matched);
    ck_assert_uint_eq(cached("aabb", 2), 0);
    struct radix_node *b = enter(&two, 2, &matched);
    ck_assert_uint_eq(matched, 0);
    ck_assert_uint_eq(cached("aabb", 1), 2);
    radix_unlock(&radix, a, 0);
    radix_unlock(&radix, b, 0);
}
END_TEST

/* A forged chain: the same hashes over other tokens. */
START_TEST(hashes_alone_match_nothing)
{
    uint32_t matched;
    struct seq real = seq_of("aabbcc", 0), forged = seq_of("xxyyzz", 0), half = seq_of("aayycc", 0);
    struct radix_node *node = enter(&real, 0, &matched);
    memcpy(forged.hashes, real.hashes, sizeof(real.hashes));
    memcpy(half.hashes, real.hashes, sizeof(real.hashes));
    ck_assert_uint_eq(radix_match(&radix, 0, forged.tokens, forged.hashes, 3), 0);
    ck_assert_uint_eq(radix_match(&radix, 0, half.tokens, half.hashes, 3), 1);
    ck_assert_uint_eq(radix_match(&radix, 0, real.tokens, real.hashes, 3), 3);
    radix_unlock(&radix, node, 0);
}
END_TEST

/* Two reqs computed the same pages at the same time: the second takes over the first's. */
START_TEST(duplicates_are_remapped)
{
    struct seq one = seq_of("aabbcc", 0), two = seq_of("aabbdd", 0);
    uint32_t none, shared;
    struct radix_node *a = radix_lock(&radix, 0, one.tokens, one.hashes, 3, one.table, &none);
    struct radix_node *b = radix_lock(&radix, 0, two.tokens, two.hashes, 3, two.table, &none);
    for (int i = 0; i < 3; i++) {
        one.table[i] = pages_take(&pages);
        two.table[i] = pages_take(&pages);
    }
    uint32_t copy = two.table[0];
    a = radix_insert(&radix, a, one.tokens, one.hashes, one.table, 3, 0, &shared);
    ck_assert_uint_eq(shared, 0);
    b = radix_insert(&radix, b, two.tokens, two.hashes, two.table, 3, 1, &shared);
    ck_assert_uint_eq(shared, 2);
    ck_assert_uint_eq(two.table[0], one.table[0]);
    ck_assert_uint_eq(two.table[1], one.table[1]);
    ck_assert_uint_eq(pages.tree_count, 4);
    ck_assert_uint_eq(pages.owner[copy], PAGE_LIMBO); /* step 1 still names it */
    pages_commit(&pages, 1);
    ck_assert_uint_eq(pages.owner[copy], PAGE_FREE);
    radix_unlock(&radix, a, 0);
    radix_unlock(&radix, b, 0);
}
END_TEST

START_TEST(a_lone_leaf_grows_in_place)
{
    uint32_t matched, shared;
    struct seq seq = seq_of("aabbcc", 0);
    seq.page_count = 1;
    struct radix_node *node = enter(&seq, 0, &matched);
    uint64_t shape = radix.shape;
    for (uint32_t i = 1; i < 3; i++) {
        seq.table[i] = pages_take(&pages);
        struct radix_node *grown = radix_insert(&radix, node, seq.tokens + i * SIZE, seq.hashes + i,
                                                seq.table + i, 1, 0, &shared);
        ck_assert_ptr_eq(grown, node);
    }
    ck_assert_uint_eq(node->count, 3);
    ck_assert_uint_eq(radix.shape, shape);
    radix_unlock(&radix, node, 0);
}
END_TEST

START_TEST(eviction_is_least_recent_leaf_first)
{
    uint32_t matched;
    struct seq one = seq_of("aabb", 0), two = seq_of("aacc", 0), three = seq_of("ddee", 0);
    struct radix_node *a = enter(&one, 0, &matched), *b = enter(&two, 0, &matched);
    struct radix_node *c = enter(&three, 0, &matched);
    radix_unlock(&radix, b, 0);
    radix_unlock(&radix, c, 0);
    radix_unlock(&radix, a, 0);
    ck_assert_uint_eq(radix.evictable, 5);
    radix_evict(&radix, pages.free_count + 1); /* cc: used longest ago */
    ck_assert_uint_eq(cached("aacc", 0), 1);
    ck_assert_uint_eq(cached("aabb", 0), 2);
    radix_evict(&radix, pages.free_count + 1); /* ee: a leaf loses its end first */
    ck_assert_uint_eq(cached("ddee", 0), 1);
    radix_evict(&radix, pages.free_count + 2); /* dd, then bb */
    ck_assert_uint_eq(cached("ddee", 0), 0);
    ck_assert_uint_eq(cached("aabb", 0), 1);
    radix_evict(&radix, pages.count);
    ck_assert_uint_eq(pages.free_count, pages.count);
    ck_assert_ptr_null(radix.roots);
}
END_TEST

START_TEST(locked_and_in_flight_pages_stay)
{
    uint32_t matched;
    struct seq one = seq_of("aabb", 0), two = seq_of("cc", 0);
    struct radix_node *a = enter(&one, 0, &matched), *b = enter(&two, 0, &matched);
    radix_unlock(&radix, b, 1); /* step 1 reads it */
    radix_evict(&radix, pages.count);
    ck_assert_uint_eq(cached("aabb", 0), 2);
    ck_assert_uint_eq(cached("cc", 0), 1);
    pages_commit(&pages, 1);
    radix_evict(&radix, pages.count);
    ck_assert_uint_eq(cached("aabb", 0), 2);
    ck_assert_uint_eq(cached("cc", 0), 0);
    radix_unlock(&radix, a, 0);
}
END_TEST

START_TEST(events_tell_the_story)
{
    uint32_t matched;
    struct seq one = seq_of("aabb", 9);
    radix_unlock(&radix, enter(&one, 9, &matched), 0);
    radix_evict(&radix, pages.count);
    struct sched_cache_event events[8];
    uint32_t count = 3;
    bool lost;
    ck_assert(cache_log_take(&cache_log, events, &count, &lost));
    ck_assert_uint_eq(count, 3);
    ck_assert(!lost && !events[0].removed && !events[1].removed && events[2].removed);
    ck_assert_uint_eq(events[0].parent, page_hash_root(1234, 9));
    ck_assert_uint_eq(events[0].hash, one.hashes[0]);
    ck_assert_uint_eq(events[1].parent, one.hashes[0]);
    ck_assert_uint_eq(events[2].parent, one.hashes[0]);
    ck_assert_uint_eq(events[2].hash, one.hashes[1]);
    count = 8;
    ck_assert(!cache_log_take(&cache_log, events, &count, &lost));
    ck_assert_uint_eq(count, 1);
    ck_assert(events[0].removed);
    ck_assert_uint_eq(events[0].parent, page_hash_root(1234, 9));
}
END_TEST

START_TEST(a_lagging_reader_loses_all)
{
    struct sched_cache_event events[8];
    uint32_t count = 8;
    bool lost;
    for (uint32_t i = 0; i < cache_log.cap + 1; i++)
        cache_log_put(&cache_log, false, i, i);
    ck_assert(!cache_log_take(&cache_log, events, &count, &lost));
    ck_assert(lost);
    ck_assert_uint_eq(count, 0);
    cache_log_put(&cache_log, false, 1, 2);
    count = 8;
    ck_assert(!cache_log_take(&cache_log, events, &count, &lost));
    ck_assert(!lost);
    ck_assert_uint_eq(count, 1);
}
END_TEST

START_TEST(the_check_sees_damage)
{
    uint32_t matched;
    struct seq one = seq_of("aabbcc", 0);
    struct radix_node *node = enter(&one, 0, &matched);
    struct err err;
    radix.tokens[one.table[1] * SIZE]++;
    ck_assert(!radix_check(&radix, &err));
    radix.tokens[one.table[1] * SIZE]--;
    node->locks++;
    ck_assert(!radix_check(&radix, &err));
    node->locks--;
    radix.evictable++;
    ck_assert(!radix_check(&radix, &err));
    radix.evictable--;
    pages.owner[one.table[2]] = PAGE_REQ;
    ck_assert(!radix_check(&radix, &err) && !pages_check(&pages, &err));
    pages.owner[one.table[2]] = PAGE_TREE;
    radix_unlock(&radix, node, 0);
}
END_TEST

START_TEST(a_page_dropped_twice_aborts)
{
    uint32_t page = pages_take(&pages);
    pages_drop(&pages, page, 0);
    pages_drop(&pages, page, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("radix");
    TCase *tcase = tcase_create("radix");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, prefixes_are_shared_and_split);
    tcase_add_test(tcase, namespaces_do_not_mix);
    tcase_add_test(tcase, hashes_alone_match_nothing);
    tcase_add_test(tcase, duplicates_are_remapped);
    tcase_add_test(tcase, a_lone_leaf_grows_in_place);
    tcase_add_test(tcase, eviction_is_least_recent_leaf_first);
    tcase_add_test(tcase, locked_and_in_flight_pages_stay);
    tcase_add_test(tcase, events_tell_the_story);
    tcase_add_test(tcase, a_lagging_reader_loses_all);
    tcase_add_test(tcase, the_check_sees_damage);
    tcase_add_test_raise_signal(tcase, a_page_dropped_twice_aborts, 6);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
