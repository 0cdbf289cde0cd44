/* sample - the next token of each row; a cluster of 8 blocks a row, no sort of the vocabulary.
 *
 * Each block keeps its eighth of the row's logits in shared memory (read once: 4 bytes a logit),
 * each thread a run of neighbouring ids of it, so sums over threads and blocks run in id order:
 *
 *     row     │ block 0        │ block 1        │ … 8     top, sums, the draw: one value a block,
 *     block   │t0│t1│t2│ …│t511│                           exchanged through distributed shared memory
 *
 * temperature alone: the largest logit, the sum, the inverse CDF. top-k and top-p need a cut, the
 * largest T such that the logits >= T are enough (or hold enough mass); of the ids at T the lowest
 * stay. A first bound comes free: the k-th largest of the 4,096 threads' own largest logits is at
 * most the k-th largest logit. What is above that bound, a few more than k, goes to block 0, which
 * finds T by bisecting the order-preserving bits of a float and draws. Where that is too many (a
 * flat row with top-p), all blocks bisect over their slices: 32 rounds of about a microsecond.
 *
 * Sums are in double, in a fixed order: the same token each time, whatever the batch. Against the
 * cpu's sampler a token differs only where the goal falls within rounding of an edge of the CDF
 * (exp differs in its last bits).
 */
#include "kernels/cuda/cluster.cuh"

extern "C" {
#include "common/rng.h"
}

#define THREADS        512
#define CLUSTER        8
#define CANDIDATES_MAX 2048u

struct cut { /* keeps l > at, and the first `ties` ids with l == at */
    float at;
    uint32_t ties;
};

struct share { /* a block's part of what the cluster exchanges; two of each, used in turn */
    double sum[2];
    float top[2];
    uint32_t id[2], count[2];
    float bound;
};

struct scratch {
    struct share share;
    double warps[THREADS / 32];
    float tops[THREADS];
};

struct members { /* logits under consideration: a slice of the row, or block 0's candidates */
    const float *logits;
    const uint32_t *ids; /* NULL: first + index */
    uint32_t first, from, to; /* this thread's [from, to) */
    bool alone;               /* no other block has some */
};

struct row {
    struct scratch *scratch;
    float top, inverse_temperature, min_p;
    uint32_t turn; /* which of the two shares */
};

__device__ __forceinline__ uint32_t order_bits(float x)
{
    uint32_t bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float order_float(uint32_t bits)
{
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

/* Not a number where temperature is too small for a quotient or the top is infinite: then 0. */
__device__ __forceinline__ float weight_of(const struct row *row, float logit)
{
    float arg = (logit - row->top) * row->inverse_temperature;
    return arg >= -87.0f ? expf(arg) : 0.0f;
}

__device__ __forceinline__ bool kept(const struct cut *cut, float logit, uint32_t *rank)
{
    return logit > cut->at || (logit == cut->at && (*rank)++ < cut->ties);
}

/* Over the threads of a block: what lies before this one, and the total. */
__device__ double block_scan(double mine, double *warps, double *total)
{
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    double sum = mine, before = 0, all = 0;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        double left = __shfl_up_sync(0xffffffffu, sum, step);
        if (lane >= step)
            sum += left;
    }
    __syncthreads();
    if (lane == 31)
        warps[warp] = sum;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < THREADS / 32; w++) {
        before = w == warp ? all : before;
        all += warps[w];
    }
    *total = all;
    return before + (sum - mine);
}

/* The same over all that have members: in a cluster, block by block. */
__device__ double scan(struct row *row, const struct members *in, double mine, double *total)
{
    double before = block_scan(mine, row->scratch->warps, total), all = 0;
    if (in->alone)
        return before;
    struct share *share = &row->scratch->share;
    uint32_t turn = row->turn ^= 1, rank = cluster_rank();
    if (threadIdx.x == 0)
        share->sum[turn] = *total;
    cluster_sync();
    double theirs = 0, blocks_before = 0;
    if (threadIdx.x % 32 < cluster_size())
        theirs = cluster_map(share, threadIdx.x % 32)->sum[turn];
    for (uint32_t r = 0; r < cluster_size(); r++) {
        blocks_before = r == rank ? all : blocks_before;
        all += __shfl_sync(0xffffffffu, theirs, r);
    }
    *total = all;
    return blocks_before + before;
}

__device__ float cluster_top(struct row *row, float mine)
{
    struct share *share = &row->scratch->share;
    uint32_t turn = row->turn ^= 1;
    mine = block_max(mine, (float *)row->scratch->warps);
    if (threadIdx.x == 0)
        share->top[turn] = mine;
    cluster_sync();
    float theirs = -INFINITY;
    if (threadIdx.x % 32 < cluster_size())
        theirs = cluster_map(share, threadIdx.x % 32)->top[turn];
    return warp_max(theirs);
}

/* The smallest id that any thread has to offer; UINT32_MAX for none. */
__device__ uint32_t lowest(struct row *row, const struct members *in, uint32_t mine)
{
    struct share *share = &row->scratch->share;
    uint32_t *warps = (uint32_t *)row->scratch->warps, turn;
    mine = __reduce_min_sync(0xffffffffu, mine);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = mine;
    __syncthreads();
    for (int w = 0; w < THREADS / 32; w++)
        mine = min(mine, warps[w]);
    if (in->alone)
        return mine;
    turn = row->turn ^= 1;
    if (threadIdx.x == 0)
        share->id[turn] = mine;
    cluster_sync();
    if (threadIdx.x % 32 < cluster_size())
        mine = cluster_map(share, threadIdx.x % 32)->id[turn];
    return __reduce_min_sync(0xffffffffu, mine);
}

/* Logits at the cut before this thread's: the rank of its first. */
__device__ uint32_t ties_before(struct row *row, const struct members *in, const struct cut *cut)
{
    uint32_t mine = 0;
    float at = cut->at;
    double total;
    if (cut->ties == UINT32_MAX) /* all of them stay */
        return 0;
    for (uint32_t i = in->from; i < in->to; i++)
        mine += in->logits[i] == at;
    return (uint32_t)scan(row, in, mine, &total);
}

/* How many, or how much mass, of the logits >= at that `inside` keeps. */
__device__ double amount(struct row *row, const struct members *in, float at,
                         const struct cut *inside, uint32_t rank, bool by_mass)
{
    double sum = 0, total;
    for (uint32_t i = in->from; i < in->to; i++) {
        float logit = in->logits[i];
        if (kept(inside, logit, &rank) && logit >= at)
            sum += by_mass ? (double)weight_of(row, logit) : 1.0;
    }
    scan(row, in, sum, &total);
    return total;
}

/* The tightest cut within `inside` whose amount reaches `goal`. */
__device__ struct cut tighten(struct row *row, const struct members *in, struct cut inside,
                              double goal, bool by_mass)
{
    uint32_t rank = ties_before(row, in, &inside);
    uint32_t low = order_bits(inside.at), high = order_bits(row->top);
    struct cut cut = inside;
    double above, each;

    while (low < high) { /* invariant: amount(low) >= goal */
        uint32_t middle = low + (high - low) / 2 + 1;
        if (amount(row, in, order_float(middle), &inside, rank, by_mass) >= goal)
            low = middle;
        else
            high = middle - 1;
    }
    cut.at = order_float(low);
    above = cut.at < row->top
                ? amount(row, in, order_float(low + 1), &inside, rank, by_mass)
                : 0.0;
    each = by_mass ? (double)weight_of(row, cut.at) : 1.0;
    cut.ties = each > 0 ? (uint32_t)fmin(fmax(1.0, ceil((goal - above) / each)), 4e9) : UINT32_MAX;
    if (cut.at == inside.at && cut.ties > inside.ties)
        cut.ties = inside.ties;
    return cut;
}

/* Inverse CDF over the kept logits; UINT32_MAX when they have no mass. Only the thread where the
 * goal falls knows the token: the last one that begins at or before it. */
__device__ uint32_t draw(struct row *row, const struct members *in, struct cut cut, double uniform)
{
    uint32_t first_rank = ties_before(row, in, &cut), rank = first_rank, token = UINT32_MAX;
    double mine = 0, before, total, goal, sum;

    for (uint32_t i = in->from; i < in->to; i++) {
        float weight = kept(&cut, in->logits[i], &rank) ? weight_of(row, in->logits[i]) : 0.0f;
        mine += weight >= row->min_p ? (double)weight : 0.0;
    }
    before = scan(row, in, mine, &total);
    goal = uniform * total;
    /* Threads in id order; the highest that qualifies is the lowest of the complements. */
    uint32_t order = in->alone ? threadIdx.x : cluster_rank() * THREADS + threadIdx.x;
    uint32_t owner = ~lowest(row, in, mine > 0 && before <= goal ? ~order : UINT32_MAX);
    if (total > 0 && owner == order) {
        sum = before;
        rank = first_rank;
        for (uint32_t i = in->from; i < in->to && sum <= goal; i++) {
            float weight = kept(&cut, in->logits[i], &rank) ? weight_of(row, in->logits[i]) : 0.0f;
            if (weight > 0.0f && weight >= row->min_p) {
                sum += (double)weight;
                token = in->ids ? in->ids[i] : in->first + i;
            }
        }
    }
    return lowest(row, in, token);
}

/* A bound below the cut, from the threads' own largest logits: block 0 looks for the largest one
 * at or above which there are enough of them. -inf when all together are not enough. */
__device__ float bound_of(struct row *row, double goal, bool by_mass)
{
    struct scratch *scratch = row->scratch;
    if (cluster_rank() == 0) { /* the others' tops are there since cluster_top() */
        uint32_t low = order_bits(-INFINITY), high = order_bits(row->top);
        float tops[CLUSTER];
        for (uint32_t r = 0; r < CLUSTER; r++)
            tops[r] = r < cluster_size() ? cluster_map(scratch, r)->tops[threadIdx.x] : -INFINITY;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2 + 1;
            double sum = 0, total;
            for (int r = 0; r < CLUSTER; r++)
                if (tops[r] >= order_float(middle))
                    sum += by_mass ? (double)weight_of(row, tops[r]) : 1.0;
            block_scan(sum, scratch->warps, &total);
            if (total >= goal)
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

/* The members >= bound into block 0's arrays, in id order. False when they are too many. */
__device__ bool collect(struct row *row, const struct members *in, float bound, float *logits,
                        uint32_t *ids, uint32_t *count)
{
    uint32_t mine = 0, at;
    double total;
    for (uint32_t i = in->from; i < in->to; i++)
        mine += in->logits[i] >= bound;
    at = (uint32_t)scan(row, in, mine, &total);
    *count = (uint32_t)total;
    if (total > CANDIDATES_MAX)
        return false;
    logits = cluster_map(logits, 0);
    ids = cluster_map(ids, 0);
    for (uint32_t i = in->from; i < in->to; i++)
        if (in->logits[i] >= bound) {
            logits[at] = in->logits[i];
            ids[at++] = in->first + i;
        }
    cluster_sync();
    return true;
}

/* Cuts, then the draw; all blocks come back with the token or only block 0 does. */
__device__ uint32_t sample_filtered(struct row *row, struct members *in, const struct sampling *s,
                                    uint32_t vocab, double uniform, float *logits, uint32_t *ids)
{
    bool by_count = s->top_k > 0 && s->top_k < vocab;
    struct cut cut = {-INFINITY, UINT32_MAX};
    double goal = s->top_k;
    uint32_t count;

    if (!by_count && s->top_p < 1.0f)
        goal = (double)s->top_p * amount(row, in, -INFINITY, &cut, 0, true);
    if ((by_count || s->top_p < 1.0f) &&
        collect(row, in, bound_of(row, goal, !by_count), logits, ids, &count)) {
        if (cluster_rank() != 0)
            return UINT32_MAX;
        uint32_t chunk = DIV_CEIL(count, THREADS);
        in->logits = logits;
        in->ids = ids;
        in->from = min(threadIdx.x * chunk, count);
        in->to = min(in->from + chunk, count);
        in->alone = true;
    }
    if (by_count) {
        cut = tighten(row, in, cut, goal, false);
        if (s->top_p < 1.0f) {
            uint32_t rank = ties_before(row, in, &cut);
            goal = (double)s->top_p * amount(row, in, -INFINITY, &cut, rank, true);
        }
    }
    if (s->top_p < 1.0f)
        cut = tighten(row, in, cut, goal, true);
    return draw(row, in, cut, uniform);
}

/* The slice of this block: in shared memory where it fits. */
__device__ const float *slice_load(const float *from, float *to, uint32_t count, bool cached)
{
    if (!cached)
        return from;
    if ((uintptr_t)from % 16 == 0) {
#pragma unroll 4
        for (uint32_t i = threadIdx.x; i < count / 4; i += THREADS)
            ((float4 *)to)[i] = ((const float4 *)from)[i];
        for (uint32_t i = count / 4 * 4 + threadIdx.x; i < count; i += THREADS)
            to[i] = from[i];
    } else {
#pragma unroll 4
        for (uint32_t i = threadIdx.x; i < count; i += THREADS)
            to[i] = from[i];
    }
    __syncthreads();
    return to;
}

__device__ double uniform_of(const struct sample_row *spec)
{
    const struct sampling *s = &spec->sampling;
    uint32_t counter[4] = {spec->position, 0, 0, 0}, bits[4];
    uint32_t key[2] = {(uint32_t)s->seed ^ s->choice, (uint32_t)(s->seed >> 32)};
    philox4x32(counter, key, bits);
    return (double)(((uint64_t)bits[1] << 32 | bits[0]) >> 11) * 0x1.0p-53;
}

__global__ void __launch_bounds__(THREADS)
    sample_kernel(uint32_t *out, uint32_t *last_tokens, const float *logits, uint32_t vocab,
                  const struct sample_row *rows, uint32_t cached)
{
    extern __shared__ __align__(16) float slice[];
    __shared__ struct scratch scratch;
    __shared__ float candidates[CANDIDATES_MAX];
    __shared__ uint32_t candidate_ids[CANDIDATES_MAX];
    uint32_t at = blockIdx.x / cluster_size(), width, chunk, token = UINT32_MAX;
    struct row row = {&scratch};
    struct members in = {};

    pdl_launch();
    pdl_wait();
    struct sample_row spec = rows[at];
    if (spec.slot == SLOT_NONE)
        return;
    width = DIV_CEIL(DIV_CEIL(vocab, cluster_size()), 4u) * 4;
    in.first = min(cluster_rank() * width, vocab);
    width = min(width, vocab - in.first);
    chunk = DIV_CEIL(width, THREADS) | 1; /* odd: a warp's runs begin in different banks */
    in.from = min(threadIdx.x * chunk, width);
    in.to = min(in.from + chunk, width);
    in.logits = slice_load(logits + (size_t)at * vocab + in.first, slice, width, cached);

    float top = -INFINITY;
    for (uint32_t i = in.from; i < in.to; i++)
        top = fmaxf(top, in.logits[i]);
    scratch.tops[threadIdx.x] = top;
    row.top = cluster_top(&row, top);
    if (spec.sampling.temperature > 0.0f) {
        row.inverse_temperature = 1.0f / spec.sampling.temperature;
        row.min_p = spec.sampling.min_p;
        struct members all = in;
        token = sample_filtered(&row, &all, &spec.sampling, vocab, uniform_of(&spec), candidates,
                                candidate_ids);
    }
    /* Block 0's answer holds; a row without any mass is decided as a greedy one is. */
    if (cluster_rank() == 0 && threadIdx.x == 0)
        scratch.share.count[0] = token;
    cluster_sync();
    token = cluster_map(&scratch.share, 0)->count[0];
    if (token == UINT32_MAX) {
        for (uint32_t i = in.from; i < in.to && token == UINT32_MAX; i++)
            if (in.logits[i] == row.top)
                token = in.first + i;
        token = lowest(&row, &in, token);
    }
    if (cluster_rank() == 0 && threadIdx.x == 0) {
        token = token == UINT32_MAX ? 0 : token;
        out[at] = token;
        last_tokens[spec.slot] = token;
    }
    cluster_sync(); /* nobody's shared memory goes while another block reads it */
}

CUDA_OP cuda_sample(struct device *device, struct stream *stream, uint32_t *out,
                    uint32_t *last_tokens, const float *logits, uint32_t vocab,
                    const struct sample_row *rows, uint32_t count)
{
    uint32_t blocks = device->prop.major >= 9 ? CLUSTER : 1;
    size_t bytes = DIV_CEIL(DIV_CEIL(vocab, blocks), 4u) * 4 * sizeof(float);
    uint32_t cached = bytes <= device->prop.sharedMemPerBlockOptin - (24u << 10);
    if (count > 0)
        cuda_launch_cluster(device, stream, "sample", sample_kernel, blocks, count * blocks,
                            THREADS, cached ? bytes : 0, out, last_tokens, logits, vocab, rows,
                            cached);
}
