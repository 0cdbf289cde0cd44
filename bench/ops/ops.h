/* ops - what the files of bench_ops share: the device with its pools, the shape that is timed.
 *
 *   bed.c     device, pools, rows          runs.c      one call of each op
 *   time.c    a call's time, its line      model.c, mixture.c   which ops, with which bytes and FLOP
 *
 * Errors end the program.
 */
#ifndef MSGL_BENCH_OPS_H
#define MSGL_BENCH_OPS_H

#include "kernels/ops.h"

#define READ_BYTES_PER_S 4.53e12
#define FLOP_PER_S       790e12

struct model {
    const char *name;
    uint32_t hidden, heads, kv_heads, dim, inter, vocab, layers;
    bool qk_norm;
};

/* Mixtures of experts: their two products are timed alone. */
struct mixture {
    const char *name;
    uint32_t hidden, experts, top, inter; /* of one expert */
};

enum { PAGE = 16, SLOTS = 256, CONTEXT = 1024, PER_SLOT = CONTEXT / PAGE, ROWS_MAX = 8192 };

struct bench {
    const struct ops *ops;
    struct device *device;
    struct stream *stream;
    struct event *from, *to;
    bool cuda, quick;
    const char *model_filter, *op_filter;
    size_t item; /* bytes of an activation */
    char *pool;  /* random bf16: weights, and KV pages where activations are bf16 */
    size_t pool_bytes, pool_at;
    void *kv_pool;
    size_t act_bytes;
    void *x, *y, *attn, *scratch;
    float *logits, *norm, *cos_sin;
    uint32_t *page_table, *positions, *slots, *ids, *last, *out;
    struct attn_row rows_host[SLOTS], *attn_rows;
    struct sample_row *sample_rows;
    const struct mixture *mixture;
    struct expert_args experts;
    void *plan_host, *plan;
    size_t plan_bytes, planned; /* room, and what the plan of these rows takes */
    /* the shape being timed */
    struct model m; /* cut for tp */
    uint32_t tp, rows;
    struct sampling sampling;
    bool prompt;
};

NORETURN void bench_die(const char *text);
void *bench_alloc(struct bench *b, size_t bytes);
void bench_sync(struct bench *b);
void bench_upload(struct bench *b, void *to, const void *host, size_t bytes);
/* A weight at the next place of the pool. */
struct weight bench_weight(struct bench *b, uint32_t n, uint32_t k);
void bench_init(struct bench *b);
/* `b->rows` streams that decode at the end of their context, or prompts of CONTEXT tokens; how many. */
uint32_t bench_rows(struct bench *b);

uint32_t qkv_cols(const struct model *m);
void run_qkv(struct bench *b);
void run_o(struct bench *b);
void run_gate_up(struct bench *b);
void run_down(struct bench *b);
void run_head(struct bench *b);
void run_norm(struct bench *b);
void run_silu(struct bench *b);
void run_embed(struct bench *b);
void run_rope(struct bench *b);
void run_attention(struct bench *b);
void run_sample(struct bench *b);
void run_route(struct bench *b);
void run_experts_gate_up(struct bench *b);
void run_experts_down(struct bench *b);
void run_layer(struct bench *b);
void run_tail(struct bench *b);

/* Microseconds a call. */
double bench_time(struct bench *b, void (*run)(struct bench *), uint32_t calls);
void bench_line(struct bench *b, const char *op, const char *shape, double us, double bytes,
                double flop);
bool bench_wanted(const struct bench *b, const char *op);

void bench_model(struct bench *b, const struct model *model, uint32_t tp);
/* The bytes are those of the experts that have a row. */
void bench_mixture(struct bench *b, const struct mixture *m);

#endif
