/* attn_plan - cuts a step's attention into equal shares. */
#include "kernels/attn_plan.h"

#include <string.h>

/* Views into the plan while it grows. */
struct builder {
    const struct attn_plan_opts *opts;
    struct attn_plan *plan;
    struct attn_item *items;
    struct attn_item *own; /* of the decode tokens: the items behind the group tiles */
    struct attn_plan_tile *tiles;
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

size_t attn_plan_bytes_max(const struct attn_shape *shape, uint32_t rows, uint32_t tokens)
{
    size_t tiles = ((size_t)tokens / ATTN_TILE + rows) * shape->q_heads;
    return align16(sizeof(struct attn_plan)) + align16(2 * (size_t)rows * sizeof(struct attn_item)) +
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
    if (b->opts->shape.window != 0 || b->tokens_tile < 2 || group->row_count < 2 ||
        group->page_count == 0 || group->row_first + group->row_count > row_count ||
        2 * b->plan->token_count > b->opts->parts_max) /* a grouped token has two parts at least */
        return false;
    uint64_t keys = (uint64_t)group->page_count * b->opts->shape.page_size;
    for (uint32_t i = 0; i < group->row_count; i++) {
        const struct attn_row *row = &rows[group->row_first + i];
        if (row->token_count != 1 || row->token_first != rows[group->row_first].token_first + i ||
            row->pos_first + 1 < keys)
            return false;
    }
    return true;
}

/* Group tiles, in the items' front; members find their tile and where their own pages start. */
static void put_groups(struct builder *b, const struct attn_row *rows, uint32_t row_count,
                       const struct attn_group *groups, uint32_t group_count)
{
    for (uint32_t g = 0; g < group_count; g++) {
        if (!group_usable(b, rows, row_count, &groups[g]))
            continue;
        uint32_t keys = groups[g].page_count * b->opts->shape.page_size;
        uint32_t token = 0; /* decode tokens are numbered in the rows' order */
        for (uint32_t r = 0; r < groups[g].row_first; r++)
            token += rows[r].token_count == 1;
        for (uint32_t at = 0; at < groups[g].row_count; at += b->tokens_tile) {
            uint32_t count = MIN(b->tokens_tile, groups[g].row_count - at);
            for (uint32_t i = 0; i < count; i++)
                b->own[token + at + i].group = b->plan->group_items;
            b->items[b->plan->group_items++] = (struct attn_item){
                .page_count = keys / ATTN_UNIT_KEYS,
                .slot = rows[groups[g].row_first].slot,
                .key_end = keys,
                .token_first = token + at,
                .token_count = count,
            };
        }
    }
}

static void put_own(struct builder *b, const struct attn_row *row, uint32_t d)
{
    struct attn_item *own = &b->own[d];
    uint32_t end = row->pos_first + 1, first = key_first(&b->opts->shape, row->pos_first);
    uint32_t group = own->group;
    if (group != ATTN_NO_GROUP)
        first = b->items[group].key_end;
    uint32_t page = first / ATTN_UNIT_KEYS;
    *own = (struct attn_item){
        .page_first = page,
        .page_count = first < end ? DIV_CEIL(end, ATTN_UNIT_KEYS) - page : 0,
        .slot = row->slot,
        .key_first = first,
        .key_end = end,
        .token_first = d,
        .token_count = 1,
        .token = row->token_first,
        .group = group,
    };
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
        own->own_part = own->group != ATTN_NO_GROUP ? pieces_max(b, &b->items[own->group]) : 0;
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
    plan->items_off = (uint32_t)align16(sizeof(*plan));
    b.items = (struct attn_item *)(void *)((char *)out + plan->items_off);
    for (uint32_t g = 0; g < group_count; g++)
        if (group_usable(&b, rows, row_count, &groups[g]))
            tiles_max += DIV_CEIL(groups[g].row_count, b.tokens_tile);
    b.own = b.items + tiles_max;
    plan->tiles_off =
        plan->items_off + (uint32_t)align16((tiles_max + decodes) * sizeof(struct attn_item));
    b.tiles = (struct attn_plan_tile *)(void *)((char *)out + plan->tiles_off);
    for (uint32_t d = 0; d < decodes; d++)
        b.own[d].group = ATTN_NO_GROUP;
    put_groups(&b, rows, row_count, groups, group_count);
    for (uint32_t i = 0, d = 0; i < row_count; i++) {
        if (rows[i].token_count == 1)
            put_own(&b, &rows[i], d++);
        else if (rows[i].token_count > 1)
            put_tiles(&b, &rows[i]);
    }
    plan->item_count = plan->group_items + decodes;
    place_units(&b);
    plan->bytes = plan->tiles_off + (uint32_t)align16(plan->tile_count * sizeof(struct attn_plan_tile));
    return plan->bytes;
}
