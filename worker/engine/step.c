/* step - packet to device arrays, forward, sample, tokens back. */
#include "worker/engine/step.h"

#include "common/mem.h"
#include "kernels/ops_check.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define ROW_WORDS   (sizeof(struct attn_row) / sizeof(uint32_t))
#define DELTA_WORDS (sizeof(struct page_set) / sizeof(uint32_t))

static_assert(sizeof(struct page_set) == sizeof(struct page_delta), "one layout");
static_assert(sizeof(struct attn_row) == sizeof(struct step_row), "one layout");
static_assert(sizeof(struct attn_group) == sizeof(struct prefix_group), "one layout");

/* Where each array starts in the block, in words. */
struct block_layout {
    size_t sample_rows, tokens, positions, slots, rows, samples, deltas, words;
};

static struct block_layout layout_of(size_t tokens, size_t rows, size_t samples, size_t deltas)
{
    struct block_layout at = {.sample_rows = 0};
    at.tokens = samples * sizeof(struct sample_row) / sizeof(uint32_t);
    at.positions = at.tokens + tokens;
    at.slots = at.positions + tokens;
    at.rows = at.slots + tokens;
    at.samples = at.rows + ROW_WORDS * rows;
    at.deltas = at.samples + samples;
    at.words = at.deltas + DELTA_WORDS * deltas;
    return at;
}

static size_t block_words_max(const struct step_limits *limits)
{
    return layout_of(limits->tokens, limits->rows, limits->rows, limits->deltas).words;
}

static enum status words_alloc(struct step_runner *runner, size_t words, uint32_t **out,
                               struct err *err)
{
    void *data = NULL;
    TRY(runner->ops->alloc(runner->device, words * sizeof(**out), &data, err));
    *out = data;
    return STATUS_OK;
}

enum status step_runner_init(const struct step_runner_opts *opts, const struct model_config *config,
                             const struct weights *weights, const struct kvcache *cache,
                             struct step_runner *out, struct err *err)
{
    enum status status = STATUS_OK;
    *out = (struct step_runner){
        .ops = opts->ops,
        .device = opts->device,
        .stream = opts->stream,
        .cache = cache,
        .limits = opts->limits,
        .slots = opts->slots,
        .vocab = config->vocab,
        .context_max = opts->context_max,
    };
    struct decoder_opts decoder_opts = {
        .ops = opts->ops,
        .device = opts->device,
        .stream = opts->stream,
        .tokens_max = opts->limits.tokens,
        .rows_max = opts->limits.rows,
        .context_max = opts->context_max,
    };
    TRY_OUT(words_alloc(out, block_words_max(&opts->limits), &out->block, err));
    TRY_OUT(words_alloc(out, opts->limits.tokens, &out->ids, err));
    TRY_OUT(words_alloc(out, opts->slots, &out->last_tokens, err));
    TRY_OUT(words_alloc(out, opts->limits.rows, &out->out_tokens, err));
    struct extras_opts extras_opts = {.ops = opts->ops,
                                      .device = opts->device,
                                      .stream = opts->stream,
                                      .last_tokens = out->last_tokens,
                                      .slots = opts->slots,
                                      .vocab = config->vocab,
                                      .rows_max = opts->limits.rows};
    TRY_OUT(extras_init(&extras_opts, &out->extras, err));
    TRY_OUT(decoder_init(&decoder_opts, config, weights, cache, &out->decoder, err));
out:
    if (status != STATUS_OK)
        step_runner_release(out);
    return status;
}

void step_runner_release(struct step_runner *runner)
{
    decoder_release(&runner->decoder);
    extras_release(&runner->extras);
    uint32_t *arrays[] = {runner->block, runner->ids, runner->last_tokens, runner->out_tokens};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        if (arrays[i] != NULL)
            runner->ops->free(runner->device, arrays[i]);
    *runner = (struct step_runner){0};
}

void step_io_init(struct step_io *io, const struct step_limits *limits)
{
    *io = (struct step_io){0};
    io->packet_block = mem_aligned(ROUND_UP(step_packet_bytes_max(limits), 64u), 64);
    io->block = mem_aligned(ROUND_UP(block_words_max(limits) * sizeof(*io->block), 64u), 64);
    io->groups = mem_array(limits->groups, sizeof(*io->groups));
    io->tokens = mem_array(limits->rows, sizeof(*io->tokens));
    extras_io_init(&io->extras, limits->rows);
}

void step_io_release(struct step_io *io)
{
    mem_free(io->packet_block);
    mem_free(io->block);
    mem_free(io->groups);
    mem_free(io->tokens);
    mem_free(io->logits);
    extras_io_release(&io->extras);
    *io = (struct step_io){0};
}

enum status step_check(const struct step_runner *runner, const struct step_packet *packet,
                       struct err *err)
{
    const struct kv_view *kv = &runner->cache->view;
    if (!step_packet_valid(packet, packet->bytes, &runner->limits, runner->slots))
        return err_set(err, STATUS_INVALID, "step packet %" PRIu64 " breaks the engine's limits",
                       packet->step);
    const uint32_t *tokens = step_tokens(packet);
    for (uint32_t i = 0; i < packet->token_count; i++)
        if (tokens[i] != STEP_TOKEN_LAST && tokens[i] >= runner->vocab)
            return err_set(err, STATUS_INVALID, "token id %u is not below the vocabulary's %u",
                           tokens[i], runner->vocab);
    const struct step_row *rows = step_rows(packet);
    for (uint32_t i = 0; i < packet->row_count; i++)
        if ((uint64_t)rows[i].pos_first + rows[i].token_count > runner->context_max)
            return err_set(err, STATUS_INVALID, "row %u ends at position %" PRIu64
                           ", the context has %u", i,
                           (uint64_t)rows[i].pos_first + rows[i].token_count, runner->context_max);
    const struct page_delta *deltas = step_deltas(packet);
    for (uint32_t i = 0; i < packet->delta_count; i++)
        if (deltas[i].slot >= runner->slots || deltas[i].idx >= kv->pages_per_slot ||
            deltas[i].page >= kv->pages)
            return err_set(err, STATUS_INVALID, "slot %u, entry %u, page %u is outside the pool",
                           deltas[i].slot, deltas[i].idx, deltas[i].page);
    const struct step_sample *samples = step_samples(packet);
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        const char *wrong = ops_check_sampling(&samples[i].sampling);
        if (wrong != NULL)
            return err_set(err, STATUS_INVALID, "sample %u: %s", i, wrong);
    }
    return extras_check(&runner->extras, packet, err);
}

/* Lays the arrays out in io->block. */
static struct block_layout fill_block(struct step_io *io, const struct step_packet *packet)
{
    struct block_layout at =
        layout_of(packet->token_count, packet->row_count,
                  packet->sample_count + packet->score_count, packet->delta_count);
    const struct step_row *rows = step_rows(packet);
    const struct step_sample *samples = step_samples(packet);
    struct sample_row *sample_rows = (void *)(io->block + at.sample_rows);

    memcpy(io->block + at.tokens, step_tokens(packet), packet->token_count * sizeof(uint32_t));
    memcpy(io->block + at.rows, rows, packet->row_count * sizeof(*rows));
    for (uint32_t i = 0; i < packet->row_count; i++) {
        for (uint32_t j = 0; j < rows[i].token_count; j++) {
            io->block[at.positions + rows[i].token_first + j] = rows[i].pos_first + j;
            io->block[at.slots + rows[i].token_first + j] = rows[i].slot;
        }
    }
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        const struct step_row *row = &rows[samples[i].row];
        io->block[at.samples + i] = row->token_first + row->token_count - 1;
        sample_rows[i] = (struct sample_row){
            .slot = row->slot, .position = samples[i].position, .sampling = samples[i].sampling,
            .flags = samples[i].flags, .ban_until = samples[i].ban_until};
    }
    const struct step_score *scores = step_scores(packet);
    for (uint32_t i = 0; i < packet->score_count; i++)
        io->block[at.samples + packet->sample_count + i] = scores[i].token;
    memcpy(io->block + at.deltas, step_deltas(packet),
           packet->delta_count * sizeof(struct page_set));
    memcpy(io->groups, step_groups(packet), packet->group_count * sizeof(*io->groups));
    return at;
}

/* Logits of the samples, then of the scores. */
static void sample(struct step_runner *runner, struct step_io *io, const struct sample_row *rows)
{
    const struct ops *ops = runner->ops;
    const struct step_packet *packet = io->packet_block;
    uint32_t count = packet->sample_count, logit_rows = count + packet->score_count;
    float *logits = runner->decoder.logits;
    extras_adjust(&runner->extras, packet, logits, rows);
    if (count > 0) {
        ops->sample(runner->device, runner->stream, runner->out_tokens, runner->last_tokens, logits,
                    runner->vocab, rows, count);
        ops->download(runner->device, runner->stream, io->tokens, runner->out_tokens,
                      count * sizeof(*io->tokens));
    }
    extras_finish(&runner->extras, &io->extras, packet, logits, runner->out_tokens);
    if (io->logits != NULL)
        ops->download(runner->device, runner->stream, io->logits, logits,
                      (size_t)logit_rows * runner->vocab * sizeof(*io->logits));
}

enum status step_run(struct step_runner *runner, struct step_io *io, struct err *err)
{
    const struct ops *ops = runner->ops;
    const struct step_packet *packet = io->packet_block;
    struct block_layout at = fill_block(io, packet);

    ops->upload(runner->device, runner->stream, runner->block, io->block,
                at.words * sizeof(*io->block));
    if (packet->delta_count > 0)
        ops->page_table_set(runner->device, runner->stream, runner->cache->page_table,
                            runner->cache->view.pages_per_slot,
                            (const void *)(runner->block + at.deltas), packet->delta_count);
    extras_setup(&runner->extras, packet);
    ops->resolve_tokens(runner->device, runner->stream, runner->ids, runner->block + at.tokens,
                        runner->block + at.slots, runner->last_tokens, packet->token_count);
    struct decoder_batch batch = {
        .ids = runner->ids,
        .positions = runner->block + at.positions,
        .token_slots = runner->block + at.slots,
        .rows = (const struct attn_row *)(const void *)(runner->block + at.rows),
        .rows_host = (const struct attn_row *)(const void *)(io->block + at.rows),
        .groups_host = io->groups,
        .sample_idx = runner->block + at.samples,
        .tokens = packet->token_count,
        .row_count = packet->row_count,
        .group_count = packet->group_count,
        .sample_count = packet->sample_count + packet->score_count,
    };
    decoder_forward(&runner->decoder, &batch);
    if (batch.sample_count > 0)
        sample(runner, io, (const void *)(runner->block + at.sample_rows));
    return ops->stream_sync(runner->device, runner->stream, err);
}
