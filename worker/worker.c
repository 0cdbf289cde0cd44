#include "worker/worker.h"

#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/hub.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"

#define MODEL_FILE_BYTES_MAX (256u << 20)
#define MIB                  (UINT64_C(1) << 20)

/* Hashes of the two files that say what tokens mean. A model made for --dummy-weights may have no
 * tokenizer: then its bytes are none. */
static enum status hash_model(const struct worker_config *config, const char *dir,
                              struct frame_hello *hello, struct err *err)
{
    char *config_path = path_join(dir, "config.json"),
         *tokens_path = path_join(dir, "tokenizer.json");
    struct buf config_text = {0}, tokens_text = {0};
    enum status status;

    TRY_OUT(file_read(config_path, MODEL_FILE_BYTES_MAX, &config_text, err));
    if (file_exists(tokens_path) || !config->dummy_weights)
        TRY_OUT(file_read(tokens_path, MODEL_FILE_BYTES_MAX, &tokens_text, err));
    hello->tokenizer_hash = hash_bytes(tokens_text.len ? tokens_text.data : "", tokens_text.len);
    hello->fingerprint =
        model_fingerprint(config_text.data, config_text.len,
                          tokens_text.len ? tokens_text.data : "", tokens_text.len);
out:
    buf_release(&config_text);
    buf_release(&tokens_text);
    mem_free(config_path);
    mem_free(tokens_path);
    return status;
}

static void on_progress(void *ctx, const char *file, uint64_t done_bytes, uint64_t total_bytes)
{
    uint64_t *last_tenth = ctx, tenth = total_bytes ? done_bytes * 10 / total_bytes : 0;
    if (tenth != *last_tenth)
        LOG_INFO("worker", "download", "file=%s mib=%llu of=%llu", file,
                 (unsigned long long)(done_bytes / MIB), (unsigned long long)(total_bytes / MIB));
    *last_tenth = tenth;
}

struct engine_opts worker_engine_opts(const struct worker_config *config, const char *model_dir,
                                      const char *comm)
{
    return (struct engine_opts){
        .model_dir = model_dir,
        .backend = config->backend,
        .dummy_weights = config->dummy_weights,
        .dummy_seed = config->dummy_seed,
        .page_size = (uint32_t)config->page_size,
        .slots = (uint32_t)config->running_max,
        .step_tokens_max = (uint32_t)config->step_tokens,
        .context_max = (uint32_t)config->context_max,
        .kv_bytes = config->kv_mib * MIB,
        .memory_ratio = config->memory_ratio,
        .attn = config->attn == WORKER_ATTN_AUTO ? NULL
                : config->attn == WORKER_ATTN_FA ? "fa"
                                                 : "generic",
        .gpu = (uint32_t)(config->gpu + config->rank % (config->tp / config->nnodes)),
        .plans = config->plans,
        .tune = config->tune,
        .no_graphs = config->no_graphs,
        .fail_step = config->fail_step,
        .threads = (uint32_t)config->threads,
        .rank = (int)config->rank,
        .tp = (int)config->tp,
        .comm = comm,
        .sim_table = config->sim_table,
        .sim_speed = config->sim_speed,
    };
}

/* All ranks open theirs at the same time. */
static enum status open_engine(struct worker *worker, struct err *err)
{
    const char *comm = worker->config->tp > 1 ? worker->ranks.comm : NULL;
    struct engine_opts opts = worker_engine_opts(worker->config, worker->model_dir, comm);
    const struct engine_pool pool = {kv_store_map, &worker->store};

    if (worker->config->kv_store) {
        worker->store.fingerprint = worker->hello.fingerprint;
        worker->store.page_size = (uint32_t)worker->config->page_size;
        opts.pool = &pool;
    }
    TRY(ranks_start(worker, err));
    TRY(worker->kind->open(&opts, &worker->engine, err));
    return ranks_wait_ready(worker, err);
}

static uint64_t page_sum(void *ctx, uint32_t page)
{
    const struct worker *worker = ctx;
    return worker->kind->page_sum(worker->engine, page);
}

/* What the tree began with. */
static void tell_restored(const struct worker *worker, double seconds)
{
    const struct kv_store *store = &worker->store;
    if (store->fresh)
        LOG_INFO("worker", "store_empty", "path=%s reason=\"%s\"", store->path, store->fresh);
    else
        LOG_INFO("worker", "store_restored", "path=%s pages=%u dropped=%u seconds=%.3f",
                 store->path, store->mirror.restored, store->mirror.dropped, seconds);
    if (worker->board)
        board_restored(worker->board, store->mirror.restored, store->mirror.dropped, seconds);
}

/* The pool keeps a page back, so that the longest req can still be decoded. */
static uint32_t length_max(const struct worker *worker)
{
    const struct engine_info *info = worker->kind->info(worker->engine);
    uint64_t pool = info->pages > 1 ? (uint64_t)(info->pages - 1) * worker->config->page_size : 1;
    return (uint32_t)MIN(MIN((uint64_t)info->context_max, pool), PROTO_PROMPT_TOKENS_MAX);
}

static enum status open_scheduler(struct worker *worker, struct err *err)
{
    const struct worker_config *config = worker->config;
    const struct engine_info *info = worker->kind->info(worker->engine);
    /* The scheduler's times are those of the device, the loop's clock is ours. */
    double speed = worker->kind->weights ? 1 : config->sim_speed;
    struct sched_opts opts = {
        .pages = info->pages,
        .page_size = (uint32_t)config->page_size,
        .slots = (uint32_t)config->running_max,
        .waiting_max = (uint32_t)config->waiting_max,
        .context_max = length_max(worker),
        .step_tokens = (uint32_t)config->step_tokens,
        .chunk_tokens = (uint32_t)config->chunk_tokens,
        .step_ms = config->step_ms / speed,
        .step_us = info->step_us,
        .prefill_us_per_token = info->prefill_us_per_token,
        .decode_us_per_row = info->decode_us_per_row,
        .cache = config->cache == WORKER_CACHE_RADIX,
        .prefix_groups = config->prefix_groups,
        .age_ms = (uint32_t)((double)config->age_ms / speed),
        .fingerprint = worker->hello.fingerprint,
    };
    if (config->kv_store) {
        worker->store.mirror.page_sum = page_sum;
        worker->store.mirror.ctx = worker;
        opts.mirror = &worker->store.mirror;
    }
    uint64_t start_ns = clock_now_ns();
    TRY(scheduler_new(&opts, &worker->scheduler, err));
    if (config->kv_store)
        tell_restored(worker, (double)(clock_now_ns() - start_ns) * 1e-9);
    worker->event_max = scheduler_event_max(worker->scheduler);
    worker->events = mem_array(worker->event_max, sizeof(*worker->events));
    worker->block = mem_aligned(step_packet_bytes_max(&info->limits), 64);
    return STATUS_OK;
}

static void fill_hello(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    const struct engine_info *info = worker->kind->info(worker->engine);
    struct frame_hello *hello = &worker->hello;

    hello->version = PROTO_VERSION;
    hello->worker = str_from(config->id);
    hello->epoch = worker->epoch;
    hello->model = str_from(config->served_model_name);
    hello->weights_hash = info->weights_hash;
    hello->page_size = (uint32_t)config->page_size;
    hello->length_max = length_max(worker);
    hello->pages = info->pages;
    hello->tp = (uint32_t)config->tp;
    hello->features = info->features;
    hello->slots = (uint32_t)(config->running_max + config->waiting_max);
}

enum status worker_open(const struct worker_config *config, struct children *children,
                        struct board *board, struct worker *worker, struct err *err)
{
    uint64_t last_tenth = 0;
    struct hub_opts hub = {.progress = on_progress, .ctx = &last_tenth};

    memset(worker, 0, sizeof(*worker));
    worker->config = config;
    worker->children = children;
    worker->board = board;
    worker->epoch = rng_os() | 1;
    worker->kind = engine_kind_of(config->engine);
    enum hub_want want = worker->kind->weights ? HUB_WANT_ALL : HUB_WANT_NO_WEIGHTS;
    arena_init(&worker->arena);
    if (config->kv_store)
        TRY(kv_store_open(config->kv_store, &worker->store, err));
    TRY(hub_resolve(config->model, want, &hub, &worker->model_dir, err));
    TRY(hash_model(config, worker->model_dir, &worker->hello, err));
    TRY(open_engine(worker, err));
    TRY(open_scheduler(worker, err));
    fill_hello(worker);
    /* Twice the credits: reqs that were cancelled hold an entry until their step is done. */
    req_table_init(&worker->reqs, 2 * worker->hello.slots);
    outbox_init(worker);
    if (board)
        board_sizes(board, worker->hello.pages, worker->hello.page_size);
    LOG_INFO("worker", "ready", "model=%s device=\"%s\" pages=%u length_max=%u credits=%u",
             config->served_model_name, worker->kind->info(worker->engine)->device,
             worker->hello.pages, worker->hello.length_max, worker->hello.slots);
    return STATUS_OK;
}

void worker_forget(struct worker *worker, struct req_entry *entry)
{
    if (entry->grammar) {
        worker->kind->grammar_drop(worker->engine, entry->grammar);
        ranks_grammar_drop(worker, entry->grammar);
    }
    if (entry->link)
        entry->link->req_count--;
    req_table_remove(&worker->reqs, entry);
}

void worker_close(struct worker *worker)
{
    links_release(worker);
    ranks_stop(worker);
    outbox_release(worker);
    req_table_release(&worker->reqs);
    if (worker->engine)
        worker->kind->close(worker->engine);
    if (worker->scheduler)
        scheduler_free(worker->scheduler);
    kv_store_close(&worker->store);
    mem_free(worker->block);
    mem_free(worker->events);
    mem_free(worker->tokens);
    arena_release(&worker->arena);
    mem_free(worker->model_dir);
    memset(worker, 0, sizeof(*worker));
}
