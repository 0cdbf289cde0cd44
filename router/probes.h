/* probes - /health: the process is alive; /ready: a worker serves and the router is not leaving. */
#ifndef MSGL_ROUTER_PROBES_H
#define MSGL_ROUTER_PROBES_H

#include "router/router.h"

void probe_health(struct router *router, struct http_exchange *exchange);
void probe_ready(struct router *router, struct http_exchange *exchange);

#endif
