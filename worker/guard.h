/* guard - a thread that ends the process at once while the main thread loads a model and cannot
 * poll: on SIGTERM or SIGINT, or when a rank that this process started dies. */
#ifndef MSGL_WORKER_GUARD_H
#define MSGL_WORKER_GUARD_H

#include <pthread.h>

#include "common/status.h"
#include "worker/children.h"

struct guard {
    pthread_t thread;
    int signal_fd, stop_fd;
    const struct children *children;
};

enum status MUST_USE guard_start(struct guard *guard, int signal_fd,
                                 const struct children *children, struct err *err);
void guard_stop(struct guard *guard); /* joins the thread */

#endif
