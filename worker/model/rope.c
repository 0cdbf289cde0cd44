/* rope - rotary frequencies: what config.json says of them, and the table of cosines and sines. */
#include "worker/model/arch.h"

#include <math.h>
#include <string.h>

#define CONTEXT_MAX (1 << 24)

static enum status parse_llama3(const json_t *json, struct rope_config *rope, struct err *err)
{
    TRY(json_get_number(json, "low_freq_factor", 1e-3, 1e6, &rope->low_factor, err));
    TRY(json_get_number(json, "high_freq_factor", 1e-3, 1e6, &rope->high_factor, err));
    if (rope->original_context == 0)
        return err_set(err, STATUS_INVALID, "original_max_position_embeddings is missing");
    if (rope->low_factor == 0 || rope->high_factor <= rope->low_factor)
        return err_set(err, STATUS_INVALID,
                       "rope scaling llama3 needs low_freq_factor below high_freq_factor");
    return STATUS_OK;
}

static double yarn_length(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static enum status parse_yarn(const json_t *json, struct rope_config *rope, struct err *err)
{
    double mscale = 0, all_dim = 0;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    rope->truncate = true;
    rope->attention_factor = 0;
    TRY(json_get_number(json, "beta_fast", 1e-6, 1e6, &rope->beta_fast, err));
    TRY(json_get_number(json, "beta_slow", 1e-6, 1e6, &rope->beta_slow, err));
    TRY(json_get_number(json, "attention_factor", 0, 1e6, &rope->attention_factor, err));
    TRY(json_get_number(json, "mscale", 0, 1e6, &mscale, err));
    TRY(json_get_number(json, "mscale_all_dim", 0, 1e6, &all_dim, err));
    TRY(json_get_bool(json, "truncate", &rope->truncate, err));
    if (rope->attention_factor == 0)
        rope->attention_factor =
            mscale != 0 && all_dim != 0
                ? yarn_length(rope->factor, mscale) / yarn_length(rope->factor, all_dim)
                : yarn_length(rope->factor, 1);
    return STATUS_OK;
}

/* A list of one number above 0 for each pair that is rotated. */
static enum status parse_factors(const json_t *json, const char *key, uint32_t count, float *out,
                                 struct err *err)
{
    const json_t *list = json_object_get(json, key);
    if (!json_is_array(list) || json_array_size(list) != count)
        return err_set(err, STATUS_INVALID,
                       "rope scaling longrope needs %s, a list of %u numbers: one a rotated pair",
                       key, count);
    for (uint32_t i = 0; i < count; i++) {
        double value = json_number_value(json_array_get(list, i)); /* 0 for what is no number */
        if (!(value >= 1e-6 && value <= 1e6))
            return err_set(err, STATUS_INVALID, "%s[%u] is not a number from 1e-6 to 1e6", key, i);
        out[i] = (float)value;
    }
    return STATUS_OK;
}

/* LongRoPE (Ding et al. 2024) as Phi-3 has it: each pair's wave is stretched by a factor of its own, from one
 * of two lists; the original context stands beside, not in, the rest. */
static enum status parse_longrope(const json_t *root, const json_t *json, const char *type,
                                  struct model_config *config, struct err *err)
{
    struct rope_config *rope = &config->rope;
    int64_t original = config->arch->longrope;
    if (strcmp(type, "longrope") != 0 && strcmp(type, "su") != 0) /* its name at first */
        return err_set(err, STATUS_UNSUPPORTED, "rope scaling %.40s is not one that we run in %s",
                       type, config->arch->name);
    if (json_object_get(json, "short_mscale") != NULL ||
        json_object_get(json, "long_mscale") != NULL)
        return err_set(err, STATUS_UNSUPPORTED,
                       "short_mscale and long_mscale are not parts of longrope that we run");
    rope->kind = ROPE_LONG;
    TRY(json_get_int(root, "original_max_position_embeddings", 2, CONTEXT_MAX, &original, err));
    rope->original_context = (uint32_t)original;
    rope->factor = (double)config->context / (double)original;
    rope->attention_factor = 0;
    TRY(json_get_number(json, "factor", 1e-6, 1e6, &rope->factor, err));
    TRY(json_get_number(json, "attention_factor", 0, 1e6, &rope->attention_factor, err));
    if (rope->attention_factor == 0)
        rope->attention_factor =
            rope->factor <= 1 ? 1.0 : sqrt(1 + log(rope->factor) / log((double)original));
    TRY(parse_factors(json, "short_factor", rope->rotated / 2, rope->short_factor, err));
    return parse_factors(json, "long_factor", rope->rotated / 2, rope->long_factor, err);
}

static enum status parse_part(struct model_config *config, double part, struct err *err)
{
    config->rope.rotated = (uint32_t)(config->head_dim * part);
    if (part != 1 && !config->arch->partial_rope)
        return err_set(err, STATUS_UNSUPPORTED,
                       "a partial_rotary_factor of %g is not one that we run", part);
    if (config->rope.rotated < 2 || config->rope.rotated % 2 != 0)
        return err_set(err, STATUS_INVALID,
                       "a partial_rotary_factor of %g rotates %u of a head's %u numbers, not pairs",
                       part, config->rope.rotated, config->head_dim);
    return STATUS_OK;
}

static enum status parse_scaling(const json_t *json, const char *type, struct model_config *config,
                                 struct err *err)
{
    struct rope_config *rope = &config->rope;
    int64_t original = 0;
    bool yarn = strcmp(type, "yarn") == 0, llama3 = strcmp(type, "llama3") == 0;
    /* Dynamic scaling begins behind max_position_embeddings, which is where we end. */
    if (strcmp(type, "default") == 0 || strcmp(type, "dynamic") == 0)
        return STATUS_OK;
    if (!llama3 && !yarn && strcmp(type, "linear") != 0)
        return err_set(err, STATUS_UNSUPPORTED, "rope scaling %.40s is not one that we run", type);
    rope->kind = llama3 ? ROPE_LLAMA3 : yarn ? ROPE_YARN : ROPE_LINEAR;
    rope->factor = 0;
    TRY(json_get_number(json, "factor", 1.0, 1e6, &rope->factor, err));
    TRY(json_get_int(json, "original_max_position_embeddings", 1, CONTEXT_MAX, &original, err));
    rope->original_context = (uint32_t)(original || !yarn ? original : config->context);
    if (rope->factor == 0 && yarn && original) /* as far as the context was stretched */
        rope->factor = (double)config->context / (double)original;
    if (rope->factor == 0)
        return err_set(err, STATUS_INVALID, "rope scaling %s has no factor", type);
    if (yarn)
        return parse_yarn(json, rope, err);
    return llama3 ? parse_llama3(json, rope, err) : STATUS_OK;
}

enum status rope_config_parse(const json_t *root, struct model_config *config, struct err *err)
{
    struct rope_config *rope = &config->rope;
    double part = 1;
    *rope = (struct rope_config){
        .kind = ROPE_PLAIN, .theta = 10000.0, .factor = 1.0, .attention_factor = 1.0};
    TRY(json_get_number(root, "rope_theta", 1.0, 1e12, &rope->theta, err));
    TRY(json_get_number(root, "partial_rotary_factor", 0, 1, &part, err));

    /* Newer folders keep all of it in rope_parameters, older ones the scaling in rope_scaling. */
    const json_t *scaling = json_object_get(root, "rope_parameters");
    if (scaling == NULL || json_is_null(scaling))
        scaling = json_object_get(root, "rope_scaling");
    if (scaling != NULL && !json_is_null(scaling) && !json_is_object(scaling))
        return err_set(err, STATUS_INVALID, "rope_scaling is %s, not an object",
                       json_type_name(scaling));
    const char *type = "default";
    TRY(json_get_string(scaling, "type", &type, err));
    TRY(json_get_string(scaling, "rope_type", &type, err));
    TRY(json_get_number(scaling, "rope_theta", 1.0, 1e12, &rope->theta, err));
    TRY(json_get_number(scaling, "partial_rotary_factor", 0, 1, &part, err));
    TRY(parse_part(config, part, err));
    if (config->arch->longrope && strcmp(type, "default") != 0)
        TRY(parse_longrope(root, scaling, type, config, err));
    else
        TRY(parse_scaling(scaling, type, config, err));
    model_config_limit(config, 0);
    return STATUS_OK;
}

void model_config_limit(struct model_config *config, uint32_t context)
{
    if (context != 0)
        config->context = MIN(config->context, context);
    config->rope.longer =
        config->rope.kind == ROPE_LONG && config->context > config->rope.original_context;
}

/* Llama 3.1: wave lengths beyond the original context are stretched, short ones are not. */
static double llama3_frequency(const struct rope_config *rope, double freq)
{
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

/* The pair of dimensions that turns so often over the original context. */
static double yarn_dimension(const struct rope_config *rope, double rotations, uint32_t head_dim)
{
    return head_dim * log(rope->original_context / (rotations * 2.0 * M_PI)) /
           (2.0 * log(rope->theta));
}

/* YaRN (Peng et al. 2023): as llama3, the blend is a ramp over the pairs. */
static double yarn_frequency(const struct rope_config *rope, double freq, uint32_t i,
                             uint32_t head_dim)
{
    double low = yarn_dimension(rope, rope->beta_fast, head_dim);
    double high = yarn_dimension(rope, rope->beta_slow, head_dim);
    if (rope->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, head_dim - 1.0);
    if (low == high)
        high += 0.001;
    double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
    return freq / rope->factor * ramp + freq * (1.0 - ramp);
}

static double inverse_frequency(const struct model_config *config, uint32_t i)
{
    const struct rope_config *rope = &config->rope;
    double freq = 1.0 / pow(rope->theta, 2.0 * i / rope->rotated);
    switch (rope->kind) {
    case ROPE_LINEAR:
        return freq / rope->factor;
    case ROPE_LLAMA3:
        return llama3_frequency(rope, freq);
    case ROPE_YARN:
        return yarn_frequency(rope, freq, i, rope->rotated);
    case ROPE_LONG:
        return freq / (double)(rope->longer ? rope->long_factor : rope->short_factor)[i];
    case ROPE_PLAIN:
        break;
    }
    return freq;
}

void rope_table_fill(const struct model_config *config, uint32_t positions, float *table)
{
    uint32_t half = config->head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        /* The reference rounds the frequency and the angle to f32; so do we. */
        bool turns = i < config->rope.rotated / 2;
        float freq = turns ? (float)inverse_frequency(config, i) : 0.0f;
        float length = turns ? (float)config->rope.attention_factor : 1.0f;
        for (uint32_t pos = 0; pos < positions; pos++) {
            float angle = (float)pos * freq;
            float *row = table + (size_t)pos * config->head_dim;
            row[i] = cosf(angle) * length;
            row[half + i] = sinf(angle) * length;
        }
    }
}
