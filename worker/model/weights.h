/* weights - a model's weights on the device, cut to this rank's share.
 *
 *   rows of q | k | v  merged   [ (heads + 2 kv_heads) * head_dim , hidden ]   cut by heads
 *   o                           [ hidden , heads * head_dim ]                  cut by columns
 *   gate | up          merged   [ 2 intermediate , hidden ]                    cut by rows
 *   down                        [ hidden , intermediate ]                      cut by columns
 *   experts: gate | up, down of each, one below the other                      cut as above
 *   embedding, head             [ vocab , hidden ]                             cut by rows
 *
 * worker/model/shard.h says which rank holds what. The sums over cut columns are the decoder's all_reduce; biases of o and down are added by rank 0 alone.
 */
#ifndef MSGL_WORKER_MODEL_WEIGHTS_H
#define MSGL_WORKER_MODEL_WEIGHTS_H

#include "worker/model/shard.h"
#include "worker/model/source.h"

/* Norms and biases are f32 device arrays; NULL where the architecture has none. */
struct layer_weights {
    float *input_norm; /* NULL with post_norm */
    float *post_norm;  /* in front of the MLP; with post_norm: behind attention */
    float *mlp_norm;   /* with post_norm: behind the MLP */
    float *q_norm, *k_norm;
    struct weight qkv, o;
    struct weight gate_up, down;                            /* or all experts' */
    struct weight router;                                   /* [experts, hidden] */
    struct weight shared_gate_up, shared_down, shared_gate; /* the last one [1, hidden] */
    float *qkv_bias, *o_bias, *gate_up_bias, *down_bias;
};

struct weights {
    const struct ops *ops;
    struct device *device;
    struct source source; /* stays open: weights may be borrowed from its mapping */
    struct shard shard;
    struct weight embed;
    struct weight head; /* a copy of `embed` when tied */
    bool tied;
    float *final_norm;
    struct layer_weights *layers;
    uint32_t layer_count;
    uint64_t bytes; /* of all matrices as the device keeps them */
    uint64_t hash;  /* of headers and sizes of what they were loaded from */
};

struct weights_opts {
    const struct ops *ops;
    struct device *device;
    const char *dir;
    bool dummy;
    uint64_t dummy_seed;
    uint32_t rank, tp;
};

/* Everything or nothing. The device outlives the weights. */
enum status MUST_USE weights_load(const struct weights_opts *opts,
                                  const struct model_config *config, struct weights *out,
                                  struct err *err);
/* Tells weights apart that differ in their values alone; reads all of them. */
uint64_t weights_content_hash(const struct weights *weights);
void weights_release(struct weights *weights); /* safe on a zeroed struct */

#endif
