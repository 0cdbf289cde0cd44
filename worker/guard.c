#include "worker/guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"

static void *guard_main(void *arg)
{
    const struct guard *guard = arg;
    struct pollfd fds[] = {{.fd = guard->signal_fd, .events = POLLIN},
                           {.fd = guard->stop_fd, .events = POLLIN},
                           {.fd = guard->children->fd, .events = POLLIN}};
    struct err err = {.text = ""};

    while (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno == EINTR)
        continue;
    if (fds[1].revents & POLLIN)
        return NULL;
    if (fds[0].revents & POLLIN) {
        LOG_INFO("worker", "stopped", "while the model was loading");
        _exit(128 + SIGTERM);
    }
    if (children_check(guard->children, &err) != STATUS_OK)
        fprintf(stderr, "msgl-worker: %s.\n", err.text);
    _exit(EXIT_FAILURE); /* the other ranks go with us */
}

enum status guard_start(struct guard *guard, int signal_fd, const struct children *children,
                        struct err *err)
{
    *guard = (struct guard){
        .signal_fd = signal_fd, .stop_fd = eventfd(0, EFD_CLOEXEC), .children = children};
    if (guard->stop_fd < 0 || pthread_create(&guard->thread, NULL, guard_main, guard) != 0)
        return err_set(err, STATUS_INTERNAL, "no thread for signals: %s", strerror(errno));
    return STATUS_OK;
}

void guard_stop(struct guard *guard)
{
    uint64_t one = 1;
    ssize_t written = write(guard->stop_fd, &one, sizeof(one));
    CHECK(written == (ssize_t)sizeof(one));
    pthread_join(guard->thread, NULL);
    close(guard->stop_fd);
}
