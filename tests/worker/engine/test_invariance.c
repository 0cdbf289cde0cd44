/* A req's tokens do not depend on how the worker happens to run it: batch mates, chunks, page size,
 * cache, overlap, retraction, groups, ranks, or an earlier attempt elsewhere.
 *
 * Kernels may add in another order in another batch, so a logit may move by up to 1e-4. The reqs
 * below are fixed by a seed and none of their draws lies that close to a border. */
#include "tests/worker/engine/harness.h"

#include "common/rng.h"

#define REQS   10
#define TOKENS 20

static const char *const configs[] = {
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"hidden_size\":80,\"head_dim\":64,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":112,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256,"
    "\"attention_bias\":true}",
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":96,\"head_dim\":64,"
    "\"num_attention_heads\":8,\"num_key_value_heads\":1,\"intermediate_size\":128,"
    "\"num_hidden_layers\":3,\"vocab_size\":320,\"max_position_embeddings\":256,"
    "\"tie_word_embeddings\":true,\"mlp_bias\":true,\"attention_bias\":true}",
    "{\"architectures\":[\"MistralForCausalLM\"],\"hidden_size\":96,\"head_dim\":128,"
    "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"intermediate_size\":128,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256,"
    "\"sliding_window\":24}",
    "{\"architectures\":[\"Qwen2MoeForCausalLM\"],\"hidden_size\":96,\"head_dim\":64,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":1,\"intermediate_size\":128,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256,\"num_experts\":6,"
    "\"num_experts_per_tok\":2,\"moe_intermediate_size\":40,\"shared_expert_intermediate_size\":"
    "56}",
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"hidden_size\":288,"
    "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"intermediate_size\":136,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256}",
    "{\"architectures\":[\"Olmo2ForCausalLM\"],\"hidden_size\":192,\"head_dim\":64,"
    "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"intermediate_size\":128,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256}",
    "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"hidden_size\":96,\"head_dim\":64,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":112,"
    "\"num_hidden_layers\":3,\"vocab_size\":320,\"max_position_embeddings\":256,\"num_experts\":6,"
    "\"num_experts_per_tok\":2,\"moe_intermediate_size\":40,\"mlp_only_layers\":[1]}",
    "{\"architectures\":[\"MixtralForCausalLM\"],\"hidden_size\":96,\"head_dim\":64,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":56,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256,"
    "\"num_local_experts\":5,\"num_experts_per_tok\":2,\"sliding_window\":24}",
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"hidden_size\":96,\"head_dim\":16,"
    "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"intermediate_size\":136,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256,"
    "\"partial_rotary_factor\":0.5,\"original_max_position_embeddings\":64,\"rope_scaling\":{"
    "\"type\":\"longrope\",\"short_factor\":[1,1,1,1],\"long_factor\":[1,1.5,4,9]}}",
    "{\"architectures\":[\"GraniteForCausalLM\"],\"hidden_size\":96,\"head_dim\":64,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":1,\"intermediate_size\":128,"
    "\"num_hidden_layers\":2,\"vocab_size\":320,\"max_position_embeddings\":256,"
    "\"attention_bias\":true,\"embedding_multiplier\":12,\"residual_multiplier\":0.22,"
    "\"attention_multiplier\":0.1,\"logits_scaling\":2}",
};

/* Under ThreadSanitizer one model is enough: the threads are the same for all, and it is slow. */
#ifdef __SANITIZE_THREAD__
#define CONFIGS 1
#else
#define CONFIGS ((int)ARRAY_LEN(configs))
#endif

/* name, page, slots, pages, step tokens, chunk, tp, cache, overlap, groups, one by one */
static const struct harness_way ways[] = {
    {"alone", 16, 8, 0, 256, 0, 1, false, false, false, true, false},
    {"together", 16, 8, 0, 256, 0, 1, false, false, false, false, false},
    {"overlap", 16, 8, 0, 256, 0, 1, false, true, false, false, false},
    {"cache", 16, 8, 0, 256, 0, 1, true, true, false, false, false},
    {"cache_alone", 16, 8, 0, 256, 0, 1, true, false, false, true, false},
    {"groups", 8, 8, 0, 256, 0, 1, true, true, true, false, false},
    {"chunks_of_7", 16, 8, 0, 256, 7, 1, true, true, false, false, false},
    {"small_steps", 16, 4, 0, 24, 0, 1, true, true, false, false, false},
    {"page_1", 1, 8, 0, 256, 0, 1, true, true, true, false, false},
    {"page_64", 64, 8, 0, 256, 0, 1, true, true, false, false, false},
    {"retraction", 4, 8, 34, 64, 16, 1, true, true, true, false, false},
    {"tp_2", 16, 8, 0, 256, 11, 2, true, true, true, false, false},
    {"padded", 16, 8, 0, 256, 7, 1, true, true, true, false, true},
    {"padded_one_size", 4, 3, 40, 24, 0, 1, true, true, true, false, true},
    {"tp_3", 16, 8, 0, 256, 0, 3, true, true, true, false, false}, /* nothing here divides by 3 */
    {"tp_4", 16, 8, 0, 256, 0, 4, true, false, false, false, false},
};

/* Three share a long prefix, two are equal, half are sampled; they arrive one after the other. */
static void make_reqs(struct harness_req *reqs)
{
    uint64_t rng = 4;
    uint32_t shared[64];
    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        shared[i] = 3 + (uint32_t)rng_below(&rng, 300);
    for (uint32_t i = 0; i < REQS; i++) {
        struct harness_req *req = &reqs[i];
        *req = (struct harness_req){.tokens_max = TOKENS, .arrive_step = i * 2};
        req->prompt_count = 1 + (uint32_t)rng_below(&rng, 70);
        for (uint32_t j = 0; j < req->prompt_count; j++)
            req->prompt[j] = 3 + (uint32_t)rng_below(&rng, 300);
        if (i % 3 == 0) {
            memcpy(req->prompt, shared, sizeof(shared));
            req->prompt_count = MAX(req->prompt_count, (uint32_t)ARRAY_LEN(shared) + i);
            for (uint32_t j = ARRAY_LEN(shared); j < req->prompt_count; j++)
                req->prompt[j] = 3 + j % 50 + i;
        }
        if (i == 7) { /* the same prompt as 4, under another seed */
            memcpy(req->prompt, reqs[4].prompt, sizeof(req->prompt));
            req->prompt_count = reqs[4].prompt_count;
        }
        req->token_count = req->prompt_count;
        req->sampling = sampling_default();
        req->sampling.temperature = i % 2 ? 0.8f : 0.0f;
        req->sampling.top_p = i % 4 == 3 ? 0.9f : 1.0f;
        req->sampling.top_k = i % 4 == 1 ? 20 : 0;
        req->sampling.seed = 1000 + i;
    }
}

/* One-token reqs, until the scheduler expects such: then it admits more than the pool can hold. */
static void teach_short_answers(struct harness *h, const struct harness_way *way)
{
    static struct harness_req reqs[REQS];
    for (int round = 0; round < 6; round++) {
        make_reqs(reqs);
        for (uint32_t i = 0; i < REQS; i++)
            reqs[i].tokens_max = 1;
        harness_run(h, reqs, REQS, way);
    }
}

static void run_way(const char *config, const struct harness_way *way, struct harness_req *reqs,
                    uint32_t count)
{
    struct harness h;
    json_t *root = json_loads(config, 0, NULL);
    struct fixture_dir dir = fixture_dir_make(root);
    harness_init(&h, dir.path, true, 77, way);
    if (strcmp(way->name, "retraction") == 0)
        teach_short_answers(&h, way);
    harness_run(&h, reqs, count, way);
    struct sched_load load;
    scheduler_load(h.scheduler, &load);
    if (strcmp(way->name, "retraction") == 0)
        ck_assert_uint_gt(load.retractions, 0);
    if (strcmp(way->name, "cache") == 0)
        ck_assert_uint_gt(h.cached_tokens, 64);
    harness_release(&h);
    fixture_dir_remove(&dir);
    json_decref(root);
}

START_TEST(tokens_are_the_same)
{
    static struct harness_req want[REQS], got[REQS];
    make_reqs(want);
    run_way(configs[_i], &ways[0], want, REQS);
    for (size_t w = 1; w < ARRAY_LEN(ways); w++) {
        make_reqs(got);
        run_way(configs[_i], &ways[w], got, REQS);
        for (uint32_t i = 0; i < REQS; i++) {
            ck_assert_uint_eq(want[i].out_count, TOKENS);
            ck_assert_uint_eq(got[i].out_count, TOKENS);
            for (uint32_t j = 0; j < TOKENS; j++)
                ck_assert_msg(want[i].out[j] == got[i].out[j],
                              "%s: req %u, token %u is %u, alone it is %u", ways[w].name, i, j,
                              got[i].out[j], want[i].out[j]);
        }
    }
}
END_TEST

/* The tokens of a first attempt, put behind the prompt on another worker, are continued as if
 * nothing had happened: greedy and sampled. */
START_TEST(resumes)
{
    static struct harness_req want[REQS], got[REQS];
    make_reqs(want);
    run_way(configs[_i], &ways[0], want, REQS);
    make_reqs(got);
    for (uint32_t i = 0; i < REQS; i++) {
        uint32_t kept = 1 + (i * 5) % (TOKENS - 1);
        memcpy(got[i].prompt + got[i].prompt_count, want[i].out, kept * sizeof(uint32_t));
        got[i].token_count += kept;
    }
    run_way(configs[_i], &ways[6], got, REQS);
    for (uint32_t i = 0; i < REQS; i++) {
        uint32_t kept = got[i].token_count - got[i].prompt_count;
        ck_assert_uint_eq(got[i].out_count, TOKENS - kept);
        for (uint32_t j = 0; j < got[i].out_count; j++)
            ck_assert_msg(want[i].out[kept + j] == got[i].out[j], "req %u, token %u", i, kept + j);
    }
}
END_TEST

/* Penalties, bias, banned stops, log probabilities of answer and prompt. */
static void make_extras(struct harness_req *reqs)
{
    make_reqs(reqs);
    for (uint32_t i = 0; i < REQS; i++) {
        struct harness_req *req = &reqs[i];
        req->sampling.presence_penalty = i % 3 == 0 ? 0.2f : 0;
        req->sampling.frequency_penalty = i % 3 == 0 ? 0.1f : 0;
        req->sampling.repetition_penalty = i % 3 == 1 ? 1.3f : 1;
        req->logprobs = i % 2 ? 3 : 0;
        req->score_from = i % 4 == 1 ? 1 + i / 8 * 20 : 0;
        req->tokens_min = i % 5 == 2 ? TOKENS : 0;
        if (i % 4 == 2) {
            const float values[] = {2.5f, -90.0f};
            for (uint32_t k = 0; k < 4; k++) {
                req->bias[2 * k] = 70 + 3 * k;
                memcpy(&req->bias[2 * k + 1], &values[k % 2], sizeof(float));
            }
            req->bias_count = 4;
        }
    }
}

static void compare_extras(const char *name, const struct harness_req *want,
                           const struct harness_req *got)
{
    for (uint32_t j = 0; j < TOKENS; j++) {
        ck_assert_msg(want->out[j] == got->out[j], "%s: token %u is %u, alone it is %u", name, j,
                      got->out[j], want->out[j]);
        if (want->logprobs)
            ck_assert_float_eq_tol(want->out_logprobs[j], got->out_logprobs[j], 1e-3f);
        for (uint32_t k = 0; k < HARNESS_STOPS && want->tokens_min; k++)
            ck_assert_uint_ne(got->out[j], harness_stop(k));
    }
    ck_assert_uint_eq(got->score_count, want->score_from && want->score_from < want->prompt_count
                                            ? want->prompt_count - want->score_from
                                            : 0);
    for (uint32_t j = 0; j < want->score_count; j++)
        ck_assert_float_eq_tol(want->scores[j], got->scores[j], 1e-3f);
}

START_TEST(extras_are_the_same)
{
    static struct harness_req plain[REQS], want[REQS], got[REQS];
    uint32_t differ = 0, scores = 0;
    make_reqs(plain);
    run_way(configs[_i], &ways[0], plain, REQS);
    make_extras(want);
    run_way(configs[_i], &ways[0], want, REQS);
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        make_extras(got);
        run_way(configs[_i], &ways[w], got, REQS);
        for (uint32_t i = 0; i < REQS; i++)
            compare_extras(ways[w].name, &want[i], &got[i]);
    }
    for (uint32_t i = 0; i < REQS; i++) {
        differ += memcmp(plain[i].out, want[i].out, TOKENS * sizeof(uint32_t)) != 0;
        scores += want[i].score_count;
    }
    ck_assert_uint_gt(differ, REQS / 2); /* the extras do something */
    ck_assert_uint_gt(scores, 60);
    make_extras(got); /* and they go on behind an earlier attempt */
    for (uint32_t i = 0; i < REQS; i++) {
        uint32_t kept = 1 + (i * 5) % (TOKENS - 1);
        memcpy(got[i].prompt + got[i].prompt_count, want[i].out, kept * sizeof(uint32_t));
        got[i].token_count += kept;
    }
    run_way(configs[_i], &ways[6], got, REQS);
    for (uint32_t i = 0; i < REQS; i++)
        ck_assert_mem_eq(want[i].out + (TOKENS - got[i].out_count), got[i].out,
                         got[i].out_count * sizeof(uint32_t));
}
END_TEST

/* Another seed gives other tokens: the comparisons above are not of constants. */
START_TEST(seeds_matter)
{
    static struct harness_req a[REQS], b[REQS];
    uint32_t differ = 0;
    make_reqs(a);
    run_way(configs[0], &ways[1], a, REQS);
    make_reqs(b);
    for (uint32_t i = 0; i < REQS; i++)
        b[i].sampling.seed += 5000;
    run_way(configs[0], &ways[1], b, REQS);
    for (uint32_t i = 0; i < REQS; i++)
        for (uint32_t j = 0; j < TOKENS; j++)
            differ += a[i].out[j] != b[i].out[j];
    ck_assert_uint_gt(differ, REQS / 2 * TOKENS / 2);
    for (uint32_t i = 0; i < REQS; i += 2) /* greedy ones have none */
        ck_assert_mem_eq(a[i].out, b[i].out, TOKENS * sizeof(uint32_t));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("invariance");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, tokens_are_the_same, 0, CONFIGS);
    tcase_add_loop_test(tcase, resumes, 0, CONFIGS);
    tcase_add_loop_test(tcase, extras_are_the_same, 0, CONFIGS);
    tcase_add_test(tcase, seeds_matter);
    tcase_set_timeout(tcase, 280);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
