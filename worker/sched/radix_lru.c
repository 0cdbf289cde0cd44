/* radix_lru - binary heap of the leaves that may be evicted, least recently used on top. */
#include "worker/sched/radix.h"

/* Stamps of one unlock are equal only on one path, so no two leaves tie. */
static bool before(const struct radix_node *a, const struct radix_node *b)
{
    return a->used < b->used;
}

static void heap_set(struct radix *radix, uint32_t at, struct radix_node *node)
{
    radix->heap[at] = node;
    node->heap_at = at;
}

static void sift_up(struct radix *radix, uint32_t at, struct radix_node *node)
{
    while (at > 0 && before(node, radix->heap[(at - 1) / 2])) {
        heap_set(radix, at, radix->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(radix, at, node);
}

static void sift_down(struct radix *radix, uint32_t at, struct radix_node *node)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= radix->heap_count)
            break;
        if (child + 1 < radix->heap_count && before(radix->heap[child + 1], radix->heap[child]))
            child++;
        if (!before(radix->heap[child], node))
            break;
        heap_set(radix, at, radix->heap[child]);
        at = child;
    }
    heap_set(radix, at, node);
}

void radix_lru_push(struct radix *radix, struct radix_node *node)
{
    CHECK(node->heap_at == PAGE_NONE && radix->heap_count < radix->node_max);
    sift_up(radix, radix->heap_count++, node);
}

void radix_lru_remove(struct radix *radix, struct radix_node *node)
{
    uint32_t at = node->heap_at;
    if (at == PAGE_NONE)
        return;
    node->heap_at = PAGE_NONE;
    struct radix_node *moved = radix->heap[--radix->heap_count];
    if (moved == node)
        return;
    if (at > 0 && before(moved, radix->heap[(at - 1) / 2]))
        sift_up(radix, at, moved);
    else
        sift_down(radix, at, moved);
}
