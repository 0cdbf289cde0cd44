/* attn_decode - attention of decode tokens for Hopper: split keys, shared prefixes read once.
 *
 *     s = scale * q k^T   (16 rows of (token, q head), 16 keys),   o = softmax(s) v
 *
 * Mapping: each warp is a worker of its own (attn_plan.h) and takes a share of `span` units of 16 keys of
 * one kv head, whatever items they belong to. A unit is 2 * 16 * HEAD_DIM * 2 bytes of K and V that lie
 * in one page; one bulk copy brings it into the warp's own ring of shared memory, swizzled by 128
 * bytes, so that ldmatrix meets no bank twice. No warp waits for another.
 *
 *     ring of a warp   [unit u | u + 1 | u + 2 | u + 3]    a unit: [k | v][half of 64][16 keys][64]
 *
 * q of the item stays in registers (A of m16n8k16; K and V are B), p goes from C to A in registers.
 * A piece of an item that is all of it is written out; else it is a part (o, m, l) in scratch, and
 * whoever adds an item's last part merges all of them in their order.
 *
 * Bytes: K and V of every item once, 8 KB a unit at head size 128. Target: the read ceiling; 7 warps
 * x 4 units = 224 KB in flight a multiprocessor. Tolerance: p in bf16, as the peers have it.
 */
#include "kernels/cuda/attn.cuh"

#define RING_BYTES 32768u
#define MERGE      8u /* parts read at once */

template <int HEAD_DIM> struct unit {
    static constexpr uint32_t HALVES = HEAD_DIM / 64;
    static constexpr uint32_t V = 16 * HEAD_DIM * 2; /* offset of V, bytes of K */
    static constexpr uint32_t BYTES = 2 * V;
    static constexpr uint32_t STAGES = RING_BYTES / BYTES;
};

/* Where a warp is in the flat list. */
struct cursor {
    struct attn_item item;
    uint32_t idx, head, page;
};

__device__ __forceinline__ void cursor_item(struct cursor *at, const struct attn_item *items,
                                            uint32_t idx)
{
    at->idx = idx;
    at->item = items[idx];
}

__device__ __forceinline__ void cursor_start(struct cursor *at, const struct attn_plan *plan,
                                             uint32_t share)
{
    struct attn_start start = ATTN_PLAN_STARTS(plan)[share];
    cursor_item(at, ATTN_PLAN_ITEMS(plan), start.item);
    at->head = start.head;
    at->page = start.page;
}

__device__ __forceinline__ void cursor_next(struct cursor *at, const struct attn_plan *plan,
                                            uint32_t kv_heads, uint32_t pages)
{
    at->page += pages;
    if (at->page < at->item.page_count)
        return;
    at->page = 0;
    if (++at->head < kv_heads)
        return;
    at->head = 0;
    do {
        if (++at->idx >= plan->item_count)
            return;
        cursor_item(at, ATTN_PLAN_ITEMS(plan), at->idx);
    } while (at->item.page_count == 0);
}

/* Brings a share's units into the ring, in order. */
struct feeder {
    struct cursor at;
    uint32_t left;  /* units not yet asked for */
    uint32_t stage; /* where the next one goes */
    uint32_t pages; /* this lane's entry of the 32 that follow at.page & ~31 */
    bool fresh;     /* `pages` must be read */
    bool waited;    /* for the kernels before: what they stored may be read */
};

template <int HEAD_DIM>
__device__ __forceinline__ void feed(struct feeder *f, const struct attn_decode_args *args,
                                     const CUtensorMap *map, uint32_t ring, uint32_t bars)
{
    if (f->left == 0)
        return;
    const struct attn_item *item = &f->at.item;
    uint32_t lane = threadIdx.x % 32, page = f->at.page;
    if (!f->waited && f->at.idx >= args->plan->group_items && page + 1 == item->page_count) {
        pdl_wait(); /* the newest key is in this unit */
        f->waited = true;
    }
    uint32_t sub = item->page_first + page, per_page = args->kv.page_size / ATTN_UNIT_KEYS;
    if (f->fresh || page % 32 == 0) {
        uint32_t mine = item->page_first + (page & ~31u) + lane;
        f->pages =
            (page & ~31u) + lane < item->page_count
                ? args->kv
                      .page_table[(size_t)item->slot * args->kv.pages_per_slot + mine / per_page]
                : 0;
    }
    uint32_t id = __shfl_sync(0xffffffffu, f->pages, page % 32);
    if (lane == 0) {
        uint32_t bar = bars + f->stage * 8;
        barrier_expect(bar, unit<HEAD_DIM>::BYTES);
        tensor_load_5d(ring + f->stage * unit<HEAD_DIM>::BYTES, map, bar, 0,
                       (int)(sub % per_page * ATTN_UNIT_KEYS), 0, 0,
                       (int)(id * 2 * args->kv.kv_heads + f->at.head));
    }
    f->stage = f->stage + 1 == unit<HEAD_DIM>::STAGES ? 0 : f->stage + 1;
    f->left--;
    cursor_next(&f->at, args->plan, args->kv.kv_heads, 1);
    f->fresh = f->at.page == 0;
}

/* The running softmax of 16 rows; a lane holds rows lane / 4 and lane / 4 + 8. */
template <int HEAD_DIM> struct state {
    uint32_t q[HEAD_DIM / 16][4];
    float o[HEAD_DIM / 8][4];
    float m[2], l[2]; /* m in units of s, before scaling; l of this lane's keys alone */
};

/* The decode token t of an item, as its own item. */
__device__ __forceinline__ struct attn_item own_item(const struct attn_plan *plan,
                                                     const struct cursor *at, uint32_t t)
{
    struct attn_item own = at->item;
    if (at->idx < plan->group_items)
        own = ATTN_PLAN_ITEMS(plan)[plan->group_items + at->item.token_first + t];
    return own;
}

/* Row r of an item is q head r % group of its token r / group. */
template <int HEAD_DIM>
__device__ __forceinline__ void load_q(struct state<HEAD_DIM> *s,
                                       const struct attn_decode_args *args, const struct cursor *at)
{
    uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t row = lane / 4 + 8 * half, t = row / args->group;
        bool there = t < at->item.token_count;
        const uint32_t *from = NULL;
        if (there)
            from = (const uint32_t *)(args->qkv +
                                      (size_t)own_item(args->plan, at, t).token * args->qkv_stride +
                                      (at->head * args->group + row % args->group) * HEAD_DIM);
#pragma unroll
        for (int k = 0; k < HEAD_DIM / 16; k++) {
            s->q[k][half] = there ? from[k * 8 + lane % 4] : 0;
            s->q[k][half + 2] = there ? from[k * 8 + 4 + lane % 4] : 0;
        }
        s->m[half] = -INFINITY;
        s->l[half] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++)
        s->o[n][0] = s->o[n][1] = s->o[n][2] = s->o[n][3] = 0.0f;
}

/* Byte address of 16 bytes of a key in a unit's K or V: rows of 128 bytes, swizzled. */
__device__ __forceinline__ uint32_t chunk_addr(uint32_t base, uint32_t key, uint32_t chunk)
{
    return base + (chunk / 8) * 2048 + key * 128 + ((chunk % 8) ^ (key % 8)) * 16;
}

/* Zeros V of the keys that are not visible: what lies there is nobody's, and 0 * NaN is NaN. */
template <int HEAD_DIM>
__device__ __forceinline__ void clear_hidden(uint32_t v, uint32_t low, uint32_t high)
{
    uint32_t lane = threadIdx.x % 32;
    for (uint32_t i = lane; i < 16 * HEAD_DIM / 8; i += 32) {
        uint32_t key = i / (HEAD_DIM / 8), chunk = i % (HEAD_DIM / 8);
        if (key < low || key >= high)
            shared_zero16(chunk_addr(v, key, chunk));
    }
    proxy_fence();
    __syncwarp();
}

/* One unit of keys; those outside [low, high) of its 16 are hidden. */
template <int HEAD_DIM>
__device__ __forceinline__ void attend(struct state<HEAD_DIM> *s, uint32_t base, float scale,
                                       uint32_t low, uint32_t high)
{
    uint32_t lane = threadIdx.x % 32, v = base + unit<HEAD_DIM>::V;
    float c[2][2][4] = {}; /* [keys 0-7, 8-15][even, odd k]: four short chains */
    uint32_t b[HEAD_DIM / 16][4];
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; k++)
        load_matrices(b[k], chunk_addr(base, lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; k++) {
        mma_16816(c[0][k % 2], s->q[k], b[k][0], b[k][1]);
        mma_16816(c[1][k % 2], s->q[k], b[k][2], b[k][3]);
    }
    float p[2][4];
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[n][i] = c[n][0][i] + c[n][1][i];
    if (low > 0 || high < 16) {
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t key = n * 8 + lane % 4 * 2 + i % 2;
                if (key < low || key >= high)
                    p[n][i] = -INFINITY;
            }
        clear_hidden<HEAD_DIM>(v, low, high);
    }
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 16; n++) /* V is on its way while the softmax goes on */
        load_matrices_t(b[n], chunk_addr(v, lane / 8 % 2 * 8 + lane % 8, 2 * n + lane / 16));
    float keep[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = half * 2;
        float top = fmaxf(fmaxf(p[0][i], p[0][i + 1]), fmaxf(p[1][i], p[1][i + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        top = fmaxf(top, s->m[half]);
        float base_m = top == -INFINITY ? 0.0f : top * scale;
        keep[half] = exp2_fast(s->m[half] * scale - base_m);
        s->m[half] = top;
#pragma unroll
        for (int n = 0; n < 2; n++) {
            p[n][i] = exp2_fast(p[n][i] * scale - base_m);
            p[n][i + 1] = exp2_fast(p[n][i + 1] * scale - base_m);
        }
        s->l[half] = s->l[half] * keep[half] + p[0][i] + p[0][i + 1] + p[1][i] + p[1][i + 1];
    }
    if (__any_sync(0xffffffffu, keep[0] != 1.0f || keep[1] != 1.0f)) {
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            s->o[n][0] *= keep[0], s->o[n][1] *= keep[0];
            s->o[n][2] *= keep[1], s->o[n][3] *= keep[1];
        }
    }
    uint32_t a[4] = {bf16x2_pack(p[0][0], p[0][1]), bf16x2_pack(p[0][2], p[0][3]),
                     bf16x2_pack(p[1][0], p[1][1]), bf16x2_pack(p[1][2], p[1][3])};
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 16; n++) {
        mma_16816(s->o[2 * n], a, b[n][0], b[n][1]);
        mma_16816(s->o[2 * n + 1], a, b[n][2], b[n][3]);
    }
}

/* Entry of a part in scratch: [part][kv_head][group] rows of HEAD_DIM, and of (m, l). */
__device__ __forceinline__ size_t part_row(const struct attn_decode_args *args, uint32_t part,
                                           uint32_t head)
{
    return ((size_t)part * args->kv.kv_heads + head) * args->group;
}

/* Parts of a decode token's head: its group's, all, and those that this kernel makes. */
struct pieces {
    uint32_t group, all, here;
};

__device__ __forceinline__ struct pieces pieces_of(const struct attn_plan *plan,
                                                   const struct attn_item *own, uint32_t head)
{
    uint32_t mine = attn_item_pieces(own, head, plan->span);
    struct pieces p = {own->own_part, own->own_part + mine, mine};
    if (own->group != ATTN_NO_GROUP) {
        p.group = attn_item_pieces(&ATTN_PLAN_ITEMS(plan)[own->group], head, plan->span);
        p.all = p.here = p.group + mine;
    }
    return p;
}

/* The parts of a token's head, in their order, to its output. Half a warp a q head; MERGE parts are
 * on their way at once, since each comes from L2 and nothing else hides that. */
template <int HEAD_DIM>
__device__ __forceinline__ void merge(const struct attn_decode_args *args,
                                      const struct attn_item *own, uint32_t head,
                                      uint32_t group_parts, uint32_t parts)
{
    constexpr int FOURS = HEAD_DIM / 64;
    uint32_t half = threadIdx.x % 32 / 16, lane = threadIdx.x % 16;
    for (uint32_t g = half; g < args->group; g += 2) {
        float top = -INFINITY, total = 0.0f;
        float4 sum[FOURS] = {};
        for (uint32_t k = 0; k < parts; k += MERGE) {
            float2 ml[MERGE];
            float4 o[MERGE][FOURS];
            float m = top;
#pragma unroll
            for (uint32_t i = 0; i < MERGE; i++) {
                uint32_t j = min(k + i, parts - 1); /* the last one again: with no weight */
                uint32_t at =
                    own->part_first + (j < group_parts ? j : own->own_part + j - group_parts);
                size_t row = part_row(args, at, head) + g;
                ml[i] = __ldcg(&args->part_ml[row]);
#pragma unroll
                for (int f = 0; f < FOURS; f++)
                    o[i][f] =
                        __ldcg((const float4 *)(args->part_o + row * HEAD_DIM) + f * 16 + lane);
            }
#pragma unroll
            for (uint32_t i = 0; i < MERGE; i++)
                m = fmaxf(m, ml[i].x);
            float base = m == -INFINITY ? 0.0f : m, keep = exp2_fast(top - base);
            total *= keep;
#pragma unroll
            for (int f = 0; f < FOURS; f++)
                sum[f].x *= keep, sum[f].y *= keep, sum[f].z *= keep, sum[f].w *= keep;
#pragma unroll
            for (uint32_t i = 0; i < MERGE; i++) {
                float weight = k + i < parts ? exp2_fast(ml[i].x - base) : 0.0f;
                total += ml[i].y * weight;
#pragma unroll
                for (int f = 0; f < FOURS; f++) {
                    sum[f].x += o[i][f].x * weight, sum[f].y += o[i][f].y * weight;
                    sum[f].z += o[i][f].z * weight, sum[f].w += o[i][f].w * weight;
                }
            }
            top = m;
        }
        bf16 *out = args->out +
                    (((size_t)own->token * args->kv.kv_heads + head) * args->group + g) * HEAD_DIM;
        float inverse = 1.0f / total;
#pragma unroll
        for (int f = 0; f < FOURS; f++)
            *(uint2 *)(out + f * 64 + lane * 4) =
                make_uint2(bf16x2_pack(sum[f].x * inverse, sum[f].y * inverse),
                           bf16x2_pack(sum[f].z * inverse, sum[f].w * inverse));
    }
}

/* Adds a group's parts to a row that needs no others: in registers, nobody waits. */
template <int HEAD_DIM>
__device__ __forceinline__ void add_parts(struct state<HEAD_DIM> *s, int half,
                                          const struct attn_decode_args *args,
                                          const struct attn_item *own, uint32_t head, uint32_t g)
{
    float top = s->m[half] * args->scale, total = s->l[half];
    for (uint32_t k = 0; k < own->own_part; k++) {
        size_t entry = part_row(args, own->part_first + k, head) + g;
        float2 ml = __ldcg(&args->part_ml[entry]);
        const float *o = args->part_o + entry * HEAD_DIM + threadIdx.x % 4 * 2;
        float2 part[HEAD_DIM / 8];
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++)
            part[n] = __ldcg((const float2 *)(o + n * 8));
        float m = fmaxf(top, ml.x), keep = exp2_fast(top - m), weight = exp2_fast(ml.x - m);
        total = total * keep + ml.y * weight;
        top = m;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            s->o[n][half * 2] = s->o[n][half * 2] * keep + part[n].x * weight;
            s->o[n][half * 2 + 1] = s->o[n][half * 2 + 1] * keep + part[n].y * weight;
        }
    }
    s->l[half] = total;
}

/* Writes what a warp knows of an item's head: the result, or a part of it; true for a part. */
template <int HEAD_DIM>
__device__ __forceinline__ bool write_rows(struct state<HEAD_DIM> *s,
                                           const struct attn_decode_args *args,
                                           const struct cursor *at, uint32_t piece)
{
    const struct attn_plan *plan = args->plan;
    uint32_t lane = threadIdx.x % 32;
    bool parted = false;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        s->l[half] += __shfl_xor_sync(0xffffffffu, s->l[half], 1);
        s->l[half] += __shfl_xor_sync(0xffffffffu, s->l[half], 2);
        uint32_t row = lane / 4 + 8 * half, t = row / args->group, g = row % args->group;
        if (t >= at->item.token_count)
            continue;
        struct attn_item own = own_item(plan, at, t);
        struct pieces p = pieces_of(plan, &own, at->head);
        if (p.here == 1) {
            if (p.group > 0)
                add_parts<HEAD_DIM>(s, half, args, &own, at->head, g);
            bf16 *out =
                args->out +
                (((size_t)own.token * args->kv.kv_heads + at->head) * args->group + g) * HEAD_DIM +
                lane % 4 * 2;
            float inverse = 1.0f / s->l[half];
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 8; n++)
                *(uint32_t *)(out + n * 8) =
                    bf16x2_pack(s->o[n][half * 2] * inverse, s->o[n][half * 2 + 1] * inverse);
            continue;
        }
        bool is_own = at->idx >= plan->group_items;
        size_t entry =
            part_row(args, own.part_first + (is_own ? own.own_part : 0) + piece, at->head) + g;
        float *o = args->part_o + entry * HEAD_DIM + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++)
            *(float2 *)(o + n * 8) = make_float2(s->o[n][half * 2], s->o[n][half * 2 + 1]);
        if (lane % 4 == 0)
            args->part_ml[entry] = make_float2(s->m[half] * args->scale, s->l[half]);
        parted = true;
    }
    return parted;
}

/* Ends a warp's piece of an item's head; merges the tokens whose last part this was. */
template <int HEAD_DIM>
__device__ __forceinline__ void finish(struct state<HEAD_DIM> *s,
                                       const struct attn_decode_args *args, const struct cursor *at,
                                       uint32_t share)
{
    const struct attn_plan *plan = args->plan;
    uint32_t lane = threadIdx.x % 32, first = at->item.unit_first + at->head * at->item.page_count;
    bool parted = write_rows<HEAD_DIM>(s, args, at, share - first / plan->span), last = false;
    if (!__any_sync(0xffffffffu, parted))
        return;
    __syncwarp();
    if (lane < at->item.token_count) {
        struct attn_item own = own_item(plan, at, lane);
        struct pieces p = pieces_of(plan, &own, at->head);
        uint32_t *count =
            &args->counters[(at->item.token_first + lane) * args->kv.kv_heads + at->head];
        __threadfence(); /* the warp's parts before the count */
        last = p.here > 1 && atomicAdd(count, 1) == p.here - 1;
        if (last)
            *count = 0;
        __threadfence(); /* the count before the others' parts */
    }
    for (uint32_t todo = __ballot_sync(0xffffffffu, last); todo; todo &= todo - 1) {
        struct attn_item own = own_item(plan, at, __ffs(todo) - 1);
        struct pieces p = pieces_of(plan, &own, at->head);
        merge<HEAD_DIM>(args, &own, at->head, p.group, p.all);
    }
}

/* A share. Before pdl_wait this reads the plan, the page table and keys of earlier steps: an upload
 * and page_table_set, which lets no kernel start before it ends, have made them. */
template <int HEAD_DIM>
__device__ __forceinline__ void
run_share(const struct attn_decode_args *args, const CUtensorMap *map, uint32_t share,
          uint32_t ring, uint32_t bars, uint32_t *stage, uint32_t *parity, bool waited)
{
    const struct attn_plan *plan = args->plan;
    uint32_t units = min(plan->span, plan->units - share * plan->span);
    struct state<HEAD_DIM> s;
    struct cursor at;
    struct feeder f;

    cursor_start(&at, plan, share);
    f.at = at;
    f.left = units;
    f.stage = *stage;
    f.fresh = true;
    f.waited = waited;
    for (uint32_t i = 0; i < unit<HEAD_DIM>::STAGES;
         i++) /* older keys do not wait for the newest */
        feed<HEAD_DIM>(&f, args, map, ring, bars);
    if (!f.waited)
        pdl_wait();
    f.waited = true;
    while (units > 0) {
        uint32_t pages = min(units, at.item.page_count - at.page);
        load_q<HEAD_DIM>(&s, args, &at);
        for (uint32_t i = 0; i < pages; i++) {
            uint32_t key = (at.item.page_first + at.page + i) * ATTN_UNIT_KEYS;
            uint32_t low = at.item.key_first > key ? at.item.key_first - key : 0;
            uint32_t high = min(at.item.key_end - key, ATTN_UNIT_KEYS);
            barrier_wait(bars + *stage * 8, *parity);
            attend<HEAD_DIM>(&s, ring + *stage * unit<HEAD_DIM>::BYTES, args->scale, low, high);
            __syncwarp(); /* all lanes have read the unit before the next one lands on it */
            feed<HEAD_DIM>(&f, args, map, ring, bars);
            if (++*stage == unit<HEAD_DIM>::STAGES) {
                *stage = 0;
                *parity ^= 1;
            }
        }
        finish<HEAD_DIM>(&s, args, &at, share);
        units -= pages;
        cursor_next(&at, plan, args->kv.kv_heads, pages);
    }
}

template <int HEAD_DIM>
__global__ void __launch_bounds__(ATTN_DECODE_WARPS * 32, 1)
    attn_decode_kernel(const __grid_constant__ struct attn_decode_args args,
                       const __grid_constant__ CUtensorMap map)
{
#if __CUDA_ARCH__ >= 900
    extern __shared__ uint8_t dynamic_shared[];
    uint32_t warps = blockDim.x / 32, warp = threadIdx.x / 32,
             base = (smem_addr(dynamic_shared) + 1023) & ~1023u;
    uint32_t bars = base + warps * RING_BYTES + warp * unit<HEAD_DIM>::STAGES * 8;

    pdl_launch();
    if (threadIdx.x % 32 == 0) {
        for (uint32_t i = 0; i < unit<HEAD_DIM>::STAGES; i++)
            barrier_init(bars + i * 8, 1);
        barrier_init_fence();
    }
    __syncwarp();
    uint32_t share = warp * gridDim.x + blockIdx.x, stage = 0, parity = 0;
    bool waited = false;
    for (; share < args.plan->shares; share += warps * gridDim.x, waited = true)
        run_share<HEAD_DIM>(&args, &map, share, base + warp * RING_BYTES, bars, &stage, &parity,
                            waited);
    if (!waited)
        pdl_wait();
#endif
}

template <int HEAD_DIM>
static void launch_decode(struct device *device, struct stream *stream,
                          const struct attn_decode_args *args, const CUtensorMap *map,
                          uint32_t warps)
{
    cuda_launch(device, stream, "attention (decode)", attn_decode_kernel<HEAD_DIM>,
                device->prop.multiProcessorCount, warps * 32,
                1024 + warps * (RING_BYTES + unit<HEAD_DIM>::STAGES * 8), *args, *map);
}

void attn_decode(struct device *device, struct stream *stream, const struct attn_decode_args *args,
                 const CUtensorMap *map, uint32_t warps)
{
    if (args->kv.head_dim == 64)
        launch_decode<64>(device, stream, args, map, warps);
    else
        launch_decode<128>(device, stream, args, map, warps);
}
