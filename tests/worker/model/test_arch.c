/* config.json of each architecture is understood; what is wrong or unknown is refused by name. */
#include "worker/model/arch.h"

#include "common/mem.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The base of all cases; `changes` (an object) is laid over it, null removes a key. */
static const char base[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":96,\"num_hidden_layers\":4,"
    "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"intermediate_size\":100,"
    "\"vocab_size\":320,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,"
    "\"hidden_act\":\"silu\"}";

static enum status parse(const char *changes, struct model_config *config, struct err *err)
{
    json_t *root = json_loads(base, 0, NULL), *over = json_loads(changes, 0, NULL), *value;
    const char *key;
    ck_assert_ptr_nonnull(root);
    ck_assert_msg(over != NULL, "case is not JSON: %s", changes);
    json_object_foreach(over, key, value) {
        if (json_is_null(value))
            json_object_del(root, key);
        else
            json_object_set(root, key, value);
    }
    enum status status = model_config_parse(root, config, err);
    json_decref(root);
    json_decref(over);
    return status;
}

static struct model_config parse_ok(const char *changes)
{
    struct model_config config;
    struct err err = {0};
    ck_assert_msg(parse(changes, &config, &err) == STATUS_OK, "%s", err.text);
    return config;
}

START_TEST(llama)
{
    struct model_config config = parse_ok("{}");
    ck_assert_uint_eq(config.hidden, 96);
    ck_assert_uint_eq(config.layers, 4);
    ck_assert_uint_eq(config.heads, 6);
    ck_assert_uint_eq(config.kv_heads, 2);
    ck_assert_uint_eq(config.head_dim, 16);
    ck_assert_uint_eq(config.context, 512);
    ck_assert(!config.tied && !config.qkv_bias && !config.o_bias && !config.mlp_bias);
    ck_assert_double_eq(config.rope.theta, 10000.0);
    ck_assert_uint_eq(config.window[3], 0);

    config = parse_ok("{\"num_key_value_heads\":null,\"head_dim\":64,\"attention_bias\":true,"
                      "\"mlp_bias\":true,\"tie_word_embeddings\":true,\"sliding_window\":7}");
    ck_assert_uint_eq(config.kv_heads, 6);
    ck_assert_uint_eq(config.head_dim, 64);
    ck_assert(config.tied && config.qkv_bias && config.o_bias && config.mlp_bias);
    ck_assert_uint_eq(config.window[0], 0); /* no such thing in this architecture */
}
END_TEST

START_TEST(rows_of_the_table)
{
    struct model_config config = parse_ok("{\"architectures\":[\"MistralForCausalLM\"],"
                                          "\"sliding_window\":128,\"attention_bias\":true}");
    ck_assert_uint_eq(config.window[0], 128);
    ck_assert(!config.qkv_bias);
    config = parse_ok("{\"architectures\":[\"Qwen2ForCausalLM\"],\"sliding_window\":128}");
    ck_assert(config.qkv_bias && !config.o_bias && config.arch->qk_norm == ARCH_QK_NORM_NONE);
    ck_assert_uint_eq(config.window[3], 0);
    config = parse_ok("{\"architectures\":[\"Qwen2ForCausalLM\"],\"sliding_window\":128,"
                      "\"use_sliding_window\":true,\"max_window_layers\":3}");
    ck_assert_uint_eq(config.window[2], 0);
    ck_assert_uint_eq(config.window[3], 128);
    config = parse_ok("{\"architectures\":[\"Qwen3ForCausalLM\"],\"sliding_window\":9,"
                      "\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
                      "\"sliding_attention\",\"full_attention\",\"full_attention\"]}");
    ck_assert(config.arch->qk_norm == ARCH_QK_NORM_HEAD && !config.qkv_bias);
    ck_assert_uint_eq(config.head_dim, 128);
    ck_assert_uint_eq(config.window[0], 0);
    ck_assert_uint_eq(config.window[1], 9);
    ck_assert_uint_eq(config.window[2], 0);
}
END_TEST

START_TEST(rope_forms)
{
    struct model_config config = parse_ok(
        "{\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
        "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":8192}}");
    ck_assert_int_eq(config.rope.kind, ROPE_LLAMA3);
    ck_assert_double_eq(config.rope.theta, 500000.0);
    ck_assert_uint_eq(config.rope.original_context, 8192);
    config = parse_ok("{\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6}}");
    ck_assert_int_eq(config.rope.kind, ROPE_PLAIN);
    ck_assert_double_eq(config.rope.theta, 1e6);
    config = parse_ok("{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}");
    ck_assert_int_eq(config.rope.kind, ROPE_LINEAR);
    ck_assert_double_eq(config.rope.factor, 2.0);
    config = parse_ok("{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
                      "\"original_max_position_embeddings\":64}}");
    ck_assert_int_eq(config.rope.kind, ROPE_YARN);
    ck_assert_double_eq_tol(config.rope.attention_factor, 0.1 * log(4) + 1, 1e-12);
    config = parse_ok("{\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}}");
    ck_assert_int_eq(config.rope.kind, ROPE_PLAIN);
}
END_TEST

START_TEST(experts_and_others)
{
    struct model_config config = parse_ok("{\"architectures\":[\"MixtralForCausalLM\"],\"num_local_"
                                          "experts\":8,\"num_experts_per_tok\":2}");
    ck_assert_uint_eq(config.experts, 8);
    ck_assert_uint_eq(config.experts_top, 2);
    ck_assert_uint_eq(config.expert_intermediate, 100);
    ck_assert_uint_eq(config.intermediate, 0);
    ck_assert(config.renormalize);
    config = parse_ok("{\"architectures\":[\"Qwen2MoeForCausalLM\"],\"num_experts\":60,"
                      "\"num_experts_per_tok\":4,\"moe_intermediate_size\":24,"
                      "\"shared_expert_intermediate_size\":48}");
    ck_assert_uint_eq(config.experts, 60);
    ck_assert_uint_eq(config.expert_intermediate, 24);
    ck_assert_uint_eq(config.intermediate, 0);
    ck_assert_uint_eq(config.shared, 48);
    ck_assert(config.qkv_bias && !config.renormalize);
    config =
        parse_ok("{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"num_local_experts\":128,"
                 "\"num_experts_per_tok\":8,\"moe_intermediate_size\":24,\"norm_topk_prob\":true}");
    ck_assert_uint_eq(config.experts, 128);
    ck_assert(config.renormalize && config.shared == 0);
    config = parse_ok("{\"architectures\":[\"SmolLM3ForCausalLM\"],\"num_hidden_layers\":9}");
    ck_assert(config.tied && !config.no_rope[0] && config.no_rope[3] && config.no_rope[7]);
    config =
        parse_ok("{\"architectures\":[\"SmolLM3ForCausalLM\"],\"no_rope_layers\":[0,1,1,0],"
                 "\"tie_word_embeddings\":false,\"use_sliding_window\":true,\"sliding_window\":8}");
    ck_assert(!config.tied && config.no_rope[0] && !config.no_rope[1]);
    ck_assert_uint_eq(config.window[0], 8);
    ck_assert_uint_eq(config.window[1], 0);
    config = parse_ok("{\"architectures\":[\"Olmo2ForCausalLM\"]}");
    ck_assert(config.arch->post_norm && config.arch->qk_norm == ARCH_QK_NORM_WIDE);
    config = parse_ok(
        "{\"architectures\":[\"Phi3ForCausalLM\"],\"sliding_window\":8,\"rms_norm_eps\":null,"
        "\"rope_scaling\":null,\"partial_rotary_factor\":1.0,\"attention_bias\":true}");
    ck_assert(config.arch->fused && !config.qkv_bias && !config.tied);
    ck_assert_float_eq(config.norm_eps, 1e-5f);
    ck_assert_uint_eq(config.window[3], 8);
}
END_TEST

START_TEST(dense_layers_between)
{
    const char *with =
        "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"num_hidden_layers\":6,"
        "\"num_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_size\":24,%s}";
    char text[512];
    snprintf(text, sizeof(text), with, "\"mlp_only_layers\":[0,3,9]");
    struct model_config config = parse_ok(text);
    for (uint32_t i = 0; i < 6; i++)
        ck_assert(config.dense[i] == (i == 0 || i == 3));
    ck_assert_uint_eq(config.intermediate, 100);
    ck_assert_uint_eq(config.expert_intermediate, 24);
    snprintf(text, sizeof(text), with, "\"decoder_sparse_step\":2,\"mlp_only_layers\":[5]");
    config = parse_ok(text);
    for (uint32_t i = 0; i < 6; i++)
        ck_assert(config.dense[i] == (i != 1 && i != 3));
}
END_TEST

#define LONG(more)                                                                                 \
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"head_dim\":8,\"partial_rotary_factor\":0.5," more  \
    "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2],\"long_factor\":[4,8]}}"

/* The list is chosen by how long a req may become; a pair that is not rotated stays as it is. */
START_TEST(longrope)
{
    struct model_config config = parse_ok(LONG("\"original_max_position_embeddings\":64,"));
    double longer = sqrt(1 + log(512.0 / 64) / log(64));
    float table[8 * 8];
    ck_assert_int_eq(config.rope.kind, ROPE_LONG);
    ck_assert_uint_eq(config.rope.rotated, 4);
    for (uint32_t limit = 64; limit <= 65; limit++) {
        config = parse_ok(LONG("\"original_max_position_embeddings\":64,"));
        ck_assert(config.rope.longer);
        model_config_limit(&config, limit);
        ck_assert_uint_eq(config.context, limit);
        ck_assert_int_eq(config.rope.longer, limit > 64);
        rope_table_fill(&config, 8, table);
        for (int i = 0; i < 2; i++) {
            double stretched = (limit > 64 ? 4.0 : 1.0) * (1 + i);
            double angle = 7.0 * pow(10000.0, -i / 2.0) / stretched;
            ck_assert_double_eq_tol(table[7 * 8 + i], longer * cos(angle), 2e-6);
            ck_assert_double_eq_tol(table[7 * 8 + 4 + i], longer * sin(angle), 2e-6);
            ck_assert_float_eq(table[7 * 8 + 2 + i], 1.0f);
            ck_assert_float_eq(table[7 * 8 + 6 + i], 0.0f);
        }
    }
    config = parse_ok(LONG("")); /* 4096 of 512: nothing is longer */
    ck_assert_uint_eq(config.rope.original_context, 4096);
    ck_assert_double_eq(config.rope.attention_factor, 1.0);
    ck_assert(!config.rope.longer);
    model_config_limit(&config, 0);
    ck_assert_uint_eq(config.context, 512);
}
END_TEST

START_TEST(multipliers)
{
    struct model_config config =
        parse_ok("{\"architectures\":[\"GraniteForCausalLM\"],\"embedding_multiplier\":12,"
                 "\"residual_multiplier\":0.5,\"attention_multiplier\":0.015625,"
                 "\"logits_scaling\":8,\"attention_bias\":true,\"sliding_window\":7}");
    ck_assert_float_eq(config.embed_scale, 24);
    ck_assert_float_eq(config.norm_eps, 4e-5f);
    ck_assert_float_eq(config.attention_scale, 0.015625f);
    ck_assert_float_eq(config.logit_scale, 0.125f);
    ck_assert(config.qkv_bias && !config.tied && config.window[0] == 0);
    config = parse_ok("{\"architectures\":[\"GraniteForCausalLM\"]}");
    ck_assert_float_eq(config.attention_scale, 1); /* as the class has it */
    config = parse_ok("{\"embedding_multiplier\":12,\"attention_multiplier\":2}");
    ck_assert_float_eq(config.attention_scale, 0.25f);
    ck_assert(config.embed_scale == 1 && config.logit_scale == 1);
}
END_TEST

START_TEST(rope_table)
{
    struct model_config config = parse_ok("{\"head_dim\":8}");
    float table[16 * 8];
    rope_table_fill(&config, 16, table);
    for (int i = 0; i < 4; i++) {
        ck_assert_float_eq(table[i], 1.0f);
        ck_assert_float_eq(table[4 + i], 0.0f);
        double angle = 15.0 * pow(10000.0, -i / 4.0);
        ck_assert_double_eq_tol(table[15 * 8 + i], cos(angle), 2e-6);
        ck_assert_double_eq_tol(table[15 * 8 + 4 + i], sin(angle), 2e-6);
    }
}
END_TEST

static const struct {
    const char *changes;
    enum status status;
    const char *word;
} refused[] = {
    {"{\"architectures\":null}", STATUS_INVALID, "architectures"},
    {"{\"architectures\":[]}", STATUS_INVALID, "architectures"},
    {"{\"architectures\":[3]}", STATUS_INVALID, "architectures"},
    {"{\"architectures\":[\"GPT2LMHeadModel\"]}", STATUS_UNSUPPORTED, "GPT2LMHeadModel"},
    {"{\"quantization_config\":{\"quant_method\":\"awq\"}}", STATUS_UNSUPPORTED, "quantized"},
    {"{\"hidden_act\":\"gelu\"}", STATUS_UNSUPPORTED, "gelu"},
    {"{\"hidden_size\":null}", STATUS_INVALID, "hidden_size"},
    {"{\"hidden_size\":0}", STATUS_INVALID, "hidden_size"},
    {"{\"hidden_size\":-1}", STATUS_INVALID, "hidden_size"},
    {"{\"hidden_size\":\"96\"}", STATUS_INVALID, "hidden_size"},
    {"{\"hidden_size\":1e30}", STATUS_INVALID, "hidden_size"},
    {"{\"num_hidden_layers\":100000}", STATUS_INVALID, "num_hidden_layers"},
    {"{\"num_attention_heads\":null}", STATUS_INVALID, "num_attention_heads"},
    {"{\"num_key_value_heads\":4}", STATUS_INVALID, "multiple"},
    {"{\"num_key_value_heads\":7}", STATUS_INVALID, "multiple"},
    {"{\"head_dim\":15}", STATUS_INVALID, "head size"},
    {"{\"head_dim\":1024}", STATUS_INVALID, "head_dim"},
    {"{\"hidden_size\":5}", STATUS_INVALID, "head_dim"},
    {"{\"vocab_size\":null}", STATUS_INVALID, "vocab_size"},
    {"{\"vocab_size\":99999999}", STATUS_INVALID, "vocab_size"},
    {"{\"intermediate_size\":99999999}", STATUS_INVALID, "intermediate_size"},
    {"{\"max_position_embeddings\":null}", STATUS_INVALID, "max_position_embeddings"},
    {"{\"rms_norm_eps\":0}", STATUS_INVALID, "rms_norm_eps"},
    {"{\"tie_word_embeddings\":1}", STATUS_INVALID, "tie_word_embeddings"},
    {"{\"rope_theta\":-1}", STATUS_INVALID, "rope_theta"},
    {"{\"rope_scaling\":\"yes\"}", STATUS_INVALID, "rope_scaling"},
    {"{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4}}", STATUS_UNSUPPORTED,
     "longrope"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}",
     STATUS_UNSUPPORTED, "yarn"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"partial_rotary_factor\":0.1}", STATUS_INVALID,
     "partial_rotary_factor"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"head_dim\":8,\"partial_rotary_factor\":0.4}",
     STATUS_INVALID, "3 of a head's 8"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"rope_scaling\":{\"type\":\"longrope\"}}",
     STATUS_INVALID, "short_factor"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"head_dim\":4,\"rope_scaling\":{\"type\":"
     "\"longrope\",\"short_factor\":[1,1],\"long_factor\":[1]}}",
     STATUS_INVALID, "long_factor, a list of 2 numbers"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"head_dim\":4,\"rope_scaling\":{\"type\":"
     "\"longrope\",\"short_factor\":[1,\"1\"],\"long_factor\":[1,1]}}",
     STATUS_INVALID, "short_factor[1]"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"original_max_position_embeddings\":1,"
     "\"rope_scaling\":{\"type\":\"longrope\"}}",
     STATUS_INVALID, "original_max_position_embeddings"},
    {"{\"architectures\":[\"Phi3ForCausalLM\"],\"rope_scaling\":{\"type\":\"longrope\","
     "\"long_mscale\":1.2}}",
     STATUS_UNSUPPORTED, "long_mscale"},
    {"{\"architectures\":[\"GraniteForCausalLM\"],\"residual_multiplier\":0}", STATUS_INVALID,
     "residual_multiplier"},
    {"{\"architectures\":[\"GraniteForCausalLM\"],\"residual_multiplier\":0.003}", STATUS_INVALID,
     "residual_multiplier"},
    {"{\"architectures\":[\"GraniteForCausalLM\"],\"logits_scaling\":\"8\"}", STATUS_INVALID,
     "logits_scaling"},
    {"{\"architectures\":[\"GraniteMoeForCausalLM\"]}", STATUS_UNSUPPORTED, "GraniteMoe"},
    {"{\"rope_scaling\":{\"rope_type\":\"yarn\"}}", STATUS_INVALID, "factor"},
    {"{\"partial_rotary_factor\":0.5}", STATUS_UNSUPPORTED, "partial_rotary_factor"},
    {"{\"architectures\":[\"MixtralForCausalLM\"]}", STATUS_INVALID, "num_local_experts"},
    {"{\"architectures\":[\"MixtralForCausalLM\"],\"num_local_experts\":4}", STATUS_INVALID,
     "num_experts_per_tok"},
    {"{\"architectures\":[\"MixtralForCausalLM\"],\"num_local_experts\":4,\"num_experts_per_tok\":"
     "5}",
     STATUS_INVALID, "num_experts_per_tok"},
    {"{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"num_experts\":4,\"num_experts_per_tok\":2}",
     STATUS_INVALID, "moe_intermediate_size"},
    {"{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"num_experts\":4,\"num_experts_per_tok\":2,"
     "\"moe_intermediate_size\":8,\"mlp_only_layers\":[true]}",
     STATUS_INVALID, "mlp_only_layers"},
    {"{\"architectures\":[\"Qwen2MoeForCausalLM\"],\"num_experts\":4,\"num_experts_per_tok\":2,"
     "\"moe_intermediate_size\":8,\"shared_expert_intermediate_size\":8,\"decoder_sparse_step\":0}",
     STATUS_INVALID, "decoder_sparse_step"},
    {"{\"architectures\":[\"SmolLM3ForCausalLM\"],\"no_rope_layers\":[1,0]}", STATUS_INVALID,
     "no_rope_layers"},
    {"{\"rope_scaling\":{\"rope_type\":\"linear\"}}", STATUS_INVALID, "factor"},
    {"{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}", STATUS_INVALID, "original"},
    {"{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
     "\"high_freq_factor\":1,\"original_max_position_embeddings\":64}}",
     STATUS_INVALID, "below"},
    {"{\"architectures\":[\"Qwen2ForCausalLM\"],\"use_sliding_window\":true,"
     "\"sliding_window\":4,\"layer_types\":[\"full_attention\"]}",
     STATUS_INVALID, "layer_types"},
    {"{\"architectures\":[\"Qwen2ForCausalLM\"],\"use_sliding_window\":true,\"sliding_window\":4,"
     "\"layer_types\":[\"a\",\"b\",\"c\",\"d\"]}",
     STATUS_UNSUPPORTED, "layer_types"},
};

START_TEST(refuses_by_name)
{
    struct model_config config;
    struct err err = {0};
    ck_assert_int_eq(parse(refused[_i].changes, &config, &err), refused[_i].status);
    ck_assert_msg(strstr(err.text, refused[_i].word) != NULL, "case %d says: %s", _i, err.text);
}
END_TEST

START_TEST(refuses_other_json)
{
    struct model_config config;
    struct err err = {0};
    json_t *list = json_array();
    ck_assert_int_eq(model_config_parse(list, &config, &err), STATUS_INVALID);
    json_decref(list);
    ck_assert_int_eq(model_config_load("/nonexistent", &config, &err), STATUS_NOT_FOUND);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arch");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, llama);
    tcase_add_test(tcase, rows_of_the_table);
    tcase_add_test(tcase, rope_forms);
    tcase_add_test(tcase, experts_and_others);
    tcase_add_test(tcase, dense_layers_between);
    tcase_add_test(tcase, rope_table);
    tcase_add_test(tcase, longrope);
    tcase_add_test(tcase, multipliers);
    tcase_add_loop_test(tcase, refuses_by_name, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(tcase, refuses_other_json);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
