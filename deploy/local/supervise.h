/* supervise - child processes that are kept running, and whose lines are passed on.
 *
 *   child 0: msgl-router ──stderr+stdout──► pipe ─┐
 *   child 1: msgl-worker ──stderr+stdout──► pipe ─┼─► supervise_step() ─► our standard error, "name | line"
 *   SIGCHLD, SIGINT, SIGTERM ──► signalfd ────────┘
 *
 * A child that ends is started again: after 0.5 s, then twice as long each time up to 30 s; a minute
 * of life resets that. Only one that ends with EXIT_REFUSED before all was ready once stays down. Children have process groups of their own (Ctrl-C reaches only us, we stop
 * them in order) and die with us whatever happens to us (PR_SET_PDEATHSIG). One thread.
 */
#ifndef MSGL_DEPLOY_LOCAL_SUPERVISE_H
#define MSGL_DEPLOY_LOCAL_SUPERVISE_H

#include <sys/types.h>

#include "common/buf.h"
#include "common/status.h"

#define CHILDREN_MAX    65
#define CHILD_WORDS_MAX 96

struct child {
    char name[32];
    char *argv[CHILD_WORDS_MAX + 1]; /* on the heap, NULL-terminated */
    size_t argc;
    pid_t pid;       /* 0 = not running */
    int log_fd;      /* -1 = closed */
    struct buf line; /* its unfinished line */
    uint64_t started_ns;
    uint64_t restart_at_ns; /* when pid is 0 */
    unsigned ended_early;   /* times in a row that it ended within a minute */
    bool refused;           /* its start was, and `starting` held then: it is not started again */
    struct buf last;        /* its last line */
};

struct supervisor {
    struct child children[CHILDREN_MAX];
    size_t count;
    int signal_fd;
    unsigned stops; /* SIGINT and SIGTERM seen */
    bool starting;  /* nothing was ready yet; whoever runs us clears it */
    bool quiet;     /* keep the children's lines to ourselves */
};

/* Blocks the three signals in this process. */
enum status MUST_USE supervisor_init(struct supervisor *supervisor, struct err *err);
struct child *supervisor_add(struct supervisor *supervisor, const char *name, const char *program);
void child_word(struct child *child, const char *format, ...) PRINTF_LIKE(2, 3);

/* Starts what is due. IO when a program cannot be started at all. */
enum status MUST_USE supervisor_start(struct supervisor *supervisor, struct err *err);
/* Passes lines on, notices ends, starts again what is due; returns after timeout_ms at most. */
void supervisor_step(struct supervisor *supervisor, int timeout_ms);
size_t supervisor_alive(const struct supervisor *supervisor);
/* SIGTERM to all, SIGKILL to those that are left after grace_s seconds or at a second Ctrl-C. */
void supervisor_stop(struct supervisor *supervisor, unsigned grace_s);
void supervisor_release(struct supervisor *supervisor); /* kills what still lives */

#endif
