/* kit - what the kernel tests share: devices on every instruction set, random data, comparison. */
#ifndef MSGL_TESTS_KERNELS_KIT_H
#define MSGL_TESTS_KERNELS_KIT_H

#include "common/mem.h"
#include "common/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ops.h"
#include "tests/effort.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The instruction sets that this machine can run; a test takes them in turn. Under TSan only the
 * fast one: both hand work to the same threads. */
static inline int kit_isas(const struct isa *isas[2])
{
    int count = 0;
    if (EFFORT_DIVISOR < 20 || isa_pick() == &isa_generic)
        isas[count++] = &isa_generic;
    if (isa_pick() != &isa_generic)
        isas[count++] = isa_pick();
    return count;
}

static inline struct device *kit_open(uint32_t threads, const struct isa *isa)
{
    struct device *device;
    struct err err = {0};
    enum status status =
        ops_find("cpu")->open(&(struct device_opts){.threads = threads, .tp = 1}, &device, &err);
    ck_assert_msg(status == STATUS_OK, "%s", err.text);
    if (isa)
        device->isa = isa;
    return device;
}

/* Roughly normal, scaled. */
static inline float kit_value(uint64_t *seed, float scale)
{
    double sum = 0;
    for (int i = 0; i < 6; i++)
        sum += rng_unit(seed) - 0.5;
    return (float)(sum * scale);
}

static inline float *kit_floats(uint64_t *seed, size_t count, float scale)
{
    float *data = mem_array(MAX(count, (size_t)1), sizeof(float));
    for (size_t i = 0; i < count; i++)
        data[i] = kit_value(seed, scale);
    return data;
}

static inline uint16_t kit_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

static inline float kit_wide(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* A weight of n x k in `dtype`, and the same values as floats in *wide. */
static inline struct weight kit_weight(struct device *device, uint64_t *seed, enum dtype dtype,
                                       uint32_t n, uint32_t k, float **wide)
{
    const struct ops *ops = ops_find("cpu");
    size_t count = (size_t)n * k;
    float *values = kit_floats(seed, count, 1.0f / sqrtf((float)k));
    uint16_t *narrow = mem_array(count, sizeof(*narrow));
    for (size_t i = 0; i < count && dtype == DTYPE_BF16; i++) {
        narrow[i] = kit_bf16(values[i]);
        values[i] = kit_wide(narrow[i]);
    }
    struct weight weight;
    const struct load_part part = {.data = dtype == DTYPE_BF16 ? (void *)narrow : (void *)values,
                                   .dtype = dtype,
                                   .row_count = n,
                                   .stride = k};
    ck_assert_int_eq(ops->weight_load(device, &part, 1, k, false, &weight, NULL), STATUS_OK);
    mem_free(narrow);
    *wide = values;
    return weight;
}

/* |got - want| <= tolerance * max(1, |want|) everywhere, no NaN. */
static inline void kit_close(const float *got, const double *want, size_t count, double tolerance,
                             const char *what)
{
    for (size_t i = 0; i < count; i++) {
        double bound = tolerance * fmax(1.0, fabs(want[i]));
        ck_assert_msg(fabs((double)got[i] - want[i]) <= bound, "%s: [%zu] is %.9g, not %.9g", what,
                      i, (double)got[i], want[i]);
    }
}

static inline void kit_same_bits(const float *a, const float *b, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(memcmp(&a[i], &b[i], sizeof(float)) == 0, "%s: [%zu] is %.9g or %.9g", what,
                      i, (double)a[i], (double)b[i]);
}

static inline int kit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
