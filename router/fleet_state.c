/* What workers report about themselves: load and cache. */
#include "router/fleet.h"

#include "common/log.h"
#include "common/mem.h"

static void acknowledge(struct worker *worker, uint64_t received)
{
    while (worker->acked < MIN(received, worker->sent)) {
        worker->acked++;
        worker->unacked_tokens -= worker->unacked[worker->acked & (worker->unacked_cap - 1)];
    }
}

static void set_draining(struct fleet *fleet, struct worker *worker, bool draining)
{
    bool changed = worker->draining != draining;
    worker->draining = draining;
    if (changed)
        fleet->ops->drains(fleet->ctx, worker);
}

void fleet_load(struct fleet *fleet, struct worker *worker, const struct frame_load *load,
                uint64_t now_ms)
{
    if (load->epoch != worker->epoch)
        return;
    if (load->step != worker->load.step || load->running == 0 || worker->load.running == 0)
        worker->stepped_ms = now_ms;
    worker->load = *load;
    worker->load_seen = true;
    set_draining(fleet, worker, load->draining);
    acknowledge(worker, load->received);
    fleet->ops->loaded(fleet->ctx, worker);
}

void fleet_drain(struct fleet *fleet, struct worker *worker, bool draining)
{
    LOG_INFO("fleet", draining ? "worker_drains" : "worker_serves", "worker=%s", worker->name);
    set_draining(fleet, worker, draining);
    worker->load.draining = draining;
    fleet->ops->loaded(fleet->ctx, worker);
}

void fleet_dispatched(struct fleet *fleet, struct worker *worker, uint32_t prefill_tokens)
{
    uint64_t open = worker->sent - worker->acked;
    if (open + 1 >= worker->unacked_cap) {
        uint32_t cap = MAX(worker->unacked_cap * 2, 16u);
        uint32_t *ring = mem_array(cap, sizeof(*ring));
        for (uint64_t i = worker->acked + 1; i <= worker->sent; i++)
            ring[i & (cap - 1)] = worker->unacked[i & (worker->unacked_cap - 1)];
        mem_free(worker->unacked);
        worker->unacked = ring;
        worker->unacked_cap = cap;
    }
    worker->sent++;
    worker->unacked[worker->sent & (worker->unacked_cap - 1)] = prefill_tokens;
    worker->unacked_tokens += prefill_tokens;
    worker->last_turn = ++fleet->turn;
}

uint32_t worker_room(const struct worker *worker)
{
    uint64_t open = worker->sent - worker->acked;
    uint64_t credits = worker->load_seen ? worker->load.slots_free : worker->slots;
    uint64_t ours = worker->slots > worker->stream_count ? worker->slots - worker->stream_count : 0;
    return (uint32_t)MIN(credits > open ? credits - open : 0, ours);
}

uint64_t worker_pending_tokens(const struct worker *worker)
{
    uint64_t counted = worker->load.pending_prefill_tokens + worker->unacked_tokens;
    return counted > worker->shared_tokens ? counted - worker->shared_tokens : 0;
}

uint64_t worker_reqs(const struct worker *worker)
{
    return (uint64_t)worker->load.running + worker->load.waiting + (worker->sent - worker->acked);
}

uint32_t fleet_serving(const struct fleet *fleet, const struct model *model, uint32_t *length_max,
                       uint32_t *length_best)
{
    uint32_t count = 0;
    *length_max = 0;
    *length_best = 0;
    for (uint32_t i = 0; i < fleet->limit; i++) {
        const struct worker *worker = fleet->workers[i];
        if (!worker || worker->draining || (model && worker->model != model))
            continue;
        count++;
        *length_max = *length_max == 0 ? worker->length_max : MIN(*length_max, worker->length_max);
        *length_best = MAX(*length_best, worker->length_max);
    }
    return count;
}

static void page_gone(void *ctx, uint64_t hash)
{
    page_tree_remove(ctx, hash);
}

void fleet_forget_pages(struct fleet *fleet, struct worker *worker)
{
    prefix_index_drop_worker(&fleet->index, worker->index, fleet->tree ? page_gone : NULL,
                             fleet->tree);
}

static void remove_page(struct fleet *fleet, const struct worker *worker, uint64_t hash)
{
    prefix_index_remove(&fleet->index, worker->index, hash);
    if (fleet->tree && !prefix_index_held(&fleet->index, hash))
        page_tree_remove(fleet->tree, hash);
}

/* The pages of a run that the index took, a piece at a time, to the tree. */
static void grow_tree(struct fleet *fleet, const struct page_run *run, uint32_t count)
{
    uint64_t hashes[PAGE_TREE_SEGMENT], parent = run->parent;
    for (uint32_t done = 0, n; done < count; done += n) {
        n = MIN(count - done, (uint32_t)ARRAY_LEN(hashes));
        for (uint32_t i = 0; i < n; i++)
            hashes[i] = page_run_hash(run, done + i);
        page_tree_add(fleet->tree, parent, hashes, n);
        parent = hashes[n - 1];
    }
}

static void apply_runs(struct fleet *fleet, struct worker *worker, const struct frame_cache *cache)
{
    for (uint32_t r = 0; r < cache->run_count; r++) {
        const struct page_run *run = &cache->runs[r];
        uint32_t i = 0;
        for (; i < run->count; i++) {
            uint64_t hash = page_run_hash(run, i);
            if (run->removed)
                remove_page(fleet, worker, hash);
            else if (prefix_index_pages(&fleet->index, worker->index) < worker->pages)
                prefix_index_add(&fleet->index, worker->index, hash);
            else
                break;
        }
        if (fleet->tree && !run->removed)
            grow_tree(fleet, run, i);
    }
}

static void lost_track(struct fleet *fleet, struct worker *worker, uint64_t now_ms)
{
    worker->gaps++;
    fleet->gaps_total++;
    worker->cache_known = false;
    worker->snapshot_next = 0;
    worker->snapshot_asked_ms = now_ms;
    fleet_forget_pages(fleet, worker);
    struct frame frame = {.type = FRAME_SNAPSHOT};
    frame.snapshot.request = true;
    enum status status = fleet->ops->send(fleet->ctx, worker_peer(worker), &frame);
    LOG_WARN("fleet", "cache_gap", "worker=%s asked=%s", worker->name, status_name(status));
}

void fleet_cache(struct fleet *fleet, struct worker *worker, const struct frame_cache *cache,
                 uint64_t now_ms)
{
    if (cache->epoch != worker->epoch || !worker->cache_known)
        return; /* a snapshot is on its way and will contain this */
    if (cache->seq <= worker->cache_seq)
        return; /* sent before the snapshot that we have */
    if (cache->seq != worker->cache_seq + 1) {
        lost_track(fleet, worker, now_ms);
        return;
    }
    worker->cache_seq = cache->seq;
    apply_runs(fleet, worker, cache);
}

void fleet_snapshot(struct fleet *fleet, struct worker *worker,
                    const struct frame_snapshot *snapshot, uint64_t now_ms)
{
    if (snapshot->request || snapshot->cache.epoch != worker->epoch)
        return;
    if (snapshot->part == 0) {
        fleet_forget_pages(fleet, worker);
        worker->cache_known = false;
        worker->snapshot_next = 0;
    } else if (snapshot->part != worker->snapshot_next) {
        lost_track(fleet, worker, now_ms);
        return;
    }
    apply_runs(fleet, worker, &snapshot->cache);
    worker->snapshot_next = snapshot->part + 1;
    worker->snapshot_asked_ms = now_ms;
    if (worker->snapshot_next >= snapshot->part_count) {
        worker->cache_known = true;
        worker->cache_seq = snapshot->cache.seq;
        LOG_DEBUG("fleet", "snapshot", "worker=%s pages=%llu", worker->name,
                  (unsigned long long)prefix_index_pages(&fleet->index, worker->index));
    }
}

bool fleet_can(const struct fleet *fleet, const struct model *model, uint32_t features)
{
    for (uint32_t i = 0; i < fleet->limit; i++) {
        const struct worker *worker = fleet->workers[i];
        if (worker && !worker->draining && worker->model == model &&
            (worker->features & features) == features)
            return true;
    }
    return false;
}
