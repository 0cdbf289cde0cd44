#include "tests/kernels/device/rig.h"

#include "common/mem.h"

#include <stdarg.h>

#define GUARD_BYTES 512
#define SHOWN_MAX   10

void rig_where(struct rig *rig, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(rig->where, sizeof(rig->where), format, args);
    va_end(args);
}

void rig_fail(struct rig *rig, const char *format, ...)
{
    va_list args;
    rig->failures++;
    if (rig->failures_here++ >= SHOWN_MAX)
        return;
    va_start(args, format);
    printf("    %s%s: ", rig->test, rig->where);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

static void remember(void ***list, size_t *count, void *ptr)
{
    *list = mem_realloc(*list, (*count + 1) * sizeof(**list));
    (*list)[(*count)++] = ptr;
}

void *rig_host(struct rig *rig, size_t bytes)
{
    void *ptr = mem_zalloc(bytes + 16);
    remember(&rig->host_memory, &rig->host_count, ptr);
    return ptr;
}

void *rig_alloc(struct rig *rig, size_t bytes)
{
    struct err err = {0};
    void *ptr;
    if (rig->ops->alloc(rig->device, bytes, &ptr, &err) != STATUS_OK) {
        fprintf(stderr, "kernels_device: %s\n", err.text);
        exit(1);
    }
    remember(&rig->device_memory, &rig->device_count, ptr);
    return ptr;
}

void rig_sync(struct rig *rig)
{
    struct err err = {0};
    EXPECT(rig, rig->ops->stream_sync(rig->device, rig->stream, &err) == STATUS_OK, "%s", err.text);
    if (err.status != STATUS_OK && rig->cuda) {
        printf("FAIL %s: the device is lost: %s\n", rig->test, err.text);
        exit(1);
    }
}

void *rig_up(struct rig *rig, const void *host, size_t bytes)
{
    void *ptr = rig_alloc(rig, bytes + 16);
    rig->ops->upload(rig->device, rig->stream, ptr, host, bytes);
    rig_sync(rig);
    return ptr;
}

void rig_down(struct rig *rig, void *host, const void *device, size_t bytes)
{
    rig->ops->download(rig->device, rig->stream, host, device, bytes);
    rig_sync(rig);
}

void rig_drop(struct rig *rig)
{
    rig_sync(rig);
    while (rig->device_count > 0)
        rig->ops->free(rig->device, rig->device_memory[--rig->device_count]);
    while (rig->host_count > 0)
        mem_free(rig->host_memory[--rig->host_count]);
    mem_free(rig->device_memory);
    mem_free(rig->host_memory);
    rig->device_memory = rig->host_memory = NULL;
}

float rig_normal(struct rig *rig)
{
    uint64_t r = rng_next(&rig->seed);
    int32_t sum = (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) +
                  (int32_t)(r >> 32 & 0xffff) + (int32_t)(r >> 48);
    return (float)(sum - 131070) * (1.0f / 37837.0f); /* 4 uniforms: variance 4 * 65536^2 / 12 */
}

float bf16_round(double value)
{
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof(bits));
    bits = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&narrow, &bits, sizeof(narrow));
    return narrow;
}

uint16_t bf16_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float *rig_values(struct rig *rig, size_t count, float scale)
{
    float *values = rig_host(rig, count * sizeof(*values));
    for (size_t i = 0; i < count; i++)
        values[i] = bf16_round(rig_normal(rig) * scale);
    return values;
}

void *rig_act(struct rig *rig, const float *values, size_t count)
{
    if (rig->act == DTYPE_F32)
        return rig_up(rig, values, count * sizeof(float));
    uint16_t *narrow = mem_alloc(count * sizeof(*narrow));
    for (size_t i = 0; i < count; i++)
        narrow[i] = bf16_bits(values[i]);
    void *ptr = rig_up(rig, narrow, count * sizeof(*narrow));
    mem_free(narrow);
    return ptr;
}

static float *read_as(struct rig *rig, const void *device, size_t count, enum dtype dtype)
{
    float *values = rig_host(rig, count * sizeof(*values));
    if (dtype == DTYPE_F32) {
        rig_down(rig, values, device, count * sizeof(*values));
        return values;
    }
    uint16_t *narrow = mem_alloc(count * sizeof(*narrow) + 1);
    rig_down(rig, narrow, device, count * sizeof(*narrow));
    for (size_t i = 0; i < count; i++)
        values[i] = bf16_wide(narrow[i]);
    mem_free(narrow);
    return values;
}

float *rig_read(struct rig *rig, const void *act, size_t count)
{
    return read_as(rig, act, count, rig->act);
}

struct rig_out rig_out_bytes(struct rig *rig, size_t bytes)
{
    struct rig_out out = {.bytes = bytes};
    uint8_t *poison = mem_alloc(bytes + GUARD_BYTES);
    memset(poison, 0xff, bytes + GUARD_BYTES);
    out.device = rig_up(rig, poison, bytes + GUARD_BYTES);
    mem_free(poison);
    return out;
}

struct rig_out rig_out_act(struct rig *rig, size_t count)
{
    return rig_out_bytes(rig, count * dtype_bytes(rig->act));
}

float *rig_out_read(struct rig *rig, const struct rig_out *out, enum dtype dtype, const char *what)
{
    size_t count = out->bytes / dtype_bytes(dtype), missing = 0, first = 0;
    float *values = read_as(rig, out->device, count, dtype);
    uint8_t guard[GUARD_BYTES];
    for (size_t i = count; i-- > 0;)
        if (values[i] != values[i])
            missing++, first = i;
    EXPECT(rig, missing == 0, "%s: %zu of %zu are NaN or were not written, the first at %zu", what,
           missing, count, first);
    rig_down(rig, guard, (const char *)out->device + out->bytes, GUARD_BYTES);
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (guard[i] != 0xff) {
            EXPECT(rig, false, "%s: written %zu bytes behind its end", what, i);
            break;
        }
    return values;
}

void rig_same(struct rig *rig, const struct rig_out *a, const struct rig_out *b, const char *what)
{
    uint8_t *left = rig_host(rig, a->bytes), *right = rig_host(rig, a->bytes);
    rig_down(rig, left, a->device, a->bytes);
    rig_down(rig, right, b->device, a->bytes);
    size_t at = 0;
    while (at < a->bytes && left[at] == right[at])
        at++;
    EXPECT(rig, at == a->bytes, "%s: two runs differ, first at byte %zu of %zu", what, at,
           a->bytes);
}

struct weight rig_weight(struct rig *rig, uint32_t n, uint32_t k, uint16_t **host)
{
    size_t count = (size_t)n * k, block = MIN(count, (size_t)3 << 20 | 7);
    uint16_t *bits = rig_host(rig, count * sizeof(*bits));
    float scale = 1.0f / sqrtf((float)k);
    for (size_t i = 0; i < block; i++)
        bits[i] = bf16_bits(rig_normal(rig) * scale);
    for (size_t i = block; i < count; i += block) /* an odd period: no two rows are the same */
        memcpy(bits + i, bits, MIN(block, count - i) * sizeof(*bits));
    struct weight weight;
    struct err err = {0};
    const struct load_part part = {bits, DTYPE_BF16, n, 0, k};
    if (rig->ops->weight_load(rig->device, &part, 1, k, false, &weight, &err) != STATUS_OK) {
        fprintf(stderr, "kernels_device: %s\n", err.text);
        exit(1);
    }
    *host = bits;
    return weight;
}

void rig_close(struct rig *rig, float got, double want, double bound, const char *what, size_t at)
{
    EXPECT(rig, fabs((double)got - want) <= bound, "%s: [%zu] is %.9g, not %.9g +- %.2g", what, at,
           (double)got, want, bound);
}
