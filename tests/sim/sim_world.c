/* sim_world - see sim_world.h. Included by the tests that need it. */
#include "tests/sim/sim_world.h"

#include "common/mem.h"
#include "common/rng.h"
#include "worker/sched/sched.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY 16
#define NOBODY      UINT64_MAX

static const uint64_t sim_namespaces[3] = {0, 77, 0xfeedfacecafef00d};

/* ---- the plan ---- */

static uint32_t pick(uint64_t *rng, uint32_t low, uint32_t high)
{
    return low + (uint32_t)rng_below(rng, (uint64_t)high - low + 1);
}

static bool chance(uint64_t *rng, double p)
{
    return rng_unit(rng) < p;
}

static void opts_make(struct sim_plan *plan, uint64_t *rng)
{
    static const uint32_t sizes[] = {1, 2, 3, 4, 8, 16};
    struct sched_opts *o = &plan->opts;
    o->page_size = sizes[pick(rng, 0, 5)];
    o->context_max = pick(rng, 8, chance(rng, 0.2) ? 400 : 120);
    uint32_t per_req = DIV_CEIL(o->context_max, o->page_size);
    o->pages = pick(rng, MAX(2u, per_req / 2), per_req * (chance(rng, 0.6) ? 3 : 12));
    o->slots = pick(rng, 1, chance(rng, 0.3) ? 32 : 8);
    o->waiting_max = pick(rng, 1, 40);
    o->step_tokens = o->slots + pick(rng, 0, chance(rng, 0.5) ? 16 : 128);
    o->chunk_tokens = chance(rng, 0.5) ? 0 : pick(rng, 1, 64);
    o->step_ms = chance(rng, 0.5) ? 0 : pick(rng, 1, 10);
    o->prefill_us_per_token = pick(rng, 1, 500);
    o->decode_us_per_row = pick(rng, 1, 500);
    o->cache = chance(rng, 0.8);
    o->prefix_groups = chance(rng, 0.8);
    o->age_ms = chance(rng, 0.2) ? 0 : pick(rng, 10, 2000);
    o->fingerprint = rng_next(rng);
}

static void arrival_make(const struct sim_plan *plan, uint64_t *rng, struct sim_arrival *a)
{
    uint32_t context = plan->opts.context_max;
    *a = (struct sim_arrival){.seed = rng_next(rng) % 1000, .cancel_after = UINT32_MAX};
    a->doc = pick(rng, 0, plan->doc_count - 1);
    a->doc_take = chance(rng, 0.3) ? plan->doc_len : pick(rng, 0, plan->doc_len);
    a->own = chance(rng, 0.3) ? 0 : pick(rng, 0, context / 4);
    if (a->doc_take + a->own == 0)
        a->own = 1;
    a->tokens_max = chance(rng, 0.1) ? UINT32_MAX : pick(rng, 1, context / 2);
    a->resumed = chance(rng, 0.2) ? pick(rng, 0, MIN(a->tokens_max, context / 3) - 1) : 0;
    a->tokens_min = chance(rng, 0.2) ? pick(rng, 0, a->tokens_max) : 0;
    a->stop_ids = pick(rng, 0, 3);
    a->ignore_eos = chance(rng, 0.1);
    if (chance(rng, 0.15))
        a->cancel_after = pick(rng, 0, 60);
    if (chance(rng, 0.1))
        a->deadline_ms = pick(rng, 1, 2000);
    a->priority = chance(rng, 0.2) ? (int32_t)pick(rng, 0, 4) - 2 : 0;
    a->namespace_at = chance(rng, 0.3) ? pick(rng, 1, 2) : 0;
}

void sim_plan_make(struct sim_plan *plan, uint64_t seed)
{
    uint64_t rng = seed * 0x9e3779b97f4a7c15u + 1;
    *plan = (struct sim_plan){.seed = seed};
    opts_make(plan, &rng);
    plan->depth = chance(&rng, 0.7) ? 2 : 1;
    plan->rash = chance(&rng, 0.4);
    plan->vocab = pick(&rng, 2, chance(&rng, 0.3) ? 4 : 200);
    plan->doc_count = pick(&rng, 1, 6);
    plan->doc_len = pick(&rng, 1, plan->opts.context_max);
    plan->steps = pick(&rng, 200, 2000);
    double rate = rng_unit(&rng) * rng_unit(&rng) * 0.8; /* bursts come on top */
    plan->arrivals = mem_array((size_t)plan->steps * 2 + 64, sizeof(*plan->arrivals));
    for (uint32_t step = 0; step < plan->steps; step++) {
        uint32_t count = chance(&rng, rate) ? 1 : 0;
        if (chance(&rng, 0.005))
            count += pick(&rng, 2, 24);
        for (; count > 0 && plan->arrival_count < plan->steps * 2; count--) {
            struct sim_arrival *a = &plan->arrivals[plan->arrival_count++];
            arrival_make(plan, &rng, a);
            if (chance(&rng, 0.2) && plan->arrival_count > 1) /* the same prompt again */
                *a = a[-1];
            a->at_step = step;
        }
    }
}

void sim_plan_release(struct sim_plan *plan)
{
    mem_free(plan->arrivals);
    plan->arrivals = NULL;
}

void sim_plan_print(const struct sim_plan *plan)
{
    const struct sched_opts *o = &plan->opts;
    printf("seed %" PRIu64 ": pages %u x %u, slots %u, waiting %u, context %u, step %u tokens, "
           "chunk %u, %.0f ms, cache %d, groups %d, age %u ms, depth %u, rash %d, vocab %u, "
           "docs %u x %u\n",
           plan->seed, o->pages, o->page_size, o->slots, o->waiting_max, o->context_max,
           o->step_tokens, o->chunk_tokens, o->step_ms, o->cache, o->prefix_groups, o->age_ms,
           plan->depth, plan->rash, plan->vocab, plan->doc_count, plan->doc_len);
    uint32_t shown = 0;
    for (uint32_t i = 0; i < plan->arrival_count; i++) {
        const struct sim_arrival *a = &plan->arrivals[i];
        if (a->off || shown++ >= 40)
            continue;
        printf("  step %u: arrival %u, doc %u x %u + %u own (seed %" PRIu64 ") + %u resumed, "
               "max %u, min %u, stops %u, cancel %d, deadline %u, priority %d, namespace %u\n",
               a->at_step, i, a->doc, a->doc_take, a->own, a->seed, a->resumed, a->tokens_max,
               a->tokens_min, a->ignore_eos ? 0 : a->stop_ids, (int)a->cancel_after, a->deadline_ms,
               a->priority, a->namespace_at);
    }
    printf("  %u arrivals\n", shown);
}

/* ---- the world ---- */

/* What one KV entry was computed from. */
struct entry {
    uint32_t token, pos;
    uint64_t namespace_hash;
};

struct client {
    uint64_t id; /* the scheduler's */
    uint32_t *tokens;
    uint32_t token_count, prompt_count, first_count, end_count;
    uint32_t stop_ids[3];
    uint32_t added_step;
    bool alive, first_event_seen;
};

struct flight {
    uint32_t tokens[64];
    uint32_t count;
};

struct world {
    const struct sim_plan *plan;
    struct scheduler *s;
    struct sim_stats *stats;
    struct err *err;
    bool failed;
    uint64_t rng, now_ms;
    uint32_t step, next_arrival, alive;
    struct client *clients; /* [arrival_count] */
    struct sched_event *events;
    uint32_t event_max;
    char *block;
    struct flight flights[2];
    uint64_t planned, committed;
    /* the device */
    struct entry *entries; /* [pages, page_size] */
    uint32_t *table;       /* [slots, per_slot] */
    uint32_t per_slot;
    uint32_t *last;      /* [slots] sampled last */
    uint64_t *slot_user; /* [slots] */
    uint64_t *slot_run;
    uint64_t *slot_step;                /* last step that used the slot */
    uint64_t *named[2], *named_step[2]; /* [pages] by step & 1: a user or MANY */
    uint64_t *written, *written_by;     /* [pages] step and user that wrote it last */
    /* the mirror of the cache */
    struct {
        uint64_t parent, hash;
    } * mirror;
    uint32_t mirror_count, mirror_cap;
};
#define MANY (UINT64_MAX - 1)

static void fail(struct world *w, const char *format, ...) PRINTF_LIKE(2, 3);
static void fail(struct world *w, const char *format, ...)
{
    if (w->failed)
        return;
    w->failed = true;
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    err_set(w->err, STATUS_INTERNAL, "step %u: %s", w->step, text);
}

/* The prefix's digest after one more entry; the oracle and the fake engine share only this. */
static uint64_t digest_next(uint64_t digest, uint32_t token, uint32_t pos, uint64_t namespace_hash)
{
    uint64_t state = digest ^ ((uint64_t)token << 32 | pos) ^ (namespace_hash * 0x100000001b3u);
    return rng_next(&state);
}

static uint32_t oracle(const struct world *w, const uint32_t *tokens, uint32_t count,
                       uint64_t namespace_hash)
{
    uint64_t digest = 1;
    for (uint32_t i = 0; i < count; i++)
        digest = digest_next(digest, tokens[i], i, namespace_hash);
    return (uint32_t)(digest % w->plan->vocab);
}

/* ---- arrivals ---- */

static uint32_t doc_token(const struct world *w, uint64_t doc, uint32_t at)
{
    uint64_t state = w->plan->seed ^ (doc << 40) ^ at;
    return (uint32_t)(rng_next(&state) % w->plan->vocab);
}

static void arrive(struct world *w, uint32_t index)
{
    const struct sim_arrival *a = &w->plan->arrivals[index];
    struct client *c = &w->clients[index];
    uint64_t ns = sim_namespaces[a->namespace_at];
    uint32_t prompt = a->doc_take + a->own, count = prompt + a->resumed;
    uint32_t cap = MAX(count, w->plan->opts.context_max) + 1;
    c->tokens = mem_array(cap, sizeof(uint32_t));
    for (uint32_t i = 0; i < prompt; i++)
        c->tokens[i] = i < a->doc_take ? doc_token(w, a->doc, i) : doc_token(w, 1000 + a->seed, i);
    for (uint32_t i = prompt; i < count; i++)
        c->tokens[i] = oracle(w, c->tokens, i, ns);
    for (uint32_t i = 0; i < 3; i++)
        c->stop_ids[i] = (uint32_t)(a->seed + i * 7) % w->plan->vocab;
    c->token_count = c->first_count = count;
    c->prompt_count = prompt;
    uint32_t length_max = scheduler_length_max(w->s);
    c->end_count = (uint32_t)MIN((uint64_t)prompt + a->tokens_max, (uint64_t)length_max);
    struct req_spec spec = {
        .user = index,
        .tokens = c->tokens,
        .token_count = count,
        .prompt_count = prompt,
        .tokens_max = a->tokens_max,
        .tokens_min = a->tokens_min,
        .stop_ids = c->stop_ids,
        .stop_id_count = a->stop_ids,
        .ignore_eos = a->ignore_eos,
        .sampling = sampling_default(),
        .namespace_hash = ns,
        .priority = a->priority,
        .deadline_ms = a->deadline_ms ? w->now_ms + a->deadline_ms : 0,
    };
    struct err err;
    enum status status = scheduler_add(w->s, &spec, w->now_ms, &c->id, &err);
    c->added_step = w->step;
    c->alive = status == STATUS_OK;
    w->alive += c->alive;
    w->stats->reqs += c->alive;
    w->stats->refused += !c->alive;
    if (count >= length_max ? status != STATUS_TOO_LONG
                            : status != STATUS_OK && status != STATUS_QUEUE_FULL)
        fail(w, "add of %u tokens answered %s", count, status_name(status));
    struct sched_load load;
    scheduler_load(w->s, &load);
    if (status == STATUS_QUEUE_FULL && load.slots_free != 0)
        fail(w, "queue full with %u places left", load.slots_free);
}

static void arrivals(struct world *w)
{
    const struct sim_plan *plan = w->plan;
    for (; w->next_arrival < plan->arrival_count &&
           plan->arrivals[w->next_arrival].at_step <= w->step;
         w->next_arrival++)
        if (!plan->arrivals[w->next_arrival].off)
            arrive(w, w->next_arrival);
    for (uint32_t i = 0; i < w->next_arrival; i++) {
        const struct client *c = &w->clients[i];
        if (plan->arrivals[i].cancel_after != UINT32_MAX && c->tokens &&
            w->step == c->added_step + plan->arrivals[i].cancel_after)
            scheduler_cancel(w->s, c->id); /* also when it has ended: must do nothing */
    }
}

/* ---- events ---- */

static void take_token_event(struct world *w, struct client *c, const struct sim_arrival *a,
                             const struct sched_event *e)
{
    uint64_t ns = sim_namespaces[a->namespace_at];
    if (e->index != c->token_count - c->prompt_count)
        fail(w, "req %" PRIu64 ": token index %u, expected %u", e->user, e->index,
             c->token_count - c->prompt_count);
    uint32_t want = oracle(w, c->tokens, c->token_count, ns);
    if (e->token != want)
        fail(w, "req %" PRIu64 ": token %u at %u, the oracle says %u", e->user, e->token,
             c->token_count, want);
    if (w->failed || c->token_count >= c->end_count) {
        fail(w, "req %" PRIu64 " goes on after its end", e->user);
        return;
    }
    c->tokens[c->token_count++] = e->token;
    w->stats->tokens++;
    bool stops = false;
    for (uint32_t i = 0; i < a->stop_ids && !a->ignore_eos; i++)
        stops |= c->stop_ids[i] == e->token;
    stops &= c->token_count - c->prompt_count > a->tokens_min;
    enum sched_finish finish = stops                            ? SCHED_STOP
                               : c->token_count == c->end_count ? SCHED_LENGTH
                                                                : SCHED_RUNNING;
    if (e->finish != finish)
        fail(w, "req %" PRIu64 ": finish %d, expected %d", e->user, e->finish, finish);
}

static void take_event(struct world *w, const struct sched_event *e)
{
    const struct sim_arrival *a = &w->plan->arrivals[e->user];
    struct client *c = &w->clients[e->user];
    if (!c->alive) {
        fail(w, "req %" PRIu64 " has an event after its end", e->user);
        return;
    }
    if (e->cached_tokens >= c->token_count || (!w->plan->opts.cache && e->cached_tokens))
        fail(w, "req %" PRIu64 ": %u cached tokens of %u", e->user, e->cached_tokens,
             c->token_count);
    if (e->has_token)
        take_token_event(w, c, a, e);
    else if (e->finish == SCHED_CANCELLED ? a->cancel_after == UINT32_MAX
                                          : e->finish != SCHED_EXPIRED || a->deadline_ms == 0)
        fail(w, "req %" PRIu64 " ended by %d for no reason", e->user, e->finish);
    if (e->finish == SCHED_RUNNING)
        return;
    c->alive = false;
    w->alive--;
    w->stats->cancelled += e->finish == SCHED_CANCELLED;
    w->stats->deadlines += e->finish == SCHED_EXPIRED;
    w->stats->stops += e->finish == SCHED_STOP;
    w->stats->lengths += e->finish == SCHED_LENGTH;
}

/* ---- the fake engine ---- */

static void name_page(struct world *w, uint64_t step, uint32_t page, uint64_t user)
{
    uint32_t k = step & 1;
    if (w->named_step[k][page] != step)
        w->named[k][page] = user;
    else if (w->named[k][page] != user)
        w->named[k][page] = MANY;
    w->named_step[k][page] = step;
}

/* True when a row of another user in an uncommitted step before `step` names the page. */
static bool named_by_other(const struct world *w, uint64_t step, uint32_t page, uint64_t user)
{
    uint64_t before = step - 1;
    return before > w->committed && w->named_step[before & 1][page] == before &&
           w->named[before & 1][page] != user;
}

static void apply_deltas(struct world *w, const struct step_packet *p)
{
    const struct page_delta *deltas = step_deltas(p);
    for (uint32_t i = 0; i < p->delta_count; i++) {
        const struct page_delta *d = &deltas[i];
        if (d->idx >= w->per_slot || d->page >= w->plan->opts.pages) {
            fail(w, "delta names entry %u, page %u", d->idx, d->page);
            return;
        }
        uint32_t *at = &w->table[(size_t)d->slot * w->per_slot + d->idx];
        if (*at != d->page && w->s->pages.owner[d->page] == PAGE_REQ)
            memset(w->entries + (size_t)d->page * w->plan->opts.page_size, 0xee,
                   w->plan->opts.page_size * sizeof(*w->entries));
        *at = d->page;
    }
}

static struct entry *entry_at(struct world *w, uint32_t slot, uint32_t pos)
{
    uint32_t size = w->plan->opts.page_size;
    uint32_t page = w->table[(size_t)slot * w->per_slot + pos / size];
    if (page >= w->plan->opts.pages) {
        fail(w, "slot %u reads position %u through no page", slot, pos);
        page = 0;
    }
    return &w->entries[(size_t)page * size + pos % size];
}

/* A new occupant of a slot starts from an empty table row. */
static void slots_update(struct world *w)
{
    for (uint32_t i = 0; i < w->s->running_count; i++) {
        const struct req *req = w->s->running[i];
        uint32_t slot = req->slot;
        if (w->slot_user[slot] == req->user && w->slot_run[slot] == req->run)
            continue;
        if (w->slot_user[slot] != NOBODY && w->slot_step[slot] > w->committed)
            fail(w, "slot %u is given away while step %" PRIu64 " uses it", slot,
                 w->slot_step[slot]);
        w->slot_user[slot] = req->user;
        w->slot_run[slot] = req->run;
        w->last[slot] = UINT32_MAX;
        memset(w->table + (size_t)slot * w->per_slot, 0xff, w->per_slot * sizeof(uint32_t));
    }
}

/* Writes the row's entries; checks that nobody else could see it happen. */
static void row_write(struct world *w, const struct step_packet *p, const struct step_row *row,
                      uint64_t user)
{
    uint32_t size = w->plan->opts.page_size;
    uint64_t ns = sim_namespaces[w->plan->arrivals[user].namespace_at];
    for (uint32_t t = 0; t < row->token_count; t++) {
        uint32_t token = step_tokens(p)[row->token_first + t], pos = row->pos_first + t;
        if (token == STEP_TOKEN_LAST)
            token = w->last[row->slot];
        if (token >= w->plan->vocab)
            fail(w, "req %" PRIu64 ": input token %u at %u", user, token, pos);
        struct entry *entry = entry_at(w, row->slot, pos);
        uint32_t page = (uint32_t)(entry - w->entries) / size;
        if (w->s->pages.owner[page] != PAGE_REQ)
            fail(w, "req %" PRIu64 " writes page %u, which is not its own", user, page);
        if (named_by_other(w, p->step, page, user))
            fail(w, "page %u is written while the step before names it for another", page);
        if (w->written[page] == p->step && w->written_by[page] != user)
            fail(w, "page %u is written by two rows", page);
        w->written[page] = p->step;
        w->written_by[page] = user;
        *entry = (struct entry){token, pos, ns};
    }
}

/* Reads the whole prefix through the table. */
static uint32_t row_sample(struct world *w, const struct step_packet *p, const struct step_row *row)
{
    uint64_t digest = 1;
    uint32_t end = row->pos_first + row->token_count;
    for (uint32_t i = 0; i < end; i++) {
        const struct entry *entry = entry_at(w, row->slot, i);
        digest = digest_next(digest, entry->token, entry->pos, entry->namespace_hash);
    }
    return (uint32_t)(digest % w->plan->vocab);
}

static void packet_check(struct world *w, const struct step_packet *p)
{
    const struct sched_opts *o = &w->plan->opts;
    struct step_limits limits;
    scheduler_limits(w->s, &limits);
    if (!step_packet_valid(p, p->bytes, &limits, o->slots))
        fail(w, "the packet is not valid");
    bool prefills = false, decodes = false;
    for (uint32_t i = 0; i < p->row_count; i++) {
        const struct step_row *row = &step_rows(p)[i];
        if (o->chunk_tokens && row->token_count > o->chunk_tokens)
            fail(w, "a chunk of %u tokens", row->token_count);
        bool sampled = false;
        for (uint32_t k = 0; k < p->sample_count; k++)
            sampled |= step_samples(p)[k].row == i;
        if (row->token_count == 1 && sampled) {
            decodes = true;
            if (prefills)
                fail(w, "a decode row comes after a chunk");
        } else {
            prefills = true;
        }
        for (uint32_t k = 0; k < i; k++)
            if (step_rows(p)[k].slot == row->slot)
                fail(w, "slot %u has two rows", row->slot);
    }
    w->stats->mixed_steps += prefills && decodes;
}

static void groups_verify(struct world *w, const struct step_packet *p)
{
    const struct prefix_group *groups = step_groups(p);
    for (uint32_t g = 0; g < p->group_count; g++) {
        const struct step_row *rows = step_rows(p) + groups[g].row_first;
        w->stats->groups++;
        w->stats->grouped_rows += groups[g].row_count;
        for (uint32_t i = 0; i < groups[g].row_count; i++) {
            if (rows[i].pos_first < groups[g].page_count * w->plan->opts.page_size)
                fail(w, "a group's pages reach beyond a member's KV");
            if (memcmp(w->table + (size_t)rows[i].slot * w->per_slot,
                       w->table + (size_t)rows[0].slot * w->per_slot,
                       groups[g].page_count * sizeof(uint32_t)) != 0)
                fail(w, "members of a group do not share its pages");
        }
    }
    if (p->group_count && !w->plan->opts.prefix_groups)
        fail(w, "groups although they are off");
}

static void execute(struct world *w, const struct step_packet *p)
{
    packet_check(w, p);
    slots_update(w);
    if (w->failed)
        return;
    apply_deltas(w, p);
    groups_verify(w, p);
    uint32_t size = w->plan->opts.page_size;
    for (uint32_t i = 0; i < p->row_count && !w->failed; i++) {
        const struct step_row *row = &step_rows(p)[i];
        w->slot_step[row->slot] = p->step;
        for (uint32_t k = 0; k * size < row->pos_first + row->token_count; k++) {
            uint32_t page = w->table[(size_t)row->slot * w->per_slot + k];
            if (page < w->plan->opts.pages)
                name_page(w, p->step, page, w->slot_user[row->slot]);
        }
    }
    for (uint32_t i = 0; i < p->row_count && !w->failed; i++)
        row_write(w, p, &step_rows(p)[i], w->slot_user[step_rows(p)[i].slot]);
    struct flight *flight = &w->flights[p->step & 1];
    flight->count = p->sample_count;
    for (uint32_t i = 0; i < p->sample_count && !w->failed; i++) {
        const struct step_sample *sample = &step_samples(p)[i];
        const struct step_row *row = &step_rows(p)[sample->row];
        flight->tokens[i] = row_sample(w, p, row);
        w->last[row->slot] = flight->tokens[i];
    }
}

/* ---- the cache's mirror: what a router would know ---- */

static void mirror_apply(struct world *w, const struct sched_cache_event *e)
{
    if (!e->removed) {
        if (w->mirror_count == w->mirror_cap) {
            fail(w, "more pages stored than the pool has");
            return;
        }
        w->mirror[w->mirror_count].parent = e->parent;
        w->mirror[w->mirror_count++].hash = e->hash;
        return;
    }
    for (uint32_t i = w->mirror_count; i-- > 0;)
        if (w->mirror[i].hash == e->hash && w->mirror[i].parent == e->parent) {
            w->mirror[i] = w->mirror[--w->mirror_count];
            return;
        }
    fail(w, "a page was removed that was never stored");
}

static void mirror_drain(struct world *w)
{
    struct sched_cache_event events[32];
    bool more = true, lost = false;
    while (more && !w->failed) {
        uint32_t count = ARRAY_LEN(events);
        more = scheduler_cache_events(w->s, events, &count, &lost);
        if (lost)
            fail(w, "cache events were lost");
        for (uint32_t i = 0; i < count && !w->failed; i++)
            mirror_apply(w, &events[i]);
    }
}

struct mirror_walk {
    struct world *w;
    uint32_t count;
};

static void mirror_visit(void *ctx, uint64_t parent, uint64_t hash)
{
    struct mirror_walk *walk = ctx;
    struct world *w = walk->w;
    walk->count++;
    for (uint32_t i = 0; i < w->mirror_count; i++)
        if (w->mirror[i].hash == hash && w->mirror[i].parent == parent)
            return;
    fail(w, "a page is in the tree and was not reported");
}

static void world_check(struct world *w)
{
    struct err err;
    if (!scheduler_check(w->s, &err))
        fail(w, "%s", err.text);
    mirror_drain(w);
    struct mirror_walk walk = {w, 0};
    scheduler_cache_walk(w->s, mirror_visit, &walk);
    if (walk.count != w->mirror_count || (!w->plan->opts.cache && walk.count))
        fail(w, "%u pages in the tree, %u reported", walk.count, w->mirror_count);
}

/* ---- the loop ---- */

static bool plan_one(struct world *w)
{
    uint32_t events = w->event_max;
    uint64_t allocs = mem_alloc_count();
    const struct step_packet *p = scheduler_plan(w->s, w->now_ms, w->block, w->events, &events);
    if (mem_alloc_count() != allocs)
        fail(w, "plan allocated memory");
    for (uint32_t i = 0; i < events && !w->failed; i++)
        take_event(w, &w->events[i]);
    if (!p) {
        if (w->planned == w->committed && events == 0 && w->alive > 0)
            fail(w, "nothing to compute and nothing in flight, but %u reqs live", w->alive);
        return false;
    }
    if (p->step != ++w->planned)
        fail(w, "step %" PRIu64 " follows %" PRIu64, p->step, w->planned - 1);
    w->stats->steps++;
    execute(w, p);
    return true;
}

static void commit_one(struct world *w)
{
    struct flight *flight = &w->flights[(w->committed + 1) & 1];
    uint32_t events = w->event_max;
    uint64_t allocs = mem_alloc_count();
    scheduler_commit(w->s, flight->tokens, flight->count, w->now_ms, rng_below(&w->rng, 20000000),
                     w->events, &events);
    if (mem_alloc_count() != allocs)
        fail(w, "commit allocated memory");
    w->committed++;
    for (uint32_t i = 0; i < events && !w->failed; i++)
        take_event(w, &w->events[i]);
}

static void starve_check(struct world *w)
{
    const struct sched_opts *o = &w->plan->opts;
    uint64_t bound = 2000 + (uint64_t)(o->slots + o->waiting_max) * o->context_max * 2;
    for (uint32_t i = 0; i < w->next_arrival; i++)
        if (w->clients[i].alive && w->step - w->clients[i].added_step > bound)
            fail(w, "req %u waits since step %u", i, w->clients[i].added_step);
}

static void world_init(struct world *w, const struct sim_plan *plan)
{
    const struct sched_opts *o = &plan->opts;
    struct step_limits limits;
    w->rng = plan->seed ^ 0x5eed;
    w->clients = mem_array(MAX(plan->arrival_count, 1u), sizeof(*w->clients));
    w->event_max = scheduler_event_max(w->s);
    w->events = mem_array(w->event_max, sizeof(*w->events));
    scheduler_limits(w->s, &limits);
    w->block = mem_aligned(step_packet_bytes_max(&limits), 64);
    w->entries = mem_array((size_t)o->pages * o->page_size, sizeof(*w->entries));
    w->per_slot = DIV_CEIL(o->context_max, o->page_size);
    w->table = mem_array((size_t)o->slots * w->per_slot, sizeof(uint32_t));
    w->last = mem_array(o->slots, sizeof(uint32_t));
    w->slot_user = mem_array(o->slots, sizeof(uint64_t));
    w->slot_run = mem_array(o->slots, sizeof(uint64_t));
    w->slot_step = mem_array(o->slots, sizeof(uint64_t));
    for (uint32_t i = 0; i < o->slots; i++)
        w->slot_user[i] = NOBODY;
    for (int k = 0; k < 2; k++) {
        w->named[k] = mem_array(o->pages, sizeof(uint64_t));
        w->named_step[k] = mem_array(o->pages, sizeof(uint64_t));
    }
    w->written = mem_array(o->pages, sizeof(uint64_t));
    w->written_by = mem_array(o->pages, sizeof(uint64_t));
    w->mirror_cap = o->pages;
    w->mirror = mem_array(w->mirror_cap, sizeof(*w->mirror));
}

static void world_release(struct world *w)
{
    for (uint32_t i = 0; i < w->plan->arrival_count; i++)
        mem_free(w->clients[i].tokens);
    mem_free(w->clients);
    mem_free(w->events);
    mem_free(w->block);
    mem_free(w->entries);
    mem_free(w->table);
    mem_free(w->last);
    mem_free(w->slot_user);
    mem_free(w->slot_run);
    mem_free(w->slot_step);
    for (int k = 0; k < 2; k++) {
        mem_free(w->named[k]);
        mem_free(w->named_step[k]);
    }
    mem_free(w->written);
    mem_free(w->written_by);
    mem_free(w->mirror);
    scheduler_free(w->s);
}

static void world_step(struct world *w)
{
    uint64_t turn = w->plan->seed ^ ((uint64_t)w->step << 20);
    uint64_t dice = rng_next(&turn);
    w->now_ms += dice % 20;
    arrivals(w);
    if (w->plan->rash) {
        w->s->usual_tokens = 0;
        w->s->caution = 1;
    }
    bool room = w->planned - w->committed < w->plan->depth;
    if (room && !w->failed)
        plan_one(w);
    bool full = w->planned - w->committed == w->plan->depth;
    if (!w->failed && w->planned > w->committed && (full || (dice >> 40) % 4 != 0))
        commit_one(w);
    if (w->step % CHECK_EVERY == 0 && !w->failed) {
        world_check(w);
        starve_check(w);
    }
}

bool sim_run(const struct sim_plan *plan, struct sim_stats *stats, struct err *err)
{
    struct world w = {.plan = plan, .stats = stats, .err = err, .now_ms = 1000};
    if (scheduler_new(&plan->opts, &w.s, err) != STATUS_OK)
        return false;
    world_init(&w, plan);
    for (w.step = 0; w.step < plan->steps && !w.failed; w.step++)
        world_step(&w);
    while (!w.failed && (w.alive > 0 || w.planned > w.committed)) {
        world_step(&w);
        w.step++;
    }
    if (!w.failed)
        world_check(&w);
    struct sched_load load;
    scheduler_load(w.s, &load);
    stats->retractions += load.retractions;
    stats->cached_tokens += load.cached_tokens;
    if (load.running || load.waiting || load.pages_free != plan->opts.pages ||
        load.slots_free != plan->opts.slots + plan->opts.waiting_max)
        fail(&w, "after the end: %u running, %u waiting, %u pages free", load.running, load.waiting,
             load.pages_free);
    world_release(&w);
    return !w.failed;
}
