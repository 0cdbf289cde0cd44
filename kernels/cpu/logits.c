/* logits - what comes between the head and the draw, or beside it: penalties, bias, bans, masks, and
 * log probabilities. Contracts in ops.h. A row is one chunk for the pool; rows share nothing. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

#define SEEN_PROMPT 0x8000u
#define SEEN_COUNT  0x7fffu

static uint32_t *list_of(const struct sample_state *state, uint32_t slot)
{
    return state->lists + (size_t)slot * SAMPLE_SLOT_WORDS;
}

static uint16_t *seen_of(const struct sample_state *state, uint32_t slot)
{
    return state->seen + (size_t)slot * state->vocab;
}

static void count_token(uint16_t *seen, uint32_t vocab, uint32_t token)
{
    if (token < vocab && (seen[token] & SEEN_COUNT) < SEEN_COUNT)
        seen[token]++;
}

static void setup_one(const struct sample_state *state, const struct slot_setup *setup,
                      const uint32_t *words)
{
    uint16_t *seen = seen_of(state, setup->slot);
    uint32_t *list = list_of(state, setup->slot), vocab = state->vocab;
    uint32_t *stops = list + 2, *biases = stops + SAMPLE_STOPS_MAX;
    const uint32_t *history = words + setup->history_first;
    if (setup->history_count > 0)
        memset(seen, 0, vocab * sizeof(*seen));
    for (uint32_t i = 0; i < setup->history_count; i++) {
        if (i < setup->prompt_count && history[i] < vocab)
            seen[history[i]] |= SEEN_PROMPT;
        else
            count_token(seen, vocab, history[i]);
    }
    list[0] = list[1] = 0;
    for (uint32_t i = 0; i < setup->stop_count; i++)
        if (words[setup->stop_first + i] < vocab)
            stops[list[0]++] = words[setup->stop_first + i];
    for (uint32_t i = 0; i < setup->bias_count; i++) {
        const uint32_t *pair = words + setup->bias_first + 2 * (size_t)i;
        if (pair[0] < vocab)
            memcpy(biases + 2 * (size_t)list[1]++, pair, 2 * sizeof(*pair));
    }
}

void cpu_slot_setup(struct device *device, struct stream *stream, const struct sample_state *state,
                    const struct slot_setup *setups, uint32_t count, const uint32_t *words,
                    uint32_t word_count)
{
    for (uint32_t i = 0; i < count; i++)
        setup_one(state, &setups[i], words);
}

/* A word at a time: most are all ones or all zeroes, and a choice for each of 32 bits is what a compiler
 * makes vectors of. */
static void apply_mask(float *logits, uint32_t vocab, const uint32_t *mask)
{
    static const uint32_t bits[32] = {
        1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,
        1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
        1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
        1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31};
    for (uint32_t first = 0; first < vocab; first += 32) {
        uint32_t word = mask[first / 32], count = MIN(vocab - first, 32u);
        float *row = logits + first;
        if (word == UINT32_MAX)
            continue;
        if (count == 32)
            for (uint32_t i = 0; i < 32; i++)
                row[i] = word & bits[i] ? row[i] : -INFINITY;
        else
            for (uint32_t i = 0; i < count; i++)
                row[i] = word & bits[i] ? row[i] : -INFINITY;
    }
}

static void apply_bias(float *logits, const uint32_t *list)
{
    const uint32_t *pair = list + 2 + SAMPLE_STOPS_MAX;
    for (uint32_t i = 0; i < list[1]; i++, pair += 2) {
        float value;
        memcpy(&value, &pair[1], sizeof(value));
        logits[pair[0]] += value;
    }
}

static void apply_penalties(float *logits, uint32_t vocab, const uint16_t *seen,
                            const struct sampling *sampling)
{
    for (uint32_t i = 0; i < vocab; i++) {
        if (seen[i] == 0)
            continue;
        uint32_t times = seen[i] & SEEN_COUNT;
        float x = logits[i];
        x = x > 0 ? x / sampling->repetition_penalty : x * sampling->repetition_penalty;
        x -= sampling->frequency_penalty * (float)times;
        logits[i] = x - (times > 0 ? sampling->presence_penalty : 0.0f);
    }
}

struct adjust_job {
    float *logits;
    const struct sample_state *state;
    const uint32_t *masks;
    const struct sample_row *rows;
};

static void adjust_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct adjust_job *job = arg;
    const struct sample_row *row = &job->rows[chunk];
    uint32_t vocab = job->state->vocab;
    if (row->slot == SLOT_NONE)
        return;
    float *logits = job->logits + (size_t)chunk * vocab;
    if (row->flags & SAMPLE_COUNT)
        count_token(seen_of(job->state, row->slot), vocab, job->state->last_tokens[row->slot]);
    if (row->flags & SAMPLE_MASK)
        apply_mask(logits, vocab, job->masks + (size_t)row->mask * DIV_CEIL(vocab, 32));
    if (row->flags & SAMPLE_BAN && row->position < row->ban_until) {
        const uint32_t *list = list_of(job->state, row->slot);
        for (uint32_t i = 0; i < list[0]; i++)
            logits[list[2 + i]] = -INFINITY;
    }
    if (row->flags & SAMPLE_BIAS)
        apply_bias(logits, list_of(job->state, row->slot));
    if (row->flags & SAMPLE_PENALTIES)
        apply_penalties(logits, vocab, seen_of(job->state, row->slot), &row->sampling);
}

void cpu_logits_adjust(struct device *device, struct stream *stream, float *logits, uint32_t vocab,
                       const struct sample_state *state, const uint32_t *masks,
                       const struct sample_row *rows, uint32_t count)
{
    struct adjust_job job = {logits, state, masks, rows};
    pool_run(device->pool, adjust_chunk, &job, count);
}

/* Keeps ids[0..want) the likeliest so far, likeliest first, by insertion. */
static void take_top(const float *logits, uint32_t id, uint32_t want, uint32_t *have, uint32_t *ids)
{
    if (*have == want && logits[id] <= logits[ids[want - 1]])
        return;
    uint32_t at = *have < want ? (*have)++ : want - 1;
    for (; at > 0 && logits[ids[at - 1]] < logits[id]; at--)
        ids[at] = ids[at - 1];
    ids[at] = id;
}

static void logprob_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct logprob_args *args = arg;
    uint32_t vocab = args->vocab, have = 0, target = args->targets[chunk], rank = 1;
    const float *logits = args->logits + (size_t)chunk * vocab;
    uint32_t *ids = args->top_ids + (size_t)chunk * SAMPLING_TOP_MAX;
    float *tops = args->top_logprobs + (size_t)chunk * SAMPLING_TOP_MAX, top = -INFINITY;
    if (args->tops[chunk] == 0)
        return;
    uint32_t want = MIN(args->tops[chunk] - 1, MIN(vocab, (uint32_t)SAMPLING_TOP_MAX));
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        top = MAX(top, logits[i]);
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)logits[i] - top);
        rank += logits[i] > logits[target] || (logits[i] == logits[target] && i < target);
        if (want > 0)
            take_top(logits, i, want, &have, ids);
    }
    double norm = (double)top + log(sum);
    args->logprobs[chunk] = (float)(logits[target] - norm);
    args->ranks[chunk] = rank;
    for (uint32_t i = 0; i < want; i++)
        tops[i] = (float)(logits[ids[i]] - norm);
}

void cpu_logprobs(struct device *device, struct stream *stream, const struct logprob_args *args)
{
    pool_run(device->pool, logprob_chunk, (void *)(uintptr_t)args, args->count);
}
