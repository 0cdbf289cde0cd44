/* admin - the admin port: metrics and probes, nothing that clients need. */
#ifndef MSGL_ROUTER_ADMIN_H
#define MSGL_ROUTER_ADMIN_H

#include "router/router.h"

/* For http_opts.request; ctx is the struct router. */
/* GET /cluster: what the router believes. */
void admin_cluster(struct router *router, struct http_exchange *exchange);
void admin_request(void *ctx, struct http_exchange *exchange);

#endif
