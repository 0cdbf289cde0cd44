/* bench attn - the attention kernels of the cuda backend: checked against the generic one, and timed.
 *
 *     bench_attn [check|time|all] [part of a case's name]     what,case,us,gb_per_s,tflop_per_s,error
 *
 * Each case is a step's rows over a shuffled pool of random keys. `error` is |fa - generic| /
 * |generic|; a case fails above 1 %, or when two runs differ in a bit. Bytes are K and V of every
 * row once, of a shared prefix once a group; FLOP those of the visible pairs. "mixed 30 + 16" are 30
 * rows of one token and a prompt's next 16 behind 1,500 to 2,000 keys that are there already.
 */
#include "common/clock.h"
#include "common/mem.h"
#include "common/rng.h"
#include "kernels/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX   512u
#define POOL_BYTES ((size_t)12 << 30)

struct side {
    struct device *device;
    struct stream *stream;
};

struct bench {
    const struct ops *ops;
    struct side fa, generic;
    void *pool;
    uint16_t *noise; /* NOISE_BYTES of random bf16 */
    size_t pool_bytes;
    uint32_t failed;
};
#define NOISE_BYTES ((size_t)64 << 20)

struct spec {
    const char *name;
    uint32_t q_heads, kv_heads, head_dim, page_size, window;
    uint32_t rows, tokens; /* of each row */
    uint32_t low, high;    /* of keys before the row's first token: even between them */
    uint32_t shared_pages; /* first pages of all rows are the same */
    uint32_t chunks;       /* rows after the others, of */
    uint32_t chunk_tokens, chunk_before; /* behind so many keys; 0: of 100..400 tokens */
    bool time;
};

static const struct spec specs[] = {
    {"g1 d64", 4, 4, 64, 16, 0, 5, 1, 0, 70, 0, 2, 0, 0, false},
    {"g2 d128", 16, 8, 128, 16, 0, 33, 1, 0, 900, 0, 3, 0, 0, false},
    {"g3 d64", 9, 3, 64, 16, 0, 17, 1, 3, 700, 0, 2, 0, 0, false},
    {"g4 d128 page 32", 32, 8, 128, 32, 0, 9, 1, 15, 300, 0, 1, 0, 0, false},
    {"g5 d128", 40, 8, 128, 16, 0, 40, 1, 100, 2000, 0, 2, 0, 0, false},
    {"g7 d64 page 64", 14, 2, 64, 64, 0, 8, 1, 60, 66, 0, 1, 0, 0, false},
    {"g8 d128", 32, 4, 128, 16, 0, 12, 1, 1, 5000, 0, 2, 0, 0, false},
    {"g16 d64", 16, 1, 64, 16, 0, 3, 1, 30, 9000, 0, 1, 0, 0, false},
    {"window d128", 8, 2, 128, 16, 100, 20, 1, 0, 800, 0, 3, 0, 0, false},
    {"window d64", 8, 8, 64, 16, 17, 20, 1, 0, 300, 0, 3, 0, 0, false},
    {"shared g2 d128", 16, 8, 128, 16, 0, 37, 1, 0, 200, 20, 2, 0, 0, false},
    {"shared g5 d128", 40, 8, 128, 16, 0, 64, 1, 0, 100, 125, 0, 0, 0, false},
    {"shared g3 d64", 9, 3, 64, 16, 0, 11, 1, 0, 50, 3, 0, 0, 0, false},
    {"prefill d128", 16, 8, 128, 16, 0, 3, 300, 0, 500, 0, 1, 0, 0, false},
    {"prefill d64", 9, 3, 64, 16, 0, 3, 129, 0, 77, 0, 1, 0, 0, false},
    {"one 32k", 16, 8, 128, 16, 0, 1, 1, 32000, 32000, 0, 0, 0, 0, false},
    {"0.6B decode 256", 16, 8, 128, 16, 0, 256, 1, 100, 1500, 0, 0, 0, 0, true},
    {"0.6B decode 64", 16, 8, 128, 16, 0, 64, 1, 100, 1500, 0, 0, 0, 0, true},
    {"0.6B decode 8", 16, 8, 128, 16, 0, 8, 1, 100, 1500, 0, 0, 0, 0, true},
    {"0.6B decode 1", 16, 8, 128, 16, 0, 1, 1, 600, 600, 0, 0, 0, 0, true},
    {"0.6B decode 1 8k", 16, 8, 128, 16, 0, 1, 1, 8000, 8000, 0, 0, 0, 0, true},
    {"0.6B shared 256", 16, 8, 128, 16, 0, 256, 1, 100, 200, 125, 0, 0, 0, true},
    {"14B decode 256", 40, 8, 128, 16, 0, 256, 1, 100, 1500, 0, 0, 0, 0, true},
    {"14B decode 1", 40, 8, 128, 16, 0, 1, 1, 600, 600, 0, 0, 0, 0, true},
    {"14B shared 256", 40, 8, 128, 16, 0, 256, 1, 100, 200, 125, 0, 0, 0, true},
    {"0.6B prefill 4 x 4000", 16, 8, 128, 16, 0, 4, 4000, 0, 0, 0, 0, 0, 0, true},
    {"0.6B prefill 16 x 1000", 16, 8, 128, 16, 0, 16, 1000, 0, 0, 0, 0, 0, 0, true},
    {"0.6B prefill 1 x 16000", 16, 8, 128, 16, 0, 1, 16000, 0, 0, 0, 0, 0, 0, true},
    {"14B prefill 4 x 4000", 40, 8, 128, 16, 0, 4, 4000, 0, 0, 0, 0, 0, 0, true},
    {"d64 prefill 4 x 4000", 16, 8, 64, 16, 0, 4, 4000, 0, 0, 0, 0, 0, 0, true},
    {"14B decode 30 of a group", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 0, 0, 0, true},
    {"14B mixed 30 + 2", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 1, 2, 1984, true},
    {"14B mixed 30 + 16", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 1, 16, 1984, true},
    {"14B mixed 30 + 29", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 1, 29, 1984, true},
    {"14B mixed 30 + 64", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 1, 64, 1504, true},
    {"14B mixed 30 + 128", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 1, 128, 1504, true},
    {"14B mixed 30 + 480", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 1, 480, 1504, true},
    {"14B mixed 30 + 2 x 240", 40, 8, 128, 16, 0, 30, 1, 370, 660, 94, 2, 240, 1504, true},
    {"14B chunk 16", 40, 8, 128, 16, 0, 0, 1, 0, 0, 0, 1, 16, 1984, true},
    {"14B chunk 64", 40, 8, 128, 16, 0, 0, 1, 0, 0, 0, 1, 64, 1504, true},
    {"14B chunk 64 8k", 40, 8, 128, 16, 0, 0, 1, 0, 0, 0, 1, 64, 8000, true},
    {"14B chunk 512 8k", 40, 8, 128, 16, 0, 0, 1, 0, 0, 0, 1, 512, 8000, true},
    {"0.6B mixed 60 + 16", 16, 8, 128, 16, 0, 60, 1, 370, 660, 94, 1, 16, 1984, true},
    {"0.6B mixed 60 + 480", 16, 8, 128, 16, 0, 60, 1, 370, 660, 94, 1, 480, 1504, true},
};

/* A spec on the device. */
struct work {
    struct kv_view kv;
    struct attn_args args;
    struct attn_row rows[ROWS_MAX];
    struct attn_group group;
    uint32_t tokens;
    size_t out_bytes;
    double bytes, flop;
    void *plan_host;
};

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "bench_attn: %s: %s\n", what, err->text);
    exit(1);
}

static void *put(struct bench *b, const void *host, size_t bytes)
{
    struct err err = {0};
    void *ptr;
    if (b->ops->alloc(b->fa.device, bytes, &ptr, &err) != STATUS_OK)
        die("alloc", &err);
    if (host) {
        b->ops->upload(b->fa.device, b->fa.stream, ptr, host, bytes);
        if (b->ops->stream_sync(b->fa.device, b->fa.stream, &err) != STATUS_OK)
            die("upload", &err);
    }
    return ptr;
}

static void rows_make(const struct spec *spec, struct work *w)
{
    uint64_t seed = 7;
    uint32_t shared = spec->shared_pages * spec->page_size;
    for (uint32_t i = 0; i < spec->rows + spec->chunks; i++) {
        bool chunk = i >= spec->rows;
        uint32_t tokens = chunk ? 100 + (uint32_t)rng_below(&seed, 300) : spec->tokens;
        uint32_t before = spec->low + (uint32_t)rng_below(&seed, spec->high - spec->low + 1);
        if (chunk && spec->chunk_tokens > 0) {
            tokens = spec->chunk_tokens;
            before = spec->chunk_before;
        }
        w->rows[i] = (struct attn_row){i, w->tokens, tokens, before + (chunk ? 0 : shared)};
        w->tokens += tokens;
        double end = w->rows[i].pos_first + tokens, pairs = 0;
        for (uint32_t t = 0; t < tokens; t++) {
            double keys = w->rows[i].pos_first + t + 1;
            pairs += spec->window ? fmin(keys, spec->window) : keys;
        }
        double keys = spec->window && tokens == 1 ? fmin(end, spec->window) : end;
        keys -= !chunk && i > 0 ? shared : 0;
        w->bytes += keys * 2 * spec->kv_heads * spec->head_dim * 2;
        w->flop += pairs * 4 * spec->head_dim * spec->q_heads;
    }
}

static uint32_t *table_make(const struct spec *spec, struct work *w)
{
    uint32_t rows = spec->rows + spec->chunks, most = 0, next = 0;
    uint64_t seed = 9;
    for (uint32_t i = 0; i < rows; i++)
        most = MAX(most, w->rows[i].pos_first + w->rows[i].token_count);
    w->kv.pages_per_slot = DIV_CEIL(most, spec->page_size);
    uint32_t *order = mem_array(w->kv.pages, sizeof(*order));
    for (uint32_t i = 0; i < w->kv.pages; i++)
        order[i] = i;
    for (uint32_t i = w->kv.pages; i-- > 1;) {
        uint32_t j = (uint32_t)rng_below(&seed, i + 1), swap = order[i];
        order[i] = order[j], order[j] = swap;
    }
    uint32_t *table = mem_array((size_t)rows * w->kv.pages_per_slot, sizeof(*table));
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t p = 0; p < w->kv.pages_per_slot; p++) {
            bool used = p * spec->page_size < w->rows[i].pos_first + w->rows[i].token_count;
            bool shared = i > 0 && i < spec->rows && p < spec->shared_pages;
            if (used && !shared)
                CHECK(next < w->kv.pages);
            table[i * w->kv.pages_per_slot + p] = shared ? table[p] : used ? order[next++] : 0;
        }
    mem_free(order);
    return table;
}

static void work_make(struct bench *b, const struct spec *spec, struct work *w)
{
    *w = (struct work){.kv = {.pool = b->pool,
                              .page_size = spec->page_size,
                              .kv_heads = spec->kv_heads,
                              .head_dim = spec->head_dim}};
    size_t page = (size_t)2 * spec->kv_heads * spec->page_size * spec->head_dim * 2;
    rows_make(spec, w);
    uint32_t need = 0;
    for (uint32_t i = 0; i < spec->rows + spec->chunks; i++)
        need += DIV_CEIL(w->rows[i].pos_first + w->rows[i].token_count, spec->page_size);
    w->kv.pages = need + 7;
    CHECK(w->kv.pages * page <= b->pool_bytes);
    uint32_t *table = table_make(spec, w);
    uint32_t rows = spec->rows + spec->chunks;
    w->kv.page_table = put(b, table, (size_t)rows * w->kv.pages_per_slot * sizeof(*table));
    mem_free(table);
    uint32_t stride = (spec->q_heads + 2 * spec->kv_heads) * spec->head_dim;
    size_t qkv_bytes = (size_t)w->tokens * stride * 2;
    uint16_t *qkv = mem_array(qkv_bytes, 1);
    for (size_t at = 0; at < qkv_bytes; at += NOISE_BYTES)
        memcpy((char *)qkv + at, b->noise, MIN(NOISE_BYTES, qkv_bytes - at));
    w->out_bytes = (size_t)w->tokens * spec->q_heads * spec->head_dim * 2;
    w->group = (struct attn_group){0, spec->rows, spec->shared_pages};
    struct attn_shape shape = {spec->q_heads, spec->kv_heads, spec->head_dim, spec->page_size,
                               spec->window};
    w->plan_host = mem_aligned(
        ROUND_UP(b->ops->attn_plan_bytes(b->fa.device, &shape, rows, w->tokens, 1 << 20) + 64, 64),
        64);
    uint64_t start = clock_now_ns();
    size_t plan_bytes = b->ops->attn_plan(b->fa.device, &shape, w->rows, rows, &w->group,
                                          spec->shared_pages > 0, w->plan_host);
    fprintf(stderr, "%s: plan %zu bytes, %.1f us\n", spec->name, plan_bytes,
            (double)(clock_now_ns() - start) / 1e3);
    w->args = (struct attn_args){
        .out = put(b, NULL, w->out_bytes),
        .qkv = put(b, qkv, qkv_bytes),
        .qkv_stride = stride,
        .rows = put(b, w->rows, rows * sizeof(*w->rows)),
        .rows_host = w->rows,
        .row_count = rows,
        .groups_host = &w->group,
        .group_count = spec->shared_pages > 0,
        .plan = put(b, w->plan_host, plan_bytes),
        .plan_host = w->plan_host,
        .q_heads = spec->q_heads,
        .scale = 1.0f / sqrtf((float)spec->head_dim),
        .window = spec->window,
    };
    mem_free(qkv);
}

static void work_drop(struct bench *b, struct work *w)
{
    b->ops->free(b->fa.device, (void *)(uintptr_t)w->kv.page_table);
    b->ops->free(b->fa.device, w->args.out);
    b->ops->free(b->fa.device, (void *)(uintptr_t)w->args.qkv);
    b->ops->free(b->fa.device, (void *)(uintptr_t)w->args.rows);
    b->ops->free(b->fa.device, (void *)(uintptr_t)w->args.plan);
    mem_free(w->plan_host);
}

/* Runs one side from a poisoned output. */
static uint16_t *answer(struct bench *b, struct side *side, struct work *w)
{
    struct err err = {0};
    uint16_t *out = mem_array(w->out_bytes, 1);
    memset(out, 0xff, w->out_bytes); /* NaN */
    b->ops->upload(side->device, side->stream, w->args.out, out, w->out_bytes);
    b->ops->attention(side->device, side->stream, &w->kv, &w->args);
    b->ops->download(side->device, side->stream, out, w->args.out, w->out_bytes);
    if (b->ops->stream_sync(side->device, side->stream, &err) != STATUS_OK)
        die("attention", &err);
    return out;
}

static double widen(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static double check(struct bench *b, const struct spec *spec, struct work *w)
{
    uint16_t *got = answer(b, &b->fa, w), *again = answer(b, &b->fa, w);
    uint16_t *want = answer(b, &b->generic, w);
    double off = 0, all = 0;
    size_t worst = 0;
    double most = -1;
    for (size_t i = 0; i < w->out_bytes / 2; i++) {
        double d = widen(got[i]) - widen(want[i]);
        if (!(fabs(d) <= most))
            most = fabs(d), worst = i;
        off += d * d;
        all += widen(want[i]) * widen(want[i]);
    }
    double error = sqrt(off / all);
    bool same = memcmp(got, again, w->out_bytes) == 0;
    if (!(error < 1e-2) || !same) {
        uint32_t width = spec->q_heads * spec->head_dim;
        printf("FAILED,%s,error %.3g%s,worst token %zu head %zu dim %zu: %g not %g\n", spec->name,
               error, same ? "" : ", two runs differ", worst / width,
               worst % width / spec->head_dim, worst % spec->head_dim, widen(got[worst]),
               widen(want[worst]));
        b->failed++;
    }
    mem_free(got), mem_free(again), mem_free(want);
    return error;
}

/* Median of 5 times `reps` launches in a graph. */
static double time_us(struct bench *b, struct work *w)
{
    struct err err = {0};
    struct graph *graph;
    struct event *from, *to;
    const uint32_t reps = 20;
    double best[5];
    struct side *s = &b->fa;
    if (b->ops->event_new(s->device, &from, &err) != STATUS_OK ||
        b->ops->event_new(s->device, &to, &err) != STATUS_OK ||
        b->ops->graph_begin(s->device, s->stream, &err) != STATUS_OK)
        die("graph", &err);
    for (uint32_t i = 0; i < reps; i++)
        b->ops->attention(s->device, s->stream, &w->kv, &w->args);
    if (b->ops->graph_end(s->device, s->stream, &graph, &err) != STATUS_OK)
        die("graph", &err);
    for (int i = -1; i < 5; i++) {
        b->ops->event_record(s->device, s->stream, from);
        b->ops->graph_launch(s->device, s->stream, graph);
        b->ops->event_record(s->device, s->stream, to);
        if (b->ops->event_sync(s->device, to, &err) != STATUS_OK)
            die("timing", &err);
        double us = (double)b->ops->event_ns(from, to) / 1e3 / reps;
        int at = MAX(i, 0);
        for (; at > 0 && best[at - 1] > us; at--)
            best[at] = best[at - 1];
        best[at] = us;
    }
    b->ops->graph_free(s->device, graph);
    b->ops->event_free(s->device, from);
    b->ops->event_free(s->device, to);
    return best[2];
}

static void side_open(struct bench *b, const char *attn, struct side *side)
{
    struct err err = {0};
    struct device_opts opts = {.attn = attn, .tp = 1};
    if (b->ops->open(&opts, &side->device, &err) != STATUS_OK ||
        b->ops->stream_new(side->device, &side->stream, &err) != STATUS_OK)
        die("device", &err);
}

static void pool_fill(struct bench *b)
{
    uint64_t seed = 3;
    b->noise = mem_array(NOISE_BYTES, 1);
    for (size_t i = 0; i < NOISE_BYTES / 2; i++) /* +-0.25 .. 2 */
        b->noise[i] = (uint16_t)(0x3e80 + (rng_next(&seed) & 0x81ff));
    b->pool_bytes = POOL_BYTES;
    b->pool = put(b, NULL, b->pool_bytes);
    for (size_t at = 0; at < b->pool_bytes; at += NOISE_BYTES)
        b->ops->upload(b->fa.device, b->fa.stream, (char *)b->pool + at, b->noise,
                       MIN(NOISE_BYTES, b->pool_bytes - at));
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    struct bench b = {.ops = ops_find("cuda")};
    if (!b.ops) {
        printf("bench_attn: no CUDA device here\n");
        return 0;
    }
    side_open(&b, NULL, &b.fa);
    side_open(&b, "generic", &b.generic);
    pool_fill(&b);
    printf("what,case,us,gb_per_s,tflop_per_s,error\n");
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        const struct spec *spec = &specs[i];
        struct work w;
        if (strcmp(what, "all") != 0 && spec->time != (strcmp(what, "time") == 0))
            continue;
        if (argc > 2 && strstr(spec->name, argv[2]) == NULL)
            continue;
        work_make(&b, spec, &w);
        double error = check(&b, spec, &w), us = time_us(&b, &w);
        printf("attn,%s,%.2f,%.0f,%.1f,%.2g\n", spec->name, us, w.bytes / us / 1e3,
               w.flop / us / 1e6, error);
        fflush(stdout);
        work_drop(&b, &w);
    }
    printf("%u failed\n", b.failed);
    return b.failed ? 1 : 0;
}
