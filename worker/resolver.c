#include "worker/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"

struct name {
    char host[256], port[8];
    bool failed; /* said so already */
    struct resolver_list found;
};

struct resolver {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* stop was set */
    int fd;
    uint32_t name_count;
    struct name *names; /* the thread's own */
    /* under the lock */
    bool stop, changed;
    struct resolver_list list;
};

/* "tcp://[::1]:5600" or "tcp://name:5600". */
static enum status split(const char *text, struct name *name, struct err *err)
{
    const char *host = text + 6, *colon = strrchr(text, ':');
    size_t len;
    char *end = NULL;

    if (strncmp(text, "tcp://", 6) != 0 || !colon || colon < host + 1)
        goto bad;
    len = (size_t)(colon - host);
    if (host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (len == 0 || len >= sizeof(name->host) || end == colon + 1 || *end || port < 1 ||
        port > 65535)
        goto bad;
    memcpy(name->host, host, len);
    snprintf(name->port, sizeof(name->port), "%lu", port);
    return STATUS_OK;
bad:
    return err_set(err, STATUS_INVALID, "--router must be tcp://NAME:PORT, not \"%.100s\"", text);
}

static void add_endpoint(struct resolver_list *list, const char *endpoint)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->endpoints[i], endpoint) == 0)
            return;
    if (list->count < RESOLVER_ADDRESSES_MAX)
        snprintf(list->endpoints[list->count++], RESOLVER_ENDPOINT_MAX, "%s", endpoint);
}

static void lookup(struct name *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(name->host, name->port, &hints, &found);

    if (rc != 0) {
        if (!name->failed)
            LOG_WARN("links", "router_unknown", "name=%s error=\"%s\"", name->host,
                     gai_strerror(rc));
        name->failed = true;
        return;
    }
    name->failed = false;
    name->found.count = 0;
    for (struct addrinfo *at = found; at; at = at->ai_next) {
        char host[64], endpoint[RESOLVER_ENDPOINT_MAX];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) !=
            0)
            continue;
        snprintf(endpoint, sizeof(endpoint),
                 at->ai_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s", host, name->port);
        add_endpoint(&name->found, endpoint);
    }
    freeaddrinfo(found);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void publish(struct resolver *resolver)
{
    struct resolver_list list = {.count = 0};

    for (uint32_t n = 0; n < resolver->name_count; n++)
        for (uint32_t i = 0; i < resolver->names[n].found.count; i++)
            add_endpoint(&list, resolver->names[n].found.endpoints[i]);
    qsort(list.endpoints, list.count, sizeof(list.endpoints[0]), by_text);
    pthread_mutex_lock(&resolver->lock);
    if (list.count != resolver->list.count ||
        memcmp(list.endpoints, resolver->list.endpoints, sizeof(list.endpoints)) != 0) {
        uint64_t one = 1;
        resolver->list = list;
        resolver->changed = true;
        if (write(resolver->fd, &one, sizeof(one)) < 0)
            LOG_ERROR("links", "eventfd", "error=\"%s\"", strerror(errno));
    }
    pthread_mutex_unlock(&resolver->lock);
}

static void *resolver_main(void *arg)
{
    struct resolver *resolver = arg;
    bool stop = false;

    while (!stop) {
        struct timespec until;
        for (uint32_t n = 0; n < resolver->name_count; n++)
            lookup(&resolver->names[n]);
        publish(resolver);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RESOLVER_EVERY_MS / 1000;
        pthread_mutex_lock(&resolver->lock);
        while (!resolver->stop &&
               pthread_cond_timedwait(&resolver->wake, &resolver->lock, &until) == 0)
            continue;
        stop = resolver->stop;
        pthread_mutex_unlock(&resolver->lock);
    }
    return NULL;
}

static void resolver_free(struct resolver *resolver)
{
    if (resolver->fd >= 0)
        close(resolver->fd);
    pthread_cond_destroy(&resolver->wake);
    pthread_mutex_destroy(&resolver->lock);
    mem_free(resolver->names);
    mem_free(resolver);
}

enum status resolver_check(const struct config_list *names, struct err *err)
{
    struct name name;
    for (size_t i = 0; i < names->count; i++)
        TRY(split(names->items[i], &name, err));
    return STATUS_OK;
}

enum status resolver_start(const struct config_list *names, struct resolver **out, struct err *err)
{
    struct resolver *resolver = mem_zalloc(sizeof(*resolver));
    pthread_condattr_t attr;
    enum status status = STATUS_OK;

    pthread_mutex_init(&resolver->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&resolver->wake, &attr);
    pthread_condattr_destroy(&attr);
    resolver->name_count = (uint32_t)names->count;
    resolver->names = mem_array(names->count, sizeof(*resolver->names));
    resolver->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (size_t i = 0; i < names->count; i++)
        TRY_OUT(split(names->items[i], &resolver->names[i], err));
    if (resolver->fd < 0 || pthread_create(&resolver->thread, NULL, resolver_main, resolver) != 0)
        status = err_set(err, STATUS_INTERNAL, "the resolver thread does not start");
out:
    if (status == STATUS_OK)
        *out = resolver;
    else
        resolver_free(resolver);
    return status;
}

void resolver_stop(struct resolver *resolver)
{
    if (!resolver)
        return;
    pthread_mutex_lock(&resolver->lock);
    resolver->stop = true;
    pthread_cond_signal(&resolver->wake);
    pthread_mutex_unlock(&resolver->lock);
    pthread_join(resolver->thread, NULL);
    resolver_free(resolver);
}

int resolver_fd(const struct resolver *resolver)
{
    return resolver->fd;
}

bool resolver_take(struct resolver *resolver, struct resolver_list *list)
{
    uint64_t count;
    bool changed;

    pthread_mutex_lock(&resolver->lock);
    changed = resolver->changed;
    resolver->changed = false;
    if (read(resolver->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        LOG_ERROR("links", "eventfd", "error=\"%s\"", strerror(errno));
    if (changed)
        *list = resolver->list;
    pthread_mutex_unlock(&resolver->lock);
    return changed;
}
