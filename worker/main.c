/* msgl-worker: parses options, loads the model, runs the loop (rank 0) or the steps (the others). */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/admin.h"
#include "worker/follower.h"
#include "worker/guard.h"
#include "worker/loop.h"

/* SIGTERM and SIGINT come through *fd; every thread that starts from now on inherits the mask. */
static enum status block_signals(int *fd, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) == 0)
        *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *fd >= 0 ? STATUS_OK : err_set(err, STATUS_INTERNAL, "signals: %s", strerror(errno));
}

static enum status run(struct worker *worker, int signal_fd, struct err *err)
{
    const struct worker_config *config = worker->config;
    struct children *children = worker->children;
    struct guard guard;
    enum status status;

    TRY(guard_start(&guard, signal_fd, children, err));
    status = worker_open(config, children, worker->board, worker, err);
    guard_stop(&guard);
    TRY(status);
    TRY(links_init(worker, err));
    return loop_run(worker, signal_fd, err);
}

static enum status follow(struct follower *follower, int signal_fd, struct err *err)
{
    struct guard guard;
    enum status status;

    if (follower->config->rank_is_child && !children_die_with_parent())
        return err_set(err, STATUS_UNAVAILABLE, "rank 0 ended at once");
    TRY(guard_start(&guard, signal_fd, follower->children, err));
    status = follower_open(follower, err);
    guard_stop(&guard);
    TRY(status);
    return follower_run(follower, signal_fd, err);
}

/* The exit status; a rank's own is for rank 0 to judge. */
static int finish(const struct worker_config *config, enum status status, const struct err *err)
{
    if (status == STATUS_OK) {
        LOG_INFO("worker", "stopped", "cleanly");
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "msgl-worker: %s%s.\n", config->rank ? "a rank: " : "", err->text);
    return config->rank ? EXIT_FAILURE : status_exit(status);
}

/* Probes and metrics, for the first process of a node. */
static enum status start_admin(const struct worker_config *config, struct board *board,
                               struct admin **admin, struct err *err)
{
    if (config->admin_port == 0 || config->rank_is_child)
        return STATUS_OK;
    return admin_start(config->admin_host, (uint16_t)config->admin_port, board, admin, err);
}

static int run_rank_0(const struct worker_config *config, struct err *err)
{
    struct children children = {0};
    struct board board;
    struct admin *admin = NULL;
    struct worker worker = {.config = config, .children = &children, .board = &board};
    int signal_fd = -1;
    enum status status = block_signals(&signal_fd, err);

    board_init(&board, config->served_model_name);
    if (status == STATUS_OK)
        status = children_init(&children, err);
    if (status == STATUS_OK)
        status = start_admin(config, &board, &admin, err);
    if (status == STATUS_OK)
        status = run(&worker, signal_fd, err);
    if (status == STATUS_CANCELLED)
        _exit(128 + SIGTERM); /* asked twice: nothing is waited for */
    if (worker.ranks.broken) {
        finish(config, status, err);
        links_release(&worker); /* BYE goes out */
        ranks_stop(&worker);
        _exit(EXIT_FAILURE); /* the engine may wait for a rank that never comes */
    }
    worker_close(&worker);
    children_release(&children);
    admin_stop(admin);
    board_release(&board);
    if (signal_fd >= 0)
        close(signal_fd);
    return finish(config, status, err);
}

static int run_other_rank(const struct worker_config *config, struct err *err)
{
    struct children children = {0};
    struct board board;
    struct admin *admin = NULL;
    struct follower follower = {.config = config, .children = &children, .board = &board};
    int signal_fd = -1;
    enum status status = block_signals(&signal_fd, err);

    board_init(&board, config->served_model_name);
    if (status == STATUS_OK)
        status = children_init(&children, err);
    if (status == STATUS_OK)
        status = start_admin(config, &board, &admin, err);
    if (status == STATUS_OK)
        status = follow(&follower, signal_fd, err);
    if (status != STATUS_OK) {
        follower_fail(&follower, err->text);
        finish(config, status, err);
        transport_free(follower.transport); /* FAILED goes out */
        transport_context_free(follower.context);
        children_release(&children);
        _exit(EXIT_FAILURE);
    }
    follower_close(&follower);
    children_release(&children);
    admin_stop(admin);
    board_release(&board);
    close(signal_fd);
    return finish(config, status, err);
}

int main(int argc, char **argv)
{
    struct worker_config config = {0};
    enum config_action action;
    struct err err = {.text = ""};
    int code = EXIT_SUCCESS;

    if (worker_config_parse(argc, argv, &config, &action, &err) != STATUS_OK) {
        fprintf(stderr, "msgl-worker: %s.\n", err.text);
        code = EXIT_REFUSED;
    } else if (action == CONFIG_ACTION_RUN) {
        char name[PROTO_NAME_BYTES_MAX + 16], rank[16] = "";
        if (config.rank)
            snprintf(rank, sizeof(rank), " rank %u", (unsigned)config.rank);
        snprintf(name, sizeof(name), "%s%s", config.id, rank);
        log_init(name, (enum log_level)config.log_level);
        code = config.rank ? run_other_rank(&config, &err) : run_rank_0(&config, &err);
    }
    config_release(&worker_spec, &config);
    return code;
}
