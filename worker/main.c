/* msgl-worker: parses options, loads the model, runs the loop. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/loop.h"

/* While a model loads nobody polls the signal fd: this thread does, and ends the process at once.
 */
struct guard {
    pthread_t thread;
    int signal_fd, stop_fd;
};

static void *guard_main(void *arg)
{
    const struct guard *guard = arg;
    struct pollfd fds[] = {{.fd = guard->signal_fd, .events = POLLIN},
                           {.fd = guard->stop_fd, .events = POLLIN}};

    while (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno == EINTR)
        continue;
    if (!(fds[1].revents & POLLIN)) {
        LOG_INFO("worker", "stopped", "while the model was loading");
        _exit(128 + SIGTERM);
    }
    return NULL;
}

/* SIGTERM and SIGINT come through *fd; every thread that starts from now on inherits the mask. */
static bool block_signals(int *fd)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return false;
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *fd >= 0;
}

static enum status open_guarded(const struct worker_config *config, struct worker *worker,
                                int signal_fd, struct err *err)
{
    struct guard guard = {.signal_fd = signal_fd, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    uint64_t one = 1;
    enum status status;

    if (guard.stop_fd < 0 || pthread_create(&guard.thread, NULL, guard_main, &guard) != 0)
        return err_set(err, STATUS_INTERNAL, "no thread for signals: %s", strerror(errno));
    status = worker_open(config, worker, err);
    if (write(guard.stop_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        status = err_set(err, STATUS_INTERNAL, "eventfd: %s", strerror(errno));
    pthread_join(guard.thread, NULL);
    close(guard.stop_fd);
    return status;
}

static int run(const struct worker_config *config, struct err *err)
{
    struct worker worker = {.config = config};
    int signal_fd = -1;
    enum status status = STATUS_OK;

    if (!block_signals(&signal_fd))
        status = err_set(err, STATUS_INTERNAL, "signals: %s", strerror(errno));
    if (status == STATUS_OK)
        status = open_guarded(config, &worker, signal_fd, err);
    if (status == STATUS_OK)
        status = links_init(&worker, err);
    if (status == STATUS_OK)
        status = loop_run(&worker, signal_fd, err);
    if (status == STATUS_CANCELLED)
        _exit(128 + SIGTERM); /* asked twice: nothing is waited for */
    worker_close(&worker);
    if (signal_fd >= 0)
        close(signal_fd);
    if (status == STATUS_OK) {
        LOG_INFO("worker", "stopped", "cleanly");
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "msgl-worker: %s.\n", err->text);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct worker_config config = {0};
    enum config_action action;
    struct err err = {.text = ""};
    int code = EXIT_SUCCESS;

    if (worker_config_parse(argc, argv, &config, &action, &err) != STATUS_OK) {
        fprintf(stderr, "msgl-worker: %s.\n", err.text);
        code = EXIT_FAILURE;
    } else if (action == CONFIG_ACTION_RUN) {
        log_init(config.id, (enum log_level)config.log_level);
        code = run(&config, &err);
    }
    config_release(&worker_spec, &config);
    return code;
}
