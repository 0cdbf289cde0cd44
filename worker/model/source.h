/* source - where weights come from: a folder's safetensors, or a formula over their names.
 *
 * The formula makes any config.json runnable without weights, and lets a test in another language
 * build the very same checkpoint (tests/golden/make_golden.py does):
 *
 *   seed(name)   = FNV-1a 64 of the name, xor dummy_seed * 0x9e3779b97f4a7c15
 *   draw(i)      = splitmix64's output i of that seed, its top 24 bits as u in [-1, 1)
 *   element(i)   = bf16( 1 + u/4 for norms,  u/4 for biases,  u * sqrt(3 / k) for [n, k] )
 *
 * so that activations keep their size through any number of layers.
 */
#ifndef MSGL_WORKER_MODEL_SOURCE_H
#define MSGL_WORKER_MODEL_SOURCE_H

#include "worker/model/safetensors.h"

#define TENSOR_NAME_MAX 128

struct source {
    struct safetensors *set; /* NULL: the formula */
    uint64_t dummy_seed;
};

enum status MUST_USE source_open(const char *dir, bool dummy, uint64_t dummy_seed,
                                 struct source *out, struct err *err);
void source_close(struct source *source); /* safe on a zeroed struct */
uint64_t source_hash(const struct source *source, uint64_t config_hash);

/* A tensor of the shape [n, k], or [k] when it is a vector (then n = 1). */
struct source_tensor {
    const struct tensor *tensor; /* NULL: the formula */
    uint64_t seed;
    float scale, shift; /* of the formula */
    uint64_t n, k;
    enum dtype dtype;
};

/* NOT_FOUND, or CORRUPT when shape or type are not what the model needs. */
enum status MUST_USE source_matrix(const struct source *source, const char *name, uint64_t n,
                                   uint64_t k, struct source_tensor *out, struct err *err);
enum status MUST_USE source_vector(const struct source *source, const char *name, uint64_t len,
                                   struct source_tensor *out, struct err *err);

/* A rectangle of a matrix. */
struct source_block {
    uint64_t row_first, row_count, col_first, col_count;
};

/* Copies the block, row by row, to dst as `dtype`: the tensor's own or DTYPE_F32. */
void source_read(const struct source_tensor *tensor, const struct source_block *block,
                 enum dtype dtype, void *dst);

/* The block where it lies in the file; not for the formula. */
struct load_part source_part(const struct source_tensor *tensor, const struct source_block *block);
void source_forget(const struct source_tensor *tensor); /* as safetensors_forget */

#endif
