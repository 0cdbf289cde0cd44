/* logits - what comes between the head and the draw, or beside it: penalties, bias, bans, masks, and
 * log probabilities. Contracts and the picture of a slot's memory are in ops.h.
 *
 * adjust: blocks of 4,096 ids of a row; whatever names an id (a stop, a bias, the last token) is done
 * by the block that owns it, so that the order of the steps needs no more than block barriers.
 * logprobs: a block a row, sums in double; the likeliest are taken one by one, each thread knowing
 * its own best: only the one whose best was taken looks again.
 */
#include "kernels/cuda/cuda_util.cuh"

#define THREADS     256
#define TILE        4096u
#define ROW_THREADS 1024
#define SEEN_PROMPT 0x8000u
#define SEEN_COUNT  0x7fffu

/* Marks or counts a token; 16 bits of a 32-bit word, by compare and swap. */
__device__ void seen_note(uint16_t *seen, uint32_t token, bool prompt)
{
    uint16_t *at = seen + token;
    uint32_t *word = (uint32_t *)((uintptr_t)at & ~(uintptr_t)3),
             shift = (uintptr_t)at & 2 ? 16 : 0;
    uint32_t old = *word, now;
    for (;;) {
        uint32_t half = old >> shift & 0xffffu;
        half = prompt ? half | SEEN_PROMPT : (half & SEEN_COUNT) < SEEN_COUNT ? half + 1 : half;
        now = (old & ~(0xffffu << shift)) | half << shift;
        uint32_t found = atomicCAS(word, old, now);
        if (found == old)
            return;
        old = found;
    }
}

/* tokens[0..count) are number `first` on of a slot's history. */
__global__ void history_kernel(uint16_t *seen, uint32_t vocab, const uint32_t *tokens,
                               uint32_t count, uint32_t first, uint32_t prompt_count)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    pdl_launch();
    pdl_wait();
    if (i < count && tokens[i] < vocab)
        seen_note(seen, tokens[i], first + i < prompt_count);
}

/* One warp: the entries whose id is below vocab, in order. `words` words an entry. */
__device__ uint32_t list_fill(uint32_t *to, const uint32_t *from, uint32_t count, uint32_t words,
                              uint32_t vocab)
{
    uint32_t lane = threadIdx.x, filled = 0;
    for (uint32_t base = 0; base < count; base += 32) {
        uint32_t i = base + lane;
        bool good = i < count && from[i * words] < vocab;
        uint32_t goods = __ballot_sync(0xffffffffu, good);
        uint32_t at = filled + __popc(goods & ((1u << lane) - 1));
        for (uint32_t w = 0; good && w < words; w++)
            to[at * words + w] = from[i * words + w];
        filled += __popc(goods);
    }
    return filled;
}

__global__ void lists_kernel(uint32_t *list, const uint32_t *words, uint32_t stops, uint32_t biases,
                             uint32_t vocab)
{
    pdl_launch();
    pdl_wait();
    uint32_t stop_count = list_fill(list + 2, words, stops, 1, vocab);
    uint32_t bias_count = list_fill(list + 2 + SAMPLE_STOPS_MAX, words + stops, biases, 2, vocab);
    if (threadIdx.x == 0) {
        list[0] = stop_count;
        list[1] = bias_count;
    }
}

CUDA_OP cuda_slot_setup(struct device *device, struct stream *stream,
                        const struct sample_state *state, const struct slot_setup *setups,
                        uint32_t count, const uint32_t *words, uint32_t word_count)
{
    uint32_t *staging = device->setup_words;
    (void)word_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct slot_setup *setup = &setups[i];
        uint16_t *seen = state->seen + (size_t)setup->slot * state->vocab;
        uint32_t *list = state->lists + (size_t)setup->slot * SAMPLE_SLOT_WORDS;
        if (setup->history_count > 0)
            CUDA_NOTE(device, cudaMemsetAsync(seen, 0, state->vocab * sizeof(*seen), stream->cuda));
        for (uint32_t at = 0; at < setup->history_count; at += SETUP_WORDS) {
            uint32_t some = MIN(SETUP_WORDS, setup->history_count - at);
            CUDA_NOTE(device, cudaMemcpyAsync(staging, words + setup->history_first + at, some * 4,
                                              cudaMemcpyDefault, stream->cuda));
            cuda_launch(device, stream, "slot_setup", history_kernel, DIV_CEIL(some, THREADS),
                        THREADS, 0, seen, state->vocab, (const uint32_t *)staging, some, at,
                        setup->prompt_count);
        }
        if (setup->stop_count > 0)
            CUDA_NOTE(device,
                      cudaMemcpyAsync(staging, words + setup->stop_first, setup->stop_count * 4,
                                      cudaMemcpyDefault, stream->cuda));
        if (setup->bias_count > 0)
            CUDA_NOTE(device,
                      cudaMemcpyAsync(staging + setup->stop_count, words + setup->bias_first,
                                      setup->bias_count * 8, cudaMemcpyDefault, stream->cuda));
        cuda_launch(device, stream, "slot_setup", lists_kernel, 1, 32, 0, list,
                    (const uint32_t *)staging, setup->stop_count, setup->bias_count, state->vocab);
    }
}

/* One rounding an operation, as the cpu does it. */
__device__ float penalised(float x, uint32_t seen, const struct sampling *s)
{
    uint32_t times = seen & SEEN_COUNT;
    x = x > 0.0f ? __fdiv_rn(x, s->repetition_penalty) : __fmul_rn(x, s->repetition_penalty);
    x = __fsub_rn(x, __fmul_rn(s->frequency_penalty, (float)times));
    return times > 0 ? __fsub_rn(x, s->presence_penalty) : x;
}

__global__ void adjust_kernel(float *all_logits, uint32_t vocab, struct sample_state state,
                              const uint32_t *masks, const struct sample_row *rows)
{
    pdl_launch();
    pdl_wait();
    const struct sample_row *row = &rows[blockIdx.y];
    uint32_t slot = row->slot, flags = row->flags;
    uint32_t first = blockIdx.x * TILE, end = min(first + TILE, vocab);
    if (slot == SLOT_NONE || flags == 0)
        return;
    float *logits = all_logits + (size_t)blockIdx.y * vocab;
    uint16_t *seen = state.seen + (size_t)slot * vocab;
    const uint32_t *list = state.lists + (size_t)slot * SAMPLE_SLOT_WORDS;
    uint32_t last = state.last_tokens[slot];

    if (flags & SAMPLE_COUNT && threadIdx.x == 0 && last >= first && last < end)
        if ((seen[last] & SEEN_COUNT) < SEEN_COUNT)
            seen[last]++;
    if (flags & SAMPLE_MASK) {
        const uint32_t *mask = masks + (size_t)row->mask * DIV_CEIL(vocab, 32u);
        for (uint32_t i = first + threadIdx.x; i < end; i += THREADS)
            if (!(mask[i / 32] >> i % 32 & 1))
                logits[i] = -INFINITY;
    }
    __syncthreads();
    if (flags & SAMPLE_BAN && row->position < row->ban_until)
        for (uint32_t i = threadIdx.x; i < list[0]; i += THREADS)
            if (list[2 + i] >= first && list[2 + i] < end)
                logits[list[2 + i]] = -INFINITY;
    __syncthreads();
    if (flags & SAMPLE_BIAS) {
        const uint32_t *pairs = list + 2 + SAMPLE_STOPS_MAX;
        for (uint32_t i = threadIdx.x; i < list[1]; i += THREADS)
            if (pairs[2 * i] >= first && pairs[2 * i] < end) /* atomic: an id may come twice */
                atomicAdd(&logits[pairs[2 * i]], __uint_as_float(pairs[2 * i + 1]));
    }
    __syncthreads();
    if (flags & SAMPLE_PENALTIES)
        for (uint32_t i = first + threadIdx.x; i < end; i += THREADS)
            if (seen[i] != 0)
                logits[i] = penalised(logits[i], seen[i], &row->sampling);
}

CUDA_OP cuda_logits_adjust(struct device *device, struct stream *stream, float *logits,
                           uint32_t vocab, const struct sample_state *state, const uint32_t *masks,
                           const struct sample_row *rows, uint32_t count)
{
    if (count > 0)
        cuda_launch(device, stream, "logits_adjust", adjust_kernel,
                    dim3(DIV_CEIL(vocab, TILE), count), THREADS, 0, logits, vocab, *state, masks,
                    rows);
}

/* This thread's best below `limit`; 0: none. */
__device__ uint64_t best_below(const float *logits, uint32_t vocab, uint64_t limit)
{
    uint64_t best = 0;
    for (uint32_t i = threadIdx.x; i < vocab; i += ROW_THREADS) {
        uint64_t key = logits[i] == logits[i] ? likeliest_key(logits[i], i) : 0;
        if (key > best && key < limit)
            best = key;
    }
    return best;
}

__device__ uint64_t block_max_key(uint64_t key, uint64_t *warps)
{
    key = warp_max_u64(key);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = key;
    __syncthreads();
    for (int w = 0; w < ROW_THREADS / 32; w++)
        key = max(key, warps[w]);
    return key;
}

__global__ void __launch_bounds__(ROW_THREADS) logprobs_kernel(struct logprob_args args)
{
    __shared__ uint64_t warps[ROW_THREADS / 32];
    __shared__ double sums[ROW_THREADS / 32];
    __shared__ uint32_t aboves[ROW_THREADS / 32];
    pdl_launch();
    pdl_wait();
    uint32_t row = blockIdx.x, vocab = args.vocab, want = args.tops[row];
    const float *logits = args.logits + (size_t)row * vocab;
    float *tops = args.top_logprobs + (size_t)row * SAMPLING_TOP_MAX;
    uint32_t *ids = args.top_ids + (size_t)row * SAMPLING_TOP_MAX;
    if (want == 0)
        return;
    want = min(want - 1, min(vocab, (uint32_t)SAMPLING_TOP_MAX));
    uint64_t mine = best_below(logits, vocab, UINT64_MAX), key = block_max_key(mine, warps);
    uint32_t top_id = min(~(uint32_t)key, vocab - 1);
    float top = logits[top_id];
    uint32_t target = args.targets[row], above = 0;
    uint64_t target_key = likeliest_key(logits[target], target);
    double sum = 0, norm;
    for (uint32_t i = threadIdx.x; i < vocab; i += ROW_THREADS) {
        sum += (double)expf(logits[i] - top);
        above += likeliest_key(logits[i], i) > target_key;
    }
    for (int lane = 16; lane > 0; lane >>= 1) {
        sum += __shfl_xor_sync(0xffffffffu, sum, lane);
        above += __shfl_xor_sync(0xffffffffu, above, lane);
    }
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = sum;
        aboves[threadIdx.x / 32] = above;
    }
    __syncthreads();
    sum = 0;
    above = 0;
    for (int w = 0; w < ROW_THREADS / 32; w++) {
        sum += sums[w];
        above += aboves[w];
    }
    norm = (double)top + log(sum);
    if (threadIdx.x == 0) {
        args.logprobs[row] = (float)((double)logits[target] - norm);
        args.ranks[row] = above + 1;
    }
    for (uint32_t i = 0; i < want; i++) {
        uint32_t id = min(~(uint32_t)key, vocab - 1);
        if (threadIdx.x == 0) {
            ids[i] = id;
            tops[i] = (float)((double)logits[id] - norm);
        }
        if (mine == key)
            mine = best_below(logits, vocab, key);
        key = block_max_key(mine, warps);
    }
}

CUDA_OP cuda_logprobs(struct device *device, struct stream *stream, const struct logprob_args *args)
{
    if (args->count > 0)
        cuda_launch(device, stream, "logprobs", logprobs_kernel, args->count, ROW_THREADS, 0,
                    *args);
}
