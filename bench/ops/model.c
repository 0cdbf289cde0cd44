/* model - the ops of one model's shapes, and whole decode steps. */
#include "bench/ops/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void bench_product(struct bench *b, const char *op, void (*run)(struct bench *), uint32_t n,
                          uint32_t k, double act_bytes)
{
    char shape[40];
    double flop = 2.0 * n * k * b->rows, bytes = 2.0 * n * k + act_bytes;
    if (!bench_wanted(b, op))
        return;
    snprintf(shape, sizeof(shape), "%ux%u", n, k);
    double guess = 1e6 * fmax(bytes / READ_BYTES_PER_S, flop / FLOP_PER_S);
    uint32_t calls = guess > 1000 ? 3 : guess > 200 ? 8 : guess > 50 ? 16 : 40;
    bench_line(b, op, shape, bench_time(b, run, calls), bytes, flop);
}

static void bench_products(struct bench *b)
{
    const struct model *m = &b->m;
    double rows = b->rows, item = (double)b->item, q = (double)m->heads * m->dim;
    bench_product(b, "norm_matmul qkv", run_qkv, qkv_cols(m), m->hidden,
                  rows * item * (m->hidden + qkv_cols(m)));
    bench_product(b, "matmul_add o", run_o, m->hidden, m->heads * m->dim,
                  rows * item * (2.0 * m->hidden + q));
    bench_product(b, "norm_gate_up_silu", run_gate_up, 2 * m->inter, m->hidden,
                  rows * item * (m->hidden + m->inter));
    bench_product(b, "matmul_add down", run_down, m->hidden, m->inter,
                  rows * item * (2.0 * m->hidden + m->inter));
    if (b->rows <= SLOTS && (b->cuda || b->rows <= 8))
        bench_product(b, "matmul_f32 head", run_head, m->vocab, m->hidden, rows * 4.0 * m->vocab);
}

static void bench_rows_ops(struct bench *b)
{
    const struct model *m = &b->m;
    double rows = b->rows, item = (double)b->item;
    char shape[40];
    b->prompt = b->rows > SLOTS;
    bench_rows(b);
    snprintf(shape, sizeof(shape), "%u", m->hidden);
    if (bench_wanted(b, "rmsnorm"))
        bench_line(b, "rmsnorm", shape, bench_time(b, run_norm, 40), rows * item * 2 * m->hidden,
                   0);
    if (bench_wanted(b, "embed"))
        bench_line(b, "embed", shape, bench_time(b, run_embed, 40), rows * item * 2 * m->hidden, 0);
    snprintf(shape, sizeof(shape), "%u", m->inter);
    if (bench_wanted(b, "silu_mul"))
        bench_line(b, "silu_mul", shape, bench_time(b, run_silu, 40), rows * item * 3 * m->inter,
                   0);
    snprintf(shape, sizeof(shape), "%u/%ux%u", m->heads, m->kv_heads, m->dim);
    if (bench_wanted(b, "qk_rope_store"))
        bench_line(b, "qk_rope_store", shape, bench_time(b, run_rope, 40),
                   rows * item * 2 * qkv_cols(m), 0);
    if (!bench_wanted(b, "attention"))
        return;
    double keys = b->prompt ? (MIN(b->rows, (uint32_t)CONTEXT) + 1) / 2.0 : CONTEXT;
    double kv = (b->prompt ? rows : rows * CONTEXT) * 2 * m->kv_heads * m->dim * item;
    bench_line(b, b->prompt ? "attention prompt" : "attention decode", shape,
               bench_time(b, run_attention, b->rows > 64 ? 4 : 16), kv,
               4.0 * rows * keys * m->heads * m->dim);
}

static void bench_sample(struct bench *b)
{
    static const struct {
        const char *name;
        float temperature, top_p, min_p;
        uint32_t top_k;
    } settings[] = {{"greedy", 0, 1, 0, 0},
                    {"temperature", 0.6f, 1, 0, 0},
                    {"top_k+top_p", 0.6f, 0.95f, 0, 20},
                    {"top_p", 1, 0.9f, 0, 0},
                    {"min_p", 1, 1, 0.05f, 0}};
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char shape[40];
        b->sampling = sampling_default();
        b->sampling.temperature = settings[i].temperature;
        b->sampling.top_p = settings[i].top_p;
        b->sampling.min_p = settings[i].min_p;
        b->sampling.top_k = settings[i].top_k;
        b->prompt = false;
        bench_rows(b);
        snprintf(shape, sizeof(shape), "%s of %u", settings[i].name, b->m.vocab);
        if (bench_wanted(b, "sample"))
            bench_line(b, "sample", shape, bench_time(b, run_sample, 10),
                       4.0 * b->rows * b->m.vocab, 0);
    }
}

static void bench_step(struct bench *b)
{
    const struct model *m = &b->m;
    double rows = b->rows, item = (double)b->item, layer_us, tail_us;
    double weights = (double)m->hidden * (qkv_cols(m) + (double)m->heads * m->dim + 3.0 * m->inter);
    double kv = rows * CONTEXT * 2 * m->kv_heads * m->dim * item;
    b->sampling = sampling_default();
    b->sampling.temperature = 0.6f;
    b->prompt = false;
    bench_rows(b);
    layer_us = bench_time(b, run_layer, b->cuda ? 16 : 4);
    tail_us = bench_time(b, run_tail, 4);
    double tail_bytes = 2.0 * m->vocab * m->hidden + rows * 4.0 * m->vocab;
    bench_line(b, "layer", "decode at 1023", layer_us, 2 * weights + kv, 2 * weights * rows);
    bench_line(b, "tail", "norm head sample embed", tail_us, tail_bytes,
               2.0 * m->vocab * m->hidden * rows);
    bench_line(b, "step", "decode at 1023", layer_us * m->layers + tail_us,
               m->layers * (2 * weights + kv) + tail_bytes, 2 * (weights * m->layers) * rows);
}

static bool fits(const struct bench *b, uint32_t rows)
{
    return (size_t)rows * (b->m.hidden + 2 * b->m.inter) * b->item <= b->act_bytes &&
           (size_t)rows * qkv_cols(&b->m) * b->item <= b->act_bytes;
}

void bench_model(struct bench *b, const struct model *model, uint32_t tp)
{
    static const uint32_t counts[] = {1, 2, 4, 8, 16, 64, 128, 256, 512, 2048, 8192};
    b->m = *model;
    b->tp = tp;
    b->m.heads /= tp;
    b->m.kv_heads = MAX(1u, model->kv_heads / tp);
    b->m.inter /= tp;
    b->m.vocab /= tp;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        b->rows = counts[i];
        bool few = b->quick || tp > 1 || !b->cuda;
        if (few && (counts[i] == 2 || counts[i] == 4 || counts[i] == 512 || counts[i] == 128))
            continue;
        if (!fits(b, b->rows) || (!b->cuda && b->rows > 64))
            continue;
        bench_products(b);
        if (tp == 1)
            bench_rows_ops(b);
        if (tp == 1 && b->rows <= SLOTS && (b->cuda || b->rows <= 8)) {
            if (strstr(model->name, "0.6B") || !b->cuda)
                bench_sample(b);
            if (bench_wanted(b, "step"))
                bench_step(b);
        }
    }
}
