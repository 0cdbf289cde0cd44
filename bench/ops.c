/* bench ops - time of each op of a backend, and of a whole model's worth of them, as CSV.
 *
 *     bench_ops [backend] [threads]        op,shape,rows,threads,us,gb_per_s,gflop_per_s
 *
 * Shapes are SmolLM2-135M's. Matmul weights are cycled through all layers, so that they come from
 * memory as they do in a model. "step" is every op of one forward, the head included: for `rows`
 * streams that decode at position 256, or for one prompt of `rows` tokens; its last three columns
 * give tokens per second too.
 */
#include "kernels/ops.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HIDDEN = 576,
    INTER = 1536,
    LAYERS = 30,
    Q_HEADS = 9,
    KV_HEADS = 3,
    HEAD = 64,
    VOCAB = 49152
};
enum {
    QKV = (Q_HEADS + 2 * KV_HEADS) * HEAD,
    PAGE = 16,
    PAGES_PER_SLOT = 64,
    SLOTS = 16,
    ROWS_MAX = 512
};

struct layer {
    struct weight qkv, o, gate_up, down;
    void *kv;
};

struct bench {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    uint32_t threads;
    struct layer layers[LAYERS];
    struct weight head;
    uint32_t *page_table, *positions, *slots, *ids, *last;
    float *norm, *cos_sin;
    void *x, *residual, *wide, *narrow, *logits;
};

static void *bench_alloc(struct bench *b, size_t bytes)
{
    void *ptr;
    struct err err;
    if (b->ops->alloc(b->device, bytes, &ptr, &err) != STATUS_OK) {
        fprintf(stderr, "bench_ops: %s\n", err.text);
        exit(1);
    }
    return ptr;
}

static struct weight bench_weight(struct bench *b, uint32_t n, uint32_t k)
{
    size_t count = (size_t)n * k;
    uint16_t *bf16 = mem_array(count, sizeof(*bf16));
    uint64_t seed = count;
    for (size_t i = 0; i < count; i++)
        bf16[i] = (uint16_t)(0x3c00 | (rng_next(&seed) & 0x80ff)); /* +-0.008..0.016 */
    struct weight weight;
    struct err err;
    if (b->ops->weight_load(b->device, bf16, DTYPE_BF16, n, k, false, &weight, &err) != STATUS_OK) {
        fprintf(stderr, "bench_ops: %s\n", err.text);
        exit(1);
    }
    mem_free(bf16);
    return weight;
}

static void *bench_upload(struct bench *b, const void *host, size_t bytes)
{
    void *ptr = bench_alloc(b, bytes);
    b->ops->upload(b->device, b->stream, ptr, host, bytes);
    b->ops->stream_sync(b->device, b->stream, NULL);
    return ptr;
}

/* Tables for SLOTS streams at position 256; a prompt uses slot 0 from position 0. */
static void bench_init(struct bench *b)
{
    size_t kv_bytes = (size_t)SLOTS * PAGES_PER_SLOT * 2 * KV_HEADS * PAGE * HEAD * sizeof(float);
    for (int i = 0; i < LAYERS; i++) {
        struct layer *layer = &b->layers[i];
        layer->qkv = bench_weight(b, QKV, HIDDEN);
        layer->o = bench_weight(b, HIDDEN, HIDDEN);
        layer->gate_up = bench_weight(b, 2 * INTER, HIDDEN);
        layer->down = bench_weight(b, HIDDEN, INTER);
        layer->kv = bench_alloc(b, kv_bytes);
    }
    b->head = bench_weight(b, VOCAB, HIDDEN);
    uint32_t table[SLOTS * PAGES_PER_SLOT];
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++)
        table[i] = i;
    b->page_table = bench_upload(b, table, sizeof(table));
    size_t row = sizeof(float) * ROWS_MAX;
    b->positions = bench_alloc(b, row);
    b->slots = bench_alloc(b, row);
    b->ids = bench_alloc(b, row);
    b->last = bench_alloc(b, row);
    float ones[INTER], *cos_sin = mem_array(1024 * HEAD, sizeof(float));
    for (uint32_t i = 0; i < INTER; i++)
        ones[i] = 1;
    for (uint32_t i = 0; i < 1024 * HEAD; i++)
        cos_sin[i] = i % HEAD < HEAD / 2 ? 0.8f : 0.6f;
    b->norm = bench_upload(b, ones, sizeof(ones));
    b->cos_sin = bench_upload(b, cos_sin, (size_t)1024 * HEAD * sizeof(float));
    mem_free(cos_sin);
    b->x = bench_alloc(b, row * HIDDEN);
    b->residual = bench_alloc(b, row * HIDDEN);
    b->wide = bench_alloc(b, row * 2 * INTER);
    b->narrow = bench_alloc(b, row * INTER);
    b->logits = bench_alloc(b, (size_t)SLOTS * VOCAB * sizeof(float));
}

/* Rows for `m` streams that decode, or one prompt of `m` tokens. */
static uint32_t bench_rows(struct bench *b, struct attn_row *rows, uint32_t m, bool prompt)
{
    uint32_t positions[ROWS_MAX], slots[ROWS_MAX], count = prompt ? 1 : m;
    for (uint32_t i = 0; i < m; i++) {
        positions[i] = prompt ? i : 256;
        slots[i] = prompt ? 0 : i;
        if (i < count)
            rows[i] = (struct attn_row){.slot = i,
                                        .token_first = i,
                                        .token_count = prompt ? m : 1,
                                        .pos_first = prompt ? 0 : 256};
    }
    b->ops->upload(b->device, b->stream, b->positions, positions, m * sizeof(*positions));
    b->ops->upload(b->device, b->stream, b->slots, slots, m * sizeof(*slots));
    return count;
}

static void bench_layer(struct bench *b, const struct layer *layer, const struct attn_row *rows,
                        uint32_t row_count, uint32_t m)
{
    const struct ops *ops = b->ops;
    struct device *d = b->device;
    struct stream *s = b->stream;
    struct kv_view kv = {.pool = layer->kv,
                         .page_table = b->page_table,
                         .pages = SLOTS * PAGES_PER_SLOT,
                         .pages_per_slot = PAGES_PER_SLOT,
                         .page_size = PAGE,
                         .kv_heads = KV_HEADS,
                         .head_dim = HEAD};
    struct qkv_args qkv = {.qkv = b->wide,
                           .positions = b->positions,
                           .token_slots = b->slots,
                           .cos_sin = b->cos_sin,
                           .tokens = m,
                           .q_heads = Q_HEADS};
    struct attn_args attn = {.out = b->narrow,
                             .qkv = b->wide,
                             .qkv_stride = QKV,
                             .rows = rows,
                             .rows_host = rows,
                             .row_count = row_count,
                             .q_heads = Q_HEADS,
                             .scale = 0.125f};
    ops->add_rmsnorm(d, s, b->x, b->residual, b->x, b->norm, m, HIDDEN, 1e-5f);
    ops->matmul(d, s, b->wide, b->x, &layer->qkv, NULL, m);
    ops->qk_rope_store(d, s, &kv, &qkv);
    ops->attention(d, s, &kv, &attn);
    ops->matmul(d, s, b->x, b->narrow, &layer->o, NULL, m);
    ops->add_rmsnorm(d, s, b->x, b->residual, b->x, b->norm, m, HIDDEN, 1e-5f);
    ops->matmul(d, s, b->wide, b->x, &layer->gate_up, NULL, m);
    ops->silu_mul(d, s, b->narrow, b->wide, m, INTER);
    ops->matmul(d, s, b->x, b->narrow, &layer->down, NULL, m);
}

static void bench_line(const struct bench *b, const char *op, const char *shape, uint32_t rows,
                       double us, double bytes, double flops)
{
    printf("%s,%s,%u,%u,%.1f,%.2f,%.2f\n", op, shape, rows, b->threads, us, bytes / us / 1e3,
           flops / us / 1e3);
    fflush(stdout);
}

/* The best of some turns: what the machine can do when nobody disturbs it. */
#define BEST_US(turns, ...)                                                                        \
    ({                                                                                             \
        double best_ = 1e30;                                                                       \
        for (int turn_ = 0; turn_ < (turns); turn_++) {                                            \
            uint64_t from_ = clock_now_ns();                                                       \
            __VA_ARGS__;                                                                           \
            b->ops->stream_sync(b->device, b->stream, NULL);                                       \
            best_ = MIN(best_, (double)(clock_now_ns() - from_) / 1e3);                            \
        }                                                                                          \
        best_;                                                                                     \
    })

static void bench_matmul(struct bench *b, const char *shape, size_t which, uint32_t m)
{
    const struct weight *w = (const void *)((const char *)&b->layers[0] + which);
    double us = BEST_US(5, for (int i = 0; i < LAYERS; i++) b->ops->matmul(
                               b->device, b->stream, b->wide, b->narrow,
                               (const void *)((const char *)&b->layers[i] + which), NULL, m)) /
                LAYERS;
    double work = (double)w->n * w->k;
    bench_line(b, "matmul", shape, m, us, work * 2 + (double)m * (w->n + w->k) * 4, 2 * work * m);
}

static void bench_step(struct bench *b, uint32_t m, bool prompt)
{
    struct attn_row rows[ROWS_MAX];
    uint32_t row_count = bench_rows(b, rows, m, prompt), heads = prompt ? 1 : m;
    double us = BEST_US(4, for (int i = 0; i < LAYERS; i++)
                               bench_layer(b, &b->layers[i], rows, row_count, m);
                        b->ops->matmul_f32(b->device, b->stream, b->logits, b->x, &b->head, heads));
    double layer = (double)LAYERS * HIDDEN * (QKV + HIDDEN + 3.0 * INTER),
           head = (double)VOCAB * HIDDEN;
    char shape[64];
    snprintf(shape, sizeof(shape), "%s %.1f tokens/s", prompt ? "prompt" : "decode", m / us * 1e6);
    bench_line(b, "step", shape, m, us, 2 * (layer + head), 2 * (layer * m + head * heads));
}

static void bench_small_ops(struct bench *b, uint32_t m)
{
    struct attn_row rows[ROWS_MAX];
    bool prompt = m > SLOTS;
    uint32_t row_count = bench_rows(b, rows, m, prompt);
    struct kv_view kv = {.pool = b->layers[0].kv,
                         .page_table = b->page_table,
                         .pages = SLOTS * PAGES_PER_SLOT,
                         .pages_per_slot = PAGES_PER_SLOT,
                         .page_size = PAGE,
                         .kv_heads = KV_HEADS,
                         .head_dim = HEAD};
    struct qkv_args qkv = {.qkv = b->wide,
                           .positions = b->positions,
                           .token_slots = b->slots,
                           .cos_sin = b->cos_sin,
                           .tokens = m,
                           .q_heads = Q_HEADS};
    struct attn_args attn = {.out = b->narrow,
                             .qkv = b->wide,
                             .qkv_stride = QKV,
                             .rows = rows,
                             .rows_host = rows,
                             .row_count = row_count,
                             .q_heads = Q_HEADS,
                             .scale = 0.125f};
    double keys = prompt ? (m + 1) / 2.0 : 257, norm_bytes = (double)m * HIDDEN * 16;
    double us = BEST_US(20, b->ops->add_rmsnorm(b->device, b->stream, b->x, b->residual, b->x,
                                                b->norm, m, HIDDEN, 1e-5f));
    bench_line(b, "add_rmsnorm", "576", m, us, norm_bytes, (double)m * HIDDEN * 5);
    us = BEST_US(20, b->ops->silu_mul(b->device, b->stream, b->narrow, b->wide, m, INTER));
    bench_line(b, "silu_mul", "1536", m, us, (double)m * INTER * 12, (double)m * INTER * 20);
    us = BEST_US(20, b->ops->qk_rope_store(b->device, b->stream, &kv, &qkv));
    bench_line(b, "qk_rope_store", "9/3x64", m, us, (double)m * QKV * 8, (double)m * QKV * 6);
    us = BEST_US(10, b->ops->attention(b->device, b->stream, &kv, &attn));
    bench_line(b, "attention", prompt ? "prompt" : "256 keys", m, us,
               (prompt ? 1 : m) * 2.0 * (prompt ? m : 257) * KV_HEADS * HEAD * 4,
               4.0 * m * keys * Q_HEADS * HEAD);
}

static void bench_sample(struct bench *b, const char *name, struct sampling sampling)
{
    struct sample_row row = {.position = 7, .sampling = sampling};
    double us = BEST_US(
        10, b->ops->sample(b->device, b->stream, b->ids, b->last, b->logits, VOCAB, &row, 1));
    bench_line(b, "sample", name, 1, us, VOCAB * 4.0, 0);
}

static void bench_all(struct bench *b)
{
    static const uint32_t counts[] = {1, 2, 4, 8, 16, 64, 512};
    printf("op,shape,rows,threads,us,gb_per_s,gflop_per_s\n");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        bench_matmul(b, "960x576", offsetof(struct layer, qkv), counts[i]);
        bench_matmul(b, "576x576", offsetof(struct layer, o), counts[i]);
        bench_matmul(b, "3072x576", offsetof(struct layer, gate_up), counts[i]);
        bench_matmul(b, "576x1536", offsetof(struct layer, down), counts[i]);
        bench_small_ops(b, counts[i]);
        bench_step(b, counts[i], counts[i] > SLOTS);
    }
    struct sampling sampling = sampling_default();
    bench_sample(b, "temperature", sampling);
    sampling.top_p = 0.9f;
    bench_sample(b, "top_p", sampling);
    sampling.top_k = 40;
    bench_sample(b, "top_k+top_p", sampling);
    sampling.temperature = 0;
    bench_sample(b, "greedy", sampling);
}

int main(int argc, char **argv)
{
    struct bench *b = mem_zalloc(sizeof(*b));
    struct err err;
    b->ops = ops_find(argc > 1 ? argv[1] : "cpu");
    if (!b->ops) {
        fprintf(stderr, "bench_ops: there is no backend %s\n", argc > 1 ? argv[1] : "cpu");
        return 1;
    }
    b->threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2;
    struct device_opts opts = {.threads = b->threads, .tp = 1};
    if (b->ops->open(&opts, &b->device, &err) != STATUS_OK ||
        b->ops->stream_new(b->device, &b->stream, &err) != STATUS_OK) {
        fprintf(stderr, "bench_ops: %s\n", err.text);
        return 1;
    }
    bench_init(b);
    bench_all(b);
    return 0; /* the process's end frees what it measured with */
}
