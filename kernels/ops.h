/* ops - the table of operations behind which a device lies. cpu/ and cuda/ each fill one.
 *
 * Shapes are row-major, rightmost fastest. "act" is the activation type: f32 on cpu, bf16 on cuda.
 * Weights are f32 or bf16 as `struct weight` says. Token ids, positions, slots are u32. Every index
 * into KV or token buffers is computed in 64 bits.
 *
 * Every compute op is asynchronous on `stream` (the cpu backend runs it at once), allocates
 * nothing, synchronises nothing, and may be captured into a graph. Arguments are checked by
 * ops_check.c in front of both backends: a wrong one is a programmer error and aborts with a
 * sentence. Ops return nothing: a launch failure is sticky and stream_sync reports it. One thread
 * at a time uses a device.
 *
 * Batch invariance (cpu): each output element is made by one fixed sequence of roundings that
 * depends on its own inputs only, so a token's bits do not depend on batch mates, chunk size, page
 * size or threads.
 */
#ifndef MSGL_KERNELS_OPS_H
#define MSGL_KERNELS_OPS_H

#include "common/sampling.h"
#include "common/status.h"
#include "kernels/ops_args.h"

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_U32 };
size_t dtype_bytes(enum dtype dtype);

struct device; /* a backend's own state: handles, thread pool, workspace */
struct stream;
struct event;
struct graph;

/* A matrix that matmul can use: [n, k], y = x * w^T. Backends may keep it in another layout. */
struct weight {
    void *data;
    enum dtype dtype;
    uint32_t n, k;
    bool borrowed; /* `data` belongs to the caller of weight_load, who keeps it mapped */
};

/* Rows of a tensor in host memory, of any alignment: row_count rows of the weight's k elements, each
 * `stride` elements behind the one before; behind them come zero_rows of zeros. */
struct load_part {
    const void *data;
    enum dtype dtype;
    uint64_t row_count, zero_rows, stride;
};

/* Rows of made-up weights. Element (r, c) of a part is number i = (row_first + r) * stride +
 * col_first + c of its tensor: bf16(u * scale), u = the top 24 bits of splitmix64's output i for
 * `seed`, as [-1, 1). Behind row_count such rows come zero_rows of zeros. */
struct formula_part {
    uint64_t seed, row_first, row_count, zero_rows, col_first, stride;
    float scale;
};
#define WEIGHT_PARTS_MAX 4

/* One req's rows in an attention or store call; as struct step_row. */
struct attn_row {
    uint32_t slot, token_first, token_count, pos_first;
};

/* As struct prefix_group. */
struct attn_group {
    uint32_t row_first, row_count, page_count;
};

/* In a captured step of fixed size, tokens and samples beyond the real ones name this slot. */
#define SLOT_NONE UINT32_MAX

/* What an attention plan depends on, the same in all layers but for the window. */
struct attn_shape {
    uint32_t q_heads, kv_heads, head_dim, page_size, window;
};

/* The paged KV pool of one layer, and who owns which page. */
struct kv_view {
    void *pool;                 /* act [pages][2 (k, v)][kv_heads][page_size][head_dim] */
    const uint32_t *page_table; /* device, [slots][pages_per_slot] */
    uint32_t pages, pages_per_slot, page_size, kv_heads, head_dim;
};

struct page_set {
    uint32_t slot, idx, page;
};

struct attn_args {
    void *out;       /* act [tokens][q_heads * head_dim] */
    const void *qkv; /* as qkv_args, q at the start of each row; row stride in elements: */
    uint32_t qkv_stride;
    const struct attn_row *rows;      /* device */
    const struct attn_row *rows_host; /* the same on the host, for planning */
    uint32_t row_count;
    const struct attn_group *groups_host;
    uint32_t group_count;  /* frozen in a graph as "none" or "some": the plan says which */
    const void *plan;      /* device: what attn_plan() wrote, uploaded; NULL when it has no bytes */
    const void *plan_host; /* the same on the host: sizes the launch */
    uint32_t q_heads;
    float scale;     /* 1 / sqrt(head_dim) */
    uint32_t window; /* sliding window in tokens; 0 = full causal */
};

struct sample_row {
    uint32_t slot;     /* last_tokens[slot] gets the drawn token; SLOT_NONE: a padding row */
    uint32_t position; /* philox counter */
    struct sampling sampling;
    uint32_t flags;     /* enum sample_flags, for logits_adjust; `sample` ignores them */
    uint32_t ban_until; /* SAMPLE_BAN: while position < ban_until */
    uint32_t mask;      /* SAMPLE_MASK: row of masks */
};

#define SAMPLE_STOPS_MAX  64
#define SAMPLE_SLOT_WORDS (2 + SAMPLE_STOPS_MAX + 2 * SAMPLING_BIAS_MAX)

/* What sampling remembers of each slot, in device memory, one for the life of an engine.
 *
 *   seen[slot]   │ u16 of token 0 │ u16 of token 1 │ …      bit 15: the prompt holds the token
 *                                                           bits 0-14: times generated, saturating
 *   lists[slot]  │ stops │ biases │ stop ids[64] │ (id, bits of f32)[1024] │       u32
 *
 * A slot's content means something only after slot_setup for its req; only rows with a flag look. */
struct sample_state {
    uint16_t *seen;              /* [slots][vocab] */
    uint32_t *lists;             /* [slots][SAMPLE_SLOT_WORDS] */
    const uint32_t *last_tokens; /* [slots], as `sample` leaves it */
    uint32_t slots, vocab;
};

struct device_opts {
    uint32_t threads;  /* cpu: 0 = the cores we may use */
    int device_index;  /* cuda */
    const char *attn;  /* cuda: "fa" (Hopper) or "generic"; NULL: the best that runs */
    const char *plans; /* cuda: folder of measured matmul plans, read at open; NULL: none */
    bool tune;         /* cuda: measure plans that are missing, until tune_end */
    int rank, tp;
    /* rendezvous name when tp > 1: letters, digits, - and _; a new one for each start. cuda: with tp
     * 1 as well, for tests, the collectives of one rank then go through NCCL */
    const char *comm;
};

struct device_info {
    char name[64];
    uint64_t memory_free_bytes;
    enum dtype act;
    enum dtype weight_dtypes[3]; /* accepted by weight_load, best first */
    uint32_t head_dims[2];       /* head sizes that attention takes; 0: any multiple of 8 */
    uint32_t features;           /* enum feature: which of sampling's extras the backend has */
};

struct ops {
    const char *name; /* "cpu", "cuda" */

    /* device and memory */
    enum status (*open)(const struct device_opts *opts, struct device **out, struct err *err);
    void (*close)(struct device *device);
    /* Writes what was measured since open with `tune` to its file, and measures no more: a product
     * that is being measured is not right. Close without it writes as well. */
    void (*tune_end)(struct device *device);
    void (*info)(const struct device *device, struct device_info *info);
    enum status (*alloc)(struct device *device, size_t bytes, void **out,
                         struct err *err); /* zeroed, 256-byte aligned */
    void (*free)(struct device *device, void *ptr);
    /* Host memory, zeroed, from which upload and download are truly asynchronous. The device can
     * write to it as well: a few words of an op's output. */
    enum status (*host_alloc)(struct device *device, size_t bytes, void **out, struct err *err);
    void (*host_free)(struct device *device, void *ptr);
    /* The host side must stay as it is until the stream has passed this point. */
    void (*upload)(struct device *device, struct stream *stream, void *dst, const void *src,
                   size_t bytes);
    void (*download)(struct device *device, struct stream *stream, void *dst, const void *src,
                     size_t bytes);
    /* Makes a matmul weight [sum of the parts' rows, k] of parts one below the other. They may lie
     * in an mmap of the checkpoint; cpu keeps a pointer to it when `borrow` and it is one part
     * that lies there just so. Else the host data may go when this returns. */
    enum status (*weight_load)(struct device *device, const struct load_part *parts,
                               uint32_t part_count, uint32_t k, bool borrow, struct weight *out,
                               struct err *err);
    /* The same from a formula in place of data: a bf16 matrix [sum of the parts' rows, k]. */
    enum status (*weight_formula)(struct device *device, const struct formula_part *parts,
                                  uint32_t part_count, uint32_t k, struct weight *out,
                                  struct err *err);
    void (*weight_free)(struct device *device, struct weight *weight);

    enum status (*stream_new)(struct device *device, struct stream **out, struct err *err);
    void (*stream_free)(struct device *device, struct stream *stream);
    enum status (*stream_sync)(struct device *device, struct stream *stream, struct err *err);
    /* Events: record marks a point of the stream; sync (any one thread at a time, beside the thread
     * that launches) returns when the device has passed it, with the first error of the ops before
     * it; the time between two synced events. */
    enum status (*event_new)(struct device *device, struct event **out, struct err *err);
    void (*event_free)(struct device *device, struct event *event);
    void (*event_record)(struct device *device, struct stream *stream, struct event *event);
    enum status (*event_sync)(struct device *device, struct event *event, struct err *err);
    uint64_t (*event_ns)(const struct event *from, const struct event *to);
    /* Ops put on the stream from now on start when the event's last record has passed. */
    void (*event_wait)(struct device *device, struct stream *stream, struct event *event);
    /* Graphs; all four NULL where there is no such thing. Between begin and end, ops on the stream
     * are recorded, not run: pointers and host-side sizes are frozen, device data is not. No upload
     * or download from pageable memory in between. */
    enum status (*graph_begin)(struct device *device, struct stream *stream, struct err *err);
    enum status (*graph_end)(struct device *device, struct stream *stream, struct graph **out,
                             struct err *err);
    void (*graph_launch)(struct device *device, struct stream *stream, struct graph *graph);
    void (*graph_free)(struct device *device, struct graph *graph);

    /* tensor parallel, in place; no-ops when tp == 1 */
    void (*all_reduce)(struct device *device, struct stream *stream, void *act, size_t count);
    /* out [rows][tp * cols] from each rank's in [rows][cols], f32 */
    void (*all_gather)(struct device *device, struct stream *stream, float *out, const float *in,
                       uint32_t rows, uint32_t cols);

    /* compute */
    /* page_table[slot][idx] = page for each delta (device array); SLOT_NONE: padding, nothing */
    void (*page_table_set)(struct device *device, struct stream *stream, uint32_t *page_table,
                           uint32_t pages_per_slot, const struct page_set *deltas, uint32_t count);
    /* ids[i] = tokens[i] unless UINT32_MAX, then last_tokens[slots[i]] */
    void (*resolve_tokens)(struct device *device, struct stream *stream, uint32_t *ids,
                           const uint32_t *tokens, const uint32_t *token_slots,
                           const uint32_t *last_tokens, uint32_t count);
    /* x[i] = table[ids[i] - vocab_first], or (tp) 0 outside [vocab_first, vocab_first + table.n) */
    void (*embed)(struct device *device, struct stream *stream, void *x, const struct weight *table,
                  const uint32_t *ids, uint32_t vocab_first, uint32_t count);
    /* y = x / sqrt(mean(x^2) + eps) * w; one row = dim elements */
    void (*rmsnorm)(struct device *device, struct stream *stream, void *y, const void *x,
                    const float *w, uint32_t rows, uint32_t dim, float eps);
    /* residual += x (x may be NULL: nothing added); y = rmsnorm(residual) */
    void (*add_rmsnorm)(struct device *device, struct stream *stream, void *y, void *residual,
                        const void *x, const float *w, uint32_t rows, uint32_t dim, float eps);
    /* y[m, n] = x[m, k] * w[n, k]^T + bias[n] (bias f32 or NULL) */
    void (*matmul)(struct device *device, struct stream *stream, void *y, const void *x,
                   const struct weight *w, const float *bias, uint32_t m);
    /* The three fused forms of a layer. x is the residual stream, act [m, hidden]; scratch is the
     * caller's, act, contents undefined before and after.
     *   norm_matmul        y[m, n] = rmsnorm(x) w^T + bias                   scratch [m, k]
     *   norm_gate_up_silu  y[m, dim] = silu(g) * u, [g | u] = rmsnorm(x) w^T + bias, w [2 dim, k];
     *                                                                        scratch [m, k + 2 dim]
     *   matmul_add         x[m, n] += a[m, k] w^T + bias                     scratch [m, n] */
    void (*norm_matmul)(struct device *device, struct stream *stream, void *y, const void *x,
                        const struct norm *norm, const struct weight *w, const float *bias,
                        uint32_t m, void *scratch);
    void (*norm_gate_up_silu)(struct device *device, struct stream *stream, void *y, const void *x,
                              const struct norm *norm, const struct weight *w, const float *bias,
                              uint32_t m, void *scratch);
    void (*matmul_add)(struct device *device, struct stream *stream, void *x, const void *a,
                       const struct weight *w, const float *bias, uint32_t m, void *scratch);
    /* As matmul with f32 output: logits [m, n] */
    void (*matmul_f32)(struct device *device, struct stream *stream, float *y, const void *x,
                       const struct weight *w, uint32_t m);
    /* optional norm of q and k heads, rotary embedding, k and v into their pages */
    void (*qk_rope_store)(struct device *device, struct stream *stream, const struct kv_view *kv,
                          const struct qkv_args *args);
    /* The host's part of attention, once a step and window, before upload: which tile of work does
     * what. plan_bytes: of the largest plan for so many rows, tokens and groups; 0: the backend needs
     * none. plan: writes it to `out` (16-byte aligned) and returns its bytes. Reads host memory only;
     * any thread. A row with no tokens is padding. */
    size_t (*attn_plan_bytes)(const struct device *device, const struct attn_shape *shape,
                              uint32_t rows, uint32_t tokens, uint32_t context);
    size_t (*attn_plan)(const struct device *device, const struct attn_shape *shape,
                        const struct attn_row *rows, uint32_t row_count,
                        const struct attn_group *groups, uint32_t group_count, void *out);
    /* causal attention of each row's tokens over its pages [0, pos_first + token_count) */
    void (*attention)(struct device *device, struct stream *stream, const struct kv_view *kv,
                      const struct attn_args *args);
    /* x[i] += y[i]; x[i] *= by; act */
    void (*add)(struct device *device, struct stream *stream, void *x, const void *y, size_t count);
    void (*scale)(struct device *device, struct stream *stream, void *x, float by, size_t count);
    /* y[r, i] = silu(gu[r, i]) * gu[r, dim + i] */
    void (*silu_mul)(struct device *device, struct stream *stream, void *y, const void *gate_up,
                     uint32_t rows, uint32_t dim);
    /* y[i] = x[idx[i]] */
    void (*gather_rows)(struct device *device, struct stream *stream, void *y, const void *x,
                        const uint32_t *idx, uint32_t count, uint32_t dim);
    /* Draws a token per row from logits [count, vocab]; out[i] and last_tokens[slot]. Rows: device
     * array; the caller has checked their parameters. Greedy takes the lowest id of the largest logits. Else: softmax(logits /
     * temperature), then the top_k likeliest, then the fewest of those that hold top_p of their
     * mass, then those with at least min_p of the largest probability (ties: lower ids first); the
     * draw is the inverse CDF in token-id order at the philox uniform of (seed, choice, position).
     */
    void (*sample)(struct device *device, struct stream *stream, uint32_t *out,
                   uint32_t *last_tokens, const float *logits, uint32_t vocab,
                   const struct sample_row *rows, uint32_t count);

    /* Sampling's extras. A backend that lacks one leaves it NULL and its bit out of
     * device_info.features (slot_setup and logits_adjust: FEATURE_ADJUST, with masks also
     * FEATURE_GRAMMAR; logprobs: FEATURE_LOGPROBS): then no packet asks for it. They run only in
     * steps where a row needs them, in this order:
     *   slot_setup … forward … logits_adjust, sample, logprobs */

    /* Fills slots: seen[slot] is made of the history alone, lists[slot] of stops and biases (ids not
     * below vocab are left out). setups and words: host arrays, as upload. Slots differ. */
    void (*slot_setup)(struct device *device, struct stream *stream,
                       const struct sample_state *state, const struct slot_setup *setups,
                       uint32_t count, const uint32_t *words, uint32_t word_count);
    /* Changes logits [count, vocab] of rows with flags, in this order:
     *   COUNT      seen[slot][last_tokens[slot]] += 1 (also where nothing else is asked)
     *   MASK       -inf where bit id % 32 of masks[mask][id / 32] is 0; masks: device, rows of
     *              DIV_CEIL(vocab, 32) words
     *   BAN        -inf for the slot's stop ids while position < ban_until
     *   BIAS       + value for each pair of the slot
     *   PENALTIES  repetition: of tokens in prompt or answer, x > 0 ? x / r : x * r; then
     *              - frequency * times generated - presence * (times generated > 0)
     * f32, one rounding an operation. Rows: device array; slot SLOT_NONE: a padding row. */
    void (*logits_adjust)(struct device *device, struct stream *stream, float *logits,
                          uint32_t vocab, const struct sample_state *state, const uint32_t *masks,
                          const struct sample_row *rows, uint32_t count);
    /* Log-softmax of the (adjusted) logits, temperature 1, at the target and the likeliest, and
     * the target's rank. A log probability that does not exist (probability 0) is -inf. */
    void (*logprobs)(struct device *device, struct stream *stream, const struct logprob_args *args);

    /* What only some architectures need. A backend that lacks one leaves it NULL, and a model that
     * needs it is refused at open (decoder_check). */

    /* x[r, 0..dim) = rmsnorm of that part of the row, in place; rows are `stride` apart: a norm over
     * all q (or all k) heads at once */
    void (*norm_part)(struct device *device, struct stream *stream, void *x, const float *w,
                      uint32_t rows, uint32_t stride, uint32_t dim, float eps);
    /* The same over ranks' heads: sums [rows, 2] of squares of this rank's q and k (0 unless k_counts), */
    void (*qk_sums)(struct device *device, struct stream *stream, float *sums,
                    const struct wide_norm_args *args);
    /* then q and k normed by the sums of all `parts` ranks [rows, parts, 2], added in order */
    void (*qk_norm_by_sums)(struct device *device, struct stream *stream, const float *sums,
                            uint32_t parts, const struct wide_norm_args *args);
    /* Mixture of experts. softmax over each row's logits [rows, experts]; the `top` likeliest, ties
     * by id, likeliest first, and their probabilities, divided by their sum if `renormalize` */
    void (*route)(struct device *device, struct stream *stream, uint32_t *ids, float *weights,
                  const float *logits, const struct expert_args *args);
    /* y[r * top + j] = silu(g) * u, [g | u] = x[r] w_e^T, e = ids[r, j]; w_e: e-th block of rows of
     * w [experts * 2 dim, k]; y act [rows * top, dim] */
    void (*experts_gate_up)(struct device *device, struct stream *stream, void *y, const void *x,
                            const struct weight *w, const struct expert_args *args);
    /* y[r] = sum over j, in that order, of weights[r, j] * a[r * top + j] w_e^T; w [experts * n, k] */
    void (*experts_down)(struct device *device, struct stream *stream, void *y, const void *a,
                         const struct weight *w, const struct expert_args *args);
    /* x[r] += sigmoid(gate[r]) * y[r], gate f32 */
    void (*add_gated)(struct device *device, struct stream *stream, void *x, const void *y,
                      const float *gate, uint32_t rows, uint32_t dim);
};

/* NULL when not built in. `name` NULL: the best one present on this machine. */
const struct ops *ops_find(const char *name);

#endif
