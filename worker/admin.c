#include "worker/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define REQUEST_BYTES_MAX 8192
#define PATIENCE_S        1

struct admin {
    struct board *board;
    int listener, stop_fd;
    pthread_t thread;
};

static void reply(int fd, int status, const char *type, const struct buf *body)
{
    struct buf out = {0};
    size_t done = 0;

    buf_printf(
        &out,
        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
        status,
        status == 200   ? "OK"
        : status == 404 ? "Not Found"
                        : "Service Unavailable",
        type, body->len);
    buf_append(&out, body->data, body->len);
    while (done < out.len) {
        ssize_t sent = send(fd, out.data + done, out.len - done, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        done += (size_t)sent;
    }
    buf_release(&out);
}

static void answer_probe(int fd, const char *why)
{
    struct buf body = {0};
    buf_printf(&body, "{\"status\":\"%s\"}", why ? why : "ok");
    reply(fd, why ? 503 : 200, "application/json", &body);
    buf_release(&body);
}

static bool path_is(const char *request, const char *path)
{
    size_t len = strlen(path);
    return strncmp(request, "GET ", 4) == 0 && strncmp(request + 4, path, len) == 0 &&
           strchr(" ?", request[4 + len]) != NULL && request[4 + len] != 0;
}

static void answer(struct admin *admin, int fd, const char *request)
{
    struct buf body = {0};

    if (path_is(request, "/health")) {
        answer_probe(fd, board_health(admin->board, clock_now_ms()));
    } else if (path_is(request, "/ready")) {
        answer_probe(fd, board_ready(admin->board, clock_now_ms()));
    } else if (path_is(request, "/metrics")) {
        board_write(admin->board, &body);
        reply(fd, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
    } else {
        buf_str(&body, "/health, /ready and /metrics are here\n");
        reply(fd, 404, "text/plain", &body);
    }
    buf_release(&body);
}

static void serve(struct admin *admin, int fd)
{
    char request[REQUEST_BYTES_MAX + 1];
    size_t len = 0;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    uint64_t end_ms = clock_now_ms() + PATIENCE_S * 1000;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    while (len < REQUEST_BYTES_MAX && clock_now_ms() < end_ms) {
        ssize_t got = recv(fd, request + len, REQUEST_BYTES_MAX - len, 0);
        if (got <= 0)
            return;
        len += (size_t)got;
        request[len] = 0;
        if (strstr(request, "\r\n\r\n")) {
            answer(admin, fd, request);
            shutdown(fd, SHUT_WR);
            return;
        }
    }
}

static void *admin_main(void *arg)
{
    struct admin *admin = arg;
    struct pollfd fds[] = {{.fd = admin->listener, .events = POLLIN},
                           {.fd = admin->stop_fd, .events = POLLIN}};

    for (;;) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[1].revents & POLLIN)
            return NULL;
        int fd = fds[0].revents & POLLIN ? accept4(admin->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            serve(admin, fd);
            close(fd);
        }
    }
}

static enum status listen_on(const char *host, uint16_t port, int *out, struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[8];
    int yes = 1, fd;

    snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return err_set(err, STATUS_INVALID, "%s is not an IP address to listen on", host);
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
                 bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 64) == 0;
    int why = errno;
    freeaddrinfo(found);
    if (bound) {
        *out = fd;
        return STATUS_OK;
    }
    if (fd >= 0)
        close(fd);
    return err_set(err, why == EADDRINUSE ? STATUS_CONFLICT : STATUS_IO,
                   "cannot listen on %s port %u: %s", host, port, strerror(why));
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        return 0;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}

enum status admin_start(const char *host, uint16_t port, struct board *board, struct admin **out,
                        struct err *err)
{
    int listener = -1;

    TRY(listen_on(host, port, &listener, err));
    struct admin *admin = mem_zalloc(sizeof(*admin));
    *admin =
        (struct admin){.board = board, .listener = listener, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    if (admin->stop_fd < 0 || pthread_create(&admin->thread, NULL, admin_main, admin) != 0) {
        close(listener);
        mem_free(admin);
        return err_set(err, STATUS_INTERNAL, "no thread for probes: %s", strerror(errno));
    }
    LOG_INFO("admin", "listening", "address=%s port=%u", host, port_of(listener));
    *out = admin;
    return STATUS_OK;
}

void admin_stop(struct admin *admin)
{
    uint64_t one = 1;

    if (!admin)
        return;
    ssize_t written = write(admin->stop_fd, &one, sizeof(one));
    CHECK(written == (ssize_t)sizeof(one));
    pthread_join(admin->thread, NULL);
    close(admin->stop_fd);
    close(admin->listener);
    mem_free(admin);
}
