/* sample - the next token of each row; a cluster of 8 blocks a row, no sort of the vocabulary.
 *
 * Each block keeps its eighth of the row's logits in shared memory (read once: 4 bytes a logit),
 * each thread a run of neighbouring ids of it, so sums over threads and blocks run in id order:
 *
 *     row     │ block 0        │ block 1        │ … 8     the largest logit and the sums: one value a
 *     block   │t0│t1│t2│ …│t511│                           block, through distributed shared memory
 *
 * greedy: the largest logit and its id, found while loading. temperature and min-p: then the sums, and
 * the one thread where the inverse CDF falls walks its run. top-k and top-p: a lower bound of the cut
 * comes cheap, as the k-th largest of the 4,096 threads' own largest logits is at most the k-th
 * largest logit. What is above it, little more than k, goes to block 0, where each of them counts
 * those before it and their mass (n^2 / 512 steps). Where they are more than 2,048 (a flat row with
 * top-p) all blocks bisect for the cut over their slices: sample_cut.cuh, slow and rare.
 *
 * Sums are in a fixed order, double across threads: the same token each time, whatever the batch.
 * Against the cpu's sampler a token differs only where the goal falls within rounding of an edge of
 * the CDF (a weight is off by some 1e-6 of itself).
 */
#include "kernels/cuda/sample_cut.cuh"

extern "C" {
#include "common/rng.h"
}

/* The largest of a block's keys, then of the cluster's. */
__device__ uint64_t cluster_top(struct row *row, uint64_t key)
{
    struct share *share = &row->scratch->share;
    uint64_t *warps = (uint64_t *)row->scratch->warps;
    uint32_t turn = row->turn ^= 1, lane = threadIdx.x % 32;
    key = warp_max_u64(key);
    if (lane == 0)
        warps[threadIdx.x / 32] = key;
    __syncthreads();
    if (threadIdx.x < 32) {
        key = warp_max_u64(lane < THREADS / 32 ? warps[lane] : 0);
        if (lane == 0)
            share->key[turn] = key;
    }
    cluster_sync();
    key = lane < cluster_size() ? cluster_map(share, lane)->key[turn] : 0;
    return warp_max_u64(key);
}

/* The highest thread for which `mine` holds; all threads call. */
__device__ uint32_t last_thread(struct row *row, bool mine)
{
    uint32_t *warps = (uint32_t *)row->scratch->warps, lane = threadIdx.x % 32;
    uint32_t last = __reduce_max_sync(0xffffffffu, mine ? threadIdx.x + 1 : 0);
    __syncthreads();
    if (lane == 0)
        warps[threadIdx.x / 32] = last;
    __syncthreads();
    return __reduce_max_sync(0xffffffffu, lane < THREADS / 32 ? warps[lane] : 0) - 1;
}

/* Temperature, perhaps min-p: all blocks sum, the one where the goal falls finds the token. */
__device__ void draw_plain(struct row *row, const struct members *in, double uniform)
{
    struct share *share = &row->scratch->share;
    uint32_t turn = row->turn ^= 1, rank = cluster_rank(), lane = threadIdx.x % 32;
    double total, before, all = 0, first = 0, theirs = 0, goal;
    float sum = 0.0f;
    uint32_t owner = 0;

    for (uint32_t i = in->from; i < in->to; i++) {
        float weight = weight_of(row, in->logits[i]);
        sum += weight >= row->min_p ? weight : 0.0f;
    }
    before = block_scan((double)sum, row->scratch->warps, &total);
    if (threadIdx.x == 0)
        share->sum[turn] = total;
    cluster_sync();
    if (lane < cluster_size())
        theirs = cluster_map(share, lane)->sum[turn];
    for (uint32_t r = 0; r < cluster_size(); r++)
        all += __shfl_sync(0xffffffffu, theirs, r);
    goal = uniform * all;
    all = 0;
    for (uint32_t r = 0; r < cluster_size(); r++) { /* the last block that begins at or before it */
        double block = __shfl_sync(0xffffffffu, theirs, r);
        owner = block > 0 && all <= goal ? r : owner;
        first = r == rank ? all : first;
        all += block;
    }
    if (owner != rank)
        return;
    before += first;
    if (last_thread(row, sum > 0.0f && before <= goal) != threadIdx.x)
        return;
    uint32_t token = 0;
    for (uint32_t i = in->from; i < in->to && before <= goal; i++) {
        float weight = weight_of(row, in->logits[i]);
        if (weight > 0.0f && weight >= row->min_p) {
            before += (double)weight;
            token = in->first + i;
        }
    }
    row_done(row, token);
}

/* Block 0's: which of `count` candidates stay, then the draw. A candidate's rank is the number of
 * those before it (larger, or equal with a lower id), its mass above what those weigh. */
__device__ void draw_candidates(struct row *row, const struct sampling *s, uint32_t vocab,
                                uint32_t count, double goal, double uniform)
{
    struct candidates *in = &row->scratch->candidates;
    uint32_t chunk = DIV_CEIL(count, THREADS), from = threadIdx.x * chunk;
    uint32_t to = min(from + chunk, count), top_k = s->top_k > 0 ? s->top_k : vocab;
    double above[CANDIDATES_MAX / THREADS], mine = 0, before, total;
    bool stays[CANDIDATES_MAX / THREADS];

    for (uint32_t i = from; i < to; i++)
        in->weights[i] = weight_of(row, in->logits[i]);
    __syncthreads();
#pragma unroll
    for (uint32_t c = 0; c < CANDIDATES_MAX / THREADS; c++) {
        uint32_t i = from + c, rank = 0;
        above[c] = 0;
        stays[c] = false;
        if (i >= to)
            continue;
        float logit = in->logits[i];
        for (uint32_t j = 0; j < count; j++) {
            float other = in->logits[j];
            if (other > logit || (other == logit && j < i)) {
                rank++;
                above[c] += (double)in->weights[j];
            }
        }
        stays[c] = rank < top_k;
        mine += stays[c] ? (double)in->weights[i] : 0.0;
    }
    block_scan(mine, row->scratch->warps, &total);
    if (s->top_p < 1.0f && s->top_k > 0 && s->top_k < vocab)
        goal = (double)s->top_p * total;
    mine = 0;
#pragma unroll
    for (uint32_t c = 0; c < CANDIDATES_MAX / THREADS; c++) {
        uint32_t i = from + c;
        if (i >= to)
            continue;
        stays[c] &= (s->top_p >= 1.0f || above[c] < goal) && in->weights[i] >= row->min_p;
        in->weights[i] = stays[c] ? in->weights[i] : 0.0f; /* nobody reads the others' any more */
        mine += (double)in->weights[i];
    }
    before = block_scan(mine, row->scratch->warps, &total);
    goal = uniform * total;
    if (last_thread(row, mine > 0 && before <= goal) != threadIdx.x)
        return;
    uint32_t token = 0;
    for (uint32_t i = from; i < to && before <= goal; i++)
        if (in->weights[i] > 0.0f) {
            before += (double)in->weights[i];
            token = in->ids[i];
        }
    row_done(row, token);
}

/* A bound at most the cut: the largest one at or above which the threads' own tops are enough. Count
 * or mass in fixed point, so the order in which warps add does not matter. */
__device__ float bound_of(struct row *row, double goal, bool by_mass)
{
    struct scratch *scratch = row->scratch;
    if (cluster_rank() == 0) {
        uint32_t low = order_bits(-INFINITY), high = order_bits(row->top), turn = 0;
        float tops[CLUSTER];
        uint64_t values[CLUSTER], need = by_mass ? (uint64_t)(goal * 0x1p32) + 1 : (uint64_t)goal;
#pragma unroll
        for (uint32_t r = 0; r < CLUSTER; r++) {
            tops[r] = r < cluster_size() ? cluster_map(scratch, r)->tops[threadIdx.x] : -INFINITY;
            values[r] = by_mass ? (uint64_t)(weight_of(row, tops[r]) * 0x1p32f) : 1;
        }
        if (threadIdx.x < 3)
            scratch->tally[threadIdx.x] = 0;
        __syncthreads();
        for (; low < high; turn++) { /* invariant: enough of them >= low, or low is -inf */
            uint32_t middle = low + (high - low) / 2 + 1;
            float at = order_float(middle);
            unsigned long long sum = 0;
#pragma unroll
            for (uint32_t r = 0; r < CLUSTER; r++)
                sum += tops[r] >= at ? values[r] : 0;
            sum = warp_sum_u64(sum);
            if (threadIdx.x % 32 == 0 && sum > 0)
                atomicAdd(&scratch->tally[turn % 3], sum);
            if (threadIdx.x == 0)
                scratch->tally[(turn + 1) % 3] = 0;
            __syncthreads();
            if (scratch->tally[turn % 3] >= need)
                low = middle;
            else
                high = middle - 1;
        }
        if (threadIdx.x == 0)
            scratch->share.bound = order_float(low);
    }
    cluster_sync();
    return cluster_map(&scratch->share, 0)->bound;
}

/* The members >= bound to block 0, in id order; their number. Above CANDIDATES_MAX: none goes. */
__device__ uint32_t collect(struct row *row, const struct members *in, float bound)
{
    struct candidates *to = &cluster_map(row->scratch, 0)->candidates;
    uint32_t mine = 0, at;
    double total;
    for (uint32_t i = in->from; i < in->to; i++)
        mine += in->logits[i] >= bound;
    at = (uint32_t)cluster_scan(row, mine, &total);
    if (total > CANDIDATES_MAX)
        return UINT32_MAX;
    for (uint32_t i = in->from; i < in->to && mine > 0; i++)
        if (in->logits[i] >= bound) {
            to->logits[at] = in->logits[i];
            to->ids[at++] = in->first + i;
        }
    cluster_sync();
    return (uint32_t)total;
}

__device__ void draw_filtered(struct row *row, const struct members *in, const struct sampling *s,
                              uint32_t vocab, double uniform)
{
    bool by_count = s->top_k > 0 && s->top_k < vocab;
    double goal = s->top_k;
    uint32_t count;

    if (!by_count) {
        float sum = 0.0f;
        for (uint32_t i = in->from; i < in->to; i++)
            sum += weight_of(row, in->logits[i]);
        cluster_scan(row, (double)sum, &goal);
        goal *= (double)s->top_p;
    }
    count = collect(row, in, bound_of(row, goal, !by_count));
    if (count == UINT32_MAX)
        draw_bisected(row, in, s, by_count, goal, uniform);
    else if (cluster_rank() == 0)
        draw_candidates(row, s, vocab, count, goal, uniform);
}

/* The slice of this block: in shared memory where it fits. Returns the key of its largest logit: its
 * bits in order, then the complement of the lowest id, so that the largest key is what greedy takes. */
__device__ uint64_t slice_load(struct row *row, struct members *in, const float *from, float *to,
                               uint32_t count, bool cached)
{
    float top = -INFINITY;
    uint32_t id = UINT32_MAX, quads = 0;
    if (cached && (uintptr_t)from % 16 == 0) {
        quads = count / 4;
#pragma unroll 5
        for (uint32_t i = threadIdx.x; i < quads; i += THREADS) {
            float4 v = ((const float4 *)from)[i];
            ((float4 *)to)[i] = v;
            float most = fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w));
            if (most > top) {
                top = most;
                id = i * 4 + (v.x == most ? 0 : v.y == most ? 1 : v.z == most ? 2 : 3);
            }
        }
    }
    for (uint32_t i = quads * 4 + threadIdx.x; i < count; i += THREADS) {
        float v = from[i];
        if (cached)
            to[i] = v;
        if (v > top) {
            top = v;
            id = i;
        }
    }
    in->logits = cached ? to : from;
    row->scratch->tops[threadIdx.x] = top;
    __syncthreads();
    id = id == UINT32_MAX ? id : in->first + id;
    return likeliest_key(top, id);
}

__device__ double uniform_of(const struct sample_row *spec)
{
    const struct sampling *s = &spec->sampling;
    uint32_t counter[4] = {spec->position, 0, 0, 0}, bits[4];
    uint32_t key[2] = {(uint32_t)s->seed ^ s->choice, (uint32_t)(s->seed >> 32)};
    philox4x32(counter, key, bits);
    return (double)(((uint64_t)bits[1] << 32 | bits[0]) >> 11) * 0x1.0p-53;
}

__global__ void __launch_bounds__(THREADS, 2)
    sample_kernel(uint32_t *out, uint32_t *last_tokens, const float *logits, uint32_t vocab,
                  const struct sample_row *rows, uint32_t cached)
{
    extern __shared__ __align__(16) float dynamic_shared[];
    __shared__ struct scratch scratch;
    uint32_t at = blockIdx.x / cluster_size(), width, chunk, token;
    struct row row = {&scratch};
    struct members in = {};

    pdl_launch();
    pdl_wait();
    struct sample_row spec = rows[at];
    const struct sampling *s = &spec.sampling;
    if (spec.slot == SLOT_NONE)
        return;
    row.out = out + at;
    row.last = last_tokens + spec.slot;
    width = DIV_CEIL(DIV_CEIL(vocab, cluster_size()), 4u) * 4;
    in.first = min(cluster_rank() * width, vocab);
    width = min(width, vocab - in.first);
    chunk = DIV_CEIL(width, THREADS) | 1; /* odd: a warp's runs begin in different banks */
    in.from = min(threadIdx.x * chunk, width);
    in.to = min(in.from + chunk, width);
    uint64_t key = slice_load(&row, &in, logits + (size_t)at * vocab + in.first, dynamic_shared,
                              width, cached);
    key = cluster_top(&row, key);
    row.top = order_float((uint32_t)(key >> 32));
    row.scale = 1.0f / s->temperature;
    row.min_p = s->min_p;
    if (s->temperature > 0.0f && weight_of(&row, row.top) > 0.0f) {
        if (s->top_p < 1.0f || (s->top_k > 0 && s->top_k < vocab))
            draw_filtered(&row, &in, s, vocab, uniform_of(&spec));
        else
            draw_plain(&row, &in, uniform_of(&spec));
    } else if (cluster_rank() == 0 && threadIdx.x == 0) {
        token = ~(uint32_t)key; /* nothing but NaN: the first */
        row_done(&row, token == UINT32_MAX ? 0 : token);
    }
    cluster_sync(); /* nobody's shared memory goes while another block reads it */
}

CUDA_OP cuda_sample(struct device *device, struct stream *stream, uint32_t *out,
                    uint32_t *last_tokens, const float *logits, uint32_t vocab,
                    const struct sample_row *rows, uint32_t count)
{
    uint32_t blocks = device->prop.major >= 9 ? CLUSTER : 1;
    size_t bytes = DIV_CEIL(DIV_CEIL(vocab, blocks), 4u) * 4 * sizeof(float);
    uint32_t cached = bytes + sizeof(struct scratch) + 1024 <= device->prop.sharedMemPerBlockOptin;
    if (count > 0)
        cuda_launch_cluster(device, stream, "sample", sample_kernel, blocks, count * blocks,
                            THREADS, cached ? bytes : 0, out, last_tokens, logits, vocab, rows,
                            cached);
}
