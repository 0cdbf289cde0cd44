/* extras - see extras.h; the maths is the backend's. */
#include "worker/engine/extras.h"

#include "common/file.h"
#include "common/mem.h"

#include <assert.h>
#include <stddef.h>

static_assert(sizeof(struct slot_setup) == sizeof(struct step_setup), "one layout");
static_assert(offsetof(struct slot_setup, bias_count) == offsetof(struct step_setup, bias_count),
              "one layout");

static enum status take(struct extras *extras, size_t bytes, void *slot, struct err *err)
{
    void **out = slot;
    return extras->ops->alloc(extras->device, bytes, out, err);
}

uint64_t extras_bytes(uint32_t rows, uint32_t slots, uint32_t vocab)
{
    uint64_t of_slots = (uint64_t)slots * (vocab * sizeof(uint16_t) + SAMPLE_SLOT_WORDS * 4);
    return of_slots + (uint64_t)rows * (DIV_CEIL(vocab, 32) + 2 + 2 * SAMPLING_TOP_MAX) * 4;
}

static bool has_tokenizer(const struct extras_opts *opts)
{
    char *path = path_join(opts->model_dir, "tokenizer.json");
    bool there = file_exists(path);
    mem_free(path);
    return there;
}

enum status extras_init(const struct extras_opts *opts, struct extras *out, struct err *err)
{
    enum status status = STATUS_OK;
    struct device_info info;
    size_t rows = opts->rows_max, slots = opts->slots;
    opts->ops->info(opts->device, &info);
    *out = (struct extras){.ops = opts->ops,
                           .device = opts->device,
                           .stream = opts->stream,
                           .features = info.features};
    out->state = (struct sample_state){
        .last_tokens = opts->last_tokens, .slots = opts->slots, .vocab = opts->vocab};
    if (info.features & FEATURE_ADJUST) {
        TRY_OUT(take(out, slots * opts->vocab * sizeof(uint16_t), &out->state.seen, err));
        TRY_OUT(take(out, slots * SAMPLE_SLOT_WORDS * sizeof(uint32_t), &out->state.lists, err));
    }
    if (info.features & FEATURE_LOGPROBS) {
        TRY_OUT(take(out, rows * sizeof(uint32_t), &out->tops, err));
        TRY_OUT(take(out, rows * sizeof(float), &out->logprobs, err));
        TRY_OUT(take(out, rows * sizeof(uint32_t), &out->ranks, err));
        TRY_OUT(take(out, rows * SAMPLING_TOP_MAX * sizeof(uint32_t), &out->top_ids, err));
        TRY_OUT(take(out, rows * SAMPLING_TOP_MAX * sizeof(float), &out->top_logprobs, err));
    }
    if (opts->model_dir == NULL || !(info.features & FEATURE_ADJUST) || !has_tokenizer(opts))
        out->features &= ~(uint32_t)FEATURE_GRAMMAR;
    if (out->features & FEATURE_GRAMMAR) {
        TRY_OUT(take(out, rows * DIV_CEIL(opts->vocab, 32) * sizeof(uint32_t), &out->masks, err));
        out->pending = mem_array(rows, sizeof(*out->pending));
        out->grammars = grammars_new(opts->model_dir, opts->slots, opts->vocab);
    }
out:
    if (status != STATUS_OK)
        extras_release(out);
    return status;
}

void extras_release(struct extras *extras)
{
    void *arrays[] = {extras->state.seen,   extras->state.lists, extras->tops,
                      extras->logprobs,     extras->ranks,       extras->top_ids,
                      extras->top_logprobs, extras->masks};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        if (arrays[i] != NULL)
            extras->ops->free(extras->device, arrays[i]);
    grammars_free(extras->grammars);
    mem_free(extras->pending);
    *extras = (struct extras){0};
}

void extras_io_init(struct extras_io *io, uint32_t rows_max)
{
    size_t tops = (size_t)rows_max * SAMPLING_TOP_MAX;
    io->rows_max = rows_max;
    io->tops = mem_array(rows_max, sizeof(*io->tops));
    io->targets = mem_array(rows_max, sizeof(*io->targets));
    io->logprobs = mem_array(rows_max, sizeof(*io->logprobs));
    io->ranks = mem_array(rows_max, sizeof(*io->ranks));
    io->top_ids = mem_array(tops, sizeof(*io->top_ids));
    io->top_logprobs = mem_array(tops, sizeof(*io->top_logprobs));
}

void extras_io_release(struct extras_io *io)
{
    mem_free(io->tops);
    mem_free(io->targets);
    mem_free(io->logprobs);
    mem_free(io->ranks);
    mem_free(io->top_ids);
    mem_free(io->top_logprobs);
    mem_free(io->masks);
    *io = (struct extras_io){0};
}

enum status extras_check(const struct extras *extras, const struct step_packet *packet,
                         struct err *err)
{
    const struct step_sample *samples = step_samples(packet);
    const struct step_score *scores = step_scores(packet);
    bool adjust = packet->setup_count > 0, logprobs = packet->score_count > 0, mask = false;
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        adjust |= samples[i].flags != 0;
        mask |= (samples[i].flags & SAMPLE_MASK) != 0;
        logprobs |= samples[i].logprobs != 0;
    }
    if ((adjust && !(extras->features & FEATURE_ADJUST)) ||
        (mask && !(extras->features & FEATURE_GRAMMAR)) ||
        (logprobs && !(extras->features & FEATURE_LOGPROBS)))
        return err_set(err, STATUS_UNSUPPORTED,
                       "this backend lacks what the step asks of sampling");
    for (uint32_t i = 0; i < packet->score_count; i++)
        if (scores[i].target >= extras->state.vocab)
            return err_set(err, STATUS_INVALID, "token id %u is not below the vocabulary's %u",
                           scores[i].target, extras->state.vocab);
    return STATUS_OK;
}

bool extras_wanted(const struct step_packet *packet)
{
    const struct step_sample *samples = step_samples(packet);
    bool wanted = packet->setup_count > 0 || packet->score_count > 0;
    for (uint32_t i = 0; i < packet->sample_count; i++)
        wanted |= samples[i].flags != 0 || samples[i].logprobs != 0;
    return wanted;
}

void extras_setup(struct extras *extras, const struct step_packet *packet)
{
    if (packet->setup_count > 0)
        extras->ops->slot_setup(extras->device, extras->stream, &extras->state,
                                (const struct slot_setup *)(const void *)step_setups(packet),
                                packet->setup_count, step_words(packet), packet->word_count);
}

/* Tokens that the step before has drawn. */
static enum status take_drawn(struct extras *extras, struct err *err)
{
    if (extras->pending_count == 0)
        return STATUS_OK;
    TRY(extras->ops->event_sync(extras->device, extras->pending_end, err));
    for (uint32_t i = 0; i < extras->pending_count; i++)
        grammars_advance(extras->grammars, extras->pending[i].slot,
                         extras->pending_tokens[extras->pending[i].sample]);
    extras->pending_count = 0;
    return STATUS_OK;
}

static void setup_grammars(struct extras *extras, const struct step_packet *packet)
{
    const struct step_setup *setups = step_setups(packet);
    const uint32_t *words = step_words(packet);
    for (uint32_t i = 0; i < packet->setup_count; i++)
        grammars_setup(extras->grammars, setups[i].slot, setups[i].grammar,
                       words + setups[i].text_first, setups[i].text_count,
                       words + setups[i].stop_first, setups[i].stop_count);
}

enum status extras_masks(struct extras *extras, struct extras_io *io,
                         const struct step_packet *packet, const uint32_t *drawn, struct event *end,
                         struct err *err)
{
    const struct step_sample *samples = step_samples(packet);
    const struct step_row *rows = step_rows(packet);
    size_t words = DIV_CEIL(extras->state.vocab, 32), last = 0;
    if (extras->grammars == NULL)
        return STATUS_OK;
    TRY(take_drawn(extras, err));
    setup_grammars(extras, packet);
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        if (!(samples[i].flags & SAMPLE_MASK))
            continue;
        if (io->masks == NULL)
            io->masks = mem_array(io->rows_max * words, sizeof(*io->masks));
        grammars_mask(extras->grammars, rows[samples[i].row].slot, io->masks + i * words);
        extras->pending[extras->pending_count++] =
            (struct extras_drawn){rows[samples[i].row].slot, i};
        last = i + 1;
    }
    extras->pending_tokens = drawn;
    extras->pending_end = end;
    if (last > 0)
        extras->ops->upload(extras->device, extras->stream, extras->masks, io->masks,
                            last * words * sizeof(*io->masks));
    return STATUS_OK;
}

void extras_adjust(struct extras *extras, const struct step_packet *packet, float *logits,
                   const struct sample_row *rows)
{
    const struct step_sample *samples = step_samples(packet);
    bool any = false;
    for (uint32_t i = 0; i < packet->sample_count; i++)
        any |= samples[i].flags != 0;
    if (any)
        extras->ops->logits_adjust(extras->device, extras->stream, logits, extras->state.vocab,
                                   &extras->state, extras->masks, rows, packet->sample_count);
}

/* Wanted alternatives of each row; true when any row wants a log probability. */
static bool fill_tops(struct extras_io *io, const struct step_packet *packet)
{
    const struct step_sample *samples = step_samples(packet);
    const struct step_score *scores = step_scores(packet);
    uint32_t drawn = packet->sample_count;
    bool any = packet->score_count > 0;
    for (uint32_t i = 0; i < drawn; i++) {
        io->tops[i] = samples[i].logprobs;
        any |= io->tops[i] != 0;
    }
    for (uint32_t i = 0; i < packet->score_count; i++) {
        io->tops[drawn + i] = scores[i].logprobs;
        io->targets[i] = scores[i].target;
    }
    return any;
}

void extras_finish(struct extras *extras, struct extras_io *io, const struct step_packet *packet,
                   const float *logits, uint32_t *drawn)
{
    const struct ops *ops = extras->ops;
    size_t count = packet->sample_count + packet->score_count, tops = count * SAMPLING_TOP_MAX;
    if (!fill_tops(io, packet))
        return;
    if (packet->score_count > 0)
        ops->upload(extras->device, extras->stream, drawn + packet->sample_count, io->targets,
                    packet->score_count * sizeof(*io->targets));
    ops->upload(extras->device, extras->stream, extras->tops, io->tops, count * sizeof(*io->tops));
    struct logprob_args args = {.logits = logits,
                                .targets = drawn,
                                .tops = extras->tops,
                                .logprobs = extras->logprobs,
                                .ranks = extras->ranks,
                                .top_ids = extras->top_ids,
                                .top_logprobs = extras->top_logprobs,
                                .vocab = extras->state.vocab,
                                .count = (uint32_t)count};
    ops->logprobs(extras->device, extras->stream, &args);
    ops->download(extras->device, extras->stream, io->logprobs, extras->logprobs,
                  count * sizeof(*io->logprobs));
    ops->download(extras->device, extras->stream, io->ranks, extras->ranks,
                  count * sizeof(*io->ranks));
    ops->download(extras->device, extras->stream, io->top_ids, extras->top_ids,
                  tops * sizeof(*io->top_ids));
    ops->download(extras->device, extras->stream, io->top_logprobs, extras->top_logprobs,
                  tops * sizeof(*io->top_logprobs));
}
