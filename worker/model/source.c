/* source - tensors by name, from files or from the formula of source.h. */
#include "worker/model/source.h"

#include "common/hash.h"
#include "common/rng.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define GOLDEN 0x9e3779b97f4a7c15u

enum status source_open(const char *dir, bool dummy, uint64_t dummy_seed, struct source *out,
                        struct err *err)
{
    *out = (struct source){.dummy_seed = dummy_seed};
    return dummy ? STATUS_OK : safetensors_open(dir, &out->set, err);
}

void source_close(struct source *source)
{
    safetensors_close(source->set);
    source->set = NULL;
}

uint64_t source_hash(const struct source *source, uint64_t config_hash)
{
    if (source->set != NULL)
        return safetensors_hash(source->set);
    return hash_bytes_seeded(&source->dummy_seed, sizeof(source->dummy_seed), config_hash);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void formula_init(struct source_tensor *out, const char *name, uint64_t dummy_seed)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    out->seed = hash ^ (dummy_seed * GOLDEN);
    out->dtype = DTYPE_BF16;
    out->scale = sqrtf(3.0f / (float)out->k);
    if (ends_with(name, "norm.weight")) {
        out->scale = 0.25f;
        out->shift = 1.0f;
    } else if (ends_with(name, ".bias")) {
        out->scale = 0.25f;
    }
}

static enum status tensor_find(const struct source *source, const char *name, uint32_t rank,
                               struct source_tensor *out, struct err *err)
{
    if (source->set == NULL) {
        formula_init(out, name, source->dummy_seed);
        return STATUS_OK;
    }
    const struct tensor *tensor = safetensors_find(source->set, name);
    if (tensor == NULL)
        return err_set(err, STATUS_NOT_FOUND, "tensor %s is missing", name);
    if (tensor->rank != rank || tensor->shape[rank - 1] != out->k ||
        (rank == 2 && tensor->shape[0] != out->n))
        return err_set(err, STATUS_CORRUPT,
                       "tensor %s has %u dimensions, the last one %" PRIu64
                       ", where config.json asks for [%" PRIu64 ", %" PRIu64 "]",
                       name, tensor->rank, tensor->rank ? tensor->shape[tensor->rank - 1] : 0,
                       out->n, out->k);
    if (!tensor->usable)
        return err_set(err, STATUS_UNSUPPORTED,
                       "tensor %s has the type %s; we read BF16, F16 and F32", name,
                       tensor->dtype_name);
    out->tensor = tensor;
    out->dtype = tensor->dtype;
    return STATUS_OK;
}

enum status source_matrix(const struct source *source, const char *name, uint64_t n, uint64_t k,
                          struct source_tensor *out, struct err *err)
{
    *out = (struct source_tensor){.n = n, .k = k};
    return tensor_find(source, name, 2, out, err);
}

enum status source_vector(const struct source *source, const char *name, uint64_t len,
                          struct source_tensor *out, struct err *err)
{
    *out = (struct source_tensor){.n = 1, .k = len};
    return tensor_find(source, name, 1, out, err);
}

static float bits_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float f32_of_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exp = half >> 10 & 31u, frac = half & 0x3ffu;
    if (exp == 31) /* infinity and NaN */
        return bits_f32(sign | 0x7f800000u | frac << 13);
    if (exp == 0) /* zero and subnormals: frac * 2^-24 is exact */
        return (sign ? -1.0f : 1.0f) * (float)frac * 0x1.0p-24f;
    return bits_f32(sign | (exp + 112) << 23 | frac << 13);
}

/* Round to nearest, ties to even. The formula makes no NaN. */
static uint16_t bf16_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static void row_as_f32(const uint8_t *src, enum dtype dtype, uint64_t count, float *dst)
{
    if (dtype == DTYPE_F32) {
        memcpy(dst, src, count * sizeof(*dst));
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, src + i * sizeof(half), sizeof(half));
        dst[i] = dtype == DTYPE_F16 ? f32_of_f16(half) : bits_f32((uint32_t)half << 16);
    }
}

static void formula_row(const struct source_tensor *tensor, uint64_t first, uint64_t count,
                        enum dtype dtype, void *dst)
{
    uint64_t state = tensor->seed + first * GOLDEN;
    for (uint64_t i = 0; i < count; i++) {
        float u = (float)(rng_next(&state) >> 40) * 0x1.0p-23f - 1.0f;
        uint16_t half = bf16_of_f32(tensor->shift + u * tensor->scale);
        if (dtype == DTYPE_BF16)
            ((uint16_t *)dst)[i] = half;
        else
            ((float *)dst)[i] = bits_f32((uint32_t)half << 16);
    }
}

void source_read(const struct source_tensor *tensor, const struct source_block *block,
                 enum dtype dtype, void *dst)
{
    CHECK(dtype == DTYPE_F32 || dtype == tensor->dtype);
    CHECK(block->row_first + block->row_count <= tensor->n);
    CHECK(block->col_first + block->col_count <= tensor->k);
    uint8_t *out = dst;
    size_t row_bytes = block->col_count * dtype_bytes(dtype);
    for (uint64_t i = 0; i < block->row_count; i++, out += row_bytes) {
        uint64_t first = (block->row_first + i) * tensor->k + block->col_first;
        if (tensor->tensor == NULL) {
            formula_row(tensor, first, block->col_count, dtype, out);
            continue;
        }
        const uint8_t *src = tensor->tensor->data + first * dtype_bytes(tensor->dtype);
        if (dtype == tensor->dtype)
            memcpy(out, src, row_bytes);
        else
            row_as_f32(src, tensor->dtype, block->col_count, (float *)(void *)out);
    }
}

struct load_part source_part(const struct source_tensor *tensor, const struct source_block *block)
{
    uint64_t first = block->row_first * tensor->k + block->col_first;
    CHECK(block->row_first + block->row_count <= tensor->n);
    CHECK(block->col_first + block->col_count <= tensor->k);
    return (struct load_part){.data = tensor->tensor->data + first * dtype_bytes(tensor->dtype),
                              .dtype = tensor->dtype,
                              .row_count = block->row_count,
                              .stride = tensor->k};
}

void source_forget(const struct source_tensor *tensor)
{
    if (tensor->tensor != NULL)
        safetensors_forget(tensor->tensor);
}
