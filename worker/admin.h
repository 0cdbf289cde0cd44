/* admin - a worker's probes and metrics over HTTP, on a thread of their own that the loop cannot
 * starve: GET /health, /ready, /metrics. One request a connection, one connection at a time, each
 * given a second: enough for a kubelet and a Prometheus, and nothing that an attacker could pile up. */
#ifndef MSGL_WORKER_ADMIN_H
#define MSGL_WORKER_ADMIN_H

#include "common/status.h"
#include "worker/board.h"

struct admin;

/* CONFLICT when the port is in use. Port 0 picks one, which the log names. */
enum status MUST_USE admin_start(const char *host, uint16_t port, struct board *board,
                                 struct admin **out, struct err *err);
void admin_stop(struct admin *admin); /* NULL is fine */

#endif
