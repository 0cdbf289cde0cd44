#include "worker/links.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/mem.h"
#include "worker/credits.h"
#include "worker/worker.h"

#define LOAD_GAP_MS    5 /* between LOADs that a change brings forward */
#define ACTIVE_MS      1000 /* a router that sent nothing for so long, and has nothing here, is quiet */
#define HELLO_RETRY_MS 50 /* the connection does not stand yet */

/* Keys, when files name them. */
static enum status read_keys(const struct worker_config *config, struct links *links,
                             struct err *err)
{
    links->security.allow_plain = config->wire_plain;
    if (!config->wire_key_file && !config->wire_router_key_file)
        return STATUS_OK;
    if (!config->wire_key_file || !config->wire_router_key_file)
        return err_set(err, STATUS_INVALID,
                       "--wire-key-file and --wire-router-key-file go together");
    TRY(key_pair_read(config->wire_key_file, &links->keys, err));
    TRY(key_read(config->wire_router_key_file, links->router_key, err));
    links->security.public_key = links->keys.public_key;
    links->security.secret_key = links->keys.secret_key;
    links->security.server_key = links->router_key;
    return STATUS_OK;
}

enum status links_init(struct worker *worker, struct err *err)
{
    struct links *links = &worker->links;

    TRY(read_keys(worker->config, links, err));
    links->context = transport_context_new();
    return resolver_start(&worker->config->routers, &links->resolver, err);
}

static void link_free(struct worker *worker, struct link *link)
{
    LIST_EACH_SAFE(node, tmp, &link->reqs) {
        struct req_entry *entry = LIST_ITEM(node, struct req_entry, node);
        entry->link = NULL;
        list_remove(node);
    }
    transport_free(link->transport);
    mem_free(link);
}

void links_release(struct worker *worker)
{
    struct links *links = &worker->links;

    resolver_stop(links->resolver);
    for (uint32_t i = 0; i < links->count; i++)
        link_free(worker, links->items[i]);
    transport_context_free(links->context);
    key_pair_wipe(&links->keys);
    memset(links, 0, sizeof(*links));
}

/* Stable over restarts and different on each link: two links may lead to one router. */
static void routing_id(const struct worker *worker, const char *endpoint, char out[64])
{
    snprintf(out, 64, "%.40s#%016llx", worker->config->id,
             (unsigned long long)hash_bytes(endpoint, strlen(endpoint)));
}

static void add_link(struct worker *worker, const char *endpoint, uint64_t now_ms)
{
    struct links *links = &worker->links;
    struct link *link = mem_zalloc(sizeof(*link));
    char identity[64];
    struct err err;

    if (links->count == RESOLVER_ADDRESSES_MAX) {
        LOG_WARN("links", "too_many_routers", "left_out=%s", endpoint);
        mem_free(link);
        return;
    }
    routing_id(worker, endpoint, identity);
    if (transport_connect(links->context, endpoint, identity, &links->security, &link->transport,
                          &err) != STATUS_OK) {
        LOG_ERROR("links", "router_refused", "router=%s error=\"%s\"", endpoint, err.text);
        mem_free(link);
        return;
    }
    snprintf(link->endpoint, sizeof(link->endpoint), "%s", endpoint);
    list_init(&link->reqs);
    link->wanted = true;
    link->session = 1;
    link->hello_at_ms = now_ms;
    links->items[links->count++] = link;
    LOG_DEBUG("links", "router_found", "router=%s", endpoint);
}

static struct link *find_link(const struct links *links, const char *endpoint)
{
    for (uint32_t i = 0; i < links->count; i++)
        if (strcmp(links->items[i]->endpoint, endpoint) == 0)
            return links->items[i];
    return NULL;
}

/* An open link stays although its name is gone: a router that drains leaves its name first. */
static void update_addresses(struct worker *worker, uint64_t now_ms)
{
    struct links *links = &worker->links;
    struct resolver_list list;

    if (resolver_take(links->resolver, &list)) {
        for (uint32_t i = 0; i < links->count; i++)
            links->items[i]->wanted = false;
        for (uint32_t i = 0; i < list.count; i++) {
            struct link *link = find_link(links, list.endpoints[i]);
            if (link)
                link->wanted = true;
            else
                add_link(worker, list.endpoints[i], now_ms);
        }
    }
    for (uint32_t i = 0; i < links->count;) {
        struct link *link = links->items[i];
        if (link->wanted || link->state == LINK_OPEN) {
            i++;
            continue;
        }
        LOG_INFO("links", "router_gone", "router=%s", link->endpoint);
        links->items[i] = links->items[--links->count];
        link_free(worker, link);
    }
}

void link_restart(struct worker *worker, struct link *link, uint64_t delay_ms, const char *why)
{
    uint32_t dropped = 0;

    LIST_EACH_SAFE(node, tmp, &link->reqs) {
        struct req_entry *entry = LIST_ITEM(node, struct req_entry, node);
        entry->link = NULL;
        list_remove(node);
        scheduler_cancel(worker->scheduler, entry->sched_req);
        dropped++;
    }
    link->req_count = 0;
    if (link->state == LINK_OPEN)
        LOG_WARN("links", "session_over", "router=%s reqs=%u why=\"%s\"", link->endpoint, dropped,
                 why);
    link->state = LINK_GREETING;
    link->session++;
    link->received = link->waiting_since_ms = 0;
    link->hello_at_ms = clock_now_ms() + delay_ms;
}

void link_send(struct worker *worker, struct link *link, struct buf *data)
{
    enum status status = transport_send(link->transport, data);
    if (status == STATUS_OK)
        return;
    if (link->state == LINK_OPEN)
        link_restart(worker, link, 0, "a frame could not be sent");
    else
        link->hello_at_ms = clock_now_ms() + HELLO_RETRY_MS;
}

/* When the link's next LOAD is due. */
static uint64_t load_at_ms(const struct link *link, const struct load_seen *now)
{
    bool changed = now->running != link->load.running || now->waiting != link->load.waiting ||
                   link->received != link->load.received || now->draining != link->load.draining ||
                   link->credits != link->load.credits;
    return link->load_sent_ms + (changed ? LOAD_GAP_MS : PROTO_LOAD_EVERY_MS);
}

static struct load_seen load_now(const struct worker *worker)
{
    struct sched_load load;
    scheduler_load(worker->scheduler, &load);
    return (struct load_seen){
        .running = load.running, .waiting = load.waiting, .draining = worker->draining};
}

static void tick_link(struct worker *worker, struct link *link, const struct load_seen *load,
                      uint64_t now_ms)
{
    uint64_t disconnects = transport_disconnects(link->transport);

    if (disconnects != link->disconnects) {
        link->disconnects = disconnects;
        link_restart(worker, link, 0, "the connection broke");
    }
    if (link->state == LINK_OPEN && now_ms - link->last_frame_ms > worker->config->router_dead_ms)
        link_restart(worker, link, 0, "the router is silent");
    if (link->state != LINK_OPEN && now_ms >= link->hello_at_ms) {
        link->hello_at_ms =
            now_ms + (link->state == LINK_REFUSED ? PROTO_REFUSED_EVERY_MS : PROTO_HELLO_EVERY_MS);
        outbox_hello(worker, link);
    }
    if (link->state == LINK_OPEN)
        outbox_tokens_due(worker, link, now_ms);
    if (link->state == LINK_OPEN && now_ms >= load_at_ms(link, load))
        outbox_load(worker, link, now_ms);
}

/* Every open link's share of the slots. */
static void split_credits(struct worker *worker, uint64_t now_ms)
{
    struct links *links = &worker->links;
    struct credit_user users[RESOLVER_ADDRESSES_MAX];
    struct link *open[RESOLVER_ADDRESSES_MAX];
    struct sched_load load;
    uint32_t count = 0;

    scheduler_load(worker->scheduler, &load);
    for (uint32_t i = 0; i < links->count; i++) {
        struct link *link = links->items[i];
        if (link->state != LINK_OPEN)
            continue;
        open[count] = link;
        users[count++] = (struct credit_user){.held = link->req_count,
                                              .active = now_ms - link->generate_ms < ACTIVE_MS};
    }
    credits_split(worker->hello.slots, worker->draining ? 0 : load.slots_free, users, count);
    for (uint32_t i = 0; i < count; i++)
        open[i]->credits = users[i].credits;
}

void links_tick(struct worker *worker, uint64_t now_ms)
{
    struct links *links = &worker->links;
    struct load_seen load;

    update_addresses(worker, now_ms);
    split_credits(worker, now_ms);
    load = load_now(worker);
    for (uint32_t i = 0; i < links->count; i++)
        tick_link(worker, links->items[i], &load, now_ms);
}

uint64_t links_wait_ms(const struct worker *worker, uint64_t now_ms)
{
    const struct links *links = &worker->links;
    uint64_t wait_ms = PROTO_LOAD_EVERY_MS;
    struct load_seen load = load_now(worker);

    for (uint32_t i = 0; i < links->count; i++) {
        const struct link *link = links->items[i];
        uint64_t at_ms = link->state == LINK_OPEN
                             ? MIN(load_at_ms(link, &load), outbox_tokens_at_ms(link))
                             : link->hello_at_ms;
        wait_ms = MIN(wait_ms, at_ms > now_ms ? at_ms - now_ms : 0);
    }
    return wait_ms;
}

bool links_readable(const struct worker *worker)
{
    for (uint32_t i = 0; i < worker->links.count; i++)
        if (transport_readable(worker->links.items[i]->transport))
            return true;
    return false;
}
