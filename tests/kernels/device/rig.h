/* rig - what the device tests share: one device, random data in its activation type, poisoned
 * outputs, comparison against double-precision references.
 *
 *     kernels_device [--backend NAME] [--quick] [--tiny] [--list] [FILTER]
 *
 * The same cases run on any backend. Activations are bf16 on cuda and f32 on cpu; inputs are bf16
 * values on both, so references are exact and the cpu run proves that the bounds can be met. Every
 * output is poisoned with NaN and has a guard behind it. One process, no fork: a CUDA device would
 * not survive one. Links nothing but libc and CUDA, so that the binary runs on a bare GPU host.
 *
 *     quick: every op, fewer shapes (seconds)      tiny: the list for compute-sanitizer
 */
#ifndef MSGL_TESTS_KERNELS_DEVICE_RIG_H
#define MSGL_TESTS_KERNELS_DEVICE_RIG_H

#include "common/rng.h"
#include "kernels/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum effort { EFFORT_TINY, EFFORT_QUICK, EFFORT_FULL };

struct rig_out {
    void *device; /* NaN, with a guard behind it */
    size_t bytes;
};

struct rig {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    enum effort effort;
    enum dtype act;
    bool cuda;
    const char *test; /* running */
    char where[80];   /* and its case, in words: rig_where() */
    uint32_t checks, failures, failures_here, cases;
    uint64_t seed;
    void **device_memory, **host_memory; /* of the running case; rig_drop frees all */
    size_t device_count, host_count;
};

struct rig_test {
    const char *name;
    void (*run)(struct rig *rig);
};

extern const struct rig_test matmul_tests[], row_tests[], attention_tests[], sample_tests[],
    logits_tests[], step_tests[], formula_tests[], moe_tests[], plans_tests[];

/* Names the running case in what rig_fail prints; until the next one or the end of the test. */
void rig_where(struct rig *rig, const char *format, ...) PRINTF_LIKE(2, 3);
/* Counts a failure of the running test, printed with `format`; at most ten a test are printed. */
void rig_fail(struct rig *rig, const char *format, ...) PRINTF_LIKE(2, 3);
#define EXPECT(rig, cond, ...) ((rig)->checks++, (cond) ? (void)0 : rig_fail(rig, __VA_ARGS__))

void *rig_host(struct rig *rig, size_t bytes); /* zeroed */
void *rig_alloc(struct rig *rig, size_t bytes);
void *rig_up(struct rig *rig, const void *host, size_t bytes);
void rig_down(struct rig *rig, void *host, const void *device, size_t bytes);
void rig_sync(struct rig *rig);
void rig_drop(struct rig *rig);

float rig_normal(struct rig *rig); /* about N(0, 1) */
/* bf16 values, about N(0, scale^2) */
float *rig_values(struct rig *rig, size_t count, float scale);
float bf16_round(double value); /* to nearest even */
uint16_t bf16_bits(float value);
static inline float bf16_wide(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Values as the device's activations, and back. */
void *rig_act(struct rig *rig, const float *values, size_t count);
float *rig_read(struct rig *rig, const void *act, size_t count);

struct rig_out rig_out_act(struct rig *rig, size_t count);
struct rig_out rig_out_bytes(struct rig *rig, size_t bytes);
/* All of it written (as `dtype`, f32 or the activations'), and nothing behind it. */
float *rig_out_read(struct rig *rig, const struct rig_out *out, enum dtype dtype, const char *what);
/* The same bits as before: two runs of one op. */
void rig_same(struct rig *rig, const struct rig_out *a, const struct rig_out *b, const char *what);

/* A bf16 weight [n, k] of about N(0, 1/k); *host gets its bits. */
struct weight rig_weight(struct rig *rig, uint32_t n, uint32_t k, uint16_t **host);

/* |got - want| <= bound */
void rig_close(struct rig *rig, float got, double want, double bound, const char *what, size_t at);

#endif
