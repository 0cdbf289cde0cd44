/* attn_plan - cuts a step's attention into equal shares. */
#include "kernels/attn_plan.h"

#include <string.h>

#define WIDE_ROWS_MIN 64u /* (token, q head) rows of a group that is worth wide tiles */

/* Views into the plan while it grows. */
struct builder {
    const struct attn_plan_opts *opts;
    struct attn_plan *plan;
    struct attn_item *items;
    struct attn_item *own; /* of the decode tokens: the items behind the group tiles */
    struct attn_plan_tile *tiles;
    struct attn_wide_tile *wide;
    uint32_t tokens_tile; /* decode tokens of one group tile */
};

static uint32_t group_size(const struct attn_shape *shape)
{
    return shape->q_heads / shape->kv_heads;
}

static size_t align16(size_t bytes)
{
    return ROUND_UP(bytes, (size_t)16);
}

size_t attn_plan_bytes_max(const struct attn_shape *shape, uint32_t rows, uint32_t tokens,
                           uint32_t workers)
{
    size_t tiles = ((size_t)tokens / ATTN_TILE + rows) * shape->q_heads;
    return sizeof(struct attn_plan) + workers * sizeof(struct attn_start) +
           align16(ATTN_WIDE_MAX * sizeof(struct attn_wide_tile)) +
           align16(2 * (size_t)rows * sizeof(struct attn_item)) +
           align16(tiles * sizeof(struct attn_plan_tile));
}

/* First key that the token at `pos` sees. */
static uint32_t key_first(const struct attn_shape *shape, uint32_t pos)
{
    return shape->window != 0 && pos + 1 > shape->window ? pos + 1 - shape->window : 0;
}

static void put_tiles(struct builder *b, const struct attn_row *row)
{
    const struct attn_shape *shape = &b->opts->shape;
    uint32_t count = DIV_CEIL(row->token_count, ATTN_TILE);
    for (uint32_t tile = count; tile-- > 0;) /* the last tokens see most: first */
        for (uint32_t head = 0; head < shape->q_heads; head++) {
            uint32_t first = tile * ATTN_TILE;
            b->tiles[b->plan->tile_count++] = (struct attn_plan_tile){
                .slot = row->slot,
                .token_first = row->token_first + first,
                .token_count = MIN(ATTN_TILE, row->token_count - first),
                .pos_first = row->pos_first + first,
                .q_head = head,
                .key_first = key_first(shape, row->pos_first + first),
            };
        }
}

/* The rows of a group, when it is one that can be read together; else false. */
static bool group_usable(const struct builder *b, const struct attn_row *rows, uint32_t row_count,
                         const struct attn_group *group)
{
    if (b->opts->shape.window != 0 || group->row_count < 2 || group->page_count == 0 ||
        group->row_first + group->row_count > row_count ||
        2 * b->plan->token_count > b->opts->parts_max) /* a grouped token has two parts at least */
        return false;
    uint64_t keys = (uint64_t)group->page_count * b->opts->shape.page_size;
    for (uint32_t i = 0; i < group->row_count; i++) {
        const struct attn_row *row = &rows[group->row_first + i];
        if (row->token_count != 1 || row->token_first != rows[group->row_first].token_first + i ||
            row->pos_first < keys) /* its own item has the newest key at least */
            return false;
    }
    return true;
}

/* The number of the first decode token of a group: they are numbered in the rows' order. */
static uint32_t first_token(const struct attn_row *rows, const struct attn_group *group)
{
    uint32_t token = 0;
    for (uint32_t r = 0; r < group->row_first; r++)
        token += rows[r].token_count == 1;
    return token;
}

static bool group_wide(const struct builder *b, const struct attn_group *group)
{
    return b->opts->blocks > 0 && group->row_count * group_size(&b->opts->shape) >= WIDE_ROWS_MIN;
}

/* Wide tiles of a group, in `splits` ranges of keys; false when there are too many. */
static bool put_wide(struct builder *b, const struct attn_row *rows, const struct attn_group *group,
                     uint32_t splits)
{
    uint32_t keys = group->page_count * b->opts->shape.page_size;
    uint32_t key_tiles = DIV_CEIL(keys, ATTN_TILE), heads = b->opts->shape.kv_heads;
    uint32_t tokens = ATTN_TILE / group_size(&b->opts->shape), first = first_token(rows, group);
    splits = DIV_CEIL(key_tiles, DIV_CEIL(key_tiles, splits)); /* none of them empty */
    uint32_t span = DIV_CEIL(key_tiles, splits) * ATTN_TILE;
    if (b->plan->wide_count + DIV_CEIL(group->row_count, tokens) * heads * splits > ATTN_WIDE_MAX)
        return false;
    for (uint32_t at = 0; at < group->row_count; at += tokens)
        for (uint32_t head = 0; head < heads; head++)
            for (uint32_t piece = 0; piece < splits; piece++)
                b->wide[b->plan->wide_count++] = (struct attn_wide_tile){
                    .slot = rows[group->row_first].slot,
                    .kv_head = head,
                    .key_first = piece * span,
                    .key_end = MIN((piece + 1) * span, keys),
                    .token_first = first + at,
                    .token_count = MIN(tokens, group->row_count - at),
                    .token = rows[group->row_first + at].token_first,
                    .piece = piece,
                };
    for (uint32_t i = 0; i < group->row_count; i++) {
        b->own[first + i].own_part = splits;
        b->own[first + i].key_first = keys;
    }
    return true;
}

static void put_narrow(struct builder *b, const struct attn_row *rows,
                       const struct attn_group *group)
{
    uint32_t keys = group->page_count * b->opts->shape.page_size, token = first_token(rows, group);
    for (uint32_t at = 0; at < group->row_count; at += b->tokens_tile) {
        uint32_t count = MIN(b->tokens_tile, group->row_count - at);
        for (uint32_t i = 0; i < count; i++) {
            b->own[token + at + i].group = b->plan->group_items;
            b->own[token + at + i].key_first = keys;
        }
        b->items[b->plan->group_items++] = (struct attn_item){
            .page_count = keys / ATTN_UNIT_KEYS,
            .slot = rows[group->row_first].slot,
            .key_end = keys,
            .token_first = token + at,
            .token_count = count,
        };
    }
}

/* Wide tiles, and group tiles in the items' front; members learn where their own keys start. */
static void put_groups(struct builder *b, const struct attn_row *rows, uint32_t row_count,
                       const struct attn_group *groups, uint32_t group_count)
{
    uint32_t blocks = 0, tokens = ATTN_TILE / group_size(&b->opts->shape);
    for (uint32_t g = 0; g < group_count; g++)
        if (group_usable(b, rows, row_count, &groups[g]) && group_wide(b, &groups[g]))
            blocks += DIV_CEIL(groups[g].row_count, tokens) * b->opts->shape.kv_heads;
    uint32_t splits = blocks > 0 ? MAX(b->opts->blocks / blocks, 1u) : 1;
    for (uint32_t g = 0; g < group_count; g++) {
        if (!group_usable(b, rows, row_count, &groups[g]))
            continue;
        if (!group_wide(b, &groups[g]) || !put_wide(b, rows, &groups[g], splits))
            if (b->tokens_tile > 1)
                put_narrow(b, rows, &groups[g]);
    }
}

static void put_own(struct builder *b, const struct attn_row *row, uint32_t d)
{
    struct attn_item *own = &b->own[d];
    own->key_end = row->pos_first + 1;
    own->key_first = MAX(own->key_first, key_first(&b->opts->shape, row->pos_first));
    own->page_first = own->key_first / ATTN_UNIT_KEYS;
    own->page_count = DIV_CEIL(own->key_end, ATTN_UNIT_KEYS) - own->page_first;
    own->slot = row->slot;
    own->token_first = d;
    own->token_count = 1;
    own->token = row->token_first;
}

static uint32_t pieces_max(const struct builder *b, const struct attn_item *item)
{
    uint32_t most = 0;
    for (uint32_t head = 0; head < b->opts->shape.kv_heads; head++)
        most = MAX(most, attn_item_pieces(item, head, b->plan->span));
    return most;
}

/* Gives each token its parts for the plan's span; returns how many there are. */
static uint32_t place_parts(struct builder *b)
{
    const struct attn_plan *plan = b->plan;
    uint32_t parts = 0;
    for (uint32_t d = 0; d < plan->token_count; d++) {
        struct attn_item *own = &b->own[d];
        own->part_first = parts;
        if (own->group != ATTN_NO_GROUP)
            own->own_part = pieces_max(b, &b->items[own->group]);
        uint32_t count = own->own_part + pieces_max(b, own);
        parts += count > 1 ? count : 0;
    }
    return parts;
}

/* Numbers the units and picks the span: equal shares, not too small, parts within the scratch. */
static void place_units(struct builder *b)
{
    struct attn_plan *plan = b->plan;
    for (uint32_t i = 0; i < plan->item_count; i++) {
        b->items[i].unit_first = plan->units;
        plan->units += b->items[i].page_count * b->opts->shape.kv_heads;
    }
    plan->span = MAX(b->opts->span_min, DIV_CEIL(plan->units, b->opts->workers));
    for (plan->parts = place_parts(b); plan->parts > b->opts->parts_max;
         plan->parts = place_parts(b)) {
        CHECK(plan->span < plan->units); /* beyond that only groups have parts: group_usable */
        plan->span *= 2;
    }
    plan->shares = DIV_CEIL(plan->units, plan->span);
}

static void put_starts(struct builder *b)
{
    const struct attn_plan *plan = b->plan;
    struct attn_start *starts = (struct attn_start *)(void *)(b->plan + 1);
    uint32_t item = 0;
    for (uint32_t share = 0; share < plan->shares; share++) {
        uint32_t unit = share * plan->span;
        while (unit - b->items[item].unit_first >=
               b->items[item].page_count * b->opts->shape.kv_heads)
            item++;
        unit -= b->items[item].unit_first;
        starts[share] = (struct attn_start){.item = item,
                                            .head = unit / b->items[item].page_count,
                                            .page = unit % b->items[item].page_count};
    }
}

size_t attn_plan_build(const struct attn_plan_opts *opts, const struct attn_row *rows,
                       uint32_t row_count, const struct attn_group *groups, uint32_t group_count,
                       void *out)
{
    struct attn_plan *plan = out;
    uint32_t decodes = 0, tiles_max = 0;
    struct builder b = {.opts = opts, .plan = plan};
    b.tokens_tile = ATTN_ROWS / group_size(&opts->shape);
    memset(plan, 0, sizeof(*plan));
    for (uint32_t i = 0; i < row_count; i++)
        decodes += rows[i].token_count == 1;
    plan->token_count = decodes;
    plan->items_off = (uint32_t)(sizeof(*plan) + opts->workers * sizeof(struct attn_start));
    b.items = (struct attn_item *)(void *)((char *)out + plan->items_off);
    for (uint32_t g = 0; g < group_count; g++)
        if (group_usable(&b, rows, row_count, &groups[g]) && b.tokens_tile > 1)
            tiles_max += DIV_CEIL(groups[g].row_count, b.tokens_tile);
    b.own = b.items + tiles_max;
    plan->wide_off =
        plan->items_off + (uint32_t)align16((tiles_max + decodes) * sizeof(struct attn_item));
    b.wide = (struct attn_wide_tile *)(void *)((char *)out + plan->wide_off);
    for (uint32_t d = 0; d < decodes; d++)
        b.own[d] = (struct attn_item){.group = ATTN_NO_GROUP};
    put_groups(&b, rows, row_count, groups, group_count);
    for (; plan->group_items < tiles_max; plan->group_items++) /* of groups that became wide */
        b.items[plan->group_items] = (struct attn_item){0};
    plan->tiles_off =
        plan->wide_off + (uint32_t)align16(plan->wide_count * sizeof(struct attn_wide_tile));
    b.tiles = (struct attn_plan_tile *)(void *)((char *)out + plan->tiles_off);
    for (uint32_t i = 0, d = 0; i < row_count; i++) {
        if (rows[i].token_count == 1)
            put_own(&b, &rows[i], d++);
        else if (rows[i].token_count > 1)
            put_tiles(&b, &rows[i]);
    }
    plan->item_count = plan->group_items + decodes;
    place_units(&b);
    put_starts(&b);
    plan->bytes =
        plan->tiles_off + (uint32_t)align16(plan->tile_count * sizeof(struct attn_plan_tile));
    return plan->bytes;
}
