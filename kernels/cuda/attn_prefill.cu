/* attn_prefill - attention of 128 rows a block for Hopper: of a prompt's chunk, 128 tokens of one q
 * head, causal; of a prefix group's shared pages ("wide"), rows of (token, q head) of one kv head.
 *
 *     s = scale * q k^T,   hidden where key > position (or out of the window),   o = softmax(s) v
 *
 * Mapping: three warpgroups. The first one's warp 0 feeds: bulk copies of Q once, then of K and V in
 * tiles of 128 keys, each made of 8 units of 16 keys that lie in pages. The other two compute 64
 * tokens each by wgmma: Q and K from shared memory, P from registers, V transposed. While the tensor
 * cores do this tile's P V and the next tile's Q K^T, the softmax of the next tile waits only for
 * its own product. Key tiles go from the diagonal down, so only the first ones need masks.
 *
 *     shared memory   [Q 128 x d][K 128 x d] x 2 [V 128 x d] x 2     160 KB at head size 128
 *     a matrix is     [half of 64 elements][row][64], each row of 128 bytes swizzled
 *
 * FLOP: 4 d per visible (token, key) and q head. Heads of one group run side by side, so that K and
 * V come from L2 for all but the first. A wide tile ends as parts (o, m, l) that attn_decode merges.
 * Tolerance: p in bf16.
 */
#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/wgmma.cuh"

#define STAGES      2
#define GROUP       128 /* threads of a warpgroup */
#define TILE        ATTN_KEY_TILE
#define HALF_BYTES  (TILE * 128u) /* of a 128 x 64 matrix */
#define TILE_UNITS  (TILE / ATTN_UNIT_KEYS)
#define FREE_ARRIVE 8 /* the computing warps */

template <int HEAD_DIM> struct layout {
    static constexpr uint32_t HALVES = HEAD_DIM / 64;
    static constexpr uint32_t MATRIX = HALVES * HALF_BYTES;
    static constexpr uint32_t K = MATRIX, V = K + STAGES * MATRIX;
    static constexpr uint32_t BARS = V + STAGES * MATRIX;
    static constexpr uint32_t BYTES = BARS + 128 + 1024; /* 1024: alignment */
};

/* Barriers: q, then for each stage k full, k free, v full, v free. */
#define BAR_Q             bars
#define BAR_K_FULL(stage) (bars + 8 + (stage)*32)
#define BAR_K_FREE(stage) (bars + 16 + (stage)*32)
#define BAR_V_FULL(stage) (bars + 24 + (stage)*32)
#define BAR_V_FREE(stage) (bars + 32 + (stage)*32)

/* What both kinds of tile are to the block: rows over keys [tile low.., end). */
struct block_tile {
    uint32_t slot, kv_head;
    uint32_t low, count, end;     /* key tiles: first, number; first key that is not there */
    uint32_t q_row, q_head;       /* of the first row */
    uint32_t q_bytes;             /* of Q's boxes */
    uint32_t pos;                 /* causal: of the first row */
    uint32_t tokens, token_first; /* rows (causal), decode tokens (wide) */
    uint32_t piece;
};

template <int HEAD_DIM, bool WIDE>
__device__ __forceinline__ struct block_tile tile_get(const struct attn_prefill_args *args)
{
    struct block_tile t = {};
    if constexpr (WIDE) {
        struct attn_wide_tile tile = ATTN_PLAN_WIDE(args->plan)[blockIdx.x];
        t.slot = tile.slot;
        t.kv_head = tile.kv_head;
        t.low = tile.key_first / TILE;
        t.count = DIV_CEIL(tile.key_end, TILE) - t.low;
        t.end = tile.key_end;
        t.q_row = tile.token;
        t.q_head = tile.kv_head * args->group;
        t.q_bytes = layout<HEAD_DIM>::HALVES * (TILE / args->group * args->group) * 128;
        t.tokens = tile.token_count;
        t.token_first = tile.token_first;
        t.piece = tile.piece;
    } else {
        struct attn_plan_tile tile = ATTN_PLAN_TILES(args->plan)[blockIdx.x];
        t.slot = tile.slot;
        t.kv_head = tile.q_head / args->group;
        t.low = tile.key_first / TILE;
        t.end = tile.pos_first + tile.token_count;
        t.count = DIV_CEIL(t.end, TILE) - t.low;
        t.q_row = tile.token_first;
        t.q_head = tile.q_head;
        t.q_bytes = layout<HEAD_DIM>::MATRIX;
        t.pos = tile.pos_first;
        t.tokens = tile.token_count;
    }
    return t;
}

/* One key tile's K or V, lane by lane: unit lane % 8, half lane / 8. */
template <int HEAD_DIM>
__device__ __forceinline__ void
feed_matrix(const struct attn_prefill_args *args, const CUtensorMap *map, uint32_t dst,
            uint32_t full, uint32_t page, uint32_t sub, uint32_t is_v, uint32_t kv_head)
{
    uint32_t lane = threadIdx.x % 32;
    if (lane == 0)
        barrier_expect(full, layout<HEAD_DIM>::MATRIX);
    __syncwarp();
    if (lane < TILE_UNITS * layout<HEAD_DIM>::HALVES)
        tensor_load_5d(dst + lane / TILE_UNITS * HALF_BYTES + lane % TILE_UNITS * 2048, map, full,
                       0, (int)sub, (int)(lane / TILE_UNITS), (int)is_v,
                       (int)(page * 2 * args->kv.kv_heads + kv_head));
}

/* The feeding warp: K of tile j goes ahead of V of the tile before it. */
template <int HEAD_DIM>
__device__ void feed_tiles(const struct attn_prefill_args *args, const struct block_tile *tile,
                           const CUtensorMap *half_map, const CUtensorMap *q_map, uint32_t smem,
                           uint32_t bars)
{
    using L = layout<HEAD_DIM>;
    uint32_t lane = threadIdx.x % 32, count = tile->count;
    uint32_t unit_last = (tile->end - 1) / ATTN_UNIT_KEYS;
    uint32_t per_page = args->kv.page_size / ATTN_UNIT_KEYS;
    const uint32_t *table = args->kv.page_table + (size_t)tile->slot * args->kv.pages_per_slot;
    uint32_t page = 0, sub = 0;

    if (lane == 0) {
        barrier_expect(BAR_Q, tile->q_bytes);
        for (uint32_t half = 0; half < L::HALVES; half++)
            tensor_load_3d(smem + half * HALF_BYTES, q_map, BAR_Q, (int)(half * 64),
                           (int)tile->q_head, (int)tile->q_row);
    }
    for (uint32_t i = 0; i <= count; i++) {
        uint32_t stage = i % STAGES, old = (i + STAGES - 1) % STAGES, old_page = page,
                 old_sub = sub;
        if (i < count) {
            uint32_t unit =
                min((tile->low + count - 1 - i) * TILE_UNITS + lane % TILE_UNITS, unit_last);
            page = table[unit / per_page];
            sub = unit % per_page * ATTN_UNIT_KEYS;
            if (i >= STAGES)
                barrier_wait(BAR_K_FREE(stage), (i / STAGES + 1) % 2);
            feed_matrix<HEAD_DIM>(args, half_map, smem + L::K + stage * L::MATRIX,
                                  BAR_K_FULL(stage), page, sub, 0, tile->kv_head);
        }
        if (i > 0) {
            if (i > STAGES)
                barrier_wait(BAR_V_FREE(old), ((i - 1) / STAGES + 1) % 2);
            feed_matrix<HEAD_DIM>(args, half_map, smem + L::V + old * L::MATRIX, BAR_V_FULL(old),
                                  old_page, old_sub, 1, tile->kv_head);
        }
    }
}

/* s = q k^T of this warpgroup's 64 tokens and a tile of keys; committed, not awaited. */
template <int HEAD_DIM>
__device__ __forceinline__ void scores(float (&s)[64], uint32_t q, uint32_t k)
{
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 16; i++) {
        uint32_t at = i / 4 * HALF_BYTES + i % 4 * 32;
        wgmma_ss_128(s, wgmma_matrix(q + at, 16, 1024), wgmma_matrix(k + at, 16, 1024), i == 0);
    }
    wgmma_commit();
}

/* o += p v; committed, not awaited. */
template <int HEAD_DIM>
__device__ __forceinline__ void values(float (&o)[HEAD_DIM / 2], const uint32_t (&p)[32],
                                       uint32_t v)
{
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < TILE / 16; i++) {
        if constexpr (HEAD_DIM == 128)
            wgmma_rs_128(o, &p[4 * i], wgmma_matrix(v + i * 2048, HALF_BYTES, 1024));
        else
            wgmma_rs_64(o, &p[4 * i], wgmma_matrix(v + i * 2048, HALF_BYTES, 1024));
    }
    wgmma_commit();
}

/* Hides the keys of tile `key`.. that this lane's two tokens do not see. */
__device__ __forceinline__ void mask(float (&s)[64], uint32_t key, uint32_t pos, uint32_t window)
{
    key += threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 64; i++) {
        uint32_t at = key + i / 4 * 8 + i % 2, from = pos + i / 2 % 2 * 8;
        if (at > from || (window != 0 && at + window <= from))
            s[i] = -INFINITY;
    }
}

/* Scores to weights, in place; m and l go on; keep: by what o and l so far shrink. */
__device__ __forceinline__ void softmax(float (&s)[64], float (&m)[2], float (&l)[2],
                                        float (&keep)[2], float scale)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = m[half], sum = 0.0f, base;
#pragma unroll
        for (int i = 0; i < 16; i++)
            top = fmaxf(top, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        base = top == -INFINITY ? 0.0f : top * scale;
        keep[half] = exp2_fast(m[half] * scale - base);
        m[half] = top;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            float *at = &s[4 * i + 2 * half];
            at[0] = exp2_fast(at[0] * scale - base);
            at[1] = exp2_fast(at[1] * scale - base);
            sum += at[0] + at[1];
        }
        l[half] = l[half] * keep[half] + sum;
    }
}

__device__ __forceinline__ void pack(uint32_t (&p)[32], const float (&s)[64])
{
#pragma unroll
    for (int i = 0; i < 32; i++)
        p[i] = bf16x2_pack(s[2 * i], s[2 * i + 1]);
}

/* Hides the keys of tile `key`.. from `end` on. */
__device__ __forceinline__ void mask_end(float (&s)[64], uint32_t key, uint32_t end)
{
    key += threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 64; i++)
        if (key + i / 4 * 8 + i % 2 >= end)
            s[i] = -INFINITY;
}

/* Zeros V's rows from `first` on: keys that nobody has written, and 0 * NaN is NaN. Both computing
 * warpgroups. */
template <int HEAD_DIM> __device__ __forceinline__ void clear_tail(uint32_t v, uint32_t first)
{
    uint32_t thread = threadIdx.x - GROUP;
    for (uint32_t i = first * 8 + thread; i < TILE * 8; i += 2 * GROUP)
        for (uint32_t half = 0; half < layout<HEAD_DIM>::HALVES; half++)
            shared_zero16(v + half * HALF_BYTES + i * 16);
    proxy_fence();
    consumers_sync(2 * GROUP);
}

/* This lane's columns of a row: the result. */
template <int HEAD_DIM>
__device__ __forceinline__ void
write_row(const struct attn_prefill_args *args, const struct block_tile *tile,
          const float (&o)[HEAD_DIM / 2], int half, uint32_t row, float l)
{
    if (row >= tile->tokens)
        return;
    float inverse = 1.0f / l;
    bf16 *out = args->out +
                ((size_t)(tile->q_row + row) * args->q_heads + tile->q_head) * HEAD_DIM +
                threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++)
        *(uint32_t *)(out + n * 8) =
            bf16x2_pack(o[4 * n + 2 * half] * inverse, o[4 * n + 2 * half + 1] * inverse);
}

/* The same of a wide tile's row: a part of its token's result. */
template <int HEAD_DIM>
__device__ __forceinline__ void
write_part(const struct attn_prefill_args *args, const struct block_tile *tile,
           const float (&o)[HEAD_DIM / 2], int half, uint32_t row, float m, float l)
{
    uint32_t token = row / args->group;
    if (token >= tile->tokens)
        return;
    const struct attn_item *own =
        &ATTN_PLAN_ITEMS(args->plan)[args->plan->group_items + tile->token_first + token];
    size_t entry = ((size_t)(own->part_first + tile->piece) * args->kv.kv_heads + tile->kv_head) *
                       args->group +
                   row % args->group;
    float *to = args->part_o + entry * HEAD_DIM + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++)
        *(float2 *)(to + n * 8) = make_float2(o[4 * n + 2 * half], o[4 * n + 2 * half + 1]);
    if (threadIdx.x % 4 == 0)
        args->part_ml[entry] = make_float2(m * args->scale, l);
}

/* A computing warpgroup: 64 tokens over all their key tiles. */
template <int HEAD_DIM, bool WIDE>
__device__ void compute(const struct attn_prefill_args *args, const struct block_tile *tile,
                        uint32_t smem, uint32_t bars)
{
    using L = layout<HEAD_DIM>;
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, part = threadIdx.x / GROUP - 1;
    uint32_t first = part * 64 + warp * 16 + lane / 4; /* of this lane's tokens; the other is + 8 */
    uint32_t pos = tile->pos + first, pos_low = tile->pos + part * 64, count = tile->count;
    uint32_t q = smem + part * 64 * 128;
    float s[64], o[HEAD_DIM / 2], m[2] = {-INFINITY, -INFINITY}, l[2] = {}, keep[2];
    uint32_t p[32];

#pragma unroll
    for (int i = 0; i < HEAD_DIM / 2; i++)
        o[i] = 0.0f;
    barrier_wait(BAR_Q, 0);
    barrier_wait(BAR_K_FULL(0), 0);
    scores<HEAD_DIM>(s, q, smem + L::K);
    wgmma_wait<0>();
    wgmma_hold(s);
    if (lane == 0)
        barrier_arrive(BAR_K_FREE(0));
    uint32_t key = (tile->low + count - 1) * TILE; /* first key of the tile in s */
    if constexpr (WIDE) {
        mask_end(s, key, tile->end); /* behind them lie copies of the last unit: no NaN */
    } else {
        if (key + TILE > tile->end) {
            barrier_wait(BAR_V_FULL(0), 0);
            clear_tail<HEAD_DIM>(smem + L::V, tile->end - key);
        }
        mask(s, key, pos, args->window);
    }
    softmax(s, m, l, keep, args->scale);
    pack(p, s);
    for (uint32_t i = 0; i + 1 < count; i++) {
        uint32_t stage = i % STAGES, next = (i + 1) % STAGES;
        key -= TILE;
        barrier_wait(BAR_K_FULL(next), (i + 1) / STAGES % 2);
        scores<HEAD_DIM>(s, q, smem + L::K + next * L::MATRIX);
        barrier_wait(BAR_V_FULL(stage), i / STAGES % 2);
        values<HEAD_DIM>(o, p, smem + L::V + stage * L::MATRIX);
        wgmma_wait<1>();
        wgmma_hold(s);
        if (lane == 0)
            barrier_arrive(BAR_K_FREE(next));
        if (!WIDE &&
            (key + TILE > pos_low + 1 || (args->window != 0 && key + args->window <= pos_low + 63)))
            mask(s, key, pos, args->window);
        softmax(s, m, l, keep, args->scale);
        wgmma_wait<0>();
        wgmma_hold(o);
        if (lane == 0)
            barrier_arrive(BAR_V_FREE(stage));
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 2; n++)
            o[n] *= keep[n / 2 % 2];
        pack(p, s);
    }
    barrier_wait(BAR_V_FULL((count - 1) % STAGES), (count - 1) / STAGES % 2);
    values<HEAD_DIM>(o, p, smem + L::V + (count - 1) % STAGES * L::MATRIX);
    wgmma_wait<0>();
    wgmma_hold(o);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        l[half] += __shfl_xor_sync(0xffffffffu, l[half], 1);
        l[half] += __shfl_xor_sync(0xffffffffu, l[half], 2);
        if constexpr (WIDE)
            write_part<HEAD_DIM>(args, tile, o, half, first + 8 * half, m[half], l[half]);
        else
            write_row<HEAD_DIM>(args, tile, o, half, first + 8 * half, l[half]);
    }
}

template <int HEAD_DIM, bool WIDE>
__global__ void __launch_bounds__(3 * GROUP, 1)
    attn_prefill_kernel(const __grid_constant__ struct attn_prefill_args args,
                        const __grid_constant__ CUtensorMap half_map,
                        const __grid_constant__ CUtensorMap q_map)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ uint8_t dynamic_shared[];
    uint32_t smem = (smem_addr(dynamic_shared) + 1023) & ~1023u,
             bars = smem + layout<HEAD_DIM>::BARS;

    pdl_launch();
    if (WIDE && blockIdx.x >= args.plan->wide_count) { /* the grid is fixed, the groups are not */
        pdl_wait();
        return;
    }
    struct block_tile tile = tile_get<HEAD_DIM, WIDE>(&args);
    if (threadIdx.x == 0) {
        tensor_prefetch(&half_map);
        tensor_prefetch(&q_map);
        barrier_init(BAR_Q, 1);
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(BAR_K_FULL(stage), 1);
            barrier_init(BAR_K_FREE(stage), FREE_ARRIVE);
            barrier_init(BAR_V_FULL(stage), 1);
            barrier_init(BAR_V_FREE(stage), FREE_ARRIVE);
        }
        barrier_init_fence();
    }
    __syncthreads();
    pdl_wait();
    if (threadIdx.x < GROUP) {
        registers_release<24>();
        if (threadIdx.x < 32)
            feed_tiles<HEAD_DIM>(&args, &tile, &half_map, &q_map, smem, bars);
    } else {
        registers_take<240>();
        compute<HEAD_DIM, WIDE>(&args, &tile, smem, bars);
    }
#endif
}

template <int HEAD_DIM, bool WIDE>
static void launch_tiles(struct device *device, struct stream *stream,
                         const struct attn_prefill_args *args, const CUtensorMap *half_map,
                         const CUtensorMap *q_map, uint32_t blocks)
{
    cuda_launch(device, stream, WIDE ? "attention (prefix groups)" : "attention (prefill)",
                attn_prefill_kernel<HEAD_DIM, WIDE>, blocks, 3 * GROUP, layout<HEAD_DIM>::BYTES,
                *args, *half_map, *q_map);
}

void attn_prefill(struct device *device, struct stream *stream,
                  const struct attn_prefill_args *args, const CUtensorMap *half_map,
                  const CUtensorMap *q_map, uint32_t tiles)
{
    if (args->kv.head_dim == 64)
        launch_tiles<64, false>(device, stream, args, half_map, q_map, tiles);
    else
        launch_tiles<128, false>(device, stream, args, half_map, q_map, tiles);
}

void attn_wide(struct device *device, struct stream *stream, const struct attn_prefill_args *args,
               const CUtensorMap *half_map, const CUtensorMap *q_map)
{
    if (args->kv.head_dim == 64)
        launch_tiles<64, true>(device, stream, args, half_map, q_map, ATTN_WIDE_MAX);
    else
        launch_tiles<128, true>(device, stream, args, half_map, q_map, ATTN_WIDE_MAX);
}
