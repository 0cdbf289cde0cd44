/* test_mirror - a tree that comes back from its mirror is the tree that was; what is damaged, torn or
 * forged there is left out with all that hangs on it, and nothing else. */
#include "common/hash.h"
#include "common/rng.h"
#include "tests/effort.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SIZE        2u /* tokens a page */
#define PAGES       48u
#define FINGERPRINT 77u
#define DEPTH_MAX   40u

#include "tests/worker/sched/mirror_world.h"

static void world_check(const struct world *w)
{
    struct err err = {.text = ""};
    ck_assert_msg(pages_check(&w->pages, &err) && radix_check(&w->radix, &err), "%s", err.text);
    ck_assert_uint_eq(w->pages.req_count, 0);
    for (uint32_t page = 0; page < PAGES; page++)
        ck_assert_int_eq(mirror_entry(&w->mirror, page)->state == MIRROR_VALID,
                         w->pages.owner[page] == PAGE_TREE);
}

static void world_restore(struct world *w, const struct world *from)
{
    world_init(w, from);
    mirror_restore(&w->mirror, &w->radix, DEPTH_MAX);
    world_check(w);
    ck_assert_uint_eq(w->mirror.restored, w->pages.tree_count);
}

/* Each letter of "text" is a page. */
struct seq {
    uint32_t tokens[2 * PAGES], table[PAGES], page_count;
    uint64_t hashes[PAGES];
};

static struct seq seq_of(const struct world *w, const char *text, uint64_t namespace_hash)
{
    struct seq seq = {.page_count = (uint32_t)strlen(text)};
    uint64_t hash = radix_root_hash(&w->radix, namespace_hash);
    for (uint32_t i = 0; text[i]; i++) {
        seq.tokens[SIZE * i] = (uint32_t)text[i];
        seq.tokens[SIZE * i + 1] = 1;
        hash = seq.hashes[i] = page_hash_next(hash, seq.tokens + SIZE * i, SIZE);
    }
    return seq;
}

/* As a req would: lock, compute, insert, end. The page of the text's last letter. */
static uint32_t enter(struct world *w, const char *text, uint64_t namespace_hash)
{
    struct seq seq = seq_of(w, text, namespace_hash);
    uint32_t matched, shared;
    struct radix_node *node = radix_lock(&w->radix, namespace_hash, seq.tokens, seq.hashes,
                                         seq.page_count, seq.table, &matched);
    radix_evict(&w->radix, seq.page_count - matched);
    for (uint32_t i = matched; i < seq.page_count; i++) {
        ck_assert_uint_ne(seq.table[i] = pages_take(&w->pages), PAGE_NONE);
        w->data[seq.table[i]] = seq.hashes[i];
    }
    if (matched < seq.page_count)
        node = radix_insert(&w->radix, node, seq.tokens + matched * SIZE, seq.hashes + matched,
                            seq.table + matched, seq.page_count - matched, 0, &shared);
    radix_unlock(&w->radix, node, 0);
    return seq.table[seq.page_count - 1];
}

static uint32_t cached(const struct world *w, const char *text, uint64_t namespace_hash)
{
    struct seq seq = seq_of(w, text, namespace_hash);
    return radix_match(&w->radix, namespace_hash, seq.tokens, seq.hashes, seq.page_count);
}

/* Two namespaces, branches, a shared beginning. */
static void fill(struct world *w)
{
    world_init(w, NULL);
    enter(w, "abcd", 0);
    enter(w, "abxy", 0);
    enter(w, "abcde", 0);
    enter(w, "abcd", 5);
    enter(w, "q", 0);
}

START_TEST(the_tree_comes_back)
{
    struct world was, is;
    fill(&was);
    world_restore(&is, &was);
    ck_assert_uint_eq(is.mirror.dropped, 0);
    ck_assert_uint_eq(is.mirror.restored, was.pages.tree_count);
    ck_assert_uint_eq(cached(&is, "abcdef", 0), 5);
    ck_assert_uint_eq(cached(&is, "abxyz", 0), 4);
    ck_assert_uint_eq(cached(&is, "abxy", 5), 2);
    ck_assert_uint_eq(cached(&is, "abcd", 5), 4);
    ck_assert_uint_eq(cached(&is, "abcd", 6), 0);
    ck_assert_uint_eq(cached(&is, "q", 0), 1);
    ck_assert_mem_eq(was.pages.owner, is.pages.owner, PAGES);
    world_release(&was);
    world_release(&is);
}
END_TEST

START_TEST(what_was_used_last_is_evicted_last)
{
    struct world was, is;
    world_init(&was, NULL);
    enter(&was, "aaaa", 0);
    enter(&was, "bbbb", 0);
    enter(&was, "cccc", 0);
    enter(&was, "aaaa", 0); /* again */
    world_restore(&is, &was);
    radix_evict(&is.radix, PAGES - 8);
    ck_assert_uint_eq(cached(&is, "bbbb", 0), 0);
    ck_assert_uint_eq(cached(&is, "aaaa", 0) + cached(&is, "cccc", 0), 8);
    radix_evict(&is.radix, PAGES - 4);
    ck_assert_uint_eq(cached(&is, "aaaa", 0), 4);
    world_check(&is);
    world_release(&was);
    world_release(&is);
}
END_TEST

/* Every byte of every entry: the page of which it tells and those below it go, or nothing does. */
START_TEST(a_flipped_byte_costs_its_page_and_what_hangs_on_it)
{
    struct world was, is;
    size_t size = mirror_entry_bytes(SIZE);
    fill(&was);
    for (size_t at = 0; at < size * PAGES; at++) {
        uint8_t *byte = (uint8_t *)was.mirror.entries + at;
        uint32_t page = (uint32_t)(at / size);
        size_t offset = at % size;
        *byte ^= 0x41;
        world_restore(&is, &was);
        bool hint = offset >= 4 && offset < offsetof(struct mirror_entry, sum); /* pad, used */
        bool slack = offset >= offsetof(struct mirror_entry, tokens) + SIZE * sizeof(uint32_t);
        bool held = was.pages.owner[page] == PAGE_TREE;
        if (!held || hint || slack)
            ck_assert_uint_eq(is.mirror.restored, was.pages.tree_count);
        else
            ck_assert_uint_ne(is.pages.owner[page], PAGE_TREE);
        ck_assert_uint_eq(is.mirror.restored + is.mirror.dropped,
                          was.pages.tree_count + (!held && offset < 4));
        *byte ^= 0x41;
        world_release(&is);
    }
    world_release(&was);
}
END_TEST

START_TEST(bytes_of_a_page_that_differ_cost_it_and_what_hangs_on_it)
{
    struct world was, is;
    fill(&was);
    was.data[enter(&was, "abc", 0)] ^= 1;
    world_restore(&is, &was);
    ck_assert_uint_eq(cached(&is, "abcde", 0), 2);
    ck_assert_uint_eq(cached(&is, "abxy", 0), 4);
    ck_assert_uint_eq(cached(&is, "abcd", 5), 4);
    ck_assert_uint_eq(is.mirror.dropped, 3);
    world_release(&was);
    world_release(&is);
}
END_TEST

/* A forger who knows the sums. */
static void forge(struct world *w, uint32_t page, uint32_t parent, uint64_t above, uint32_t token)
{
    uint32_t tokens[SIZE] = {token, 1};
    uint64_t hash = page_hash_next(above, tokens, SIZE);
    w->data[page] = hash;
    mirror_put(&w->mirror, page, parent, 0, hash, tokens, UINT64_MAX - page);
}

START_TEST(forged_entries)
{
    struct world was, is;
    uint64_t root = page_hash_root(FINGERPRINT, 0);
    world_init(&was, NULL);
    forge(&was, 0, 0, root, 'a');             /* its own parent */
    forge(&was, 1, 2, root, 'b');             /* a circle */
    forge(&was, 2, 1, root, 'c');             /* */
    forge(&was, 3, PAGES, root, 'd');         /* no page */
    forge(&was, 4, 5, root, 'e');             /* the parent is empty */
    forge(&was, 6, PAGE_NONE, root + 1, 'f'); /* of another model */
    world_restore(&is, &was);
    ck_assert_uint_eq(is.mirror.restored, 0);
    ck_assert_uint_eq(is.mirror.dropped, 6);
    world_release(&is);

    forge(&was, 7, PAGE_NONE, root, 'g');
    forge(&was, 8, PAGE_NONE, root, 'g'); /* the same again, */
    forge(&was, 9, 7, mirror_entry(&was.mirror, 7)->hash, 'h');
    forge(&was, 10, 8, mirror_entry(&was.mirror, 8)->hash, 'i'); /* with a child */
    world_restore(&is, &was);
    ck_assert_uint_eq(is.mirror.restored, 3);
    ck_assert_uint_eq(is.mirror.dropped, 7);
    ck_assert_uint_eq(cached(&is, "gh", 0), 2);
    ck_assert_uint_eq(cached(&is, "gi", 0), 2);
    struct world again;
    world_restore(&again, &is); /* what is kept is whole */
    ck_assert_uint_eq(again.mirror.restored, 3);
    ck_assert_uint_eq(again.mirror.dropped, 0);
    world_release(&again);
    world_release(&is);
    world_release(&was);
}
END_TEST

START_TEST(a_chain_too_long_is_cut)
{
    struct world was, is;
    char text[DEPTH_MAX + 6] = "";
    world_init(&was, NULL);
    memset(text, 'a', sizeof(text) - 1);
    enter(&was, text, 0);
    world_restore(&is, &was);
    ck_assert_uint_eq(is.mirror.restored, DEPTH_MAX);
    ck_assert_uint_eq(is.mirror.dropped, 5);
    world_release(&was);
    world_release(&is);
}
END_TEST

/* Reqs come, share, end, evict; at any moment the mirror is the tree. */
START_TEST(at_any_moment)
{
    uint64_t rng = 4;
    struct world was, is;
    world_init(&was, NULL);
    for (uint64_t n = 0; n < effort(4000); n++) {
        char text[13] = "";
        uint32_t len = 1 + (uint32_t)rng_below(&rng, 12);
        for (uint32_t i = 0; i < len; i++)
            text[i] = (char)('a' + rng_below(&rng, i < 4 ? 2 : 3));
        enter(&was, text, rng_below(&rng, 3));
        world_check(&was);
        if (n % 7)
            continue;
        world_restore(&is, &was);
        ck_assert_uint_eq(is.mirror.dropped, 0);
        ck_assert_mem_eq(was.pages.owner, is.pages.owner, PAGES);
        if (n % 2) { /* and it goes on from there */
            world_release(&was);
            was = is;
            was.radix.pages = &was.pages;
            was.radix.log = &was.log;
            was.radix.mirror = &was.mirror;
            was.mirror.ctx = &was;
        } else {
            world_release(&is);
        }
    }
    world_release(&was);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mirror");
    TCase *tcase = tcase_create("mirror");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_tree_comes_back);
    tcase_add_test(tcase, what_was_used_last_is_evicted_last);
    tcase_add_test(tcase, a_flipped_byte_costs_its_page_and_what_hangs_on_it);
    tcase_add_test(tcase, bytes_of_a_page_that_differ_cost_it_and_what_hangs_on_it);
    tcase_add_test(tcase, forged_entries);
    tcase_add_test(tcase, a_chain_too_long_is_cut);
    tcase_add_test(tcase, at_any_moment);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
