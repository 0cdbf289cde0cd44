/* weights - a checkpoint's rows to the device, as bf16, at the speed of the bus.
 *
 *     mmap of the file ── threads copy or convert rows ──►  pinned ring  ── DMA ──►  device memory
 *                                                           4 x 16 MiB
 *
 * While the copy engine empties one buffer the threads fill the next. A part may be a rectangle of
 * its tensor (a rank's columns), so cut and merged matrices are put together here and nowhere else.
 * The ring and the threads are made at the first load and go with the device; idle threads sleep.
 */
#include "kernels/cuda/weights.cuh"

#include <stdlib.h>
#include <string.h>

extern "C" {
#include "kernels/cpu/pool.h"
}

#define RING        4u
#define CHUNK_BYTES ((size_t)16 << 20)
#define THREADS_MAX 8u

struct uploader {
    struct pool *pool;
    char *ring; /* pinned, [RING][CHUNK_BYTES] */
    cudaStream_t stream;
    cudaEvent_t emptied[RING];
    uint32_t next;
};

void uploader_free(struct uploader *uploader)
{
    if (!uploader)
        return;
    pool_free(uploader->pool);
    cudaFreeHost(uploader->ring);
    for (uint32_t i = 0; i < RING; i++)
        if (uploader->emptied[i])
            cudaEventDestroy(uploader->emptied[i]);
    if (uploader->stream)
        cudaStreamDestroy(uploader->stream);
    free(uploader);
}

static enum status uploader_new(struct uploader **out, struct err *err)
{
    struct uploader *uploader = (struct uploader *)calloc(1, sizeof(*uploader));
    enum status status;
    CHECK(uploader);
    status = pool_new(MIN(pool_cores(), THREADS_MAX), &uploader->pool, err);
    if (status == STATUS_OK)
        status = cuda_status(err, cudaMallocHost(&uploader->ring, RING * CHUNK_BYTES),
                             "pinned memory for loading");
    if (status == STATUS_OK)
        status =
            cuda_status(err, cudaStreamCreateWithFlags(&uploader->stream, cudaStreamNonBlocking),
                        "a stream for loading");
    for (uint32_t i = 0; i < RING && status == STATUS_OK; i++)
        status = cuda_status(
            err, cudaEventCreateWithFlags(&uploader->emptied[i], cudaEventDisableTiming),
            "an event for loading");
    if (status == STATUS_OK)
        *out = uploader;
    else
        uploader_free(uploader);
    return status;
}

/* Round to nearest even; NaN stays NaN. */
static uint16_t bf16_bits(uint32_t bits)
{
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static uint32_t half_bits(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    uint32_t fraction = half & 0x3ff, bits;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof(bits));
        return sign | bits;
    }
    return sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
}

/* Rows of the file, from `row` on, as they will lie on the device. */
struct fill_job {
    const struct load_part *part;
    uint64_t row, row_count, rows_a_piece;
    uint32_t k;
    uint16_t *to;
};

static void fill_piece(void *arg, uint32_t piece, uint32_t thread)
{
    const struct fill_job *job = (const struct fill_job *)arg;
    const struct load_part *part = job->part;
    uint64_t first = piece * job->rows_a_piece;
    uint64_t end = MIN(first + job->rows_a_piece, job->row_count);
    size_t item = dtype_bytes(part->dtype);
    (void)thread;
    for (uint64_t r = first; r < end; r++) {
        const char *from = (const char *)part->data + (job->row + r) * part->stride * item;
        uint16_t *to = job->to + r * job->k;
        if (part->dtype == DTYPE_BF16) {
            memcpy(to, from, job->k * item);
            continue;
        }
        for (uint32_t i = 0; i < job->k; i++) {
            uint32_t wide;
            uint16_t half;
            memcpy(part->dtype == DTYPE_F32 ? (void *)&wide : (void *)&half, from + i * item, item);
            to[i] = bf16_bits(part->dtype == DTYPE_F32 ? wide : half_bits(half));
        }
    }
}

static void upload_part(struct device *device, const struct load_part *part, uint32_t k, bf16 *to)
{
    struct uploader *up = device->uploader;
    uint64_t rows = MAX(CHUNK_BYTES / (k * sizeof(bf16)), (size_t)1);
    for (uint64_t row = 0; row < part->row_count; row += rows) {
        uint32_t slot = up->next++ % RING;
        struct fill_job job = {part, row, MIN(rows, part->row_count - row),
                               0,    k,   (uint16_t *)(up->ring + slot * CHUNK_BYTES)};
        job.rows_a_piece = DIV_CEIL(job.row_count, 4 * (uint64_t)pool_threads(up->pool));
        CUDA_NOTE(device, cudaEventSynchronize(up->emptied[slot]));
        pool_run(up->pool, fill_piece, &job, (uint32_t)DIV_CEIL(job.row_count, job.rows_a_piece));
        CUDA_NOTE(device, cudaMemcpyAsync(to + row * k, job.to, job.row_count * k * sizeof(bf16),
                                          cudaMemcpyHostToDevice, up->stream));
        CUDA_NOTE(device, cudaEventRecord(up->emptied[slot], up->stream));
    }
}

extern "C" enum status cuda_weight_load(struct device *device, const struct load_part *parts,
                                        uint32_t part_count, uint32_t k, bool borrow,
                                        struct weight *out, struct err *err)
{
    uint64_t rows = 0;
    enum status status = STATUS_OK;
    (void)borrow;
    for (uint32_t i = 0; i < part_count; i++)
        rows += parts[i].row_count + parts[i].zero_rows;
    memset(out, 0, sizeof(*out));
    out->dtype = DTYPE_BF16;
    out->n = (uint32_t)rows;
    out->k = k;
    if (k * sizeof(bf16) > CHUNK_BYTES)
        return err_set(err, STATUS_UNSUPPORTED, "a weight has rows of %u elements", k);
    if (!device->uploader)
        status = uploader_new(&device->uploader, err);
    if (status == STATUS_OK)
        status = cuda_ops.alloc(device, rows * k * sizeof(bf16), &out->data, err); /* zeroed */
    if (status != STATUS_OK)
        return status;
    bf16 *to = (bf16 *)out->data;
    for (uint32_t i = 0; i < part_count; i++) {
        upload_part(device, &parts[i], k, to);
        to += (parts[i].row_count + parts[i].zero_rows) * k;
    }
    return cuda_status(err, cudaStreamSynchronize(device->uploader->stream), "loading weights");
}
