/* radix_check - recomputes what the tree keeps, and compares. For tests and idle moments. */
#include "worker/sched/radix.h"

#include "common/hash.h"

static bool fail(struct err *err, const char *what)
{
    err_set(err, STATUS_INTERNAL, "radix: %s", what);
    return false;
}

/* The node's run of pages: length, owners, chain of hashes. */
static bool run_check(const struct radix *radix, const struct radix_node *node, struct err *err)
{
    const struct radix_node *parent = node->parent;
    uint64_t hash = parent->parent ? radix->hashes[parent->last] : parent->root_hash;
    uint32_t page = node->first;
    if (node->count == 0 || node->depth != parent->depth + parent->count)
        return fail(err, "a node is empty or at the wrong depth");
    for (uint32_t i = 0; i < node->count; i++) {
        if (page >= radix->pages->count || radix->pages->owner[page] != PAGE_TREE)
            return fail(err, "a node has a page that is not the tree's");
        hash =
            page_hash_next(hash, radix->tokens + (size_t)page * radix->page_size, radix->page_size);
        if (radix->hashes[page] != hash)
            return fail(err, "a page's hash does not follow from its parent's");
        if (i == 0 && node->key != hash)
            return fail(err, "a node is filed under another page's hash");
        if (i + 1 == node->count)
            break;
        if (radix->next[page] >= radix->pages->count || radix->prev[radix->next[page]] != page)
            return fail(err, "a run of pages is broken");
        page = radix->next[page];
    }
    return page == node->last || fail(err, "a run ends at another page");
}

static bool node_check(const struct radix *radix, const struct radix_node *node, struct err *err)
{
    uint64_t child_locks = 0;
    for (const struct radix_node *child = node->child; child; child = child->next) {
        if (child->parent != node)
            return fail(err, "a child names another parent");
        child_locks += child->locks;
    }
    if (child_locks > node->locks)
        return fail(err, "children hold more locks than their parent");
    if (!node->parent && node->locks == 0 && !node->child)
        return fail(err, "an idle root was left behind");
    bool idle = node->parent && node->locks == 0 && !node->child;
    if (idle != (node->heap_at != PAGE_NONE))
        return fail(err, "an evictable leaf is not in the heap, or another node is");
    if (idle && (node->heap_at >= radix->heap_count || radix->heap[node->heap_at] != node))
        return fail(err, "a leaf and its place in the heap disagree");
    if (idle && node->heap_at > 0 && radix->heap[(node->heap_at - 1) / 2]->used > node->used)
        return fail(err, "the heap is out of order");
    return !node->parent || run_check(radix, node, err);
}

bool radix_check(const struct radix *radix, struct err *err)
{
    uint64_t pages = 0, evictable = 0, nodes = 0, leaves = 0, filed = 0, spare = 0;
    const struct radix_node *node = NULL;
    while ((node = radix_next(radix, node))) {
        if (++nodes > radix->node_max)
            return fail(err, "the tree has a cycle");
        if (!node_check(radix, node, err))
            return false;
        pages += node->count;
        evictable += node->locks == 0 ? node->count : 0;
        leaves += node->heap_at != PAGE_NONE;
    }
    for (uint32_t i = 0; i <= radix->bucket_mask; i++)
        for (node = radix->buckets[i]; node && filed <= nodes; node = node->bucket_next)
            filed++;
    for (node = radix->free_nodes; node && spare <= radix->node_max; node = node->next)
        spare++;
    if (pages != radix->pages->tree_count)
        return fail(err, "a page of the tree was lost");
    if (evictable != radix->evictable)
        return fail(err, "the count of evictable pages is wrong");
    if (leaves != radix->heap_count)
        return fail(err, "the heap holds nodes that are gone");
    if (filed != nodes || spare + nodes != radix->node_max)
        return fail(err, "a node was lost");
    return true;
}
