/* elem_body - the loops over single rows: norm, silu, rotation, widening, softmax parts. */
#ifndef MSGL_KERNELS_CPU_ELEM_BODY_H
#define MSGL_KERNELS_CPU_ELEM_BODY_H

#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"

#include <math.h>

static void body_norm(float *y, float *residual, const float *x, const float *w, uint32_t dim,
                      float eps)
{
    uint32_t whole = dim / 8 * 8, rest = dim - whole;
    const float *in = residual ? residual : x;
    if (residual && x) {
        for (uint32_t i = 0; i < whole; i += 8)
            v8_store(residual + i, v8_load(residual + i) + v8_load(x + i));
        for (uint32_t i = whole; i < dim; i++)
            residual[i] += x[i];
    }
    v8 squares[4] = {v8_set(0), v8_set(0), v8_set(0), v8_set(0)};
    for (uint32_t i = 0; i < whole; i += 8) {
        v8 v = v8_load(in + i);
        squares[i / 8 % 4] += v * v;
    }
    if (rest) {
        v8 v = v8_load_some(in + whole, rest);
        squares[0] += v * v;
    }
    float mean = v8_sum((squares[0] + squares[1]) + (squares[2] + squares[3])) / (float)dim;
    float inverse = 1.0f / sqrtf(mean + eps);
    for (uint32_t i = 0; i < whole; i += 8)
        v8_store(y + i, v8_load(in + i) * v8_set(inverse) * v8_load(w + i));
    for (uint32_t i = whole; i < dim; i++)
        y[i] = in[i] * inverse * w[i];
}

static void body_silu_mul(float *y, const float *gate, const float *up, uint32_t dim)
{
    uint32_t i = 0;
    for (; i + 8 <= dim; i += 8) {
        v8 g = v8_load(gate + i);
        v8_store(y + i, g / (v8_set(1) + v8_exp(-g)) * v8_load(up + i));
    }
    if (i < dim) {
        v8 g = v8_load_some(gate + i, dim - i);
        v8 lanes = g / (v8_set(1) + v8_exp(-g)) * v8_load_some(up + i, dim - i);
        memcpy(y + i, &lanes, (dim - i) * sizeof(float));
    }
}

static void body_widen(float *y, const uint16_t *bf16, uint32_t count)
{
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8)
        v8_store(y + i, v8_load_bf16(bf16 + i));
    for (; i < count; i++) {
        uint32_t bits = (uint32_t)bf16[i] << 16;
        memcpy(y + i, &bits, sizeof(bits));
    }
}

/* (a, b) = (a cos - b sin, b cos + a sin); a and b are the halves of the head. */
static void body_rotate(float *head, const float *cos_sin, uint32_t head_dim)
{
    uint32_t half = head_dim / 2, i = 0;
    const float *sines = cos_sin + half;
    for (; i + 8 <= half; i += 8) {
        v8 a = v8_load(head + i), b = v8_load(head + half + i);
        v8 c = v8_load(cos_sin + i), s = v8_load(sines + i);
        v8_store(head + i, a * c - b * s);
        v8_store(head + half + i, b * c + a * s);
    }
    for (; i < half; i++) {
        float a = head[i], b = head[half + i];
        head[i] = a * cos_sin[i] - b * sines[i];
        head[half + i] = b * cos_sin[i] + a * sines[i];
    }
}

static float body_top(const float *x, uint32_t count)
{
    v8 tops = v8_set(-INFINITY);
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8)
        tops = v8_max(v8_load(x + i), tops);
    float top = v8_top(tops);
    for (; i < count; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

static void body_exp_row(float *y, const float *x, uint32_t count, float top, float scale)
{
    for (uint32_t i = 0; i < count; i += 8) {
        uint32_t lanes = MIN(8, count - i);
        v8 in = lanes == 8 ? v8_load(x + i) : v8_load_some(x + i, lanes);
        v8 arg = (in - v8_set(top)) * v8_set(scale);
        v8 out = (v8)((v8i)v8_exp(arg) & (arg >= v8_set(-87.0f)));
        if (lanes == 8)
            v8_store(y + i, out);
        else
            memcpy(y + i, &out, lanes * sizeof(float));
    }
}

#endif
