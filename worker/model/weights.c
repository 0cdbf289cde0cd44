/* weights - names of tensors to matrices of this rank. */
#include "worker/model/weights.h"

#include "common/hash.h"
#include "common/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PARTS_MAX 3
static_assert(PARTS_MAX <= WEIGHT_PARTS_MAX, "a made-up matrix has as many parts");

/* What a matrix on the device is put together from: blocks of tensors, one below the other. */
struct part {
    struct source_tensor tensor;
    struct source_block block;
    uint64_t zero_rows; /* below the block */
};

struct loader {
    struct weights *weights;
    const struct model_config *config;
    void *staging; /* merged and cut matrices pass through here, one at a time */
    size_t staging_bytes;
};

static void *staging_get(struct loader *loader, size_t bytes)
{
    if (bytes > loader->staging_bytes) {
        mem_free(loader->staging);
        loader->staging = mem_alloc(bytes);
        loader->staging_bytes = bytes;
    }
    return loader->staging;
}

/* Made-up weights are made on the device. */
static enum status formula_matrix(struct loader *loader, const struct part *parts, size_t count,
                                  struct weight *out, struct err *err)
{
    struct weights *weights = loader->weights;
    struct formula_part formulas[PARTS_MAX];
    uint64_t k = parts[0].block.col_count;
    for (size_t i = 0; i < count; i++)
        formulas[i] = (struct formula_part){.seed = parts[i].tensor.seed,
                                            .row_first = parts[i].block.row_first,
                                            .row_count = parts[i].block.row_count,
                                            .zero_rows = parts[i].zero_rows,
                                            .col_first = parts[i].block.col_first,
                                            .stride = parts[i].tensor.k,
                                            .scale = parts[i].tensor.scale};
    TRY(weights->ops->weight_formula(weights->device, formulas, (uint32_t)count, (uint32_t)k, out,
                                     err));
    weights->bytes += (uint64_t)out->n * k * dtype_bytes(out->dtype);
    return STATUS_OK;
}

static enum status load_matrix(struct loader *loader, const struct part *parts, size_t count,
                               struct weight *out, struct err *err)
{
    struct weights *weights = loader->weights;
    struct load_part pieces[PARTS_MAX];
    uint64_t k = parts[0].block.col_count;
    if (parts[0].tensor.tensor == NULL)
        return formula_matrix(loader, parts, count, out, err);
    for (size_t i = 0; i < count; i++) {
        pieces[i] = source_part(&parts[i].tensor, &parts[i].block);
        pieces[i].zero_rows = parts[i].zero_rows;
    }
    TRY(weights->ops->weight_load(weights->device, pieces, (uint32_t)count, (uint32_t)k, true, out,
                                  err));
    for (size_t i = 0; !out->borrowed && i < count; i++)
        source_forget(&parts[i].tensor);
    weights->bytes += out->n * k * dtype_bytes(out->dtype);
    return STATUS_OK;
}

static enum status part_init(struct loader *loader, struct part *part, const char *name, uint64_t n,
                             uint64_t k, struct source_block block, struct err *err)
{
    part->block = block;
    part->zero_rows = 0;
    return source_matrix(&loader->weights->source, name, n, k, &part->tensor, err);
}

/* Many parts of one width, one below the other, through the staging memory. */
static enum status load_stack(struct loader *loader, const struct part *parts, size_t count,
                              struct weight *out, struct err *err)
{
    struct weights *weights = loader->weights;
    enum dtype dtype = parts[0].tensor.dtype;
    uint64_t n = 0, k = parts[0].block.col_count;
    for (size_t i = 0; i < count; i++) {
        n += parts[i].block.row_count;
        if (parts[i].tensor.dtype != dtype)
            dtype = DTYPE_F32;
    }
    uint8_t *host = staging_get(loader, n * k * dtype_bytes(dtype)), *dst = host;
    for (size_t i = 0; i < count; i++) {
        source_read(&parts[i].tensor, &parts[i].block, dtype, dst);
        source_forget(&parts[i].tensor);
        dst += parts[i].block.row_count * k * dtype_bytes(dtype);
    }
    struct load_part all = {.data = host, .dtype = dtype, .row_count = n, .stride = k};
    TRY(weights->ops->weight_load(weights->device, &all, 1, (uint32_t)k, false, out, err));
    weights->bytes += n * k * dtype_bytes(out->dtype);
    return STATUS_OK;
}

/* A vector's pieces [first, first + count) one behind the other, as f32 on the device. */
struct piece {
    const char *name;
    uint64_t len, first, count;
    float scale; /* 0: as it is */
};

static enum status load_vector(struct loader *loader, const struct piece *pieces,
                               size_t piece_count, float **out, struct err *err)
{
    struct weights *weights = loader->weights;
    uint64_t total = 0;
    for (size_t i = 0; i < piece_count; i++)
        total += pieces[i].count;
    float *host = staging_get(loader, total * sizeof(*host)), *dst = host;
    for (size_t i = 0; i < piece_count; i++) {
        struct source_tensor tensor;
        TRY(source_vector(&weights->source, pieces[i].name, pieces[i].len, &tensor, err));
        source_read(&tensor, &(struct source_block){0, 1, pieces[i].first, pieces[i].count},
                    DTYPE_F32, dst);
        for (uint64_t j = 0; pieces[i].scale != 0 && j < pieces[i].count; j++)
            dst[j] *= pieces[i].scale;
        dst += pieces[i].count;
    }
    void *device_data = NULL;
    TRY(weights->ops->alloc(weights->device, total * sizeof(*host), &device_data, err));
    *out = device_data;
    weights->ops->upload(weights->device, NULL, device_data, host, total * sizeof(*host));
    return STATUS_OK;
}

struct name {
    char text[TENSOR_NAME_MAX];
};

static struct name layer_name(uint32_t layer, const char *rest)
{
    struct name name;
    snprintf(name.text, sizeof(name.text), "model.layers.%u.%s", layer, rest);
    return name;
}

static enum status load_norm(struct loader *loader, const char *name, uint32_t len, float **out,
                             struct err *err)
{
    return load_vector(loader, &(struct piece){name, len, 0, len, 0}, 1, out, err);
}

/* One head's, for all; or this rank's part of one over all heads. */
static enum status load_qk_norms(struct loader *loader, uint32_t idx, struct layer_weights *layer,
                                 struct err *err)
{
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    struct name q_name = layer_name(idx, "self_attn.q_norm.weight");
    struct name k_name = layer_name(idx, "self_attn.k_norm.weight");
    uint64_t d = config->head_dim;
    struct piece q = {q_name.text, d, 0, d, 0}, k = {k_name.text, d, 0, d, 0};
    if (config->arch->qk_norm == ARCH_QK_NORM_WIDE) {
        q = (struct piece){q_name.text, config->heads * d, shard->head_first * d, shard->heads * d,
                           0};
        k = (struct piece){k_name.text, config->kv_heads * d, shard->kv_head_first * d,
                           shard->kv_heads * d, 0};
    }
    TRY(load_vector(loader, &q, 1, &layer->q_norm, err));
    return load_vector(loader, &k, 1, &layer->k_norm, err);
}

/* q, k, v where only the first r of a head's d numbers are rotated. Kernels rotate number i with i + d/2, the
 * file's with i + r/2: so a head's rows are laid out in another order. q k^T is the same in any.
 *
 *     file     │ a: r/2 │ b: r/2 │   rest: d - r   │        a[i] turns with b[i]
 *     device   │ a: r/2 │ rest's half │ b: r/2 │ other half │
 */
static enum status load_partly_rotated(struct loader *loader, const struct part *qkv,
                                       struct weight *out, struct err *err)
{
    const struct shard *shard = &loader->weights->shard;
    const uint64_t d = loader->config->head_dim, r = loader->config->rope.rotated;
    const uint64_t still = (d - r) / 2;
    const uint64_t cuts[][2] = {{0, r / 2}, {r, still}, {r / 2, r / 2}, {r + still, still}};
    size_t heads = shard->heads + shard->kv_heads, count = 0;
    CHECK(!loader->config->qkv_bias && loader->config->arch->qk_norm == ARCH_QK_NORM_NONE);
    struct part *parts = mem_array(heads * ARRAY_LEN(cuts) + 1, sizeof(*parts));
    for (size_t i = 0; i < 2; i++)
        for (uint64_t row = 0; row < qkv[i].block.row_count; row += d)
            for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
                struct part *part = &parts[count++];
                *part = qkv[i];
                part->block.row_first += row + cuts[c][0];
                part->block.row_count = cuts[c][1];
            }
    parts[count++] = qkv[2];
    enum status status = load_stack(loader, parts, count, out, err);
    mem_free(parts);
    return status;
}

static enum status load_qkv(struct loader *loader, uint32_t idx, struct layer_weights *layer,
                            struct err *err)
{
    static const char *const projections[] = {"q_proj", "k_proj", "v_proj"};
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    const uint64_t fused = config->arch->fused
                               ? (config->heads + 2 * config->kv_heads) * (uint64_t)config->head_dim
                               : 0;
    uint64_t above = 0; /* rows of the projections before this one, in the fused tensor */
    struct part parts[PARTS_MAX];
    struct piece pieces[PARTS_MAX];
    struct name bias_names[PARTS_MAX];
    for (size_t i = 0; i < ARRAY_LEN(projections); i++) {
        char rest[64];
        uint64_t d = config->head_dim;
        uint64_t len = (i == 0 ? config->heads : config->kv_heads) * d;
        uint64_t first = (i == 0 ? shard->head_first : shard->kv_head_first) * d;
        uint64_t count = (i == 0 ? shard->heads : shard->kv_heads) * d;
        snprintf(rest, sizeof(rest), "self_attn.%s.weight", fused ? "qkv_proj" : projections[i]);
        TRY(part_init(loader, &parts[i], layer_name(idx, rest).text, fused ? fused : len,
                      config->hidden,
                      (struct source_block){above + first, count, 0, config->hidden}, err));
        above += fused ? len : 0;
        snprintf(rest, sizeof(rest), "self_attn.%s.bias", projections[i]);
        bias_names[i] = layer_name(idx, rest);
        pieces[i] = (struct piece){bias_names[i].text, len, first, count, 0};
    }
    if (config->rope.rotated < config->head_dim)
        TRY(load_partly_rotated(loader, parts, &layer->qkv, err));
    else
        TRY(load_matrix(loader, parts, PARTS_MAX, &layer->qkv, err));
    if (config->qkv_bias)
        TRY(load_vector(loader, pieces, PARTS_MAX, &layer->qkv_bias, err));
    if (config->arch->qk_norm == ARCH_QK_NORM_NONE)
        return STATUS_OK;
    return load_qk_norms(loader, idx, layer, err);
}

/* ---- experts ----------------------------------------------------------------------------------- */

/* Names of an expert's matrices: gate, up, down. */
struct expert_names {
    const char *expert, *router, *parts[3];
};

static const struct expert_names mixtral_names = {
    "block_sparse_moe.experts.%u.%s.weight", "block_sparse_moe.gate.weight", {"w1", "w3", "w2"}};
static const struct expert_names qwen_names = {
    "mlp.experts.%u.%s.weight", "mlp.gate.weight", {"gate_proj", "up_proj", "down_proj"}};

static struct name expert_name(const struct expert_names *names, uint32_t layer, uint32_t expert,
                               uint32_t part)
{
    char rest[TENSOR_NAME_MAX / 2];
    snprintf(rest, sizeof(rest), names->expert, expert, names->parts[part]);
    return layer_name(layer, rest);
}

static enum status load_expert_stacks(struct loader *loader, uint32_t idx, struct part *parts,
                                      struct layer_weights *layer, struct err *err)
{
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    const struct expert_names *names =
        config->arch->moe == ARCH_MOE_MIXTRAL ? &mixtral_names : &qwen_names;
    struct source_block rows = {shard->expert_first, shard->expert, 0, config->hidden};
    struct source_block cols = {0, config->hidden, shard->expert_first, shard->expert};
    for (uint32_t i = 0; i < 2 * config->experts; i++)
        TRY(part_init(loader, &parts[i], expert_name(names, idx, i / 2, i % 2).text,
                      config->expert_intermediate, config->hidden, rows, err));
    TRY(load_stack(loader, parts, 2 * config->experts, &layer->gate_up, err));
    for (uint32_t i = 0; i < config->experts; i++)
        TRY(part_init(loader, &parts[i], expert_name(names, idx, i, 2).text, config->hidden,
                      config->expert_intermediate, cols, err));
    TRY(load_stack(loader, parts, config->experts, &layer->down, err));
    TRY(part_init(loader, &parts[0], layer_name(idx, names->router).text, config->experts,
                  config->hidden, (struct source_block){0, config->experts, 0, config->hidden},
                  err));
    return load_matrix(loader, parts, 1, &layer->router, err);
}

static enum status load_shared(struct loader *loader, uint32_t idx, struct layer_weights *layer,
                               struct err *err)
{
    static const char *const names[] = {"mlp.shared_expert.gate_proj.weight",
                                        "mlp.shared_expert.up_proj.weight"};
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    struct source_block rows = {shard->shared_first, shard->shared, 0, config->hidden};
    struct part parts[2];
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        TRY(part_init(loader, &parts[i], layer_name(idx, names[i]).text, config->shared,
                      config->hidden, rows, err));
    TRY(load_matrix(loader, parts, 2, &layer->shared_gate_up, err));
    TRY(part_init(loader, parts, layer_name(idx, "mlp.shared_expert.down_proj.weight").text,
                  config->hidden, config->shared,
                  (struct source_block){0, config->hidden, shard->shared_first, shard->shared},
                  err));
    TRY(load_matrix(loader, parts, 1, &layer->shared_down, err));
    TRY(part_init(loader, parts, layer_name(idx, "mlp.shared_expert_gate.weight").text, 1,
                  config->hidden, (struct source_block){0, 1, 0, config->hidden}, err));
    return load_matrix(loader, parts, 1, &layer->shared_gate, err);
}

static enum status load_experts(struct loader *loader, uint32_t idx, struct layer_weights *layer,
                                struct err *err)
{
    struct part *parts = mem_array(2 * (size_t)loader->config->experts, sizeof(*parts));
    enum status status = load_expert_stacks(loader, idx, parts, layer, err);
    mem_free(parts);
    TRY(status);
    return loader->config->shared ? load_shared(loader, idx, layer, err) : STATUS_OK;
}

/* ---- layers ------------------------------------------------------------------------------------ */

static enum status load_gate_up(struct loader *loader, uint32_t idx, struct layer_weights *layer,
                                struct err *err)
{
    static const char *const projections[] = {"gate_proj", "up_proj"};
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    const bool fused = config->arch->fused;
    const uint64_t rows = config->intermediate;
    struct part parts[2];
    struct piece pieces[2];
    struct name bias_names[2];
    for (size_t i = 0; i < ARRAY_LEN(projections); i++) {
        char rest[64];
        snprintf(rest, sizeof(rest), "mlp.%s.weight", fused ? "gate_up_proj" : projections[i]);
        TRY(part_init(loader, &parts[i], layer_name(idx, rest).text, fused ? 2 * rows : rows,
                      config->hidden,
                      (struct source_block){(fused ? i * rows : 0) + shard->intermediate_first,
                                            shard->intermediate, 0, config->hidden},
                      err));
        snprintf(rest, sizeof(rest), "mlp.%s.bias", projections[i]);
        bias_names[i] = layer_name(idx, rest);
        pieces[i] = (struct piece){bias_names[i].text, config->intermediate,
                                   shard->intermediate_first, shard->intermediate, 0};
    }
    TRY(load_matrix(loader, parts, 2, &layer->gate_up, err));
    return config->mlp_bias ? load_vector(loader, pieces, 2, &layer->gate_up_bias, err) : STATUS_OK;
}

/* o and down: this rank's columns; the bias is rank 0's. */
static enum status load_columns(struct loader *loader, uint32_t idx, const char *projection,
                                uint64_t k, uint64_t first, uint64_t count, bool bias,
                                struct weight *out, float **out_bias, struct err *err)
{
    char rest[64];
    struct part part;
    uint64_t hidden = loader->config->hidden;
    snprintf(rest, sizeof(rest), "%s.weight", projection);
    TRY(part_init(loader, &part, layer_name(idx, rest).text, hidden, k,
                  (struct source_block){0, hidden, first, count}, err));
    TRY(load_matrix(loader, &part, 1, out, err));
    if (!bias || loader->weights->shard.rank != 0)
        return STATUS_OK;
    snprintf(rest, sizeof(rest), "%s.bias", projection);
    return load_norm(loader, layer_name(idx, rest).text, (uint32_t)hidden, out_bias, err);
}

static enum status load_layer(struct loader *loader, uint32_t idx, struct err *err)
{
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    struct layer_weights *layer = &loader->weights->layers[idx];
    uint64_t d = config->head_dim;
    if (config->arch->post_norm)
        TRY(load_norm(loader, layer_name(idx, "post_feedforward_layernorm.weight").text,
                      config->hidden, &layer->mlp_norm, err));
    else
        TRY(load_norm(loader, layer_name(idx, "input_layernorm.weight").text, config->hidden,
                      &layer->input_norm, err));
    TRY(load_norm(loader, layer_name(idx, "post_attention_layernorm.weight").text, config->hidden,
                  &layer->post_norm, err));
    TRY(load_qkv(loader, idx, layer, err));
    TRY(load_columns(loader, idx, "self_attn.o_proj", config->heads * d, shard->head_first * d,
                     shard->heads * d, config->o_bias, &layer->o, &layer->o_bias, err));
    if (config->experts && !config->dense[idx])
        return load_experts(loader, idx, layer, err);
    TRY(load_gate_up(loader, idx, layer, err));
    return load_columns(loader, idx, "mlp.down_proj", config->intermediate,
                        shard->intermediate_first, shard->intermediate, config->mlp_bias,
                        &layer->down, &layer->down_bias, err);
}

static enum status load_vocab(struct loader *loader, const char *name, struct weight *out,
                              struct err *err)
{
    const struct model_config *config = loader->config;
    const struct shard *shard = &loader->weights->shard;
    uint64_t rows = MIN(shard->vocab, config->vocab - shard->vocab_first);
    struct part part;
    TRY(part_init(loader, &part, name, config->vocab, config->hidden,
                  (struct source_block){shard->vocab_first, rows, 0, config->hidden}, err));
    part.zero_rows = shard->vocab - rows;
    return load_matrix(loader, &part, 1, out, err);
}

static enum status load_all(struct loader *loader, struct err *err)
{
    struct weights *weights = loader->weights;
    TRY(load_vocab(loader, "model.embed_tokens.weight", &weights->embed, err));
    weights->tied = loader->config->tied;
    if (weights->tied)
        weights->head = weights->embed;
    else
        TRY(load_vocab(loader, "lm_head.weight", &weights->head, err));
    const uint64_t hidden = loader->config->hidden;
    const struct piece norm = {"model.norm.weight", hidden, 0, hidden, loader->config->logit_scale};
    TRY(load_vector(loader, &norm, 1, &weights->final_norm,
                    err)); /* norm to logits: all is linear */
    for (uint32_t i = 0; i < weights->layer_count; i++)
        TRY(load_layer(loader, i, err));
    return STATUS_OK;
}

/* What the formula's hash stands on: the sizes that decide the weights. */
static uint64_t config_hash(const struct model_config *config)
{
    const uint32_t sizes[] = {config->hidden,
                              config->layers,
                              config->heads,
                              config->kv_heads,
                              config->head_dim,
                              config->intermediate,
                              config->vocab,
                              (uint32_t)config->tied,
                              config->experts,
                              config->shared,
                              config->expert_intermediate};
    uint64_t hash = hash_bytes_seeded(sizes, sizeof(sizes),
                                      hash_bytes(config->arch->name, strlen(config->arch->name)));
    bool longer = config->rope.longer; /* chosen at start: a stream must not resume on the others */
    return config->rope.kind == ROPE_LONG ? hash_bytes_seeded(&longer, sizeof(longer), hash) : hash;
}

enum status weights_load(const struct weights_opts *opts, const struct model_config *config,
                         struct weights *out, struct err *err)
{
    enum status status = STATUS_OK;
    struct loader loader = {.weights = out, .config = config};
    *out = (struct weights){.ops = opts->ops, .device = opts->device};
    TRY_OUT(shard_init(config, opts->rank, opts->tp, &out->shard, err));
    TRY_OUT(source_open(opts->dir, opts->dummy, opts->dummy_seed, &out->source, err));
    out->hash = source_hash(&out->source, config_hash(config));
    out->layers = mem_array(config->layers, sizeof(*out->layers));
    out->layer_count = config->layers;
    TRY_OUT(load_all(&loader, err));
out:
    mem_free(loader.staging);
    if (status != STATUS_OK)
        weights_release(out);
    return status;
}

static void weight_drop(struct weights *weights, struct weight *weight)
{
    if (weight->data != NULL)
        weights->ops->weight_free(weights->device, weight);
    weight->data = NULL;
}

static void array_drop(struct weights *weights, float *array)
{
    if (array != NULL)
        weights->ops->free(weights->device, array);
}

uint64_t weights_content_hash(const struct weights *weights)
{
    return weights->source.set ? safetensors_content_hash(weights->source.set) : weights->hash;
}

void weights_release(struct weights *weights)
{
    for (uint32_t i = 0; i < weights->layer_count; i++) {
        struct layer_weights *layer = &weights->layers[i];
        struct weight *matrices[] = {&layer->qkv,         &layer->o,
                                     &layer->gate_up,     &layer->down,
                                     &layer->router,      &layer->shared_gate_up,
                                     &layer->shared_down, &layer->shared_gate};
        float *arrays[] = {layer->input_norm,   layer->post_norm, layer->q_norm,
                           layer->k_norm,       layer->qkv_bias,  layer->o_bias,
                           layer->gate_up_bias, layer->down_bias, layer->mlp_norm};
        for (size_t j = 0; j < ARRAY_LEN(matrices); j++)
            weight_drop(weights, matrices[j]);
        for (size_t j = 0; j < ARRAY_LEN(arrays); j++)
            array_drop(weights, arrays[j]);
    }
    mem_free(weights->layers);
    if (weights->ops != NULL) {
        if (!weights->tied)
            weight_drop(weights, &weights->head);
        weight_drop(weights, &weights->embed);
        array_drop(weights, weights->final_norm);
    }
    source_close(&weights->source);
    *weights = (struct weights){0};
}
