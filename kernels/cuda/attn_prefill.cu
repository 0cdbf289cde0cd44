/* attn_prefill - attention of 128 rows a tile for Hopper: of a prompt's chunk, 128 tokens of one q
 * head, causal; of a prefix group's shared pages ("wide"), rows of (token, q head) of one kv head.
 *
 *     s = scale * q k^T,   hidden where key > position (or out of the window),   o = softmax(s) v
 *
 * Mapping: a block an SM takes tiles of the plan by ticket, the longest ones of a row first. Its first
 * warpgroup feeds: each warp a quarter of the bulk copies, 16 for a matrix of 128 keys in units of 16
 * that lie in pages. The other two compute 64 rows each by wgmma: Q and K from shared memory, P from
 * registers, V transposed. A step issues the scores of a key tile and the values of the one before
 * it, across the border of two tiles as well; the softmax of the first runs under the second and under
 * the other warpgroup's products. Key tiles go from the diagonal down: only the first need masks.
 *
 *     shared memory   [Q 128 x d] x 2 [K 128 x d] x 2 [V 128 x d] x 3     225 KB at head size 128
 *     a matrix is     [half of 64 elements][row][64], each row of 128 bytes swizzled
 *
 * FLOP: 4 d per visible (token, key) and q head. A step of both warpgroups needs 2,048 cycles of the
 * tensor cores, 1,024 of exp2, and takes some 3,000. Heads of one group run side by side, so that K and V
 * come from L2 for all but the first. A wide tile ends as parts (o, m, l) that attn_decode merges.
 * Tolerance: p in bf16.
 */
#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/wgmma.cuh"

#define Q_STAGES    2
#define K_STAGES    2
#define V_STAGES    3
#define RECORDS     4   /* of tiles: see feed_block() */
#define FEEDERS     4   /* warps */
#define GROUP       128 /* threads of a warpgroup */
#define TILE        ATTN_KEY_TILE
#define HALF_BYTES  (TILE * 128u) /* of a 128 x 64 matrix */
#define TILE_UNITS  (TILE / ATTN_UNIT_KEYS)
#define WARP_UNITS  (TILE_UNITS / FEEDERS)
#define FREE_ARRIVE 8 /* the computing warps */

template <int HEAD_DIM> struct layout {
    static constexpr uint32_t HALVES = HEAD_DIM / 64;
    static constexpr uint32_t MATRIX = HALVES * HALF_BYTES;
    static constexpr uint32_t Q = 0, K = Q_STAGES * MATRIX, V = K + K_STAGES * MATRIX;
    static constexpr uint32_t BARS = V + V_STAGES * MATRIX;
    static constexpr uint32_t BYTES = BARS + 256 + 1024; /* 1024: alignment */
};

/* Barriers: full and free of each stage of q, k and v; and of a tile's record. */
enum { MATRIX_Q, MATRIX_K, MATRIX_V };
#define BAR_FULL(matrix, stage) (bars + (matrix)*64 + (stage)*16)
#define BAR_FREE(matrix, stage) (bars + (matrix)*64 + (stage)*16 + 8)
#define BAR_RECORD(nth)         (bars + 192 + (nth) % 2 * 8)

/* What both kinds of tile are to the block: rows over keys [tile low.., end). */
struct block_tile {
    uint32_t slot, kv_head;
    uint32_t low, count, end;     /* key tiles: first, number (0: no more tiles); first key that is
                                     not there */
    uint32_t q_row, q_head;       /* of the first row */
    uint32_t q_bytes;             /* of Q's boxes */
    uint32_t pos;                 /* causal: of the first row */
    uint32_t tokens, token_first; /* rows (causal), decode tokens (wide) */
    uint32_t piece;
};

template <int HEAD_DIM, bool WIDE>
__device__ __forceinline__ struct block_tile tile_get(const struct attn_prefill_args *args,
                                                      uint32_t index)
{
    struct block_tile t = {};
    if constexpr (WIDE) {
        struct attn_wide_tile tile = ATTN_PLAN_WIDE(args->plan)[index];
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
        struct attn_plan_tile tile = ATTN_PLAN_TILES(args->plan)[index];
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

struct place { /* a unit's, this lane's */
    uint32_t page, sub;
};

/* Unit and half of a matrix that this lane brings, where it brings one. */
__device__ __forceinline__ uint32_t my_unit()
{
    return threadIdx.x / 32 * WARP_UNITS + threadIdx.x % WARP_UNITS;
}

__device__ __forceinline__ uint32_t my_half()
{
    return threadIdx.x % 32 / WARP_UNITS;
}

/* The feeding warps' parts of one key tile's K or V. */
template <int HEAD_DIM>
__device__ __forceinline__ void feed_matrix(const struct attn_prefill_args *args,
                                            const CUtensorMap *map, uint32_t dst, uint32_t full,
                                            struct place place, uint32_t is_v, uint32_t kv_head)
{
    if (threadIdx.x == 0)
        barrier_expect(full, layout<HEAD_DIM>::MATRIX);
    if (my_half() < layout<HEAD_DIM>::HALVES)
        tensor_load_5d(dst + my_half() * HALF_BYTES + my_unit() * 2048, map, full, 0,
                       (int)place.sub, (int)my_half(), (int)is_v,
                       (int)(place.page * 2 * args->kv.kv_heads + kv_head));
    __syncwarp();
}

/* Of key tile i, counted from the last one. */
__device__ __forceinline__ struct place place_of(const struct attn_prefill_args *args,
                                                 const struct block_tile *tile, uint32_t i)
{
    uint32_t per_page = args->kv.page_size / ATTN_UNIT_KEYS;
    uint32_t unit = min((tile->low + tile->count - 1 - i) * TILE_UNITS + my_unit(),
                        (tile->end - 1) / ATTN_UNIT_KEYS);
    const uint32_t *table = args->kv.page_table + (size_t)tile->slot * args->kv.pages_per_slot;
    return {table[unit / per_page], unit % per_page * ATTN_UNIT_KEYS};
}

/* A tile's matrices, in the order of their use: K of a key tile goes ahead of V of the one before it.
 * Pages are looked up, and the next ticket is drawn, before they are needed. `step` counts the key
 * tiles of the block. */
template <int HEAD_DIM>
__device__ __forceinline__ uint32_t feed_tile(const struct attn_prefill_args *args,
                                              const struct block_tile *tile,
                                              const CUtensorMap *half_map, uint32_t smem,
                                              uint32_t bars, uint32_t step, uint32_t *ticket)
{
    using L = layout<HEAD_DIM>;
    uint32_t count = tile->count;
    struct place place = place_of(args, tile, 0), ahead = place, last = place;

    for (uint32_t i = 0; i <= count; i++) {
        if (i < count) {
            uint32_t stage = step % K_STAGES;
            barrier_wait(BAR_FREE(MATRIX_K, stage), (step / K_STAGES + 1) % 2);
            feed_matrix<HEAD_DIM>(args, half_map, smem + L::K + stage * L::MATRIX,
                                  BAR_FULL(MATRIX_K, stage), place, 0, tile->kv_head);
        }
        if (i + 1 < count)
            ahead = place_of(args, tile, i + 1);
        if (i == 0 && threadIdx.x == 0)
            *ticket = atomicAdd(args->ticket, 1);
        if (i > 0) {
            uint32_t stage = (step - 1) % V_STAGES;
            barrier_wait(BAR_FREE(MATRIX_V, stage), ((step - 1) / V_STAGES + 1) % 2);
            feed_matrix<HEAD_DIM>(args, half_map, smem + L::V + stage * L::MATRIX,
                                  BAR_FULL(MATRIX_V, stage), last, 1, tile->kv_head);
        }
        last = place;
        place = ahead;
        step++;
    }
    return step - 1;
}

/* Warp 0: a tile's record and Q. A record is written again when Q's barrier says that the tile two
 * before it is done, and with it all before that: nobody reads one of four any more. */
template <int HEAD_DIM, bool WIDE>
__device__ __forceinline__ void feed_rows(const struct attn_prefill_args *args,
                                          struct block_tile *records, const CUtensorMap *q_map,
                                          uint32_t smem, uint32_t bars, uint32_t nth,
                                          uint32_t index, uint32_t tiles)
{
    using L = layout<HEAD_DIM>;
    struct block_tile tile = {};
    uint32_t full = BAR_FULL(MATRIX_Q, nth % Q_STAGES);
    if (index < tiles)
        tile = tile_get<HEAD_DIM, WIDE>(args, index);
    barrier_wait(BAR_FREE(MATRIX_Q, nth % Q_STAGES), (nth / Q_STAGES + 1) % 2);
    if (threadIdx.x == 0) {
        records[nth % RECORDS] = tile;
        barrier_arrive(BAR_RECORD(nth));
        barrier_expect(full, tile.q_bytes);
        for (uint32_t half = 0; half < L::HALVES && tile.count > 0; half++)
            tensor_load_3d(smem + L::Q + nth % Q_STAGES * L::MATRIX + half * HALF_BYTES, q_map,
                           full, (int)(half * 64), (int)tile.q_head, (int)tile.q_row);
    }
    __syncwarp();
}

/* The feeding warps: tile by tile, drawn by ticket after the first; the last record has no keys.
 * Whoever draws the last ticket leaves a zero: each block that has tiles draws one too many. */
template <int HEAD_DIM, bool WIDE>
__device__ void feed_block(const struct attn_prefill_args *args, struct block_tile *records,
                           const CUtensorMap *half_map, const CUtensorMap *q_map, uint32_t smem,
                           uint32_t bars, uint32_t tiles)
{
    uint32_t index = blockIdx.x, step = 0, ticket = 0;
    for (uint32_t nth = 0;; nth++) {
        if (threadIdx.x < 32)
            feed_rows<HEAD_DIM, WIDE>(args, records, q_map, smem, bars, nth, index, tiles);
        barrier_wait(BAR_RECORD(nth), nth / 2 % 2);
        struct block_tile tile = records[nth % RECORDS];
        if (tile.count == 0)
            return;
        step = feed_tile<HEAD_DIM>(args, &tile, half_map, smem, bars, step, &ticket);
        if (threadIdx.x == 0 && ticket + 1 == tiles)
            *args->ticket = 0;
        index = gridDim.x + __shfl_sync(0xffffffffu, ticket, 0);
    }
}

/* s = q k^T of this warpgroup's 64 tokens and a tile of keys; committed, not awaited. */
template <int HEAD_DIM>
__device__ __forceinline__ void scores(float (&s)[64], uint32_t q, uint32_t k)
{
    uint64_t a = wgmma_matrix(q, 16, 1024), b = wgmma_matrix(k, 16, 1024);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 16; i++) {
        uint32_t at = i / 4 * HALF_BYTES + i % 4 * 32;
        wgmma_ss(s, wgmma_behind(a, at), wgmma_behind(b, at), i == 0);
    }
    wgmma_commit();
}

/* o += p v, first: o = p v; committed, not awaited. */
template <int HEAD_DIM>
__device__ __forceinline__ void values(float (&o)[HEAD_DIM / 2], const uint32_t (&p)[32],
                                       uint32_t v, bool first)
{
    uint64_t b = wgmma_matrix(v, HALF_BYTES, 1024);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < TILE / 16; i++) {
        if constexpr (HEAD_DIM == 128)
            wgmma_rs_128(o, &p[4 * i], wgmma_behind(b, i * 2048), first && i == 0);
        else
            wgmma_rs_64(o, &p[4 * i], wgmma_behind(b, i * 2048), first && i == 0);
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

/* Scores to weights, in place; m and l go on; keep: by what o and l so far shrink. Both rows' chains
 * run side by side, each in two. */
__device__ __forceinline__ void softmax(float (&s)[64], float (&m)[2], float (&l)[2],
                                        float (&keep)[2], float scale)
{
    float top[2][2], sum[2][2] = {}, base[2];
#pragma unroll
    for (int i = 0; i < 16; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]);
            top[half][i % 2] = i < 2 ? most : fmaxf(top[half][i % 2], most);
        }
#pragma unroll
    for (int half = 0; half < 2; half++)
        top[half][0] = fmaxf(fmaxf(top[half][0], top[half][1]), m[half]);
#pragma unroll
    for (int step = 1; step <= 2; step++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            top[half][0] = fmaxf(top[half][0], __shfl_xor_sync(0xffffffffu, top[half][0], step));
#pragma unroll
    for (int half = 0; half < 2; half++) {
        base[half] = top[half][0] == -INFINITY ? 0.0f : top[half][0] * scale;
        keep[half] = exp2_fast(m[half] * scale - base[half]);
        m[half] = top[half][0];
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float *at = &s[4 * i + 2 * half];
            at[0] = exp2_fast(at[0] * scale - base[half]);
            at[1] = exp2_fast(at[1] * scale - base[half]);
            sum[half][0] += at[0];
            sum[half][1] += at[1];
        }
#pragma unroll
    for (int half = 0; half < 2; half++)
        l[half] = l[half] * keep[half] + (sum[half][0] + sum[half][1]);
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

/* x[j] of lane q of four becomes x[q] of lane j. */
__device__ __forceinline__ void quad_transpose(uint32_t (&x)[4])
{
    bool odd = threadIdx.x % 2, high = threadIdx.x / 2 % 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? x[i] : x[i + 1], 1);
        x[i] = odd ? got : x[i];
        x[i + 1] = odd ? x[i + 1] : got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, high ? x[i] : x[i + 2], 2);
        x[i] = high ? got : x[i];
        x[i + 2] = high ? x[i + 2] : got;
    }
}

/* The result of a row, of which four lanes have two columns in eight: 16 bytes a lane. */
template <int HEAD_DIM>
__device__ __forceinline__ void
write_row(const struct attn_prefill_args *args, const struct block_tile *tile,
          const float (&o)[HEAD_DIM / 2], int half, uint32_t row, float l)
{
    float inverse = 1.0f / l;
    bf16 *out = args->out +
                ((size_t)(tile->q_row + row) * args->q_heads + tile->q_head) * HEAD_DIM +
                threadIdx.x % 4 * 8;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n += 4) {
        uint32_t x[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            x[i] = bf16x2_pack(o[4 * (n + i) + 2 * half] * inverse,
                               o[4 * (n + i) + 2 * half + 1] * inverse);
        quad_transpose(x);
        if (row < tile->tokens)
            *(uint4 *)(out + n * 8) = make_uint4(x[0], x[1], x[2], x[3]);
    }
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

/* What a computing warpgroup has of its 64 rows beside the accumulators. */
struct rows {
    float m[2], l[2], keep[2];
};

/* A tile of scores becomes weights. `key`: its first key; `stage`, `parity`: where V of it comes. */
template <int HEAD_DIM, bool WIDE>
__device__ __forceinline__ void weigh(const struct attn_prefill_args *args,
                                      const struct block_tile *tile, float (&s)[64], struct rows *r,
                                      uint32_t key, uint32_t smem, uint32_t bars, uint32_t step)
{
    using L = layout<HEAD_DIM>;
    uint32_t part = threadIdx.x / GROUP - 1, stage = step % V_STAGES;
    if constexpr (WIDE) {
        if (key + TILE > tile->end)
            mask_end(s, key, tile->end); /* behind them lie copies of the last unit: no NaN */
    } else {
        uint32_t pos = tile->pos + part * 64;
        if (key + TILE > tile->end) {
            barrier_wait(BAR_FULL(MATRIX_V, stage), step / V_STAGES % 2);
            clear_tail<HEAD_DIM>(smem + L::V + stage * L::MATRIX, tile->end - key);
        }
        if (key + TILE > pos + 1 || (args->window != 0 && key + args->window <= pos + 63))
            mask(s, key, pos + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, args->window);
    }
    softmax(s, r->m, r->l, r->keep, args->scale);
}

template <int HEAD_DIM, bool WIDE>
__device__ __forceinline__ void write_rows(const struct attn_prefill_args *args,
                                           const struct block_tile *tile,
                                           const float (&o)[HEAD_DIM / 2], const struct rows *r)
{
    uint32_t first =
        threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + (threadIdx.x / GROUP - 1) * 64;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float l = r->l[half];
        l += __shfl_xor_sync(0xffffffffu, l, 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        if constexpr (WIDE)
            write_part<HEAD_DIM>(args, tile, o, half, first + 8 * half, r->m[half], l);
        else
            write_row<HEAD_DIM>(args, tile, o, half, first + 8 * half, l);
    }
}

/* A computing warpgroup: 64 rows of tile after tile. One step issues the scores of a key tile and the
 * values of the one before it, across the border of two tiles as well. */
template <int HEAD_DIM, bool WIDE>
__device__ void compute(const struct attn_prefill_args *args, const struct block_tile *records,
                        uint32_t smem, uint32_t bars)
{
    using L = layout<HEAD_DIM>;
    uint32_t lane = threadIdx.x % 32, part = threadIdx.x / GROUP - 1, nth = 0, step = 0;
    uint32_t q = smem + L::Q + part * 64 * 128, left, key;
    struct block_tile tile;
    float s[64], o[HEAD_DIM / 2];
    struct rows r = {{-INFINITY, -INFINITY}, {}, {}}, old;
    uint32_t p[32];
    bool first = true;

    barrier_wait(BAR_FULL(MATRIX_Q, 0), 0);
    tile = records[0];
    left = tile.count;
    key = (tile.low + left - 1) * TILE;
    barrier_wait(BAR_FULL(MATRIX_K, 0), 0);
    scores<HEAD_DIM>(s, q, smem + L::K);
    wgmma_wait<0>();
    wgmma_hold(s);
    if (lane == 0)
        barrier_arrive(BAR_FREE(MATRIX_K, 0));
    if (left == 1 && lane == 0)
        barrier_arrive(BAR_FREE(MATRIX_Q, 0));
    weigh<HEAD_DIM, WIDE>(args, &tile, s, &r, key, smem, bars, step);
    pack(p, s);
    for (;;) {
        uint32_t before = step % V_STAGES, before_parity = step / V_STAGES % 2, stage;
        bool over = --left == 0;
        step++;
        if (over) {
            nth++;
            barrier_wait(BAR_FULL(MATRIX_Q, nth % Q_STAGES), nth / Q_STAGES % 2);
            tile = records[nth % RECORDS];
            left = tile.count;
            if (left == 0)
                break;
            key = (tile.low + left) * TILE;
            q = smem + L::Q + nth % Q_STAGES * L::MATRIX + part * 64 * 128;
            old = r;
            r.m[0] = r.m[1] = -INFINITY;
            r.l[0] = r.l[1] = 0.0f;
        }
        key -= TILE;
        stage = step % K_STAGES;
        barrier_wait(BAR_FULL(MATRIX_K, stage), step / K_STAGES % 2);
        scores<HEAD_DIM>(s, q, smem + L::K + stage * L::MATRIX);
        barrier_wait(BAR_FULL(MATRIX_V, before), before_parity);
        values<HEAD_DIM>(o, p, smem + L::V + before * L::MATRIX, first);
        wgmma_wait<1>();
        wgmma_hold(s);
        if (lane == 0)
            barrier_arrive(BAR_FREE(MATRIX_K, stage));
        if (left == 1 && lane == 0)
            barrier_arrive(BAR_FREE(MATRIX_Q, nth % Q_STAGES));
        weigh<HEAD_DIM, WIDE>(args, &tile, s, &r, key, smem, bars, step);
        wgmma_wait_after<0>(r.l[0] + r.l[1]);
        wgmma_hold(o);
        if (lane == 0)
            barrier_arrive(BAR_FREE(MATRIX_V, before));
        first = over;
        if (over) {
            write_rows<HEAD_DIM, WIDE>(args, &records[(nth + RECORDS - 1) % RECORDS], o, &old);
        } else {
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 2; n++)
                o[n] *= r.keep[n / 2 % 2];
        }
        pack(p, s);
    }
    step--;
    barrier_wait(BAR_FULL(MATRIX_V, step % V_STAGES), step / V_STAGES % 2);
    values<HEAD_DIM>(o, p, smem + L::V + step % V_STAGES * L::MATRIX, first);
    wgmma_wait<0>();
    wgmma_hold(o);
    write_rows<HEAD_DIM, WIDE>(args, &records[(nth + RECORDS - 1) % RECORDS], o, &r);
}

template <int HEAD_DIM, bool WIDE>
__global__ void __launch_bounds__(3 * GROUP, 1)
    attn_prefill_kernel(const __grid_constant__ struct attn_prefill_args args,
                        const __grid_constant__ CUtensorMap half_map,
                        const __grid_constant__ CUtensorMap q_map)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ uint8_t dynamic_shared[];
    __shared__ struct block_tile records[RECORDS];
    uint32_t smem = (smem_addr(dynamic_shared) + 1023) & ~1023u,
             bars = smem + layout<HEAD_DIM>::BARS;
    uint32_t tiles = WIDE ? args.plan->wide_count : args.plan->tile_count;

    pdl_launch();
    if (WIDE && blockIdx.x >= tiles) { /* the grid is fixed, the groups are not */
        pdl_wait();
        return;
    }
    if (threadIdx.x == 0) {
        tensor_prefetch(&half_map);
        tensor_prefetch(&q_map);
        for (int matrix = MATRIX_Q; matrix <= MATRIX_V; matrix++)
            for (int stage = 0; stage < 4; stage++) { /* more than there are do no harm */
                barrier_init(BAR_FULL(matrix, stage), 1);
                barrier_init(BAR_FREE(matrix, stage), FREE_ARRIVE);
            }
        barrier_init(BAR_RECORD(0), 1);
        barrier_init(BAR_RECORD(1), 1);
        barrier_init_fence();
    }
    __syncthreads();
    pdl_wait();
    if (threadIdx.x < GROUP) {
        registers_release<40>();
        feed_block<HEAD_DIM, WIDE>(&args, records, &half_map, &q_map, smem, bars, tiles);
    } else {
        registers_take<232>();
        compute<HEAD_DIM, WIDE>(&args, records, smem, bars);
    }
#endif
}

template <int HEAD_DIM, bool WIDE>
static void launch_tiles(struct device *device, struct stream *stream,
                         const struct attn_prefill_args *args, const CUtensorMap *half_map,
                         const CUtensorMap *q_map, uint32_t tiles)
{
    uint32_t blocks = MIN(tiles, (uint32_t)device->prop.multiProcessorCount);
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
