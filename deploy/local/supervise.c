#include "deploy/local/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"

#define SECOND_NS      1000000000ull
#define LINE_BYTES_MAX 65536
#define STEADY_NS      (60 * SECOND_NS)
#define BACKOFF_MIN_NS (SECOND_NS / 2)
#define BACKOFF_MAX_NS (30 * SECOND_NS)

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCHLD);
}

enum status supervisor_init(struct supervisor *supervisor, struct err *err)
{
    sigset_t set;

    memset(supervisor, 0, sizeof(*supervisor));
    signal_set(&set);
    /* A shell starts background jobs with SIGINT ignored; an ignored signal never reaches signalfd. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    supervisor->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (supervisor->signal_fd < 0)
        return err_set(err, STATUS_IO, "signalfd: %s", strerror(errno));
    return STATUS_OK;
}

struct child *supervisor_add(struct supervisor *supervisor, const char *name, const char *program)
{
    struct child *child = &supervisor->children[supervisor->count];

    CHECK(supervisor->count < CHILDREN_MAX);
    supervisor->count++;
    memset(child, 0, sizeof(*child));
    snprintf(child->name, sizeof(child->name), "%s", name);
    child->log_fd = -1;
    child_word(child, "%s", program);
    return child;
}

void child_word(struct child *child, const char *format, ...)
{
    struct buf word = {0};
    va_list args;
    char text[4096];

    CHECK(child->argc < CHILD_WORDS_MAX);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buf_str(&word, text);
    child->argv[child->argc++] = word.data;
}

/* In the child, between fork and exec: only calls that are safe there. */
NORETURN static void become(struct child *child, int log_fd, pid_t parent)
{
    sigset_t set;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* the parent ended before prctl() */
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0)
        dup2(null_fd, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    execv(child->argv[0], child->argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", child->argv[0], strerror(errno));
    _exit(127);
}

static enum status start(struct child *child, struct err *err)
{
    pid_t parent = getpid();
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_set(err, STATUS_IO, "pipe: %s", strerror(errno));
    child->pid = fork();
    if (child->pid == 0)
        become(child, fds[1], parent);
    close(fds[1]);
    if (child->pid < 0) {
        child->pid = 0;
        close(fds[0]);
        return err_set(err, STATUS_IO, "fork: %s", strerror(errno));
    }
    if (child->log_fd >= 0)
        close(child->log_fd);
    child->log_fd = fds[0];
    fcntl(child->log_fd, F_SETFL, O_NONBLOCK);
    child->started_ns = clock_now_ns();
    return STATUS_OK;
}

enum status supervisor_start(struct supervisor *supervisor, struct err *err)
{
    uint64_t now = clock_now_ns();
    for (size_t i = 0; i < supervisor->count; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid == 0 && !child->refused && now >= child->restart_at_ns) {
            child->restart_at_ns = now + BACKOFF_MAX_NS; /* should fork fail */
            TRY(start(child, err));
        }
    }
    return STATUS_OK;
}

/* Workers with one model folder refuse it in one voice: while nothing is ready yet, what another child
 * said last is not said again. (A line of a log has its time in front, and is like no other.) */
static bool repeats(const struct supervisor *supervisor, const struct child *child,
                    const char *line, size_t len)
{
    for (size_t i = 0; supervisor->starting && i < supervisor->count; i++) {
        const struct child *other = &supervisor->children[i];
        if (other != child && other->last.len == len && memcmp(other->last.data, line, len) == 0)
            return true;
    }
    return false;
}

static void pass_line(const struct supervisor *supervisor, struct child *child, const char *line,
                      size_t len)
{
    if (len > 0) {
        buf_clear(&child->last);
        buf_append(&child->last, line, len);
    }
    if (!supervisor->quiet && len > 0 && !repeats(supervisor, child, line, len))
        dprintf(STDERR_FILENO, "%-8s | %.*s\n", child->name, (int)len, line);
}

static void pass_lines(const struct supervisor *supervisor, struct child *child)
{
    char bytes[8192];
    ssize_t n;

    while ((n = read(child->log_fd, bytes, sizeof(bytes))) > 0) {
        size_t start = 0;
        const char *newline;
        buf_append(&child->line, bytes, (size_t)n);
        while ((newline = memchr(child->line.data + start, '\n', child->line.len - start))) {
            size_t end = (size_t)(newline - child->line.data);
            pass_line(supervisor, child, child->line.data + start, end - start);
            start = end + 1;
        }
        buf_consume(&child->line, start);
        if (child->line.len > LINE_BYTES_MAX) {
            pass_line(supervisor, child, child->line.data, child->line.len);
            buf_clear(&child->line);
        }
    }
    if (n == 0) {
        close(child->log_fd);
        child->log_fd = -1;
    }
}

static void note_end(const struct supervisor *supervisor, struct child *child, int wait_status)
{
    uint64_t now = clock_now_ns(), delay = BACKOFF_MIN_NS;

    if (child->log_fd >= 0)
        pass_lines(supervisor, child); /* its last words first */
    child->pid = 0;
    if (now - child->started_ns > STEADY_NS)
        child->ended_early = 0;
    for (unsigned i = 0; i < child->ended_early && delay < BACKOFF_MAX_NS; i++)
        delay *= 2;
    delay = MIN(delay, (uint64_t)BACKOFF_MAX_NS);
    child->ended_early++;
    child->restart_at_ns = now + delay;
    if (supervisor->stops)
        return;
    child->refused =
        supervisor->starting && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_REFUSED;
    if (child->refused)
        return;
    if (WIFSIGNALED(wait_status))
        dprintf(STDERR_FILENO, "%s was killed by signal %d; again in %.1f s\n", child->name,
                WTERMSIG(wait_status), (double)delay / SECOND_NS);
    else
        dprintf(STDERR_FILENO, "%s ended with status %d; again in %.1f s\n", child->name,
                WEXITSTATUS(wait_status), (double)delay / SECOND_NS);
}

static void reap(struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        struct child *child = &supervisor->children[i];
        int wait_status;
        if (child->pid && waitpid(child->pid, &wait_status, WNOHANG) == child->pid)
            note_end(supervisor, child, wait_status);
    }
}

static void take_signals(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            supervisor->stops++;
}

void supervisor_step(struct supervisor *supervisor, int timeout_ms)
{
    struct pollfd polled[CHILDREN_MAX + 1];
    struct err err = {0};

    polled[0] = (struct pollfd){supervisor->signal_fd, POLLIN, 0};
    for (size_t i = 0; i < supervisor->count; i++)
        polled[i + 1] = (struct pollfd){supervisor->children[i].log_fd, POLLIN, 0};
    poll(polled, supervisor->count + 1, timeout_ms);
    take_signals(supervisor);
    for (size_t i = 0; i < supervisor->count; i++)
        if (supervisor->children[i].log_fd >= 0)
            pass_lines(supervisor, &supervisor->children[i]);
    reap(supervisor);
    if (!supervisor->stops && supervisor_start(supervisor, &err) != STATUS_OK)
        dprintf(STDERR_FILENO, "%s\n", err.text);
}

size_t supervisor_alive(const struct supervisor *supervisor)
{
    size_t alive = 0;
    for (size_t i = 0; i < supervisor->count; i++)
        alive += supervisor->children[i].pid != 0;
    return alive;
}

static void signal_all(const struct supervisor *supervisor, int number)
{
    for (size_t i = 0; i < supervisor->count; i++)
        if (supervisor->children[i].pid)
            kill(supervisor->children[i].pid, number);
}

void supervisor_stop(struct supervisor *supervisor, unsigned grace_s)
{
    uint64_t deadline = clock_now_ns() + grace_s * SECOND_NS;
    unsigned stops = MAX(supervisor->stops, 1u);

    supervisor->stops = stops; /* nothing is started again from here on */
    signal_all(supervisor, SIGTERM);
    while (supervisor_alive(supervisor) && clock_now_ns() < deadline && supervisor->stops == stops)
        supervisor_step(supervisor, 50);
    signal_all(supervisor, SIGKILL);
    while (supervisor_alive(supervisor))
        supervisor_step(supervisor, 50);
}

void supervisor_release(struct supervisor *supervisor)
{
    supervisor_stop(supervisor, 0);
    for (size_t i = 0; i < supervisor->count; i++) {
        struct child *child = &supervisor->children[i];
        for (size_t k = 0; k < child->argc; k++)
            mem_free(child->argv[k]);
        if (child->log_fd >= 0)
            close(child->log_fd);
        buf_release(&child->line);
        buf_release(&child->last);
    }
    close(supervisor->signal_fd);
    supervisor->count = 0;
}
