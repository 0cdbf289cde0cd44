/* Sampling's extras against the cpu's ops on the same rows: the same bits of logits and of a slot's
 * memory; log probabilities to f32's rounding. Rows with all flags, none, and a padding row; two
 * steps, so that what one counts the next one sees.
 */
#include "tests/kernels/device/rig.h"

enum { SLOTS = 7, ROWS = 7, HISTORY = 900, WORDS = 4000 };

struct half { /* one backend's side */
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct sample_state state;
    float *logits;
    struct sample_row *rows;
    uint32_t *masks, *last, *tops, *targets, *ranks, *top_ids;
    float *logprobs, *top_logprobs;
};

static void *half_array(struct half *half, const void *host, size_t bytes)
{
    void *ptr;
    struct err err = {0};
    if (half->ops->alloc(half->device, bytes, &ptr, &err) != STATUS_OK) {
        fprintf(stderr, "kernels_device: %s\n", err.text);
        exit(1);
    }
    if (host) {
        half->ops->upload(half->device, half->stream, ptr, host, bytes);
        half->ops->stream_sync(half->device, half->stream, NULL);
    }
    return ptr;
}

static void half_read(struct half *half, void *host, const void *from, size_t bytes)
{
    half->ops->download(half->device, half->stream, host, from, bytes);
    half->ops->stream_sync(half->device, half->stream, NULL);
}

struct inputs {
    uint32_t vocab, words[WORDS], last[SLOTS], tops[ROWS], targets[ROWS];
    struct slot_setup setups[SLOTS];
    struct sample_row rows[ROWS];
    float *logits;
    uint32_t *masks;
};

static void inputs_fill(struct rig *rig, uint32_t vocab, struct inputs *in)
{
    in->vocab = vocab;
    in->logits = rig_values(rig, (size_t)ROWS * vocab, 4);
    size_t mask_words = (size_t)ROWS * DIV_CEIL(vocab, 32);
    in->masks = rig_host(rig, mask_words * 4);
    for (size_t i = 0; i < mask_words; i++)
        in->masks[i] = (uint32_t)(rng_next(&rig->seed) | rng_next(&rig->seed));
    for (uint32_t i = 0; i < WORDS; i++) /* ids beyond the vocabulary too */
        in->words[i] = (uint32_t)rng_below(&rig->seed, vocab + vocab / 8 + 1);
    for (uint32_t s = 0; s < SLOTS; s++) {
        in->setups[s] = (struct slot_setup){.slot = s,
                                            .prompt_count = s * 100,
                                            .history_first = s * 13,
                                            .history_count = s == 6 ? 0 : HISTORY - s,
                                            .stop_first = 1000 + s,
                                            .stop_count = s * 10 % 64,
                                            .bias_first = 1200 + s * 200,
                                            .bias_count = s * 15};
        for (uint32_t i = 0; i < in->setups[s].bias_count; i++) {
            float value = (float)(i % 21) / 2 - 5;
            uint32_t *pair = in->words + in->setups[s].bias_first + 2 * i;
            pair[0] = (s * 7 + i * 31) % (vocab + 5); /* each id once where vocab allows */
            if (i >= vocab / 31)
                pair[0] = vocab + i;
            memcpy(&pair[1], &value, 4);
        }
        in->last[s] = (uint32_t)rng_below(&rig->seed, vocab);
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        struct sampling sampling = sampling_default();
        sampling.repetition_penalty = 1.1f + 0.1f * (float)r;
        sampling.frequency_penalty = 0.3f * (float)r - 0.7f;
        sampling.presence_penalty = 0.5f;
        uint32_t flags[] = {0,
                            SAMPLE_PENALTIES,
                            SAMPLE_COUNT | SAMPLE_PENALTIES,
                            SAMPLE_COUNT | SAMPLE_BIAS | SAMPLE_BAN,
                            SAMPLE_MASK,
                            SAMPLE_COUNT | SAMPLE_MASK | SAMPLE_BAN | SAMPLE_BIAS |
                                SAMPLE_PENALTIES,
                            SAMPLE_COUNT | SAMPLE_PENALTIES};
        in->rows[r] = (struct sample_row){.slot = r == 6 ? SLOT_NONE : (r + 2) % 6,
                                          .position = 40,
                                          .sampling = sampling,
                                          .flags = flags[r],
                                          .ban_until = r == 3 ? 41 : 40 + r % 2,
                                          .mask = ROWS - 1 - r};
        in->tops[r] = r == 4 ? 0 : 1 + r * 5 % 21;
        in->targets[r] = (uint32_t)rng_below(&rig->seed, vocab);
    }
}

static void half_init(struct half *half, const struct inputs *in)
{
    size_t vocab = in->vocab;
    half->last = half_array(half, in->last, sizeof(in->last));
    half->state = (struct sample_state){
        .seen = half_array(half, NULL, SLOTS * vocab * 2),
        .lists = half_array(half, NULL, (size_t)SLOTS * SAMPLE_SLOT_WORDS * 4),
        .last_tokens = half->last,
        .slots = SLOTS,
        .vocab = in->vocab,
    };
    half->logits = half_array(half, in->logits, ROWS * vocab * 4);
    half->rows = half_array(half, in->rows, sizeof(in->rows));
    half->masks = half_array(half, in->masks, (size_t)ROWS * DIV_CEIL(in->vocab, 32) * 4);
    half->tops = half_array(half, in->tops, sizeof(in->tops));
    half->targets = half_array(half, in->targets, sizeof(in->targets));
    half->logprobs = half_array(half, NULL, ROWS * 4);
    half->ranks = half_array(half, NULL, ROWS * 4);
    half->top_ids = half_array(half, NULL, ROWS * SAMPLING_TOP_MAX * 4);
    half->top_logprobs = half_array(half, NULL, ROWS * SAMPLING_TOP_MAX * 4);
    half->ops->slot_setup(half->device, half->stream, &half->state, in->setups, SLOTS, in->words,
                          WORDS);
    for (int step = 0; step < 2; step++)
        half->ops->logits_adjust(half->device, half->stream, half->logits, in->vocab, &half->state,
                                 half->masks, half->rows, ROWS);
    struct logprob_args args = {half->logits,       half->targets, half->tops,
                                half->logprobs,     half->ranks,   half->top_ids,
                                half->top_logprobs, in->vocab,     ROWS};
    half->ops->logprobs(half->device, half->stream, &args);
}

static void half_drop(struct half *half)
{
    void *arrays[] = {half->last,     half->state.seen, half->state.lists, half->logits,
                      half->rows,     half->masks,      half->tops,        half->targets,
                      half->logprobs, half->ranks,      half->top_ids,     half->top_logprobs};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        half->ops->free(half->device, arrays[i]);
}

static void same_memory(struct rig *rig, struct half *a, struct half *b, const void *x,
                        const void *y, size_t bytes, const char *what)
{
    uint8_t *left = rig_host(rig, bytes), *right = rig_host(rig, bytes);
    half_read(a, left, x, bytes);
    half_read(b, right, y, bytes);
    size_t at = 0;
    while (at < bytes && left[at] == right[at])
        at++;
    EXPECT(rig, at == bytes, "%s differs from the cpu's at byte %zu of %zu", what, at, bytes);
}

static void check_logprobs(struct rig *rig, struct half *a, struct half *b, const struct inputs *in)
{
    float lp[2][ROWS], tops[2][ROWS * SAMPLING_TOP_MAX];
    uint32_t ids[2][ROWS * SAMPLING_TOP_MAX], ranks[2][ROWS];
    struct half *halves[] = {a, b};
    for (int i = 0; i < 2; i++) {
        half_read(halves[i], lp[i], halves[i]->logprobs, sizeof(lp[i]));
        half_read(halves[i], ranks[i], halves[i]->ranks, sizeof(ranks[i]));
        half_read(halves[i], tops[i], halves[i]->top_logprobs, sizeof(tops[i]));
        half_read(halves[i], ids[i], halves[i]->top_ids, sizeof(ids[i]));
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        bool both =
            lp[0][r] == lp[1][r] || fabsf(lp[0][r] - lp[1][r]) <= 1e-5f * (1 + fabsf(lp[1][r]));
        EXPECT(rig, both, "logprob of row %u: %.8g, on the cpu %.8g", r, (double)lp[0][r],
               (double)lp[1][r]);
        EXPECT(rig, in->tops[r] == 0 || ranks[0][r] == ranks[1][r],
               "rank of row %u: %u, on the cpu %u", r, ranks[0][r], ranks[1][r]);
        uint32_t want = in->tops[r] ? MIN(in->tops[r] - 1, in->vocab) : 0;
        for (uint32_t i = 0; i < want; i++) {
            uint32_t at = r * SAMPLING_TOP_MAX + i;
            EXPECT(rig, ids[0][at] == ids[1][at], "row %u: likeliest %u is %u, on the cpu %u", r, i,
                   ids[0][at], ids[1][at]);
            EXPECT(rig,
                   tops[0][at] == tops[1][at] ||
                       fabsf(tops[0][at] - tops[1][at]) <= 1e-5f * (1 + fabsf(tops[1][at])),
                   "row %u: logprob %u is %.8g, on the cpu %.8g", r, i, (double)tops[0][at],
                   (double)tops[1][at]);
        }
    }
}

static void run_extras(struct rig *rig)
{
    static const uint32_t vocabs[] = {33, 1000, 4097, 50257, 151936};
    struct half cpu = {.ops = ops_find("cpu")};
    struct err err = {0};
    if (cpu.ops->open(&(struct device_opts){.threads = 1, .tp = 1}, &cpu.device, &err) !=
        STATUS_OK) {
        rig_fail(rig, "%s", err.text);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(vocabs); i++) {
        struct half here = {.ops = rig->ops, .device = rig->device, .stream = rig->stream};
        struct inputs *in = rig_host(rig, sizeof(*in));
        if (rig->effort == EFFORT_TINY && vocabs[i] > 5000)
            break;
        inputs_fill(rig, vocabs[i], in);
        half_init(&here, in);
        half_init(&cpu, in);
        rig_sync(rig);
        size_t vocab = vocabs[i];
        same_memory(rig, &here, &cpu, here.state.seen, cpu.state.seen, SLOTS * vocab * 2, "seen");
        same_memory(rig, &here, &cpu, here.logits, cpu.logits, ROWS * vocab * 4, "logits_adjust");
        check_logprobs(rig, &here, &cpu, in);
        half_drop(&here);
        half_drop(&cpu);
        rig->cases++;
        rig_drop(rig);
    }
    cpu.ops->close(cpu.device);
}

const struct rig_test logits_tests[] = {{"extras", run_extras}, {NULL, NULL}};
