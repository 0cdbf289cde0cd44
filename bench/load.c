/* load - replays JSON bodies as streaming calls and measures the streams.
 *
 *   bench_load --bodies FILE --port P[,P…] [--conc N | --rate R [--seed S]] [--requests N]
 *              [--path /v1/completions] [--pid P[,P…]] [--limit-s N] [--csv FILE]
 *
 * FILE has one body a line; call i takes line i mod lines and port i mod ports, as a load balancer that
 * goes round would do. --conc keeps N calls open (closed loop); --rate starts R a second whatever
 * comes back (open loop, Poisson, seeded). One epoll thread, connections kept alive and used again.
 *
 * Prints one JSON object: what came back, times in ms (first token, gap between events), and for each
 * --pid the CPU seconds it took meanwhile and its peak resident set. An answer is good when it is a 200
 * whose last event is [DONE]; an `error` event makes it bad. --csv writes a row for each call.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/rng.h"

#define PORTS_MAX  64
#define CONNS_MAX  16384
#define READ_BYTES 65536

/* Where the parser stands in the answer. */
enum place { IN_HEAD, IN_SIZE, IN_DATA, AFTER_DATA, IN_LAST };

struct conn {
    int fd;
    uint32_t port; /* index */
    struct conn *next_idle;
    bool busy, done, bad;
    enum place place;
    uint64_t chunk_left;
    char frame[32]; /* line of the head, or chunk size: its beginning */
    char line[32];  /* of the event being read: its beginning */
    size_t frame_len, line_len;
    uint64_t sent_ns, last_ns;
    uint64_t call;
    uint32_t events;
};

struct times { /* nanoseconds */
    uint64_t *items;
    size_t count, cap;
};

struct load {
    struct str *bodies;
    size_t body_count;
    uint16_t ports[PORTS_MAX];
    uint32_t port_count;
    int pids[PORTS_MAX];
    double cpu_s[PORTS_MAX];
    uint32_t pid_count;
    const char *path;
    uint64_t total, conc, limit_s;
    double rate;
    uint64_t random;
    int epoll;
    struct conn *idle[PORTS_MAX];
    uint64_t started, good, bad, open, open_max, connections;
    struct times first, gaps;
    FILE *csv;
};

static void times_add(struct times *times, uint64_t ns)
{
    if (times->count == times->cap) {
        times->cap = MAX((size_t)4096, times->cap * 2);
        times->items = mem_realloc(times->items, times->cap * sizeof(*times->items));
    }
    times->items[times->count++] = ns;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile_ms(const struct times *sorted, double q)
{
    if (sorted->count == 0)
        return 0;
    return (double)sorted->items[(size_t)(q * (double)(sorted->count - 1))] / 1e6;
}

/* ---- processes ---- */

/* Of the process and all below it. */
static double cpu_seconds(int pid)
{
    char path[64], line[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file && fgets(line, sizeof(line), file)) {
        const char *end = strrchr(line, ')');
        if (end)
            sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    }
    if (file)
        fclose(file);
    double seconds = (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    file = fopen(path, "r");
    for (int child; file && fscanf(file, "%d", &child) == 1;)
        seconds += cpu_seconds(child);
    if (file)
        fclose(file);
    return seconds;
}

static double peak_mib(int pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        sscanf(line, "VmHWM: %ld", &kib);
    if (file)
        fclose(file);
    return (double)kib / 1024;
}

/* ---- connections ---- */

static struct conn *dial(struct load *load, uint32_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(load->ports[port]),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct conn *conn = mem_zalloc(sizeof(*conn));
    conn->fd = fd;
    conn->port = port;
    load->connections++;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    CHECK(epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    return conn;
}

static bool send_all(int fd, const char *data, size_t len, int flags)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL | flags);
        if (sent <= 0)
            return false;
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* `due_ns`: when it should have been sent, so that our own delay is not left out. */
static void start_call(struct load *load, uint64_t due_ns)
{
    uint64_t call = load->started++;
    struct str body = load->bodies[call % load->body_count];
    uint32_t port = (uint32_t)(call % load->port_count);
    struct conn *conn = load->idle[port];
    char head[512];
    if (conn)
        load->idle[port] = conn->next_idle;
    else
        conn = dial(load, port);
    if (!conn) {
        load->bad++;
        return;
    }
    conn->busy = true;
    conn->done = conn->bad = false;
    conn->place = IN_HEAD;
    conn->line_len = conn->frame_len = 0;
    conn->events = 0;
    conn->call = call;
    conn->sent_ns = due_ns;
    load->open++;
    load->open_max = MAX(load->open_max, load->open);
    int len = snprintf(head, sizeof(head),
                       "POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
                       "accept: text/event-stream\r\ncontent-length: %zu\r\n\r\n",
                       load->path, body.len);
    /* A refused write shows as a closed connection when it is read. */
    if (send_all(conn->fd, head, (size_t)len, MSG_MORE))
        (void)send_all(conn->fd, body.data, body.len, 0);
}

static void end_call(struct load *load, struct conn *conn, bool good)
{
    uint64_t now_ns = clock_now_ns();
    load->good += good;
    load->bad += !good;
    load->open--;
    if (load->csv)
        fprintf(load->csv, "%llu,%d,%u,%.3f\n", (unsigned long long)conn->call, good, conn->events,
                (double)(now_ns - conn->sent_ns) / 1e6);
    conn->busy = false;
    if (good) {
        conn->next_idle = load->idle[conn->port];
        load->idle[conn->port] = conn;
    } else {
        close(conn->fd);
        mem_free(conn);
    }
    if (load->rate == 0 && load->started < load->total)
        start_call(load, now_ns);
}

/* ---- answers ---- */

static void take_event(struct load *load, struct conn *conn, uint64_t now_ns)
{
    if (conn->line_len < 7 || memcmp(conn->line, "data: ", 6) != 0)
        return;
    if (conn->line[6] == '[') {
        conn->done = true;
        return;
    }
    if (conn->line_len >= 14 && memcmp(conn->line + 6, "{\"error\"", 8) == 0)
        conn->bad = true;
    if (conn->events++ == 0)
        times_add(&load->first, now_ns - conn->sent_ns);
    else
        times_add(&load->gaps, now_ns - conn->last_ns);
    conn->last_ns = now_ns;
}

/* One byte of a line, head or chunk size; true at the line's end. */
static bool line_push(struct conn *conn, char c)
{
    if (c == '\n')
        return true;
    if (c != '\r' && conn->frame_len < sizeof(conn->frame) - 1)
        conn->frame[conn->frame_len++] = c;
    return false;
}

static size_t take_data(struct load *load, struct conn *conn, const char *data, size_t len,
                        uint64_t now_ns)
{
    size_t count = (size_t)MIN((uint64_t)len, conn->chunk_left);
    for (size_t i = 0; i < count;) {
        const char *end = memchr(data + i, '\n', count - i);
        size_t part = end ? (size_t)(end - data) - i : count - i;
        size_t keep = MIN(part, sizeof(conn->line) - 1 - conn->line_len);
        memcpy(conn->line + conn->line_len, data + i, keep);
        conn->line_len += keep;
        if (end) {
            take_event(load, conn, now_ns);
            conn->line_len = 0;
        }
        i += part + (end != NULL);
    }
    conn->chunk_left -= count;
    if (conn->chunk_left == 0)
        conn->place = AFTER_DATA;
    return count;
}

/* The line in conn->frame is whole; false: the answer is not one that we want. */
static bool take_line(struct conn *conn)
{
    conn->frame[conn->frame_len] = '\0';
    bool empty = conn->frame_len == 0;
    conn->frame_len = 0;
    switch (conn->place) {
    case IN_HEAD:
        if (empty)
            conn->place = IN_SIZE;
        return strncmp(conn->frame, "HTTP/1.1 ", 9) != 0 || strncmp(conn->frame + 9, "200", 3) == 0;
    case IN_SIZE:
        conn->chunk_left = strtoull(conn->frame, NULL, 16);
        conn->place = conn->chunk_left > 0 ? IN_DATA : IN_LAST;
        return true;
    case AFTER_DATA:
        conn->place = IN_SIZE;
        return true;
    default:
        return true;
    }
}

static void receive(struct load *load, struct conn *conn)
{
    static char data[READ_BYTES];
    ssize_t got = recv(conn->fd, data, sizeof(data), MSG_DONTWAIT);
    uint64_t now_ns = clock_now_ns();
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || !conn->busy) {
        if (conn->busy)
            end_call(load, conn, false);
        else
            epoll_ctl(load->epoll, EPOLL_CTL_DEL, conn->fd,
                      NULL); /* found closed when used again */
        return;
    }
    for (size_t i = 0; i < (size_t)got;) {
        if (conn->place == IN_DATA) {
            i += take_data(load, conn, data + i, (size_t)got - i, now_ns);
            continue;
        }
        if (!line_push(conn, data[i++]))
            continue;
        bool last = conn->place == IN_LAST;
        if (!take_line(conn)) {
            end_call(load, conn, false);
            return;
        }
        if (last) {
            end_call(load, conn, conn->done && !conn->bad);
            return;
        }
    }
}

/* ---- the run ---- */

static void run(struct load *load)
{
    struct epoll_event events[1024];
    uint64_t begin_ns = clock_now_ns(), next_ns = begin_ns;
    for (uint64_t i = 0; load->rate == 0 && i < load->conc && load->started < load->total; i++)
        start_call(load, begin_ns);
    while (load->open > 0 || load->started < load->total) {
        uint64_t now_ns = clock_now_ns();
        if ((now_ns - begin_ns) / 1000000000u > load->limit_s)
            break;
        while (load->rate > 0 && load->started < load->total && now_ns >= next_ns) {
            start_call(load, next_ns);
            next_ns += (uint64_t)(-log(1 - rng_unit(&load->random)) / load->rate * 1e9);
        }
        uint64_t wait_ns = 100000000;
        if (load->rate > 0 && load->started < load->total)
            wait_ns = MIN(wait_ns, next_ns > now_ns ? next_ns - now_ns : 0);
        struct timespec wait = {.tv_nsec = (long)wait_ns};
        int count = epoll_pwait2(load->epoll, events, ARRAY_LEN(events), &wait, NULL);
        for (int i = 0; i < count; i++)
            receive(load, events[i].data.ptr);
    }
}

static void print_times(const char *name, struct times *times)
{
    qsort(times->items, times->count, sizeof(*times->items), by_value);
    printf(",\"%s\":{\"count\":%zu,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f}", name,
           times->count, quantile_ms(times, 0.5), quantile_ms(times, 0.9), quantile_ms(times, 0.99),
           quantile_ms(times, 1));
}

static void report(struct load *load, double seconds)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"requests\":%llu,\"good\":%llu,\"bad\":%llu,\"seconds\":%.3f,\"open_max\":%llu,"
           "\"connections\":%llu,\"events\":%zu,\"client_cpu_s\":%.2f",
           (unsigned long long)load->started, (unsigned long long)load->good,
           (unsigned long long)(load->started - load->good), seconds,
           (unsigned long long)load->open_max, (unsigned long long)load->connections,
           load->first.count + load->gaps.count,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    print_times("first_ms", &load->first);
    print_times("gap_ms", &load->gaps);
    printf(",\"pids\":[");
    for (uint32_t i = 0; i < load->pid_count; i++)
        printf("%s{\"pid\":%d,\"cpu_s\":%.2f,\"peak_mib\":%.1f}", i > 0 ? "," : "", load->pids[i],
               cpu_seconds(load->pids[i]) - load->cpu_s[i], peak_mib(load->pids[i]));
    printf("]}\n");
}

static void read_bodies(struct load *load, const char *path, struct buf *text)
{
    struct err err = {.text = ""};
    if (file_read(path, (size_t)4 << 30, text, &err) != STATUS_OK) {
        fprintf(stderr, "bench_load: %s\n", err.text);
        exit(1);
    }
    size_t cap = 0;
    for (size_t at = 0; at < text->len;) {
        char *end = memchr(text->data + at, '\n', text->len - at);
        size_t len = (end ? (size_t)(end - text->data) : text->len) - at;
        if (load->body_count == cap) {
            cap = MAX((size_t)1024, cap * 2);
            load->bodies = mem_realloc(load->bodies, cap * sizeof(*load->bodies));
        }
        load->bodies[load->body_count++] = (struct str){text->data + at, len};
        at += len + 1;
    }
}

static uint32_t numbers(const char *text, int out[PORTS_MAX])
{
    uint32_t count = 0;
    while (*text && count < PORTS_MAX) {
        char *end;
        out[count++] = (int)strtol(text, &end, 10);
        text = *end == ',' ? end + 1 : "";
    }
    return count;
}

static void parse(struct load *load, int argc, char **argv, struct buf *text)
{
    int ports[PORTS_MAX];
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--bodies") == 0)
            read_bodies(load, value, text);
        else if (strcmp(name, "--port") == 0)
            load->port_count = numbers(value, ports);
        else if (strcmp(name, "--pid") == 0)
            load->pid_count = numbers(value, load->pids);
        else if (strcmp(name, "--conc") == 0)
            load->conc = strtoull(value, NULL, 10);
        else if (strcmp(name, "--rate") == 0)
            load->rate = strtod(value, NULL);
        else if (strcmp(name, "--seed") == 0)
            load->random = strtoull(value, NULL, 10);
        else if (strcmp(name, "--requests") == 0)
            load->total = strtoull(value, NULL, 10);
        else if (strcmp(name, "--limit-s") == 0)
            load->limit_s = strtoull(value, NULL, 10);
        else if (strcmp(name, "--path") == 0)
            load->path = value;
        else if (strcmp(name, "--csv") == 0)
            load->csv = fopen(value, "w");
    }
    for (uint32_t i = 0; i < load->port_count; i++)
        load->ports[i] = (uint16_t)ports[i];
    if (load->body_count == 0 || load->port_count == 0 || (load->conc == 0 && load->rate == 0)) {
        fprintf(stderr,
                "usage: bench_load --bodies FILE --port P[,P...] --conc N | --rate R ...\n");
        exit(1);
    }
    if (load->total == 0)
        load->total = load->body_count;
}

int main(int argc, char **argv)
{
    struct load load = {.path = "/v1/completions", .limit_s = 600, .random = 1};
    struct buf text = {0};
    parse(&load, argc, argv, &text);
    load.epoll = epoll_create1(0);
    for (uint32_t i = 0; i < load.pid_count; i++)
        load.cpu_s[i] = cpu_seconds(load.pids[i]);
    uint64_t begin_ns = clock_now_ns();
    run(&load);
    report(&load, (double)(clock_now_ns() - begin_ns) / 1e9);
    return load.good == load.started ? 0 : 2;
}
