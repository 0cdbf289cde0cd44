/* mirror_restore - from entries that a process left behind to the tree that it had.
 *
 *   1  each entry alone: state, sum, the sum of its page's bytes
 *   2  top down, each once: parent, namespace, chain of hashes, depth
 *   3  from the leaf that was used longest ago to the last: its path is locked, what is new of it is
 *      inserted, and unlocked, as a req would do it; so the order of eviction is what it was
 */
#include "worker/sched/mirror.h"

#include "common/hash.h"
#include "common/mem.h"
#include "worker/sched/radix.h"

#include <stdlib.h>
#include <string.h>

enum verdict { ALONE_GOOD, BAD, ON_PATH, GOOD, GOOD_PARENT };

struct leaf {
    uint64_t used;
    uint32_t page;
};

struct restore {
    struct mirror *mirror;
    struct radix *radix;
    uint8_t *verdict; /* [pages] enum verdict */
    uint32_t *depth;  /* [pages] pages above it */
    uint32_t *path;   /* [pages] */
    uint32_t *tokens; /* [pages * page_size] of a path */
    uint64_t *hashes; /* [pages] of a path */
    struct leaf *leaves;
    uint32_t leaf_count, depth_max;
};

static bool good_alone(const struct mirror *mirror, uint32_t page)
{
    const struct mirror_entry *entry = mirror_entry(mirror, page);
    return entry->state == MIRROR_VALID && entry->sum == mirror_entry_sum(mirror, page) &&
           entry->data == mirror->page_sum(mirror->ctx, page);
}

/* With its parent known to be good, or without one. */
static bool good_below(const struct restore *r, uint32_t page)
{
    const struct mirror_entry *entry = mirror_entry(r->mirror, page), *parent;
    uint64_t above;
    if (entry->parent == PAGE_NONE) {
        r->depth[page] = 0;
        above = radix_root_hash(r->radix, entry->namespace_hash);
    } else {
        parent = mirror_entry(r->mirror, entry->parent);
        r->depth[page] = r->depth[entry->parent] + 1;
        above = parent->hash;
        if (parent->namespace_hash != entry->namespace_hash)
            return false;
    }
    return r->depth[page] < r->depth_max &&
           entry->hash == page_hash_next(above, entry->tokens, r->mirror->page_size);
}

/* Judges the page and those above it that have not been. A circle ends at a page ON_PATH. */
static void judge(const struct restore *r, uint32_t page)
{
    uint32_t count = 0;
    while (page < r->mirror->pages && r->verdict[page] == ALONE_GOOD) {
        r->verdict[page] = ON_PATH;
        r->path[count++] = page;
        page = mirror_entry(r->mirror, page)->parent;
    }
    bool good = page == PAGE_NONE || (page < r->mirror->pages && r->verdict[page] >= GOOD);
    while (count-- > 0) {
        page = r->path[count];
        good = good && good_below(r, page);
        r->verdict[page] = good ? GOOD : BAD;
        if (good && mirror_entry(r->mirror, page)->parent != PAGE_NONE)
            r->verdict[mirror_entry(r->mirror, page)->parent] = GOOD_PARENT;
    }
}

static int by_use(const void *a, const void *b)
{
    const struct leaf *x = a, *y = b;
    if (x->used != y->used)
        return x->used < y->used ? -1 : 1;
    return x->page < y->page ? -1 : x->page > y->page;
}

/* Everything that the entry names is good. Two entries with one path of tokens are a forgery: the
 * second one's page stays with us. */
static void insert_leaf(const struct restore *r, uint32_t page)
{
    uint32_t size = r->mirror->page_size, count = r->depth[page] + 1, matched, shared;
    uint64_t namespace_hash = mirror_entry(r->mirror, page)->namespace_hash;
    for (uint32_t at = count; at-- > 0;) {
        const struct mirror_entry *entry = mirror_entry(r->mirror, page);
        memcpy(r->tokens + (size_t)at * size, entry->tokens, size * sizeof(*r->tokens));
        r->hashes[at] = entry->hash;
        r->path[at] = page;
        page = entry->parent;
    }
    struct radix_node *node =
        radix_lock(r->radix, namespace_hash, r->tokens, r->hashes, count, r->path, &matched);
    if (matched < count)
        node = radix_insert(r->radix, node, r->tokens + (size_t)matched * size, r->hashes + matched,
                            r->path + matched, count - matched, 0, &shared);
    radix_unlock(r->radix, node, 0);
}

static void judge_all(struct restore *r)
{
    struct mirror *mirror = r->mirror;
    for (uint32_t page = 0; page < mirror->pages; page++)
        r->verdict[page] = good_alone(mirror, page) ? ALONE_GOOD : BAD;
    for (uint32_t page = 0; page < mirror->pages; page++)
        judge(r, page);
    for (uint32_t page = 0; page < mirror->pages; page++) {
        if (mirror_entry(mirror, page)->state != MIRROR_EMPTY && r->verdict[page] == BAD)
            mirror->dropped++;
        if (r->verdict[page] == GOOD)
            r->leaves[r->leaf_count++] = (struct leaf){mirror_entry(mirror, page)->used, page};
        r->verdict[page] = r->verdict[page] >= GOOD;
    }
    qsort(r->leaves, r->leaf_count, sizeof(*r->leaves), by_use);
}

void mirror_restore(struct mirror *mirror, struct radix *radix, uint32_t depth_max)
{
    uint32_t pages = mirror->pages;
    CHECK(radix->pages->count == pages && radix->page_size == mirror->page_size && !radix->roots);
    struct restore r = {.mirror = mirror, .radix = radix, .depth_max = depth_max};
    r.verdict = mem_array(pages, 1);
    r.depth = mem_array(pages, sizeof(*r.depth));
    r.path = mem_array(pages, sizeof(*r.path));
    r.tokens = mem_array((size_t)MIN(pages, depth_max) * mirror->page_size, sizeof(*r.tokens));
    r.hashes = mem_array(pages, sizeof(*r.hashes));
    r.leaves = mem_array(pages, sizeof(*r.leaves));
    mirror->restored = mirror->dropped = 0;
    judge_all(&r);
    pages_claim(radix->pages, r.verdict);
    mirror->restoring = true;
    for (uint32_t i = 0; i < r.leaf_count; i++)
        insert_leaf(&r, r.leaves[i].page);
    mirror->restoring = false;
    for (uint32_t page = 0; page < pages; page++) {
        if (radix->pages->owner[page] == PAGE_REQ) {
            pages_drop(radix->pages, page, 0);
            mirror->dropped++;
        }
        if (radix->pages->owner[page] != PAGE_TREE)
            mirror_drop(mirror, page);
    }
    mirror->restored = radix->pages->tree_count;
    mem_free(r.verdict);
    mem_free(r.depth);
    mem_free(r.path);
    mem_free(r.tokens);
    mem_free(r.hashes);
    mem_free(r.leaves);
}
