/* slot_setup, logits_adjust and logprobs against a plain reading of ops.h. */
#include "tests/kernels/kit.h"

#include "common/mem.h"
#include "common/rng.h"

#include <math.h>
#include <string.h>

enum { VOCAB = 517, SLOTS = 4 };

struct rig {
    const struct ops *ops;
    struct device *device;
    struct sample_state state;
    uint32_t last[SLOTS];
    float *logits, *before;
};

static void rig_open(struct rig *rig, uint64_t seed)
{
    *rig = (struct rig){.ops = ops_find("cpu"), .device = kit_open(2, NULL)};
    rig->state = (struct sample_state){
        .seen = mem_array((size_t)SLOTS * VOCAB, sizeof(uint16_t)),
        .lists = mem_array((size_t)SLOTS * SAMPLE_SLOT_WORDS, sizeof(uint32_t)),
        .last_tokens = rig->last,
        .slots = SLOTS,
        .vocab = VOCAB,
    };
    rig->logits = kit_floats(&seed, (size_t)SLOTS * VOCAB, 4);
    rig->before = mem_array((size_t)SLOTS * VOCAB, sizeof(float));
    memcpy(rig->before, rig->logits, (size_t)SLOTS * VOCAB * sizeof(float));
}

static void rig_close(struct rig *rig)
{
    rig->ops->close(rig->device);
    mem_free(rig->state.seen), mem_free(rig->state.lists);
    mem_free(rig->logits), mem_free(rig->before);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Prompt 3 3 5, answer 5 7 7: the repetition penalty sees 3 5 7, the others 5 once and 7 twice. */
START_TEST(penalties_count_prompt_and_answer)
{
    struct rig rig;
    rig_open(&rig, 1);
    const uint32_t words[] = {9, 9, 3, 3, 5, 5, 7, 7};
    struct slot_setup setup = {
        .slot = 2, .prompt_count = 3, .history_first = 2, .history_count = 6};
    struct sample_row row = {.slot = 2, .position = 6, .flags = SAMPLE_PENALTIES};
    row.sampling = (struct sampling){
        .presence_penalty = 0.5f, .frequency_penalty = 0.25f, .repetition_penalty = 2.0f};
    rig.before[3] = rig.logits[3] = -1.0f, rig.before[5] = rig.logits[5] = 2.0f;
    for (int round = 0; round < 2; round++) { /* a new req in the slot starts afresh */
        memcpy(rig.logits, rig.before, VOCAB * sizeof(float));
        rig.ops->slot_setup(rig.device, NULL, &rig.state, &setup, 1, words, 8);
        rig.ops->logits_adjust(rig.device, NULL, rig.logits, VOCAB, &rig.state, NULL, &row, 1);
        for (uint32_t i = 0; i < VOCAB; i++) {
            float x = rig.before[i], want = x;
            if (i == 3 || i == 5 || i == 7)
                want = x > 0 ? x / 2 : x * 2;
            want -= i == 5 ? 0.75f : i == 7 ? 1.0f : 0.0f;
            ck_assert_msg(rig.logits[i] == want, "token %u: %g, not %g", i, rig.logits[i], want);
        }
    }
    rig_close(&rig);
}
END_TEST

START_TEST(drawn_tokens_are_counted_later)
{
    struct rig rig;
    rig_open(&rig, 2);
    const uint32_t words[] = {11};
    struct slot_setup setup = {.slot = 1, .prompt_count = 1, .history_count = 1};
    struct sample_row row = {.slot = 1, .sampling = sampling_default()};
    row.sampling.frequency_penalty = 1.0f;
    rig.ops->slot_setup(rig.device, NULL, &rig.state, &setup, 1, words, 1);
    for (uint32_t drawn = 0; drawn < 4; drawn++) { /* 20, 20, 20, … drawn each time */
        memcpy(rig.logits, rig.before, VOCAB * sizeof(float));
        row.flags = SAMPLE_PENALTIES | (drawn > 0 ? SAMPLE_COUNT : 0);
        rig.ops->logits_adjust(rig.device, NULL, rig.logits, VOCAB, &rig.state, NULL, &row, 1);
        ck_assert_float_eq(rig.logits[20], rig.before[20] - (float)drawn);
        ck_assert_float_eq(rig.logits[11], rig.before[11]);
        rig.last[1] = 20;
    }
    rig_close(&rig);
}
END_TEST

START_TEST(bias_bans_and_masks)
{
    struct rig rig;
    rig_open(&rig, 3);
    const uint32_t words[] = {40, 41, VOCAB, 40, bits_of(3.5f), 44, bits_of(-100), VOCAB + 9, 0};
    struct slot_setup setup = {
        .slot = 0, .stop_first = 0, .stop_count = 3, .bias_first = 3, .bias_count = 3};
    uint32_t masks[2 * DIV_CEIL(VOCAB, 32)];
    memset(masks, 0xff, sizeof(masks));
    masks[DIV_CEIL(VOCAB, 32) + 50 / 32] &= ~(1u << 50 % 32);
    struct sample_row rows[2] = {
        {.flags = SAMPLE_BIAS | SAMPLE_BAN | SAMPLE_MASK,
         .position = 9,
         .ban_until = 10,
         .mask = 1},
        {.slot = 0, .flags = SAMPLE_BIAS | SAMPLE_BAN, .position = 10, .ban_until = 10}};
    rig.ops->slot_setup(rig.device, NULL, &rig.state, &setup, 1, words, ARRAY_LEN(words));
    rig.ops->logits_adjust(rig.device, NULL, rig.logits, VOCAB, &rig.state, masks, rows, 2);
    for (uint32_t r = 0; r < 2; r++)
        for (uint32_t i = 0; i < VOCAB; i++) {
            float want = rig.before[r * VOCAB + i];
            want += i == 40 ? 3.5f : i == 44 ? -100.0f : 0.0f;
            if (r == 0 && (i == 40 || i == 41 || i == 50))
                want = -INFINITY;
            ck_assert_msg(rig.logits[r * VOCAB + i] == want, "row %u token %u: %g, not %g", r, i,
                          rig.logits[r * VOCAB + i], want);
        }
    rig_close(&rig);
}
END_TEST

/* Words of a mask: full, empty, mixed, and the last one cut short. */
START_TEST(masks_of_any_words)
{
    struct rig rig;
    rig_open(&rig, 5);
    uint64_t seed = 6;
    uint32_t masks[SLOTS * DIV_CEIL(VOCAB, 32)];
    struct sample_row rows[SLOTS];
    for (size_t i = 0; i < ARRAY_LEN(masks); i++)
        masks[i] = i % 3 == 0 ? UINT32_MAX : i % 7 == 1 ? 0 : (uint32_t)rng_next(&seed);
    for (uint32_t r = 0; r < SLOTS; r++)
        rows[r] = (struct sample_row){.slot = r, .flags = SAMPLE_MASK, .mask = SLOTS - 1 - r};
    rig.ops->logits_adjust(rig.device, NULL, rig.logits, VOCAB, &rig.state, masks, rows, SLOTS);
    for (uint32_t r = 0; r < SLOTS; r++)
        for (uint32_t i = 0; i < VOCAB; i++) {
            const uint32_t *mask = masks + (size_t)rows[r].mask * DIV_CEIL(VOCAB, 32);
            float want = mask[i / 32] >> i % 32 & 1 ? rig.before[r * VOCAB + i] : -INFINITY;
            ck_assert_msg(rig.logits[r * VOCAB + i] == want, "row %u token %u", r, i);
        }
    rig_close(&rig);
}
END_TEST

START_TEST(logprobs_are_the_log_softmax)
{
    struct rig rig;
    rig_open(&rig, 4);
    const uint32_t targets[] = {8, 9, 10, 516}, tops[] = {1, 0, 4, SAMPLING_TOP_MAX + 1};
    float logprobs[SLOTS] = {7, 7, 7, 7}, top_logprobs[SLOTS * SAMPLING_TOP_MAX];
    uint32_t top_ids[SLOTS * SAMPLING_TOP_MAX], ranks[SLOTS] = {0};
    rig.logits[2 * VOCAB + 100] = rig.logits[2 * VOCAB + 90] = 30; /* a tie: the lower id first */
    rig.logits[2 * VOCAB + 10] = 30; /* three: its target is the first of them */
    rig.logits[3 * VOCAB + 3] = rig.logits[3 * VOCAB + 516]; /* goes before its target */
    struct logprob_args args = {rig.logits, targets,      tops,  logprobs, ranks,
                                top_ids,    top_logprobs, VOCAB, SLOTS};
    rig.ops->logprobs(rig.device, NULL, &args);
    ck_assert_float_eq(logprobs[1], 7); /* not asked */
    for (uint32_t k = 0; k < 3; k++)
        ck_assert_uint_eq(top_ids[2 * SAMPLING_TOP_MAX + k], ((uint32_t[]){10, 90, 100})[k]);
    ck_assert_uint_eq(ranks[1], 0);
    ck_assert_uint_eq(ranks[2], 1);
    for (uint32_t r = 0; r < SLOTS; r++) {
        const float *x = rig.logits + (size_t)r * VOCAB;
        double sum = 0;
        for (uint32_t i = 0; i < VOCAB; i++)
            sum += exp((double)x[i]);
        if (tops[r] == 0)
            continue;
        ck_assert_double_eq_tol(logprobs[r], x[targets[r]] - log(sum), 1e-5);
        uint32_t target = targets[r], rank = 1;
        for (uint32_t i = 0; i < VOCAB; i++)
            rank += x[i] > x[target] || (x[i] == x[target] && i < target);
        ck_assert_uint_eq(ranks[r], rank);
        for (uint32_t k = 0; k + 1 < tops[r]; k++) {
            uint32_t id = top_ids[r * SAMPLING_TOP_MAX + k], above = 0;
            for (uint32_t i = 0; i < VOCAB; i++)
                above += x[i] > x[id] || (x[i] == x[id] && i < id);
            ck_assert_uint_eq(above, k);
            ck_assert_double_eq_tol(top_logprobs[r * SAMPLING_TOP_MAX + k], x[id] - log(sum), 1e-5);
        }
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logits");
    TCase *tcase = tcase_create("cpu");
    tcase_add_test(tcase, penalties_count_prompt_and_answer);
    tcase_add_test(tcase, drawn_tokens_are_counted_later);
    tcase_add_test(tcase, bias_bans_and_masks);
    tcase_add_test(tcase, masks_of_any_words);
    tcase_add_test(tcase, logprobs_are_the_log_softmax);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
