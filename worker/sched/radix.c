/* radix - match, lock, insert, split, evict. */
#include "worker/sched/radix.h"

#include "common/hash.h"
#include "common/mem.h"

#include <string.h>

void radix_init(struct radix *radix, struct pages *pages, struct cache_log *log, uint32_t page_size,
                uint32_t locks_max, uint64_t fingerprint)
{
    *radix = (struct radix){
        .pages = pages, .log = log, .page_size = page_size, .fingerprint = fingerprint};
    radix->node_max = 2 * pages->count + locks_max + 2;
    radix->tokens = mem_array((size_t)pages->count * page_size, sizeof(uint32_t));
    radix->hashes = mem_array(pages->count, sizeof(uint64_t));
    radix->next = mem_array(pages->count, sizeof(uint32_t));
    radix->prev = mem_array(pages->count, sizeof(uint32_t));
    radix->nodes = mem_array(radix->node_max, sizeof(*radix->nodes));
    radix->heap = mem_array(radix->node_max, sizeof(*radix->heap));
    uint32_t buckets = 16;
    while (buckets < radix->node_max)
        buckets *= 2;
    radix->bucket_mask = buckets - 1;
    radix->buckets = mem_array(buckets, sizeof(*radix->buckets));
    for (uint32_t i = radix->node_max; i-- > 0;) {
        radix->nodes[i].next = radix->free_nodes;
        radix->free_nodes = &radix->nodes[i];
    }
}

void radix_release(struct radix *radix)
{
    mem_free(radix->tokens);
    mem_free(radix->hashes);
    mem_free(radix->next);
    mem_free(radix->prev);
    mem_free(radix->nodes);
    mem_free(radix->heap);
    mem_free(radix->buckets);
    *radix = (struct radix){.page_size = 0};
}

uint64_t radix_root_hash(const struct radix *radix, uint64_t namespace_hash)
{
    return page_hash_root(radix->fingerprint, namespace_hash);
}

/* ---- nodes, siblings, the hash table ---- */

static const uint32_t *page_tokens(const struct radix *radix, uint32_t page)
{
    return radix->tokens + (size_t)page * radix->page_size;
}

static bool page_is(const struct radix *radix, uint32_t page, uint64_t hash, const uint32_t *tokens)
{
    return radix->hashes[page] == hash &&
           memcmp(page_tokens(radix, page), tokens, radix->page_size * sizeof(*tokens)) == 0;
}

/* Hash of the last page at or above the node's end. */
static uint64_t end_hash(const struct radix *radix, const struct radix_node *node)
{
    return node->parent ? radix->hashes[node->last] : node->root_hash;
}

static struct radix_node **bucket_of(const struct radix *radix, const struct radix_node *parent,
                                     uint64_t key)
{
    uint64_t mixed = key ^ (parent ? (uint64_t)(parent - radix->nodes + 1) : 0);
    mixed *= 0x9e3779b97f4a7c15u;
    return &radix->buckets[(mixed >> 32) & radix->bucket_mask];
}

static void node_attach(struct radix *radix, struct radix_node *parent, struct radix_node *node)
{
    struct radix_node **first = parent ? &parent->child : &radix->roots;
    struct radix_node **bucket = bucket_of(radix, parent, node->key);
    node->parent = parent;
    node->prev = NULL;
    node->next = *first;
    if (node->next)
        node->next->prev = node;
    *first = node;
    node->bucket_next = *bucket;
    *bucket = node;
    radix->shape++;
}

static void node_detach(struct radix *radix, struct radix_node *node)
{
    struct radix_node **bucket = bucket_of(radix, node->parent, node->key);
    while (*bucket != node)
        bucket = &(*bucket)->bucket_next;
    *bucket = node->bucket_next;
    if (node->next)
        node->next->prev = node->prev;
    if (node->prev)
        node->prev->next = node->next;
    else if (node->parent)
        node->parent->child = node->next;
    else
        radix->roots = node->next;
    radix->shape++;
}

static struct radix_node *node_new(struct radix *radix)
{
    struct radix_node *node = radix->free_nodes;
    CHECK(node);
    radix->free_nodes = node->next;
    *node = (struct radix_node){.first = PAGE_NONE, .last = PAGE_NONE, .heap_at = PAGE_NONE};
    return node;
}

static void node_free(struct radix *radix, struct radix_node *node)
{
    node_detach(radix, node);
    node->next = radix->free_nodes;
    radix->free_nodes = node;
}

static struct radix_node *child_find(const struct radix *radix, const struct radix_node *parent,
                                     uint64_t hash, const uint32_t *tokens)
{
    struct radix_node *node = *bucket_of(radix, parent, hash);
    while (node && !(node->parent == parent && node->key == hash &&
                     page_is(radix, node->first, hash, tokens)))
        node = node->bucket_next;
    return node;
}

static struct radix_node *root_find(const struct radix *radix, uint64_t namespace_hash)
{
    struct radix_node *node = *bucket_of(radix, NULL, namespace_hash);
    while (node && (node->parent || node->key != namespace_hash))
        node = node->bucket_next;
    return node;
}

/* A node without locks and children can go: a root at once, others when pages are needed. */
static void node_idle(struct radix *radix, struct radix_node *node)
{
    if (node->locks > 0 || node->child)
        return;
    if (node->parent)
        radix_lru_push(radix, node);
    else
        node_free(radix, node);
}

/* ---- match ---- */

/* Where a walk stopped: `used` pages into `node`. */
struct place {
    struct radix_node *node;
    uint32_t used;
};

/* Goes down from the end of `node` along up to page_max pages; returns how many it found. */
static uint32_t walk_down(const struct radix *radix, struct radix_node *node,
                          const uint32_t *tokens, const uint64_t *hashes, uint32_t page_max,
                          struct place *place)
{
    uint32_t at = 0;
    *place = (struct place){node, node->count};
    while (at < page_max) {
        struct radix_node *child =
            child_find(radix, place->node, hashes[at], tokens + (size_t)at * radix->page_size);
        if (!child)
            return at;
        uint32_t page = child->first;
        *place = (struct place){child, 1};
        at++;
        while (place->used < child->count) {
            page = radix->next[page];
            if (at == page_max ||
                !page_is(radix, page, hashes[at], tokens + (size_t)at * radix->page_size))
                return at;
            place->used++;
            at++;
        }
    }
    return at;
}

uint32_t radix_match(const struct radix *radix, uint64_t namespace_hash, const uint32_t *tokens,
                     const uint64_t *hashes, uint32_t page_max)
{
    struct radix_node *root = root_find(radix, namespace_hash);
    struct place place;
    return root ? walk_down(radix, root, tokens, hashes, page_max, &place) : 0;
}

/* Cuts `node` after its first `keep` pages. The struct stays the lower part, because locks name a
 * node by its end; the new upper part carries the same locks. */
static struct radix_node *node_split(struct radix *radix, struct radix_node *node, uint32_t keep)
{
    CHECK(keep > 0 && keep < node->count);
    struct radix_node *upper = node_new(radix);
    struct radix_node *parent = node->parent;
    uint32_t cut = node->first;
    for (uint32_t i = 1; i < keep; i++)
        cut = radix->next[cut];
    node_detach(radix, node);
    upper->key = node->key;
    upper->used = node->used;
    upper->last_step = node->last_step;
    upper->locks = node->locks;
    upper->depth = node->depth;
    upper->first = node->first;
    upper->last = cut;
    upper->count = keep;
    node->first = radix->next[cut];
    node->key = radix->hashes[node->first];
    node->count -= keep;
    node->depth += keep;
    node_attach(radix, parent, upper);
    node_attach(radix, upper, node);
    return upper;
}

/* ---- locks ---- */

/* Adds a lock on the nodes from `node` up to, not including, `above`. */
static void path_lock(struct radix *radix, struct radix_node *node, const struct radix_node *above)
{
    for (; node != above; node = node->parent) {
        if (node->locks++ > 0)
            continue;
        radix->evictable -= node->count;
        radix_lru_remove(radix, node);
    }
}

struct radix_node *radix_lock(struct radix *radix, uint64_t namespace_hash, const uint32_t *tokens,
                              const uint64_t *hashes, uint32_t page_max, uint32_t *pages,
                              uint32_t *matched)
{
    struct radix_node *root = root_find(radix, namespace_hash);
    if (!root) {
        root = node_new(radix);
        root->key = namespace_hash;
        root->root_hash = radix_root_hash(radix, namespace_hash);
        node_attach(radix, NULL, root);
    }
    struct place place;
    *matched = walk_down(radix, root, tokens, hashes, page_max, &place);
    struct radix_node *node = place.node;
    if (place.used < node->count)
        node = node_split(radix, node, place.used);
    path_lock(radix, node, NULL);
    for (const struct radix_node *n = node; n; n = n->parent) {
        uint32_t page = n->first;
        for (uint32_t i = 0; i < n->count; i++, page = radix->next[page])
            pages[n->depth + i] = page;
    }
    return node;
}

void radix_unlock(struct radix *radix, struct radix_node *node, uint64_t last_step)
{
    radix->clock++;
    while (node) {
        struct radix_node *parent = node->parent;
        CHECK(node->locks > 0);
        node->used = radix->clock;
        node->last_step = MAX(node->last_step, last_step);
        if (radix->mirror && node->count)
            mirror_use(radix->mirror, node->last, radix->clock);
        if (--node->locks == 0) {
            radix->evictable += node->count;
            node_idle(radix, node);
        }
        node = parent;
    }
}

/* ---- insert ---- */

static uint64_t namespace_of(const struct radix_node *node)
{
    while (node->parent)
        node = node->parent;
    return node->key;
}

/* Hands `count` of the caller's pages to the tree at the end of `node`. */
static void append_run(struct radix *radix, struct radix_node *node, const uint32_t *tokens,
                       const uint64_t *hashes, const uint32_t *pages, uint32_t count)
{
    uint64_t namespace_hash = radix->mirror ? namespace_of(node) : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t page = pages[i];
        pages_give(radix->pages, page);
        cache_log_put(radix->log, false,
                      node->count ? radix->hashes[node->last] : end_hash(radix, node->parent),
                      hashes[i]);
        memcpy(radix->tokens + (size_t)page * radix->page_size,
               tokens + (size_t)i * radix->page_size, radix->page_size * sizeof(*tokens));
        radix->hashes[page] = hashes[i];
        radix->prev[page] = node->last;
        if (radix->mirror)
            mirror_put(radix->mirror, page, node->count ? node->last : node->parent->last,
                       namespace_hash, hashes[i], tokens + (size_t)i * radix->page_size,
                       radix->clock);
        if (node->count)
            radix->next[node->last] = page;
        else
            node->first = page;
        node->last = page;
        node->count++;
    }
    radix->version++;
}

/* Takes over the tree's own pages for the first `found`; the caller's copies are dropped. */
static void remap(struct radix *radix, const struct radix_node *node, uint32_t base,
                  uint32_t *pages, uint32_t found, uint64_t last_step)
{
    for (; node->depth + node->count > base; node = node->parent) {
        uint32_t page = node->first;
        for (uint32_t i = 0; i < node->count; i++, page = radix->next[page]) {
            uint32_t at = node->depth + i - base;
            CHECK(at < found && pages[at] != page);
            pages_drop(radix->pages, pages[at], last_step);
            pages[at] = page;
        }
    }
}

struct radix_node *radix_insert(struct radix *radix, struct radix_node *node,
                                const uint32_t *tokens, const uint64_t *hashes, uint32_t *pages,
                                uint32_t count, uint64_t last_step, uint32_t *shared)
{
    CHECK(node->locks > 0);
    struct radix_node *held = node;
    struct place place;
    uint32_t base = node->depth + node->count;
    uint32_t found = walk_down(radix, node, tokens, hashes, count, &place);
    *shared = found;
    if (found > 0) {
        node = place.node;
        if (place.used < node->count)
            node = node_split(radix, node, place.used);
        path_lock(radix, node, held);
        remap(radix, node, base, pages, found, last_step);
    }
    if (found == count)
        return node;
    tokens += (size_t)found * radix->page_size;
    if (node->parent && node->locks == 1 && !node->child) { /* ours alone: grow it in place */
        append_run(radix, node, tokens, hashes + found, pages + found, count - found);
        return node;
    }
    struct radix_node *leaf = node_new(radix);
    leaf->key = hashes[found];
    leaf->depth = node->depth + node->count;
    leaf->locks = 1;
    node_attach(radix, node, leaf);
    append_run(radix, leaf, tokens, hashes + found, pages + found, count - found);
    return leaf;
}

/* ---- evict ---- */

static void evict_page(struct radix *radix, struct radix_node *leaf)
{
    uint32_t page = leaf->last;
    leaf->count--;
    radix->evictable--;
    radix->version++;
    cache_log_put(radix->log, true,
                  leaf->count ? radix->hashes[radix->prev[page]] : end_hash(radix, leaf->parent),
                  radix->hashes[page]);
    leaf->last = radix->prev[page];
    if (radix->mirror)
        mirror_drop(radix->mirror, page);
    pages_drop(radix->pages, page, leaf->last_step);
}

void radix_evict(struct radix *radix, uint32_t want)
{
    while (radix->pages->free_count < want && radix->heap_count > 0) {
        struct radix_node *leaf = radix->heap[0];
        if (leaf->last_step > radix->pages->committed)
            return;
        while (leaf->count > 0 && radix->pages->free_count < want)
            evict_page(radix, leaf);
        if (leaf->count > 0)
            return;
        struct radix_node *parent = leaf->parent;
        radix_lru_remove(radix, leaf);
        node_free(radix, leaf);
        node_idle(radix, parent);
    }
}

void radix_walk(const struct radix *radix, sched_page_fn fn, void *ctx)
{
    const struct radix_node *node = NULL;
    while ((node = radix_next(radix, node))) {
        uint64_t parent = node->parent ? end_hash(radix, node->parent) : 0;
        uint32_t page = node->first;
        for (uint32_t i = 0; i < node->count; i++, page = radix->next[page]) {
            fn(ctx, parent, radix->hashes[page]);
            parent = radix->hashes[page];
        }
    }
}

const struct radix_node *radix_next(const struct radix *radix, const struct radix_node *node)
{
    if (!node)
        return radix->roots;
    if (node->child)
        return node->child;
    while (node && !node->next)
        node = node->parent;
    return node ? node->next : NULL;
}
