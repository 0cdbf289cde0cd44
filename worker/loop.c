#include "worker/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/inbox.h"

#define SHOW_MS 200u   /* between gauges */
#define HUNG_MS 10000u /* a step that hangs for less is the routers' business alone */

struct loop {
    struct worker *worker;
    int signal_fd;
    uint32_t depth; /* steps in flight at most */
    uint32_t signals;
    uint64_t drain_end_ms;
    uint64_t began_ns; /* about when the oldest step in flight began to run */
    struct err *err;
};

/* ---- steps ---- */

static enum status commit_oldest(struct loop *loop, struct err *err)
{
    struct worker *worker = loop->worker;
    struct step_result result;
    uint32_t count = worker->event_max;

    TRY(worker->kind->wait(worker->engine, worker->tickets[0], &result, err));
    uint64_t start_ns = clock_now_ns();
    worker->tickets[0] = worker->tickets[1];
    worker->in_flight--;
    worker->step_since_ms = clock_now_ms();
    loop->began_ns = clock_now_ns();
    scheduler_commit(worker->scheduler, result.tokens, result.sample_count, clock_now_ms(),
                     result.device_ns, worker->events, &count);
    outbox_cache(worker); /* before TOKENS: who asks again at once finds the router informed */
    outbox_events(worker, worker->events, count, &result);
    if (worker->board)
        board_commit(worker->board, result.device_ns, clock_now_ns() - start_ns,
                     result.sample_count);
    return STATUS_OK;
}

/* Ends that need no step come out of plan as well, so it is asked even when nothing can be
 * launched; false when the pipeline is full or there is nothing to do. */
static enum status launch(struct loop *loop, bool *launched, struct err *err)
{
    struct worker *worker = loop->worker;
    const struct step_packet *packet;
    uint32_t count = worker->event_max;
    uint64_t start_ns = clock_now_ns();

    packet =
        scheduler_plan(worker->scheduler, clock_now_ms(), worker->block, worker->events, &count);
    if (worker->board && packet)
        board_plan(worker->board, clock_now_ns() - start_ns);
    outbox_events(worker, worker->events, count, NULL);
    *launched = packet != NULL;
    if (packet) {
        if (worker->in_flight == 0) {
            worker->step_since_ms = clock_now_ms();
            loop->began_ns = clock_now_ns();
        }
        TRY(ranks_step(worker, packet, err));
        TRY(worker->kind->submit(worker->engine, packet, &worker->tickets[worker->in_flight], err));
        worker->in_flight++;
    }
    return STATUS_OK;
}

static bool step_done(const struct worker *worker)
{
    struct pollfd fd = {.fd = worker->kind->event_fd(worker->engine), .events = POLLIN};
    return worker->in_flight > 0 && poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN);
}

/* How long the second step has to wait for its plan. */
static uint64_t late_ns(const struct loop *loop)
{
    double late_ms = loop->worker->in_flight == 1 ? scheduler_late_ms(loop->worker->scheduler) : 0;
    uint64_t now = clock_now_ns(), due = loop->began_ns + (uint64_t)(late_ms * 1e6);
    return late_ms > 0 && due > now ? due - now : 0;
}

static enum status run_steps(struct loop *loop)
{
    struct worker *worker = loop->worker;
    bool launched = true;

    while (step_done(worker))
        TRY(commit_oldest(loop, loop->err));
    while (launched && worker->in_flight < loop->depth && late_ns(loop) == 0)
        TRY(launch(loop, &launched, loop->err));
    if (worker->in_flight == 0)
        outbox_cache(worker); /* what plan evicted */
    return STATUS_OK;
}

/* ---- the world outside ---- */

static void read_signals(struct loop *loop, uint64_t now_ms)
{
    struct worker *worker = loop->worker;
    struct signalfd_siginfo info;

    while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        loop->signals++;
        if (worker->draining)
            continue;
        worker->draining = true;
        loop->drain_end_ms = now_ms + worker->config->drain_timeout_s * 1000;
        LOG_INFO("worker", "draining", "signal=%u reqs=%u seconds=%llu", info.ssi_signo,
                 worker->reqs.count, (unsigned long long)worker->config->drain_timeout_s);
        outbox_drain(worker);
    }
}

/* A step that takes so much longer than any bound is worth a restart: routers gave up on it long
 * before. */
static bool step_hangs(const struct worker *worker, uint64_t now_ms)
{
    uint64_t limit_ms = (uint64_t)(8 * scheduler_step_ms_bound(worker->scheduler));
    return worker->in_flight > 0 && now_ms - worker->step_since_ms > MAX(limit_ms, HUNG_MS);
}

static void show(struct worker *worker, uint64_t now_ms)
{
    struct sched_load load;
    uint32_t open = 0;

    if (!worker->board)
        return;
    for (uint32_t i = 0; i < worker->links.count; i++)
        open += worker->links.items[i]->state == LINK_OPEN;
    board_beat(worker->board, now_ms, open > 0 && !worker->draining, step_hangs(worker, now_ms));
    if (now_ms - worker->board_ms < SHOW_MS)
        return;
    worker->board_ms = now_ms;
    scheduler_load(worker->scheduler, &load);
    board_load(worker->board, &load, open, worker->draining);
}

/* True when frames were left for the next turn. */
static bool receive(struct worker *worker, uint64_t now_ms)
{
    bool more = false;
    for (uint32_t i = 0; i < worker->links.count; i++)
        more |= inbox_receive(worker, worker->links.items[i], now_ms);
    return more;
}

static void wait(struct loop *loop, uint64_t timeout_ms)
{
    struct worker *worker = loop->worker;
    struct pollfd fds[RESOLVER_ADDRESSES_MAX + 5];
    nfds_t count = 0;

    fds[count++] = (struct pollfd){.fd = loop->signal_fd, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = resolver_fd(worker->links.resolver), .events = POLLIN};
    if (worker->in_flight)
        fds[count++] =
            (struct pollfd){.fd = worker->kind->event_fd(worker->engine), .events = POLLIN};
    if (worker->ranks.transport) {
        fds[count++] = (struct pollfd){.fd = ranks_fd(worker), .events = POLLIN};
        fds[count++] = (struct pollfd){.fd = worker->children->fd, .events = POLLIN};
    }
    for (uint32_t i = 0; i < worker->links.count; i++)
        fds[count++] = (struct pollfd){.fd = transport_fd(worker->links.items[i]->transport),
                                       .events = POLLIN};
    uint64_t late = loop->depth > 1 ? late_ns(loop) : 0;
    uint64_t timeout_ns = late ? MIN(late, timeout_ms * 1000000) : timeout_ms * 1000000;
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    if (ppoll(fds, count, &timeout, NULL) < 0 && errno != EINTR)
        LOG_ERROR("worker", "poll", "error=\"%s\"", strerror(errno));
}

static bool drained(const struct loop *loop, uint64_t now_ms)
{
    const struct worker *worker = loop->worker;
    return worker->draining &&
           ((worker->reqs.count == 0 && worker->in_flight == 0) || now_ms >= loop->drain_end_ms);
}

/* Every req that somebody waits for gets an ERROR. */
static void fail_all(struct worker *worker, enum status status, const char *text)
{
    for (uint32_t i = 0; i < worker->reqs.cap; i++) {
        struct req_entry *entry = &worker->reqs.entries[i];
        if (entry->live && entry->link && entry->link->state == LINK_OPEN)
            outbox_error(worker, entry->link, &entry->key, status, text);
    }
}

enum status loop_run(struct worker *worker, int signal_fd, struct err *err)
{
    struct loop loop = {.worker = worker,
                        .signal_fd = signal_fd,
                        .depth = worker->config->no_overlap ? 1 : ENGINE_IN_FLIGHT,
                        .err = err};

    for (;;) {
        uint64_t now_ms = clock_now_ms();
        bool more = receive(worker, now_ms);
        enum status status = ranks_tick(worker, now_ms, err);
        if (status == STATUS_OK)
            status = run_steps(&loop);
        if (status != STATUS_OK) {
            const char *why = worker->ranks.broken ? "a rank of the worker was lost"
                                                   : "the worker's engine failed";
            fail_all(worker, STATUS_INTERNAL, why);
            outbox_bye(worker, why);
            return status;
        }
        read_signals(&loop, now_ms);
        if (loop.signals > 1)
            return err_set(err, STATUS_CANCELLED, "a second signal");
        if (drained(&loop, now_ms)) {
            fail_all(worker, STATUS_UNAVAILABLE, "the worker stops");
            outbox_bye(worker, "the worker stops");
            return STATUS_OK;
        }
        links_tick(worker, now_ms);
        show(worker, now_ms);
        if (!more && !links_readable(worker) && !step_done(worker))
            wait(&loop, links_wait_ms(worker, now_ms));
    }
}
