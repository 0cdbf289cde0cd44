/* decoder - the forward pass, layer by layer. */
#include "worker/model/decoder.h"

#include "common/mem.h"

#include <math.h>

/* The buffers of a decoder and their sizes, so that init, release and the sum agree. */
#define BUFFER_COUNT 10
struct buffer_spec {
    size_t offset; /* of the pointer in struct decoder */
    uint64_t bytes;
};

static void buffer_specs(const struct decoder_opts *opts, const struct model_config *config,
                         const struct shard *shard, enum dtype act,
                         struct buffer_spec specs[BUFFER_COUNT])
{
    uint64_t item = dtype_bytes(act), tokens = opts->tokens_max * item, rows = opts->rows_max * item;
    uint64_t q = (uint64_t)shard->heads * config->head_dim;
    uint64_t kv = (uint64_t)shard->kv_heads * config->head_dim;
    uint64_t logits = (uint64_t)opts->rows_max * sizeof(float);
    uint64_t spill = ((uint64_t)shard->tp * shard->vocab - config->vocab) * sizeof(float);
    const struct buffer_spec filled[BUFFER_COUNT] = {
        {offsetof(struct decoder, cos_sin),
         (uint64_t)opts->context_max * config->head_dim * sizeof(float)},
        {offsetof(struct decoder, x), tokens * config->hidden},
        {offsetof(struct decoder, scratch), tokens * (config->hidden + 2 * shard->intermediate)},
        {offsetof(struct decoder, qkv), tokens * (q + 2 * kv)},
        {offsetof(struct decoder, attn), tokens * q},
        {offsetof(struct decoder, hidden_act), tokens * shard->intermediate},
        {offsetof(struct decoder, x_rows), rows * config->hidden},
        {offsetof(struct decoder, attn_rows), rows * q},
        {offsetof(struct decoder, logits), logits * config->vocab + spill},
        {offsetof(struct decoder, logits_part), shard->tp > 1 ? logits * shard->vocab : 0},
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

/* Leaves k and v in the cache and, unless `store_only`, attention's output in attn. */
static void attention_part(struct decoder *decoder, const struct decoder_batch *batch, uint32_t idx,
                           bool store_only)
{
    const struct ops *ops = decoder->ops;
    const struct model_config *config = decoder->config;
    const struct layer_weights *layer = &decoder->weights->layers[idx];
    const struct shard *shard = &decoder->weights->shard;
    struct kv_view kv = kvcache_layer(decoder->cache, idx);
    struct norm norm = {layer->input_norm, config->norm_eps};

    ops->norm_matmul(decoder->device, decoder->stream, decoder->qkv, decoder->x, &norm, &layer->qkv,
                     layer->qkv_bias, batch->tokens, decoder->scratch);
    struct qkv_args store = {
        .qkv = decoder->qkv,
        .positions = batch->positions,
        .token_slots = batch->token_slots,
        .q_norm = layer->q_norm,
        .k_norm = layer->k_norm,
        .norm_eps = config->norm_eps,
        .cos_sin = decoder->cos_sin,
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
        .scale = 1.0f / sqrtf((float)config->head_dim),
        .window = config->window[idx],
    };
    ops->attention(decoder->device, decoder->stream, &kv, &attn);
}

/* From attention's output `attn` to the end of the layer, over `rows` rows of x. */
static void mlp_part(struct decoder *decoder, uint32_t idx, void *x, const void *attn, uint32_t rows)
{
    const struct layer_weights *layer = &decoder->weights->layers[idx];
    struct norm norm = {layer->post_norm, decoder->config->norm_eps};

    residual_add(decoder, x, attn, &layer->o, layer->o_bias, rows);
    decoder->ops->norm_gate_up_silu(decoder->device, decoder->stream, decoder->hidden_act, x, &norm,
                                    &layer->gate_up, layer->gate_up_bias, rows, decoder->scratch);
    residual_add(decoder, x, decoder->hidden_act, &layer->down, layer->down_bias, rows);
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
    ops->rmsnorm(decoder->device, decoder->stream, decoder->scratch, x,
                 weights->final_norm, rows, decoder->config->hidden, decoder->config->norm_eps);
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
