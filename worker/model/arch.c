/* arch - the table of architectures, and config.json read with bounds. */
#include "worker/model/arch.h"

#include "common/file.h"
#include "common/mem.h"

#include <math.h>
#include <string.h>

#define CONFIG_BYTES_MAX (4u << 20)

static const struct arch archs[] = {
    {.name = "LlamaForCausalLM", .bias_keys = true},
    {.name = "MistralForCausalLM", .window = ARCH_WINDOW_ALWAYS},
    {.name = "Qwen2ForCausalLM", .qkv_bias = true, .window = ARCH_WINDOW_OPTED},
    {.name = "Qwen3ForCausalLM",
     .bias_keys = true,
     .qk_norm = ARCH_QK_NORM_HEAD,
     .window = ARCH_WINDOW_OPTED,
     .head_dim = 128},
    {.name = "MixtralForCausalLM", .moe = ARCH_MOE_MIXTRAL, .window = ARCH_WINDOW_ALWAYS},
    {.name = "Qwen2MoeForCausalLM",
     .qkv_bias = true,
     .moe = ARCH_MOE_QWEN,
     .shared_expert = true,
     .window = ARCH_WINDOW_OPTED},
    {.name = "Qwen3MoeForCausalLM",
     .bias_keys = true,
     .qk_norm = ARCH_QK_NORM_HEAD,
     .moe = ARCH_MOE_QWEN,
     .window = ARCH_WINDOW_OPTED},
    {.name = "SmolLM3ForCausalLM",
     .tied = true,
     .bias_keys = true,
     .no_rope = true,
     .window = ARCH_WINDOW_OPTED},
    {.name = "Olmo2ForCausalLM",
     .bias_keys = true,
     .post_norm = true,
     .qk_norm = ARCH_QK_NORM_WIDE},
    {.name = "Phi3ForCausalLM",
     .fused = true,
     .partial_rope = true,
     .longrope = 4096,
     .window = ARCH_WINDOW_ALWAYS,
     .norm_eps = 1e-5},
    {.name = "GraniteForCausalLM", .bias_keys = true, .multipliers = true},
};

const struct arch *arch_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strcmp(archs[i].name, name) == 0)
            return &archs[i];
    return NULL;
}

/* A count that must be there unless *out already holds a default. */
static enum status get_count(const json_t *root, const char *key, int64_t max, uint32_t *out,
                             struct err *err)
{
    int64_t value = *out;
    TRY(json_get_int(root, key, 1, max, &value, err));
    if (value == 0)
        return err_set(err, STATUS_INVALID, "%s is missing", key);
    *out = (uint32_t)value;
    return STATUS_OK;
}

static enum status parse_arch(const json_t *root, struct model_config *config, struct err *err)
{
    const json_t *names = json_object_get(root, "architectures");
    const char *name = json_string_value(json_array_get(names, 0));
    if (name == NULL)
        return err_set(err, STATUS_INVALID, "architectures names no model class");
    config->arch = arch_find(name);
    if (config->arch == NULL)
        return err_set(err, STATUS_UNSUPPORTED, "architecture %.80s is not one that we run", name);

    const json_t *quant = json_object_get(root, "quantization_config");
    if (quant != NULL && !json_is_null(quant))
        return err_set(err, STATUS_UNSUPPORTED,
                       "the weights are quantized (quantization_config); we run bf16, f16 and f32");
    const char *act = "silu";
    TRY(json_get_string(root, "hidden_act", &act, err));
    if (strcmp(act, "silu") != 0)
        return err_set(err, STATUS_UNSUPPORTED, "hidden_act %.40s is not one that we run", act);
    return STATUS_OK;
}

static enum status parse_shape(const json_t *root, struct model_config *config, struct err *err)
{
    TRY(get_count(root, "hidden_size", 1 << 17, &config->hidden, err));
    TRY(get_count(root, "num_hidden_layers", MODEL_LAYERS_MAX, &config->layers, err));
    TRY(get_count(root, "num_attention_heads", 1024, &config->heads, err));
    config->kv_heads = config->heads;
    TRY(get_count(root, "num_key_value_heads", 1024, &config->kv_heads, err));
    TRY(get_count(root, "intermediate_size", 1 << 20, &config->intermediate, err));
    TRY(get_count(root, "vocab_size", 1 << 22, &config->vocab, err));
    TRY(get_count(root, "max_position_embeddings", 1 << 24, &config->context, err));
    config->head_dim = config->arch->head_dim;
    if (config->head_dim == 0)
        config->head_dim = config->hidden / config->heads;
    TRY(get_count(root, "head_dim", MODEL_HEAD_DIM_MAX, &config->head_dim, err));

    if (config->heads % config->kv_heads != 0)
        return err_set(err, STATUS_INVALID,
                       "num_attention_heads (%u) is not a multiple of num_key_value_heads (%u)",
                       config->heads, config->kv_heads);
    if (config->head_dim % 2 != 0 || config->head_dim > MODEL_HEAD_DIM_MAX)
        return err_set(err, STATUS_INVALID, "a head size of %u is not even and at most %d",
                       config->head_dim, MODEL_HEAD_DIM_MAX);
    double eps = config->arch->norm_eps > 0 ? config->arch->norm_eps : 1e-6;
    TRY(json_get_number(root, "rms_norm_eps", 1e-12, 1e-1, &eps, err));
    config->norm_eps = (float)eps;
    return STATUS_OK;
}

static enum status parse_flags(const json_t *root, struct model_config *config, struct err *err)
{
    bool attention_bias = false, mlp_bias = false;
    config->tied = config->arch->tied;
    TRY(json_get_bool(root, "tie_word_embeddings", &config->tied, err));
    if (config->arch->bias_keys) {
        TRY(json_get_bool(root, "attention_bias", &attention_bias, err));
        TRY(json_get_bool(root, "mlp_bias", &mlp_bias, err));
    }
    config->qkv_bias = attention_bias || config->arch->qkv_bias;
    config->o_bias = attention_bias;
    /* neither Qwen3 nor OLMo 2 has such a key */
    config->mlp_bias = mlp_bias && !config->arch->qk_norm;
    return STATUS_OK;
}

/* The residual stream is kept divided by residual_multiplier r: what attention and MLP give is then added as
 * it is, and a norm of x / r with eps / r^2 is that of x with eps. The embedding alone is scaled. */
static enum status parse_multipliers(const json_t *root, struct model_config *config,
                                     struct err *err)
{
    double embedding = 1, residual = 1, attention = 1, logits = 1;
    config->embed_scale = config->logit_scale = 1;
    config->attention_scale = 1.0f / sqrtf((float)config->head_dim);
    if (!config->arch->multipliers)
        return STATUS_OK;
    TRY(json_get_number(root, "embedding_multiplier", 1e-6, 1e6, &embedding, err));
    TRY(json_get_number(root, "residual_multiplier", 1e-3, 1e3, &residual, err));
    TRY(json_get_number(root, "attention_multiplier", 1e-6, 1e6, &attention, err));
    TRY(json_get_number(root, "logits_scaling", 1e-6, 1e6, &logits, err));
    config->embed_scale = (float)(embedding / residual);
    config->attention_scale = (float)attention;
    config->logit_scale = (float)(1 / logits);
    config->norm_eps = (float)((double)config->norm_eps / (residual * residual));
    if (config->norm_eps >= 1)
        return err_set(err, STATUS_INVALID,
                       "a residual_multiplier of %g is too small beside rms_norm_eps", residual);
    return STATUS_OK;
}

/* Layers without experts: those that mlp_only_layers lists, and all but every decoder_sparse_step-th. */
static enum status parse_dense_layers(const json_t *root, struct model_config *config,
                                      struct err *err)
{
    const json_t *list = json_object_get(root, "mlp_only_layers");
    int64_t step = 1;
    bool any = false;
    TRY(json_get_int(root, "decoder_sparse_step", 1, INT32_MAX, &step, err));
    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return err_set(err, STATUS_INVALID, "mlp_only_layers is %s, not an array",
                       json_type_name(list));
    for (uint32_t i = 0; i < config->layers; i++)
        config->dense[i] = (i + 1) % step != 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *layer = json_array_get(list, i);
        if (!json_is_integer(layer))
            return err_set(err, STATUS_INVALID, "mlp_only_layers[%zu] is %s, not an integer", i,
                           json_type_name(layer));
        json_int_t idx = json_integer_value(layer);
        if (idx >= 0 && idx < config->layers) /* others name no layer, there as here */
            config->dense[idx] = true;
    }
    for (uint32_t i = 0; i < config->layers; i++)
        any |= config->dense[i];
    config->intermediate = any ? config->intermediate : 0;
    return STATUS_OK;
}

static enum status parse_experts(const json_t *root, struct model_config *config, struct err *err)
{
    bool mixtral = config->arch->moe == ARCH_MOE_MIXTRAL;
    int64_t local = 0;
    if (config->arch->moe == ARCH_MOE_NONE)
        return STATUS_OK;
    TRY(json_get_int(root, "num_local_experts", 1, MODEL_EXPERTS_MAX, &local, err));
    config->experts = (uint32_t)local; /* Qwen's files have the other name, newer ones this */
    TRY(get_count(root, mixtral ? "num_local_experts" : "num_experts", MODEL_EXPERTS_MAX,
                  &config->experts, err));
    TRY(get_count(root, "num_experts_per_tok", MODEL_EXPERTS_MAX, &config->experts_top, err));
    if (config->experts_top > config->experts)
        return err_set(err, STATUS_INVALID, "num_experts_per_tok (%u) is above the %u experts",
                       config->experts_top, config->experts);
    config->renormalize = mixtral;
    if (mixtral) {
        config->expert_intermediate = config->intermediate;
        config->intermediate = 0;
        return STATUS_OK;
    }
    TRY(get_count(root, "moe_intermediate_size", 1 << 20, &config->expert_intermediate, err));
    TRY(json_get_bool(root, "norm_topk_prob", &config->renormalize, err));
    if (config->arch->shared_expert)
        TRY(get_count(root, "shared_expert_intermediate_size", 1 << 20, &config->shared, err));
    return parse_dense_layers(root, config, err);
}

/* Layers without rotation: a list of ones (with) and zeroes, or every so many-th. */
static enum status parse_no_rope(const json_t *root, struct model_config *config, struct err *err)
{
    const json_t *list = json_object_get(root, "no_rope_layers");
    int64_t interval = 4;
    if (!config->arch->no_rope)
        return STATUS_OK;
    TRY(json_get_int(root, "no_rope_layer_interval", 1, INT32_MAX, &interval, err));
    if (json_is_array(list) && json_array_size(list) != config->layers)
        return err_set(err, STATUS_INVALID, "no_rope_layers has %zu entries for %u layers",
                       json_array_size(list), config->layers);
    for (uint32_t i = 0; i < config->layers; i++)
        config->no_rope[i] = json_is_array(list) ? json_integer_value(json_array_get(list, i)) == 0
                                                 : (i + 1) % interval == 0;
    return STATUS_OK;
}

/* Windows of the layers: layer_types says it per layer; else the architecture's rule. */
static enum status parse_window(const json_t *root, struct model_config *config, struct err *err)
{
    int64_t window = 0, first = 0;
    bool used = config->arch->window == ARCH_WINDOW_ALWAYS;
    TRY(json_get_int(root, "sliding_window", 0, INT32_MAX, &window, err));
    if (config->arch->window == ARCH_WINDOW_OPTED) {
        first = 28; /* both Qwen configurations' default */
        TRY(json_get_bool(root, "use_sliding_window", &used, err));
        TRY(json_get_int(root, "max_window_layers", 0, INT32_MAX, &first, err));
    }
    if (!used || window == 0)
        return STATUS_OK;

    const json_t *types = json_object_get(root, "layer_types");
    bool listed = json_is_array(types) && config->arch->window == ARCH_WINDOW_OPTED;
    if (listed && json_array_size(types) != config->layers)
        return err_set(err, STATUS_INVALID, "layer_types has %zu entries for %u layers",
                       json_array_size(types), config->layers);
    for (uint32_t i = 0; i < config->layers; i++) {
        bool windowed = config->arch->no_rope ? config->no_rope[i] : (int64_t)i >= first;
        if (listed) {
            const char *type = json_string_value(json_array_get(types, i));
            windowed = type != NULL && strcmp(type, "sliding_attention") == 0;
            if (!windowed && (type == NULL || strcmp(type, "full_attention") != 0))
                return err_set(err, STATUS_UNSUPPORTED, "layer_types[%u] is not one that we run",
                               i);
        }
        config->window[i] = windowed ? (uint32_t)window : 0;
    }
    return STATUS_OK;
}

enum status model_config_parse(const json_t *root, struct model_config *out, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, STATUS_INVALID, "it is %s, not an object", json_type_name(root));
    *out = (struct model_config){0};
    TRY(parse_arch(root, out, err));
    TRY(parse_shape(root, out, err));
    TRY(parse_flags(root, out, err));
    TRY(parse_multipliers(root, out, err));
    TRY(parse_experts(root, out, err));
    TRY(parse_no_rope(root, out, err));
    TRY(parse_window(root, out, err));
    return rope_config_parse(root, out, err);
}

enum status model_config_load(const char *dir, struct model_config *out, struct err *err)
{
    json_t *root = NULL;
    char *path = path_join(dir, "config.json");
    enum status status = json_parse_file(path, CONFIG_BYTES_MAX, &root, err);
    if (status == STATUS_OK) {
        status = model_config_parse(root, out, err);
        if (status != STATUS_OK)
            status = err_prefix(err, status, "%s", path);
    }
    json_decref(root);
    mem_free(path);
    return status;
}
