#include "kernels/cpu/cpu.h"

#include "common/clock.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALLOC_ALIGN 256

float *scratch_get(struct scratch *scratch, size_t floats)
{
    if (scratch->floats < floats) {
        mem_free(scratch->data);
        scratch->floats = floats + floats / 2;
        scratch->data = mem_aligned(scratch->floats * sizeof(float), 64);
    }
    return scratch->data;
}

static void cpu_close(struct device *device)
{
    if (!device)
        return;
    pool_free(device->pool);
    comm_close(device->comm);
    mem_free(device->packed.data);
    mem_free(device->attn.data);
    mem_free(device->sampler.data);
    mem_free(device->moe.data);
    mem_free(device->moe_parts.data);
    mem_free(device);
}

static void cpu_tune_end(struct device *device)
{
    (void)device;
}

static enum status cpu_open(const struct device_opts *opts, struct device **out, struct err *err)
{
    struct device *device = mem_zalloc(sizeof(*device));
    device->opts = *opts;
    device->opts.comm = NULL; /* the caller's memory */
    device->isa = isa_pick();
    enum status status;
    TRY_OUT(pool_new(opts->threads ? opts->threads : pool_cores(), &device->pool, err));
    if (opts->tp > 1)
        TRY_OUT(comm_open(opts->comm, opts->rank, opts->tp, &device->comm, err));
    *out = device;
    return STATUS_OK;
out:
    cpu_close(device);
    return status;
}

static void cpu_info(const struct device *device, struct device_info *info)
{
    long pages = sysconf(_SC_AVPHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    *info = (struct device_info){
        .memory_free_bytes = (uint64_t)MAX(0, pages) * (uint64_t)MAX(0, page_bytes),
        .act = DTYPE_F32,
        .weight_dtypes = {DTYPE_BF16, DTYPE_F32, DTYPE_F16},
        .features = FEATURE_ADJUST | FEATURE_LOGPROBS | FEATURE_GRAMMAR,
    };
    snprintf(info->name, sizeof(info->name), "cpu (%s, %u threads)", device->isa->name,
             pool_threads(device->pool));
}

/* Zeroed memory whose pages come when they are first touched (calloc of a large block is a fresh
 * mapping), so that a KV pool of gigabytes costs nothing at start. The block's own address lies
 * in front of what the caller gets. */
static enum status cpu_alloc(struct device *device, size_t bytes, void **out, struct err *err)
{
    char *block = calloc(1, bytes + 2 * ALLOC_ALIGN);
    uintptr_t at;

    if (!block)
        return err_set(err, STATUS_NO_SPACE, "%zu MiB of memory are not to be had", bytes >> 20);
    at = ROUND_UP((uintptr_t)block + sizeof(void *), (uintptr_t)ALLOC_ALIGN);
    *(void **)(at - sizeof(void *)) = block;
    *out = (void *)at;
    return STATUS_OK;
}

static void cpu_free(struct device *device, void *ptr)
{
    if (ptr)
        free(*(void **)((char *)ptr - sizeof(void *)));
}

static void cpu_copy(struct device *device, struct stream *stream, void *dst, const void *src,
                     size_t bytes)
{
    if (bytes)
        memmove(dst, src, bytes);
}

/* Exact: every f16 is an f32. */
static float widen_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u,
             fraction = half & 0x3ffu;
    uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
    float value;
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    if (exponent == 0) {
        value = (float)fraction * 0x1.0p-24f;
        return sign ? -value : value;
    }
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* What the parts have in common: their type, or f32. */
static enum dtype load_dtype(const struct load_part *parts, uint32_t part_count)
{
    for (uint32_t i = 1; i < part_count; i++)
        if (parts[i].dtype != parts[0].dtype)
            return DTYPE_F32;
    return parts[0].dtype == DTYPE_F16 ? DTYPE_F32 : parts[0].dtype;
}

static void load_row(void *to, enum dtype dtype, const char *from, enum dtype from_dtype,
                     uint32_t k)
{
    float *wide = to;
    if (dtype == from_dtype) {
        memcpy(to, from, k * dtype_bytes(dtype));
        return;
    }
    for (uint32_t i = 0; i < k; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof(half), sizeof(half));
        uint32_t bits = (uint32_t)half << 16;
        if (from_dtype == DTYPE_F16)
            wide[i] = widen_f16(half);
        else
            memcpy(&wide[i], &bits, sizeof(bits));
    }
}

static enum status cpu_weight_load(struct device *device, const struct load_part *parts,
                                   uint32_t part_count, uint32_t k, bool borrow, struct weight *out,
                                   struct err *err)
{
    enum dtype dtype = load_dtype(parts, part_count);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < part_count; i++)
        rows += parts[i].row_count + parts[i].zero_rows;
    *out = (struct weight){.dtype = dtype, .n = (uint32_t)rows, .k = k};
    if (borrow && part_count == 1 && parts[0].dtype == dtype && parts[0].stride == k &&
        parts[0].zero_rows == 0 && (uintptr_t)parts[0].data % dtype_bytes(dtype) == 0) {
        out->data = (void *)(uintptr_t)parts[0].data;
        out->borrowed = true;
        return STATUS_OK;
    }
    size_t row_bytes = k * dtype_bytes(dtype);
    char *at = out->data = mem_aligned(rows * row_bytes, 64); /* zeroed */
    for (uint32_t i = 0; i < part_count; at += parts[i++].zero_rows * row_bytes) {
        size_t stride = parts[i].stride * dtype_bytes(parts[i].dtype);
        for (uint64_t r = 0; r < parts[i].row_count; r++, at += row_bytes)
            load_row(at, dtype, (const char *)parts[i].data + r * stride, parts[i].dtype, k);
    }
    return STATUS_OK;
}

static void cpu_weight_free(struct device *device, struct weight *weight)
{
    if (!weight->borrowed)
        mem_free(weight->data);
    *weight = (struct weight){0};
}

static enum status cpu_stream_new(struct device *device, struct stream **out, struct err *err)
{
    *out = mem_zalloc(sizeof(**out));
    (*out)->device = device;
    return STATUS_OK;
}

static void cpu_stream_free(struct device *device, struct stream *stream)
{
    mem_free(stream);
}

static enum status cpu_stream_sync(struct device *device, struct stream *stream, struct err *err)
{
    if (device->failed.status != STATUS_OK && err)
        *err = device->failed;
    return device->failed.status;
}

/* Every op has run when it returns, so an event has nothing to mark but the time. */
static enum status cpu_event_new(struct device *device, struct event **out, struct err *err)
{
    *out = mem_zalloc(sizeof(**out));
    return STATUS_OK;
}

static void cpu_event_free(struct device *device, struct event *event)
{
    mem_free(event);
}

static void cpu_event_record(struct device *device, struct stream *stream, struct event *event)
{
    event->failed = device->failed;
    event->ns = clock_now_ns();
}

static enum status cpu_event_sync(struct device *device, struct event *event, struct err *err)
{
    if (event->failed.status != STATUS_OK && err)
        *err = event->failed;
    return event->failed.status;
}

static uint64_t cpu_event_ns(const struct event *from, const struct event *to)
{
    return to->ns - from->ns;
}

static void cpu_event_wait(struct device *device, struct stream *stream, struct event *event)
{
}

void cpu_all_reduce(struct device *device, struct stream *stream, void *act, size_t count)
{
    if (device->comm && device->failed.status == STATUS_OK)
        device->failed.status = comm_all_reduce(device->comm, act, count, &device->failed);
}

void cpu_all_gather(struct device *device, struct stream *stream, float *out, const float *in,
                    uint32_t rows, uint32_t cols)
{
    if (!device->comm)
        memmove(out, in, (size_t)rows * cols * sizeof(float));
    else if (device->failed.status == STATUS_OK)
        device->failed.status = comm_all_gather(device->comm, out, in, rows, cols, &device->failed);
}

const struct ops cpu_ops = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .tune_end = cpu_tune_end,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .host_alloc = cpu_alloc,
    .host_free = cpu_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .weight_load = cpu_weight_load,
    .weight_formula = cpu_weight_formula,
    .weight_free = cpu_weight_free,
    .stream_new = cpu_stream_new,
    .stream_free = cpu_stream_free,
    .stream_sync = cpu_stream_sync,
    .event_new = cpu_event_new,
    .event_free = cpu_event_free,
    .event_record = cpu_event_record,
    .event_sync = cpu_event_sync,
    .event_ns = cpu_event_ns,
    .event_wait = cpu_event_wait,
    .all_reduce = cpu_all_reduce,
    .all_gather = cpu_all_gather,
    .page_table_set = cpu_page_table_set,
    .resolve_tokens = cpu_resolve_tokens,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .add_rmsnorm = cpu_add_rmsnorm,
    .matmul = cpu_matmul,
    .norm_matmul = cpu_norm_matmul,
    .norm_gate_up_silu = cpu_norm_gate_up_silu,
    .matmul_add = cpu_matmul_add,
    .matmul_f32 = cpu_matmul_f32,
    .qk_rope_store = cpu_qk_rope_store,
    .attn_plan_bytes = cpu_attn_plan_bytes,
    .attn_plan = cpu_attn_plan,
    .attention = cpu_attention,
    .add = cpu_add,
    .scale = cpu_scale,
    .silu_mul = cpu_silu_mul,
    .gather_rows = cpu_gather_rows,
    .sample = cpu_sample,
    .slot_setup = cpu_slot_setup,
    .logits_adjust = cpu_logits_adjust,
    .logprobs = cpu_logprobs,
    .norm_part = cpu_norm_part,
    .qk_sums = cpu_qk_sums,
    .qk_norm_by_sums = cpu_qk_norm_by_sums,
    .route = cpu_route,
    .experts_gate_up = cpu_experts_gate_up,
    .experts_down = cpu_experts_down,
    .add_gated = cpu_add_gated,
};
