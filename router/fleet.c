#include "router/fleet.h"

#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"

#define STRANGERS_MAX     4096
#define STRANGER_EVERY_MS 1000
#define SNAPSHOT_AGAIN_MS 1000
#define TICK_LATE_MS      500

void fleet_init(struct fleet *fleet, const struct models *models, const char *router_name,
                uint64_t epoch, const struct fleet_ops *ops, void *ctx)
{
    memset(fleet, 0, sizeof(*fleet));
    fleet->models = models;
    fleet->router_name = router_name;
    fleet->epoch = epoch;
    fleet->dead_ms = PROTO_WORKER_DEAD_MS;
    fleet->ops = ops;
    fleet->ctx = ctx;
    prefix_index_init(&fleet->index);
    map_init(&fleet->peers);
    map_init(&fleet->strangers);
}

void fleet_release(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->limit; i++) {
        if (fleet->workers[i])
            fleet_end(fleet, fleet->workers[i], "the router stops");
    }
    prefix_index_release(&fleet->index);
    map_release(&fleet->peers);
    map_release(&fleet->strangers);
}

struct str worker_peer(const struct worker *worker)
{
    return (struct str){worker->peer, worker->peer_len};
}

static void send_frame(struct fleet *fleet, struct str peer, const struct frame *frame)
{
    enum status status = fleet->ops->send(fleet->ctx, peer, frame);
    if (status != STATUS_OK)
        LOG_DEBUG("fleet", "send_failed", "status=%s", status_name(status));
}

static void send_error(struct fleet *fleet, struct str peer, enum status status, const char *text)
{
    struct frame frame = {.type = FRAME_ERROR};
    frame.error.status = status;
    frame.error.text = str_from(text);
    frame.error.text.len = MIN(frame.error.text.len, (size_t)PROTO_TEXT_BYTES_MAX);
    send_frame(fleet, peer, &frame);
}

static void send_welcome(struct fleet *fleet, struct worker *worker, bool snapshot, uint64_t now_ms)
{
    struct frame frame = {.type = FRAME_WELCOME};
    frame.welcome.version = PROTO_VERSION;
    frame.welcome.router = str_from(fleet->router_name);
    frame.welcome.epoch = fleet->epoch;
    frame.welcome.session = worker->session;
    frame.welcome.want_snapshot = snapshot;
    frame.welcome.gather_ms = fleet->gather_ms;
    worker->welcomed_ms = now_ms;
    if (snapshot)
        worker->snapshot_asked_ms = now_ms;
    send_frame(fleet, worker_peer(worker), &frame);
}

static struct worker *by_peer(const struct fleet *fleet, struct str peer)
{
    struct worker *worker = map_get_ptr(&fleet->peers, hash_bytes(peer.data, peer.len));
    return worker && str_eq(worker_peer(worker), peer) ? worker : NULL;
}

static struct worker *by_name(const struct fleet *fleet, struct str name)
{
    for (uint32_t i = 0; i < fleet->limit; i++) {
        if (fleet->workers[i] && str_is(name, fleet->workers[i]->name))
            return fleet->workers[i];
    }
    return NULL;
}

struct worker *fleet_sender(struct fleet *fleet, struct str peer, uint64_t now_ms)
{
    struct worker *worker = by_peer(fleet, peer);
    if (worker) {
        worker->seen_ms = now_ms;
        return worker;
    }
    uint64_t key = hash_bytes(peer.data, peer.len);
    const uint64_t *told_ms = map_get(&fleet->strangers, key);
    if (told_ms && now_ms - *told_ms < STRANGER_EVERY_MS)
        return NULL;
    if (fleet->strangers.count >= STRANGERS_MAX)
        map_clear(&fleet->strangers);
    map_put(&fleet->strangers, key, now_ms);
    send_error(fleet, peer, STATUS_NOT_FOUND, "say HELLO first");
    return NULL;
}

/* Why this worker may not join, or STATUS_OK. */
static enum status check_hello(struct fleet *fleet, struct str peer,
                               const struct frame_hello *hello, const struct model **model,
                               struct err *err)
{
    if (hello->version != PROTO_VERSION)
        return err_set(err, STATUS_CONFLICT, "the worker speaks version %u, this router version %u",
                       hello->version, PROTO_VERSION);
    *model = models_find(fleet->models, hello->model);
    if (!*model)
        return err_set(err, STATUS_NOT_FOUND, "this router does not serve a model named %.*s",
                       (int)hello->model.len, hello->model.data);
    if (hello->tokenizer_hash != (*model)->tokenizer_hash)
        return err_set(err, STATUS_CONFLICT, "tokenizer.json of %s differs from the router's",
                       (*model)->name);
    if (hello->fingerprint != (*model)->fingerprint)
        return err_set(err, STATUS_CONFLICT, "config.json of %s differs from the router's",
                       (*model)->name);
    for (uint32_t i = 0; i < fleet->limit; i++) {
        const struct worker *other = fleet->workers[i];
        if (!other || other->model != *model || str_is(hello->worker, other->name))
            continue;
        if (other->weights_hash != hello->weights_hash)
            return err_set(err, STATUS_CONFLICT,
                           "the weights of %s, or the longrope factors that --context-max chooses, "
                           "differ from those of worker %s",
                           (*model)->name, other->name);
    }
    const struct worker *same = by_name(fleet, hello->worker);
    if (same && same->epoch == hello->epoch && !str_eq(worker_peer(same), peer))
        return err_set(err, STATUS_CONFLICT, "worker %s is connected already on another link",
                       same->name);
    if (peer.len > FLEET_PEER_BYTES_MAX || (!same && fleet->count == PREFIX_WORKERS_MAX))
        return err_set(err, STATUS_CONFLICT, "this router takes %u workers at most",
                       PREFIX_WORKERS_MAX);
    return STATUS_OK;
}

/* As busy as the others are: one that has just come must not look as if work there were free. */
static void set_busy(struct worker *newcomer, const struct fleet *fleet, const struct model *model)
{
    double sum = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < fleet->limit; i++) {
        const struct worker *worker = fleet->workers[i];
        if (!worker || worker->model != model)
            continue;
        sum += worker->busy;
        newcomer->looks = MAX(newcomer->looks, worker->looks);
        count++;
    }
    newcomer->busy = count > 0 ? sum / count : 0;
}

static struct worker *join(struct fleet *fleet, struct str peer, const struct frame_hello *hello,
                           const struct model *model, uint64_t now_ms)
{
    struct worker *worker = mem_zalloc(sizeof(*worker));
    set_busy(worker, fleet, model);
    while (fleet->workers[worker->index])
        worker->index++;
    fleet->workers[worker->index] = worker;
    fleet->limit = MAX(fleet->limit, worker->index + 1);
    fleet->count++;
    memcpy(worker->name, hello->worker.data, hello->worker.len);
    memcpy(worker->peer, peer.data, peer.len);
    worker->peer_len = peer.len;
    map_put_ptr(&fleet->peers, hash_bytes(peer.data, peer.len), worker);
    worker->epoch = hello->epoch;
    worker->session = hello->session;
    worker->weights_hash = hello->weights_hash;
    worker->model = model;
    worker->page_size = hello->page_size;
    worker->length_max = hello->length_max;
    worker->pages = hello->pages;
    worker->slots = hello->slots;
    worker->features = hello->features;
    worker->tp = hello->tp;
    worker->serial = ++fleet->serial;
    worker->seen_ms = worker->stepped_ms = now_ms;
    list_init(&worker->streams);
    return worker;
}

void fleet_hello(struct fleet *fleet, struct str peer, const struct frame_hello *hello,
                 uint64_t now_ms)
{
    struct err err;
    const struct model *model = NULL;
    if (check_hello(fleet, peer, hello, &model, &err) != STATUS_OK) {
        fleet->refused_total++;
        LOG_WARN("fleet", "worker_refused", "worker=%.*s reason=\"%s\"", (int)hello->worker.len,
                 hello->worker.data ? hello->worker.data : "", err.text);
        send_error(fleet, peer, err.status, err.text);
        return;
    }
    struct worker *old = by_name(fleet, hello->worker);
    if (old && old->epoch == hello->epoch && old->session == hello->session) {
        old->seen_ms = now_ms;
        send_welcome(fleet, old, !old->cache_known, now_ms);
        return;
    }
    if (old)
        fleet_end(fleet, old, "it began a new session");
    old = map_get_ptr(&fleet->peers, hash_bytes(peer.data, peer.len));
    if (old)
        fleet_end(fleet, old, "its routing id has a new owner");
    struct worker *worker = join(fleet, peer, hello, model, now_ms);
    LOG_INFO("fleet", "worker_joined",
             "worker=%s model=%s pages=%u page_size=%u length_max=%u slots=%u tp=%u session=%llu",
             worker->name, model->name, worker->pages, worker->page_size, worker->length_max,
             worker->slots, worker->tp, (unsigned long long)worker->session);
    send_welcome(fleet, worker, true, now_ms);
    fleet->ops->joined(fleet->ctx, worker);
}

void fleet_end(struct fleet *fleet, struct worker *worker, const char *reason)
{
    LOG_INFO("fleet", "worker_left", "worker=%s streams=%u reason=\"%s\"", worker->name,
             worker->stream_count, reason);
    map_remove(&fleet->peers, hash_bytes(worker->peer, worker->peer_len));
    fleet->workers[worker->index] = NULL;
    while (fleet->limit > 0 && !fleet->workers[fleet->limit - 1])
        fleet->limit--;
    fleet->count--;
    fleet->ops->ended(fleet->ctx, worker, reason);
    CHECK(list_empty(&worker->streams) && worker->stream_count == 0);
    fleet_forget_pages(fleet, worker);
    mem_free(worker->unacked);
    mem_free(worker);
}

void fleet_leave(struct fleet *fleet, bool drain)
{
    struct frame frame = {.type = drain ? FRAME_DRAIN : FRAME_BYE};
    if (drain)
        frame.drain.draining = true;
    else
        frame.bye.reason = STR("the router stops");
    for (uint32_t i = 0; i < fleet->limit; i++) {
        if (fleet->workers[i])
            send_frame(fleet, worker_peer(fleet->workers[i]), &frame);
    }
}

/* Dead: silent for too long, or at work without a step done for too long. */
static const char *dead_reason(const struct fleet *fleet, const struct worker *worker,
                               uint64_t now_ms)
{
    if (now_ms - worker->seen_ms > fleet->dead_ms)
        return "no frame came for too long";
    uint64_t bound_ms = MAX(fleet->dead_ms, (uint64_t)worker->load.step_ms_bound * 4);
    if (worker->load.running > 0 && now_ms - worker->stepped_ms > bound_ms)
        return "a step takes too long";
    return NULL;
}

/* A tick that comes late means that this router was held up (stopped, its node frozen): for so long it
 * listened to nobody, and what workers said meanwhile is yet to be read. Not two in a row: a router that
 * is always late must still find out who is dead. */
static void forgive_own_pause(struct fleet *fleet, uint64_t now_ms)
{
    uint64_t pause_ms = fleet->ticked_ms > 0 ? now_ms - fleet->ticked_ms : 0;
    fleet->ticked_ms = now_ms;
    bool paused = pause_ms > TICK_LATE_MS, again = paused && fleet->paused;
    fleet->paused = paused;
    if (!paused || again)
        return;
    LOG_WARN("fleet", "router_paused", "ms=%llu", (unsigned long long)pause_ms);
    for (uint32_t i = 0; i < fleet->limit; i++) {
        struct worker *worker = fleet->workers[i];
        if (!worker)
            continue;
        worker->seen_ms = MIN(worker->seen_ms + pause_ms, now_ms);
        worker->stepped_ms = MIN(worker->stepped_ms + pause_ms, now_ms);
    }
}

void fleet_tick(struct fleet *fleet, uint64_t now_ms)
{
    forgive_own_pause(fleet, now_ms);
    for (uint32_t i = 0; i < fleet->limit; i++) {
        struct worker *worker = fleet->workers[i];
        if (!worker)
            continue;
        const char *reason = dead_reason(fleet, worker, now_ms);
        if (reason) {
            fleet->dead_total++;
            worker->dead = true;
            fleet_end(fleet, worker, reason);
            continue;
        }
        if (now_ms - worker->welcomed_ms >= PROTO_WELCOME_EVERY_MS)
            send_welcome(fleet, worker, false, now_ms);
        if (!worker->cache_known && now_ms - worker->snapshot_asked_ms >= SNAPSHOT_AGAIN_MS) {
            struct frame frame = {.type = FRAME_SNAPSHOT};
            frame.snapshot.request = true;
            worker->snapshot_asked_ms = now_ms;
            send_frame(fleet, worker_peer(worker), &frame);
        }
    }
}
