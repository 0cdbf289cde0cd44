/* arch - which models we run, and what config.json says about one.
 *
 * An architecture of the Llama family is one row of the table in arch.c: its name in config.json
 * and the few things in which it differs. The forward (decoder.c) reads only struct model_config.
 * docs/ADDING_A_MODEL.md is the guide to a new row.
 */
#ifndef MSGL_WORKER_MODEL_ARCH_H
#define MSGL_WORKER_MODEL_ARCH_H

#include "common/json.h"

#define MODEL_LAYERS_MAX 512
#define MODEL_HEAD_DIM_MAX 256

/* What config.json may or need not say in an architecture. */
enum arch_window {
    ARCH_WINDOW_NONE,   /* no such thing: a sliding_window key is ignored */
    ARCH_WINDOW_ALWAYS, /* sliding_window, when given, holds for every layer */
    ARCH_WINDOW_OPTED,  /* only with use_sliding_window, from layer max_window_layers on */
};

struct arch {
    const char *name;   /* architectures[0] */
    bool qkv_bias;      /* q, k and v always have a bias (o has none) */
    bool bias_keys;     /* attention_bias and mlp_bias are read */
    bool qk_norm;       /* q and k heads are normed before the rotary embedding */
    enum arch_window window;
    uint32_t head_dim; /* when config.json has no head_dim; 0 = hidden / heads */
};

const struct arch *arch_find(const char *name); /* NULL when there is no such row */

enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 };

struct rope_config {
    enum rope_kind kind;
    double theta;
    double factor;                /* LINEAR, LLAMA3 */
    double low_factor, high_factor; /* LLAMA3: between original/low and original/high we blend */
    uint32_t original_context;    /* LLAMA3 */
};

struct model_config {
    const struct arch *arch;
    uint32_t hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, context;
    float norm_eps;
    struct rope_config rope;
    bool tied; /* the head is the embedding */
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
    uint32_t window[MODEL_LAYERS_MAX]; /* of each layer, in tokens; 0 = full attention */
};

/* Every field is bounded, so that no product of two or three of them overflows 64 bits.
 * UNSUPPORTED names what we do not run; INVALID names the field that is wrong. */
enum status MUST_USE model_config_parse(const json_t *root, struct model_config *out,
                                        struct err *err);
enum status MUST_USE model_config_load(const char *dir, struct model_config *out, struct err *err);

/* table [positions][head_dim]: head_dim/2 cosines, then as many sines. Inverse frequencies as
 * Su et al. 2021, with Llama 3.1's stretching of the long wave lengths. */
void rope_table_fill(const struct model_config *config, uint32_t positions, float *table);

#endif
