/* inbox - frames from routers become calls of the scheduler. Whatever does not decode or does not
 * belong to the session is dropped and counted. Loop thread. */
#ifndef MSGL_WORKER_INBOX_H
#define MSGL_WORKER_INBOX_H

#include "worker/worker.h"

/* Takes at most INBOX_FRAMES_MAX frames of the link; true when more may be there. */
bool inbox_receive(struct worker *worker, struct link *link, uint64_t now_ms);
#define INBOX_FRAMES_MAX 256

#endif
