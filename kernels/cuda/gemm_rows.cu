/* gemm_rows - matmul for 9 to 128 rows of x on Hopper: weights stream once, x comes from L2.
 *
 *     y[m, n] = x[m, k] w[n, k]^T      then: + bias | y + ... | silu(gate) * up | f32
 *
 * wgmma with the tokens as A (64 rows each, TILES of them; rows past m are whatever lies behind and
 * are not stored) and NT rows of w as B, accumulators in f32. A block is a producer warp and a
 * warpgroup for each 64 tokens:
 *
 *     producer  ── boxes of 64 k: NT rows of w, m rows of x ──►  ring of stages  ──►  warpgroups
 *     (w depends on no kernel: it fills the ring               [w NT x 128 bytes]     64 tokens
 *      BEFORE griddepcontrol.wait, then brings x)              [x  m x 128 bytes]     each, all NT
 *
 * both swizzled by 128 bytes, up to 220 KB an SM, so that up to 27 MB of weights are on the chip when
 * the predecessor ends. For silu a box takes 8 rows of gate, 8 of up, and so on: neighbours in the
 * accumulators of one lane. Blocks walk over tiles of w; or, where there are few tiles, the blocks of
 * a cluster take k in parts (SPLIT), leave their sums in shared memory, and each adds its share of
 * the columns over the cluster in the order of the blocks: the same bits on every run.
 *
 * Bytes: w once from memory, m k 2 bytes of x a tile from L2. That second part is why cuBLASLt, which
 * shares x between blocks, wins from 65 rows on (128 where k is split). Measured on an H200
 * (2026-11-24), us here / cuBLASLt at 16 and at 64 rows: 14B gate_up with norm and silu 89.4 / 92.4
 * and 92.8 / 99.5, down 47.7 / 51.0 and 49.9 / 52.0 (0.80 of 4.53 TB/s), at 128 rows 52.5 / 56.4; 0.6B
 * qkv 5.9 / 6.3 and 6.1 / 6.5, o 4.7 / 5.5 and 5.1 / 5.5, down 5.2 / 7.0 and 5.6 / 7.2, gate_up 7.6 /
 * 8.0 and 7.5 / 8.4, head 79 / 83 and 91 / 95.
 */
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/gemm_rows.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/wgmma.cuh"

#define STAGES_MAX 16u
#define CHUNK      64u  /* elements of k in a stage */
#define ROW_BYTES  128u /* of a chunk */
#define GROUP      128u /* threads of a warpgroup; it computes 64 rows of x */
#define SPLIT_MAX  8u
#define SHARED_MAX ((uint32_t)220 << 10)

struct rows_args {
    void *y;
    const float *bias;
    uint32_t m, n, outputs; /* n: rows of w; outputs: n, silu: n / 2 */
    uint32_t chunks;        /* of k */
    uint32_t tiles, stages;
    uint32_t x_rows, stage_bytes; /* m in whole 8s; of w's box and x's */
    enum gemm_rows_kind kind;
};

/* A tile is 64 TILES rows of x times NT rows of w. */
template <int TILES, int NT> struct rows_tile {
    static constexpr uint32_t THREADS = TILES * GROUP; /* that compute */
    static constexpr int REGISTERS = NT / 2;
    static constexpr uint32_t W_BYTES = NT * ROW_BYTES;
    static constexpr uint32_t SUM_BYTES = NT * TILES * 64 * 4;
};

struct rows_block {       /* what this block computes */
    uint32_t first, step; /* tiles */
    uint32_t low, chunks; /* of k */
    uint32_t ring;
    uint64_t *full, *empty;
};

/* One lane: boxes of w and x in the order in which they are used. */
template <int TILES, int NT>
__device__ void produce(const struct rows_args &args, const struct rows_block &b,
                        const CUtensorMap *w_map, const CUtensorMap *x_map)
{
    using T = rows_tile<TILES, NT>;
    uint64_t policy = policy_evict_first();
    uint32_t tile_count = (args.tiles - b.first + b.step - 1) / b.step;
    uint32_t items = tile_count * b.chunks, early = min(items, args.stages);
    uint32_t blocks = NT / 8 / (args.kind == ROWS_SILU ? 2 : 1); /* of a tile, in w_map */
    uint32_t tile = b.first, chunk = 0, stage = 0, round = 0, x_chunk = 0;
    for (uint32_t i = 0; i < items; i++) {
        uint32_t to = b.ring + stage * args.stage_bytes;
        if (i >= early)
            barrier_wait(&b.empty[stage], (round - 1) & 1);
        barrier_expect(&b.full[stage], args.stage_bytes);
        tensor_load_4d(to, w_map, smem_addr(&b.full[stage]), (int)((b.low + chunk) * CHUNK), 0, 0,
                       (int)(tile * blocks), policy);
        if (i + 1 == early) { /* x is another kernel's */
            pdl_wait();
            for (uint32_t j = 0; j < early; j++) {
                tensor_load_2d(b.ring + j * args.stage_bytes + T::W_BYTES, x_map,
                               smem_addr(&b.full[j]), (int)((b.low + x_chunk) * CHUNK), 0);
                x_chunk = x_chunk + 1 == b.chunks ? 0 : x_chunk + 1;
            }
        } else if (i >= early) {
            tensor_load_2d(to + T::W_BYTES, x_map, smem_addr(&b.full[stage]),
                           (int)((b.low + chunk) * CHUNK), 0);
        }
        if (++chunk == b.chunks) {
            chunk = 0;
            tile += b.step;
        }
        if (++stage == args.stages) {
            stage = 0;
            round++;
        }
    }
}

/* This lane's two columns of a block of 8 outputs, of two tokens: c[0..1], c[2..3]. */
__device__ __forceinline__ void store(const struct rows_args &args, float4 c, uint32_t token,
                                      uint32_t col)
{
    if (col >= args.outputs)
        return;
    const float v[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t row = token + half * 8;
        if (row >= args.m)
            break;
        size_t at = (size_t)row * args.outputs + col;
        float a = v[2 * half], b = v[2 * half + 1];
        if (args.kind == ROWS_F32) {
            *(float2 *)((float *)args.y + at) = make_float2(a, b);
            continue;
        }
        uint32_t *to = (uint32_t *)((bf16 *)args.y + at);
        if (args.kind == ROWS_ADD) {
            uint32_t old = *to;
            a += __uint_as_float(old << 16);
            b += __uint_as_float(old & 0xffff0000u);
        }
        *to = bf16x2_pack(a, b);
    }
}

__device__ __forceinline__ void add_bias(const struct rows_args &args, float4 *c, uint32_t col)
{
    if (!args.bias || col >= args.n)
        return;
    float2 bias = *(const float2 *)(args.bias + col);
    c->x += bias.x, c->y += bias.y, c->z += bias.x, c->w += bias.y;
}

__device__ __forceinline__ float silu_times(float gate, float up)
{
    return gate / (1.0f + __expf(-gate)) * up;
}

/* Columns 8 block.. of a tile; silu: `up` is the next block. */
__device__ __forceinline__ void finish(const struct rows_args &args, float4 c, float4 up,
                                       uint32_t tile_blocks, uint32_t block, uint32_t token)
{
    uint32_t col;
    if (args.kind != ROWS_SILU) {
        col = (tile_blocks + block) * 8 + threadIdx.x % 4 * 2;
        add_bias(args, &c, col);
    } else {
        col = (tile_blocks + block) / 2 * 8 + threadIdx.x % 4 * 2;
        if (args.bias && col < args.outputs) {
            add_bias(args, &c, col);
            add_bias(args, &up, args.outputs + col);
        }
        c.x = silu_times(c.x, up.x), c.y = silu_times(c.y, up.y);
        c.z = silu_times(c.z, up.z), c.w = silu_times(c.w, up.w);
    }
    store(args, c, token, col);
}

/* The sum of the cluster's blocks at one place: all loads first, then in the order of the blocks. */
__device__ __forceinline__ float4 gather(float4 *at, uint32_t split)
{
    float4 v[SPLIT_MAX], sum = {};
#pragma unroll
    for (uint32_t from = 0; from < SPLIT_MAX; from++)
        if (from < split)
            v[from] = *cluster_map(at, from);
#pragma unroll
    for (uint32_t from = 0; from < SPLIT_MAX; from++)
        if (from < split)
            sum.x += v[from].x, sum.y += v[from].y, sum.z += v[from].z, sum.w += v[from].w;
    return sum;
}

/* Sums over the cluster's blocks, in their order; each block finishes its share of the columns. */
template <int TILES, int NT>
__device__ void add_up(const struct rows_args &args, const struct rows_block &b, char *shared,
                       const float (&d)[NT / 2], uint32_t token)
{
    using T = rows_tile<TILES, NT>;
    uint32_t split = cluster_size(), rank = cluster_rank(), per = args.kind == ROWS_SILU ? 2 : 1;
    float4 *sums = (float4 *)shared + threadIdx.x;
    bool computes = threadIdx.x < T::THREADS;
    if (computes) {
        consumers_sync(T::THREADS); /* the ring is read */
#pragma unroll
        for (int i = 0; i < NT / 8; i++) {
            const float *c = d + i * 4;
            sums[i * T::THREADS] = make_float4(c[0], c[1], c[2], c[3]);
        }
    }
    cluster_sync();
    uint32_t pairs = NT / 8 / per;
    for (uint32_t p = rank * pairs / split; computes && p < (rank + 1) * pairs / split; p++) {
        float4 c[2] = {};
        c[0] = gather(sums + p * per * T::THREADS, split);
        if (per == 2)
            c[1] = gather(sums + (p * 2 + 1) * T::THREADS, split);
        finish(args, c[0], c[1], b.first * (NT / 8), p * per, token);
    }
    cluster_sync(); /* nobody ends while others read */
}

/* A chunk: x as A (64 rows), w as B (rows by the size of d). */
template <int REGISTERS>
__device__ __forceinline__ void multiply(float (&d)[REGISTERS], uint32_t w, uint32_t x, bool first)
{
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 4; i++)
        wgmma_ss(d, wgmma_matrix(x + i * 32, 16, 1024), wgmma_matrix(w + i * 32, 16, 1024),
                 first && i == 0);
    wgmma_commit();
}

/* This block's sums of a tile; leaves the stages to the producer. */
template <int TILES, int NT>
__device__ __forceinline__ void sum_tile(const struct rows_args &args, const struct rows_block &b,
                                         float (&d)[NT / 2], uint32_t *stage, uint32_t *phase)
{
    using T = rows_tile<TILES, NT>;
    uint32_t last = 0, x = T::W_BYTES + threadIdx.x / GROUP * 64 * ROW_BYTES;
    for (uint32_t chunk = 0; chunk < b.chunks; chunk++) {
        uint32_t w = b.ring + *stage * args.stage_bytes;
        barrier_wait(&b.full[*stage], *phase);
        multiply(d, w, w + x, chunk == 0);
        if (chunk > 0) {
            wgmma_wait<1>();
            if (threadIdx.x % 32 == 0)
                barrier_arrive(&b.empty[last]);
        }
        last = *stage;
        if (++*stage == args.stages) {
            *stage = 0;
            *phase ^= 1;
        }
    }
    wgmma_wait<0>();
    wgmma_hold(d);
    if (threadIdx.x % 32 == 0)
        barrier_arrive(&b.empty[last]);
}

template <int TILES, int NT>
__global__ void __launch_bounds__(TILES *GROUP + 32, TILES == 1 ? 2 : 1)
    gemm_rows_kernel(const __grid_constant__ struct rows_args args,
                     const __grid_constant__ CUtensorMap w_map,
                     const __grid_constant__ CUtensorMap x_map)
{
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using T = rows_tile<TILES, NT>;
    extern __shared__ __align__(1024) char dynamic_shared[];
    __shared__ uint64_t barriers[2 * STAGES_MAX];
    uint32_t split = cluster_size(), rank = cluster_rank();
    struct rows_block b;
    b.first = blockIdx.x / split;
    b.step = gridDim.x / split;
    b.low = rank * args.chunks / split;
    b.chunks = (rank + 1) * args.chunks / split - b.low;
    b.ring = smem_addr(dynamic_shared);
    b.full = barriers;
    b.empty = barriers + STAGES_MAX;

    pdl_launch();
    if (threadIdx.x == T::THREADS) {
        tensor_prefetch(&w_map);
        tensor_prefetch(&x_map);
    }
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < args.stages; i++) {
            barrier_init(&b.full[i], 1);
            barrier_init(&b.empty[i], TILES * 4);
        }
        barrier_init_fence();
    }
    __syncthreads();
    float d[T::REGISTERS];
    uint32_t lane = threadIdx.x % 32, group = threadIdx.x / GROUP;
    uint32_t token = group * 64 + threadIdx.x / 32 % 4 * 16 + lane / 4;
    if (threadIdx.x >= T::THREADS) {
        if (lane == 0)
            produce<TILES, NT>(args, b, &w_map, &x_map);
        __syncwarp();
    } else {
        uint32_t stage = 0, phase = 0;
        pdl_wait();
        for (uint32_t tile = b.first; tile < args.tiles; tile += b.step) {
            sum_tile<TILES, NT>(args, b, d, &stage, &phase);
            if (split > 1)
                break;
#pragma unroll
            for (int i = 0; i < NT / 8; i++) {
                const float *c = d + i * 4, *up = i + 1 < NT / 8 ? c + 4 : c;
                if (i % 2 == 0 || args.kind != ROWS_SILU)
                    finish(args, make_float4(c[0], c[1], c[2], c[3]),
                           make_float4(up[0], up[1], up[2], up[3]), tile * (NT / 8), i, token);
            }
        }
    }
    if (split > 1)
        add_up<TILES, NT>(args, b, dynamic_shared, d, token);
#endif
}

/* ---- the host's side ---- */

struct rows_choice {
    uint32_t nt, split;
};

/* Where this kernel was measured to be quicker than cuBLASLt; split 0: nowhere here. Narrow w: blocks
 * enough only by cutting k. Wide and shallow: a tile a block. Very wide: blocks go over tiles, 96
 * rows leave room for 11 stages beside 64 rows of x. Deep (down of the 14B): 27 tiles times 4 of k. */
static struct rows_choice choose(uint32_t n, uint32_t k, uint32_t m)
{
    struct rows_choice none = {0, 0}, narrow = {64, 8}, wide = {64, 1}, wider = {96, 1},
                       deep = {192, 4};
    if (n >= 4608 && n <= 5632 && k >= 3 * n && m <= 128)
        return deep;
    if (m > 64)
        return none;
    if (n >= 16384)
        return wider;
    if (n <= 1024 && k >= 2048)
        return narrow;
    return n > 1024 && n <= 6144 && k <= 1024 ? wide : none;
}

/* [block of 8 rows][half][row of 8][k]: a box is 64 of k of a whole tile's rows; with silu each
 * block of gate is followed by its block of up. */
static bool w_map_make(const struct device *device, CUtensorMap *map, const struct weight *w,
                       uint32_t nt, bool silu)
{
    uint32_t halves = silu ? 2 : 1;
    cuuint64_t row = (cuuint64_t)w->k * sizeof(bf16);
    cuuint64_t dims[4] = {w->k, 8, halves, w->n / 8 / halves};
    cuuint64_t strides[3] = {row, row * (w->n / halves), row * 8};
    cuuint32_t box[4] = {CHUNK, 8, halves, nt / 8 / halves};
    return tensor_map(device, map, 4, w->data, dims, strides, box);
}

static bool x_map_make(const struct device *device, CUtensorMap *map, const void *x, uint32_t k,
                       uint32_t m, uint32_t rows)
{
    cuuint64_t dims[2] = {k, m}, strides[1] = {(cuuint64_t)k * sizeof(bf16)};
    cuuint32_t box[2] = {CHUNK, rows};
    return tensor_map(device, map, 2, x, dims, strides, box);
}

template <int TILES, int NT>
static void launch(struct device *device, struct stream *stream, struct rows_args args,
                   uint32_t split, const CUtensorMap *w_map, const CUtensorMap *x_map)
{
    using T = rows_tile<TILES, NT>;
    uint32_t sms = (uint32_t)device->prop.multiProcessorCount;
    uint32_t most = DIV_CEIL(args.chunks, split) * (split > 1 ? 1 : DIV_CEIL(args.tiles, sms));
    uint32_t beyond =
        (TILES * 64 - args.x_rows) * ROW_BYTES; /* A reads 64 rows, also of the last x */
    uint32_t grid = split > 1 ? args.tiles * split : MIN(args.tiles, sms);
    args.stage_bytes = T::W_BYTES + args.x_rows * ROW_BYTES;
    args.stages = MIN(MIN((SHARED_MAX - beyond) / args.stage_bytes, most), STAGES_MAX);
    size_t bytes = MAX(args.stages * args.stage_bytes + beyond, split > 1 ? T::SUM_BYTES : 0u);
    cuda_launch_cluster(device, stream, "matmul (rows)", gemm_rows_kernel<TILES, NT>, split, grid,
                        T::THREADS + 32, bytes, args, *w_map, *x_map);
}

bool gemm_rows(struct device *device, struct stream *stream, void *y, const void *x,
               const struct weight *w, const float *bias, uint32_t m, enum gemm_rows_kind kind)
{
    struct rows_choice choice = choose(w->n, w->k, m);
    struct rows_args args = {};
    CUtensorMap w_map, x_map;
    uint32_t halves = kind == ROWS_SILU ? 2 : 1, split = choice.split;

    if (device->prop.major != 9 || split == 0 || w->k % 8 != 0 || w->n % (8 * halves) != 0 ||
        (uintptr_t)x % 16 != 0 || (uintptr_t)y % 16 != 0)
        return false;
    args.y = y;
    args.bias = bias;
    args.m = m;
    args.n = w->n;
    args.outputs = w->n / halves;
    args.chunks = DIV_CEIL(w->k, CHUNK);
    args.tiles = DIV_CEIL(w->n, choice.nt);
    args.x_rows = DIV_CEIL(m, 8u) * 8;
    args.kind = kind;
    if (!w_map_make(device, &w_map, w, choice.nt, kind == ROWS_SILU) ||
        !x_map_make(device, &x_map, x, w->k, m, args.x_rows))
        return false;
    if (choice.nt == 64)
        launch<1, 64>(device, stream, args, split, &w_map, &x_map);
    else if (choice.nt == 96)
        launch<1, 96>(device, stream, args, split, &w_map, &x_map);
    else if (m <= 64)
        launch<1, 192>(device, stream, args, split, &w_map, &x_map);
    else
        launch<2, 192>(device, stream, args, split, &w_map, &x_map);
    return true;
}
