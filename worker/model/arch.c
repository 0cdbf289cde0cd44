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
     .qk_norm = true,
     .window = ARCH_WINDOW_OPTED,
     .head_dim = 128},
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
    double eps = 1e-6;
    TRY(json_get_number(root, "rms_norm_eps", 1e-12, 1e-1, &eps, err));
    config->norm_eps = (float)eps;
    return STATUS_OK;
}

static enum status parse_flags(const json_t *root, struct model_config *config, struct err *err)
{
    bool attention_bias = false, mlp_bias = false;
    TRY(json_get_bool(root, "tie_word_embeddings", &config->tied, err));
    if (config->arch->bias_keys) {
        TRY(json_get_bool(root, "attention_bias", &attention_bias, err));
        TRY(json_get_bool(root, "mlp_bias", &mlp_bias, err));
    }
    config->qkv_bias = attention_bias || config->arch->qkv_bias;
    config->o_bias = attention_bias;
    config->mlp_bias = mlp_bias && !config->arch->qk_norm; /* Qwen3 has no such key */
    config->qk_norm = config->arch->qk_norm;
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
        bool windowed = (int64_t)i >= first;
        if (listed) {
            const char *type = json_string_value(json_array_get(types, i));
            windowed = type != NULL && strcmp(type, "sliding_attention") == 0;
            if (!windowed && (type == NULL || strcmp(type, "full_attention") != 0))
                return err_set(err, STATUS_UNSUPPORTED, "layer_types[%u] is not one that we run", i);
        }
        config->window[i] = windowed ? (uint32_t)window : 0;
    }
    return STATUS_OK;
}

static enum status parse_rope(const json_t *root, struct model_config *config, struct err *err)
{
    struct rope_config *rope = &config->rope;
    *rope = (struct rope_config){.kind = ROPE_PLAIN, .theta = 10000.0, .factor = 1.0};
    TRY(json_get_number(root, "rope_theta", 1.0, 1e12, &rope->theta, err));

    /* Newer folders keep all of it in rope_parameters, older ones the scaling in rope_scaling. */
    const json_t *scaling = json_object_get(root, "rope_parameters");
    if (scaling == NULL || json_is_null(scaling))
        scaling = json_object_get(root, "rope_scaling");
    if (scaling == NULL || json_is_null(scaling))
        return STATUS_OK;
    if (!json_is_object(scaling))
        return err_set(err, STATUS_INVALID, "rope_scaling is %s, not an object",
                       json_type_name(scaling));
    const char *type = "default";
    TRY(json_get_string(scaling, "type", &type, err));
    TRY(json_get_string(scaling, "rope_type", &type, err));
    TRY(json_get_number(scaling, "rope_theta", 1.0, 1e12, &rope->theta, err));
    if (strcmp(type, "default") == 0)
        return STATUS_OK;
    bool llama3 = strcmp(type, "llama3") == 0;
    if (!llama3 && strcmp(type, "linear") != 0)
        return err_set(err, STATUS_UNSUPPORTED, "rope scaling %.40s is not one that we run", type);

    rope->kind = llama3 ? ROPE_LLAMA3 : ROPE_LINEAR;
    rope->factor = 0;
    TRY(json_get_number(scaling, "factor", 1.0, 1e6, &rope->factor, err));
    if (rope->factor == 0)
        return err_set(err, STATUS_INVALID, "rope scaling %s has no factor", type);
    if (!llama3)
        return STATUS_OK;
    TRY(json_get_number(scaling, "low_freq_factor", 1e-3, 1e6, &rope->low_factor, err));
    TRY(json_get_number(scaling, "high_freq_factor", 1e-3, 1e6, &rope->high_factor, err));
    TRY(get_count(scaling, "original_max_position_embeddings", 1 << 24, &rope->original_context,
                  err));
    if (rope->low_factor == 0 || rope->high_factor <= rope->low_factor)
        return err_set(err, STATUS_INVALID,
                       "rope scaling llama3 needs low_freq_factor below high_freq_factor");
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
    TRY(parse_window(root, out, err));
    return parse_rope(root, out, err);
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

/* Inverse frequency of pair i, in f32 steps as the reference code computes it. */
static double inverse_frequency(const struct model_config *config, uint32_t i)
{
    const struct rope_config *rope = &config->rope;
    double freq = 1.0 / pow(rope->theta, 2.0 * i / config->head_dim);
    if (rope->kind == ROPE_LINEAR)
        return freq / rope->factor;
    if (rope->kind == ROPE_PLAIN)
        return freq;
    double wavelength = 2.0 * M_PI / freq;
    double low = rope->original_context / rope->low_factor;
    double high = rope->original_context / rope->high_factor;
    if (wavelength < high)
        return freq;
    if (wavelength > low)
        return freq / rope->factor;
    double smooth = (rope->original_context / wavelength - rope->low_factor) /
                    (rope->high_factor - rope->low_factor);
    return (1.0 - smooth) * freq / rope->factor + smooth * freq;
}

void rope_table_fill(const struct model_config *config, uint32_t positions, float *table)
{
    uint32_t half = config->head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        /* The reference rounds the frequency and the angle to f32; so do we. */
        float freq = (float)inverse_frequency(config, i);
        for (uint32_t pos = 0; pos < positions; pos++) {
            float angle = (float)pos * freq;
            float *row = table + (size_t)pos * config->head_dim;
            row[i] = cosf(angle);
            row[half + i] = sinf(angle);
        }
    }
}
