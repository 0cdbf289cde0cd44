/* engine - turns step packets into next tokens. Knows steps; knows no req, no socket.
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
 * All calls from the loop thread; the engine has its own thread behind them. engine_event_fd() is
 * readable (an eventfd) when a submitted step has completed and not yet been waited for.
 */
#ifndef MSGL_WORKER_ENGINE_ENGINE_H
#define MSGL_WORKER_ENGINE_ENGINE_H

#include "common/status.h"
#include "worker/sched/batch.h"

#define ENGINE_IN_FLIGHT 2

struct engine;

struct engine_opts {
    const char *model_dir;
    const char *backend;      /* "cpu" or "cuda"; NULL = the best that is built in and present */
    bool dummy_weights;       /* random weights from config.json alone */
    uint64_t dummy_seed;
    uint32_t page_size;       /* tokens; a power of two 1..256 */
    uint32_t slots;           /* running reqs at most */
    uint32_t step_tokens_max; /* tokens in one step at most */
    uint32_t context_max;     /* 0 = the model's own */
    uint64_t kv_bytes;        /* 0 = memory_ratio of what is free */
    double memory_ratio;      /* (0, 1] */
    uint32_t threads;         /* cpu backend: 0 = the cores we may use */
    int rank, tp;             /* tensor parallel: rank of tp */
    const char *comm;         /* tp > 1: name of the group's rendezvous (shared-memory object or NCCL id file) */
    const char *sim_table;    /* sim.h: a preset or a JSON file; NULL = the first preset */
    double sim_speed;         /* sim.h: the device's seconds in one of ours; 0 = 1 */
};

struct engine_info {
    uint32_t vocab;       /* logits per row */
    uint32_t context_max; /* tokens of one req at most, the model's or the option's */
    uint32_t pages;       /* in the KV pool */
    uint64_t kv_bytes, weight_bytes;
    uint64_t weights_hash;
    struct step_limits limits;
    uint32_t features;    /* enum feature: what packets may ask of sampling */
    char device[64];      /* "cpu, 2 threads, avx2" */
    double prefill_us_per_token, decode_us_per_row; /* first guess of the cost model; measured at open */
};

/* Loads the model and makes the pool. Blocking; seconds. */
enum status MUST_USE engine_open(const struct engine_opts *opts, struct engine **out,
                                 struct err *err);
void engine_close(struct engine *engine); /* waits for what is in flight */
const struct engine_info *engine_info(const struct engine *engine);

enum status MUST_USE engine_submit(struct engine *engine, const struct step_packet *packet,
                                   uint64_t *ticket, struct err *err);

struct step_result {
    uint64_t step;
    const uint32_t *tokens; /* [sample_count], in the packet's order; valid until the next wait */
    uint32_t sample_count;
    uint64_t device_ns;     /* how long the step ran */
    /* The packet's samples, then its scores; valid for those that asked. */
    const float *logprobs;
    const uint32_t *top_ids;   /* [SAMPLING_TOP_MAX] each */
    const float *top_logprobs; /* [SAMPLING_TOP_MAX] each */
};
/* Blocks until the ticket's step is done. */
enum status MUST_USE engine_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                                 struct err *err);
int engine_event_fd(const struct engine *engine);

/* For tests and golden vectors: the last waited step's logits, [sample_count, vocab] f32, when the
 * engine was opened with keep_logits; else NULL. */
const float *engine_logits(const struct engine *engine);
void engine_keep_logits(struct engine *engine, bool keep); /* before the first submit */

#endif
