#include "worker/follower.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hub.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/rank_message.h"
#include "worker/ranks.h"
#include "worker/worker.h"

#define JOIN_EVERY_MS  200
#define SILENCE_FACTOR 10   /* rank 0 may be stopped for a while; it notices our deaths faster */
#define AFTER_DRAIN_MS 5000 /* beyond --drain-timeout, when rank 0 never says STOP */

static enum status say(struct follower *follower, enum rank_kind kind, uint64_t value,
                       struct str body)
{
    struct rank_message message = {.kind = kind,
                                   .rank = (uint32_t)follower->config->rank,
                                   .group = follower->group,
                                   .value = value,
                                   .body = body};
    struct buf data = {0};
    enum status status;

    rank_message_encode(&message, &data);
    status = transport_send(follower->transport, &data);
    buf_release(&data);
    return status;
}

void follower_fail(struct follower *follower, const char *why)
{
    if (follower->transport && follower->group)
        (void)!say(follower, RANK_FAILED, 0, str_from(why));
}

/* Waits for the oldest step. */
static enum status take_result(struct follower *follower, struct err *err)
{
    struct step_result result;
    TRY(follower->kind->wait(follower->engine, follower->tickets[0], &result, err));
    follower->tickets[0] = follower->tickets[1];
    follower->in_flight--;
    follower->done++;
    return STATUS_OK;
}

/* ---- messages ---- */

static enum status on_start(struct follower *follower, const struct rank_message *message,
                            struct err *err)
{
    if (follower->group)
        return err_set(err, STATUS_CONFLICT, "rank 0 was started again");
    if (message->body.len == 0 || message->body.len >= sizeof(follower->comm) || !message->group)
        return err_set(err, STATUS_CORRUPT, "START names no rendezvous");
    memcpy(follower->comm, message->body.data, message->body.len);
    follower->comm[message->body.len] = 0;
    follower->group = message->group;
    return STATUS_OK;
}

static enum status on_step(struct follower *follower, const struct rank_message *message,
                           struct err *err)
{
    const struct step_packet *packet = follower->block;

    if (!follower->engine)
        return err_set(err, STATUS_CORRUPT, "a step came before START");
    if (message->value != follower->received + 1)
        return err_set(err, STATUS_CORRUPT, "step %" PRIu64 " came after step %" PRIu64,
                       message->value, follower->received);
    if (message->body.len < sizeof(*packet) || message->body.len > follower->block_bytes)
        return err_set(err, STATUS_CORRUPT, "a step packet of %zu bytes", message->body.len);
    memcpy(follower->block, message->body.data, message->body.len);
    if (packet->bytes != message->body.len)
        return err_set(err, STATUS_CORRUPT, "a step packet was cut off");
    follower->received++;
    TRY(follower->kind->submit(follower->engine, packet, &follower->tickets[follower->in_flight],
                               err));
    follower->in_flight++;
    return STATUS_OK;
}

/* The number must be rank 0's: steps name it. */
static enum status on_grammar(struct follower *follower, const struct rank_message *message,
                              struct err *err)
{
    uint32_t id = 0;

    if (!follower->engine || !follower->kind->grammar_add)
        return err_set(err, STATUS_CORRUPT, "a grammar came that this engine cannot hold");
    TRY(follower->kind->grammar_add(follower->engine, message->body, &id, err));
    if (id != message->value)
        return err_set(err, STATUS_CONFLICT, "a grammar is number %u here, %" PRIu64 " on rank 0",
                       id, message->value);
    return STATUS_OK;
}

/* Rank 0 is done with it; steps that name it may still run here. */
static enum status on_grammar_drop(struct follower *follower, const struct rank_message *message,
                                   struct err *err)
{
    if (!follower->engine || !follower->kind->grammar_drop)
        return STATUS_OK;
    while (follower->in_flight > 0)
        TRY(take_result(follower, err));
    follower->kind->grammar_drop(follower->engine, (uint32_t)message->value);
    return STATUS_OK;
}

static enum status handle(struct follower *follower, const struct rank_message *message,
                          struct err *err)
{
    if (message->kind != RANK_START && message->group != follower->group)
        return STATUS_OK;
    switch (message->kind) {
    case RANK_START:
        return on_start(follower, message, err);
    case RANK_STEP:
        return on_step(follower, message, err);
    case RANK_GRAMMAR:
        return on_grammar(follower, message, err);
    case RANK_GRAMMAR_DROP:
        return on_grammar_drop(follower, message, err);
    case RANK_STOP:
        follower->stop = true;
        (void)!say(follower, RANK_LEFT, follower->done, STR(""));
        return STATUS_OK;
    case RANK_FAILED:
        return err_set(err, STATUS_UNAVAILABLE, "rank 0 says: %.*s", (int)message->body.len,
                       message->body.data);
    default:
        return STATUS_OK;
    }
}

/* As long as the engine takes steps: what comes after waits in the socket. */
static enum status receive(struct follower *follower, uint64_t now_ms, struct err *err)
{
    struct str peer, data;

    while (follower->in_flight < ENGINE_IN_FLIGHT && !follower->stop &&
           transport_receive(follower->transport, &peer, &data) == STATUS_OK) {
        struct rank_message message;
        TRY(rank_message_decode(data, &message, err));
        follower->heard_ms = now_ms;
        TRY(handle(follower, &message, err));
    }
    return STATUS_OK;
}

/* ---- start ---- */

static enum status connect_to_master(struct follower *follower, struct err *err)
{
    const struct worker_config *config = follower->config;
    char identity[16];
    struct buf endpoint = {0};
    enum status status;

    snprintf(identity, sizeof(identity), "rank-%" PRIu64, config->rank);
    buf_printf(&endpoint, "tcp://%s", config->master);
    TRY_OUT(ranks_security(config, &follower->keys, &follower->security, err));
    follower->context = transport_context_new();
    TRY_OUT(transport_connect(follower->context, endpoint.data, identity, &follower->security,
                              &follower->transport, err));
out:
    buf_release(&endpoint);
    return status;
}

static enum status join(struct follower *follower, struct err *err)
{
    uint64_t options_hash, join_at_ms = 0;

    TRY(ranks_options_hash(follower->config, follower->model_dir, &options_hash, err));
    while (!follower->group) {
        struct pollfd fd = {.fd = transport_fd(follower->transport), .events = POLLIN};
        uint64_t now_ms = clock_now_ms();
        if (now_ms >= join_at_ms) {
            join_at_ms = now_ms + JOIN_EVERY_MS;
            (void)!say(follower, RANK_JOIN, options_hash, STR("")); /* AGAIN until connected */
        }
        TRY(receive(follower, now_ms, err));
        if (!follower->group && !transport_readable(follower->transport))
            poll(&fd, 1, JOIN_EVERY_MS / 4);
    }
    return STATUS_OK;
}

enum status follower_open(struct follower *follower, struct err *err)
{
    const struct worker_config *config = follower->config;
    struct hub_opts hub = {0};
    struct engine_opts opts;
    enum hub_want want;

    follower->kind = engine_kind_of(config->engine);
    want = follower->kind->weights ? HUB_WANT_ALL : HUB_WANT_NO_WEIGHTS;

    TRY(hub_resolve(config->model, want, &hub, &follower->model_dir, err));
    TRY(connect_to_master(follower, err));
    if (config->rank % (config->tp / config->nnodes) == 0)
        TRY(ranks_spawn(config, follower->model_dir, config->master, follower->children, err));
    TRY(join(follower, err));
    opts = worker_engine_opts(config, follower->model_dir, follower->comm);
    TRY(follower->kind->open(&opts, &follower->engine, err));
    follower->block_bytes = step_packet_bytes_max(&follower->kind->info(follower->engine)->limits);
    follower->block = mem_aligned(ROUND_UP(follower->block_bytes, (size_t)64), 64);
    if (say(follower, RANK_READY, 0, STR("")) != STATUS_OK)
        return err_set(err, STATUS_UNAVAILABLE, "rank 0 is gone");
    follower->heard_ms = clock_now_ms();
    LOG_INFO("rank", "ready", "rank=%" PRIu64 " of=%" PRIu64 " device=\"%s\"", config->rank,
             config->tp, follower->kind->info(follower->engine)->device);
    return STATUS_OK;
}

/* ---- steps ---- */

static bool step_done(const struct follower *follower)
{
    struct pollfd fd = {.fd = follower->kind->event_fd(follower->engine), .events = POLLIN};
    return follower->in_flight > 0 && poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN);
}

static enum status take_results(struct follower *follower, struct err *err)
{
    while (step_done(follower))
        TRY(take_result(follower, err));
    return STATUS_OK;
}

static enum status tick(struct follower *follower, uint64_t now_ms, struct err *err)
{
    const struct worker_config *config = follower->config;

    TRY(children_check(follower->children, err));
    if (follower->board)
        board_beat(follower->board, now_ms, true, false);
    if (now_ms - follower->beat_ms >= RANK_BEAT_EVERY_MS) {
        follower->beat_ms = now_ms;
        (void)!say(follower, RANK_BEAT, follower->done, STR(""));
    }
    if (transport_disconnects(follower->transport) > 0) {
        TRY(receive(follower, now_ms, err)); /* STOP, or why, may have come before the break */
        if (!follower->stop)
            return err_set(err, STATUS_UNAVAILABLE, "the connection to rank 0 broke");
    }
    if (now_ms - follower->heard_ms > SILENCE_FACTOR * config->rank_dead_ms)
        return err_set(err, STATUS_UNAVAILABLE, "rank 0 is silent");
    if (follower->stop_at_ms && now_ms > follower->stop_at_ms)
        return err_set(err, STATUS_UNAVAILABLE, "rank 0 drains for too long");
    return STATUS_OK;
}

static void read_signals(struct follower *follower, int signal_fd, uint64_t now_ms)
{
    struct signalfd_siginfo info;
    while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (!follower->stop_at_ms)
            follower->stop_at_ms =
                now_ms + follower->config->drain_timeout_s * 1000 + AFTER_DRAIN_MS;
}

enum status follower_run(struct follower *follower, int signal_fd, struct err *err)
{
    while (!follower->stop) {
        uint64_t now_ms = clock_now_ms();
        TRY(take_results(follower, err));
        TRY(receive(follower, now_ms, err));
        read_signals(follower, signal_fd, now_ms);
        TRY(tick(follower, now_ms, err));
        bool readable =
            follower->in_flight < ENGINE_IN_FLIGHT && transport_readable(follower->transport);
        struct pollfd fds[] = {
            /* frames that must wait would make it readable all the time */
            {.fd = follower->in_flight < ENGINE_IN_FLIGHT ? transport_fd(follower->transport) : -1,
             .events = POLLIN},
            {.fd = follower->kind->event_fd(follower->engine), .events = POLLIN},
            {.fd = signal_fd, .events = POLLIN},
            {.fd = follower->children->fd, .events = POLLIN},
        };
        if (!readable && !follower->stop && !step_done(follower))
            poll(fds, ARRAY_LEN(fds), RANK_BEAT_EVERY_MS / 2);
    }
    return STATUS_OK;
}

void follower_close(struct follower *follower)
{
    if (follower->engine)
        follower->kind->close(follower->engine);
    transport_free(follower->transport);
    transport_context_free(follower->context);
    key_pair_wipe(&follower->keys);
    mem_free(follower->block);
    mem_free(follower->model_dir);
}
