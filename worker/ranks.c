#include "worker/ranks.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/rank_message.h"
#include "worker/worker.h"

#define CONFIG_BYTES_MAX (16u << 20)
#define WAIT_SAY_MS      10000 /* between "still waiting" lines */
#define LATE_MS          500   /* a tick this late: we slept, not the others */
#define STOP_GRACE_MS    5000
#define STEP_FACTOR      5 /* a step may take so many times what a silence may */
#define LEFT_WAIT_MS     2000

/* ---- what rank 0 and the others share ---- */

enum status ranks_options_hash(const struct worker_config *config, const char *model_dir,
                               uint64_t *hash, struct err *err)
{
    const uint64_t numbers[] = {config->tp,          config->page_size,   config->running_max,
                                config->step_tokens, config->context_max, config->dummy_weights,
                                config->dummy_seed,  config->engine};
    char *path = path_join(model_dir, "config.json");
    struct buf text = {0};
    enum status status;

    TRY_OUT(file_read(path, CONFIG_BYTES_MAX, &text, err));
    *hash = hash_bytes_seeded(numbers, sizeof(numbers), hash_bytes(text.data, text.len));
    *hash = hash_bytes_seeded(MSGL_VERSION, sizeof(MSGL_VERSION), *hash);
out:
    buf_release(&text);
    mem_free(path);
    return status;
}

enum status ranks_spawn(const struct worker_config *config, const char *model_dir,
                        const char *master, struct children *children, struct err *err)
{
    uint64_t per_node = config->tp / config->nnodes;
    char rank_arg[32], *model_arg, *master_arg, *id_arg;
    struct buf text = {0};
    enum status status = STATUS_OK;

    buf_printf(&text, "--model=%s", model_dir);
    model_arg = text.data;
    text = (struct buf){0};
    buf_printf(&text, "--master=%s", master);
    master_arg = text.data;
    text = (struct buf){0};
    buf_printf(&text, "--id=%s", config->id);
    id_arg = text.data;
    for (uint64_t i = 1; i < per_node; i++) {
        const char *extra[] = {rank_arg, model_arg, master_arg, id_arg, NULL};
        snprintf(rank_arg, sizeof(rank_arg), "--rank=%" PRIu64, config->rank + i);
        TRY_OUT(children_spawn(children, (uint32_t)(config->rank + i), config->argv, extra, err));
    }
out:
    mem_free(model_arg);
    mem_free(master_arg);
    mem_free(id_arg);
    return status;
}

enum status ranks_security(const struct worker_config *config, struct key_pair *keys,
                           struct transport_security *out, struct err *err)
{
    *out = (struct transport_security){.allow_plain = config->wire_plain};
    if (!config->wire_key_file)
        return STATUS_OK;
    TRY(key_pair_read(config->wire_key_file, keys, err));
    out->public_key = out->server_key = out->allow_key = keys->public_key;
    out->secret_key = keys->secret_key;
    return STATUS_OK;
}

/* ---- rank 0 ---- */

static void send_to(struct ranks *ranks, uint32_t rank, enum rank_kind kind, uint64_t value,
                    struct str body, enum status *status)
{
    struct rank_message message = {
        .kind = kind, .group = ranks->group, .value = value, .body = body};
    struct buf data = {0};
    char peer[16];
    int len = snprintf(peer, sizeof(peer), "rank-%u", rank);
    enum status sent;

    rank_message_encode(&message, &data);
    sent = transport_send_to(ranks->transport, (struct str){peer, (size_t)len}, &data);
    if (status && *status == STATUS_OK)
        *status = sent;
    buf_release(&data);
}

static void send_all(struct ranks *ranks, enum rank_kind kind, uint64_t value, struct str body,
                     enum status *status)
{
    for (uint32_t rank = 1; rank < ranks->tp; rank++)
        send_to(ranks, rank, kind, value, body, status);
}

/* Where rank 0 listens: a free port of this machine, or --master's on all addresses. */
static enum status open_transport(struct worker *worker, struct err *err)
{
    const struct worker_config *config = worker->config;
    struct ranks *ranks = &worker->ranks;
    struct buf endpoint = {0};
    enum status status;

    if (!config->master)
        buf_str(&endpoint, "tcp://127.0.0.1:*");
    else if (strncmp(config->master, "127.", 4) == 0 ||
             strncmp(config->master, "localhost:", 10) == 0)
        buf_printf(&endpoint, "tcp://%s", config->master);
    else
        buf_printf(&endpoint, "tcp://*:%s", strrchr(config->master, ':') + 1);
    TRY_OUT(ranks_security(config, &ranks->keys, &ranks->security, err));
    ranks->context = transport_context_new();
    status =
        transport_bind(ranks->context, endpoint.data, &ranks->security, &ranks->transport, err);
    if (status != STATUS_OK)
        err_prefix(err, status, "ranks cannot connect");
out:
    buf_release(&endpoint);
    return status;
}

/* "tcp://HOST:PORT" as bound to what a rank on this machine connects to. */
static void local_master(const struct ranks *ranks, char out[64])
{
    snprintf(out, 64, "127.0.0.1:%s", strrchr(transport_endpoint(ranks->transport), ':') + 1);
}

/* While the ranks gather: a rank joins, is ready, or gives up. */
static enum status on_message(struct ranks *ranks, const struct rank_message *message,
                              uint64_t now_ms, struct err *err)
{
    struct rank_peer *peer = &ranks->peers[message->rank];

    peer->heard_ms = now_ms;
    if (message->kind == RANK_FAILED)
        return err_set(err, STATUS_UNAVAILABLE, "rank %u: %.*s", message->rank,
                       (int)message->body.len, message->body.data);
    if (message->kind == RANK_READY)
        peer->ready = true;
    if (message->kind == RANK_LEFT)
        peer->left = true;
    if (message->kind != RANK_JOIN)
        return STATUS_OK;
    if (message->value != ranks->options_hash)
        return err_set(err, STATUS_CONFLICT,
                       "rank %u has another model, other options or another version of msgl",
                       message->rank);
    if (!peer->joined)
        LOG_INFO("ranks", "joined", "rank=%u of=%u", message->rank, ranks->tp);
    peer->joined = true;
    return STATUS_OK;
}

static enum status receive(struct worker *worker, uint64_t now_ms, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    struct str peer, data;

    while (transport_receive(ranks->transport, &peer, &data) == STATUS_OK) {
        struct rank_message message;
        struct err why = {.text = ""};
        enum status status = rank_message_decode(data, &message, &why);
        bool ours = status == STATUS_OK && message.rank > 0 && message.rank < ranks->tp &&
                    (message.group == ranks->group || message.kind == RANK_JOIN);
        if (!ours) {
            LOG_WARN("ranks", "message_dropped", "error=\"%s\"",
                     status == STATUS_OK ? "of another worker or start" : why.text);
            continue;
        }
        if (message.kind == RANK_JOIN && ranks->peers[message.rank].ready)
            return err_set(err, STATUS_UNAVAILABLE, "rank %u was started again", message.rank);
        TRY(on_message(ranks, &message, now_ms, err));
    }
    return STATUS_OK;
}

static uint32_t count_peers(const struct ranks *ranks, bool ready)
{
    uint32_t count = 1;
    for (uint32_t rank = 1; rank < ranks->tp; rank++)
        count += ready ? ranks->peers[rank].ready : ranks->peers[rank].joined;
    return count;
}

/* Until all have joined (or are ready). Children that die end the process through the guard. */
static enum status gather(struct worker *worker, bool ready, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    uint64_t say_ms = clock_now_ms() + WAIT_SAY_MS;

    while (count_peers(ranks, ready) < ranks->tp) {
        struct pollfd fd = {.fd = transport_fd(ranks->transport), .events = POLLIN};
        uint64_t now_ms = clock_now_ms();
        TRY(receive(worker, now_ms, err));
        if (now_ms >= say_ms) {
            LOG_INFO("ranks", "waiting", "here=%u of=%u", count_peers(ranks, ready), ranks->tp);
            say_ms = now_ms + WAIT_SAY_MS;
        }
        if (!transport_readable(ranks->transport))
            poll(&fd, 1, 50);
    }
    return STATUS_OK;
}

enum status ranks_start(struct worker *worker, struct err *err)
{
    const struct worker_config *config = worker->config;
    struct ranks *ranks = &worker->ranks;
    enum status status = STATUS_OK;
    char master[64];

    ranks->tp = (uint32_t)config->tp;
    if (ranks->tp == 1)
        return STATUS_OK;
    ranks->group = worker->epoch;
    snprintf(ranks->comm, sizeof(ranks->comm), "w%016" PRIx64, ranks->group);
    TRY(ranks_options_hash(config, worker->model_dir, &ranks->options_hash, err));
    TRY(open_transport(worker, err));
    local_master(ranks, master);
    TRY(ranks_spawn(config, worker->model_dir, master, worker->children, err));
    TRY(gather(worker, false, err));
    send_all(ranks, RANK_START, 0, str_from(ranks->comm), &status);
    return status == STATUS_OK ? STATUS_OK
                               : err_set(err, status, "a rank left before it was started");
}

enum status ranks_wait_ready(struct worker *worker, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    uint64_t now_ms;

    if (ranks->tp == 1)
        return STATUS_OK;
    TRY(gather(worker, true, err));
    now_ms = clock_now_ms();
    for (uint32_t rank = 1; rank < ranks->tp; rank++)
        ranks->peers[rank].heard_ms = now_ms;
    ranks->tick_ms = now_ms;
    LOG_INFO("ranks", "ready", "tp=%u", ranks->tp);
    return STATUS_OK;
}

enum status ranks_step(struct worker *worker, const struct step_packet *packet, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    enum status status = STATUS_OK;

    if (ranks->tp == 1)
        return STATUS_OK;
    send_all(ranks, RANK_STEP, ++ranks->steps, (struct str){(const char *)packet, packet->bytes},
             &status);
    if (status == STATUS_OK)
        return STATUS_OK;
    ranks->broken = true;
    return err_set(err, STATUS_UNAVAILABLE, "a step could not be sent to a rank");
}

enum status ranks_grammar(struct worker *worker, uint32_t id, struct str automaton, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    enum status status = STATUS_OK;

    if (ranks->tp > 1)
        send_all(ranks, RANK_GRAMMAR, id, automaton, &status);
    return status == STATUS_OK ? STATUS_OK
                               : err_set(err, STATUS_UNAVAILABLE, "a rank does not take frames");
}

void ranks_grammar_drop(struct worker *worker, uint32_t id)
{
    if (worker->ranks.tp > 1) /* a rank that is gone is noticed by the next tick */
        send_all(&worker->ranks, RANK_GRAMMAR_DROP, id, STR(""), NULL);
}

static enum status check_steps(const struct worker *worker, uint64_t now_ms, struct err *err)
{
    /* Routers move the streams after less than this; to end a worker that is merely slow (a loaded
     * machine) would cost its cache and a start. */
    uint64_t bound_ms = (uint64_t)(8 * scheduler_step_ms_bound(worker->scheduler));
    uint64_t limit_ms = MAX(STEP_FACTOR * worker->config->rank_dead_ms, bound_ms);

    if (worker->in_flight == 0 || now_ms - worker->step_since_ms <= limit_ms)
        return STATUS_OK;
    return err_set(err, STATUS_UNAVAILABLE, "a step has hung for %" PRIu64 " ms",
                   now_ms - worker->step_since_ms);
}

static enum status check_peers(struct worker *worker, uint64_t now_ms, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    bool late = now_ms - ranks->tick_ms > LATE_MS;

    ranks->tick_ms = now_ms;
    if (late)
        worker->step_since_ms = now_ms;
    for (uint32_t rank = 1; rank < ranks->tp; rank++) {
        struct rank_peer *peer = &ranks->peers[rank];
        if (late) /* we were stopped, or starved: what they sent may still be on its way */
            peer->heard_ms = now_ms;
        if (now_ms - peer->heard_ms > worker->config->rank_dead_ms)
            return err_set(err, STATUS_UNAVAILABLE, "rank %u is silent for %" PRIu64 " ms", rank,
                           now_ms - peer->heard_ms);
    }
    return check_steps(worker, now_ms, err);
}

enum status ranks_tick(struct worker *worker, uint64_t now_ms, struct err *err)
{
    struct ranks *ranks = &worker->ranks;
    enum status status;

    if (ranks->tp == 1)
        return STATUS_OK;
    TRY_OUT(receive(worker, now_ms, err));
    TRY_OUT(children_check(worker->children, err));
    TRY_OUT(check_peers(worker, now_ms, err));
    if (now_ms - ranks->beat_ms >= RANK_BEAT_EVERY_MS) {
        ranks->beat_ms = now_ms;
        send_all(ranks, RANK_BEAT, ranks->steps, STR(""), &status);
        if (status != STATUS_OK)
            status = err_set(err, STATUS_UNAVAILABLE, "a rank's connection is gone");
    }
out:
    ranks->broken = status != STATUS_OK;
    return status;
}

int ranks_fd(const struct worker *worker)
{
    return worker->ranks.transport ? transport_fd(worker->ranks.transport) : -1;
}

static bool all_left(const struct ranks *ranks)
{
    for (uint32_t rank = 1; rank < ranks->tp; rank++)
        if (!ranks->peers[rank].left)
            return false;
    return true;
}

/* What lies in a socket that is closed may be lost: STOP has arrived when LEFT comes back. */
static void wait_left(struct worker *worker)
{
    struct ranks *ranks = &worker->ranks;
    uint64_t end_ms = clock_now_ms() + LEFT_WAIT_MS;
    struct err err;

    while (!all_left(ranks) && clock_now_ms() < end_ms) {
        struct pollfd fd = {.fd = transport_fd(ranks->transport), .events = POLLIN};
        if (receive(worker, clock_now_ms(), &err) != STATUS_OK)
            break;
        if (!all_left(ranks) && !transport_readable(ranks->transport))
            poll(&fd, 1, 20);
    }
}

void ranks_stop(struct worker *worker)
{
    struct ranks *ranks = &worker->ranks;

    if (ranks->transport) {
        send_all(ranks, ranks->broken ? RANK_FAILED : RANK_STOP, 0,
                 ranks->broken ? STR("another rank failed") : STR(""), NULL);
        if (!ranks->broken)
            wait_left(worker);
        transport_free(ranks->transport);
    }
    transport_context_free(ranks->context);
    key_pair_wipe(&ranks->keys);
    if (worker->children)
        children_stop(worker->children, ranks->broken ? 0 : STOP_GRACE_MS);
    memset(ranks, 0, sizeof(*ranks));
}
