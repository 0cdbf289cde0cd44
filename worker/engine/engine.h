/* engine - turns step packets into next tokens. Knows steps; knows no req, no socket.
 *
 *   loop thread   submit(N+1) ┐                                  ┌ wait(N) ► commit N, plan N+2 ┄►
 *                             ▼ condition          event fd      │
 *   launcher          fill block, plan, launch N+1     ▲         │
 *                         │        │                   │ tokens ─┘
 *   copy stream           └ upload N+1 ┐ uploaded      │
 *   compute stream  ── step N ─────────┴──┤ begin … step N+1 … end ├──
 *                               └ end(N)               │
 *   completer                     sync(end N) ─────────┘
 *
 * While the device runs N, N+1 is uploaded and launched behind it, and N+2 is planned when N's
 * tokens are there: the device does not wait for the host. On the cpu backend an op has run when it
 * returns, so the launcher computes and the completer only hands on. step.h has a lane's memory.
 *
 *      submit(packet) ─► ticket          at most ENGINE_IN_FLIGHT tickets are open
 *      wait(ticket)   ─► tokens          tickets end in the order of their submission
 *
 * 1. A packet's bytes are copied by submit; the caller may reuse them at once.
 * 2. Between submit(N) and wait(N) the caller may submit N+1; rows of N+1 may use STEP_TOKEN_LAST
 *    for slots that N samples.
 * 3. A page named by a step in flight must not be reused for other content until wait() of that
 *    step has returned.
 * 4. After any status but OK from wait the engine is broken: the worker reports ERROR and exits.
 *
 * All calls from the loop thread; the engine has its own two threads behind them. engine_event_fd() is
 * readable (an eventfd) when a submitted step has completed and not yet been waited for.
 */
#ifndef MSGL_WORKER_ENGINE_ENGINE_H
#define MSGL_WORKER_ENGINE_ENGINE_H

#include "common/buf.h"
#include "common/status.h"
#include "worker/sched/batch.h"

#define ENGINE_IN_FLIGHT 2

struct engine;

/* Memory of the caller's for the KV pool, which may hold what an engine of the same `need` left there:
 * backend cpu and kind sim. Asked for once, in open, and written to only by steps; it must stay until
 * the engine is closed. */
struct engine_pool_need {
    const char *kind; /* what computes: pages of others are not readable */
    uint32_t pages;
    uint64_t page_bytes;
    uint64_t weights; /* hash of every byte of them */
};
struct engine_pool {
    enum status (*map)(void *ctx, const struct engine_pool_need *need, void **out, struct err *err);
    void *ctx;
};

struct engine_opts {
    const char *model_dir;
    const char *backend; /* "cpu" or "cuda"; NULL = the best that is built in and present */
    bool dummy_weights;  /* random weights from config.json alone */
    uint64_t dummy_seed;
    uint32_t page_size;       /* tokens; a power of two 1..256 */
    uint32_t slots;           /* running reqs at most */
    uint32_t step_tokens_max; /* tokens in one step at most */
    uint32_t context_max;     /* 0 = the model's own */
    uint64_t kv_bytes;        /* 0 = by memory_ratio */
    double memory_ratio; /* (0, 1] of what is free; 0 = a GPU: all of it but 1 GiB; a CPU: 0.25 */
    uint32_t threads;    /* cpu backend: 0 = the cores we may use */
    uint32_t gpu;        /* cuda: this rank's device */
    const char *attn;    /* cuda: attention's kernels, as device_opts; NULL = the best that runs */
    const char *plans;   /* folder of measured matmul plans; NULL = MSGL_HOME/plans */
    bool tune;           /* measure plans of all sizes at open, and keep them */
    bool no_graphs;      /* launch decode steps op by op */
    uint64_t fail_step;  /* the Nth step fails as on a broken device: for tests; 0 = none */
    bool pad_decode;     /* pad decode steps also where there are no graphs: for tests */
    int rank, tp;        /* tensor parallel: rank of tp */
    /* tp > 1: name of the group's rendezvous (shared-memory object or NCCL id file) */
    const char *comm;
    const struct engine_pool *pool; /* NULL: the device's memory */
    const char *sim_table;          /* sim.h: a preset or a JSON file; NULL = the first preset */
    double sim_speed;               /* sim.h: the device's seconds in one of ours; 0 = 1 */
};

struct engine_info {
    uint32_t vocab;       /* logits per row */
    uint32_t context_max; /* tokens of one req at most, the model's or the option's */
    uint32_t pages;       /* in the KV pool */
    uint64_t kv_bytes, weight_bytes;
    uint64_t weights_hash;
    struct step_limits limits;
    uint32_t features; /* enum feature: what packets may ask of sampling */
    char device[64];   /* "cpu, 2 threads, avx2" */
    /* First guess of the cost model, measured at open: what a step takes whatever is in it, and more. */
    double step_us, prefill_us_per_token, decode_us_per_row;
};

/* Whether the backend of that name (NULL: the best one present) is a GPU's. */
bool engine_on_gpu(const char *backend);

/* Loads the model and makes the pool. Blocking; seconds. */
enum status MUST_USE engine_open(const struct engine_opts *opts, struct engine **out,
                                 struct err *err);
void engine_close(struct engine *engine); /* waits for what is in flight */
const struct engine_info *engine_info(const struct engine *engine);

/* A grammar (common/automaton.h) that packets may name, until it is dropped. Copied. UNSUPPORTED when
 * info's features lack FEATURE_GRAMMAR. */
enum status MUST_USE engine_grammar_add(struct engine *engine, struct str automaton, uint32_t *id,
                                        struct err *err);
void engine_grammar_drop(struct engine *engine, uint32_t id);

enum status MUST_USE engine_submit(struct engine *engine, const struct step_packet *packet,
                                   uint64_t *ticket, struct err *err);

struct step_result {
    uint64_t step;
    const uint32_t *tokens; /* [sample_count], in the packet's order; valid until the next wait */
    uint32_t sample_count;
    uint64_t device_ns; /* how long the step ran */
    uint64_t launch_ns; /* what the launcher spent on it; of that, on block and plan: */
    uint64_t fill_ns;
    bool graph; /* launched as one graph */
    /* The packet's samples, then its scores; valid for those that asked. */
    const float *logprobs;
    const uint32_t *ranks;     /* of the drawn or scored token among all, from 1 */
    const uint32_t *top_ids;   /* [SAMPLING_TOP_MAX] each */
    const float *top_logprobs; /* [SAMPLING_TOP_MAX] each */
};
/* Blocks until the ticket's step is done. */
enum status MUST_USE engine_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                                 struct err *err);
int engine_event_fd(const struct engine *engine);

/* With opts.pool: XXH3 of the page's bytes in all layers. No step in flight writes to it. */
uint64_t engine_page_sum(const struct engine *engine, uint32_t page);

/* For tests and golden vectors: the last waited step's logits, [sample_count, vocab] f32, when the
 * engine was opened with keep_logits; else NULL. */
const float *engine_logits(const struct engine *engine);
void engine_keep_logits(struct engine *engine, bool keep); /* before the first submit */

#endif
