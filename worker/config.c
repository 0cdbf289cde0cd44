#include "worker/config.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/hub.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "proto/frames.h"
#include "worker/engine/kinds.h"
#include "worker/engine/sim_table.h"
#include "worker/resolver.h"

#define W struct worker_config

static const struct option options[] = {
    OPTION_STRING(W, model, "model", NULL, NULL, "model folder, or ORG/NAME of a hub"),
    OPTION_STRING(W, served_model_name, "served-model-name", NULL, NULL,
                  "name that clients use; default: the folder's name, or ORG/NAME"),
    OPTION_LIST(W, routers, "router",
                "tcp://NAME:PORT of routers; each address of NAME is one; repeatable"),
    OPTION_STRING(W, id, "id", NULL, NULL, "stable name of this worker; default: HOST-PID"),
    OPTION_STRING(W, backend, "backend", NULL, NULL, "cpu or cuda; default: the best one here"),
    OPTION_UINT(W, gpu, "gpu", "0", 0, 63,
                "number of the GPU; with --tp, of the machine's first rank"),
    OPTION_CHOICE(W, attn, "attn", "auto", "auto|fa|generic",
                  "attention on a GPU: fa (ours for Hopper) or generic; auto: the best that runs"),
    OPTION_STRING(W, plans, "plans", NULL, NULL,
                  "folder of measured matmul plans of GPUs; default: MSGL_HOME/plans"),
    OPTION_BOOL(W, tune, "tune", "false", NULL,
                "measure a GPU's matmul plans for this model at start, some 20 s, and keep them"),
    OPTION_CHOICE(W, engine, "engine", "model", ENGINE_KINDS,
                  "the model on a device, or a timing model of one"),
    OPTION_STRING(W, sim_table, "sim-table", NULL, NULL,
                  "--engine sim: " SIM_PRESETS ", or a JSON file; default: the first"),
    OPTION_FLOAT(W, sim_speed, "sim-speed", "1", 0.001, 10000,
                 "--engine sim: seconds of the device in one of ours"),
    OPTION_BOOL(W, dummy_weights, "dummy-weights", "false", NULL,
                "random weights, from config.json alone"),
    OPTION_UINT(W, dummy_seed, "dummy-seed", "1", 0, 0, "seed of --dummy-weights"),
    OPTION_UINT(W, page_size, "page-size", "16", 1, 256, "tokens a KV page, a power of two"),
    OPTION_UINT(W, running_max, "max-running", "0", 0, 4096,
                "reqs in a step at most; 0 = 64 on a CPU, 256 on a GPU"),
    OPTION_UINT(W, waiting_max, "max-waiting", "256", 1, 65536, "reqs waiting at most"),
    OPTION_FLOAT(W, memory_ratio, "memory-ratio", "0", 0, 1,
                 "share of the free memory for the model and KV pages; 0 = on a GPU all but 1 GiB, "
                 "on a CPU 0.25"),
    OPTION_UINT(W, kv_mib, "kv-mib", "0", 0, 1 << 24, "KV pool in MiB; 0 = by --memory-ratio"),
    OPTION_STRING(
        W, kv_store, "kv-store", NULL, NULL,
        "folder in which cached KV pages outlive the process, one worker's own; cpu and sim "
        "only, with --kv-mib; default: none"),
    OPTION_UINT(W, chunk_tokens, "chunk-tokens", "2048", 0, 1 << 20,
                "tokens of one prompt in a step at most, and half a step; 0 = unchunked"),
    OPTION_UINT(W, step_tokens, "step-tokens", "0", 0, 1 << 20,
                "tokens in a step at most; 0 = 1024 on a CPU, 8192 on a GPU"),
    OPTION_FLOAT(W, step_ms, "step-ms", "-1", -1, 60000,
                 "ms that a step may take while streams run, by the cost model, a quarter more "
                 "where that ends a prompt; 0 = no bound; -1 = 100 on a CPU, 25 on a GPU"),
    OPTION_CHOICE(W, cache, "cache", "radix", "radix|naive", "prefix cache, or none"),
    OPTION_BOOL(W, prefix_groups, "prefix-groups", "true", NULL,
                "read a shared prefix once a step"),
    {"no-overlap", OPTION_TYPE_BOOL, offsetof(W, no_overlap), "false", 0, 0, NULL,
     "MSGL_DISABLE_OVERLAP_SCHEDULING", "plan a step only when the one before is done"},
    {"no-graphs", OPTION_TYPE_BOOL, offsetof(W, no_graphs), "false", 0, 0, NULL,
     "MSGL_DISABLE_GRAPHS", "launch decode steps op by op, not as CUDA graphs"},
    {"disable-overlap-scheduling", OPTION_TYPE_BOOL, offsetof(W, no_overlap), NULL, 0, 0, NULL,
     "MINISGL_DISABLE_OVERLAP_SCHEDULING", "the same, by mini-sglang's name"},
    {"fail-step", OPTION_TYPE_UINT, offsetof(W, fail_step), "0", 0, 0, NULL, "MSGL_FAIL_STEP",
     "for tests: the engine fails at its Nth step; 0 = never"},
    OPTION_UINT(W, age_ms, "age-ms", "2000", 0, 3600000,
                "a req that waited this many ms goes before any cached prefix"),
    OPTION_UINT(W, threads, "threads", "0", 0, 1024, "CPU threads; 0 = all cores"),
    OPTION_UINT(W, tp, "tp", "1", 1, 64, "tensor-parallel ranks, of all nodes together"),
    OPTION_UINT(W, nnodes, "nnodes", "1", 1, 64, "machines that the ranks are spread over"),
    OPTION_UINT(W, node_rank, "node-rank", "0", 0, 63, "which of them this is; 0 talks to routers"),
    OPTION_STRING(W, master, "master", NULL, NULL,
                  "HOST:PORT of node 0 for the other nodes' ranks; needed by --nnodes"),
    OPTION_UINT(W, rank_dead_ms, "rank-dead-ms", "2000", 500, 600000,
                "a rank that is silent for so long takes the worker down; a step that hangs for "
                "five times that, ms"),
    OPTION_STRING(W, admin_host, "admin-host", "127.0.0.1", NULL, "address of metrics and probes"),
    OPTION_UINT(W, admin_port, "admin-port", "0", 0, 65535,
                "port of metrics and probes (/metrics, /health, /ready), 0 = off"),
    OPTION_UINT(W, rank, "rank", "0", 0, 63, "set by a worker for the ranks that it starts"),
    OPTION_UINT(W, context_max, "context-max", "0", 0, PROTO_PROMPT_TOKENS_MAX,
                "tokens of one req at most; 0 = the model's. Longrope: its short factors up to "
                "original_max_position_embeddings, beyond it the long ones"),
    OPTION_UINT(W, router_dead_ms, "router-dead-ms", "3000", 500, 600000,
                "a router that is silent for so many ms is gone: its reqs are freed"),
    OPTION_UINT(W, drain_timeout_s, "drain-timeout", "30", 0, 86400,
                "seconds that running reqs get after SIGTERM; then they move to other workers"),
    OPTION_STRING(W, wire_key_file, "wire-key-file", NULL, NULL,
                  "file with the worker's CURVE public and secret key, one a line"),
    OPTION_STRING(W, wire_router_key_file, "wire-router-key-file", NULL, NULL,
                  "file with the routers' public key"),
    OPTION_BOOL(W, wire_plain, "wire-plain", "false", NULL,
                "connect beyond this machine without keys"),
    OPTION_CHOICE(W, log_level, "log-level", "info", "debug|info|warn|error", "least level logged"),
};

const struct config_spec worker_spec = {"msgl-worker", "runs a model for msgl's routers", options,
                                        ARRAY_LEN(options)};

static char *default_id(void)
{
    struct buf id = {0};
    char host[64];

    if (gethostname(host, sizeof(host)) != 0)
        snprintf(host, sizeof(host), "worker");
    host[sizeof(host) - 1] = 0;
    buf_printf(&id, "%s-%d", host, (int)getpid());
    return id.data;
}

static bool name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= PROTO_NAME_BYTES_MAX && utf8_valid(name, len);
}

static bool master_valid(const char *master)
{
    const char *colon = strrchr(master, ':');
    return colon && colon > master && strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
           strlen(colon + 1) >= 1 && strlen(colon + 1) <= 5;
}

/* Which rank this process is, and what that needs. */
static enum status check_ranks(struct worker_config *config, struct err *err)
{
    uint64_t per_node = config->tp / config->nnodes;

    if (config->tp % config->nnodes != 0)
        return err_set(err, STATUS_INVALID, "--tp %u cannot be spread evenly over --nnodes %u",
                       (unsigned)config->tp, (unsigned)config->nnodes);
    if (config->node_rank >= config->nnodes)
        return err_set(err, STATUS_INVALID, "--node-rank %u is not below --nnodes %u",
                       (unsigned)config->node_rank, (unsigned)config->nnodes);
    config->rank_is_child = config->rank > 0;
    if (!config->rank_is_child)
        config->rank = config->node_rank * per_node;
    if (config->rank >= config->tp)
        return err_set(err, STATUS_INVALID, "--rank %u is not below --tp %u",
                       (unsigned)config->rank, (unsigned)config->tp);
    if (!config->master && (config->nnodes > 1 || config->rank > 0))
        return err_set(err, STATUS_INVALID, "give node 0's address: --master HOST:PORT");
    if (config->master && !master_valid(config->master))
        return err_set(err, STATUS_INVALID, "--master must be HOST:PORT, not \"%.100s\"",
                       config->master);
    if (per_node > 1 && config->threads == 0)
        config->threads = MAX((uint64_t)get_nprocs() / per_node, UINT64_C(1));
    return STATUS_OK;
}

/* What a device does well: a GPU needs more work in a step to be busy, and has it done sooner. */
static void fill_sizes(struct worker_config *config)
{
    bool given = config->running_max > 0 && config->step_tokens > 0 && config->step_ms >= 0;
    bool gpu = !given && engine_kind_of(config->engine)->weights && engine_on_gpu(config->backend);
    if (config->running_max == 0)
        config->running_max = gpu ? 256 : 64;
    if (config->step_tokens == 0)
        config->step_tokens = gpu ? 8192 : 1024;
    if (config->step_ms < 0)
        config->step_ms = gpu ? 25 : 100;
    /* A step decodes every running req. */
    config->step_tokens = MAX(config->step_tokens, config->running_max);
    config->chunk_tokens = MIN(config->chunk_tokens, MAX(config->step_tokens / 2, 1u));
}

/* Which pools can lie in a file. */
static enum status check_store(const struct worker_config *config, struct err *err)
{
    if (!config->kv_store)
        return STATUS_OK;
    if (config->cache != WORKER_CACHE_RADIX)
        return err_set(err, STATUS_INVALID, "--kv-store keeps what --cache radix holds");
    if (config->tp > 1)
        return err_set(err, STATUS_INVALID,
                       "--kv-store is for --tp 1: ranks that are killed leave different pages");
    if (!engine_kind_of(config->engine)->weights)
        return STATUS_OK;
    if (engine_on_gpu(config->backend))
        return err_set(err, STATUS_INVALID,
                       "--kv-store is for --backend cpu: a GPU's pool ends with its process");
    if (config->kv_mib == 0)
        return err_set(err, STATUS_INVALID,
                       "--kv-store needs --kv-mib: a pool by free memory differs at each start");
    return STATUS_OK;
}

static enum status check(struct worker_config *config, struct err *err)
{
    if (!config->model)
        return err_set(err, STATUS_INVALID, "give a model: --model DIR or --model ORG/NAME");
    TRY(check_ranks(config, err));
    TRY(check_store(config, err));
    if (config->routers.count == 0 && config->rank == 0)
        return err_set(err, STATUS_INVALID, "give a router: --router tcp://NAME:PORT");
    TRY(resolver_check(&config->routers, err));
    if ((config->page_size & (config->page_size - 1)) != 0)
        return err_set(err, STATUS_INVALID, "--page-size must be a power of two, not %llu",
                       (unsigned long long)config->page_size);
    if (!config->id)
        config->id = default_id();
    if (!config->served_model_name)
        config->served_model_name = hub_served_name(config->model);
    if (!name_valid(config->id) || !name_valid(config->served_model_name))
        return err_set(err, STATUS_INVALID,
                       "--id and --served-model-name must be 1 to %d bytes of valid UTF-8",
                       PROTO_NAME_BYTES_MAX);
    fill_sizes(config);
    return STATUS_OK;
}

enum status worker_config_parse(int argc, char **argv, struct worker_config *config,
                                enum config_action *action, struct err *err)
{
    TRY(config_parse(&worker_spec, argc, argv, config, action, err));
    config->argv = argv;
    return *action == CONFIG_ACTION_RUN ? check(config, err) : STATUS_OK;
}
