/* children - the ranks that this process starts on its own machine, and their deaths.
 *
 *   children.fd (epoll) ◄── pidfd of rank 1, pidfd of rank 2 …      readable = somebody died
 *
 * A child is this same program with this process's arguments and a few more. It dies with the
 * thread that started it (PR_SET_PDEATHSIG), so children are started by the main thread.
 */
#ifndef MSGL_WORKER_CHILDREN_H
#define MSGL_WORKER_CHILDREN_H

#include <sys/types.h>

#include "common/status.h"

#define CHILDREN_MAX 64

struct child {
    pid_t pid;
    int pidfd;
    uint32_t rank;
};

struct children {
    int fd; /* pollable by any thread once initialised */
    struct child items[CHILDREN_MAX];
    uint32_t count;
};

enum status MUST_USE children_init(struct children *children, struct err *err);
/* argv and then extra, both NULL-terminated. */
enum status MUST_USE children_spawn(struct children *children, uint32_t rank, char *const *argv,
                                    const char *const *extra, struct err *err);
/* UNAVAILABLE, with a sentence, when a child has ended other than cleanly (which it does only when
 * rank 0 told it to). Any thread; reaps nothing. */
enum status MUST_USE children_check(const struct children *children, struct err *err);
/* Waits for the children to end by themselves, then kills what is left, and reaps all. */
void children_stop(struct children *children, uint64_t grace_ms);
void children_release(struct children *children); /* safe on a zeroed struct; kills what is left */

/* For the child: SIGKILL when the parent's thread ends. False when it has ended already. */
bool children_die_with_parent(void);

#endif
