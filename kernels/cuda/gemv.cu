/* gemv - matmul for 1 to 8 rows of x: the weights stream through shared memory once.
 *
 *     y[m, n] = f(x)[m, k] w[n, k]^T,   f = RMSNorm or nothing
 *     then: + bias | residual + … | silu(gate) * up | f32
 *
 * Bound by the bytes of w. Each of the 132 blocks (one an SM) owns n / 132 rows of w, give or take
 * one, and walks them in tiles of 16 rows, a tile in chunks of KC columns, a chunk a stage:
 *
 *     producer warp   ─ bulk copies, a row's chunk each ─►  ring of stages  ─►  8 consumer warps
 *     (weights depend on no kernel: it fills                16 rows x KC        each its own columns of
 *      the ring BEFORE griddepcontrol.wait)                 + 128 bytes a row    the chunk, all 16 rows
 *
 * so the ring (64 to 100 KB an SM, 8 to 13 MB in all) is full when the predecessor ends, and two
 * such kernels fit on one SM. Consumers wait, put x (normed, as bf16) into shared memory, and
 * multiply on tensor cores with w as A (16 rows) and x as B (8 columns, the tokens):
 *
 *     lane l holds 16 bytes, k = 8 (l % 4) …, of w rows l / 4 and l / 4 + 8, and of token l / 4:
 *     two m16n8k16 over the same permuted k, no ldmatrix. The 128 bytes between rows put the two
 *     rows of a quarter warp into different banks.
 *
 * The warps' sums meet in shared memory and are added in the order of the warps: the same bits on
 * every run. For silu a tile is 8 gate and 8 up rows.
 *
 * Needs sm_90, k % 8 == 0, 16-byte aligned x and w. matmul.cu decides who computes what.
 */
#include "kernels/cuda/gemv.cuh"

#define CONSUMERS   8
#define THREADS     ((CONSUMERS + 1) * 32)
#define STAGES_MAX  8
#define ROW_PAD     128
#define SHARED_PAIR ((size_t)112 << 10) /* two blocks of this share an SM */
#define SHARED_ONE  ((size_t)220 << 10)

enum epilogue { EPILOGUE_STORE, EPILOGUE_ADD, EPILOGUE_SILU, EPILOGUE_F32 };

struct gemv_args {
    void *y;
    const bf16 *x, *w;
    const float *norm, *bias;
    float eps;
    uint32_t n, k, m; /* n: outputs; silu has twice as many rows of w */
    uint32_t stages;
};

template <int TILES, int KC> struct gemv_shape {
    static constexpr uint32_t row_bytes = KC * 2 + ROW_PAD;
    static constexpr uint32_t stage_bytes = TILES * 16 * row_bytes;
    static constexpr uint32_t partial_floats = CONSUMERS * TILES * 128; /* one of two buffers */
};

/* Bytes from one token's x to the next, and of all: 64 more than a multiple of 128. */
__host__ __device__ inline uint32_t x_stride(uint32_t k)
{
    return (k * 2 + 127) / 128 * 128 + 64;
}

struct gemv_block {      /* where this block's rows and shared memory lie */
    uint32_t first, end; /* outputs */
    uint32_t tiles, chunks;
    char *ring, *x;
    float *norm, *partial;
    uint64_t *full, *empty, *norm_ready;
};

template <int TILES, bool SILU> __device__ __forceinline__ uint32_t outputs_per_pass()
{
    return SILU ? 8 : TILES * 16;
}

/* One stage: each lane copies rows lane, lane + 32. Returns nothing; `full` counts the bytes. */
template <int TILES, int KC, bool SILU>
__device__ __forceinline__ void produce_weights(const struct gemv_args &args,
                                                const struct gemv_block &b, uint32_t item,
                                                uint32_t stage, uint64_t policy)
{
    using shape = gemv_shape<TILES, KC>;
    uint32_t lane = threadIdx.x % 32, per_pass = outputs_per_pass<TILES, SILU>();
    uint32_t output = b.first + item / b.chunks * per_pass, column = item % b.chunks * KC;
    uint32_t rows = min(per_pass, b.end - output), bytes = min(KC, args.k - column) * 2;
    char *to = b.ring + (size_t)stage * shape::stage_bytes;
    if (lane == 0)
        barrier_expect(&b.full[stage], bytes * rows * (SILU ? 2 : 1));
    __syncwarp();
    for (uint32_t row = lane; row < TILES * 16; row += 32) {
        uint32_t in_half = SILU ? row % 8 : row;
        size_t from = output + in_half + (SILU && row >= 8 ? args.n : 0);
        if (in_half < rows)
            bulk_copy(to + row * shape::row_bytes, args.w + from * args.k + column, bytes,
                      &b.full[stage], policy);
    }
}

template <int TILES, int KC, bool SILU>
__device__ void produce(const struct gemv_args &args, const struct gemv_block &b)
{
    uint32_t items = b.tiles * b.chunks, early = min(items, args.stages);
    uint64_t policy = policy_evict_first();
    if (args.norm) {
        if (threadIdx.x % 32 == 0) {
            barrier_expect(b.norm_ready, args.k * 4);
            bulk_copy(b.norm, args.norm, args.k * 4, b.norm_ready, 0);
        }
    }
    for (uint32_t i = 0; i < early; i++)
        produce_weights<TILES, KC, SILU>(args, b, i, i, policy);
    for (uint32_t i = early, stage = 0, round = 0; i < items; i++) {
        barrier_wait(&b.empty[stage], round & 1);
        produce_weights<TILES, KC, SILU>(args, b, i, stage, policy);
        if (++stage == args.stages) {
            stage = 0;
            round++;
        }
    }
}

/* x to shared memory as it is, 16 bytes a thread and turn; sums[r] += squares of row r. */
template <bool SQUARES>
__device__ __forceinline__ void x_load(const struct gemv_args &args, char *x, float *sums)
{
    uint32_t units = args.k / 8, stride = x_stride(args.k);
#pragma unroll
    for (uint32_t r = 0; r < GEMV_ROWS_MAX; r++) {
        if (r >= args.m)
            break;
        const uint4 *from = (const uint4 *)(args.x + (size_t)r * args.k);
        float sum = 0.0f;
#pragma unroll 4
        for (uint32_t u = threadIdx.x; u < units; u += CONSUMERS * 32) {
            uint4 v = from[u];
            *(uint4 *)(x + r * stride + u * 16) = v;
            if (SQUARES) {
                float f[8];
                bf16x8_unpack(v, f);
#pragma unroll
                for (int i = 0; i < 8; i++)
                    sum += f[i] * f[i];
            }
        }
        sums[r] = sum;
    }
}

/* In place: x = bf16(x / sqrt(mean x^2 + eps) * w). A thread rewrites what it loaded itself. */
__device__ __forceinline__ void x_norm(const struct gemv_args &args, const struct gemv_block &b,
                                       const float *sums)
{
    __shared__ float warp_sums[CONSUMERS][GEMV_ROWS_MAX];
    uint32_t units = args.k / 8, stride = x_stride(args.k), warp = threadIdx.x / 32;
#pragma unroll
    for (uint32_t r = 0; r < GEMV_ROWS_MAX; r++) {
        if (r >= args.m)
            break;
        float sum = warp_sum(sums[r]);
        if (threadIdx.x % 32 == 0)
            warp_sums[warp][r] = sum;
    }
    consumers_sync(CONSUMERS * 32);
    barrier_wait(b.norm_ready, 0);
#pragma unroll 1
    for (uint32_t r = 0; r < args.m; r++) {
        float sum = 0.0f;
        for (int w = 0; w < CONSUMERS; w++)
            sum += warp_sums[w][r];
        float scale = rsqrtf(sum / (float)args.k + args.eps);
        for (uint32_t u = threadIdx.x; u < units; u += CONSUMERS * 32) {
            uint4 *at = (uint4 *)(b.x + r * stride + u * 16);
            const float4 *w = (const float4 *)(b.norm + u * 8);
            float4 w0 = w[0], w1 = w[1];
            float f[8];
            bf16x8_unpack(*at, f);
            f[0] *= scale * w0.x, f[1] *= scale * w0.y, f[2] *= scale * w0.z, f[3] *= scale * w0.w;
            f[4] *= scale * w1.x, f[5] *= scale * w1.y, f[6] *= scale * w1.z, f[7] *= scale * w1.w;
            *at = bf16x8_pack(f);
        }
    }
}

/* This warp's columns of one stage: groups of 32, every CONSUMERS-th. */
template <int TILES, int KC>
__device__ __forceinline__ void multiply(const struct gemv_args &args, const struct gemv_block &b,
                                         uint32_t stage, uint32_t column, uint32_t rows,
                                         float (*acc)[4])
{
    using shape = gemv_shape<TILES, KC>;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, token = lane / 4;
    const char *w = b.ring + (size_t)stage * shape::stage_bytes + token * shape::row_bytes;
    const char *x = b.x + token * x_stride(args.k) + column * 2;
    const uint4 zero = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int turn = 0; turn < KC / 32 / CONSUMERS; turn++) {
        uint32_t at = (turn * CONSUMERS + warp) * 32 + lane % 4 * 8;
        bool inside = column + at < args.k;
        uint4 xv = inside && token < args.m ? *(const uint4 *)(x + at * 2) : zero;
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            uint4 p = zero, q = zero;
            if (TILES > 1 && t * 16 >= rows)
                break;
            if (inside)
                p = *(const uint4 *)(w + t * 16 * shape::row_bytes + at * 2);
            if (inside && t * 16 + 8 < rows)
                q = *(const uint4 *)(w + (t * 16 + 8) * shape::row_bytes + at * 2);
            mma_16816(acc[t], p.x, q.x, p.y, q.y, xv.x, xv.y);
            mma_16816(acc[t], p.z, q.z, p.w, q.w, xv.z, xv.w);
        }
    }
}

/* partial[row][token] of all warps, added in order. */
template <int TILES>
__device__ __forceinline__ float gather(const float *partial, uint32_t row, uint32_t token)
{
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < CONSUMERS; w++)
        sum += partial[w * TILES * 128 + row * 8 + token];
    return sum;
}

template <int TILES, enum epilogue EPILOGUE>
__device__ __forceinline__ void finish(const struct gemv_args &args, const float *partial,
                                       uint32_t output, uint32_t outputs)
{
    constexpr uint32_t WIDE = EPILOGUE == EPILOGUE_SILU ? 8 : TILES * 16;
    for (uint32_t i = threadIdx.x; i < WIDE * 8; i += CONSUMERS * 32) {
        uint32_t row = i % WIDE, token = i / WIDE, col = output + row;
        size_t at = (size_t)token * args.n + col;
        if (row >= outputs || token >= args.m)
            continue;
        float value = gather<TILES>(partial, row, token);
        if (args.bias)
            value += args.bias[col];
        if (EPILOGUE == EPILOGUE_F32) {
            ((float *)args.y)[at] = value;
            continue;
        }
        if (EPILOGUE == EPILOGUE_SILU) {
            float up = gather<TILES>(partial, row + 8, token);
            if (args.bias)
                up += args.bias[args.n + col];
            value = value / (1.0f + __expf(-value)) * up;
        }
        if (EPILOGUE == EPILOGUE_ADD)
            value += to_f32(((const bf16 *)args.y)[at]);
        ((bf16 *)args.y)[at] = __float2bfloat16(value);
    }
}

template <int TILES, int KC, enum epilogue EPILOGUE>
__device__ void consume(const struct gemv_args &args, const struct gemv_block &b)
{
    using shape = gemv_shape<TILES, KC>;
    constexpr bool SILU = EPILOGUE == EPILOGUE_SILU;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, stage = 0, phase = 0;
    uint32_t per_pass = outputs_per_pass<TILES, SILU>();

    float sums[GEMV_ROWS_MAX];
    if (args.norm) {
        x_load<true>(args, b.x, sums);
        x_norm(args, b, sums);
    } else {
        x_load<false>(args, b.x, sums);
    }
    consumers_sync(CONSUMERS * 32);
    for (uint32_t tile = 0; tile < b.tiles; tile++) {
        uint32_t output = b.first + tile * per_pass, outputs = min(per_pass, b.end - output);
        float *partial = b.partial + (tile & 1) * shape::partial_floats;
        float acc[TILES][4] = {};
        for (uint32_t chunk = 0; chunk < b.chunks; chunk++) {
            barrier_wait(&b.full[stage], phase);
            multiply<TILES, KC>(args, b, stage, chunk * KC, SILU ? 16 : outputs, acc);
            __syncwarp();
            if (lane == 0)
                barrier_arrive(&b.empty[stage]);
            if (++stage == args.stages) {
                stage = 0;
                phase ^= 1;
            }
        }
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            float *to = partial + warp * TILES * 128 + t * 128 + lane * 2;
            *(float2 *)to = make_float2(acc[t][0], acc[t][1]);
            *(float2 *)(to + 64) = make_float2(acc[t][2], acc[t][3]);
        }
        consumers_sync(CONSUMERS * 32);
        finish<TILES, EPILOGUE>(args, partial, output, outputs);
    }
}

template <int TILES, int KC, enum epilogue EPILOGUE>
__global__ void __launch_bounds__(THREADS, 2) gemv_kernel(struct gemv_args args)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900 /* else never launched */
    using shape = gemv_shape<TILES, KC>;
    constexpr bool SILU = EPILOGUE == EPILOGUE_SILU;
    extern __shared__ __align__(128) char dynamic_shared[];
    __shared__ uint64_t barriers[2 * STAGES_MAX + 1];
    struct gemv_block b;
    b.first = (uint32_t)((uint64_t)blockIdx.x * args.n / gridDim.x);
    b.end = (uint32_t)((uint64_t)(blockIdx.x + 1) * args.n / gridDim.x);
    b.tiles =
        (b.end - b.first + outputs_per_pass<TILES, SILU>() - 1) / outputs_per_pass<TILES, SILU>();
    b.chunks = (args.k + KC - 1) / KC;
    b.ring = dynamic_shared;
    b.partial = (float *)(b.ring + (size_t)args.stages * shape::stage_bytes);
    b.norm = b.partial + 2 * shape::partial_floats;
    b.x = (char *)(b.norm + (args.norm ? (args.k + 31) / 32 * 32 : 0));
    b.full = barriers;
    b.empty = barriers + STAGES_MAX;
    b.norm_ready = barriers + 2 * STAGES_MAX;

    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < args.stages; i++) {
            barrier_init(&b.full[i], 1);
            barrier_init(&b.empty[i], CONSUMERS);
        }
        barrier_init(b.norm_ready, 1);
        barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x >= CONSUMERS * 32) {
        produce<TILES, KC, SILU>(args, b);
    } else {
        pdl_launch();
        pdl_wait();
        consume<TILES, KC, EPILOGUE>(args, b);
    }
#endif
}

/* Shared memory without the ring; then as many stages as let two blocks share an SM, if that
 * is enough of them to cover the memory's latency (40 KB), else as fit at all. */
template <int TILES, int KC> static size_t shared_bytes(struct gemv_args *args)
{
    using shape = gemv_shape<TILES, KC>;
    size_t rest = 2 * shape::partial_floats * sizeof(float);
    size_t most = DIV_CEIL(args->k, KC) * DIV_CEIL(DIV_CEIL(args->n, 132), 8);
    if (args->norm)
        rest += DIV_CEIL(args->k, 32) * 32 * sizeof(float);
    rest += (size_t)args->m * x_stride(args->k);
    size_t limit = rest + 3 * shape::stage_bytes <= SHARED_PAIR ? SHARED_PAIR : SHARED_ONE;
    if (rest + 2 * shape::stage_bytes > limit)
        return 0;
    args->stages =
        (uint32_t)MIN(MIN((limit - rest) / shape::stage_bytes, most), (size_t)STAGES_MAX);
    return rest + args->stages * shape::stage_bytes;
}

template <int TILES, int KC, enum epilogue EPILOGUE>
static bool gemv_launch(struct device *device, struct stream *stream, struct gemv_args args,
                        const char *name)
{
    size_t bytes = shared_bytes<TILES, KC>(&args);
    if (bytes == 0)
        return false;
    cuda_launch(device, stream, name, gemv_kernel<TILES, KC, EPILOGUE>,
                MIN((uint32_t)device->prop.multiProcessorCount, args.n), THREADS, bytes, args);
    return true;
}

template <enum epilogue EPILOGUE>
static bool gemv(struct device *device, struct stream *stream, const struct gemv_args *args,
                 const char *name)
{
    if (device->prop.major < 9 || args->m > GEMV_ROWS_MAX || args->k % 8 != 0 ||
        (uintptr_t)args->x % 16 != 0 || (uintptr_t)args->w % 16 != 0)
        return false;
    if ((size_t)args->m * args->k > 64 << 10) /* x does not fit: cuBLASLt is twice as fast */
        return false;
    /* Long chunks reach 95 % of the read ceiling; short ones start a small matrix sooner. */
    if (args->k > 1024 || args->n > 16384)
        return gemv_launch<1, 1024, EPILOGUE>(device, stream, *args, name);
    return gemv_launch<1, 512, EPILOGUE>(device, stream, *args, name);
}

bool gemv_matmul(struct device *device, struct stream *stream, void *y, const void *x,
                 const struct norm *norm, const struct weight *w, const float *bias, uint32_t m,
                 enum gemv_kind kind)
{
    struct gemv_args args = {y,
                             (const bf16 *)x,
                             (const bf16 *)w->data,
                             norm ? norm->w : NULL,
                             bias,
                             norm ? norm->eps : 0.0f,
                             w->n,
                             w->k,
                             m,
                             0};
    switch (kind) {
    case GEMV_STORE:
        return gemv<EPILOGUE_STORE>(device, stream, &args, "gemv");
    case GEMV_ADD:
        return gemv<EPILOGUE_ADD>(device, stream, &args, "gemv add");
    case GEMV_F32:
        return gemv<EPILOGUE_F32>(device, stream, &args, "gemv f32");
    case GEMV_SILU:
        break;
    }
    args.n = w->n / 2;
    if (!args.norm)
        return false;
    return gemv<EPILOGUE_SILU>(device, stream, &args, "gemv silu");
}
