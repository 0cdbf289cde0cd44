/* arch - which models we run, and what config.json says about one.
 *
 * An architecture of the Llama family is one row of the table in arch.c: its name in config.json
 * and the few things in which it differs. The forward (decoder.c) reads only struct model_config.
 */
#ifndef MSGL_WORKER_MODEL_ARCH_H
#define MSGL_WORKER_MODEL_ARCH_H

#include "common/json.h"

#define MODEL_LAYERS_MAX   512
#define MODEL_HEAD_DIM_MAX 256
#define MODEL_EXPERTS_MAX  1024

/* What config.json may or need not say in an architecture. */
enum arch_window {
    ARCH_WINDOW_NONE,   /* no such thing: a sliding_window key is ignored */
    ARCH_WINDOW_ALWAYS, /* sliding_window, when given, holds for every layer */
    ARCH_WINDOW_OPTED,  /* only with use_sliding_window, from layer max_window_layers on */
};

enum arch_qk_norm {
    ARCH_QK_NORM_NONE,
    ARCH_QK_NORM_HEAD, /* each q and k head is normed before the rotary embedding */
    ARCH_QK_NORM_WIDE, /* all q heads together are, and all k heads */
};

enum arch_moe { /* whose names and keys the experts have */
                ARCH_MOE_NONE,
                ARCH_MOE_MIXTRAL,
                ARCH_MOE_QWEN,
};

struct arch {
    const char *name; /* architectures[0] */
    bool tied;        /* the head is the embedding unless config.json says otherwise */
    bool qkv_bias;    /* q, k and v always have a bias (o has none) */
    bool bias_keys;   /* attention_bias and mlp_bias are read */
    bool post_norm;   /* norms stand behind attention and MLP, not in front */
    bool fused; /* q, k, v lie in one tensor qkv_proj, gate and up in gate_up_proj; no biases */
    bool partial_rope; /* partial_rotary_factor: only the first numbers of a head are rotated */
    bool multipliers;  /* embedding_, attention_, residual_multiplier and logits_scaling are read */
    bool no_rope;      /* no_rope_layers, no_rope_layer_interval: layers without rotation */
    bool shared_expert; /* beside the routed experts, gated by a sigmoid */
    enum arch_qk_norm qk_norm;
    enum arch_moe moe;
    enum arch_window window;
    uint32_t longrope; /* the one rope scaling, of this original context by default; 0 = others */
    uint32_t head_dim; /* when config.json has no head_dim; 0 = hidden / heads */
    double norm_eps;   /* when it has no rms_norm_eps; 0 = 1e-6 */
};

const struct arch *arch_find(const char *name); /* NULL when there is no such row */

enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONG };

struct rope_config {
    enum rope_kind kind;
    double theta;
    double factor;                  /* LINEAR, LLAMA3, YARN */
    double low_factor, high_factor; /* LLAMA3: between original/low and original/high we blend */
    uint32_t original_context;      /* LLAMA3, YARN, LONG */
    uint32_t rotated; /* of a head's numbers, the first ones: all head_dim unless partial */
    double beta_fast,
        beta_slow;           /* YARN: rotations over the original context, between which we blend */
    double attention_factor; /* YARN, LONG: cosines and sines are longer by this; else 1 */
    bool truncate;           /* YARN: the borders of the blend are whole dimensions */
    bool longer; /* LONG: long_factor holds, as contexts beyond original_context are served */
    float short_factor[MODEL_HEAD_DIM_MAX / 2], long_factor[MODEL_HEAD_DIM_MAX / 2]; /* LONG */
};

struct model_config {
    const struct arch *arch;
    uint32_t hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, context;
    float norm_eps;
    float embed_scale;     /* of the embedding's rows; 1 without multipliers */
    float attention_scale; /* of scores: 1 / sqrt(head_dim) unless config.json says it */
    float logit_scale;     /* of logits; 1 without multipliers */
    struct rope_config rope;
    bool tied; /* the head is the embedding */
    bool qkv_bias, o_bias, mlp_bias;
    uint32_t experts, experts_top; /* 0: no mixture */
    /* of each expert; `intermediate` is then the dense layers', or 0 */
    uint32_t expert_intermediate;
    uint32_t shared;              /* intermediate size of the shared expert; 0: there is none */
    bool renormalize;             /* the chosen experts' probabilities are made to sum to 1 */
    bool dense[MODEL_LAYERS_MAX]; /* of a mixture: layers with a plain MLP */
    bool no_rope[MODEL_LAYERS_MAX];
    uint32_t window[MODEL_LAYERS_MAX]; /* of each layer, in tokens; 0 = full attention */
};

/* Every field is bounded, so that no product of two or three of them overflows 64 bits.
 * UNSUPPORTED names what we do not run; INVALID names the field that is wrong. */
enum status MUST_USE model_config_parse(const json_t *root, struct model_config *out,
                                        struct err *err);
enum status MUST_USE model_config_load(const char *dir, struct model_config *out, struct err *err);

/* No req becomes longer than `context` tokens (0: than the model allows). LongRoPE's factors are chosen by
 * this, for all reqs: docs/decisions/0020. */
void model_config_limit(struct model_config *config, uint32_t context);

/* rope.c: reads rope_theta, rope_scaling or rope_parameters into config->rope. */
enum status MUST_USE rope_config_parse(const json_t *root, struct model_config *config,
                                       struct err *err);

/* table [positions][head_dim]: head_dim/2 cosines, then as many sines. Inverse frequencies as
 * Su et al. 2021, with Llama 3.1's, YaRN's or LongRoPE's stretching of the long wave lengths. Pairs that
 * are not rotated, behind the others, have ones and zeroes (weights.c orders a head's numbers so). */
void rope_table_fill(const struct model_config *config, uint32_t positions, float *table);

#endif
