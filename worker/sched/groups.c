/* groups - orders the decode rows so that reqs under one tree node are adjacent, and picks the
 * prefix groups among the nodes.
 *
 *      root ─ A (10 pages) ─┬─ B (5) ── r1 r2          best(A) = max(saved(A), best(B) + best(C))
 *                           └─ C (1) ── r3 r4 r5       saved(n) = (its rows - 1) * pages down to n
 *
 * A group reads its shared pages once instead of once a row, so saved(n) is what it gains; groups
 * are disjoint, hence the choice between a node and its children, from the leaves up. The walk
 * touches only nodes on running reqs' paths and runs again only when the set of decoding reqs or
 * the tree's shape has changed.
 */
#include "worker/sched/sched.h"

/* Links the req's path into this epoch's tree; returns the path's root when it is new. */
static struct radix_node *path_touch(struct scheduler *s, struct radix_node *node)
{
    struct radix_node *below = NULL;
    for (; node; below = node, node = node->parent) {
        bool known = node->group.epoch == s->group_epoch;
        if (!known) {
            node->group.epoch = s->group_epoch;
            node->group.child = node->group.next = NULL;
            node->group.reqs = NULL;
            node->group.best = 0;
            node->group.whole = false;
        }
        if (below) {
            below->group.next = node->group.child;
            node->group.child = below;
        }
        if (known)
            return NULL;
        if (!node->parent)
            return node;
    }
    return NULL;
}

static void node_enter(struct scheduler *s, struct radix_node *node)
{
    node->group.first = s->order_count;
    for (struct req *req = node->group.reqs; req; req = req->group_next)
        s->order[s->order_count++] = req;
}

static void node_leave(struct scheduler *s, struct radix_node *node)
{
    uint64_t rows = s->order_count - node->group.first;
    uint64_t saved = rows > 1 ? (rows - 1) * (node->depth + node->count) : 0;
    uint64_t below = 0;
    for (struct radix_node *child = node->group.child; child; child = child->group.next)
        below += child->group.best;
    node->group.rows = (uint32_t)rows;
    node->group.whole = saved > 0 && saved >= below;
    node->group.best = MAX(saved, below);
}

/* Depth first over one root's touched nodes; children follow the reqs of their parent. */
static void root_order(struct scheduler *s, struct radix_node *root)
{
    struct radix_node *node = root;
    node_enter(s, node);
    for (;;) {
        if (node->group.child) {
            node = node->group.child;
            node_enter(s, node);
            continue;
        }
        node_leave(s, node);
        while (node != root && !node->group.next) {
            node = node->parent;
            node_leave(s, node);
        }
        if (node == root)
            return;
        node = node->group.next;
        node_enter(s, node);
    }
}

/* Inserts by page_count, longest first. */
static void group_put(struct scheduler *s, const struct radix_node *node)
{
    CHECK(s->group_count < s->limits.groups);
    uint32_t pages = node->depth + node->count, at = s->group_count++;
    for (; at > 0 && s->groups[at - 1].page_count < pages; at--)
        s->groups[at] = s->groups[at - 1];
    s->groups[at] = (struct prefix_group){node->group.first, node->group.rows, pages};
}

/* From the root down: a node that is whole is a group, and nothing below it is. */
static void root_pick(struct scheduler *s, struct radix_node *root)
{
    struct radix_node *node = root;
    for (;;) {
        if (node->group.whole)
            group_put(s, node);
        else if (node->group.best > 0 && node->group.child) {
            node = node->group.child;
            continue;
        }
        while (node != root && !node->group.next)
            node = node->parent;
        if (node == root)
            return;
        node = node->group.next;
    }
}

void groups_order(struct scheduler *s)
{
    if (s->order_set == s->decode_set && s->order_shape == s->radix.shape)
        return;
    s->order_set = s->decode_set;
    s->order_shape = s->radix.shape;
    s->order_count = s->group_count = 0;
    bool grouped = s->opts.cache && s->opts.prefix_groups;
    struct radix_node *roots = NULL; /* chained through group.next */
    s->group_epoch++;
    for (uint32_t i = 0; i < s->running_count; i++) {
        struct req *req = s->running[i];
        if (req_left(req) > 1)
            continue;
        if (!grouped) {
            s->order[s->order_count++] = req;
            continue;
        }
        struct radix_node *root = path_touch(s, req->node);
        if (root) {
            root->group.next = roots;
            roots = root;
        }
        req->group_next = req->node->group.reqs;
        req->node->group.reqs = req;
    }
    for (struct radix_node *root = roots; root; root = root->group.next) {
        root_order(s, root);
        root_pick(s, root);
    }
    for (uint32_t i = 0; i < s->order_count; i++)
        s->group_of[i] = UINT32_MAX;
    for (uint32_t g = 0; g < s->group_count; g++)
        for (uint32_t i = 0; i < s->groups[g].row_count; i++)
            s->group_of[s->groups[g].row_first + i] = g;
}

/* Members of a group have the same first pages in their tables. */
bool groups_check(const struct scheduler *s, struct err *err)
{
    if (s->order_set != s->decode_set || s->order_shape != s->radix.shape)
        return true; /* stale: made anew before it is used */
    for (uint32_t g = 0; g < s->group_count; g++) {
        const struct prefix_group *group = &s->groups[g];
        const struct req *first = s->order[group->row_first];
        for (uint32_t i = 0; i < group->row_count; i++) {
            const struct req *req = s->order[group->row_first + i];
            for (uint32_t p = 0; p < group->page_count; p++)
                if (req->tree_pages < group->page_count || req->table[p] != first->table[p]) {
                    err_set(err, STATUS_INTERNAL, "groups: members do not share page %u", p);
                    return false;
                }
        }
    }
    return true;
}
