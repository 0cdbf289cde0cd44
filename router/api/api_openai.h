/* api_openai - which path does what on the API port. Answers 401, 404 and 405 by itself. */
#ifndef MSGL_ROUTER_API_API_OPENAI_H
#define MSGL_ROUTER_API_API_OPENAI_H

#include "router/router.h"

/* For http_opts.request; ctx is the struct router. */
void api_request(void *ctx, struct http_exchange *exchange);

/* Shared with admin.c. */
void api_reply_error(struct http_exchange *exchange, enum status status, int http,
                     const char *text);

#endif
