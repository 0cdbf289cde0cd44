/* The tree of /cluster/events: the largest branches, who holds them, how warm they are. */
#include <string.h>

#include "common/hash.h"
#include "router/router.h"

#define TREE_MS     1000
#define HOLDERS_MAX 16 /* that a branch names */

/* ,total,[serials]: the workers that hold the branch's first page. */
static void write_holders(const struct router *router, const struct page_branch *branch,
                          struct buf *out)
{
    uint32_t total = 0;
    size_t blocks = DIV_CEIL(router->fleet.limit, (uint32_t)PREFIX_BLOCK_WORKERS);
    struct buf names = {0};
    for (size_t b = 0; b < blocks && branch->first != 0; b++) {
        uint64_t bits = prefix_index_holders(&router->fleet.index, b, branch->first);
        for (; bits != 0; bits &= bits - 1) {
            size_t at = b * PREFIX_BLOCK_WORKERS + (size_t)__builtin_ctzll(bits);
            if (router->fleet.workers[at] && total++ < HOLDERS_MAX)
                buf_printf(&names, "%s%u", total > 1 ? "," : "", router->fleet.workers[at]->serial);
        }
    }
    buf_printf(out, ",%u,[", total);
    buf_append(out, names.data, names.len);
    buf_char(out, ']');
    buf_release(&names);
}

/* [id,parent,pages,below,hidden,heat,holders,[serials]] */
static void write_branch(const struct router *router, const struct page_branch *branch,
                         struct buf *out)
{
    buf_printf(out, "[%u,%u,%u,%u,%u,%u", branch->id, branch->parent, branch->pages, branch->below,
               branch->hidden, branch->heat);
    write_holders(router, branch, out);
    buf_str(out, "],");
}

static bool same(const struct page_branch *a, const struct page_branch *b)
{
    return a->parent == b->parent && a->pages == b->pages && a->below == b->below &&
           a->hidden == b->hidden && a->heat == b->heat;
}

static void drop_comma(struct buf *out)
{
    if (out->data[out->len - 1] == ',')
        out->len--;
}

/* Both lists are ordered by id. A row is said again when it reads otherwise than before. */
static void write_changes(struct router *router, size_t count, struct buf *out)
{
    struct watch *watch = &router->watch;
    size_t old = 0, began = out->len;
    struct buf gone = {0}, row = {0};
    buf_str(out, ",\"nodes\":[");
    for (size_t i = 0; i < count; i++) {
        const struct page_branch *branch = &watch->branches_new[i];
        for (; old < watch->branch_count && watch->branches[old].id < branch->id; old++)
            buf_printf(&gone, "%u,", watch->branches[old].id);
        bool known = old < watch->branch_count && watch->branches[old].id == branch->id;
        buf_clear(&row);
        write_branch(router, branch, &row);
        watch->holders_new[i] = hash_bytes(row.data, row.len);
        if (!known || !same(&watch->branches[old], branch) ||
            watch->holders[old] != watch->holders_new[i])
            buf_append(out, row.data, row.len);
        old += known;
    }
    for (; old < watch->branch_count; old++)
        buf_printf(&gone, "%u,", watch->branches[old].id);
    drop_comma(out);
    buf_str(out, "],\"gone\":[");
    buf_append(out, gone.data, gone.len);
    drop_comma(out);
    buf_char(out, ']');
    if (out->len == began + strlen(",\"nodes\":[],\"gone\":[]"))
        out->len = began;
    buf_release(&gone);
    buf_release(&row);
}

static void write_totals(const struct page_tree *tree, struct buf *out)
{
    buf_printf(out, ",\"tree\":{\"pages\":%zu,\"cut\":%s", tree->pages.count,
               tree->pages.count >= PAGE_TREE_PAGES_MAX ? "true" : "false");
}

static void write_all(const struct router *router, struct buf *out)
{
    const struct watch *watch = &router->watch;
    write_totals(&router->tree, out);
    buf_str(out, ",\"nodes\":[");
    for (size_t i = 0; i < watch->branch_count; i++)
        write_branch(router, &watch->branches[i], out);
    drop_comma(out);
    buf_str(out, "]}");
}

void watch_tree(struct router *router, uint64_t now_ms, bool all, struct buf *out)
{
    struct watch *watch = &router->watch;
    struct page_tree *tree = &router->tree;
    if (all) {
        write_all(router, out);
        return;
    }
    bool warm = page_tree_warm(tree, now_ms);
    if (!watch->started)
        watch->branch_count = 0;
    else if (now_ms - watch->tree_ms < TREE_MS ||
             (tree->revision == watch->said_revision && !warm && !watch->said_warm))
        return;
    watch->tree_ms = now_ms;
    watch->said_revision = tree->revision;
    watch->said_warm = warm;
    size_t count = page_tree_top(tree, WATCH_BRANCHES_MAX, now_ms, watch->branches_new);
    size_t began = out->len;
    write_totals(tree, out);
    size_t head = out->len;
    write_changes(router, count, out);
    if (out->len == head)
        out->len = began;
    else
        buf_char(out, '}');
    memcpy(watch->branches, watch->branches_new, count * sizeof(*watch->branches));
    memcpy(watch->holders, watch->holders_new, count * sizeof(*watch->holders));
    watch->branch_count = count;
}
