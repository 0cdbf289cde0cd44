/* Sampling: what is kept, how often each token comes, and that nothing else matters. */
#include "tests/kernels/kit.h"

#define VOCAB 50u

static struct sampling sampling_with(float temperature, uint32_t top_k, float top_p, float min_p)
{
    struct sampling sampling = sampling_default();
    sampling.temperature = temperature;
    sampling.top_k = top_k;
    sampling.top_p = top_p;
    sampling.min_p = min_p;
    return sampling;
}

/* The plain way: sort, cut, renormalise. */
static void ref_probs(double *p, const float *logits, const struct sampling *s)
{
    uint32_t order[VOCAB];
    double top = -INFINITY, total = 0, kept = 0, max = 0;
    for (uint32_t i = 0; i < VOCAB; i++)
        top = fmax(top, logits[i]), order[i] = i;
    for (uint32_t i = 0; i < VOCAB; i++)
        total += p[i] = exp((logits[i] - top) / s->temperature);
    for (uint32_t i = 1; i < VOCAB; i++) /* insertion sort: larger first, ties by id */
        for (uint32_t j = i; j > 0 && p[order[j]] > p[order[j - 1]]; j--) {
            uint32_t swap = order[j];
            order[j] = order[j - 1], order[j - 1] = swap;
        }
    uint32_t keep = s->top_k && s->top_k < VOCAB ? s->top_k : VOCAB;
    total = 0;
    for (uint32_t i = 0; i < keep; i++)
        total += p[order[i]];
    uint32_t few = 0;
    while (few < keep && (kept < s->top_p * total - 1e-9 || few == 0))
        kept += p[order[few++]];
    for (uint32_t i = few; i < VOCAB; i++)
        p[order[i]] = 0;
    max = p[order[0]];
    total = 0;
    for (uint32_t i = 0; i < VOCAB; i++)
        total += p[i] = p[i] >= s->min_p * max ? p[i] : 0;
    for (uint32_t i = 0; i < VOCAB; i++)
        p[i] /= total;
}

struct draw_case {
    float temperature, top_p, min_p;
    uint32_t top_k;
};

static const struct draw_case draw_cases[] = {
    {1, 1, 0, 0},        {0.5f, 1, 0, 0},    {2, 1, 0, 0},     {1, 1, 0, 1},
    {1, 1, 0, 7},        {1, 0.6f, 0, 0},    {1, 1, 0.2f, 0},  {0.7f, 0.8f, 0.05f, 20},
    {1.5f, 0.95f, 0, 9}, {1, 0.0001f, 0, 0}, {1, 1, 0.99f, 0}, {1, 0.5f, 0.3f, 49},
};

/* Chi-square of up to 20,000 draws at successive positions against the reference; a token that is cut
 * never comes. The bound is the 1e-6 quantile (Wilson-Hilferty), so a fixed seed decides nothing.
 */
START_TEST(draws_follow_the_distribution)
{
    enum { BATCH = 100 };
    const uint32_t draws = MAX((uint32_t)effort(20000), 4000u);
    const struct draw_case *c = &draw_cases[_i];
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(2, NULL);
    uint64_t seed = 40 + (uint64_t)_i;
    float *row = kit_floats(&seed, VOCAB, 2),
          *logits = mem_array((size_t)BATCH * VOCAB, sizeof(float));
    for (int i = 0; i < BATCH; i++)
        memcpy(logits + (size_t)i * VOCAB, row, VOCAB * sizeof(float));
    struct sampling s = sampling_with(c->temperature, c->top_k, c->top_p, c->min_p);
    s.seed = 0x123456789abcdefu;
    uint32_t counts[VOCAB] = {0}, out[BATCH], last[BATCH];
    struct sample_row rows[BATCH];
    for (uint32_t at = 0; at < draws; at += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++)
            rows[i] = (struct sample_row){.slot = i, .position = at + i, .sampling = s};
        ops->sample(device, NULL, out, last, logits, VOCAB, rows, BATCH);
        for (uint32_t i = 0; i < BATCH; i++) {
            ck_assert_uint_lt(out[i], VOCAB);
            ck_assert_uint_eq(out[i], last[i]);
            counts[out[i]]++;
        }
    }
    double p[VOCAB], chi = 0;
    int kept = 0;
    ref_probs(p, row, &s);
    for (uint32_t i = 0; i < VOCAB; i++) {
        double want = p[i] * draws;
        ck_assert_msg(want > 0 || counts[i] == 0, "token %u is cut but came %u times", i,
                      counts[i]);
        kept += want > 0;
        if (want > 0)
            chi += (counts[i] - want) * (counts[i] - want) / want;
    }
    double df = kept - 1, z = 4.75;
    double bound = df > 0 ? df * pow(1 - 2 / (9 * df) + z * sqrt(2 / (9 * df)), 3) : 1e-9;
    ck_assert_msg(chi <= bound, "chi-square %.1f over %.0f degrees, bound %.1f", chi, df, bound);
    ops->close(device);
    mem_free(row), mem_free(logits);
}
END_TEST

/* The kept set with ties at the cut: the lower ids. */
START_TEST(ties_keep_lower_ids)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    float logits[VOCAB] = {0};
    const struct sampling settings[] = {sampling_with(1, 5, 1, 0), sampling_with(1, 0, 0.09f, 0)};
    for (int i = 0; i < 2; i++) {
        bool seen[VOCAB] = {false};
        for (uint32_t pos = 0; pos < 300; pos++) {
            struct sample_row row = {.position = pos, .sampling = settings[i]};
            uint32_t out, last;
            ops->sample(device, NULL, &out, &last, logits, VOCAB, &row, 1);
            ck_assert_uint_lt(out, 5); /* 5 of 50 are also the fewest with 9% of the mass */
            seen[out] = true;
        }
        for (int j = 0; j < 5; j++)
            ck_assert(seen[j]);
    }
    ops->close(device);
}
END_TEST

START_TEST(a_row_does_not_depend_on_its_mates)
{
    enum { ROWS = 9, WIDE = 5003 };
    const struct ops *ops = ops_find("cpu");
    uint64_t seed = 8;
    float *logits = kit_floats(&seed, (size_t)ROWS * WIDE, 3);
    struct sample_row rows[ROWS];
    uint32_t alone[ROWS], together[ROWS], last[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = (struct sample_row){.slot = i,
                                      .position = i * 31,
                                      .sampling = sampling_with((float)i * 0.3f, i * 7,
                                                                1 - 0.1f * (float)(i % 3),
                                                                i % 4 == 3 ? 0.01f : 0)};
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct device *device = kit_open(threads, NULL);
        for (uint32_t i = 0; i < ROWS && threads == 1; i++)
            ops->sample(device, NULL, alone + i, last, logits + (size_t)i * WIDE, WIDE, rows + i,
                        1);
        ops->sample(device, NULL, together, last, logits, WIDE, rows, ROWS);
        ck_assert_mem_eq(alone, together, sizeof(alone));
        ops->close(device);
    }
    mem_free(logits);
}
END_TEST

START_TEST(seed_choice_and_position_matter)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    static float logits[4096];
    struct sample_row rows[4];
    uint32_t out[4], last[4] = {0};
    for (uint32_t i = 0; i < 4; i++)
        rows[i] = (struct sample_row){.slot = i, .sampling = sampling_default()};
    rows[1].sampling.seed = 1ull << 40;
    rows[2].sampling.choice = 3;
    rows[3].position = 1;
    for (uint32_t i = 0; i < 4; i++)
        ops->sample(device, NULL, out + i, last, logits, 4096, rows + i, 1);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t j = 0; j < i; j++)
            ck_assert_uint_ne(out[i], out[j]);
    ops->close(device);
}
END_TEST

START_TEST(greedy_and_odd_logits)
{
    const struct ops *ops = ops_find("cpu");
    struct device *device = kit_open(1, NULL);
    float cases[][10] = {
        {0, 1, 2, 7, 7, 3, 7, 0, 0, 0},
        {-INFINITY, -INFINITY, -5, -INFINITY, -INFINITY, -5, 0, 0, 0, 9},
        {NAN, NAN, 3, NAN, NAN, 1, NAN, NAN, NAN, NAN},
        {1, INFINITY, 3, INFINITY, 2, 1, 1, 1, 1, 1},
        {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
        {-1e30f, -2e30f, -1e30f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f, -3e38f},
    };
    const uint32_t want[] = {3, 9, 2, 1, 0, 0};
    for (int i = 0; i < 6; i++)
        for (int cold = 0; cold < 2; cold++) { /* temperature 0, and one too small to divide by */
            struct sample_row row = {.sampling = sampling_with(cold ? 1e-42f : 0, 0, 1, 0)};
            uint32_t out = 99, last;
            ops->sample(device, NULL, &out, &last, cases[i], 10, &row, 1);
            ck_assert_msg(out == want[i], "case %d: %u, not %u", i, out, want[i]);
        }
    ops->close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampler");
    TCase *tcase = tcase_create("cpu");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, draws_follow_the_distribution, 0, ARRAY_LEN(draw_cases));
    tcase_add_test(tcase, ties_keep_lower_ids);
    tcase_add_test(tcase, a_row_does_not_depend_on_its_mates);
    tcase_add_test(tcase, seed_choice_and_position_matter);
    tcase_add_test(tcase, greedy_and_odd_logits);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
