/* batch - lays a step's parts out in one block, and checks a block that came from elsewhere. */
#include "worker/sched/batch.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

#define PART_ALIGN 16u

static_assert(sizeof(struct step_packet) % 8 == 0, "the header has no hidden tail");

/* The parts behind the header, in their order in the block. */
struct layout {
    size_t rows, tokens, deltas, samples, scores, groups, setups, words, bytes;
};

struct counts {
    size_t rows, tokens, deltas, samples, scores, groups, setups, words;
};

static struct layout layout_of(const struct counts *n)
{
    struct layout at;
    at.rows = ROUND_UP(sizeof(struct step_packet), PART_ALIGN);
    at.tokens = at.rows + ROUND_UP(n->rows * sizeof(struct step_row), PART_ALIGN);
    at.deltas = at.tokens + ROUND_UP(n->tokens * sizeof(uint32_t), PART_ALIGN);
    at.samples = at.deltas + ROUND_UP(n->deltas * sizeof(struct page_delta), PART_ALIGN);
    at.scores = at.samples + ROUND_UP(n->samples * sizeof(struct step_sample), PART_ALIGN);
    at.groups = at.scores + ROUND_UP(n->scores * sizeof(struct step_score), PART_ALIGN);
    at.setups = at.groups + ROUND_UP(n->groups * sizeof(struct prefix_group), PART_ALIGN);
    at.words = at.setups + ROUND_UP(n->setups * sizeof(struct step_setup), PART_ALIGN);
    at.bytes = at.words + ROUND_UP(n->words * sizeof(uint32_t), PART_ALIGN);
    return at;
}

size_t step_packet_bytes_max(const struct step_limits *limits)
{
    /* Samples and scores share their bound; which of them fill it makes a difference of bytes. */
    return layout_of(&(struct counts){limits->rows, limits->tokens, limits->deltas, limits->rows,
                                      limits->rows, limits->groups, limits->rows, limits->words})
        .bytes;
}

/* Deltas: one req's whole table (a cached prefix at admission), what two chunks in flight may
 * remap, and a few pages for each decoding row. */
void step_limits_init(struct step_limits *limits, uint32_t slots, uint32_t step_tokens,
                      uint32_t context_max, uint32_t page_size)
{
    *limits = (struct step_limits){
        .rows = slots,
        .tokens = step_tokens,
        .deltas = DIV_CEIL(context_max, page_size) + 3 * (step_tokens / page_size + 1) + 4 * slots,
        .groups = MAX(slots / 2, 1u),
        /* One req's whole history, stop tokens and bias always fit. */
        .words = context_max + step_tokens + 2 * SAMPLING_BIAS_MAX + 64,
    };
}

void step_builder_init(struct step_builder *builder, const struct step_limits *limits)
{
    *builder = (struct step_builder){.limits = *limits};
    builder->rows = mem_array(limits->rows, sizeof(*builder->rows));
    builder->tokens = mem_array(limits->tokens, sizeof(*builder->tokens));
    builder->deltas = mem_array(limits->deltas, sizeof(*builder->deltas));
    builder->samples = mem_array(limits->rows, sizeof(*builder->samples));
    builder->groups = mem_array(limits->groups, sizeof(*builder->groups));
    builder->scores = mem_array(limits->rows, sizeof(*builder->scores));
    builder->setups = mem_array(limits->rows, sizeof(*builder->setups));
    builder->words = mem_array(limits->words, sizeof(*builder->words));
}

void step_builder_release(struct step_builder *builder)
{
    mem_free(builder->rows);
    mem_free(builder->tokens);
    mem_free(builder->deltas);
    mem_free(builder->samples);
    mem_free(builder->groups);
    mem_free(builder->scores);
    mem_free(builder->setups);
    mem_free(builder->words);
    *builder = (struct step_builder){.rows = NULL};
}

void step_builder_reset(struct step_builder *builder)
{
    builder->row_count = builder->token_count = builder->delta_count = 0;
    builder->sample_count = builder->group_count = 0;
    builder->score_count = builder->setup_count = builder->word_count = 0;
}

/* Copies a part and zeroes the gap up to the next one, so that equal steps give equal bytes. */
static void part_copy(char *block, size_t at, size_t end, const void *data, size_t bytes)
{
    if (bytes)
        memcpy(block + at, data, bytes);
    memset(block + at + bytes, 0, end - at - bytes);
}

const struct step_packet *step_builder_finish(const struct step_builder *b, uint64_t step,
                                              void *block)
{
    CHECK(b->row_count <= b->limits.rows && b->token_count <= b->limits.tokens);
    CHECK(b->delta_count <= b->limits.deltas && b->group_count <= b->limits.groups);
    CHECK(b->sample_count <= b->row_count && b->setup_count <= b->row_count);
    CHECK(b->sample_count + b->score_count <= b->limits.rows && b->word_count <= b->limits.words);
    struct layout at =
        layout_of(&(struct counts){b->row_count, b->token_count, b->delta_count, b->sample_count,
                                   b->score_count, b->group_count, b->setup_count, b->word_count});
    CHECK(at.bytes <= UINT32_MAX);
    struct step_packet packet = {
        .step = step,
        .bytes = (uint32_t)at.bytes,
        .row_count = b->row_count,
        .token_count = b->token_count,
        .delta_count = b->delta_count,
        .sample_count = b->sample_count,
        .group_count = b->group_count,
        .score_count = b->score_count,
        .setup_count = b->setup_count,
        .word_count = b->word_count,
        .rows_off = (uint32_t)at.rows,
        .tokens_off = (uint32_t)at.tokens,
        .deltas_off = (uint32_t)at.deltas,
        .samples_off = (uint32_t)at.samples,
        .scores_off = (uint32_t)at.scores,
        .groups_off = (uint32_t)at.groups,
        .setups_off = (uint32_t)at.setups,
        .words_off = (uint32_t)at.words,
    };
    part_copy(block, 0, at.rows, &packet, sizeof(packet));
    part_copy(block, at.rows, at.tokens, b->rows, b->row_count * sizeof(*b->rows));
    part_copy(block, at.tokens, at.deltas, b->tokens, b->token_count * sizeof(*b->tokens));
    part_copy(block, at.deltas, at.samples, b->deltas, b->delta_count * sizeof(*b->deltas));
    part_copy(block, at.samples, at.scores, b->samples, b->sample_count * sizeof(*b->samples));
    part_copy(block, at.scores, at.groups, b->scores, b->score_count * sizeof(*b->scores));
    part_copy(block, at.groups, at.setups, b->groups, b->group_count * sizeof(*b->groups));
    part_copy(block, at.setups, at.words, b->setups, b->setup_count * sizeof(*b->setups));
    part_copy(block, at.words, at.bytes, b->words, b->word_count * sizeof(*b->words));
    return block;
}

static bool header_valid(const struct step_packet *packet, size_t bytes,
                         const struct step_limits *limits)
{
    if (packet->bytes != bytes || packet->row_count > limits->rows ||
        packet->token_count > limits->tokens || packet->delta_count > limits->deltas ||
        packet->sample_count > packet->row_count || packet->group_count > limits->groups ||
        packet->score_count > limits->rows - packet->sample_count ||
        packet->setup_count > packet->row_count || packet->word_count > limits->words)
        return false;
    struct layout at = layout_of(&(struct counts){
        packet->row_count, packet->token_count, packet->delta_count, packet->sample_count,
        packet->score_count, packet->group_count, packet->setup_count, packet->word_count});
    return at.bytes == bytes && packet->rows_off == at.rows && packet->tokens_off == at.tokens &&
           packet->deltas_off == at.deltas && packet->samples_off == at.samples &&
           packet->scores_off == at.scores && packet->groups_off == at.groups &&
           packet->setups_off == at.setups && packet->words_off == at.words;
}

/* Rows cover tokens[] in order; only a lone token may be "what the slot sampled last". */
static bool rows_valid(const struct step_packet *packet, uint32_t slots)
{
    const struct step_row *rows = step_rows(packet);
    const uint32_t *tokens = step_tokens(packet);
    uint32_t next = 0;
    for (uint32_t i = 0; i < packet->row_count; i++) {
        const struct step_row *row = &rows[i];
        if (row->slot >= slots || row->token_first != next || row->token_count == 0 ||
            row->token_count > packet->token_count - next ||
            row->pos_first > UINT32_MAX - row->token_count)
            return false;
        next += row->token_count;
        for (uint32_t t = row->token_first; row->token_count > 1 && t < next; t++)
            if (tokens[t] == STEP_TOKEN_LAST)
                return false;
    }
    return next == packet->token_count;
}

static bool samples_valid(const struct step_packet *packet)
{
    const struct step_row *rows = step_rows(packet);
    const struct step_sample *samples = step_samples(packet);
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        uint32_t row = samples[i].row;
        if (row >= packet->row_count || (i > 0 && row <= samples[i - 1].row) ||
            samples[i].position != rows[row].pos_first + rows[row].token_count ||
            samples[i].logprobs > SAMPLING_TOP_MAX + 1)
            return false;
    }
    const struct step_score *scores = step_scores(packet);
    for (uint32_t i = 0; i < packet->score_count; i++)
        if (scores[i].token >= packet->token_count ||
            (i > 0 && scores[i].token <= scores[i - 1].token) ||
            scores[i].logprobs > SAMPLING_TOP_MAX + 1)
            return false;
    return true;
}

static bool words_within(const struct step_packet *packet, uint32_t first, uint32_t count)
{
    return count <= packet->word_count && first <= packet->word_count - count;
}

static bool setups_valid(const struct step_packet *packet, uint32_t slots)
{
    const struct step_setup *setups = step_setups(packet);
    for (uint32_t i = 0; i < packet->setup_count; i++) {
        const struct step_setup *setup = &setups[i];
        if (setup->slot >= slots || setup->prompt_count > setup->history_count ||
            setup->bias_count > SAMPLING_BIAS_MAX || setup->stop_count > 64 ||
            !words_within(packet, setup->history_first, setup->history_count) ||
            !words_within(packet, setup->stop_first, setup->stop_count) ||
            !words_within(packet, setup->bias_first, 2 * setup->bias_count) ||
            !words_within(packet, setup->text_first, setup->text_count))
            return false;
    }
    return true;
}

/* Disjoint runs of at least two rows, longest shared part first. The sum of the runs is bounded
 * first, so that a hostile block costs at most (rows / 2)^2 comparisons. */
static bool groups_valid(const struct step_packet *packet)
{
    const struct prefix_group *groups = step_groups(packet);
    uint32_t covered = 0;
    for (uint32_t i = 0; i < packet->group_count; i++) {
        const struct prefix_group *group = &groups[i];
        if (group->row_count < 2 || group->row_count > packet->row_count ||
            group->row_first > packet->row_count - group->row_count || group->page_count == 0 ||
            (i > 0 && group->page_count > groups[i - 1].page_count))
            return false;
        covered += group->row_count;
        if (covered > packet->row_count)
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (group->row_first < groups[j].row_first + groups[j].row_count &&
                groups[j].row_first < group->row_first + group->row_count)
                return false;
    }
    return true;
}

bool step_packet_valid(const void *block, size_t bytes, const struct step_limits *limits,
                       uint32_t slots)
{
    const struct step_packet *packet = block;
    if (bytes < sizeof(*packet) || (uintptr_t)block % 8 != 0)
        return false;
    if (!header_valid(packet, bytes, limits) || !rows_valid(packet, slots) ||
        !samples_valid(packet) || !groups_valid(packet) || !setups_valid(packet, slots))
        return false;
    const struct page_delta *deltas = step_deltas(packet);
    for (uint32_t i = 0; i < packet->delta_count; i++)
        if (deltas[i].slot >= slots)
            return false;
    return true;
}
