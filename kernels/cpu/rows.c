/* The ops that treat each row alone: norms, activation, embedding, gathers, tables. */
#include "kernels/cpu/cpu.h"

#include <string.h>

/* Elements of a chunk: some 20 us of work. */
#define CHUNK_ELEMENTS ((size_t)32 << 10)

struct rows_job {
    const struct isa *isa;
    void (*row)(const struct rows_job *job, uint32_t row);
    uint32_t rows, chunk_rows;
    float *y, *residual;
    const float *x, *w;
    const struct weight *table;
    const uint32_t *ids;
    uint32_t vocab_first;
    size_t dim;
    float eps;
};

static void rows_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct rows_job *job = arg;
    uint32_t first = chunk * job->chunk_rows, last = MIN(first + job->chunk_rows, job->rows);
    for (uint32_t row = first; row < last; row++)
        job->row(job, row);
}

static void rows_run(struct device *device, struct rows_job *job)
{
    job->isa = device->isa;
    job->chunk_rows = (uint32_t)MAX((size_t)1, CHUNK_ELEMENTS / job->dim);
    pool_run(device->pool, rows_chunk, job, DIV_CEIL(job->rows, job->chunk_rows));
}

static void norm_row(const struct rows_job *job, uint32_t row)
{
    size_t at = row * job->dim;
    job->isa->norm(job->y + at, job->residual ? job->residual + at : NULL,
                   job->x ? job->x + at : NULL, job->w, (uint32_t)job->dim, job->eps);
}

void cpu_rmsnorm(struct device *device, struct stream *stream, void *y, const void *x,
                 const float *w, uint32_t rows, uint32_t dim, float eps)
{
    struct rows_job job = {
        .row = norm_row, .rows = rows, .y = y, .x = x, .w = w, .dim = dim, .eps = eps};
    rows_run(device, &job);
}

void cpu_add_rmsnorm(struct device *device, struct stream *stream, void *y, void *residual,
                     const void *x, const float *w, uint32_t rows, uint32_t dim, float eps)
{
    struct rows_job job = {.row = norm_row,
                           .rows = rows,
                           .y = y,
                           .residual = residual,
                           .x = x,
                           .w = w,
                           .dim = dim,
                           .eps = eps};
    rows_run(device, &job);
}

static void silu_row(const struct rows_job *job, uint32_t row)
{
    const float *gate = job->x + row * 2 * job->dim;
    job->isa->silu_mul(job->y + row * job->dim, gate, gate + job->dim, (uint32_t)job->dim);
}

void cpu_silu_mul(struct device *device, struct stream *stream, void *y, const void *gate_up,
                  uint32_t rows, uint32_t dim)
{
    struct rows_job job = {.row = silu_row, .rows = rows, .y = y, .x = gate_up, .dim = dim};
    rows_run(device, &job);
}

static void embed_row(const struct rows_job *job, uint32_t row)
{
    const struct weight *table = job->table;
    float *y = job->y + row * job->dim;
    uint32_t id = job->ids[row];
    if (id < job->vocab_first || id - job->vocab_first >= table->n) {
        memset(y, 0, job->dim * sizeof(float));
        return;
    }
    size_t at = (size_t)(id - job->vocab_first) * job->dim;
    if (table->dtype == DTYPE_BF16)
        job->isa->widen(y, (const uint16_t *)table->data + at, (uint32_t)job->dim);
    else
        memcpy(y, (const float *)table->data + at, job->dim * sizeof(float));
}

void cpu_embed(struct device *device, struct stream *stream, void *x, const struct weight *table,
               const uint32_t *ids, uint32_t vocab_first, uint32_t count)
{
    struct rows_job job = {.row = embed_row,
                           .rows = count,
                           .y = x,
                           .table = table,
                           .ids = ids,
                           .vocab_first = vocab_first,
                           .dim = table->k};
    rows_run(device, &job);
}

static void gather_row(const struct rows_job *job, uint32_t row)
{
    memcpy(job->y + row * job->dim, job->x + job->ids[row] * job->dim, job->dim * sizeof(float));
}

void cpu_gather_rows(struct device *device, struct stream *stream, void *y, const void *x,
                     const uint32_t *idx, uint32_t count, uint32_t dim)
{
    struct rows_job job = {
        .row = gather_row, .rows = count, .y = y, .x = x, .ids = idx, .dim = dim};
    rows_run(device, &job);
}

void cpu_resolve_tokens(struct device *device, struct stream *stream, uint32_t *ids,
                        const uint32_t *tokens, const uint32_t *token_slots,
                        const uint32_t *last_tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ids[i] = tokens[i] == UINT32_MAX ? last_tokens[token_slots[i]] : tokens[i];
}

void cpu_page_table_set(struct device *device, struct stream *stream, uint32_t *page_table,
                        uint32_t pages_per_slot, const struct page_set *deltas, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (deltas[i].slot != SLOT_NONE)
            page_table[(size_t)deltas[i].slot * pages_per_slot + deltas[i].idx] = deltas[i].page;
}
