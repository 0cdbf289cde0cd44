/* sample_cut - what sample.cu's blocks share, and the exact cut by bisection over whole slices. */
#ifndef MSGL_KERNELS_CUDA_SAMPLE_CUT_CUH
#define MSGL_KERNELS_CUDA_SAMPLE_CUT_CUH

#include "kernels/cuda/cluster.cuh"

#define THREADS        512
#define CLUSTER        8
#define CANDIDATES_MAX 2048u

struct share { /* a block's part of what the cluster exchanges; two of each, used in turn */
    double sum[2], sums[2][3];
    uint64_t key[2];
    uint32_t last[2];
    float bound;
};

struct candidates { /* block 0's: what may be above the cut, in id order */
    float logits[CANDIDATES_MAX], weights[CANDIDATES_MAX];
    uint32_t ids[CANDIDATES_MAX];
};

struct scratch {
    struct share share;
    double warps[THREADS / 32], warps3[THREADS / 32][3];
    unsigned long long tally[3];
    float tops[THREADS]; /* each thread's largest logit */
    struct candidates candidates;
};

struct members { /* this thread's logits: [from, to) of the block's slice */
    const float *logits;
    uint32_t first, from, to; /* first: the slice's first id */
};

struct row {
    struct scratch *scratch;
    uint32_t *out, *last;
    float top, scale, min_p; /* scale: 1 / temperature */
    uint32_t turn;           /* which of the two shares */
};

struct cut { /* keeps l > at, and the first `ties` ids with l == at */
    float at;
    uint32_t ties;
};

/* What order_bits() made these bits of. */
__device__ __forceinline__ float order_float(uint32_t bits)
{
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

__device__ __forceinline__ unsigned long long warp_sum_u64(unsigned long long x)
{
    for (int lane = 16; lane > 0; lane >>= 1)
        x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

/* exp((logit - top) / temperature). 0 for a NaN, which is also what the top gives where temperature
 * is too small for a quotient or the top is infinite. */
__device__ __forceinline__ float weight_of(const struct row *row, float logit)
{
    float arg = (logit - row->top) * row->scale;
    return arg >= -87.0f ? __expf(arg) : 0.0f;
}

__device__ __forceinline__ void row_done(const struct row *row, uint32_t token)
{
    *row->out = token;
    *row->last = token;
}

/* Over the threads of a block: what lies before this one, and the total. */
__device__ __forceinline__ double block_scan(double mine, double *warps, double *total)
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

/* The same over the cluster, block by block. */
__device__ double cluster_scan(struct row *row, double mine, double *total)
{
    struct share *share = &row->scratch->share;
    double before = block_scan(mine, row->scratch->warps, total), all = 0;
    double theirs = 0, blocks_before = 0;
    uint32_t turn = row->turn ^= 1, rank = cluster_rank(), lane = threadIdx.x % 32;
    if (threadIdx.x == 0)
        share->sum[turn] = *total;
    cluster_sync();
    if (lane < cluster_size())
        theirs = cluster_map(share, lane)->sum[turn];
    for (uint32_t r = 0; r < cluster_size(); r++) {
        blocks_before = r == rank ? all : blocks_before;
        all += __shfl_sync(0xffffffffu, theirs, r);
    }
    *total = all;
    return blocks_before + before;
}

__device__ __forceinline__ bool kept(const struct cut *cut, float logit, uint32_t *rank)
{
    return logit > cut->at || (logit == cut->at && (*rank)++ < cut->ties);
}

/* Logits at the cut before this thread's: the rank of its first. */
__device__ uint32_t ties_before(struct row *row, const struct members *in, const struct cut *cut)
{
    uint32_t mine = 0;
    double total;
    if (cut->ties == UINT32_MAX) /* all of them stay */
        return 0;
    for (uint32_t i = in->from; i < in->to; i++)
        mine += in->logits[i] == cut->at;
    return (uint32_t)cluster_scan(row, mine, &total);
}

/* How many, or how much mass, of the logits that `inside` keeps are >= at[0], at[1], at[2]. */
__device__ void amounts(struct row *row, const struct members *in, const float *at,
                        const struct cut *inside, uint32_t rank, bool by_mass, double *totals)
{
    struct share *share = &row->scratch->share;
    double(*warps)[3] = row->scratch->warps3;
    float sums[3] = {};
    uint32_t turn = row->turn ^= 1, lane = threadIdx.x % 32;
    bool all = inside->ties == UINT32_MAX;
    for (uint32_t i = in->from; i < in->to; i++) {
        float logit = in->logits[i], value;
        if (!all && !kept(inside, logit, &rank))
            continue;
        value = by_mass ? weight_of(row, logit) : 1.0f;
#pragma unroll
        for (int j = 0; j < 3; j++)
            sums[j] += logit >= at[j] ? value : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 3; j++) {
        double sum = sums[j];
        for (int step = 16; step > 0; step >>= 1)
            sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (lane == 0)
            warps[threadIdx.x / 32][j] = sum;
    }
    __syncthreads();
    if (threadIdx.x < 3) {
        double sum = 0;
        for (int w = 0; w < THREADS / 32; w++)
            sum += warps[w][threadIdx.x];
        share->sums[turn][threadIdx.x] = sum;
    }
    cluster_sync();
    double theirs = 0;
    if (lane < cluster_size() * 3)
        theirs = cluster_map(share, lane / 3)->sums[turn][lane % 3];
    totals[0] = totals[1] = totals[2] = 0;
    for (uint32_t r = 0; r < cluster_size(); r++)
#pragma unroll
        for (int j = 0; j < 3; j++)
            totals[j] += __shfl_sync(0xffffffffu, theirs, r * 3 + j);
}

__device__ double amount(struct row *row, const struct members *in, float at,
                         const struct cut *inside, uint32_t rank, bool by_mass)
{
    float three[3] = {at, at, at};
    double totals[3];
    amounts(row, in, three, inside, rank, by_mass, totals);
    return totals[0];
}

/* The tightest cut within `inside` whose amount reaches `goal`: the bracket of bits goes down to a
 * quarter each pass. */
__device__ struct cut tighten(struct row *row, const struct members *in, struct cut inside,
                              double goal, bool by_mass)
{
    uint32_t rank = ties_before(row, in, &inside);
    uint32_t low = order_bits(inside.at), high = order_bits(row->top);
    struct cut cut = inside;
    double above, each;

    while (low < high) { /* invariant: amount(low) >= goal > amount(high + 1) */
        uint32_t bits[3], end = high;
        float at[3];
        double totals[3];
#pragma unroll
        for (uint32_t j = 0; j < 3; j++) {
            bits[j] = low + (uint32_t)(((uint64_t)(high - low) * (j + 1) + 3) / 4);
            at[j] = order_float(bits[j]);
        }
        amounts(row, in, at, &inside, rank, by_mass, totals);
#pragma unroll
        for (int j = 2; j >= 0; j--)
            if (totals[j] < goal)
                high = bits[j] - 1;
#pragma unroll
        for (int j = 0; j < 3; j++)
            if (totals[j] >= goal && bits[j] <= end)
                low = bits[j];
    }
    cut.at = order_float(low);
    above = cut.at < row->top ? amount(row, in, order_float(low + 1), &inside, rank, by_mass) : 0.0;
    each = by_mass ? (double)weight_of(row, cut.at) : 1.0;
    cut.ties = each > 0 ? (uint32_t)fmin(fmax(1.0, ceil((goal - above) / each)), 4e9) : UINT32_MAX;
    if (cut.at == inside.at && cut.ties > inside.ties)
        cut.ties = inside.ties;
    return cut;
}

/* Cuts by count, then by mass, then the draw; each pass is one of all blocks over their slices. */
__device__ void draw_bisected(struct row *row, const struct members *in, const struct sampling *s,
                              bool by_count, double goal, double uniform)
{
    struct share *share = &row->scratch->share;
    struct cut cut = {-INFINITY, UINT32_MAX};
    uint32_t rank, turn, order = cluster_rank() * THREADS + threadIdx.x, last = 0, token = 0;
    double mine = 0, before, total;

    if (by_count) {
        cut = tighten(row, in, cut, goal, false);
        goal =
            (double)s->top_p * amount(row, in, -INFINITY, &cut, ties_before(row, in, &cut), true);
    }
    if (s->top_p < 1.0f)
        cut = tighten(row, in, cut, goal, true);
    uint32_t first_rank = rank = ties_before(row, in, &cut);
    for (uint32_t i = in->from; i < in->to; i++) {
        float weight = kept(&cut, in->logits[i], &rank) ? weight_of(row, in->logits[i]) : 0.0f;
        mine += weight >= row->min_p ? (double)weight : 0.0;
    }
    before = cluster_scan(row, mine, &total);
    goal = uniform * total;
    /* The last thread that has mass and begins at or before the goal. */
    turn = row->turn ^= 1;
    if (threadIdx.x == 0)
        share->last[turn] = 0;
    __syncthreads();
    if (mine > 0 && before <= goal)
        atomicMax(&share->last[turn], order + 1);
    cluster_sync();
    for (uint32_t r = 0; r < cluster_size(); r++)
        last = max(last, cluster_map(share, r)->last[turn]);
    if (last != order + 1)
        return;
    rank = first_rank;
    for (uint32_t i = in->from; i < in->to && before <= goal; i++) {
        float weight = kept(&cut, in->logits[i], &rank) ? weight_of(row, in->logits[i]) : 0.0f;
        if (weight > 0.0f && weight >= row->min_p) {
            before += (double)weight;
            token = in->first + i;
        }
    }
    row_done(row, token);
}

#endif
