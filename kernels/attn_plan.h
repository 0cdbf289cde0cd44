/* attn_plan - which part of a step's attention each worker of a device does; host only.
 *
 * A row of one token is a decode token; its keys are read by warps ("workers") that take equal shares
 * of one flat list of units, a unit being one 16-key page of one kv head. A row of more tokens is cut
 * into prefill tiles of 128 tokens of one q head.
 *
 *   items   [ group tile | group tile | … | own pages of token 0 | of token 1 | … ]
 *   units    each item: kv_heads x page_count, head by head
 *            ├──── share 0 ────┤├──── share 1 ────┤├──── share 2 ────┤ …     `span` units each
 *
 * The pages that a prefix group shares are read for many of its tokens at once; each token's own item
 * starts behind them. A large group is cut into wide tiles of 128 rows (token, q head) of one kv head
 * over a range of keys, each a block of its own; a small one into group tiles, items for as many
 * tokens as fill the 16 rows of a warp's tile. An item that crosses a
 * share's border, and every token of a group, ends as several parts (o, m, l), which the worker
 * that finishes last merges by log-sum-exp, in the order of the parts: the result does not depend
 * on who comes last.
 *
 *   ┌ header ┬ starts ┬ items ┬ wide tiles ┬ prefill tiles ┐      u32 all of it, the host's and the device's alike
 */
#ifndef MSGL_KERNELS_ATTN_PLAN_H
#define MSGL_KERNELS_ATTN_PLAN_H

#include "kernels/ops.h"

#define ATTN_UNIT_KEYS 16u  /* keys of a unit; pages are a multiple of it */
#define ATTN_ROWS      16u  /* (token, q head) rows of an item at most */
#define ATTN_TILE      128u /* tokens of a prefill tile at most */
#define ATTN_NO_GROUP  UINT32_MAX
#define ATTN_WIDE_MAX  264u /* wide tiles of a plan */

struct attn_plan {
    uint32_t bytes;
    uint32_t item_count, token_count, tile_count;
    uint32_t group_items;                    /* item group_items + d is token d's own */
    uint32_t units, span, shares;            /* of all items; of a share; DIV_CEIL of them */
    uint32_t parts;                          /* scratch entries, each for all kv heads */
    uint32_t items_off, tiles_off, wide_off; /* bytes from here */
    uint32_t wide_count;
    uint32_t pad[3];
};

/* Where a share begins, so that a worker need not search: follows the header at once. */
struct attn_start {
    uint32_t item, head, page, pad;
};

/* Pages that some decode tokens read: a group tile's of several, or a token's own. The last four are
 * an own item's: all that a warp must know to end it. Its token's parts are part_first + 0.. for the
 * group's pieces, then from own_part on for its own. */
struct attn_item {
    uint32_t unit_first;             /* in the flat list */
    uint32_t page_first, page_count; /* in units of 16 keys of the slot's table */
    uint32_t slot;
    uint32_t key_first, key_end;       /* visible keys of the slot */
    uint32_t token_first, token_count; /* decode tokens that read it */
    uint32_t token;                    /* index in the step: row of qkv and of out */
    uint32_t group; /* the token's group tile; ATTN_NO_GROUP: none, or own_part wide tiles */
    uint32_t part_first, own_part;
};

struct attn_plan_tile {
    uint32_t slot;
    uint32_t token_first, token_count; /* in the step */
    uint32_t pos_first;                /* of token_first */
    uint32_t q_head;
    uint32_t key_first; /* before it, no token of the tile sees a key */
    uint32_t pad[2];
};

/* A large group's rows (token, q head) of one kv head over keys [key_first, key_end). */
struct attn_wide_tile {
    uint32_t slot, kv_head;
    uint32_t key_first, key_end;       /* key_first: a multiple of 128, key_end: of 16 */
    uint32_t token_first, token_count; /* decode tokens */
    uint32_t token;                    /* of token_first: index in the step */
    uint32_t piece;                    /* each token's part number */
};

struct attn_plan_opts {
    struct attn_shape shape;
    uint32_t workers;   /* that run at once */
    uint32_t span_min;  /* units: less is not worth a worker */
    uint32_t parts_max; /* the scratch memory's */
    uint32_t blocks;    /* that compute wide tiles at once; 0: no wide tiles */
};

/* Bytes of the largest plan for so many rows, tokens and workers. */
size_t attn_plan_bytes_max(const struct attn_shape *shape, uint32_t rows, uint32_t tokens,
                           uint32_t workers);

/* Fills `out` (16-byte aligned), returns its bytes. Rows without tokens are skipped; a group counts
 * when its members are decode rows with adjacent tokens and the layer has no window. */
size_t attn_plan_build(const struct attn_plan_opts *opts, const struct attn_row *rows,
                       uint32_t row_count, const struct attn_group *groups, uint32_t group_count,
                       void *out);

#define ATTN_PLAN_STARTS(plan) ((const struct attn_start *)((plan) + 1))
#define ATTN_PLAN_ITEMS(plan)  ((const struct attn_item *)((const char *)(plan) + (plan)->items_off))
#define ATTN_PLAN_TILES(plan)                                                                      \
    ((const struct attn_plan_tile *)((const char *)(plan) + (plan)->tiles_off))

#define ATTN_PLAN_WIDE(plan)                                                                       \
    ((const struct attn_wide_tile *)((const char *)(plan) + (plan)->wide_off))

/* Shares that hold a part of the item's pages of one head; 0 when it has none. */
static inline HOST_DEVICE uint32_t attn_item_pieces(const struct attn_item *item, uint32_t head,
                                                    uint32_t span)
{
    uint32_t first = item->unit_first + head * item->page_count;
    return item->page_count == 0 ? 0 : (first + item->page_count - 1) / span - first / span + 1;
}

#endif
