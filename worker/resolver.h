/* resolver - from router names to addresses, again every RESOLVER_EVERY_MS, on a thread of its own:
 * a slow name server must not hold up tokens or heartbeats.
 *
 *   "tcp://routers.msgl:5600" ──getaddrinfo──► "tcp://10.0.0.4:5600", "tcp://[fd00::7]:5600"
 */
#ifndef MSGL_WORKER_RESOLVER_H
#define MSGL_WORKER_RESOLVER_H

#include "common/config.h"
#include "common/status.h"

#define RESOLVER_EVERY_MS      5000
#define RESOLVER_ADDRESSES_MAX 64
#define RESOLVER_ENDPOINT_MAX  96

struct resolver_list {
    char endpoints[RESOLVER_ADDRESSES_MAX][RESOLVER_ENDPOINT_MAX];
    uint32_t count;
};

struct resolver;

/* INVALID when a name is not tcp://NAME:PORT: before anything slow is begun. */
enum status MUST_USE resolver_check(const struct config_list *names, struct err *err);

/* INVALID when a name is not tcp://NAME:PORT. `names` must live as long as the resolver. */
enum status MUST_USE resolver_start(const struct config_list *names, struct resolver **out,
                                    struct err *err);
void resolver_stop(struct resolver *resolver);    /* at most one lookup late; NULL is fine */
int resolver_fd(const struct resolver *resolver); /* an eventfd: readable when the list changed */
/* Copies the list when it changed since the last call. A name that does not resolve now keeps the
 * addresses that it had. Loop thread. */
bool resolver_take(struct resolver *resolver, struct resolver_list *list);

#endif
