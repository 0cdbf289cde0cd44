/* Mixture of experts, and the norm of a part of a row.
 *
 * An expert's rows are gathered, go through the plain matmul together, and are scattered again:
 *
 *   ids   [2 0] [0 3] [2 1]          slots by expert: 0: 1 2   1: 5   2: 0 4   3: 3
 *
 * Each output element is made by the same roundings as if its row were alone.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

void cpu_norm_part(struct device *device, struct stream *stream, void *x, const float *w,
                   uint32_t rows, uint32_t stride, uint32_t dim, float eps)
{
    for (uint32_t row = 0; row < rows; row++) {
        float *part = (float *)x + (size_t)row * stride;
        device->isa->norm(part, NULL, part, w, dim, eps);
    }
}

static float square_sum(const float *x, uint32_t dim)
{
    float sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += x[i] * x[i];
    return sum;
}

void cpu_qk_sums(struct device *device, struct stream *stream, float *sums,
                 const struct wide_norm_args *args)
{
    for (uint32_t row = 0; row < args->rows; row++) {
        const float *q = (const float *)args->qkv + (size_t)row * args->stride;
        sums[2 * (size_t)row] = square_sum(q, args->q_dim);
        sums[2 * (size_t)row + 1] = args->k_counts ? square_sum(q + args->q_dim, args->k_dim) : 0;
    }
}

static void norm_by_sum(float *x, const float *w, uint32_t dim, const float *sums, uint32_t parts,
                        uint32_t width, float eps)
{
    float sum = 0;
    for (uint32_t i = 0; i < parts; i++)
        sum += sums[2 * (size_t)i];
    float scale = 1.0f / sqrtf(sum / (float)width + eps);
    for (uint32_t i = 0; i < dim; i++)
        x[i] = x[i] * scale * w[i];
}

void cpu_qk_norm_by_sums(struct device *device, struct stream *stream, const float *sums,
                         uint32_t parts, const struct wide_norm_args *args)
{
    for (uint32_t row = 0; row < args->rows; row++) {
        const float *all = sums + 2 * (size_t)row * parts;
        float *q = (float *)args->qkv + (size_t)row * args->stride;
        norm_by_sum(q, args->q_norm, args->q_dim, all, parts, args->q_width, args->eps);
        norm_by_sum(q + args->q_dim, args->k_norm, args->k_dim, all + 1, parts, args->k_width,
                    args->eps);
    }
}

static void route_row(uint32_t *ids, float *weights, const float *logits,
                      const struct expert_args *args)
{
    float most = logits[0], sum = 0, chosen = 0;
    for (uint32_t e = 1; e < args->experts; e++)
        most = fmaxf(most, logits[e]);
    for (uint32_t e = 0; e < args->experts; e++)
        sum += expf(logits[e] - most);
    for (uint32_t j = 0; j < args->top; j++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t e = 0; e < args->experts; e++) {
            bool taken = false;
            for (uint32_t i = 0; i < j; i++)
                taken |= ids[i] == e;
            if (!taken && (best == UINT32_MAX || logits[e] > logits[best]))
                best = e;
        }
        ids[j] = best;
        weights[j] = expf(logits[best] - most) / sum;
        chosen += weights[j];
    }
    for (uint32_t j = 0; args->renormalize && j < args->top; j++)
        weights[j] /= chosen;
}

void cpu_route(struct device *device, struct stream *stream, uint32_t *ids, float *weights,
               const float *logits, const struct expert_args *args)
{
    for (uint32_t row = 0; row < args->rows; row++)
        route_row(ids + (size_t)row * args->top, weights + (size_t)row * args->top,
                  logits + (size_t)row * args->experts, args);
}

/* Rows of one expert, behind one another, and what becomes of them. */
struct batch {
    float *in, *out;
    const uint32_t *slots;
    uint32_t count;
    struct weight w;
};

static struct weight expert_weight(const struct weight *w, uint32_t experts, uint32_t expert)
{
    struct weight part = *w;
    part.n = w->n / experts;
    part.data = (char *)w->data + (size_t)expert * part.n * w->k * dtype_bytes(w->dtype);
    return part;
}

/* Runs `use` on each expert's rows. Row of a slot s: x[s / per]. */
static void each_expert(struct device *device, const float *x, uint32_t per, const struct weight *w,
                        const struct expert_args *args,
                        void (*use)(struct device *device, const struct batch *batch, void *y),
                        void *y)
{
    uint32_t slots = args->rows * args->top, n = w->n / args->experts;
    size_t list_floats = ROUND_UP((size_t)slots, (size_t)16);
    float *memory = scratch_get(&device->moe, list_floats + (size_t)slots * (w->k + n));
    uint32_t *list = (uint32_t *)(void *)memory;
    struct batch batch = {.in = memory + list_floats, .slots = list};
    batch.out = batch.in + (size_t)slots * w->k;
    for (uint32_t expert = 0; expert < args->experts; expert++) {
        batch.count = 0;
        for (uint32_t slot = 0; slot < slots; slot++) {
            if (args->ids[slot] != expert)
                continue;
            memcpy(batch.in + (size_t)batch.count * w->k, x + (size_t)(slot / per) * w->k,
                   w->k * sizeof(float));
            list[batch.count++] = slot;
        }
        if (batch.count == 0)
            continue;
        batch.w = expert_weight(w, args->experts, expert);
        cpu_matmul(device, NULL, batch.out, batch.in, &batch.w, NULL, batch.count);
        use(device, &batch, y);
    }
}

static void use_gate_up(struct device *device, const struct batch *batch, void *y)
{
    uint32_t dim = batch->w.n / 2;
    for (uint32_t i = 0; i < batch->count; i++) {
        const float *gate = batch->out + (size_t)i * batch->w.n;
        device->isa->silu_mul((float *)y + (size_t)batch->slots[i] * dim, gate, gate + dim, dim);
    }
}

static void use_down(struct device *device, const struct batch *batch, void *y)
{
    for (uint32_t i = 0; i < batch->count; i++)
        memcpy((float *)y + (size_t)batch->slots[i] * batch->w.n,
               batch->out + (size_t)i * batch->w.n, batch->w.n * sizeof(float));
}

void cpu_experts_gate_up(struct device *device, struct stream *stream, void *y, const void *x,
                         const struct weight *w, const struct expert_args *args)
{
    each_expert(device, x, args->top, w, args, use_gate_up, y);
}

void cpu_experts_down(struct device *device, struct stream *stream, void *y, const void *a,
                      const struct weight *w, const struct expert_args *args)
{
    uint32_t n = w->n / args->experts;
    float *parts = scratch_get(&device->moe_parts, (size_t)args->rows * args->top * n);
    each_expert(device, a, 1, w, args, use_down, parts);
    for (uint32_t row = 0; row < args->rows; row++) {
        float *sum = (float *)y + (size_t)row * n;
        memset(sum, 0, n * sizeof(*sum));
        for (uint32_t j = 0; j < args->top; j++) {
            const float *part = parts + ((size_t)row * args->top + j) * n;
            float weight = args->weights[(size_t)row * args->top + j];
            for (uint32_t i = 0; i < n; i++)
                sum[i] += weight * part[i];
        }
    }
}

void cpu_add_gated(struct device *device, struct stream *stream, void *x, const void *y,
                   const float *gate, uint32_t rows, uint32_t dim)
{
    for (uint32_t row = 0; row < rows; row++) {
        float *sum = (float *)x + (size_t)row * dim, scale = 1.0f / (1.0f + expf(-gate[row]));
        const float *added = (const float *)y + (size_t)row * dim;
        for (uint32_t i = 0; i < dim; i++)
            sum[i] += scale * added[i];
    }
}
