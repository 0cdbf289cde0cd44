/* bench moe - a mixture of experts beside the time that its bytes take, as CSV.
 *
 *     bench_moe [--backend cpu|cuda] [--threads N] [--turns N] [--rows N]...
 *
 *     what,rows,experts,us,gb_per_s,gflop_per_s,limit_gb_per_s,share
 *
 * One layer's mixture of Qwen3-30B-A3B (128 experts of 768, 8 a row, hidden 2,048; bf16): the router's
 * matrix, the choice, gate and up, down. experts: how many different ones the rows chose; their
 * weights are the bytes. limit: on cpu what as many threads read of the same memory right before, on
 * cuda 4.53 TB/s. share: limit's time over ours; the turn with the median of it, for other programs may
 * take a part of the memory's speed. "plain" is an MLP of eight experts' size in the same memory, in
 * turns with the mixture: the bytes of one row's experts, the FLOP of all rows'. Each turn has other
 * rows, so other experts.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/rng.h"
#include "kernels/ops.h"

enum {
    HIDDEN = 2048,
    INTER = 768,
    EXPERTS = 128,
    TOP = 8,
    ROWS_MAX = 512,
    TURNS_MAX = 200,
    THREADS_MAX = 64
};
#define CUDA_GB_PER_S 4530.0 /* docs/PERFORMANCE.md */
#define EXPERT_BYTES  ((size_t)3 * INTER * HIDDEN * 2)

struct bench {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct event *from, *to;
    bool cuda;
    uint32_t threads, turns;
    size_t item;                    /* bytes of an activation */
    struct weight router, up, down; /* up: gate and up of each expert */
    void *x, *y, *act, *dense;
    float *logits, *weights;
    uint32_t *ids;
    float *x_host;
    uint64_t seed;
};

static NORETURN void die(const char *text)
{
    fprintf(stderr, "bench_moe: %s\n", text);
    exit(1);
}

static void *take(struct bench *b, size_t bytes)
{
    void *ptr;
    struct err err;
    if (b->ops->alloc(b->device, bytes, &ptr, &err) != STATUS_OK)
        die(err.text);
    return ptr;
}

static void sync_all(struct bench *b)
{
    struct err err;
    if (b->ops->stream_sync(b->device, b->stream, &err) != STATUS_OK)
        die(err.text);
}

/* Random bf16 of about 0.01; the same 8 MiB over and over, which no time depends on. */
static struct weight random_weight(struct bench *b, uint32_t n, uint32_t k)
{
    size_t block = (size_t)8 << 20, bytes = (size_t)n * k * 2;
    uint16_t *host = mem_alloc(block);
    struct weight w = {.data = take(b, bytes), .dtype = DTYPE_BF16, .n = n, .k = k};
    for (size_t i = 0; i < block / 2; i++)
        host[i] = (uint16_t)(0x3c00 | (rng_next(&b->seed) & 0x80ff));
    for (size_t at = 0; at < bytes; at += block) {
        b->ops->upload(b->device, b->stream, (char *)w.data + at, host, MIN(block, bytes - at));
        sync_all(b);
    }
    mem_free(host);
    return w;
}

static void open_bench(struct bench *b, const char *backend)
{
    struct err err;
    struct device_info info;
    b->ops = ops_find(backend);
    if (!b->ops)
        die("there is no such backend in this build");
    if (b->ops->open(&(struct device_opts){.threads = b->threads, .tp = 1}, &b->device, &err) !=
            STATUS_OK ||
        b->ops->stream_new(b->device, &b->stream, &err) != STATUS_OK ||
        b->ops->event_new(b->device, &b->from, &err) != STATUS_OK ||
        b->ops->event_new(b->device, &b->to, &err) != STATUS_OK)
        die(err.text);
    b->ops->info(b->device, &info);
    fprintf(stderr, "bench_moe: %s\n", info.name);
    b->item = dtype_bytes(info.act);
    b->router = random_weight(b, EXPERTS, HIDDEN);
    b->up = random_weight(b, EXPERTS * 2 * INTER, HIDDEN);
    b->down = random_weight(b, EXPERTS * HIDDEN, INTER);
    b->x = take(b, (size_t)ROWS_MAX * HIDDEN * b->item);
    b->y = take(b, (size_t)ROWS_MAX * HIDDEN * b->item);
    b->act = take(b, (size_t)ROWS_MAX * TOP * INTER * b->item);
    b->dense = take(b, (size_t)ROWS_MAX * TOP * 2 * INTER * b->item);
    b->logits = take(b, (size_t)ROWS_MAX * EXPERTS * sizeof(float));
    b->weights = take(b, (size_t)ROWS_MAX * TOP * sizeof(float));
    b->ids = take(b, (size_t)ROWS_MAX * TOP * sizeof(uint32_t));
    b->x_host = mem_array((size_t)ROWS_MAX * HIDDEN, sizeof(float));
}

static void random_rows(struct bench *b, uint32_t rows)
{
    size_t count = (size_t)rows * HIDDEN;
    for (size_t i = 0; i < count; i++) {
        float value = (float)(rng_next(&b->seed) >> 40) * 0x1p-23f - 1;
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        if (b->item == sizeof(float))
            b->x_host[i] = value;
        else
            ((uint16_t *)(void *)b->x_host)[i] = (uint16_t)(bits >> 16);
    }
    b->ops->upload(b->device, b->stream, b->x, b->x_host, count * b->item);
    sync_all(b);
}

static uint32_t different(struct bench *b, uint32_t rows)
{
    static uint32_t ids[ROWS_MAX * TOP];
    bool seen[EXPERTS] = {false};
    uint32_t count = 0;
    b->ops->download(b->device, b->stream, ids, b->ids, (size_t)rows * TOP * sizeof(*ids));
    sync_all(b);
    for (uint32_t i = 0; i < rows * TOP; i++) {
        count += !seen[ids[i]];
        seen[ids[i]] = true;
    }
    return count;
}

/* The bytes of one row's experts as a plain MLP: at ever other places of the same memory. */
static void run_dense(struct bench *b, uint32_t rows)
{
    uint32_t at = (uint32_t)rng_below(&b->seed, EXPERTS / TOP) * TOP;
    struct weight up = b->up, down = b->down;
    up.n = TOP * 2 * INTER;
    up.data = (char *)up.data + (size_t)at * 2 * INTER * HIDDEN * 2;
    down.n = HIDDEN;
    down.k = TOP * INTER;
    down.data = (char *)down.data + (size_t)at * INTER * HIDDEN * 2;
    b->ops->matmul(b->device, b->stream, b->dense, b->x, &up, NULL, rows);
    b->ops->silu_mul(b->device, b->stream, b->act, b->dense, rows, TOP * INTER);
    b->ops->matmul(b->device, b->stream, b->y, b->act, &down, NULL, rows);
}

/* Nanoseconds of one layer's mixture, or plain MLP, over new rows. */
static uint64_t run_once(struct bench *b, uint32_t rows, bool dense, uint32_t *experts)
{
    struct expert_args args = {.ids = b->ids,
                               .weights = b->weights,
                               .rows = rows,
                               .top = TOP,
                               .experts = EXPERTS,
                               .renormalize = true};
    struct err err;
    random_rows(b, rows);
    b->ops->event_record(b->device, b->stream, b->from);
    b->ops->matmul_f32(b->device, b->stream, b->logits, b->x, &b->router, rows);
    b->ops->route(b->device, b->stream, b->ids, b->weights, b->logits, &args);
    if (dense) {
        run_dense(b, rows);
    } else {
        b->ops->experts_gate_up(b->device, b->stream, b->act, b->x, &b->up, &args);
        b->ops->experts_down(b->device, b->stream, b->y, b->act, &b->down, &args);
    }
    b->ops->event_record(b->device, b->stream, b->to);
    if (b->ops->event_sync(b->device, b->to, &err) != STATUS_OK)
        die(err.text);
    *experts = dense ? TOP : different(b, rows);
    return b->ops->event_ns(b->from, b->to);
}

/* --- what the machine reads --- */

struct reader {
    pthread_t thread;
    const uint64_t *from;
    size_t words;
    uint64_t sum;
};

static void *read_all(void *arg)
{
    struct reader *reader = arg;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 <= reader->words; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += reader->from[i + j];
    for (size_t j = 0; j < 8; j++)
        reader->sum += sums[j];
    return NULL;
}

/* GB/s of all threads over eight experts' bytes, somewhere among the matrices. */
static double read_gb_per_s(struct bench *b)
{
    static struct reader readers[THREADS_MAX];
    size_t words = TOP * EXPERT_BYTES / 8 / b->threads;
    size_t at = (size_t)rng_below(&b->seed, EXPERTS / TOP / 2) * TOP * EXPERT_BYTES / 8;
    uint64_t began = clock_now_ns();
    for (uint32_t t = 0; t < b->threads; t++) {
        readers[t].from = (const uint64_t *)b->up.data + at + t * words;
        readers[t].words = words;
        CHECK(pthread_create(&readers[t].thread, NULL, read_all, &readers[t]) == 0);
    }
    for (uint32_t t = 0; t < b->threads; t++)
        pthread_join(readers[t].thread, NULL);
    return (double)(words * b->threads * 8) / (double)(clock_now_ns() - began);
}

struct turn {
    double us, gb_per_s, limit, share;
    uint32_t experts;
};

static int by_share(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    return x->share < y->share ? -1 : x->share > y->share;
}

static void tell(struct bench *b, const char *what, uint32_t rows, struct turn *turns)
{
    qsort(turns, b->turns, sizeof(*turns), by_share);
    struct turn *mid = &turns[b->turns / 2];
    double flop = (double)rows * TOP * 3 * INTER * HIDDEN * 2;
    printf("%s,%u,%u,%.0f,%.2f,%.1f,%.2f,%.3f\n", what, rows, mid->experts, mid->us, mid->gb_per_s,
           flop / mid->us / 1e3, mid->limit, mid->share);
    fflush(stdout);
}

static void measure(struct bench *b, uint32_t rows)
{
    static struct turn turns[2][TURNS_MAX]; /* the mixture, the plain MLP */
    for (uint32_t i = 0; i < b->turns + 2; i++) {
        double limit = b->cuda ? CUDA_GB_PER_S : read_gb_per_s(b);
        for (int dense = 0; dense < 2; dense++) {
            struct turn *turn = &turns[dense][i < 2 ? 0 : i - 2]; /* two to get warm */
            turn->us = (double)run_once(b, rows, dense, &turn->experts) / 1e3;
            double bytes = (double)turn->experts * EXPERT_BYTES + (double)EXPERTS * HIDDEN * 2;
            turn->gb_per_s = bytes / turn->us / 1e3;
            turn->limit = limit;
            turn->share = turn->gb_per_s / limit;
        }
    }
    tell(b, "mixture", rows, turns[0]);
    tell(b, "plain", rows, turns[1]);
}

int main(int argc, char **argv)
{
    static struct bench b = {.threads = 2, .turns = 30, .seed = 1};
    uint32_t rows[16] = {1, 2, 4, 8, 32, 128}, count = 6, given = 0;
    const char *backend = "cpu";
    for (int i = 1; i + 1 < argc; i += 2) {
        uint32_t number = (uint32_t)atoi(argv[i + 1]);
        if (strcmp(argv[i], "--backend") == 0)
            backend = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0)
            b.threads = MAX(1u, MIN(number, (uint32_t)THREADS_MAX));
        else if (strcmp(argv[i], "--turns") == 0)
            b.turns = MAX(1u, MIN(number, (uint32_t)TURNS_MAX));
        else if (strcmp(argv[i], "--rows") == 0 && given < ARRAY_LEN(rows))
            count = ++given, rows[given - 1] = MAX(1u, MIN(number, (uint32_t)ROWS_MAX));
        else
            die("unknown option; the head of bench/moe.c lists them");
    }
    b.cuda = strcmp(backend, "cuda") == 0;
    open_bench(&b, backend);
    printf("what,rows,experts,us,gb_per_s,gflop_per_s,limit_gb_per_s,share\n");
    for (uint32_t i = 0; i < count; i++)
        measure(&b, rows[i]);
    return 0;
}
