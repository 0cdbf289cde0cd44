/* bed - the device and what lies on it: a pool of weights, activations, page table, rows. */
#include "bench/ops/ops.h"

#include "common/mem.h"
#include "common/rng.h"

#include <stdio.h>
#include <stdlib.h>

NORETURN void bench_die(const char *text)
{
    fprintf(stderr, "bench_ops: %s\n", text);
    exit(1);
}

void *bench_alloc(struct bench *b, size_t bytes)
{
    void *ptr;
    struct err err;
    if (b->ops->alloc(b->device, bytes, &ptr, &err) != STATUS_OK)
        bench_die(err.text);
    return ptr;
}

void bench_sync(struct bench *b)
{
    struct err err;
    if (b->ops->stream_sync(b->device, b->stream, &err) != STATUS_OK)
        bench_die(err.text);
}

void bench_upload(struct bench *b, void *to, const void *host, size_t bytes)
{
    b->ops->upload(b->device, b->stream, to, host, bytes);
    bench_sync(b);
}

/* A weight at the next place of the pool. */
struct weight bench_weight(struct bench *b, uint32_t n, uint32_t k)
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

void bench_init(struct bench *b)
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
uint32_t bench_rows(struct bench *b)
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
