/* The plan, walked as the kernels walk it: every visible key of every token is read exactly once,
 * every part has a place of its own, and no worker has more than its share. */
#include "tests/kernels/kit.h"

#include "kernels/attn_plan.h"

#define ROWS 80u

struct case_opts {
    uint32_t q_heads, kv_heads, page_size, window, workers, span_min, parts_max, blocks;
    bool groups;
};

static const struct case_opts cases[] = {
    {16, 8, 16, 0, 924, 2, 100000, 132, true},  {9, 3, 16, 0, 50, 1, 100000, 20, true},
    {40, 8, 16, 0, 924, 2, 100000, 132, true},  {16, 1, 64, 0, 7, 1, 100000, 500, true},
    {8, 8, 32, 100, 924, 2, 100000, 132, true}, {32, 8, 16, 0, 924, 1, 200, 1, true},
    {8, 2, 16, 0, 3, 2, 2, 132, false},         {4, 4, 16, 33, 64, 1, 100000, 0, false},
    {16, 8, 16, 0, 924, 2, 100000, 0, true},    {64, 2, 16, 0, 924, 2, 100000, 132, true},
};

static struct attn_row rows[ROWS];
static struct attn_group groups[2];
static uint32_t row_count, group_count, token_count;

static void put_row(uint32_t tokens, uint32_t before)
{
    rows[row_count] = (struct attn_row){row_count, token_count, tokens, before};
    row_count++;
    token_count += tokens;
}

/* Decode rows, two groups among them, then chunks and padding. */
static void rows_make(const struct case_opts *c, uint64_t *seed)
{
    uint32_t page = c->page_size;
    row_count = token_count = 0;
    group_count = c->groups ? 2 : 0;
    groups[0] = (struct attn_group){2, 40, 32 * 16 / page};
    groups[1] = (struct attn_group){43, 5, 64 / page};
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t shared = i >= 2 && i < 42    ? groups[0].page_count * page
                          : i >= 43 && i < 48 ? groups[1].page_count * page
                                              : 0;
        put_row(1, shared + (uint32_t)rng_below(seed, i % 7 == 0 ? 3000 : 40));
    }
    rows[row_count++] = (struct attn_row){.slot = 63}; /* padding */
    put_row(300, 17);
    put_row(128, 0);
    put_row(2, 1000);
    put_row(1, 5);
}

static uint32_t first_key(uint32_t window, uint32_t pos)
{
    return window && pos + 1 > window ? pos + 1 - window : 0;
}

/* Counts in seen[token * 4096 + key] for one head; parts taken in `taken`. */
static void walk(const struct attn_plan *plan, const struct case_opts *c, uint32_t head,
                 uint8_t *seen, uint8_t *taken)
{
    const struct attn_item *items = ATTN_PLAN_ITEMS(plan);
    for (uint32_t i = 0; i < plan->item_count; i++) {
        const struct attn_item *item = &items[i];
        bool own = i >= plan->group_items;
        for (uint32_t p = 0; p < item->page_count; p++)
            for (uint32_t k = 0; k < 16; k++) {
                uint32_t key = (item->page_first + p) * 16 + k;
                for (uint32_t t = 0; t < item->token_count; t++)
                    if (key >= item->key_first && key < item->key_end)
                        seen[(size_t)items[plan->group_items + item->token_first + t].token * 4096 +
                             key]++;
            }
        uint32_t pieces = attn_item_pieces(item, head, plan->span);
        for (uint32_t t = 0; t < item->token_count; t++) {
            const struct attn_item *mine = &items[plan->group_items + item->token_first + t];
            uint32_t all = attn_item_pieces(mine, head, plan->span);
            all += mine->group == ATTN_NO_GROUP ? mine->own_part : 0;
            if (mine->group != ATTN_NO_GROUP)
                all += attn_item_pieces(&items[mine->group], head, plan->span);
            ck_assert_uint_gt(all, 0);
            for (uint32_t piece = 0; piece < pieces && all > 1; piece++) {
                uint32_t part = mine->part_first + (own ? mine->own_part : 0) + piece;
                if (part >= plan->parts || taken[part]++)
                    ck_abort_msg("part %u of %u, twice or too far", part, plan->parts);
            }
        }
    }
    for (uint32_t i = 0; i < plan->wide_count; i++) {
        const struct attn_wide_tile *tile = &ATTN_PLAN_WIDE(plan)[i];
        ck_assert_uint_lt(tile->key_first, tile->key_end);
        ck_assert_uint_eq(tile->key_first % ATTN_TILE, 0);
        ck_assert_uint_le(tile->token_count * (c->q_heads / c->kv_heads), ATTN_TILE);
        for (uint32_t t = 0; t < tile->token_count && tile->kv_head == head; t++) {
            const struct attn_item *own = &items[plan->group_items + tile->token_first + t];
            ck_assert_uint_eq(own->token, tile->token + t);
            ck_assert_uint_lt(tile->piece, own->own_part);
            if (taken[own->part_first + tile->piece]++)
                ck_abort_msg("wide part %u twice", tile->piece);
            for (uint32_t key = tile->key_first; key < tile->key_end; key++)
                seen[(size_t)own->token * 4096 + key]++;
        }
    }
    ck_assert_uint_eq(plan->shares, DIV_CEIL(plan->units, plan->span));
    ck_assert_uint_le(plan->shares, c->workers);
    for (uint32_t i = 0; i < plan->shares; i++) {
        struct attn_start start = ATTN_PLAN_STARTS(plan)[i];
        const struct attn_item *item = &items[start.item];
        ck_assert_uint_eq(item->unit_first + start.head * item->page_count + start.page,
                          i * plan->span);
        ck_assert_uint_lt(start.page, item->page_count);
    }
    ck_assert_uint_le(plan->parts, c->parts_max);
}

static void check_tiles(const struct attn_plan *plan, const struct case_opts *c, uint8_t *seen)
{
    const struct attn_plan_tile *tiles = ATTN_PLAN_TILES(plan);
    for (uint32_t i = 0; i < plan->tile_count; i++)
        for (uint32_t t = 0; t < tiles[i].token_count && tiles[i].q_head == 0; t++) {
            uint32_t pos = tiles[i].pos_first + t;
            ck_assert_uint_le(tiles[i].key_first, first_key(c->window, pos));
            for (uint32_t key = first_key(c->window, pos); key <= pos; key++)
                seen[(size_t)(tiles[i].token_first + t) * 4096 + key]++;
        }
}

START_TEST(every_key_once)
{
    const struct case_opts *c = &cases[_i];
    uint64_t seed = 11 + (uint64_t)_i;
    for (uint32_t round = 0; round < 8; round++) {
        rows_make(c, &seed);
        struct attn_plan_opts opts = {{c->q_heads, c->kv_heads, 128, c->page_size, c->window},
                                      c->workers,
                                      c->span_min,
                                      c->parts_max,
                                      c->blocks};
        size_t most = attn_plan_bytes_max(&opts.shape, row_count, token_count, opts.workers);
        struct attn_plan *plan = mem_aligned(ROUND_UP(most, (size_t)64), 64);
        size_t bytes = attn_plan_build(&opts, rows, row_count, groups, group_count, plan);
        ck_assert_uint_le(bytes, most);
        ck_assert_uint_eq(plan->bytes, bytes);
        uint8_t *seen = mem_zalloc((size_t)token_count * 4096);
        for (uint32_t head = 0; head < c->kv_heads; head++) {
            uint8_t *taken = mem_zalloc(plan->parts + 1);
            memset(seen, 0, (size_t)token_count * 4096);
            walk(plan, c, head, seen, taken);
            mem_free(taken);
        }
        check_tiles(plan, c, seen);
        for (uint32_t r = 0; r < row_count; r++)
            for (uint32_t t = 0; t < rows[r].token_count; t++)
                for (uint32_t key = 0; key < 4096; key++) {
                    uint32_t pos = rows[r].pos_first + t;
                    bool visible = key <= pos && key >= first_key(c->window, pos);
                    if (seen[(size_t)(rows[r].token_first + t) * 4096 + key] != visible)
                        ck_abort_msg("row %u token %u key %u", r, t, key);
                }
        mem_free(seen);
        mem_free(plan);
    }
}
END_TEST

/* Groups of 40 and 5 whose 32 and 4 pages are read once for as many tokens as fill a tile. */
START_TEST(groups_share)
{
    const struct case_opts *c = &cases[0];
    uint64_t seed = 5;
    rows_make(c, &seed);
    struct attn_plan_opts opts = {{c->q_heads, c->kv_heads, 128, 16, 0}, 924, 2, 100000, 0};
    struct attn_plan *plan =
        mem_aligned(ROUND_UP(attn_plan_bytes_max(&opts.shape, row_count, token_count, opts.workers),
                             (size_t)64),
                    64);
    (void)attn_plan_build(&opts, rows, row_count, groups, group_count, plan);
    ck_assert_uint_eq(plan->group_items, 6); /* 40 tokens in tiles of 8, 5 in one */
    uint32_t units = plan->units;
    (void)attn_plan_build(&opts, rows, row_count, groups, 0, plan);
    ck_assert_uint_eq(plan->units - units, 8 * (35 * 32 + 4 * 4));
    opts.blocks = 132;
    (void)attn_plan_build(&opts, rows, row_count, groups, group_count, plan);
    ck_assert_uint_eq(plan->wide_count, 8 * 4); /* 40 tokens in one tile a head; 512 keys in 4 */
    mem_free(plan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attn_plan");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, every_key_once, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(tcase, groups_share);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
