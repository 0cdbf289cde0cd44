/* page_tree - the pages that workers hold, as a tree of shared prefixes: what the page draws.
 *
 *   a chain of pages:   a ── b ── c ── d ── e        segments:  [a b c] ─┬─ [d e]     below = 2
 *   another prompt's:             └── x ── y         below = 7           └─ [x y]     below = 2
 *
 * The prefix index knows who holds which page and nothing of parents; this knows the parents and
 * nothing of holders: a page is here while any worker holds it. A segment is a stretch of a chain
 * without a branch, of at most PAGE_TREE_SEGMENT pages, so that splitting one is cheap. `below`
 * counts the live pages of a segment and all under it. It never grows from parent to child, so the
 * N largest segments hang together: page_tree_top() is one scan over an array of u32.
 *
 * Adding or removing a page costs one look-up, and the walk to the root once a run. At most
 * PAGE_TREE_PAGES_MAX pages are kept; more are not drawn. Loop thread.
 */
#ifndef MSGL_ROUTER_WEB_PAGE_TREE_H
#define MSGL_ROUTER_WEB_PAGE_TREE_H

#include "common/map.h"

#define PAGE_TREE_SEGMENT   256
#define PAGE_TREE_PAGES_MAX (1u << 19)
#define PAGE_TREE_HEAT_MAX  5
#define PAGE_TREE_HALF_MS   8000 /* heat halves in this time */

struct page_segment {
    uint64_t *hashes; /* its pages in order; 0: gone */
    uint32_t count, cap, live;
    uint32_t base;                                /* pages[hash] says base + place in hashes */
    uint32_t id;                                  /* never used again */
    uint32_t parent, child, next, prev, children; /* segments; 0 is the root and "none" */
    float heat;
    uint64_t heat_ms; /* when heat was right */
};

struct page_tree {
    struct page_segment *segments; /* [0]: the root, without pages */
    uint32_t *below;               /* of each segment; 0 also where there is none */
    uint32_t cap, used, free;      /* free: list through `next` */
    uint32_t id_last;
    struct map pages;    /* hash to segment << 32 | base + place */
    uint64_t revision;   /* rises with every change */
    uint64_t touched_ms; /* 0: never */
};

/* A branch as it is drawn: a chain of segments without a drawn or hidden branch in it. */
struct page_branch {
    uint32_t id, parent;  /* ids; parent 0: the root */
    uint32_t pages;       /* of its own */
    uint32_t below;       /* and of all under it */
    uint32_t hidden;      /* branches right under it that were left out */
    uint32_t heat;        /* 0 .. PAGE_TREE_HEAT_MAX: how many prompts went through it lately */
    uint64_t first, last; /* hashes of its first and last page; 0: none is left */
};

void page_tree_init(struct page_tree *tree);
void page_tree_release(struct page_tree *tree); /* safe on a zeroed struct */

/* `count` pages in a chain behind `parent`; a parent that is not known is a root. Idempotent. */
void page_tree_add(struct page_tree *tree, uint64_t parent, const uint64_t *hashes, size_t count);
/* No worker holds it any more. In any order. */
void page_tree_remove(struct page_tree *tree, uint64_t hash);

/* A prompt was sent where this page, the last of its match, is: the way there gets warmer. */
void page_tree_touch(struct page_tree *tree, uint64_t hash, uint64_t now_ms);
/* Something may still be cooling down. */
bool page_tree_warm(const struct page_tree *tree, uint64_t now_ms);

/* The largest branches, at most `max`, ordered by id, in out[]. Returns how many. */
size_t page_tree_top(const struct page_tree *tree, size_t max, uint64_t now_ms,
                     struct page_branch *out);

/* How many prompts went through the segment lately, older ones counted less. */
float page_segment_heat(const struct page_segment *segment, uint64_t now_ms);
uint64_t page_tree_bytes(const struct page_tree *tree); /* memory in use */
/* for tests: aborts when it contradicts itself */
void page_tree_check(const struct page_tree *tree);

#endif
