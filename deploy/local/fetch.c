/* fetch - msgl fetch: a model by name, into the ordinary cache; and what the others share with it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/hub.h"
#include "common/mem.h"
#include "deploy/local/commands.h"

struct fetch_config {
    const char *model;
    const char *revision;
    bool weights;
    bool offline;
    uint64_t stall_s;
};

#define F struct fetch_config
static const struct option fetch_options[] = {
    OPTION_STRING(F, model, "model", NULL, NULL, "ORG/NAME, or a folder"),
    OPTION_STRING(F, revision, "revision", "main", NULL, "branch, tag or commit"),
    OPTION_BOOL(F, weights, "weights", "true", NULL,
                "the weights too, not only config and tokenizer"),
    OPTION_BOOL(F, offline, "offline", "false", NULL,
                "use only what is in the cache (also HF_HUB_OFFLINE=1)"),
    OPTION_UINT(F, stall_s, "stall-s", "30", 1, 3600,
                "seconds without a byte after which a connection is given up"),
};
static const struct config_spec fetch_spec = {"msgl fetch", "download a model; prints its folder",
                                              fetch_options, ARRAY_LEN(fetch_options)};

static void progress_bar(void *ctx, const char *file, uint64_t done_bytes, uint64_t total_bytes)
{
    static const char full[] = "##############################";
    double share = total_bytes ? (double)done_bytes / (double)total_bytes : 0;
    int width = (int)(share * (sizeof(full) - 1));

    fprintf(stderr, "\r%-34.34s [%-30.*s] %8.1f of %.1f MB ", file, width, full,
            (double)done_bytes / 1e6, (double)total_bytes / 1e6);
    if (total_bytes && done_bytes == total_bytes)
        fputc('\n', stderr);
}

/* Without a terminal: one line a file. */
static void progress_lines(void *ctx, const char *file, uint64_t done_bytes, uint64_t total_bytes)
{
    if (total_bytes && done_bytes == total_bytes)
        fprintf(stderr, "%s: %.1f MB\n", file, (double)total_bytes / 1e6);
}

static hub_progress progress_of_terminal(void)
{
    return isatty(STDERR_FILENO) ? progress_bar : progress_lines;
}

enum status command_model_path(const char *model, bool weights, char **path, struct err *err)
{
    struct hub_opts opts = {.progress = progress_of_terminal()};

    if (!model)
        return err_set(err, STATUS_INVALID, "--model is needed: a model folder, or ORG/NAME");
    return hub_resolve(model, weights ? HUB_WANT_ALL : HUB_WANT_NO_WEIGHTS, &opts, path, err);
}

int command_fetch(int argc, char **argv)
{
    struct fetch_config config = {0};
    struct hub_opts opts = {.progress = progress_of_terminal()};
    struct err err = {0};
    char *path = NULL;
    enum status status = STATUS_OK;
    int exit_status;

    if (!command_parse(&fetch_spec, argc, argv, &config, &exit_status))
        return exit_status;
    opts.revision = config.revision;
    opts.offline = config.offline;
    opts.stall_s = (unsigned)config.stall_s;
    if (!config.model)
        status = err_set(&err, STATUS_INVALID, "--model is needed: ORG/NAME");
    else
        status = hub_resolve(config.model, config.weights ? HUB_WANT_ALL : HUB_WANT_NO_WEIGHTS,
                             &opts, &path, &err);
    if (status == STATUS_OK)
        puts(path);
    else
        command_complain(fetch_spec.program, &err);
    mem_free(path);
    config_release(&fetch_spec, &config);
    return status == STATUS_OK ? 0 : 1;
}
