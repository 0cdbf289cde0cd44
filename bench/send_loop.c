/* send_loop - the least that a streamed token costs where each is a write of its own.
 *
 *   bench_send_loop [SECONDS 5] [ROUNDS 2]
 *
 * 64 TCP connections over loopback, an event of a chat stream to each every 10 ms, one send() each and
 * nothing else: what arrives, is decoded or framed is not in it. A process of its own reads, in epoll,
 * as bench_load does; its time is not counted, but what the kernel does within send() (the receiving
 * half of loopback TCP, waking the reader) is. Prints CSV: how many streams are written in one go, so
 * that 8 is what 8 workers' frames make; CPU time of this thread over the sends alone and over the
 * whole loop, its sleeping and waking included; sends a CPU-second by the first.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define STREAMS   64u
#define PERIOD_NS 10000000u

/* As the router writes it, its chunk's frame included. */
static const char event[] =
    "10e\r\ndata: "
    "{\"id\":\"chatcmpl-790f29d59c9a7a43e0a6102b\",\"object\":\"chat.completion.chunk\","
    "\"created\":1795508603,\"model\":\"SmolLM2-135M-Instruct\",\"system_fingerprint\":"
    "\"fp_ac74ba768604c284\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" months\"},"
    "\"logprobs\":null,\"finish_reason\":null}]}\n\n\r\n";

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(bool well, const char *what)
{
    if (!well) {
        perror(what);
        exit(1);
    }
}

/* The reading process: until its parent is gone. */
static void read_all(const int *fds)
{
    char bytes[65536];
    int poll = epoll_create1(0);
    for (uint32_t i = 0; i < STREAMS; i++)
        epoll_ctl(poll, EPOLL_CTL_ADD, fds[i],
                  &(struct epoll_event){.events = EPOLLIN, .data.fd = fds[i]});
    for (;;) {
        struct epoll_event ready[STREAMS];
        int count = epoll_wait(poll, ready, STREAMS, -1);
        for (int i = 0; i < count; i++)
            if (read(ready[i].data.fd, bytes, sizeof(bytes)) <= 0)
                _exit(0);
    }
}

static void connect_all(int *ours, int *theirs)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&at, len) == 0 && listen(listener, STREAMS) == 0,
         "listen");
    getsockname(listener, (struct sockaddr *)&at, &len);
    for (uint32_t i = 0; i < STREAMS; i++) {
        theirs[i] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(theirs[i], (struct sockaddr *)&at, len) == 0, "connect");
        ours[i] = accept(listener, NULL, NULL);
        must(ours[i] >= 0, "accept");
        setsockopt(ours[i], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    close(listener);
}

static void measure(const int *fds, uint32_t burst, uint32_t round, double seconds)
{
    uint64_t sends = 0, begin_ns = clock_now_ns(), next_ns = begin_ns;
    double sending_us = 0, whole_us = cpu_us();
    while ((double)(next_ns - begin_ns) < seconds * 1e9) {
        double before_us = cpu_us();
        for (uint32_t i = 0; i < burst; i++, sends++)
            must(send(fds[sends % STREAMS], event, sizeof(event) - 1, MSG_NOSIGNAL) > 0, "send");
        sending_us += cpu_us() - before_us;
        next_ns += PERIOD_NS * burst / STREAMS;
        struct timespec until = {(time_t)(next_ns / 1000000000u), (long)(next_ns % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    whole_us = cpu_us() - whole_us;
    printf("%u,%u,%zu,%llu,%.2f,%.2f,%.0f\n", burst, round, sizeof(event) - 1,
           (unsigned long long)sends, sending_us / (double)sends, whole_us / (double)sends,
           (double)sends * 1e6 / sending_us);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 5;
    uint32_t rounds = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2;
    int ours[STREAMS], theirs[STREAMS];
    connect_all(ours, theirs);
    pid_t reader = fork();
    if (reader == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        read_all(theirs);
    }
    printf("streams_a_burst,round,bytes,sends,us_a_send,us_a_send_whole,sends_cpu_s\n");
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t burst = 1; burst <= STREAMS; burst *= 8)
            measure(ours, burst, round, seconds);
    kill(reader, SIGKILL);
    waitpid(reader, NULL, 0);
    return 0;
}
