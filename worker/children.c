#include "worker/children.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

#define ARGS_MAX 256

enum status children_init(struct children *children, struct err *err)
{
    memset(children, 0, sizeof(*children));
    children->fd = epoll_create1(EPOLL_CLOEXEC);
    if (children->fd < 0)
        return err_set(err, STATUS_INTERNAL, "epoll: %s", strerror(errno));
    return STATUS_OK;
}

static enum status join_args(char *const *argv, const char *const *extra,
                             const char *out[ARGS_MAX + 1], struct err *err)
{
    size_t count = 0;

    for (; *argv && count < ARGS_MAX; argv++)
        out[count++] = *argv;
    for (; *extra && count < ARGS_MAX; extra++)
        out[count++] = *extra;
    out[count] = NULL;
    return *argv || *extra ? err_set(err, STATUS_TOO_LARGE, "more than %d arguments", ARGS_MAX)
                           : STATUS_OK;
}

enum status children_spawn(struct children *children, uint32_t rank, char *const *argv,
                           const char *const *extra, struct err *err)
{
    const char *args[ARGS_MAX + 1];
    struct child *child = &children->items[children->count];
    struct epoll_event event = {.events = EPOLLIN};
    pid_t pid;

    CHECK(children->count < CHILDREN_MAX);
    TRY(join_args(argv, extra, args, err));
    pid = fork();
    if (pid == 0) {
        execv("/proc/self/exe", (char *const *)(uintptr_t)args);
        _exit(127);
    }
    if (pid < 0)
        return err_set(err, STATUS_INTERNAL, "rank %u does not start: %s", rank, strerror(errno));
    *child = (struct child){.pid = pid, .rank = rank, .pidfd = -1};
    children->count++;
    child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (child->pidfd < 0 || epoll_ctl(children->fd, EPOLL_CTL_ADD, child->pidfd, &event) != 0)
        return err_set(err, STATUS_INTERNAL, "rank %u cannot be watched: %s", rank,
                       strerror(errno));
    return STATUS_OK;
}

enum status children_check(const struct children *children, struct err *err)
{
    for (uint32_t i = 0; i < children->count; i++) {
        const struct child *child = &children->items[i];
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            info.si_pid == 0 || (info.si_code == CLD_EXITED && info.si_status == 0))
            continue;
        return err_set(err, STATUS_UNAVAILABLE, "rank %u (process %d) %s %d", child->rank,
                       (int)child->pid,
                       info.si_code == CLD_EXITED ? "ended with status" : "was ended by signal",
                       info.si_status);
    }
    return STATUS_OK;
}

static bool reap(struct child *child, int options)
{
    if (child->pid && waitpid(child->pid, NULL, options) != 0) {
        child->pid = 0;
        close(child->pidfd);
    }
    return child->pid == 0;
}

void children_stop(struct children *children, uint64_t grace_ms)
{
    uint64_t end_ms = clock_now_ms() + grace_ms;
    bool all = false;

    while (!all) {
        all = true;
        for (uint32_t i = 0; i < children->count; i++)
            all &= reap(&children->items[i], WNOHANG);
        if (all || clock_now_ms() >= end_ms)
            break;
        poll(NULL, 0, 5);
    }
    for (uint32_t i = 0; i < children->count; i++) {
        if (children->items[i].pid == 0)
            continue;
        kill(children->items[i].pid, SIGKILL);
        reap(&children->items[i], 0);
    }
    children->count = 0;
}

void children_release(struct children *children)
{
    if (children->fd <= 0)
        return;
    children_stop(children, 0);
    close(children->fd);
    children->fd = 0;
}

bool children_die_with_parent(void)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() != 1;
}
