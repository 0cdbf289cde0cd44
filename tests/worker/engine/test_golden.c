/* Our tokens and logits are those of `transformers` in f32 (tests/golden/make_golden.py): for
 * SmolLM2, and for a small checkpoint at each corner of the architecture table.
 *
 * Logits agree within 1e-3. The golden margins are above twice that, so greedy tokens are equal. */
#include "tests/worker/engine/fixture.h"

#include <math.h>

#define LOGIT_BOUND 1e-3

/* The golden file has 16 prompts of 64 tokens, four of them with logits. Sanitizers slow the big
 * model tenfold and more: there, the start of the first of the four shows what they can show. */
#define PROMPTS     16
#define WITH_LOGITS 4
#define TOKENS      64
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define PROMPTS_RUN     1
#define WITH_LOGITS_RUN 1
#define TOKENS_RUN      4
#else
#define PROMPTS_RUN     PROMPTS
#define WITH_LOGITS_RUN WITH_LOGITS
#define TOKENS_RUN      TOKENS
#endif

/* Compares up to `most` tokens of one prompt of a golden file; returns the largest difference of a
 * logit. */
static double check_prompt(struct engine *engine, const json_t *prompt, uint32_t chunk,
                           uint32_t most, const char *what)
{
    uint32_t ids[FIXTURE_TOKENS_MAX], want[FIXTURE_TOKENS_MAX], got[FIXTURE_TOKENS_MAX];
    uint32_t vocab = engine_info(engine)->vocab;
    float *logits = mem_array(vocab, sizeof(*logits));
    struct fixture_req req = {.engine = engine, .page_size = 16, .chunk = chunk, .prompt = ids};
    req.prompt_count = fixture_ids(json_object_get(prompt, "ids"), ids);
    uint32_t count = MIN(fixture_ids(json_object_get(prompt, "tokens"), want), most);
    fixture_generate(&req, got, count, logits);

    const json_t *logit_ids = json_object_get(prompt, "logit_ids");
    const json_t *values = json_object_get(prompt, "logits");
    double worst = 0;
    ck_assert_uint_eq(json_array_size(logit_ids), json_array_size(values));
    for (size_t i = 0; i < json_array_size(values); i++) {
        size_t id = (size_t)json_integer_value(json_array_get(logit_ids, i));
        double diff = fabs(logits[id] - json_number_value(json_array_get(values, i)));
        ck_assert_msg(diff <= LOGIT_BOUND, "%s: logit of token %zu is off by %g", what, id, diff);
        worst = fmax(worst, diff);
    }
    ck_assert_double_gt(json_number_value(json_object_get(prompt, "margin_min")), 2 * LOGIT_BOUND);
    for (uint32_t i = 0; i < count; i++)
        ck_assert_msg(got[i] == want[i], "%s: token %u is %u, should be %u", what, i, got[i],
                      want[i]);
    mem_free(logits);
    return worst;
}

static const char *const tiny[] = {
    "llama_g1_d64_tied",          "llama_g3_d64_biases",   "llama_g4_d128_llama3",
    "llama_g1_d128_linear",       "mistral_g4_d64_window", "mistral_g8_d64_full",
    "qwen2_g7_d64_tied",          "qwen2_g4_d128_window",  "qwen3_g8_d128_tied",
    "qwen3_g2_d64_biases",        "llama_g2_d64_yarn",     "qwen3_g2_d128_yarn",
    "llama_g1_d64_dynamic",       "mixtral_g4_d64",        "qwen2moe_g2_d64_shared",
    "qwen3moe_g4_d128",           "smollm3_g4_d64_nope",   "olmo2_g2_d64",
    "qwen2moe_g2_d64_dense",      "qwen3moe_g2_d64_dense", "phi3_g2_d96_window",
    "phi3_g2_d64_longrope",       "phi3_g3_d128_partial",  "phi3_g2_d64_crossing",
    "granite_g4_d64_multipliers", "granite_g2_d128",
};

#if defined(__SANITIZE_THREAD__) /* the threads are the same for all */
#define TINY_RUN 3
#else
#define TINY_RUN ((int)ARRAY_LEN(tiny))
#endif

START_TEST(tiny_checkpoint)
{
    char name[128];
    snprintf(name, sizeof(name), "tiny/%s.json", tiny[_i]);
    json_t *golden = fixture_golden(name);
    struct fixture_dir dir = fixture_dir_make(json_object_get(golden, "config"));
    struct engine_opts opts =
        fixture_opts(dir.path, true, (uint64_t)json_integer_value(json_object_get(golden, "seed")));
    opts.context_max = (uint32_t)json_integer_value(json_object_get(golden, "context"));
    struct engine *engine = fixture_engine(&opts);
    engine_keep_logits(engine, true);
    const json_t *prompts = json_object_get(golden, "prompts");
    ck_assert_uint_ge(json_array_size(prompts), 3);
    double worst = 0;
    for (size_t i = 0; i < json_array_size(prompts); i++)
        worst = fmax(worst, check_prompt(engine, json_array_get(prompts, i), i == 2 ? 7 : 256,
                                         TOKENS, tiny[_i]));
    printf("%s: largest difference of a logit %.2g\n", tiny[_i], worst);
    engine_close(engine);
    fixture_dir_remove(&dir);
    json_decref(golden);
}
END_TEST

START_TEST(smollm2)
{
    char dir[512], file[600];
    fixture_smollm2(dir, sizeof(dir));
    snprintf(file, sizeof(file), "%s/model.safetensors", dir);
    if (!file_exists(file)) {
        ck_assert_msg(getenv("MSGL_REQUIRE_MODEL") == NULL, "%s is not there", file);
        fprintf(stderr, "SKIPPED: %s is not there (deploy/local/quickstart makes it)\n", file);
        return;
    }
    json_t *golden = fixture_golden("smollm2.json");
    struct engine_opts opts = fixture_opts(dir, false, 0);
    struct engine *engine = fixture_engine(&opts);
    engine_keep_logits(engine, true);
    const json_t *prompts = json_object_get(golden, "prompts");
    ck_assert_uint_eq(json_array_size(prompts), PROMPTS);
    double worst = 0;
    size_t run = 0, with_logits = 0;
    for (size_t i = 0; i < PROMPTS && run < PROMPTS_RUN; i++) {
        const json_t *prompt = json_array_get(prompts, i);
        bool has_logits = json_object_get(prompt, "logits") != NULL;
        if (PROMPTS_RUN < PROMPTS && !has_logits)
            continue;
        ck_assert_uint_eq(json_array_size(json_object_get(prompt, "tokens")), TOKENS);
        worst = fmax(worst, check_prompt(engine, prompt, 256, TOKENS_RUN,
                                         json_string_value(json_object_get(prompt, "text"))));
        run++;
        with_logits += has_logits;
    }
    ck_assert_uint_eq(run, PROMPTS_RUN);
    ck_assert_uint_eq(with_logits, WITH_LOGITS_RUN);
    printf("smollm2: largest difference of a logit %.2g\n", worst);
    engine_close(engine);
    json_decref(golden);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, tiny_checkpoint, 0, TINY_RUN);
    tcase_add_test(tcase, smollm2);
    tcase_set_timeout(tcase, 280);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
