/* block - a step packet's parts as the arrays that the ops take. */
#include "worker/engine/block.h"

#include <assert.h>
#include <string.h>

#define ALIGN 16u

static_assert(sizeof(struct page_set) == sizeof(struct page_delta), "one layout");
static_assert(sizeof(struct attn_row) == sizeof(struct step_row), "one layout");
static_assert(sizeof(struct attn_group) == sizeof(struct prefix_group), "one layout");

void block_planner_init(const struct ops *ops, const struct device *device,
                        const struct model_config *config, const struct kvcache *cache,
                        uint32_t heads, uint32_t context_max, struct block_planner *out)
{
    *out = (struct block_planner){.ops = ops, .device = device, .context_max = context_max};
    for (size_t i = 0; i < ARRAY_LEN(out->shapes); i++)
        out->shapes[i] = (struct attn_shape){.q_heads = heads,
                                             .kv_heads = cache->view.kv_heads,
                                             .head_dim = config->head_dim,
                                             .page_size = cache->view.page_size};
    for (uint32_t i = 0; i < config->layers; i++) {
        bool windowed = config->window[i] != 0;
        out->used[windowed] = true;
        if (windowed)
            out->shapes[1].window = config->window[i];
    }
}

static size_t take(size_t *at, size_t bytes)
{
    size_t start = *at;
    *at = ROUND_UP(start + bytes, (size_t)ALIGN);
    return start;
}

/* All but plans and what follows them; bytes = where the plans begin. */
static struct block_layout arrays_layout(uint32_t tokens, uint32_t rows, uint32_t samples,
                                         uint32_t deltas)
{
    struct block_layout at = {
        .samples = samples, .tokens_n = tokens, .rows_n = rows, .deltas_n = deltas};
    at.sample_rows = take(&at.bytes, samples * sizeof(struct sample_row));
    at.tokens = take(&at.bytes, tokens * sizeof(uint32_t));
    at.positions = take(&at.bytes, tokens * sizeof(uint32_t));
    at.slots = take(&at.bytes, tokens * sizeof(uint32_t));
    at.rows = take(&at.bytes, rows * sizeof(struct attn_row));
    at.sample_idx = take(&at.bytes, samples * sizeof(uint32_t));
    at.deltas = take(&at.bytes, deltas * sizeof(struct page_set));
    return at;
}

static size_t plan_room(const struct block_planner *planner, size_t kind, uint32_t rows,
                        uint32_t tokens)
{
    if (!planner->used[kind])
        return 0;
    size_t bytes = planner->ops->attn_plan_bytes(planner->device, &planner->shapes[kind], rows,
                                                 tokens, planner->context_max);
    return ROUND_UP(bytes, (size_t)ALIGN);
}

size_t block_bytes_max(const struct block_planner *planner, const struct step_limits *limits)
{
    size_t bytes =
        arrays_layout(limits->tokens, limits->rows, limits->rows, limits->deltas + limits->rows)
            .bytes;
    for (size_t kind = 0; kind < ARRAY_LEN(planner->shapes); kind++)
        bytes += MAX(plan_room(planner, kind, limits->rows, limits->tokens),
                     plan_room(planner, kind, limits->rows, limits->rows));
    return bytes;
}

bool block_is_decode(const struct step_packet *packet)
{
    const struct step_row *rows = step_rows(packet);
    const struct step_sample *samples = step_samples(packet);
    if (packet->row_count != packet->token_count || packet->row_count != packet->sample_count ||
        packet->score_count > 0)
        return false;
    for (uint32_t i = 0; i < packet->row_count; i++)
        if (rows[i].token_first != i || samples[i].row != i)
            return false;
    return true;
}

static void fill_rows(const struct step_packet *packet, const struct block_layout *at,
                      uint8_t *block)
{
    const struct step_row *rows = step_rows(packet);
    uint32_t *tokens = (void *)(block + at->tokens);
    uint32_t *positions = (void *)(block + at->positions);
    uint32_t *slots = (void *)(block + at->slots);
    struct attn_row *out = (void *)(block + at->rows);

    memcpy(tokens, step_tokens(packet), packet->token_count * sizeof(*tokens));
    memcpy(out, rows, packet->row_count * sizeof(*out));
    for (uint32_t i = 0; i < packet->row_count; i++) {
        for (uint32_t j = 0; j < rows[i].token_count; j++) {
            positions[rows[i].token_first + j] = rows[i].pos_first + j;
            slots[rows[i].token_first + j] = rows[i].slot;
        }
    }
    for (uint32_t i = packet->token_count; i < at->tokens_n; i++) {
        tokens[i] = positions[i] = 0;
        slots[i] = SLOT_NONE;
    }
    for (uint32_t i = packet->row_count; i < at->rows_n; i++)
        out[i] = (struct attn_row){.token_first = i};
}

static void fill_samples(const struct step_packet *packet, const struct block_layout *at,
                         uint8_t *block)
{
    const struct step_row *rows = step_rows(packet);
    const struct step_sample *samples = step_samples(packet);
    struct sample_row *out = (void *)(block + at->sample_rows);
    uint32_t *idx = (void *)(block + at->sample_idx);

    for (uint32_t i = 0; i < packet->sample_count; i++) {
        const struct step_row *row = &rows[samples[i].row];
        idx[i] = row->token_first + row->token_count - 1;
        out[i] = (struct sample_row){.slot = row->slot,
                                     .position = samples[i].position,
                                     .sampling = samples[i].sampling,
                                     .flags = samples[i].flags,
                                     .ban_until = samples[i].ban_until,
                                     .mask = i};
    }
    const struct step_score *scores = step_scores(packet);
    for (uint32_t i = 0; i < packet->score_count; i++)
        idx[packet->sample_count + i] = scores[i].token;
    for (uint32_t i = packet->sample_count + packet->score_count; i < at->samples; i++) {
        idx[i] = i;
        out[i] = (struct sample_row){.slot = SLOT_NONE, .sampling = {.top_p = 1.0f}};
    }
}

/* Deltas that do not fit the padded array all go behind the plans: their order matters. */
static void fill_deltas(const struct step_packet *packet, struct block_layout *at, uint8_t *block)
{
    size_t bytes = packet->delta_count * sizeof(struct page_set);
    struct page_set *out = (void *)(block + at->deltas);
    bool fits = packet->delta_count <= at->deltas_n;
    if (!fits) {
        at->more_n = packet->delta_count;
        at->more = take(&at->bytes, bytes);
    }
    memcpy(fits ? block + at->deltas : block + at->more, step_deltas(packet), bytes);
    for (uint32_t i = fits ? packet->delta_count : 0; i < at->deltas_n; i++)
        out[i] = (struct page_set){.slot = SLOT_NONE};
}

struct block_layout block_fill(const struct block_planner *planner,
                               const struct step_packet *packet, uint32_t size, void *block)
{
    struct block_layout at =
        size ? arrays_layout(size, size, size, size)
             : arrays_layout(packet->token_count, packet->row_count,
                             packet->sample_count + packet->score_count, packet->delta_count);
    fill_rows(packet, &at, block);
    fill_samples(packet, &at, block);
    size_t end = at.bytes;
    for (size_t kind = 0; kind < ARRAY_LEN(at.plans); kind++) {
        at.plans[kind] = end;
        if (!planner->used[kind])
            continue;
        size_t bytes = planner->ops->attn_plan(planner->device, &planner->shapes[kind],
                                               (const void *)((uint8_t *)block + at.rows),
                                               at.rows_n, (const void *)step_groups(packet),
                                               packet->group_count, (uint8_t *)block + end);
        at.bytes = ROUND_UP(end + bytes, (size_t)ALIGN);
        end = size ? end + plan_room(planner, kind, size, size) : at.bytes;
    }
    if (packet->delta_count > at.deltas_n)
        at.bytes = end;
    fill_deltas(packet, &at, block);
    at.all_sampled = size || block_is_decode(packet);
    return at;
}
