/* admin - the admin port: metrics and probes, nothing that clients need. */
#ifndef MSGL_ROUTER_ADMIN_H
#define MSGL_ROUTER_ADMIN_H

#include "router/router.h"

/* For http_opts.request; ctx is the struct router. */
void admin_request(void *ctx, struct http_exchange *exchange);

#endif
