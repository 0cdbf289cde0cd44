/* Sampling against a plain double-precision reference: sort, cut, inverse CDF.
 *
 * The reference knows where in the CDF the uniform falls. A device's float sums may move an edge by
 * a few 1e-6 of the mass, so a token is right when its interval, that much wider, holds the goal.
 */
#include "tests/kernels/device/rig.h"

#define EDGE 4e-6

struct entry {
    double p;
    float logit;
    uint32_t id;
};

static int by_logit(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static double uniform_of(const struct sample_row *row)
{
    const struct sampling *s = &row->sampling;
    uint32_t counter[4] = {row->position}, random[4];
    uint32_t key[2] = {(uint32_t)s->seed ^ s->choice, (uint32_t)(s->seed >> 32)};
    philox4x32(counter, key, random);
    return (double)(((uint64_t)random[1] << 32 | random[0]) >> 11) * 0x1.0p-53;
}

struct verdict {
    bool right, exact;
};

/* `sorted` has p = exp((logit - top) / temperature), likeliest first; p_by_id is scratch. */
static struct verdict judge_cut(const struct entry *sorted, uint32_t vocab, double *p_by_id,
                                const struct sample_row *row, uint32_t token, double nudge)
{
    const struct sampling *s = &row->sampling;
    uint32_t keep = s->top_k && s->top_k < vocab ? s->top_k : vocab, few = 0;
    double mass = 0, kept = 0, total = 0, before = 0, goal;
    struct verdict v = {false, false};
    for (uint32_t i = 0; i < keep; i++)
        mass += sorted[i].p;
    if (s->top_p < 1) {
        while (few < keep && (few == 0 || kept < (double)s->top_p * mass * (1 + nudge)))
            kept += sorted[few++].p;
        keep = few;
    }
    while (s->min_p > 0 && keep > 1 && sorted[keep - 1].p < (double)s->min_p * (1 + nudge))
        keep--;
    memset(p_by_id, 0, vocab * sizeof(*p_by_id));
    for (uint32_t i = 0; i < keep; i++) {
        p_by_id[sorted[i].id] = sorted[i].p;
        total += sorted[i].p;
    }
    goal = uniform_of(row) * total;
    if (token >= vocab || p_by_id[token] == 0)
        return v;
    for (uint32_t i = 0; i < token; i++)
        before += p_by_id[i];
    v.exact = before <= goal && goal < before + p_by_id[token];
    v.right = before - EDGE * total <= goal && goal < before + p_by_id[token] + EDGE * total;
    return v;
}

static struct verdict judge(const float *logits, uint32_t vocab, const struct sample_row *row,
                            uint32_t token)
{
    struct entry *sorted = malloc(vocab * sizeof(*sorted));
    double *p_by_id = malloc(vocab * sizeof(*p_by_id));
    struct verdict best = {false, false};
    for (uint32_t i = 0; i < vocab; i++)
        sorted[i] = (struct entry){0, logits[i], i};
    qsort(sorted, vocab, sizeof(*sorted), by_logit);
    if (row->sampling.temperature == 0) {
        best.exact = best.right = token == sorted[0].id;
    } else {
        double t = (double)row->sampling.temperature;
        for (uint32_t i = 0; i < vocab; i++)
            sorted[i].p = exp(((double)sorted[i].logit - (double)sorted[0].logit) / t);
        for (int nudge = -1; nudge <= 1; nudge++) {
            struct verdict v = judge_cut(sorted, vocab, p_by_id, row, token, nudge * 2e-6);
            best.right |= v.right;
            best.exact |= nudge == 0 && v.exact;
        }
    }
    free(sorted);
    free(p_by_id);
    return best;
}

static struct sampling setting(uint32_t i)
{
    static const struct {
        float temperature, top_p, min_p;
        uint32_t top_k;
    } settings[] = {
        {0, 1, 0, 0},        {1, 1, 0, 0},          {0.6f, 1, 0, 0},      {0.6f, 0.95f, 0, 20},
        {1, 0.9f, 0, 0},     {1, 1, 0, 1},          {1, 1, 0, 50},        {1, 1, 0.05f, 0},
        {0.7f, 0.8f, 0, 20}, {2, 0.5f, 0.01f, 300}, {1, 0.0001f, 0, 0},   {1, 0.999f, 0, 0},
        {1, 1, 0, 5000},     {0.3f, 0.7f, 0, 0},    {1.5f, 0.99f, 0, 4},  {1, 1, 0.9f, 0},
        {5, 0.97f, 0, 0},    {1, 0.3f, 0.2f, 7},    {0.01f, 0.9f, 0, 40}, {3, 1, 0, 1000},
    };
    struct sampling s = sampling_default();
    i %= ARRAY_LEN(settings);
    s.temperature = settings[i].temperature;
    s.top_p = settings[i].top_p;
    s.min_p = settings[i].min_p;
    s.top_k = settings[i].top_k;
    s.seed = 0x9e3779b97f4a7c15u * (i + 1);
    s.choice = i % 3;
    return s;
}

enum kind { KIND_NORMAL, KIND_FLAT, KIND_TIES, KIND_HOLES, KIND_PEAK, KIND_ALL_EQUAL, KIND_COUNT };

static void logits_fill(struct rig *rig, float *logits, uint32_t vocab, enum kind kind)
{
    for (uint32_t i = 0; i < vocab; i++) {
        float x = rig_normal(rig);
        switch (kind) {
        case KIND_NORMAL:
            logits[i] = 3 * x;
            break;
        case KIND_FLAT:
            logits[i] = 0.1f * x;
            break;
        case KIND_TIES:
            logits[i] = roundf(2 * x);
            break; /* thousands at each value */
        case KIND_HOLES:
            logits[i] = i % 3 ? -INFINITY : 2 * x;
            break;
        case KIND_PEAK:
            logits[i] = i == vocab / 2 ? 30 : i == 3 ? 28.5f : x;
            break;
        default:
            logits[i] = -2.5f;
        }
    }
}

static void sample_case(struct rig *rig, uint32_t vocab, uint32_t rows, uint32_t position,
                        uint32_t *exact, uint32_t *drawn)
{
    size_t count = (size_t)rows * vocab;
    float *logits = rig_host(rig, count * sizeof(*logits));
    struct sample_row *spec = rig_host(rig, rows * sizeof(*spec));
    uint32_t *tokens = rig_host(rig, rows * 4), *last = rig_host(rig, (rows + 1) * 4);
    for (uint32_t r = 0; r < rows; r++) {
        logits_fill(rig, logits + (size_t)r * vocab, vocab, (r + position) % KIND_COUNT);
        spec[r] = (struct sample_row){
            .slot = rows - 1 - r, .position = position + r * 31, .sampling = setting(r + position)};
        if (rig->cuda && rows > 2 && r == 1)
            spec[r].slot = SLOT_NONE;
    }
    float *device = rig_up(rig, logits, count * sizeof(*logits));
    struct sample_row *spec_device = rig_up(rig, spec, rows * sizeof(*spec));
    struct rig_out out[2], slots = rig_out_bytes(rig, rows * 4);
    for (int run = 0; run < 2; run++) {
        out[run] = rig_out_bytes(rig, rows * 4);
        rig->ops->sample(rig->device, rig->stream, out[run].device, slots.device, device, vocab,
                         spec_device, rows);
    }
    rig_same(rig, &out[0], &out[1], "sample");
    rig_down(rig, tokens, out[0].device, rows * 4);
    rig_down(rig, last, slots.device, rows * 4);
    for (uint32_t r = 0; r < rows; r++) {
        if (spec[r].slot == SLOT_NONE)
            continue;
        struct verdict v = judge(logits + (size_t)r * vocab, vocab, &spec[r], tokens[r]);
        EXPECT(rig, v.right, "vocab %u, %u rows: row %u with setting %u, kind %u drew %u", vocab,
               rows, r, (r + position) % 20, (r + position) % KIND_COUNT, tokens[r]);
        EXPECT(rig, last[spec[r].slot] == tokens[r], "last_tokens of row %u", r);
        *exact += v.exact;
        *drawn += 1;
    }
    /* A row alone gives what it gave among its mates. */
    for (uint32_t r = 0; r < rows; r += 1 + rows / 5) {
        uint32_t alone = 0;
        struct rig_out one = rig_out_bytes(rig, 4);
        if (spec[r].slot == SLOT_NONE)
            continue;
        rig->ops->sample(rig->device, rig->stream, one.device, slots.device,
                         device + (size_t)r * vocab, vocab, spec_device + r, 1);
        rig_down(rig, &alone, one.device, 4);
        EXPECT(rig, alone == tokens[r], "vocab %u: row %u of %u drew %u among others, %u alone",
               vocab, r, rows, tokens[r], alone);
    }
    rig->cases++;
    rig_drop(rig);
}

static void run_sample(struct rig *rig)
{
    static const uint32_t sizes[][3] = {/* vocab, rows, turns */
                                        {1, 20, 1},     {2, 20, 3},      {10, 20, 6},
                                        {50, 120, 3},   {1000, 120, 1},  {4097, 60, 2},
                                        {5003, 3, 20},  {32000, 40, 1},  {49152, 20, 2},
                                        {128256, 1, 8}, {151936, 1, 25}, {151936, 120, 1}};
    uint32_t exact = 0, drawn = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (uint32_t turn = 0; turn < sizes[i][2]; turn++) {
            if (rig->effort < EFFORT_FULL && (sizes[i][0] > 50000 || sizes[i][1] > 60) && turn > 2)
                continue;
            if (rig->effort == EFFORT_TINY && (sizes[i][0] * sizes[i][1] > 200000 || turn > 0))
                continue;
            uint32_t rows = rig->effort == EFFORT_TINY ? MIN(sizes[i][1], 20u) : sizes[i][1];
            sample_case(rig, sizes[i][0], rows, turn * 7, &exact, &drawn);
        }
    EXPECT(rig, (drawn - exact) * 100 <= drawn, "%u of %u draws fell over an edge of the CDF",
           drawn - exact, drawn);
}

/* As the cpu sampler's test: NaN never wins, infinity does, ties go to the lowest id. */
static void run_odd(struct rig *rig)
{
    static const float cases[][10] = {
        {0, 1, 2, 7, 7, 3, 7, 0, 0, 0},
        {-INFINITY, -INFINITY, -5, -INFINITY, -INFINITY, -5, 0, 0, 0, 9},
        {NAN, NAN, 3, NAN, NAN, 1, NAN, NAN, NAN, NAN},
        {1, INFINITY, 3, INFINITY, 2, 1, 1, 1, 1, 1},
        {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
        {-3, -0.0f, -4, -5, -6, 0, 0, -0.0f, -1, -2}, /* equal zeros */
        {-1e30f, -2e30f, -1e30f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f},
    };
    const uint32_t want[] = {3, 9, 2, 1, 0, 1, 0};
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int cold = 0; cold < 2; cold++) { /* temperature 0, and one too small to divide by */
            struct sample_row row = {.sampling = sampling_default()};
            uint32_t token = 99;
            row.sampling.temperature = cold ? 1e-42f : 0;
            float *logits = rig_up(rig, cases[i], sizeof(cases[i]));
            struct rig_out out = rig_out_bytes(rig, 4), last = rig_out_bytes(rig, 4);
            rig->ops->sample(rig->device, rig->stream, out.device, last.device, logits, 10,
                             rig_up(rig, &row, sizeof(row)), 1);
            rig_down(rig, &token, out.device, 4);
            EXPECT(rig, token == want[i], "odd logits %u, %s: %u, not %u", i,
                   cold ? "cold" : "greedy", token, want[i]);
            rig->cases++;
        }
}

const struct rig_test sample_tests[] = {
    {"sample", run_sample},
    {"sample_odd", run_odd},
    {NULL, NULL},
};
