/* sampler - one token from one row of logits, in a row of scratch.
 *
 * p[i] = exp((logit[i] - max) / temperature), so the likeliest has exactly 1. A filter sets what it
 * drops to 0. Cuts (the k-th largest, the smallest set with a given mass) are found without
 * sorting: p >= 0, so its bits order like integers, and three histograms of 11, 11 and 10 bits
 * narrow the cut to one value. Sums are in double and in id order. Nothing depends on other rows.
 */
#include "kernels/cpu/cpu.h"

#include "common/rng.h"

#include <math.h>
#include <string.h>

#define BUCKETS 2048u

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

struct bucket {
    uint32_t count;
    double mass;
};

/* Where to cut: everything above `bits` stays, and the first `ties` of those equal to it. */
struct cut {
    uint32_t bits, ties;
};

/* How much must stay: a number of entries, or a mass (then count is UINT32_MAX). */
struct need {
    uint32_t count;
    double mass;
};

static bool need_met(const struct need *need, uint32_t count, double mass)
{
    return need->count == UINT32_MAX ? mass >= need->mass : count >= need->count;
}

/* From the largest down, the first bucket that meets the need; adds what lies above to *above. */
static uint32_t cut_bucket(const struct bucket *buckets, uint32_t used, const struct need *need,
                           struct bucket *above)
{
    for (uint32_t b = used; b-- > 1;) {
        if (need_met(need, above->count + buckets[b].count, above->mass + buckets[b].mass))
            return b;
        above->count += buckets[b].count;
        above->mass += buckets[b].mass;
    }
    return 0;
}

static struct cut cut_find(const float *p, uint32_t count, const struct need *need)
{
    static const uint32_t shifts[] = {21, 10, 0}, sizes[] = {BUCKETS, BUCKETS, 1024};
    struct bucket buckets[BUCKETS], above = {0};
    uint32_t prefix = 0, ties = 0;
    for (int level = 0; level < 3; level++) {
        memset(buckets, 0, sizeof(buckets));
        uint32_t known = level == 0 ? 32 : shifts[level - 1], shift = shifts[level];
        for (uint32_t i = 0; i < count; i++) {
            uint32_t bits = float_bits(p[i]);
            if (known < 32 && bits >> known != prefix)
                continue;
            struct bucket *bucket = &buckets[bits >> shift & (sizes[level] - 1)];
            bucket->count++;
            bucket->mass += p[i];
        }
        uint32_t b = cut_bucket(buckets, sizes[level], need, &above);
        prefix = prefix << (known == 32 ? 0 : known - shift) | b;
        ties = buckets[b].count;
    }
    float value;
    memcpy(&value, &prefix, sizeof(value));
    uint32_t few = 0;
    while (few < ties && !need_met(need, above.count + few, above.mass + few * (double)value))
        few++;
    return (struct cut){.bits = prefix, .ties = few};
}

static void cut_apply(float *p, uint32_t count, struct cut cut)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits = float_bits(p[i]);
        if (bits > cut.bits)
            continue;
        if (bits == cut.bits && cut.ties > 0)
            cut.ties--;
        else
            p[i] = 0;
    }
}

static double total_mass(const float *p, uint32_t count)
{
    double sums[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int j = 0; j < 4; j++)
            sums[j] += p[i + (uint32_t)j];
    for (; i < count; i++)
        sums[0] += p[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void sampler_filter(float *p, uint32_t vocab, const struct sampling *sampling)
{
    if (sampling->top_k && sampling->top_k < vocab)
        cut_apply(p, vocab, cut_find(p, vocab, &(struct need){.count = sampling->top_k}));
    if (sampling->top_p < 1) {
        struct need need = {.count = UINT32_MAX, .mass = sampling->top_p * total_mass(p, vocab)};
        cut_apply(p, vocab, cut_find(p, vocab, &need));
    }
    if (sampling->min_p > 0)
        for (uint32_t i = 0; i < vocab; i++)
            p[i] = p[i] < sampling->min_p ? 0 : p[i];
}

/* Uniform in [0, 1) of (seed, choice, position): common/sampling.h. */
static double sampler_uniform(const struct sample_row *row)
{
    const struct sampling *sampling = &row->sampling;
    uint32_t counter[4] = {row->position}, random[4];
    uint32_t key[2] = {(uint32_t)sampling->seed ^ sampling->choice,
                       (uint32_t)(sampling->seed >> 32)};
    philox4x32(counter, key, random);
    return (double)(((uint64_t)random[1] << 32 | random[0]) >> 11) * 0x1.0p-53;
}

static uint32_t sampler_greedy(const float *logits, uint32_t vocab, float top)
{
    for (uint32_t i = 0; i < vocab; i++)
        if (logits[i] == top)
            return i;
    return 0;
}

/* The first id at which the running sum passes uniform * total. */
static uint32_t sampler_draw(const float *p, uint32_t vocab, double target)
{
    double sum = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (p[i] == 0)
            continue;
        last = i;
        sum += p[i];
        if (sum > target)
            return i;
    }
    return last;
}

struct sample_job {
    const struct isa *isa;
    uint32_t *out, *last_tokens;
    const float *logits;
    const struct sample_row *rows;
    uint32_t vocab;
    float *scratch;
};

static void sample_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct sample_job *job = arg;
    const struct sample_row *row = &job->rows[chunk];
    const float *logits = job->logits + (size_t)chunk * job->vocab;
    uint32_t vocab = job->vocab, token = UINT32_MAX;
    if (row->slot == SLOT_NONE)
        return;
    float top = job->isa->top(logits, vocab);
    if (row->sampling.temperature > 0) {
        float *p = job->scratch + (size_t)thread * vocab;
        job->isa->exp_row(p, logits, vocab, top, 1.0f / row->sampling.temperature);
        sampler_filter(p, vocab, &row->sampling);
        double total = total_mass(p, vocab);
        if (total > 0)
            token = sampler_draw(p, vocab, sampler_uniform(row) * total);
    }
    /* Also where temperature is too small for a quotient, or a logit is infinite. */
    if (token == UINT32_MAX)
        token = sampler_greedy(logits, vocab, top);
    job->out[chunk] = token;
    job->last_tokens[row->slot] = token;
}

void cpu_sample(struct device *device, struct stream *stream, uint32_t *out, uint32_t *last_tokens,
                const float *logits, uint32_t vocab, const struct sample_row *rows, uint32_t count)
{
    struct sample_job job = {
        .isa = device->isa,
        .out = out,
        .last_tokens = last_tokens,
        .logits = logits,
        .rows = rows,
        .vocab = vocab,
        .scratch = scratch_get(&device->sampler, (size_t)pool_threads(device->pool) * vocab),
    };
    pool_run(device->pool, sample_chunk, &job, count);
}
