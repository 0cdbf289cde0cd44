/* bench ops - time, bytes, FLOP and share of the ceiling of each op over real models' shapes, as CSV.
 *
 *     bench_ops [--backend cuda|cpu] [--quick] [--threads N] [--model PART] [--op PART]
 *
 *     op,model,tp,shape,rows,us,gb_per_s,tflop_per_s,share
 *
 * share: the time that the bytes (at 4.53 TB/s) or the FLOP (at 790 TFLOP/s, whichever is longer)
 * would take on an H200 by docs/PERFORMANCE.md, over the time measured; empty on cpu. Calls are
 * timed with events over graph replays (on cpu: one behind the other), the best of some turns, with
 * weights and caches at ever new places of a pool larger than the L2 cache, random and not zero.
 * "layer" is the six ops of a layer one behind the other, "step" a whole decode step of a model at
 * position 1,023, sampling included: its layers are timed together and scaled to the model's. A
 * mixture's bytes are those of the experts that the rows, drawn evenly, fall on.
 */
#include "kernels/ops.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES_PER_S 4.53e12
#define FLOP_PER_S       790e12

struct model {
    const char *name;
    uint32_t hidden, heads, kv_heads, dim, inter, vocab, layers;
    bool qk_norm;
};

/* Mixtures of experts: their two products are timed alone. */
static const struct mixture {
    const char *name;
    uint32_t hidden, experts, top, inter; /* of one expert */
} mixtures[] = {{"Qwen3-30B-A3B", 2048, 128, 8, 768}};

static const struct model models[] = {
    {"SmolLM2-135M", 576, 9, 3, 64, 1536, 49152, 30, false},
    {"Qwen3-0.6B", 1024, 16, 8, 128, 3072, 151936, 28, true},
    {"Qwen3-8B", 4096, 32, 8, 128, 12288, 151936, 36, true},
    {"Qwen3-14B", 5120, 40, 8, 128, 17408, 151936, 40, true},
    {"Qwen3-32B", 5120, 64, 8, 128, 25600, 151936, 64, true},
};

enum { PAGE = 16, SLOTS = 256, CONTEXT = 1024, PER_SLOT = CONTEXT / PAGE, ROWS_MAX = 8192 };

struct bench {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct event *from, *to;
    bool cuda, quick;
    const char *model_filter, *op_filter;
    size_t item; /* bytes of an activation */
    char *pool;  /* random bf16: weights, and KV pages where activations are bf16 */
    size_t pool_bytes, pool_at;
    void *kv_pool;
    size_t act_bytes;
    void *x, *y, *attn, *scratch;
    float *logits, *norm, *cos_sin;
    uint32_t *page_table, *positions, *slots, *ids, *last, *out;
    struct attn_row rows_host[SLOTS], *attn_rows;
    struct sample_row *sample_rows;
    const struct mixture *mixture;
    struct expert_args experts;
    void *plan_host, *plan;
    size_t plan_bytes, planned; /* room, and what the plan of these rows takes */
    /* the shape being timed */
    struct model m; /* cut for tp */
    uint32_t tp, rows;
    struct sampling sampling;
    bool prompt;
};

static NORETURN void die(const char *text)
{
    fprintf(stderr, "bench_ops: %s\n", text);
    exit(1);
}

static void *bench_alloc(struct bench *b, size_t bytes)
{
    void *ptr;
    struct err err;
    if (b->ops->alloc(b->device, bytes, &ptr, &err) != STATUS_OK)
        die(err.text);
    return ptr;
}

static void bench_sync(struct bench *b)
{
    struct err err;
    if (b->ops->stream_sync(b->device, b->stream, &err) != STATUS_OK)
        die(err.text);
}

static void bench_upload(struct bench *b, void *to, const void *host, size_t bytes)
{
    b->ops->upload(b->device, b->stream, to, host, bytes);
    bench_sync(b);
}

/* A weight at the next place of the pool. */
static struct weight bench_weight(struct bench *b, uint32_t n, uint32_t k)
{
    size_t bytes = ROUND_UP((size_t)n * k * 2, (size_t)256);
    if (b->pool_at + bytes > b->pool_bytes)
        b->pool_at = 0;
    struct weight w = {.data = b->pool + b->pool_at, .dtype = DTYPE_BF16, .n = n, .k = k};
    b->pool_at += bytes;
    return w;
}

static void fill_pool(struct bench *b, void *to, size_t bytes, enum dtype dtype)
{
    size_t block = (size_t)16 << 20, count = block / dtype_bytes(dtype);
    void *host = mem_alloc(block);
    uint64_t seed = 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t r = rng_next(&seed);
        if (dtype == DTYPE_F32)
            ((float *)host)[i] = (float)(r >> 40) * 0x1p-25f - 0.25f;
        else
            ((uint16_t *)host)[i] = (uint16_t)(0x3c00 | (r & 0x80ff)); /* +-0.008..0.016 */
    }
    for (size_t at = 0; at < bytes; at += block)
        bench_upload(b, (char *)to + at, host, MIN(block, bytes - at));
    mem_free(host);
}

static void bench_init(struct bench *b)
{
    struct device_info info;
    b->ops->info(b->device, &info);
    fprintf(stderr, "bench_ops: %s\n", info.name);
    b->item = dtype_bytes(info.act);
    b->pool_bytes = b->cuda ? (size_t)3 << 30 : (size_t)400 << 20;
    b->pool = bench_alloc(b, b->pool_bytes);
    fill_pool(b, b->pool, b->pool_bytes, DTYPE_BF16);
    b->kv_pool = b->pool;
    if (!b->cuda) {
        size_t bytes = (size_t)SLOTS * PER_SLOT * 2 * 3 * PAGE * 64 * sizeof(float);
        b->kv_pool = bench_alloc(b, bytes);
        fill_pool(b, b->kv_pool, bytes, DTYPE_F32);
    }
    b->act_bytes = b->cuda ? (size_t)1 << 30 : (size_t)16 << 20;
    void **acts[] = {&b->x, &b->y, &b->attn, &b->scratch};
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        *acts[i] = bench_alloc(b, b->act_bytes);
        fill_pool(b, *acts[i], b->act_bytes, info.act);
    }
    size_t logit_bytes = (size_t)(b->cuda ? SLOTS : 8) * 151936 * sizeof(float);
    b->logits = bench_alloc(b, logit_bytes);
    fill_pool(b, b->logits, logit_bytes, DTYPE_F32);
    size_t cs_bytes = (size_t)ROWS_MAX * 128 * sizeof(float);
    b->cos_sin = bench_alloc(b, cs_bytes);
    fill_pool(b, b->cos_sin, cs_bytes, DTYPE_F32);
    b->norm = bench_alloc(b, 25600 * sizeof(float));
    fill_pool(b, b->norm, 25600 * sizeof(float), DTYPE_F32);
    uint32_t *table = mem_array(SLOTS * PER_SLOT, 4);
    for (uint32_t i = 0; i < SLOTS * PER_SLOT; i++)
        table[i] = i * 4093 % (SLOTS * PER_SLOT); /* a permutation: 4093 is odd */
    b->page_table = bench_alloc(b, SLOTS * PER_SLOT * 4);
    bench_upload(b, b->page_table, table, SLOTS * PER_SLOT * 4);
    mem_free(table);
    uint32_t **arrays[] = {&b->positions, &b->slots, &b->ids, &b->last, &b->out};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        *arrays[i] = bench_alloc(b, ROWS_MAX * 4);
    b->attn_rows = bench_alloc(b, sizeof(b->rows_host));
    b->sample_rows = bench_alloc(b, SLOTS * sizeof(*b->sample_rows));
}

/* `rows` streams that decode at the end of their context, or prompts of CONTEXT tokens. */
static uint32_t bench_rows(struct bench *b)
{
    static uint32_t positions[ROWS_MAX], slots[ROWS_MAX];
    static struct sample_row samples[SLOTS];
    uint32_t each = b->prompt ? MIN(b->rows, (uint32_t)CONTEXT) : 1, count = b->rows / each;
    for (uint32_t i = 0; i < b->rows; i++) {
        positions[i] = b->prompt ? i % each : CONTEXT - 1;
        slots[i] = i / each % SLOTS;
    }
    count = MIN(count, (uint32_t)SLOTS);
    for (uint32_t r = 0; r < count; r++) {
        b->rows_host[r] = (struct attn_row){.slot = r,
                                            .token_first = r * each,
                                            .token_count = each,
                                            .pos_first = b->prompt ? 0 : CONTEXT - 1};
        samples[r] = (struct sample_row){.slot = r, .position = r, .sampling = b->sampling};
    }
    bench_upload(b, b->positions, positions, b->rows * 4);
    bench_upload(b, b->slots, slots, b->rows * 4);
    bench_upload(b, b->attn_rows, b->rows_host, count * sizeof(*b->attn_rows));
    bench_upload(b, b->sample_rows, samples, count * sizeof(*samples));
    struct attn_shape shape = {b->m.heads, b->m.kv_heads, b->m.dim, PAGE, 0};
    size_t most = b->ops->attn_plan_bytes(b->device, &shape, count, b->rows, CONTEXT);
    if (most > b->plan_bytes) {
        b->plan_bytes = most;
        b->plan = bench_alloc(b, most);
        b->plan_host = mem_aligned(most, 64);
    }
    b->planned = b->ops->attn_plan(b->device, &shape, b->rows_host, count, NULL, 0, b->plan_host);
    if (b->planned)
        bench_upload(b, b->plan, b->plan_host, b->planned);
    return count;
}

/* --- the ops: each runs one call at the next place of the pool --- */

static uint32_t qkv_cols(const struct model *m)
{
    return (m->heads + 2 * m->kv_heads) * m->dim;
}

static void run_qkv(struct bench *b)
{
    struct norm norm = {b->norm, 1e-6f};
    struct weight w = bench_weight(b, qkv_cols(&b->m), b->m.hidden);
    b->ops->norm_matmul(b->device, b->stream, b->y, b->x, &norm, &w, NULL, b->rows, b->scratch);
}

static void run_o(struct bench *b)
{
    struct weight w = bench_weight(b, b->m.hidden, b->m.heads * b->m.dim);
    b->ops->matmul_add(b->device, b->stream, b->x, b->attn, &w, NULL, b->rows, b->scratch);
}

static void run_gate_up(struct bench *b)
{
    struct norm norm = {b->norm, 1e-6f};
    struct weight w = bench_weight(b, 2 * b->m.inter, b->m.hidden);
    b->ops->norm_gate_up_silu(b->device, b->stream, b->y, b->x, &norm, &w, NULL, b->rows,
                              b->scratch);
}

static void run_down(struct bench *b)
{
    struct weight w = bench_weight(b, b->m.hidden, b->m.inter);
    b->ops->matmul_add(b->device, b->stream, b->x, b->y, &w, NULL, b->rows, b->scratch);
}

static void run_head(struct bench *b)
{
    struct weight w = bench_weight(b, b->m.vocab, b->m.hidden);
    b->ops->matmul_f32(b->device, b->stream, b->logits, b->x, &w, b->rows);
}

static void run_norm(struct bench *b)
{
    b->ops->rmsnorm(b->device, b->stream, b->y, b->x, b->norm, b->rows, b->m.hidden, 1e-6f);
}

static void run_silu(struct bench *b)
{
    b->ops->silu_mul(b->device, b->stream, b->y, b->scratch, b->rows, b->m.inter);
}

static void run_embed(struct bench *b)
{
    struct weight w = {b->pool, DTYPE_BF16, 50000, b->m.hidden, false};
    b->ops->embed(b->device, b->stream, b->x, &w, b->positions, 0, b->rows);
}

static struct kv_view next_kv(struct bench *b)
{
    size_t page = (size_t)2 * b->m.kv_heads * PAGE * b->m.dim * b->item;
    size_t bytes = page * SLOTS * PER_SLOT;
    char *pool = b->kv_pool;
    if (b->cuda) {
        if (b->pool_at + bytes > b->pool_bytes)
            b->pool_at = 0;
        pool += b->pool_at;
        b->pool_at += MIN(bytes, (size_t)256 << 20);
    }
    return (struct kv_view){.pool = pool,
                            .page_table = b->page_table,
                            .pages = SLOTS * PER_SLOT,
                            .pages_per_slot = PER_SLOT,
                            .page_size = PAGE,
                            .kv_heads = b->m.kv_heads,
                            .head_dim = b->m.dim};
}

static void rope_in(struct bench *b, struct kv_view kv)
{
    struct qkv_args qkv = {.qkv = b->y,
                           .positions = b->positions,
                           .token_slots = b->slots,
                           .q_norm = b->m.qk_norm ? b->norm : NULL,
                           .k_norm = b->m.qk_norm ? b->norm : NULL,
                           .norm_eps = 1e-6f,
                           .cos_sin = b->cos_sin,
                           .tokens = b->rows,
                           .q_heads = b->m.heads};
    b->ops->qk_rope_store(b->device, b->stream, &kv, &qkv);
}

static void run_rope(struct bench *b)
{
    rope_in(b, next_kv(b));
}

static void attention_in(struct bench *b, struct kv_view kv)
{
    uint32_t each = b->prompt ? MIN(b->rows, (uint32_t)CONTEXT) : 1;
    struct attn_args attn = {.out = b->attn,
                             .qkv = b->y,
                             .qkv_stride = qkv_cols(&b->m),
                             .rows = b->attn_rows,
                             .rows_host = b->rows_host,
                             .row_count = b->rows / each,
                             .plan = b->planned ? b->plan : NULL,
                             .plan_host = b->planned ? b->plan_host : NULL,
                             .q_heads = b->m.heads,
                             .scale = 1.0f / sqrtf((float)b->m.dim)};
    b->ops->attention(b->device, b->stream, &kv, &attn);
}

static void run_attention(struct bench *b)
{
    attention_in(b, next_kv(b));
}

static void run_sample(struct bench *b)
{
    b->ops->sample(b->device, b->stream, b->out, b->last, b->logits, b->m.vocab, b->sample_rows,
                   b->rows);
}

static void run_route(struct bench *b)
{
    b->ops->route(b->device, b->stream, b->scratch, b->y, b->logits, &b->experts);
}

static void run_experts_gate_up(struct bench *b)
{
    const struct mixture *m = b->mixture;
    struct weight w = bench_weight(b, m->experts * 2 * m->inter, m->hidden);
    b->ops->experts_gate_up(b->device, b->stream, b->y, b->x, &w, &b->experts);
}

static void run_experts_down(struct bench *b)
{
    const struct mixture *m = b->mixture;
    struct weight w = bench_weight(b, m->experts * m->hidden, m->inter);
    b->ops->experts_down(b->device, b->stream, b->x, b->y, &w, &b->experts);
}

static void run_layer(struct bench *b)
{
    struct kv_view kv = next_kv(b);
    run_qkv(b);
    rope_in(b, kv);
    attention_in(b, kv);
    run_o(b);
    run_gate_up(b);
    run_down(b);
}

static void run_tail(struct bench *b)
{
    run_norm(b);
    run_head(b);
    run_sample(b);
    run_embed(b);
}

/* --- timing --- */

static double time_direct(struct bench *b, void (*run)(struct bench *), uint32_t calls)
{
    double best = 1e30;
    for (int turn = 0; turn < 4; turn++) {
        uint64_t from = clock_now_ns();
        for (uint32_t i = 0; i < calls; i++)
            run(b);
        bench_sync(b);
        best = fmin(best, (double)(clock_now_ns() - from) / 1e3 / calls);
    }
    return best;
}

/* Microseconds a call. */
static double time_op(struct bench *b, void (*run)(struct bench *), uint32_t calls)
{
    struct graph *graph;
    struct err err;
    double best = 1e30;
    if (!b->ops->graph_begin)
        return time_direct(b, run, MAX(calls / 4, 1u));
    run(b); /* choices that are made at the first call are made outside the graph */
    bench_sync(b);
    if (b->ops->graph_begin(b->device, b->stream, &err) != STATUS_OK)
        die(err.text);
    for (uint32_t i = 0; i < calls; i++)
        run(b);
    if (b->ops->graph_end(b->device, b->stream, &graph, &err) != STATUS_OK)
        die(err.text);
    for (int turn = 0; turn < 4; turn++) {
        b->ops->event_record(b->device, b->stream, b->from);
        b->ops->graph_launch(b->device, b->stream, graph);
        b->ops->event_record(b->device, b->stream, b->to);
        if (b->ops->event_sync(b->device, b->to, &err) != STATUS_OK)
            die(err.text);
        if (turn > 0)
            best = fmin(best, (double)b->ops->event_ns(b->from, b->to) / 1e3 / calls);
    }
    b->ops->graph_free(b->device, graph);
    return best;
}

static void line(struct bench *b, const char *op, const char *shape, double us, double bytes,
                 double flop)
{
    double floor_us = 1e6 * fmax(bytes / READ_BYTES_PER_S, flop / FLOP_PER_S);
    printf("%s,%s,%u,%s,%u,%.2f,%.1f,%.2f,", op, b->m.name, b->tp, shape, b->rows, us,
           bytes / us / 1e3, flop / us / 1e6);
    if (b->cuda)
        printf("%.3f", floor_us / us);
    printf("\n");
    fflush(stdout);
}

static bool wanted(const struct bench *b, const char *op)
{
    return strstr(op, b->op_filter) != NULL;
}

static void bench_product(struct bench *b, const char *op, void (*run)(struct bench *), uint32_t n,
                          uint32_t k, double act_bytes)
{
    char shape[40];
    double flop = 2.0 * n * k * b->rows, bytes = 2.0 * n * k + act_bytes;
    if (!wanted(b, op))
        return;
    snprintf(shape, sizeof(shape), "%ux%u", n, k);
    double guess = 1e6 * fmax(bytes / READ_BYTES_PER_S, flop / FLOP_PER_S);
    uint32_t calls = guess > 1000 ? 3 : guess > 200 ? 8 : guess > 50 ? 16 : 40;
    line(b, op, shape, time_op(b, run, calls), bytes, flop);
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
    if (wanted(b, "rmsnorm"))
        line(b, "rmsnorm", shape, time_op(b, run_norm, 40), rows * item * 2 * m->hidden, 0);
    if (wanted(b, "embed"))
        line(b, "embed", shape, time_op(b, run_embed, 40), rows * item * 2 * m->hidden, 0);
    snprintf(shape, sizeof(shape), "%u", m->inter);
    if (wanted(b, "silu_mul"))
        line(b, "silu_mul", shape, time_op(b, run_silu, 40), rows * item * 3 * m->inter, 0);
    snprintf(shape, sizeof(shape), "%u/%ux%u", m->heads, m->kv_heads, m->dim);
    if (wanted(b, "qk_rope_store"))
        line(b, "qk_rope_store", shape, time_op(b, run_rope, 40), rows * item * 2 * qkv_cols(m), 0);
    if (!wanted(b, "attention"))
        return;
    double keys = b->prompt ? (MIN(b->rows, (uint32_t)CONTEXT) + 1) / 2.0 : CONTEXT;
    double kv = (b->prompt ? rows : rows * CONTEXT) * 2 * m->kv_heads * m->dim * item;
    line(b, b->prompt ? "attention prompt" : "attention decode", shape,
         time_op(b, run_attention, b->rows > 64 ? 4 : 16), kv,
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
        if (wanted(b, "sample"))
            line(b, "sample", shape, time_op(b, run_sample, 10), 4.0 * b->rows * b->m.vocab, 0);
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
    layer_us = time_op(b, run_layer, b->cuda ? 16 : 4);
    tail_us = time_op(b, run_tail, 4);
    double tail_bytes = 2.0 * m->vocab * m->hidden + rows * 4.0 * m->vocab;
    line(b, "layer", "decode at 1023", layer_us, 2 * weights + kv, 2 * weights * rows);
    line(b, "tail", "norm head sample embed", tail_us, tail_bytes,
         2.0 * m->vocab * m->hidden * rows);
    line(b, "step", "decode at 1023", layer_us * m->layers + tail_us,
         m->layers * (2 * weights + kv) + tail_bytes, 2 * (weights * m->layers) * rows);
}

static bool fits(const struct bench *b, uint32_t rows)
{
    return (size_t)rows * (b->m.hidden + 2 * b->m.inter) * b->item <= b->act_bytes &&
           (size_t)rows * qkv_cols(&b->m) * b->item <= b->act_bytes;
}

static void bench_model(struct bench *b, const struct model *model, uint32_t tp)
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
            if (wanted(b, "step"))
                bench_step(b);
        }
    }
}

/* Draws `top` different experts for each row; returns how many experts have a row at all. */
static uint32_t draw_experts(const struct mixture *m, uint32_t rows, uint32_t *ids, float *weights)
{
    uint64_t seed = 5;
    uint32_t used = 0;
    bool *has = mem_zalloc(m->experts);
    for (size_t i = 0; i < (size_t)rows * m->top; i++) {
        uint32_t *row = ids + i / m->top * m->top, id;
        bool taken = true;
        while (taken) {
            id = (uint32_t)rng_below(&seed, m->experts);
            taken = false;
            for (size_t j = 0; j < i % m->top; j++)
                taken |= row[j] == id;
        }
        ids[i] = id;
        weights[i] = 1.0f / (float)m->top;
        used += !has[id];
        has[id] = true;
    }
    mem_free(has);
    return used;
}

/* The bytes are those of the experts that have a row. */
static void bench_mixture(struct bench *b, const struct mixture *m)
{
    static const uint32_t counts[] = {1, 2, 4, 8, 16, 64, 256, 1024, 8192};
    size_t slots = (size_t)ROWS_MAX * m->top;
    uint32_t *ids = mem_array(slots, 4), *device_ids = bench_alloc(b, slots * 4);
    float *weights = mem_array(slots, 4), *device_weights = bench_alloc(b, slots * 4);
    b->m = (struct model){.name = m->name};
    b->tp = 1;
    b->mixture = m;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char shape[40];
        uint32_t used = draw_experts(m, counts[i], ids, weights);
        double rows = counts[i], each = 2.0 * m->inter * m->hidden, taken = rows * m->top;
        b->rows = counts[i];
        bench_upload(b, device_ids, ids, (size_t)b->rows * m->top * 4);
        bench_upload(b, device_weights, weights, (size_t)b->rows * m->top * 4);
        b->experts =
            (struct expert_args){device_ids, device_weights, b->rows, m->top, m->experts, true};
        snprintf(shape, sizeof(shape), "%u of %u experts", used, m->experts);
        if (wanted(b, "route"))
            line(b, "route", shape, time_op(b, run_route, 40), rows * 4 * m->experts, 0);
        if (wanted(b, "experts_gate_up"))
            line(b, "experts_gate_up", shape, time_op(b, run_experts_gate_up, 8),
                 used * 2 * each + 2 * (rows * m->hidden + taken * m->inter), 2 * taken * each);
        if (wanted(b, "experts_down"))
            line(b, "experts_down", shape, time_op(b, run_experts_down, 8),
                 used * each + 2 * (rows * m->hidden + taken * m->inter), taken * each);
    }
    mem_free(ids), mem_free(weights);
}

int main(int argc, char **argv)
{
    struct bench *b = mem_zalloc(sizeof(*b));
    const char *backend = NULL;
    struct err err;
    struct device_opts opts = {.threads = 2, .tp = 1};
    b->model_filter = b->op_filter = "";
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--quick") == 0)
            b->quick = true;
        else if (strcmp(argv[i], "--backend") == 0)
            backend = value, i++;
        else if (strcmp(argv[i], "--threads") == 0)
            opts.threads = (uint32_t)strtoul(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--model") == 0)
            b->model_filter = value, i++;
        else if (strcmp(argv[i], "--op") == 0)
            b->op_filter = value, i++;
        else
            die("usage: bench_ops [--backend cuda|cpu] [--quick] [--threads N] [--model PART] "
                "[--op PART]");
    }
    b->ops = ops_find(backend);
    if (!b->ops)
        die("there is no such backend");
    b->cuda = strcmp(b->ops->name, "cuda") == 0;
    if (b->ops->open(&opts, &b->device, &err) != STATUS_OK ||
        b->ops->stream_new(b->device, &b->stream, &err) != STATUS_OK ||
        b->ops->event_new(b->device, &b->from, &err) != STATUS_OK ||
        b->ops->event_new(b->device, &b->to, &err) != STATUS_OK)
        die(err.text);
    bench_init(b);
    printf("op,model,tp,shape,rows,us,gb_per_s,tflop_per_s,share\n");
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        for (uint32_t tp = 1; tp <= 4; tp *= 2) {
            const struct model *m = &models[i];
            bool small = strstr(m->name, "SmolLM2") != NULL, half = strstr(m->name, "0.6B") != NULL;
            if (!strstr(m->name, b->model_filter) || (!b->cuda && !small) ||
                (tp > 1 && (small || half || !b->cuda || b->quick)) ||
                (b->quick && b->cuda && !half && !strstr(m->name, "14B")))
                continue;
            bench_model(b, m, tp);
        }
    for (size_t i = 0; i < ARRAY_LEN(mixtures); i++)
        if (strstr(mixtures[i].name, b->model_filter) && b->cuda && b->ops->route)
            bench_mixture(b, &mixtures[i]);
    return 0; /* the process's end frees what it measured with */
}
