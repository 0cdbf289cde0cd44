#include "router/web/page_tree.h"

#include <math.h>
#include <string.h>

#include "common/mem.h"

/* A path of more segments than this is not weighed to its end: hostile, or of no use on a screen. */
#define WALK_MAX 1024

static uint32_t segment_new(struct page_tree *tree)
{
    uint32_t at = tree->free;
    if (at != 0) {
        tree->free = tree->segments[at].next;
    } else {
        if (tree->used == tree->cap) {
            tree->cap = MAX(tree->cap * 2, 64u);
            tree->segments = mem_realloc(tree->segments, tree->cap * sizeof(*tree->segments));
            tree->below = mem_realloc(tree->below, tree->cap * sizeof(*tree->below));
        }
        at = tree->used++;
    }
    memset(&tree->segments[at], 0, sizeof(tree->segments[at]));
    tree->segments[at].id = ++tree->id_last;
    tree->below[at] = 0;
    return at;
}

void page_tree_init(struct page_tree *tree)
{
    memset(tree, 0, sizeof(*tree));
    map_init(&tree->pages);
    segment_new(tree);
    tree->segments[0].id = 0;
}

void page_tree_release(struct page_tree *tree)
{
    for (uint32_t i = 0; i < tree->used; i++)
        mem_free(tree->segments[i].hashes);
    mem_free(tree->segments);
    mem_free(tree->below);
    map_release(&tree->pages);
    memset(tree, 0, sizeof(*tree));
}

static void attach(struct page_tree *tree, uint32_t parent, uint32_t child)
{
    struct page_segment *above = &tree->segments[parent], *below = &tree->segments[child];
    below->parent = parent;
    below->prev = 0;
    below->next = above->child;
    if (above->child != 0)
        tree->segments[above->child].prev = child;
    above->child = child;
    above->children++;
}

static void detach(struct page_tree *tree, uint32_t child)
{
    struct page_segment *segment = &tree->segments[child];
    struct page_segment *above = &tree->segments[segment->parent];
    if (segment->prev != 0)
        tree->segments[segment->prev].next = segment->next;
    else
        above->child = segment->next;
    if (segment->next != 0)
        tree->segments[segment->next].prev = segment->prev;
    above->children--;
}

/* `more` pages came to (or, negative, left) the segment. */
static void weigh(struct page_tree *tree, uint32_t at, int64_t more)
{
    for (int i = 0; at != 0 && i < WALK_MAX && more != 0; i++, at = tree->segments[at].parent) {
        int64_t below = (int64_t)tree->below[at] + more;
        tree->below[at] = (uint32_t)MAX(below, 0);
    }
}

static void put_page(struct page_tree *tree, uint32_t at, uint64_t hash)
{
    struct page_segment *segment = &tree->segments[at];
    if (segment->count == segment->cap) {
        segment->cap = segment->cap == 0 ? 4 : segment->cap * 2;
        segment->hashes = mem_realloc(segment->hashes, segment->cap * sizeof(*segment->hashes));
    }
    map_put(&tree->pages, hash, (uint64_t)at << 32 | (segment->base + segment->count));
    segment->hashes[segment->count++] = hash;
    segment->live++;
}

/* Cuts the segment before `place`. The upper part becomes a segment of its own in front of it, under
 * the old id, so that only its pages, not the children, have to be told. Returns it. */
static uint32_t split(struct page_tree *tree, uint32_t at, uint32_t place)
{
    uint32_t upper = segment_new(tree);
    struct page_segment *segment = &tree->segments[at];
    uint32_t parent = segment->parent, id = segment->id;
    segment->id = tree->segments[upper].id;
    tree->segments[upper].id = id;
    tree->segments[upper].heat = segment->heat;
    tree->segments[upper].heat_ms = segment->heat_ms;
    tree->below[upper] = tree->below[at];
    for (uint32_t i = 0; i < place; i++) {
        if (segment->hashes[i] == 0)
            continue;
        put_page(tree, upper, segment->hashes[i]);
        segment->live--;
        tree->below[at] -= tree->below[at] > 0;
    }
    segment->base += place;
    segment->count -= place;
    memmove(segment->hashes, segment->hashes + place, segment->count * sizeof(*segment->hashes));
    detach(tree, at);
    attach(tree, parent, upper);
    attach(tree, upper, at);
    return upper;
}

/* The segment that takes a page behind this one. */
static uint32_t open_behind(struct page_tree *tree, uint64_t parent)
{
    uint64_t *where = map_get(&tree->pages, parent);
    uint32_t at = 0;
    if (where) {
        at = (uint32_t)(*where >> 32);
        struct page_segment *segment = &tree->segments[at];
        uint32_t place = (uint32_t)*where - segment->base;
        if (place + 1 < segment->count)
            at = split(tree, at, place + 1);
        else if (segment->children == 0 && segment->count < PAGE_TREE_SEGMENT)
            return at;
    }
    uint32_t fresh = segment_new(tree);
    attach(tree, at, fresh);
    return fresh;
}

void page_tree_add(struct page_tree *tree, uint64_t parent, const uint64_t *hashes, size_t count)
{
    uint32_t at = 0, added = 0; /* the segment that is being filled, and what `below` lacks there */
    for (size_t i = 0; i < count; i++) {
        if (hashes[i] == 0 || tree->pages.count >= PAGE_TREE_PAGES_MAX)
            break;
        if (!map_get(&tree->pages, hashes[i])) {
            struct page_segment *segment = &tree->segments[at];
            if (added == 0 || segment->count >= PAGE_TREE_SEGMENT) {
                weigh(tree, at, added);
                added = 0;
                at = open_behind(tree, parent);
            }
            put_page(tree, at, hashes[i]);
            added++;
            tree->revision++;
        } else if (added > 0) {
            weigh(tree, at, added);
            added = 0;
        }
        parent = hashes[i];
    }
    weigh(tree, at, added);
}

/* Frees the segment when nothing is in it or under it, and then perhaps the one above. */
static void free_empty(struct page_tree *tree, uint32_t at)
{
    while (at != 0 && tree->segments[at].live == 0 && tree->segments[at].children == 0) {
        struct page_segment *segment = &tree->segments[at];
        uint32_t parent = segment->parent;
        detach(tree, at);
        mem_free(segment->hashes);
        memset(segment, 0, sizeof(*segment));
        segment->next = tree->free;
        tree->free = at;
        tree->below[at] = 0;
        at = parent;
    }
}

void page_tree_remove(struct page_tree *tree, uint64_t hash)
{
    uint64_t *where = map_get(&tree->pages, hash);
    if (!where)
        return;
    uint32_t at = (uint32_t)(*where >> 32);
    struct page_segment *segment = &tree->segments[at];
    segment->hashes[(uint32_t)*where - segment->base] = 0;
    segment->live--;
    while (segment->count > 0 && segment->hashes[segment->count - 1] == 0)
        segment->count--;
    map_remove(&tree->pages, hash);
    weigh(tree, at, -1);
    free_empty(tree, at);
    tree->revision++;
}

float page_segment_heat(const struct page_segment *segment, uint64_t now_ms)
{
    if (segment->heat == 0)
        return 0;
    return segment->heat * exp2f(-(float)(now_ms - segment->heat_ms) / PAGE_TREE_HALF_MS);
}

void page_tree_touch(struct page_tree *tree, uint64_t hash, uint64_t now_ms)
{
    const uint64_t *where = map_get(&tree->pages, hash);
    if (!where)
        return;
    uint32_t at = (uint32_t)(*where >> 32);
    for (int i = 0; at != 0 && i < WALK_MAX; i++, at = tree->segments[at].parent) {
        struct page_segment *segment = &tree->segments[at];
        segment->heat = page_segment_heat(segment, now_ms) + 1;
        segment->heat_ms = now_ms;
    }
    tree->touched_ms = now_ms;
}

bool page_tree_warm(const struct page_tree *tree, uint64_t now_ms)
{
    return tree->touched_ms != 0 && now_ms - tree->touched_ms < 20 * PAGE_TREE_HALF_MS;
}

uint64_t page_tree_bytes(const struct page_tree *tree)
{
    /* Segments' own arrays: 8 bytes a page, in powers of two. */
    return tree->cap * (sizeof(*tree->segments) + sizeof(*tree->below)) +
           tree->pages.cap * (sizeof(struct map_slot) + 1) + tree->pages.count * 12;
}

void page_tree_check(const struct page_tree *tree)
{
    uint64_t pages = 0;
    for (uint32_t i = 1; i < tree->used; i++) {
        const struct page_segment *segment = &tree->segments[i];
        if (segment->id == 0)
            continue;
        uint32_t live = 0, below = 0, children = 0;
        for (uint32_t k = 0; k < segment->count; k++) {
            if (segment->hashes[k] == 0)
                continue;
            live++;
            uint64_t *where = map_get(&tree->pages, segment->hashes[k]);
            CHECK(where && *where == ((uint64_t)i << 32 | (segment->base + k)));
        }
        for (uint32_t c = segment->child; c != 0; c = tree->segments[c].next) {
            CHECK(tree->segments[c].parent == i && tree->segments[c].id != 0);
            below += tree->below[c];
            children++;
        }
        CHECK(live == segment->live && children == segment->children);
        CHECK(live > 0 || children > 0);
        CHECK(tree->below[i] == below + live && segment->count <= PAGE_TREE_SEGMENT);
        pages += live;
    }
    CHECK(pages == tree->pages.count);
}
