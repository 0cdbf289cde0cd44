/* The branches of a page tree that are worth drawing. */
#include "router/web/page_tree.h"

#include <stdlib.h>

#include "common/mem.h"

struct pick {
    uint32_t below, segment;
};

/* A heap with the smallest in front. */
static void sink(struct pick *heap, size_t count, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            return;
        child += child + 1 < count && heap[child + 1].below < heap[child].below;
        if (heap[at].below <= heap[child].below)
            return;
        struct pick pick = heap[at];
        heap[at] = heap[child];
        heap[child] = pick;
        at = child;
    }
}

static size_t largest(const struct page_tree *tree, size_t max, struct pick *heap)
{
    size_t count = 0;
    for (uint32_t i = 1; i < tree->used; i++) {
        if (count < max) {
            if (tree->below[i] > 0)
                heap[count++] = (struct pick){tree->below[i], i};
            if (count == max)
                for (size_t k = max / 2 + 1; k-- > 0;)
                    sink(heap, count, k);
        } else if (tree->below[i] > heap[0].below) {
            heap[0] = (struct pick){tree->below[i], i};
            sink(heap, count, 0);
        }
    }
    return count;
}

static uint32_t heat_level(const struct page_segment *segment, uint64_t now_ms)
{
    static const float steps[PAGE_TREE_HEAT_MAX] = {0.5f, 2, 5, 12, 30};
    float heat = page_segment_heat(segment, now_ms);
    uint32_t level = 0;
    while (level < PAGE_TREE_HEAT_MAX && heat >= steps[level])
        level++;
    return level;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = ((const struct page_branch *)a)->id, y = ((const struct page_branch *)b)->id;
    return x < y ? -1 : x > y;
}

/* The segment goes on in its only child, drawn as one with it. */
static bool goes_on(const struct page_tree *tree, const struct map *picked, uint32_t at)
{
    return tree->segments[at].children == 1 && map_get(picked, tree->segments[at].child);
}

/* A branch that begins at this segment. */
static struct page_branch branch_at(const struct page_tree *tree, const struct map *picked,
                                    uint32_t at, uint64_t now_ms)
{
    const struct page_segment *head = &tree->segments[at];
    struct page_branch branch = {
        .id = head->id, .below = tree->below[at], .heat = heat_level(head, now_ms)};
    for (;; at = tree->segments[at].child) {
        const struct page_segment *segment = &tree->segments[at];
        branch.pages += segment->live;
        for (uint32_t i = 0; i < segment->count && branch.first == 0; i++)
            branch.first = segment->hashes[i];
        if (segment->count > 0) /* trailing pages that are gone were cut off */
            branch.last = segment->hashes[segment->count - 1];
        branch.hidden = segment->children;
        if (!goes_on(tree, picked, at))
            return branch;
    }
}

size_t page_tree_top(const struct page_tree *tree, size_t max, uint64_t now_ms,
                     struct page_branch *out)
{
    struct pick *picks = mem_array(MAX(max, (size_t)1), sizeof(*picks));
    size_t picked_count = largest(tree, max, picks), count = 0;
    struct map picked, rows; /* segments; heads of branches to their place in out */
    map_init(&picked);
    map_init(&rows);
    for (size_t i = 0; i < picked_count; i++)
        map_put(&picked, picks[i].segment, 0);
    for (size_t i = 0; i < picked_count; i++) {
        uint32_t at = picks[i].segment, parent = tree->segments[at].parent;
        if (parent != 0 && (!map_get(&picked, parent) || goes_on(tree, &picked, parent)))
            continue;
        map_put(&rows, at, count);
        out[count++] = branch_at(tree, &picked, at, now_ms);
    }
    size_t cursor = 0;
    uint64_t at, row;
    while (map_next(&rows, &cursor, &at, &row)) {
        uint32_t parent = tree->segments[at].parent;
        while (parent != 0 && !map_get(&rows, parent))
            parent = tree->segments[parent].parent;
        if (parent == 0)
            continue;
        struct page_branch *above = &out[*map_get(&rows, parent)];
        out[row].parent = above->id;
        above->hidden -= above->hidden > 0;
    }
    map_release(&picked);
    map_release(&rows);
    mem_free(picks);
    qsort(out, count, sizeof(*out), by_id);
    return count;
}
