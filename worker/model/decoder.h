/* decoder - one forward pass for the whole Llama family, through struct ops.
 *
 *   ids ─► embed ─► x ─┬─► [ norm ─► qkv ─► rope, store ─► attention ─► o ]─┬─►(+)─┐
 *                      │                                                    │      │  layers
 *                      └────────────────────────────────────────────────────┘      │  times
 *                  ┌───────────────────────────────────────────────────────────────┘
 *                  └─┬─► [ norm ─► gate|up ─► silu * ─► down ]─┬─►(+) ─► … ─► norm ─► head ─► logits
 *                    └─────────────────────────────────────────┘
 *
 * With post_norm the norms stand behind attention and MLP, in front of the (+). With experts the MLP
 * is router ─► top experts' MLPs ─► weighted sum.
 *
 * Only sampled rows are carried through what follows the last layer's attention: nothing later
 * looks at the others. All buffers are taken at init; a forward allocates nothing. The thread that
 * owns the device.
 */
#ifndef MSGL_WORKER_MODEL_DECODER_H
#define MSGL_WORKER_MODEL_DECODER_H

#include "worker/model/kvcache.h"

struct decoder {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    const struct model_config *config;
    const struct weights *weights;
    const struct kvcache *cache;
    float *cos_sin;         /* [context_max][head_dim] */
    float *no_turn;         /* the same for layers without rotation: ones and zeroes */
    void *x;                /* act [tokens][hidden]: the residual stream */
    void *scratch;          /* act [tokens][hidden + 2 intermediate]: inside the fused ops */
    void *qkv, *attn;       /* act [tokens][(heads + 2 kv_heads) * d], [tokens][heads * d] */
    void *hidden_act;       /* act [tokens][intermediate] */
    struct {                /* with experts: */
        void *normed, *sum; /* act [tokens][hidden] */
        float *logits, *shared_logit; /* f32 [tokens][experts], [tokens] */
        uint32_t *ids;                /* [tokens][top] */
        float *weights;
        void *act, *shared_act; /* act [tokens * top][expert], [tokens][shared] */
    } moe;
    float *norm_sums,
        *norm_sums_all;          /* f32 [tokens][2], [tokens][2 tp]: norms over all ranks' heads */
    void *x_rows, *attn_rows;    /* act [rows][...]: sampled rows of x and attn */
    float *logits, *logits_part; /* f32 [rows][vocab]; part: this rank's columns, tp > 1 */
};

struct decoder_opts {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    uint32_t tokens_max, rows_max, context_max;
};

/* A step's attention plan for one kind of layer: on the device, and the same on the host. */
struct attn_plan_ref {
    const void *device, *host;
};

/* One step, as device arrays unless named _host. */
struct decoder_batch {
    const uint32_t *ids, *positions, *token_slots; /* [tokens] */
    const struct attn_row *rows, *rows_host;       /* [row_count] */
    const struct attn_group *groups_host;
    struct attn_plan_ref plans[2]; /* of layers with full attention, with a window */
    const uint32_t *sample_idx;    /* [sample_count]: which tokens get logits; NULL: each of them */
    uint32_t tokens, row_count, group_count, sample_count;
};

/* UNSUPPORTED names what this model, cut into tp ranks, needs and the backend does not have. */
enum status MUST_USE decoder_check(const struct ops *ops, const struct device_info *device,
                                   const struct model_config *config, uint32_t tp, struct err *err);

/* config, weights and cache outlive the decoder. */
enum status MUST_USE decoder_init(const struct decoder_opts *opts,
                                  const struct model_config *config, const struct weights *weights,
                                  const struct kvcache *cache, struct decoder *out,
                                  struct err *err);
void decoder_release(struct decoder *decoder); /* safe on a zeroed struct */

/* Bytes that decoder_init takes. */
uint64_t decoder_bytes(const struct decoder_opts *opts, const struct model_config *config,
                       const struct shard *shard, enum dtype act);

/* Fills decoder->logits [sample_count][vocab]. Asynchronous on the decoder's stream. */
void decoder_forward(struct decoder *decoder, const struct decoder_batch *batch);

#endif
