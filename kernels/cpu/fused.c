/* The fused ops of a layer, made of the plain ones: on a CPU the parts' results stay in cache. */
#include "kernels/cpu/cpu.h"

void cpu_norm_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                     const struct norm *norm, const struct weight *w, const float *bias, uint32_t m,
                     void *scratch)
{
    cpu_rmsnorm(device, stream, scratch, x, norm->w, m, w->k, norm->eps);
    cpu_matmul(device, stream, y, scratch, w, bias, m);
}

void cpu_norm_gate_up_silu(struct device *device, struct stream *stream, void *y, const void *x,
                           const struct norm *norm, const struct weight *w, const float *bias,
                           uint32_t m, void *scratch)
{
    float *normed = scratch, *gate_up = normed + (size_t)m * w->k;
    cpu_rmsnorm(device, stream, normed, x, norm->w, m, w->k, norm->eps);
    cpu_matmul(device, stream, gate_up, normed, w, bias, m);
    cpu_silu_mul(device, stream, y, gate_up, m, w->n / 2);
}

void cpu_add(struct device *device, struct stream *stream, void *x, const void *y, size_t count)
{
    float *sum = x;
    const float *added = y;
    for (size_t i = 0; i < count; i++)
        sum[i] += added[i];
}

void cpu_scale(struct device *device, struct stream *stream, void *x, float by, size_t count)
{
    float *scaled = x;
    for (size_t i = 0; i < count; i++)
        scaled[i] *= by;
}

void cpu_matmul_add(struct device *device, struct stream *stream, void *x, const void *a,
                    const struct weight *w, const float *bias, uint32_t m, void *scratch)
{
    cpu_matmul(device, stream, scratch, a, w, bias, m);
    cpu_add(device, stream, x, scratch, (size_t)m * w->n);
}

/* Attention here walks the rows as they are. */
size_t cpu_attn_plan_bytes(const struct device *device, const struct attn_shape *shape,
                           uint32_t rows, uint32_t tokens, uint32_t context)
{
    return 0;
}

size_t cpu_attn_plan(const struct device *device, const struct attn_shape *shape,
                     const struct attn_row *rows, uint32_t row_count,
                     const struct attn_group *groups, uint32_t group_count, void *out)
{
    return 0;
}
