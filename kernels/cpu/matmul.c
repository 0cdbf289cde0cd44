#include "kernels/cpu/cpu.h"

#include <string.h>

/* w of one chunk stays in L2 (512 KiB on the smallest server cores) for the next row tiles. */
#define CHUNK_W_BYTES ((size_t)192 << 10)
/* Rows of a chunk: enough to pay for bringing w into L2. */
#define CHUNK_ROWS 128u
/* Below this many multiply-adds the caller alone is faster than waking anybody. */
#define ALONE_WORK ((uint64_t)32 << 10)
/* Decode: chunks per thread, so that a core that is busy elsewhere delays an op little. */
#define CHUNKS_PER_THREAD 6u

struct matmul_job {
    const struct isa *isa;
    const float *x;
    float *packed;
    struct matmul_part part; /* all of it */
    uint32_t cols, rows;     /* of a chunk */
    uint32_t col_chunks;
};

static void pack_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct matmul_job *job = arg;
    uint32_t m = job->part.m_last, first = chunk * CHUNK_ROWS;
    job->isa->pack(job->packed, job->x, first, MIN(first + CHUNK_ROWS, m), m, job->part.k,
                   job->part.bf16);
}

static void matmul_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct matmul_job *job = arg;
    struct matmul_part part = job->part;
    uint32_t n_last = part.n_last, m_last = part.m_last;
    part.n_first = chunk % job->col_chunks * job->cols;
    part.n_last = MIN(part.n_first + job->cols, n_last);
    part.m_first = chunk / job->col_chunks * job->rows;
    part.m_last = MIN(part.m_first + job->rows, m_last);
    job->isa->matmul(&part);
}

/* Columns of a chunk, a multiple of TILE_COLS: as many as L2 keeps, but some chunks per thread. */
static uint32_t chunk_cols(uint32_t n, size_t row_bytes, uint32_t threads)
{
    size_t fit = CHUNK_W_BYTES / row_bytes / TILE_COLS * TILE_COLS;
    size_t fair = ROUND_UP(DIV_CEIL(n, threads * CHUNKS_PER_THREAD), TILE_COLS);
    return (uint32_t)MAX((size_t)TILE_COLS, MIN(fit, fair));
}

void cpu_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                const struct weight *w, const float *bias, uint32_t m)
{
    if (m == 0)
        return;
    bool bf16 = w->dtype == DTYPE_BF16;
    uint32_t threads = pool_threads(device->pool);
    struct matmul_job job = {
        .isa = device->isa,
        .x = x,
        .packed = scratch_get(&device->packed, (size_t)m * ROUND_UP(w->k, K_BLOCK)),
        .part = {.w = w->data,
                 .bias = bias,
                 .y = y,
                 .y_stride = w->n,
                 .m_last = m,
                 .n_last = w->n,
                 .k = w->k,
                 .bf16 = bf16},
        .cols = chunk_cols(w->n, (size_t)w->k * (bf16 ? 2 : 4), threads),
        .rows = CHUNK_ROWS,
    };
    job.part.x_packed = job.packed;
    if ((uint64_t)m * w->k * w->n < ALONE_WORK)
        job.cols = w->n;
    job.col_chunks = DIV_CEIL(w->n, job.cols);
    pool_run(device->pool, pack_chunk, &job, DIV_CEIL(m, CHUNK_ROWS));
    pool_run(device->pool, matmul_chunk, &job, job.col_chunks * DIV_CEIL(m, job.rows));
}

void cpu_matmul_f32(struct device *device, struct stream *stream, float *y, const void *x,
                    const struct weight *w, uint32_t m)
{
    cpu_matmul(device, stream, y, x, w, NULL, m);
}
