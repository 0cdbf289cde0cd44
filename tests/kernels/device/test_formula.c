/* Made-up weights: bit for bit the formula of kernels/ops.h, in parts, cut and with zero rows. */
#include "tests/kernels/device/rig.h"

static uint16_t element(const struct formula_part *part, uint64_t row, uint64_t col)
{
    uint64_t at = (part->row_first + row) * part->stride + part->col_first + col;
    uint64_t state = part->seed + at * UINT64_C(0x9e3779b97f4a7c15);
    float value = ((float)(rng_next(&state) >> 40) * 0x1.0p-23f - 1.0f) * part->scale;
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static void run_formula(struct rig *rig)
{
    static const struct formula_part parts[] = {
        {.seed = 3,
         .row_first = 5,
         .row_count = 300,
         .zero_rows = 2,
         .col_first = 7,
         .stride = 90,
         .scale = 0.21f},
        {.seed = UINT64_C(0xfedcba9876543210), .row_count = 17, .stride = 83, .scale = 1.7f},
    };
    enum { K = 83, N = 300 + 2 + 17 };
    struct weight weight;
    struct err err = {0};
    enum status status = rig->ops->weight_formula(rig->device, parts, 2, K, &weight, &err);
    EXPECT(rig, status == STATUS_OK, "weight_formula: %s", err.text);
    if (status != STATUS_OK)
        return;
    EXPECT(rig, weight.n == N && weight.k == K && weight.dtype == DTYPE_BF16, "another shape");
    uint16_t *got = rig_host(rig, sizeof(*got) * N * K);
    rig_down(rig, got, weight.data, sizeof(*got) * N * K);
    for (uint32_t row = 0, wrong = 0; row < N && wrong < 5; row++)
        for (uint32_t col = 0; col < K; col++) {
            uint16_t want = row < 300   ? element(&parts[0], row, col)
                            : row < 302 ? 0
                                        : element(&parts[1], row - 302, col);
            wrong += got[row * K + col] != want;
            EXPECT(rig, got[row * K + col] == want, "row %u, column %u: %04x, not %04x", row, col,
                   got[row * K + col], want);
        }
    rig->ops->weight_free(rig->device, &weight);
    rig->cases++;
    rig_drop(rig);
}

const struct rig_test formula_tests[] = {{"formula", run_formula}, {NULL, NULL}};
