/* bench_offline - the four offline workloads through scheduler and engine, in this process.
 *
 *   bench_offline --model bench/models/Qwen3-0.6B --dummy-weights            all four
 *   bench_offline --model DIR --work reference --profile --no-overlap …      one of them, an ablation
 *
 * CSV on stdout; notes (device, time to ready, pool) and with --profile the time budget on stderr. A
 * run of another seed goes before each measured one; what the process holds in memory is noted before
 * the first measured run and behind the last (--runs 98 --work single: 100,000 steps). `share` is that of the limit by bytes and FLOP
 * of one H200, where it is known (docs/PERFORMANCE.md).
 */
#include "bench/works/drive.h"
#include "common/clock.h"
#include "common/config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct offline {
    const char *model, *backend, *label, *plans;
    bool dummy_weights;
    uint32_t work; /* enum work_kind, or WORK_COUNT: all */
    uint64_t seed, warm_seed, divide, runs;
    uint64_t running_max, step_tokens, chunk_tokens, context_max, page_size, kv_mib, threads;
    double step_ms, temperature, memory_ratio;
    uint32_t cache, attn;
    bool no_overlap, no_graphs, tune, pad, prefix_groups, profile, no_warm, header;
};

#define O struct offline
static const struct option options[] = {
    OPTION_STRING(O, model, "model", NULL, NULL, "model folder; bench/models has shapes"),
    OPTION_STRING(O, backend, "backend", NULL, NULL, "cpu or cuda; default: the best one here"),
    OPTION_STRING(O, label, "label", "", NULL, "copied to the CSV's last column"),
    OPTION_BOOL(O, dummy_weights, "dummy-weights", "false", NULL, "random weights"),
    OPTION_CHOICE(O, work, "work", "all", WORKS "|all", "which workload"),
    OPTION_UINT(O, seed, "seed", "0", 0, 999, "seed of the measured run"),
    OPTION_UINT(O, warm_seed, "warm-seed", "7", 0, 999, "seed of the run before"),
    OPTION_UINT(O, runs, "runs", "1", 1, 1000, "measured runs"),
    OPTION_UINT(O, divide, "divide", "1", 1, 1000,
                "makes lengths and counts so many times smaller"),
    OPTION_UINT(O, running_max, "max-running", "256", 1, 4096, "reqs in a step at most"),
    OPTION_UINT(O, step_tokens, "step-tokens", "16384", 1, 1 << 20, "tokens in a step at most"),
    OPTION_UINT(O, chunk_tokens, "chunk-tokens", "4096", 0, 1 << 20,
                "tokens of one prompt in a step at most; 0 = unchunked"),
    OPTION_FLOAT(O, step_ms, "step-ms", "0", 0, 60000, "as the worker's; 0 = no bound"),
    OPTION_UINT(O, context_max, "context-max", "4096", 1, 1 << 20, "tokens of one req at most"),
    OPTION_UINT(O, page_size, "page-size", "16", 1, 256, "tokens a KV page"),
    OPTION_UINT(O, kv_mib, "kv-mib", "0", 0, 1 << 24, "KV pool in MiB; 0 = by --memory-ratio"),
    OPTION_FLOAT(O, memory_ratio, "memory-ratio", "0", 0, 1, "as the worker's"),
    OPTION_UINT(O, threads, "threads", "0", 0, 1024, "CPU threads; 0 = all cores"),
    OPTION_FLOAT(O, temperature, "temperature", "0.6", 0, 10, "of the sampling"),
    OPTION_CHOICE(O, attn, "attn", "auto", "auto|fa|generic", "attention's kernels on a GPU"),
    OPTION_CHOICE(O, cache, "cache", "radix", "radix|naive", "prefix cache, or none"),
    OPTION_BOOL(O, prefix_groups, "prefix-groups", "true", NULL,
                "read a shared prefix once a step"),
    OPTION_BOOL(O, no_overlap, "no-overlap", "false", NULL, "one step in flight"),
    OPTION_BOOL(O, no_graphs, "no-graphs", "false", NULL, "launch decode steps op by op"),
    OPTION_STRING(O, plans, "plans", NULL, NULL, "folder of measured matmul plans"),
    OPTION_BOOL(O, tune, "tune", "false", NULL, "measure the plans at start and keep them"),
    OPTION_BOOL(O, pad, "pad", "false", NULL, "with --no-graphs: pad as graphs do"),
    OPTION_BOOL(O, no_warm, "no-warm", "false", NULL, "no run before the measured one"),
    OPTION_BOOL(O, profile, "profile", "false", NULL, "where a step's time goes"),
    OPTION_BOOL(O, header, "header", "true", NULL, "print the CSV's first line"),
};
static const struct config_spec spec = {"bench_offline", "Offline workloads, in process.", options,
                                        ARRAY_LEN(options)};

/* Tokens/s that bytes and FLOP allow on one H200; prefill: input tokens. */
static double limit_of(const char *model, enum work_kind kind)
{
    static const struct {
        const char *end;
        double limits[WORK_COUNT];
    } known[] = {
        {"Qwen3-0.6B", {37000, 3700, 520000, 120000}},
        {"Qwen3-14B", {8000, 160, 27500, 12900}},
    };
    size_t len = strlen(model);
    while (len > 0 && model[len - 1] == '/')
        len--;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t end = strlen(known[i].end);
        if (len >= end && memcmp(model + len - end, known[i].end, end) == 0)
            return known[i].limits[kind];
    }
    return 0;
}

static void print_profile(const struct drive_result *result)
{
    static const char *const names[STEP_KINDS] = {"prefill", "decode", "mixed"};
    uint64_t device_ns = 0;
    fprintf(stderr, "#   %-8s %7s %7s %8s %7s %8s %9s %8s %9s %10s\n", "steps of", "count",
            "graphs", "tokens", "rows", "plan us", "commit us", "fill us", "launch us",
            "device us");
    for (size_t i = 0; i < STEP_KINDS; i++) {
        const struct drive_kind *kind = &result->kinds[i];
        if (kind->steps == 0)
            continue;
        double n = (double)kind->steps;
        device_ns += kind->device_ns;
        fprintf(stderr, "#   %-8s %7llu %7llu %8.1f %7.1f %8.1f %9.1f %8.1f %9.1f %10.1f\n",
                names[i], (unsigned long long)kind->steps, (unsigned long long)kind->graphs,
                (double)kind->tokens / n, (double)kind->rows / n, (double)kind->plan_ns / n / 1e3,
                (double)kind->commit_ns / n / 1e3, (double)kind->fill_ns / n / 1e3,
                (double)kind->launch_ns / n / 1e3, (double)kind->device_ns / n / 1e3);
    }
    fprintf(stderr,
            "#   of %.3f s the device ran %.3f s and stood %.3f s; the scheduler's thread waited "
            "%.3f s; %llu prompt tokens cached, %llu retractions\n",
            (double)result->ns / 1e9, (double)device_ns / 1e9,
            ((double)result->ns - (double)device_ns) / 1e9, (double)result->wait_ns / 1e9,
            (unsigned long long)result->cached_tokens, (unsigned long long)result->retractions);
}

static struct drive_opts drive_opts_of(const struct offline *o, struct engine *engine)
{
    const struct engine_info *info = engine_info(engine);
    struct drive_opts opts = {
        .engine = engine, .sampling = sampling_default(), .overlap = !o->no_overlap};
    opts.sampling.temperature = (float)o->temperature;
    opts.sched = (struct sched_opts){
        .pages = info->pages,
        .page_size = (uint32_t)o->page_size,
        .slots = (uint32_t)o->running_max,
        .waiting_max = 4096,
        .context_max = info->context_max,
        .step_tokens = (uint32_t)o->step_tokens,
        .chunk_tokens = (uint32_t)o->chunk_tokens,
        .step_ms = o->step_ms,
        .step_us = info->step_us,
        .prefill_us_per_token = info->prefill_us_per_token,
        .decode_us_per_row = info->decode_us_per_row,
        .cache = o->cache == 0,
        .prefix_groups = o->prefix_groups,
        .age_ms = 1000,
    };
    return opts;
}

static enum status run_work(const struct offline *o, struct engine *engine, enum work_kind kind,
                            uint64_t seed, bool measured, struct err *err)
{
    struct work work;
    struct drive_result result;
    struct drive_opts opts = drive_opts_of(o, engine);
    work_init(&work, kind, seed, (uint32_t)o->divide);
    enum status status = drive_run(&opts, &work, &result, err);
    double seconds = (double)result.ns / 1e9;
    uint64_t counted = kind == WORK_PREFILL ? work.tokens_in : work.tokens_out;
    double rate = (double)counted / seconds, limit = limit_of(o->model, kind);
    if (status == STATUS_OK && result.tokens_out != work.tokens_out)
        status =
            err_set(err, STATUS_INTERNAL, "%llu tokens came of %llu",
                    (unsigned long long)result.tokens_out, (unsigned long long)work.tokens_out);
    if (status == STATUS_OK && measured) {
        printf("%s,%s,%llu,%llu,%llu,%.4f,%.1f,%.3f,%016llx,%s\n", work_name(kind), o->model,
               (unsigned long long)seed, (unsigned long long)work.tokens_in,
               (unsigned long long)work.tokens_out, seconds, rate,
               limit > 0 && o->divide == 1 ? rate / limit : 0.0, (unsigned long long)result.hash,
               o->label);
        fflush(stdout);
        if (o->profile)
            print_profile(&result);
    }
    work_release(&work);
    return status;
}

/* Bytes of this process in memory, host memory that is pinned included. */
static double resident_mb(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &size, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static enum status run_all(const struct offline *o, struct engine *engine, struct err *err)
{
    if (o->header)
        printf("work,model,seed,tokens_in,tokens_out,seconds,tokens_per_s,share,hash,label\n");
    for (uint32_t kind = 0; kind < WORK_COUNT; kind++) {
        if (o->work != WORK_COUNT && o->work != kind)
            continue;
        if (!o->no_warm)
            TRY(run_work(o, engine, kind, o->warm_seed, false, err));
        double before_mb = resident_mb(), half_mb = 0;
        for (uint64_t run = 0; run < o->runs; run++) {
            TRY(run_work(o, engine, kind, o->seed, true, err));
            if (run == o->runs / 2)
                half_mb = resident_mb();
        }
        fprintf(stderr, "# %s: %.1f MB in memory, %.1f behind half of %llu runs, %.1f behind all\n",
                work_name(kind), before_mb, half_mb, (unsigned long long)o->runs, resident_mb());
    }
    return STATUS_OK;
}

static enum status open_and_run(const struct offline *o, uint64_t start_ns, struct err *err)
{
    static const char *const attns[] = {NULL, "fa", "generic"};
    struct engine *engine = NULL;
    struct engine_opts opts = {
        .model_dir = o->model,
        .backend = o->backend,
        .dummy_weights = o->dummy_weights,
        .dummy_seed = 1,
        .page_size = (uint32_t)o->page_size,
        .slots = (uint32_t)o->running_max,
        .step_tokens_max = (uint32_t)MAX(o->step_tokens, o->running_max),
        .context_max = (uint32_t)o->context_max,
        .kv_bytes = o->kv_mib << 20,
        .memory_ratio = o->memory_ratio,
        .threads = (uint32_t)o->threads,
        .attn = attns[o->attn],
        .plans = o->plans,
        .tune = o->tune,
        .no_graphs = o->no_graphs,
        .pad_decode = o->pad,
        .tp = 1,
    };
    TRY(engine_open(&opts, &engine, err));
    const struct engine_info *info = engine_info(engine);
    fprintf(stderr, "# %s: ready after %.2f s; weights %.2f GB, KV pool %.2f GB = %u tokens\n",
            info->device, (double)(clock_now_ns() - start_ns) / 1e9,
            (double)info->weight_bytes / 1e9, (double)info->kv_bytes / 1e9,
            (uint32_t)(info->pages * o->page_size));
    enum status status = run_all(o, engine, err);
    engine_close(engine);
    return status;
}

int main(int argc, char **argv)
{
    uint64_t start_ns = clock_now_ns();
    struct offline o = {0};
    struct err err = {0};
    enum config_action action;
    enum status status = config_parse(&spec, argc, argv, &o, &action, &err);
    if (status == STATUS_OK && action == CONFIG_ACTION_RUN) {
        if (o.model == NULL)
            status = err_set(&err, STATUS_INVALID, "give a model: --model bench/models/Qwen3-0.6B");
        else
            status = open_and_run(&o, start_ns, &err);
    }
    config_release(&spec, &o);
    if (status != STATUS_OK)
        fprintf(stderr, "bench_offline: %s\n", err.text);
    return status == STATUS_OK ? 0 : 1;
}
