/* backend - the CUDA device: memory, weights, streams, and the table of ops. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/comm.cuh"
#include "kernels/cuda/gemm_plans.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/weights.cuh"

extern "C" {
#include "common/log.h"
extern const struct ops cuda_ops;
}

enum status cuda_status(struct err *err, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return STATUS_OK;
    return err_set(err, error == cudaErrorMemoryAllocation ? STATUS_NO_SPACE : STATUS_INTERNAL,
                   "CUDA: %s: %s", what, cudaGetErrorString(error));
}

#define CUDA_TRY_OUT(call)                                                                         \
    do {                                                                                           \
        status = cuda_status(err, call, #call);                                                    \
        if (status != STATUS_OK)                                                                   \
            goto out;                                                                              \
    } while (0)

/* In words that say what to do. */
static enum status no_device(struct err *err, int index, cudaError_t error)
{
    int driver = 0, runtime = 0, count = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return err_set(err, STATUS_UNSUPPORTED, "no NVIDIA driver is installed here");
    if (driver / 1000 < runtime / 1000)
        return err_set(err, STATUS_UNSUPPORTED,
                       "the NVIDIA driver is too old: it runs CUDA up to %d.%d, this build needs "
                       "%d.%d; update the driver, or run with --backend cpu",
                       driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    cudaGetDeviceCount(&count);
    if (index >= count)
        return err_set(err, STATUS_UNSUPPORTED, "there is no GPU %d: the driver shows %d", index,
                       count);
    return cuda_status(err, error, "opening the GPU");
}

extern "C" bool cuda_present(void)
{
    int driver = 0, count = 0;
    cudaError_t error;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return false;
    error = cudaGetDeviceCount(&count);
    return error != cudaErrorNoDevice && (error != cudaSuccess || count > 0);
}

static void save_plans(struct device *device)
{
    struct err err = {};
    if (device->plans && gemm_plans_save(device->plans, &err) != STATUS_OK)
        LOG_WARN("kernels", "plans not kept", "error=\"%s\"", err.text);
}

static void dev_tune_end(struct device *device)
{
    save_plans(device);
    device->opts.tune = false;
}

static void dev_close(struct device *device)
{
    if (!device)
        return;
    ranks_close(device->ranks);
    cudaFree(device->workspace);
    cudaFree(device->setup_words);
    save_plans(device);
    gemm_plans_free(device->plans);
    attn_scratch_release(device);
    uploader_free(device->uploader);
    if (device->lt)
        cublasLtDestroy(device->lt);
    free(device);
}

static enum status dev_open(const struct device_opts *opts, struct device **out, struct err *err)
{
    struct device *device = (struct device *)calloc(1, sizeof(*device));
    enum status status = STATUS_OK;
    cudaError_t error;

    CHECK(device);
    device->opts = *opts;
    error = cudaSetDevice(opts->device_index);
    if (error == cudaSuccess)
        error = cudaGetDeviceProperties(&device->prop, opts->device_index);
    if (error != cudaSuccess) {
        status = no_device(err, opts->device_index, error);
        goto out;
    }
    if (device->prop.major < 8) {
        status = err_set(err, STATUS_UNSUPPORTED,
                         "%s has compute capability %d.%d and no bf16; 8.0 is needed, or "
                         "--backend cpu",
                         device->prop.name, device->prop.major, device->prop.minor);
        goto out;
    }
    if (cublasLtCreate(&device->lt) != CUBLAS_STATUS_SUCCESS) {
        status = err_set(err, STATUS_INTERNAL, "cuBLASLt does not start");
        goto out;
    }
    CUDA_TRY_OUT(cudaMalloc(&device->workspace, WORKSPACE_BYTES));
    /* initcheck does not see the bulk stores with which cuBLASLt fills it before it reads there */
    CUDA_TRY_OUT(cudaMemset(device->workspace, 0, WORKSPACE_BYTES));
    CUDA_TRY_OUT(cudaMalloc(&device->setup_words, SETUP_WORDS * sizeof(uint32_t)));
    tensor_map_init(device);
    device->plans = gemm_plans_new(opts->plans, device->prop.name, cublasLtGetVersion());
    device->hopper = device->prop.major == 9 && (!opts->attn || strcmp(opts->attn, "generic") != 0);
    CUDA_TRY_OUT(attn_scratch_init(device));
    if (opts->tp > 1 || opts->comm)
        status = ranks_open(opts, &device->ranks, err);
out:
    if (status == STATUS_OK)
        *out = device;
    else
        dev_close(device);
    return status;
}

static void dev_info(const struct device *device, struct device_info *info)
{
    size_t free_bytes = 0, total_bytes = 0;
    memset(info, 0, sizeof(*info));
    cudaMemGetInfo(&free_bytes, &total_bytes);
    snprintf(info->name, sizeof(info->name), "%.60s", device->prop.name);
    info->memory_free_bytes = free_bytes;
    info->act = DTYPE_BF16;
    info->head_dims[0] = 64;
    info->head_dims[1] = 128;
    info->features = FEATURE_ADJUST | FEATURE_LOGPROBS | FEATURE_GRAMMAR;
    info->weight_dtypes[0] = info->weight_dtypes[1] = info->weight_dtypes[2] = DTYPE_BF16;
}

static enum status dev_alloc(struct device *device, size_t bytes, void **out, struct err *err)
{
    enum status status = STATUS_OK;
    size_t free_bytes = 0, total_bytes = 0;
    cudaError_t error;
    (void)device;
    error = cudaMalloc(out, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it is not the device's: nothing was launched */
        cudaMemGetInfo(&free_bytes, &total_bytes);
        return err_set(err, STATUS_NO_SPACE, "the GPU has no %zu MiB: %zu of its %zu MiB are free",
                       (bytes >> 20) + 1, free_bytes >> 20, total_bytes >> 20);
    }
    status = cuda_status(err, error, "cudaMalloc");
    if (status != STATUS_OK)
        goto out;
    CUDA_TRY_OUT(cudaMemset(*out, 0, bytes));
    CUDA_TRY_OUT(cudaStreamSynchronize(0)); /* our streams do not wait for this one */
out:
    return status;
}

static void dev_free(struct device *device, void *ptr)
{
    (void)device;
    cudaFree(ptr);
}

static enum status dev_host_alloc(struct device *device, size_t bytes, void **out, struct err *err)
{
    enum status status = STATUS_OK;
    (void)device;
    CUDA_TRY_OUT(cudaMallocHost(out, bytes ? bytes : 1));
    memset(*out, 0, bytes);
out:
    return status;
}

static void dev_host_free(struct device *device, void *ptr)
{
    (void)device;
    cudaFreeHost(ptr);
}

static void dev_upload(struct device *device, struct stream *stream, void *dst, const void *src,
                       size_t bytes)
{
    if (stream) {
        CUDA_NOTE(device, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, stream->cuda));
        return;
    }
    /* At start. From pageable memory cudaMemcpy returns when the bytes are staged, not when they are
     * there, and our streams do not wait for stream 0. */
    CUDA_NOTE(device, cudaMemcpy(dst, src, bytes, cudaMemcpyDefault));
    CUDA_NOTE(device, cudaStreamSynchronize(0));
}

static void dev_download(struct device *device, struct stream *stream, void *dst, const void *src,
                         size_t bytes)
{
    CUDA_NOTE(device, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, stream->cuda));
}

static void weight_free(struct device *device, struct weight *weight)
{
    dev_free(device, weight->data);
    weight->data = NULL;
}

static enum status stream_new(struct device *device, struct stream **out, struct err *err)
{
    struct stream *stream = (struct stream *)calloc(1, sizeof(*stream));
    enum status status = STATUS_OK;
    CHECK(stream);
    (void)device;
    CUDA_TRY_OUT(cudaStreamCreateWithFlags(&stream->cuda, cudaStreamNonBlocking));
out:
    if (status == STATUS_OK)
        *out = stream;
    else
        free(stream);
    return status;
}

static void stream_free(struct device *device, struct stream *stream)
{
    (void)device;
    if (stream)
        cudaStreamDestroy(stream->cuda);
    free(stream);
}

static enum status stream_sync(struct device *device, struct stream *stream, struct err *err)
{
    cudaError_t error = cudaStreamSynchronize(stream->cuda);
    device_fail(device, error, "stream");
    return cuda_status(err, device->error, device->error_where ? device->error_where : "");
}

static enum status event_new(struct device *device, struct event **out, struct err *err)
{
    struct event *event = (struct event *)calloc(1, sizeof(*event));
    enum status status = STATUS_OK;
    CHECK(event);
    (void)device;
    CUDA_TRY_OUT(cudaEventCreate(&event->cuda));
out:
    if (status == STATUS_OK)
        *out = event;
    else
        free(event);
    return status;
}

static void event_free(struct device *device, struct event *event)
{
    (void)device;
    if (event)
        cudaEventDestroy(event->cuda);
    free(event);
}

static void event_record(struct device *device, struct stream *stream, struct event *event)
{
    CUDA_NOTE(device, cudaEventRecord(event->cuda, stream->cuda));
    event->error = device->error;
    event->error_where = device->error_where;
}

static enum status event_sync(struct device *device, struct event *event, struct err *err)
{
    cudaError_t error;
    /* this thread may be another than the launching one */
    cudaSetDevice(device->opts.device_index);
    error = cudaEventSynchronize(event->cuda);
    if (event->error != cudaSuccess)
        return cuda_status(err, event->error, event->error_where);
    return cuda_status(err, error, "a step on the GPU");
}

static uint64_t event_ns(const struct event *from, const struct event *to)
{
    float ms = 0.0f;
    cudaEventElapsedTime(&ms, from->cuda, to->cuda);
    return (uint64_t)(ms * 1e6);
}

static void event_wait(struct device *device, struct stream *stream, struct event *event)
{
    CUDA_NOTE(device, cudaStreamWaitEvent(stream->cuda, event->cuda, 0));
}

static enum status graph_begin(struct device *device, struct stream *stream, struct err *err)
{
    enum status status = STATUS_OK;
    (void)device;
    CUDA_TRY_OUT(cudaStreamBeginCapture(stream->cuda, cudaStreamCaptureModeThreadLocal));
out:
    return status;
}

static enum status graph_end(struct device *device, struct stream *stream, struct graph **out,
                             struct err *err)
{
    struct graph *graph = (struct graph *)calloc(1, sizeof(*graph));
    cudaGraph_t recorded = NULL;
    enum status status = STATUS_OK;
    CHECK(graph);
    (void)device;
    CUDA_TRY_OUT(cudaStreamEndCapture(stream->cuda, &recorded));
    CUDA_TRY_OUT(cudaGraphInstantiate(&graph->exec, recorded, 0));
out:
    if (recorded)
        cudaGraphDestroy(recorded);
    if (status == STATUS_OK)
        *out = graph;
    else
        free(graph);
    return status;
}

static void graph_launch(struct device *device, struct stream *stream, struct graph *graph)
{
    CUDA_NOTE(device, cudaGraphLaunch(graph->exec, stream->cuda));
}

static void graph_free(struct device *device, struct graph *graph)
{
    (void)device;
    if (graph)
        cudaGraphExecDestroy(graph->exec);
    free(graph);
}

/* In the order of struct ops. */
extern "C" const struct ops cuda_ops = {
    "cuda",
    dev_open,
    dev_close,
    dev_tune_end,
    dev_info,
    dev_alloc,
    dev_free,
    dev_host_alloc,
    dev_host_free,
    dev_upload,
    dev_download,
    cuda_weight_load,
    cuda_weight_formula,
    weight_free,
    stream_new,
    stream_free,
    stream_sync,
    event_new,
    event_free,
    event_record,
    event_sync,
    event_ns,
    event_wait,
    graph_begin,
    graph_end,
    graph_launch,
    graph_free,
    cuda_all_reduce,
    cuda_all_gather,
    cuda_page_table_set,
    cuda_resolve_tokens,
    cuda_embed,
    cuda_rmsnorm,
    cuda_add_rmsnorm,
    cuda_matmul,
    cuda_norm_matmul,
    cuda_norm_gate_up_silu,
    cuda_matmul_add,
    cuda_matmul_f32,
    cuda_qk_rope_store,
    cuda_attn_plan_bytes,
    cuda_attn_plan,
    cuda_attention,
    cuda_add,
    cuda_scale,
    cuda_silu_mul,
    cuda_gather_rows,
    cuda_sample,
    cuda_slot_setup,
    cuda_logits_adjust,
    cuda_logprobs,
    cuda_norm_part,
    cuda_qk_sums,
    cuda_qk_norm_by_sums,
    cuda_route,
    cuda_experts_gate_up,
    cuda_experts_down,
    cuda_add_gated,
};
