/* decoder - the forward pass, layer by layer. */
#include "worker/model/decoder.h"

#include "common/mem.h"

/* The buffers of a decoder and their sizes, so that init, release and the sum agree. */
#define BUFFER_COUNT 21
struct buffer_spec {
    size_t offset; /* of the pointer in struct decoder */
    uint64_t bytes;
};

static bool has_no_rope(const struct model_config *config)
{
    for (uint32_t i = 0; i < config->layers; i++) {
        if (config->no_rope[i])
            return true;
    }
    return false;
}

enum status decoder_check(const struct ops *ops, const struct device_info *device,
                          const struct model_config *config, uint32_t tp, struct err *err)
{
    const char *name = config->arch->name;
    if (device->head_dims[0] != 0 && config->head_dim != device->head_dims[0] &&
        config->head_dim != device->head_dims[1])
        return err_set(
            err, STATUS_UNSUPPORTED,
            "the model's heads have %u numbers (head_dim); the %s backend does %u and %u",
            config->head_dim, ops->name, device->head_dims[0], device->head_dims[1]);
    bool wide = config->arch->qk_norm == ARCH_QK_NORM_WIDE;
    if (wide && tp > 1 && (ops->qk_sums == NULL || ops->qk_norm_by_sums == NULL))
        return err_set(err, STATUS_UNSUPPORTED,
                       "%s norms all its q heads together, which the %s backend cannot do over "
                       "ranks yet: --tp must be 1",
                       name, ops->name);
    if (wide && tp == 1 && ops->norm_part == NULL)
        return err_set(err, STATUS_UNSUPPORTED,
                       "%s norms all its q heads together, which the %s backend cannot do yet",
                       name, ops->name);
    if (config->experts && (ops->route == NULL || ops->experts_gate_up == NULL ||
                            ops->experts_down == NULL || ops->add_gated == NULL))
        return err_set(err, STATUS_UNSUPPORTED,
                       "%s is a mixture of experts, which the %s backend cannot do yet", name,
                       ops->name);
    return STATUS_OK;
}

static void buffer_specs(const struct decoder_opts *opts, const struct model_config *config,
                         const struct shard *shard, enum dtype act,
                         struct buffer_spec specs[BUFFER_COUNT])
{
    uint64_t item = dtype_bytes(act), tokens = opts->tokens_max * item,
             rows = opts->rows_max * item;
    uint64_t q = (uint64_t)shard->heads * config->head_dim;
    uint64_t kv = (uint64_t)shard->kv_heads * config->head_dim;
    uint64_t logits = (uint64_t)opts->rows_max * sizeof(float);
    uint64_t words = (uint64_t)opts->tokens_max * sizeof(uint32_t), top = config->experts_top;
    bool experts = config->experts > 0;
    bool sums = config->arch->qk_norm == ARCH_QK_NORM_WIDE && shard->tp > 1;
    uint64_t mlp =
        MAX(2 * (uint64_t)MAX(shard->shared, shard->intermediate), (uint64_t)config->hidden);
    uint64_t spill = ((uint64_t)shard->tp * shard->vocab - config->vocab) * sizeof(float);
    const struct buffer_spec filled[BUFFER_COUNT] = {
        {offsetof(struct decoder, cos_sin),
         (uint64_t)opts->context_max * config->head_dim * sizeof(float)},
        {offsetof(struct decoder, x), tokens * config->hidden},
        {offsetof(struct decoder, scratch), tokens * (config->hidden + mlp)},
        {offsetof(struct decoder, qkv), tokens * (q + 2 * kv)},
        {offsetof(struct decoder, attn), tokens * q},
        {offsetof(struct decoder, hidden_act), tokens * shard->intermediate},
        {offsetof(struct decoder, x_rows), rows * config->hidden},
        {offsetof(struct decoder, attn_rows), rows * q},
        {offsetof(struct decoder, logits), logits * config->vocab + spill},
        {offsetof(struct decoder, logits_part), shard->tp > 1 ? logits * shard->vocab : 0},
        {offsetof(struct decoder, no_turn),
         has_no_rope(config) ? (uint64_t)opts->context_max * config->head_dim * sizeof(float) : 0},
        {offsetof(struct decoder, moe.normed), experts ? tokens * config->hidden : 0},
        {offsetof(struct decoder, moe.sum), experts ? tokens * config->hidden : 0},
        {offsetof(struct decoder, moe.logits), words * config->experts},
        {offsetof(struct decoder, moe.shared_logit), config->shared ? words : 0},
        {offsetof(struct decoder, moe.ids), words * top},
        {offsetof(struct decoder, moe.weights), words * top},
        {offsetof(struct decoder, moe.act), tokens * top * shard->expert},
        {offsetof(struct decoder, moe.shared_act), tokens * shard->shared},
        {offsetof(struct decoder, norm_sums), sums ? 2 * words : 0},
        {offsetof(struct decoder, norm_sums_all), sums ? 2 * words * shard->tp : 0},
    };
    for (size_t i = 0; i < BUFFER_COUNT; i++)
        specs[i] = filled[i];
}

static void **buffer_at(struct decoder *decoder, const struct buffer_spec *spec)
{
    return (void **)(void *)((char *)decoder + spec->offset);
}

uint64_t decoder_bytes(const struct decoder_opts *opts, const struct model_config *config,
                       const struct shard *shard, enum dtype act)
{
    struct buffer_spec specs[BUFFER_COUNT];
    uint64_t sum = 0;
    buffer_specs(opts, config, shard, act, specs);
    for (size_t i = 0; i < BUFFER_COUNT; i++)
        sum += specs[i].bytes;
    return sum;
}

enum status decoder_init(const struct decoder_opts *opts, const struct model_config *config,
                         const struct weights *weights, const struct kvcache *cache,
                         struct decoder *out, struct err *err)
{
    enum status status = STATUS_OK;
    struct device_info info;
    struct buffer_spec specs[BUFFER_COUNT];
    opts->ops->info(opts->device, &info);
    buffer_specs(opts, config, &weights->shard, info.act, specs);
    *out = (struct decoder){.ops = opts->ops,
                            .device = opts->device,
                            .stream = opts->stream,
                            .config = config,
                            .weights = weights,
                            .cache = cache};
    for (size_t i = 0; i < BUFFER_COUNT; i++)
        if (specs[i].bytes > 0)
            TRY_OUT(opts->ops->alloc(opts->device, specs[i].bytes, buffer_at(out, &specs[i]), err));

    float *table = mem_array((size_t)opts->context_max * config->head_dim, sizeof(*table));
    rope_table_fill(config, opts->context_max, table);
    opts->ops->upload(opts->device, opts->stream, out->cos_sin, table, specs[0].bytes);
    status = opts->ops->stream_sync(opts->device, opts->stream, err);
    if (status == STATUS_OK && out->no_turn != NULL) {
        for (size_t i = 0; i < (size_t)opts->context_max * config->head_dim; i++)
            table[i] = i % config->head_dim < config->head_dim / 2 ? 1.0f : 0.0f;
        opts->ops->upload(opts->device, opts->stream, out->no_turn, table, specs[0].bytes);
        status = opts->ops->stream_sync(opts->device, opts->stream, err);
    }
    mem_free(table);
out:
    if (status != STATUS_OK)
        decoder_release(out);
    return status;
}

void decoder_release(struct decoder *decoder)
{
    if (decoder->ops == NULL)
        return;
    struct buffer_spec specs[BUFFER_COUNT];
    buffer_specs(&(struct decoder_opts){0}, decoder->config, &decoder->weights->shard, DTYPE_F32,
                 specs);
    for (size_t i = 0; i < BUFFER_COUNT; i++) {
        void *ptr = *buffer_at(decoder, &specs[i]);
        if (ptr != NULL)
            decoder->ops->free(decoder->device, ptr);
    }
    *decoder = (struct decoder){0};
}

/* x += a w^T + bias, over all ranks: each of them holds a part of the sum's columns. */
static void residual_add(struct decoder *decoder, void *x, const void *a, const struct weight *w,
                         const float *bias, uint32_t rows)
{
    const struct ops *ops = decoder->ops;
    size_t count = (size_t)rows * decoder->config->hidden;
    if (decoder->weights->shard.tp == 1) {
        ops->matmul_add(decoder->device, decoder->stream, x, a, w, bias, rows, decoder->scratch);
        return;
    }
    ops->matmul(decoder->device, decoder->stream, decoder->scratch, a, w, bias, rows);
    ops->all_reduce(decoder->device, decoder->stream, decoder->scratch, count);
    ops->add(decoder->device, decoder->stream, x, decoder->scratch, count);
}

/* x += norm(a w^T + bias): where norms stand behind. norm NULL: residual_add. */
static void branch_add(struct decoder *decoder, void *x, const void *a, const struct weight *w,
                       const float *bias, const float *norm, uint32_t rows)
{
    const struct ops *ops = decoder->ops;
    uint32_t hidden = decoder->config->hidden;
    size_t count = (size_t)rows * hidden;
    struct device_info info;
    if (norm == NULL) {
        residual_add(decoder, x, a, w, bias, rows);
        return;
    }
    ops->info(decoder->device, &info);
    void *normed = (char *)decoder->scratch + count * dtype_bytes(info.act);
    ops->matmul(decoder->device, decoder->stream, decoder->scratch, a, w, bias, rows);
    if (decoder->weights->shard.tp > 1)
        ops->all_reduce(decoder->device, decoder->stream, decoder->scratch, count);
    ops->rmsnorm(decoder->device, decoder->stream, normed, decoder->scratch, norm, rows, hidden,
                 decoder->config->norm_eps);
    ops->add(decoder->device, decoder->stream, x, normed, count);
}

/* All q heads are normed together, and all k heads. Ranks share their sums of squares; a KV head that
 * several of them hold counts once. */
static void norm_wide(struct decoder *decoder, const struct layer_weights *layer, uint32_t tokens)
{
    const struct ops *ops = decoder->ops;
    const struct model_config *config = decoder->config;
    const struct shard *shard = &decoder->weights->shard;
    uint32_t q = shard->heads * config->head_dim, k = shard->kv_heads * config->head_dim;
    struct device_info info;
    if (shard->tp > 1) {
        uint32_t group = config->heads / config->kv_heads;
        struct wide_norm_args args = {.qkv = decoder->qkv,
                                      .q_norm = layer->q_norm,
                                      .k_norm = layer->k_norm,
                                      .eps = config->norm_eps,
                                      .rows = tokens,
                                      .stride = q + 2 * k,
                                      .q_dim = q,
                                      .k_dim = k,
                                      .q_width = config->heads * config->head_dim,
                                      .k_width = config->kv_heads * config->head_dim,
                                      .k_counts = shard->head_first % group == 0};
        ops->qk_sums(decoder->device, decoder->stream, decoder->norm_sums, &args);
        ops->all_gather(decoder->device, decoder->stream, decoder->norm_sums_all,
                        decoder->norm_sums, tokens, 2);
        ops->qk_norm_by_sums(decoder->device, decoder->stream, decoder->norm_sums_all, shard->tp,
                             &args);
        return;
    }
    ops->info(decoder->device, &info);
    ops->norm_part(decoder->device, decoder->stream, decoder->qkv, layer->q_norm, tokens, q + 2 * k,
                   q, config->norm_eps);
    ops->norm_part(decoder->device, decoder->stream,
                   (char *)decoder->qkv + (size_t)q * dtype_bytes(info.act), layer->k_norm, tokens,
                   q + 2 * k, k, config->norm_eps);
}

/* q | k | v of x, normed as the architecture does it before heads are looked at one by one. */
static void project_qkv(struct decoder *decoder, const struct layer_weights *layer, uint32_t tokens)
{
    const struct ops *ops = decoder->ops;
    const struct model_config *config = decoder->config;
    struct norm norm = {layer->input_norm, config->norm_eps};

    if (config->arch->post_norm)
        ops->matmul(decoder->device, decoder->stream, decoder->qkv, decoder->x, &layer->qkv,
                    layer->qkv_bias, tokens);
    else
        ops->norm_matmul(decoder->device, decoder->stream, decoder->qkv, decoder->x, &norm,
                         &layer->qkv, layer->qkv_bias, tokens, decoder->scratch);
    if (config->arch->qk_norm == ARCH_QK_NORM_WIDE)
        norm_wide(decoder, layer, tokens);
}

/* Leaves k and v in the cache and, unless `store_only`, attention's output in attn. */
static void attention_part(struct decoder *decoder, const struct decoder_batch *batch, uint32_t idx,
                           bool store_only)
{
    const struct ops *ops = decoder->ops;
    const struct model_config *config = decoder->config;
    const struct layer_weights *layer = &decoder->weights->layers[idx];
    const struct shard *shard = &decoder->weights->shard;
    struct kv_view kv = kvcache_layer(decoder->cache, idx);
    bool per_head = config->arch->qk_norm == ARCH_QK_NORM_HEAD;

    project_qkv(decoder, layer, batch->tokens);
    struct qkv_args store = {
        .qkv = decoder->qkv,
        .positions = batch->positions,
        .token_slots = batch->token_slots,
        .q_norm = per_head ? layer->q_norm : NULL,
        .k_norm = per_head ? layer->k_norm : NULL,
        .norm_eps = config->norm_eps,
        .cos_sin = config->no_rope[idx] ? decoder->no_turn : decoder->cos_sin,
        .tokens = batch->tokens,
        .q_heads = shard->heads,
    };
    ops->qk_rope_store(decoder->device, decoder->stream, &kv, &store);
    if (store_only)
        return;
    const struct attn_plan_ref *plan = &batch->plans[config->window[idx] != 0];
    struct attn_args attn = {
        .out = decoder->attn,
        .qkv = decoder->qkv,
        .qkv_stride = (shard->heads + 2 * shard->kv_heads) * config->head_dim,
        .rows = batch->rows,
        .rows_host = batch->rows_host,
        .row_count = batch->row_count,
        .groups_host = batch->groups_host,
        .group_count = batch->group_count,
        .plan = plan->device,
        .plan_host = plan->host,
        .q_heads = shard->heads,
        .scale = config->attention_scale,
        .window = config->window[idx],
    };
    ops->attention(decoder->device, decoder->stream, &kv, &attn);
}

/* sum += sigmoid(gate) * the shared expert's MLP of moe.normed */
static void shared_part(struct decoder *decoder, const struct layer_weights *layer, uint32_t rows)
{
    const struct ops *ops = decoder->ops;
    uint32_t hidden = decoder->config->hidden;
    ops->matmul(decoder->device, decoder->stream, decoder->scratch, decoder->moe.normed,
                &layer->shared_gate_up, NULL, rows);
    ops->silu_mul(decoder->device, decoder->stream, decoder->moe.shared_act, decoder->scratch, rows,
                  decoder->weights->shard.shared);
    ops->matmul(decoder->device, decoder->stream, decoder->scratch, decoder->moe.shared_act,
                &layer->shared_down, NULL, rows);
    ops->matmul_f32(decoder->device, decoder->stream, decoder->moe.shared_logit,
                    decoder->moe.normed, &layer->shared_gate, rows);
    ops->add_gated(decoder->device, decoder->stream, decoder->moe.sum, decoder->scratch,
                   decoder->moe.shared_logit, rows, hidden);
}

/* x += the mixture of experts of norm(x) */
static void experts_part(struct decoder *decoder, const struct layer_weights *layer, void *x,
                         uint32_t rows)
{
    const struct ops *ops = decoder->ops;
    const struct model_config *config = decoder->config;
    size_t count = (size_t)rows * config->hidden;
    struct expert_args args = {.ids = decoder->moe.ids,
                               .weights = decoder->moe.weights,
                               .rows = rows,
                               .top = config->experts_top,
                               .experts = config->experts,
                               .renormalize = config->renormalize};
    ops->rmsnorm(decoder->device, decoder->stream, decoder->moe.normed, x, layer->post_norm, rows,
                 config->hidden, config->norm_eps);
    ops->matmul_f32(decoder->device, decoder->stream, decoder->moe.logits, decoder->moe.normed,
                    &layer->router, rows);
    ops->route(decoder->device, decoder->stream, decoder->moe.ids, decoder->moe.weights,
               decoder->moe.logits, &args);
    ops->experts_gate_up(decoder->device, decoder->stream, decoder->moe.act, decoder->moe.normed,
                         &layer->gate_up, &args);
    ops->experts_down(decoder->device, decoder->stream, decoder->moe.sum, decoder->moe.act,
                      &layer->down, &args);
    if (config->shared)
        shared_part(decoder, layer, rows);
    if (decoder->weights->shard.tp > 1)
        ops->all_reduce(decoder->device, decoder->stream, decoder->moe.sum, count);
    ops->add(decoder->device, decoder->stream, x, decoder->moe.sum, count);
}

/* From attention's output `attn` to the end of the layer, over `rows` rows of x. */
static void mlp_part(struct decoder *decoder, uint32_t idx, void *x, const void *attn,
                     uint32_t rows)
{
    const struct ops *ops = decoder->ops;
    const struct layer_weights *layer = &decoder->weights->layers[idx];
    struct norm norm = {layer->post_norm, decoder->config->norm_eps};
    bool behind = decoder->config->arch->post_norm;

    branch_add(decoder, x, attn, &layer->o, layer->o_bias, behind ? layer->post_norm : NULL, rows);
    if (decoder->config->experts && !decoder->config->dense[idx]) {
        experts_part(decoder, layer, x, rows);
        return;
    }
    if (behind) {
        ops->matmul(decoder->device, decoder->stream, decoder->scratch, x, &layer->gate_up,
                    layer->gate_up_bias, rows);
        ops->silu_mul(decoder->device, decoder->stream, decoder->hidden_act, decoder->scratch, rows,
                      decoder->weights->shard.intermediate);
    } else {
        ops->norm_gate_up_silu(decoder->device, decoder->stream, decoder->hidden_act, x, &norm,
                               &layer->gate_up, layer->gate_up_bias, rows, decoder->scratch);
    }
    branch_add(decoder, x, decoder->hidden_act, &layer->down, layer->down_bias, layer->mlp_norm,
               rows);
}

/* Every rank's columns side by side. Where the ranks together have more columns than the vocabulary,
 * one row at a time: what is too much lies where the next row comes to lie. */
static void gather_logits(struct decoder *decoder, uint32_t rows)
{
    uint32_t cols = decoder->weights->shard.vocab, vocab = decoder->config->vocab;
    uint32_t together = cols * decoder->weights->shard.tp == vocab ? rows : 1;

    for (uint32_t row = 0; row < rows; row += together)
        decoder->ops->all_gather(decoder->device, decoder->stream,
                                 decoder->logits + (size_t)row * vocab,
                                 decoder->logits_part + (size_t)row * cols, together, cols);
}

/* Norm and head over the sampled rows x, to logits. */
static void head_part(struct decoder *decoder, const void *x, uint32_t rows)
{
    const struct ops *ops = decoder->ops;
    const struct weights *weights = decoder->weights;
    ops->rmsnorm(decoder->device, decoder->stream, decoder->scratch, x, weights->final_norm, rows,
                 decoder->config->hidden, decoder->config->norm_eps);
    bool alone = weights->shard.tp == 1;
    ops->matmul_f32(decoder->device, decoder->stream,
                    alone ? decoder->logits : decoder->logits_part, decoder->scratch,
                    &weights->head, rows);
    if (!alone)
        gather_logits(decoder, rows);
}

void decoder_forward(struct decoder *decoder, const struct decoder_batch *batch)
{
    const struct ops *ops = decoder->ops;
    const struct weights *weights = decoder->weights;
    uint32_t hidden = decoder->config->hidden, last = decoder->config->layers - 1;
    uint32_t samples = batch->sample_count;

    ops->embed(decoder->device, decoder->stream, decoder->x, &weights->embed, batch->ids,
               weights->shard.vocab_first, batch->tokens);
    if (weights->shard.tp > 1)
        ops->all_reduce(decoder->device, decoder->stream, decoder->x,
                        (size_t)batch->tokens * hidden);
    if (decoder->config->embed_scale != 1.0f)
        ops->scale(decoder->device, decoder->stream, decoder->x, decoder->config->embed_scale,
                   (size_t)batch->tokens * hidden);
    for (uint32_t i = 0; i < last; i++) {
        attention_part(decoder, batch, i, false);
        mlp_part(decoder, i, decoder->x, decoder->attn, batch->tokens);
    }
    attention_part(decoder, batch, last, samples == 0);
    if (samples == 0) /* a chunk in the middle of a prompt: its keys and values are all we want */
        return;
    if (batch->sample_idx == NULL) {
        CHECK(samples == batch->tokens);
        mlp_part(decoder, last, decoder->x, decoder->attn, samples);
        head_part(decoder, decoder->x, samples);
        return;
    }
    ops->gather_rows(decoder->device, decoder->stream, decoder->x_rows, decoder->x,
                     batch->sample_idx, samples, hidden);
    ops->gather_rows(decoder->device, decoder->stream, decoder->attn_rows, decoder->attn,
                     batch->sample_idx, samples, weights->shard.heads * decoder->config->head_dim);
    mlp_part(decoder, last, decoder->x_rows, decoder->attn_rows, samples);
    head_part(decoder, decoder->x_rows, samples);
}
