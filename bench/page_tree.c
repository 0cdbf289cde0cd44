/* page_tree - what the tree that the page draws costs the router: bench_page_tree [PAGES ...]
 *
 * Chains of 8 to 519 pages, each behind a page of an earlier one, come in runs of 32, as workers report
 * them. Prints CSV, nanoseconds of CPU for each page or call:
 *   ns_new    a page that nobody had           ns_known  one that is there: a second holder's
 *   ns_gone   dropped, the last one first      ns_touch  a prompt makes its way warmer
 *   ns_torn   dropped out of the middle and added again: the worst case, a segment is split
 *   scan_ms   the 1,000 largest branches (median of 21); scan_ms_torn: after 200,000 pages were torn
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/mem.h"
#include "common/rng.h"
#include "router/web/page_tree.h"

#define RUN      32u
#define LOOKUPS  200000u
#define SCANS    21
#define BRANCHES 1000

/* Of this process: others that want the core do not count. */
static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Page number to hash: any page can be named again. */
static uint64_t hash_of(uint64_t page)
{
    uint64_t state = page;
    return rng_next(&state) | 1;
}

/* parents[page]: the one before it, 0 none. Returns the nanoseconds of all page_tree_add(). */
static uint64_t fill(struct page_tree *tree, uint64_t *parents, uint64_t pages)
{
    uint64_t random = 3, ns = 0, hashes[RUN];
    for (uint64_t page = 1; page <= pages;) {
        uint64_t parent =
            page > 64 && rng_below(&random, 8) != 0 ? 1 + rng_below(&random, page - 1) : 0;
        uint64_t length = 8 + rng_below(&random, 512), end = MIN(page + length, pages + 1);
        while (page < end) {
            uint64_t first = parent == 0 ? 0 : hash_of(parent);
            size_t count = 0;
            for (; count < RUN && page < end; count++, parent = page++) {
                hashes[count] = hash_of(page);
                parents[page] = parent;
            }
            uint64_t begin = cpu_ns();
            page_tree_add(tree, first, hashes, count);
            ns += cpu_ns() - begin;
        }
    }
    return ns;
}

enum action { KNOWN, TORN, TOUCH };

/* Nanoseconds of one call, over LOOKUPS random pages. */
static double each(struct page_tree *tree, const uint64_t *parents, uint64_t pages,
                   enum action action)
{
    static uint64_t hashes[LOOKUPS], above[LOOKUPS];
    uint64_t random = 5;
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        uint64_t page = 1 + rng_below(&random, pages);
        hashes[i] = hash_of(page);
        above[i] = parents[page] == 0 ? 0 : hash_of(parents[page]);
    }
    uint64_t begin = cpu_ns();
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        if (action == TOUCH)
            page_tree_touch(tree, hashes[i], 1000);
        if (action == TORN)
            page_tree_remove(tree, hashes[i]);
        if (action != TOUCH)
            page_tree_add(tree, above[i], &hashes[i], 1);
    }
    return (double)(cpu_ns() - begin) / LOOKUPS;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double scan_ms(const struct page_tree *tree)
{
    static struct page_branch branches[BRANCHES];
    uint64_t ns[SCANS];
    for (int i = 0; i < SCANS; i++) {
        uint64_t begin = cpu_ns();
        CHECK(page_tree_top(tree, BRANCHES, 2000, branches) > 0);
        ns[i] = cpu_ns() - begin;
    }
    qsort(ns, SCANS, sizeof(ns[0]), by_value);
    return (double)ns[SCANS / 2] / 1e6;
}

/* The last page first, as workers drop them. */
static double empty(struct page_tree *tree, uint64_t pages)
{
    uint64_t kept = tree->pages.count, begin = cpu_ns();
    for (uint64_t page = pages; page > 0; page--)
        page_tree_remove(tree, hash_of(page));
    CHECK(tree->pages.count == 0);
    return (double)(cpu_ns() - begin) / (double)kept;
}

static void run(uint64_t pages)
{
    struct page_tree tree;
    page_tree_init(&tree);
    uint64_t *parents = mem_array(pages + 1, sizeof(*parents));
    double fresh = (double)fill(&tree, parents, pages) / (double)pages;
    uint64_t kept = tree.pages.count;
    double bytes = (double)page_tree_bytes(&tree) / (double)kept;
    double known = each(&tree, parents, pages, KNOWN);
    double touch = each(&tree, parents, pages, TOUCH);
    double scan = scan_ms(&tree);
    uint32_t segments = tree.used;
    double gone = empty(&tree, pages);
    fill(&tree, parents, pages);
    double torn = each(&tree, parents, pages, TORN), scan_torn = scan_ms(&tree);
    printf("%" PRIu64 ",%" PRIu64 ",%u,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.2f,%.2f\n", pages, kept,
           segments, bytes, fresh, known, gone, torn, touch, scan, scan_torn);
    mem_free(parents);
    page_tree_release(&tree);
}

int main(int argc, char **argv)
{
    static const uint64_t sizes[] = {10000, 100000, 500000, 1000000};
    printf("pages,kept,segments,bytes_page,ns_new,ns_known,ns_gone,ns_torn,ns_touch,"
           "scan_ms,scan_ms_torn\n");
    for (int i = 1; i < argc; i++)
        run(strtoull(argv[i], NULL, 10));
    for (size_t i = 0; argc == 1 && i < sizeof(sizes) / sizeof(sizes[0]); i++)
        run(sizes[i]);
    return 0;
}
