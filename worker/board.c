#include "worker/board.h"

#include <stdio.h>
#include <string.h>

#define STUCK_MS 10000 /* the loop turns every 100 ms */

static const double step_buckets[] = {0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03,
                                      0.05,  0.075, 0.1,   0.15,  0.25,  0.5,  1,     2.5,  10};
static const double cpu_buckets[] = {0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005,
                                     0.001,   0.002,   0.005,   0.01,   0.05,   0.25};

#define GAUGE(name, help)                                                                          \
    {                                                                                              \
        name, METRIC_GAUGE, help, NULL, 0                                                          \
    }
#define COUNTER(name, help)                                                                        \
    {                                                                                              \
        name, METRIC_COUNTER, help, NULL, 0                                                        \
    }
#define HISTOGRAM(name, buckets, help)                                                             \
    {                                                                                              \
        name, METRIC_HISTOGRAM, help, buckets, ARRAY_LEN(buckets)                                  \
    }

static const struct metric_family families[] = {
    [BOARD_RUNNING] = GAUGE("vllm:num_requests_running", "reqs in the running batch"),
    [BOARD_WAITING] = GAUGE("vllm:num_requests_waiting", "reqs that wait for a slot or pages"),
    [BOARD_KV_USAGE] =
        GAUGE("vllm:kv_cache_usage_perc", "share of KV pages that running reqs hold, 0 to 1"),
    [BOARD_PREEMPTIONS] =
        COUNTER("vllm:num_preemptions_total", "reqs sent back to waiting for want of pages"),
    [BOARD_PROMPT_TOKENS] = COUNTER("vllm:prompt_tokens_total", "prompt tokens of admitted reqs"),
    [BOARD_GENERATED_TOKENS] = COUNTER("vllm:generation_tokens_total", "tokens generated"),
    [BOARD_CACHE_QUERIES] =
        COUNTER("vllm:prefix_cache_queries_total", "prompt tokens looked up in the prefix cache"),
    [BOARD_CACHE_HITS] = COUNTER("vllm:prefix_cache_hits_total", "prompt tokens found there"),
    [BOARD_CACHE_CONFIG] = GAUGE("vllm:cache_config_info", "sizes of the KV pool, as labels"),
    [BOARD_ROUTERS] = GAUGE("msgl_worker_routers", "routers that have welcomed this worker"),
    [BOARD_DRAINING] = GAUGE("msgl_worker_draining", "1: it takes no new reqs"),
    [BOARD_PAGES_FREE] = GAUGE("msgl_worker_pages_free", "pages free or evictable"),
    [BOARD_STEPS] = COUNTER("msgl_worker_steps_total", "steps completed"),
    [BOARD_STEP_SECONDS] =
        HISTOGRAM("msgl_worker_step_seconds", step_buckets, "how long a step ran on the device"),
    [BOARD_PLAN_SECONDS] =
        HISTOGRAM("msgl_worker_plan_seconds", cpu_buckets,
                  "CPU time of planning a step: matching, allocation and eviction of pages"),
    [BOARD_COMMIT_SECONDS] = HISTOGRAM("msgl_worker_commit_seconds", cpu_buckets,
                                       "CPU time of taking a step's tokens in and sending them"),
    [BOARD_STORE_RESTORED] =
        GAUGE("msgl_worker_store_restored_pages", "cached pages found in --kv-store at start"),
    [BOARD_STORE_DROPPED] = GAUGE("msgl_worker_store_dropped_pages",
                                  "pages found there damaged, or below a damaged one"),
    [BOARD_STORE_SECONDS] =
        GAUGE("msgl_worker_store_restore_seconds", "how long checking and taking them took"),
};

static void make_label(const char *model_name, char *out, size_t room)
{
    size_t len = (size_t)snprintf(out, room, "model_name=\"");
    for (const char *c = model_name; *c && len + 4 < room; c++) {
        if (*c == '"' || *c == '\\' || *c == '\n')
            out[len++] = '\\';
        out[len++] = *c == '\n' ? 'n' : *c;
    }
    out[len++] = '"';
    out[len] = 0;
}

void board_init(struct board *board, const char *model_name)
{
    memset(board, 0, sizeof(*board));
    pthread_mutex_init(&board->lock, NULL);
    board->metrics = metrics_new(families, BOARD_COUNT);
    board->loading = true;
    make_label(model_name, board->labels, sizeof(board->labels));
}

void board_release(struct board *board)
{
    metrics_free(board->metrics);
    pthread_mutex_destroy(&board->lock);
}

void board_beat(struct board *board, uint64_t now_ms, bool ready, bool hung)
{
    pthread_mutex_lock(&board->lock);
    board->beat_ms = now_ms;
    board->loading = false;
    board->ready = ready;
    board->hung = hung;
    pthread_mutex_unlock(&board->lock);
}

void board_sizes(struct board *board, uint32_t pages, uint32_t page_size)
{
    char labels[sizeof(board->labels) + 96];

    pthread_mutex_lock(&board->lock);
    board->pages = pages;
    snprintf(labels, sizeof(labels), "%s,block_size=\"%u\",num_gpu_blocks=\"%u\"", board->labels,
             page_size, pages);
    metrics_set(board->metrics, BOARD_CACHE_CONFIG, labels, 1);
    pthread_mutex_unlock(&board->lock);
}

void board_restored(struct board *board, uint32_t restored, uint32_t dropped, double seconds)
{
    pthread_mutex_lock(&board->lock);
    metrics_set(board->metrics, BOARD_STORE_RESTORED, board->labels, restored);
    metrics_set(board->metrics, BOARD_STORE_DROPPED, board->labels, dropped);
    metrics_set(board->metrics, BOARD_STORE_SECONDS, board->labels, seconds);
    pthread_mutex_unlock(&board->lock);
}

void board_plan(struct board *board, uint64_t cpu_ns)
{
    pthread_mutex_lock(&board->lock);
    metrics_observe(board->metrics, BOARD_PLAN_SECONDS, board->labels, (double)cpu_ns * 1e-9);
    pthread_mutex_unlock(&board->lock);
}

void board_commit(struct board *board, uint64_t device_ns, uint64_t cpu_ns, uint32_t tokens)
{
    pthread_mutex_lock(&board->lock);
    metrics_observe(board->metrics, BOARD_STEP_SECONDS, board->labels, (double)device_ns * 1e-9);
    metrics_observe(board->metrics, BOARD_COMMIT_SECONDS, board->labels, (double)cpu_ns * 1e-9);
    metrics_add(board->metrics, BOARD_GENERATED_TOKENS, board->labels, tokens);
    pthread_mutex_unlock(&board->lock);
}

static void set_total(struct board *board, enum board_metric family, uint64_t total)
{
    double now = metrics_get(board->metrics, family, board->labels);
    metrics_add(board->metrics, family, board->labels, (double)total - now);
}

void board_load(struct board *board, const struct sched_load *load, uint32_t routers, bool draining)
{
    uint32_t held = board->pages > load->pages_free ? board->pages - load->pages_free : 0;

    pthread_mutex_lock(&board->lock);
    metrics_set(board->metrics, BOARD_RUNNING, board->labels, load->running);
    metrics_set(board->metrics, BOARD_WAITING, board->labels, load->waiting);
    metrics_set(board->metrics, BOARD_KV_USAGE, board->labels,
                board->pages ? (double)held / board->pages : 0);
    metrics_set(board->metrics, BOARD_PAGES_FREE, board->labels, load->pages_free);
    metrics_set(board->metrics, BOARD_ROUTERS, board->labels, routers);
    metrics_set(board->metrics, BOARD_DRAINING, board->labels, draining);
    set_total(board, BOARD_PREEMPTIONS, load->retractions);
    set_total(board, BOARD_PROMPT_TOKENS, load->prompt_tokens);
    set_total(board, BOARD_CACHE_QUERIES, load->prompt_tokens);
    set_total(board, BOARD_CACHE_HITS, load->cached_tokens);
    set_total(board, BOARD_STEPS, load->steps);
    metrics_add(board->metrics, BOARD_GENERATED_TOKENS, board->labels, 0);
    pthread_mutex_unlock(&board->lock);
}

const char *board_health(struct board *board, uint64_t now_ms)
{
    const char *why = NULL;

    pthread_mutex_lock(&board->lock);
    if (!board->loading && now_ms > board->beat_ms && now_ms - board->beat_ms > STUCK_MS)
        why = "the loop is stuck";
    else if (board->hung)
        why = "a step hangs";
    pthread_mutex_unlock(&board->lock);
    return why;
}

const char *board_ready(struct board *board, uint64_t now_ms)
{
    const char *why = board_health(board, now_ms);

    pthread_mutex_lock(&board->lock);
    if (!why && board->loading)
        why = "the model is loading";
    else if (!why && !board->ready)
        why = "no router has welcomed this worker, or it drains";
    pthread_mutex_unlock(&board->lock);
    return why;
}

void board_write(struct board *board, struct buf *out)
{
    pthread_mutex_lock(&board->lock);
    metrics_write(board->metrics, out);
    pthread_mutex_unlock(&board->lock);
}
