/* bench_online - streamed chat calls against any OpenAI server; one CSV row, as of the same load in
 * Python.
 *
 *   bench_online URL MODEL WORK SEED          WORK: chat:SESSIONS:TURNS or open:RATE:SECONDS (load.h)
 *
 *   ONLINE,work,requests,ok,seconds,out_tok_per_s,ttft_p50,ttft_p99,itl_p50,itl_p99,e2e_p50     ms
 *
 * A call is a connection of its own. First token: from before the connect to the first event with
 * "content". Between tokens: the time since the last bytes, shared by the events that came together.
 * A call is ok when [DONE] came. One thread, poll.
 */
#include "bench/works/load.h"
#include "bench/works/quantile.h"
#include "common/clock.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CARRY 15u /* bytes of a pattern that may be cut by a read */

struct series {
    double *values;
    size_t count, cap;
};

struct call {
    int fd; /* -1: not running */
    struct buf request;
    size_t sent;
    uint64_t start_ns, last_ns;
    char tail[CARRY];
    size_t tail_len;
    bool streaming, first, done;
    uint32_t next_turn; /* chat: of this session */
};

struct online {
    struct load load;
    struct addrinfo *address;
    struct call *calls;
    struct pollfd *fds;
    uint32_t slots, running, ended, ok;
    struct series ttft, itl, e2e;
    char failure[200];
};

static void series_add(struct series *series, double value, size_t times)
{
    if (series->count + times > series->cap) {
        series->cap = 2 * (series->count + times) + 1024;
        series->values = realloc(series->values, series->cap * sizeof(*series->values));
        CHECK(series->values != NULL);
    }
    for (size_t i = 0; i < times; i++)
        series->values[series->count++] = value;
}

static double quantile_ms(const struct series *series, double q)
{
    return series->count > 0 ? quantile(series->values, series->count, q) * 1e3 : -1;
}

static void call_end(struct online *online, struct call *call, const char *why)
{
    if (call->done)
        online->ok++;
    else if (online->failure[0] == '\0')
        snprintf(online->failure, sizeof(online->failure), "%s: %.*s", why, (int)call->tail_len,
                 call->tail);
    series_add(&online->e2e, (double)(clock_now_ns() - call->start_ns) / 1e9, 1);
    close(call->fd);
    call->fd = -1;
    online->running--;
    online->ended++;
}

static void call_start(struct online *online, struct call *call, const struct load_call *what)
{
    uint32_t turn = call->next_turn;
    struct buf request = call->request;
    request.len = 0;
    *call = (struct call){.request = request, .next_turn = turn, .first = true};
    buf_printf(&call->request,
               "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               "Connection: close\r\nContent-Length: %zu\r\n\r\n",
               what->body.len);
    buf_append(&call->request, what->body.data, what->body.len);
    call->start_ns = call->last_ns = clock_now_ns();
    call->fd = socket(online->address->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    online->running++;
    if (call->fd < 0 || (connect(call->fd, online->address->ai_addr, online->address->ai_addrlen) &&
                         errno != EINPROGRESS))
        call_end(online, call, strerror(errno));
}

static size_t count_of(const char *data, size_t len, const char *pattern)
{
    size_t count = 0, size = strlen(pattern);
    for (const char *at = data; (at = memmem(at, len - (size_t)(at - data), pattern, size)) != NULL;
         at += size)
        count++;
    return count;
}

/* New bytes behind the end of the last ones. A pattern that lay whole in the old ones is not counted
 * again: the carried end is shorter than each pattern. */
static void call_bytes(struct online *online, struct call *call, const char *data, size_t len)
{
    uint64_t now = clock_now_ns();
    char *joined = mem_alloc(call->tail_len + len);
    memcpy(joined, call->tail, call->tail_len);
    memcpy(joined + call->tail_len, data, len);
    size_t all = call->tail_len + len;
    size_t skip5 = call->tail_len > 5 ? call->tail_len - 5 : 0;
    size_t events = count_of(joined + skip5, all - skip5, "data: ");
    bool content = memmem(joined, all, "\"content\"", 9) != NULL;
    if (!call->streaming && memmem(joined, all, "200 OK", 6) != NULL)
        call->streaming = true;
    if (events > 0 && call->streaming) {
        double since = (double)(now - call->last_ns) / 1e9;
        if (call->first && content) {
            series_add(&online->ttft, (double)(now - call->start_ns) / 1e9, 1);
            call->first = false;
        } else if (!call->first) {
            series_add(&online->itl, since / (double)events, events);
        }
        call->last_ns = now;
    }
    call->done |= memmem(joined, all, "[DONE]", 6) != NULL;
    call->tail_len = MIN(all, (size_t)CARRY);
    memcpy(call->tail, joined + all - call->tail_len, call->tail_len);
    mem_free(joined);
}

static void call_turn(struct online *online, struct call *call, short events)
{
    char data[65536];
    if (call->sent < call->request.len && (events & POLLOUT)) {
        ssize_t n = send(call->fd, call->request.data + call->sent, call->request.len - call->sent,
                         MSG_NOSIGNAL);
        if (n > 0)
            call->sent += (size_t)n;
        else if (n < 0 && errno != EAGAIN) {
            call_end(online, call, strerror(errno));
            return;
        }
    }
    if (!(events & (POLLIN | POLLHUP | POLLERR)))
        return;
    ssize_t n = recv(call->fd, data, sizeof(data), 0);
    if (n > 0)
        call_bytes(online, call, data, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN) || call->done)
        call_end(online, call, n < 0 ? strerror(errno) : "closed early");
}

/* Starts what is due; returns ms to the next arrival, -1 when there is none. */
static int start_due(struct online *online, uint64_t start_ns, uint32_t *arrived)
{
    struct load *load = &online->load;
    for (uint32_t i = 0; i < load->sessions; i++) {
        struct call *call = &online->calls[i];
        if (call->fd < 0 && call->next_turn < load->turns)
            call_start(online, call, &load->calls[i * load->turns + call->next_turn++]);
    }
    if (load->sessions > 0)
        return -1;
    while (*arrived < load->call_count) {
        double due = load->calls[*arrived].arrival_s - (double)(clock_now_ns() - start_ns) / 1e9;
        if (due > 0)
            return (int)(due * 1e3) + 1;
        call_start(online, &online->calls[*arrived], &load->calls[*arrived]);
        ++*arrived;
    }
    return -1;
}

static void run(struct online *online)
{
    uint64_t start_ns = clock_now_ns();
    uint32_t arrived = 0;
    while (online->ended < online->load.call_count) {
        int timeout = start_due(online, start_ns, &arrived);
        for (uint32_t i = 0; i < online->slots; i++) {
            struct call *call = &online->calls[i];
            short events = call->sent < call->request.len ? POLLIN | POLLOUT : POLLIN;
            online->fds[i] = (struct pollfd){.fd = call->fd, .events = events};
        }
        if (poll(online->fds, online->slots, timeout) < 0)
            continue;
        for (uint32_t i = 0; i < online->slots; i++)
            if (online->fds[i].fd >= 0 && online->fds[i].revents != 0)
                call_turn(online, &online->calls[i], online->fds[i].revents);
    }
}

static enum status resolve(const char *url, struct addrinfo **out, struct err *err)
{
    char host[256], port[16] = "80";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (sscanf(url, "http://%255[^:/]:%15[0-9]", host, port) < 1)
        return err_set(err, STATUS_INVALID, "%s is not http://HOST:PORT", url);
    if (getaddrinfo(host, port, &hints, out) != 0)
        return err_set(err, STATUS_NOT_FOUND, "no address for %s", host);
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    struct online online = {0};
    struct err err = {0};
    if (argc != 5) {
        fprintf(stderr, "usage: bench_online URL MODEL WORK SEED\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    enum status status = resolve(argv[1], &online.address, &err);
    if (status == STATUS_OK)
        status = load_init(&online.load, argv[3], argv[2], strtoull(argv[4], NULL, 10), &err);
    if (status != STATUS_OK) {
        fprintf(stderr, "bench_online: %s\n", err.text);
        return 1;
    }
    online.slots = online.load.sessions ? online.load.sessions : online.load.call_count;
    online.calls = mem_array(online.slots, sizeof(*online.calls));
    online.fds = mem_array(online.slots, sizeof(*online.fds));
    for (uint32_t i = 0; i < online.slots; i++)
        online.calls[i].fd = -1;
    uint64_t start_ns = clock_now_ns();
    run(&online);
    double seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    printf("ONLINE,%s,%u,%u,%.2f,%.0f,%.1f,%.1f,%.2f,%.2f,%.0f\n", argv[3], online.ended, online.ok,
           seconds, online.ok * LOAD_TOKENS_OUT / seconds, quantile_ms(&online.ttft, 0.5),
           quantile_ms(&online.ttft, 0.99), quantile_ms(&online.itl, 0.5),
           quantile_ms(&online.itl, 0.99), quantile_ms(&online.e2e, 0.5));
    if (online.failure[0] != '\0')
        printf("# first failure: %s\n", online.failure);
    for (uint32_t i = 0; i < online.slots; i++)
        buf_release(&online.calls[i].request);
    mem_free(online.calls);
    mem_free(online.fds);
    free(online.ttft.values);
    free(online.itl.values);
    free(online.e2e.values);
    load_release(&online.load);
    freeaddrinfo(online.address);
    return online.ok == online.ended ? 0 : 1;
}
