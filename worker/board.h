/* board - what a worker's process shows the world: metrics and the state behind its probes.
 *
 *   loop thread ──► board (one lock, held for microseconds) ──► admin thread: /metrics /health /ready
 *
 * Names of vLLM where the meaning is vLLM's, so that dashboards, KEDA and endpoint pickers made for it
 * read them as they are; our own otherwise. Every sample carries model_name. Any thread.
 */
#ifndef MSGL_WORKER_BOARD_H
#define MSGL_WORKER_BOARD_H

#include <pthread.h>

#include "common/metrics.h"
#include "worker/sched/scheduler.h"

enum board_metric {
    BOARD_RUNNING,
    BOARD_WAITING,
    BOARD_KV_USAGE,
    BOARD_PREEMPTIONS,
    BOARD_PROMPT_TOKENS,
    BOARD_GENERATED_TOKENS,
    BOARD_CACHE_QUERIES,
    BOARD_CACHE_HITS,
    BOARD_CACHE_CONFIG,
    BOARD_ROUTERS,
    BOARD_DRAINING,
    BOARD_PAGES_FREE,
    BOARD_STEPS,
    BOARD_STEP_SECONDS,
    BOARD_PLAN_SECONDS,
    BOARD_COMMIT_SECONDS,
    BOARD_STORE_RESTORED,
    BOARD_STORE_DROPPED,
    BOARD_STORE_SECONDS,
    BOARD_COUNT
};

struct board {
    pthread_mutex_t lock;
    struct metrics *metrics;
    char labels[640]; /* model_name="…" */
    uint64_t beat_ms; /* the loop's last turn */
    bool loading;     /* no loop yet: alive, not ready */
    bool ready;
    bool hung; /* a step is overdue by far */
    uint32_t pages;
};

void board_init(struct board *board, const char *model_name);
void board_release(struct board *board);

/* A turn of the loop, at least every 100 ms. */
void board_beat(struct board *board, uint64_t now_ms, bool ready, bool hung);
void board_sizes(struct board *board, uint32_t pages, uint32_t page_size);
void board_restored(struct board *board, uint32_t restored, uint32_t dropped, double seconds);
void board_plan(struct board *board, uint64_t cpu_ns);
void board_commit(struct board *board, uint64_t device_ns, uint64_t cpu_ns, uint32_t tokens);
/* Gauges and totals, now and then. */
void board_load(struct board *board, const struct sched_load *load, uint32_t routers,
                bool draining);

/* NULL: fine. Else why not. */
const char *board_health(struct board *board, uint64_t now_ms);
const char *board_ready(struct board *board, uint64_t now_ms);
void board_write(struct board *board, struct buf *out);

#endif
