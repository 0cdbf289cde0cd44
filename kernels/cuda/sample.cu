/* sample - the next token of each row, one block a row; no sort.
 *
 * Thread t owns the ids [t * chunk, (t + 1) * chunk), so sums over threads run in id order. The cut of
 * top-k and of top-p is found by bisecting the order-preserving bits of a float (32 rounds): the
 * largest logit T such that the logits >= T are enough of them (top-k) or hold enough mass (top-p);
 * of the ids at T itself the lowest are kept. Then min-p, then the inverse CDF in id order.
 * Reads each row's logits up to 70 times, from L2: correct first.
 */
#include "kernels/cuda/cuda_util.cuh"

extern "C" {
#include "common/rng.h"
}

#define THREADS 1024

struct cut { /* keeps l > at, and the first `ties` ids with l == at */
    float at;
    uint32_t ties;
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

struct row_view {
    const float *logits;
    uint32_t first, end; /* this thread's ids */
    float top, inverse_temperature;
    float *scratch;
};

__device__ __forceinline__ float weight_of(const struct row_view *row, float logit)
{
    return __expf((logit - row->top) * row->inverse_temperature);
}

/* Ties before this thread's ids, for the rank of a tie; then walks the kept ids. */
__device__ uint32_t ties_before(const struct row_view *row, float at, uint32_t *counts)
{
    uint32_t mine = 0, before = 0;
    for (uint32_t i = row->first; i < row->end; i++)
        mine += row->logits[i] == at;
    __syncthreads();
    counts[threadIdx.x] = mine;
    __syncthreads();
    for (uint32_t t = 0; t < threadIdx.x; t++)
        before += counts[t];
    return before;
}

__device__ __forceinline__ bool kept(const struct cut *cut, float logit, uint32_t *rank)
{
    if (logit > cut->at)
        return true;
    return logit == cut->at && (*rank)++ < cut->ties;
}

/* Sum of 1 (by_mass false) or of the weights over the logits >= at that `inside` keeps. */
__device__ float amount(const struct row_view *row, float at, const struct cut *inside,
                        uint32_t rank, bool by_mass)
{
    float sum = 0.0f;
    for (uint32_t i = row->first; i < row->end; i++) {
        float logit = row->logits[i];
        if (kept(inside, logit, &rank) && logit >= at)
            sum += by_mass ? weight_of(row, logit) : 1.0f;
    }
    return block_sum(sum, row->scratch);
}

/* The tightest cut within `inside` whose amount reaches `goal`. */
__device__ struct cut tighten(const struct row_view *row, struct cut inside, float goal,
                              bool by_mass, uint32_t *counts)
{
    uint32_t rank = ties_before(row, inside.at, counts);
    uint32_t low = order_bits(inside.at), high = order_bits(row->top);
    struct cut cut = inside;
    float above, each;

    while (low < high) { /* invariant: amount(low) >= goal */
        uint32_t middle = low + (high - low) / 2 + 1;
        if (amount(row, order_float(middle), &inside, rank, by_mass) >= goal)
            low = middle;
        else
            high = middle - 1;
    }
    cut.at = order_float(low);
    above = low == 0xffffffffu ? 0.0f
                               : amount(row, order_float(low + 1), &inside, rank, by_mass);
    each = by_mass ? weight_of(row, cut.at) : 1.0f;
    cut.ties = (uint32_t)fmaxf(1.0f, ceilf((goal - above) / each));
    if (cut.at == inside.at && cut.ties > inside.ties)
        cut.ties = inside.ties;
    return cut;
}

__device__ uint32_t greedy(const struct row_view *row, uint32_t *counts)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = row->first; i < row->end; i++) {
        if (row->logits[i] == row->top) {
            best = i;
            break;
        }
    }
    __syncthreads();
    counts[threadIdx.x] = best;
    __syncthreads();
    for (uint32_t t = 0; t < THREADS; t++)
        best = min(best, counts[t]);
    return best;
}

__device__ uint32_t draw(const struct row_view *row, struct cut cut, float uniform,
                         uint32_t *counts, float *sums)
{
    uint32_t first_rank = ties_before(row, cut.at, counts), rank = first_rank;
    uint32_t last = UINT32_MAX;
    float mine = 0.0f, before = 0.0f, total = 0.0f, goal;

    for (uint32_t i = row->first; i < row->end; i++)
        if (kept(&cut, row->logits[i], &rank))
            mine += weight_of(row, row->logits[i]);
    __syncthreads();
    sums[threadIdx.x] = mine;
    counts[threadIdx.x] = UINT32_MAX;
    __syncthreads();
    for (uint32_t t = 0; t < THREADS; t++) {
        before = t == threadIdx.x ? total : before;
        total += sums[t];
    }
    goal = uniform * total;
    rank = first_rank;
    if (mine > 0.0f && before <= goal) {
        float sum = before;
        for (uint32_t i = row->first; i < row->end; i++) {
            if (kept(&cut, row->logits[i], &rank)) {
                sum += weight_of(row, row->logits[i]);
                last = i; /* the last kept id, should rounding let the goal slip past */
                if (sum > goal)
                    break;
            }
        }
        counts[threadIdx.x] = last;
    }
    __syncthreads();
    last = 0;
    for (uint32_t t = 0; t < THREADS; t++) /* the last thread that began at or before the goal */
        if (counts[t] != UINT32_MAX)
            last = counts[t];
    return last;
}

__global__ void __launch_bounds__(THREADS)
    sample_kernel(uint32_t *out, uint32_t *last_tokens, const float *logits, uint32_t vocab,
                  const struct sample_row *rows)
{
    __shared__ float scratch[32], sums[THREADS];
    __shared__ uint32_t counts[THREADS];
    struct sample_row spec = rows[blockIdx.x];
    struct sampling s = spec.sampling;
    uint32_t chunk = (vocab + THREADS - 1) / THREADS, token;
    struct row_view row = {};
    float top = -INFINITY;

    if (spec.slot == SLOT_NONE)
        return;
    row.logits = logits + (size_t)blockIdx.x * vocab;
    row.first = min(threadIdx.x * chunk, vocab);
    row.end = min(row.first + chunk, vocab);
    row.scratch = scratch;
    for (uint32_t i = row.first; i < row.end; i++)
        top = fmaxf(top, row.logits[i]);
    row.top = block_max(top, scratch);
    if (s.temperature == 0.0f) {
        token = greedy(&row, counts);
    } else {
        uint32_t counter[4] = {spec.position, 0, 0, 0}, bits[4];
        uint32_t key[2] = {(uint32_t)s.seed ^ s.choice, (uint32_t)(s.seed >> 32)};
        struct cut cut = {-INFINITY, UINT32_MAX};
        row.inverse_temperature = 1.0f / s.temperature;
        if (s.top_k > 0 && s.top_k < vocab)
            cut = tighten(&row, cut, (float)s.top_k, false, counts);
        if (s.top_p < 1.0f) {
            uint32_t rank = ties_before(&row, cut.at, counts);
            float mass = amount(&row, -INFINITY, &cut, rank, true);
            cut = tighten(&row, cut, s.top_p * mass, true, counts);
        }
        if (s.min_p > 0.0f) { /* weight >= min_p of the largest, which is 1 */
            float at = row.top + logf(s.min_p) * s.temperature;
            if (at > cut.at)
                cut = {at, UINT32_MAX};
        }
        philox4x32(counter, key, bits);
        token = draw(&row, cut, (float)(bits[0] >> 8) * 0x1p-24f, counts, sums);
    }
    if (threadIdx.x == 0) {
        out[blockIdx.x] = token;
        last_tokens[spec.slot] = token;
    }
}

CUDA_OP cuda_sample(struct device *device, struct stream *stream, uint32_t *out,
                    uint32_t *last_tokens, const float *logits, uint32_t vocab,
                    const struct sample_row *rows, uint32_t count)
{
    if (count == 0)
        return;
    sample_kernel<<<count, THREADS, 0, stream->cuda>>>(
        out, last_tokens, logits, vocab, rows);
    LAUNCHED(device, "sample");
}
