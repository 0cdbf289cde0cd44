/* Made-up weights; the formula is in kernels/ops.h. */
#include "common/mem.h"
#include "common/rng.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

#define GOLDEN     UINT64_C(0x9e3779b97f4a7c15)
#define CHUNK_ROWS 16u

struct formula_job {
    const struct formula_part *part;
    uint16_t *out;
    uint32_t k;
};

static uint16_t bf16_of(float value) /* nearest, ties to even; never a NaN here */
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static void formula_chunk(void *arg, uint32_t chunk, uint32_t thread)
{
    const struct formula_job *job = arg;
    const struct formula_part *part = job->part;
    uint64_t first = (uint64_t)chunk * CHUNK_ROWS, last = MIN(first + CHUNK_ROWS, part->row_count);
    for (uint64_t row = first; row < last; row++) {
        uint64_t at = (part->row_first + row) * part->stride + part->col_first;
        uint64_t state = part->seed + at * GOLDEN;
        uint16_t *out = job->out + row * job->k;
        for (uint32_t col = 0; col < job->k; col++) {
            float u = (float)(rng_next(&state) >> 40) * 0x1.0p-23f - 1.0f;
            out[col] = bf16_of(u * part->scale);
        }
    }
}

enum status cpu_weight_formula(struct device *device, const struct formula_part *parts,
                               uint32_t part_count, uint32_t k, struct weight *out, struct err *err)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < part_count; i++)
        rows += parts[i].row_count + parts[i].zero_rows;
    *out = (struct weight){.dtype = DTYPE_BF16, .n = (uint32_t)rows, .k = k};
    uint16_t *at = out->data = mem_aligned(rows * k * sizeof(uint16_t), 64);
    for (uint32_t i = 0; i < part_count; i++) {
        struct formula_job job = {.part = &parts[i], .out = at, .k = k};
        pool_run(device->pool, formula_chunk, &job,
                 (uint32_t)DIV_CEIL(parts[i].row_count, CHUNK_ROWS));
        at += parts[i].row_count * k;
        memset(at, 0, parts[i].zero_rows * k * sizeof(*at));
        at += parts[i].zero_rows * k;
    }
    return STATUS_OK;
}
