/* config - the options of msgl-worker, checked. */
#ifndef MSGL_WORKER_CONFIG_H
#define MSGL_WORKER_CONFIG_H

#include "common/config.h"
#include "common/log.h"

struct worker_config {
    const char *model; /* folder or ORG/NAME */
    const char *served_model_name;
    struct config_list routers; /* "tcp://NAME:PORT" */
    const char *id;
    const char *backend;
    uint64_t gpu;
    const char *plans;
    bool tune;
    uint32_t attn;   /* enum worker_attn */
    uint32_t engine; /* of ENGINE_KINDS */
    const char *sim_table;
    double sim_speed;
    bool dummy_weights;
    uint64_t dummy_seed;
    uint64_t page_size; /* tokens */
    uint64_t running_max, waiting_max;
    double memory_ratio;
    uint64_t kv_mib;
    const char *kv_store; /* folder */
    uint64_t chunk_tokens, step_tokens;
    double step_ms;
    uint32_t cache; /* enum worker_cache */
    bool prefix_groups;
    bool no_overlap;
    bool no_graphs;
    uint64_t fail_step;
    uint64_t age_ms;
    uint64_t threads;
    uint64_t tp, nnodes, node_rank;
    uint64_t rank;      /* 0 leads; else a follower */
    bool rank_is_child; /* started by the first rank of its node */
    const char *master; /* "HOST:PORT" where rank 0 listens; NULL: it picks a port */
    uint64_t rank_dead_ms;
    const char *admin_host;
    uint64_t admin_port;
    char **argv; /* of main: this node's other ranks are started with it */
    uint64_t context_max;
    uint64_t router_dead_ms;
    uint64_t drain_timeout_s;
    const char *wire_key_file, *wire_router_key_file;
    bool wire_plain;
    uint32_t log_level; /* enum log_level */
};

enum worker_attn { WORKER_ATTN_AUTO, WORKER_ATTN_FA, WORKER_ATTN_GENERIC };
enum worker_cache { WORKER_CACHE_RADIX, WORKER_CACHE_NAIVE };

extern const struct config_spec worker_spec;

/* Fills *config and checks what one row cannot: page size, routers, a model. After
 * CONFIG_ACTION_RUN `id` and `served_model_name` are set. */
enum status MUST_USE worker_config_parse(int argc, char **argv, struct worker_config *config,
                                         enum config_action *action, struct err *err);

#endif
