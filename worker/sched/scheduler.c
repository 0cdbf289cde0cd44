/* scheduler - the public face: options, adding and cancelling, the frame of plan and commit. */
#include "worker/sched/scheduler.h"

#include "common/mem.h"
#include "worker/sched/sched.h"

#define USUAL_TOKENS_START 256
#define CAUTION_DECAY      0.999 /* a plan */
#define LOG_EVENTS_MIN     4096

/* The next step is planned when the one that runs is nearly over by the cost model: with time to plan and
 * launch it, and a tenth for what the model does not know. Short steps leave no time for that. */
#define LATE_LEFT_MS 1.5
#define LATE_LEFT    0.1
#define LATE_MIN_MS  4.0

static enum status opts_check(const struct sched_opts *opts, struct err *err)
{
    if (opts->pages == 0 || opts->page_size == 0 || opts->slots == 0 || opts->context_max < 2)
        return err_set(err, STATUS_INVALID,
                       "The scheduler needs pages, a page size, slots and a context");
    if (opts->step_tokens < opts->slots)
        return err_set(err, STATUS_INVALID,
                       "A step of %u tokens is too small for %u running requests",
                       opts->step_tokens, opts->slots);
    if (opts->pages >= PAGE_NONE / 4 || opts->slots > 65536 || opts->waiting_max > 1u << 24 ||
        opts->context_max > 1u << 28 || opts->step_tokens > 1u << 24 || opts->page_size > 65536)
        return err_set(err, STATUS_INVALID, "A size of the scheduler is beyond its limits");
    return STATUS_OK;
}

enum status scheduler_new(const struct sched_opts *opts, struct scheduler **out, struct err *err)
{
    TRY(opts_check(opts, err));
    struct scheduler *s = mem_zalloc(sizeof(*s));
    s->opts = *opts;
    step_limits_init(&s->limits, opts->slots, opts->step_tokens, opts->context_max,
                     opts->page_size);
    s->length_max =
        (uint32_t)MIN((uint64_t)opts->context_max, (uint64_t)opts->pages * opts->page_size);
    s->pages_per_slot = DIV_CEIL(opts->context_max, opts->page_size);
    s->req_max = opts->slots + opts->waiting_max;
    pages_init(&s->pages, opts->pages);
    pages_init(&s->slots, opts->slots);
    cache_log_init(&s->log, MAX(LOG_EVENTS_MIN, 2 * opts->pages));
    radix_init(&s->radix, &s->pages, &s->log, opts->page_size, opts->slots, opts->fingerprint);
    if (opts->mirror && opts->cache) {
        s->radix.mirror = opts->mirror;
        mirror_restore(opts->mirror, &s->radix, s->pages_per_slot);
    }
    cost_init(&s->cost, opts->step_us, opts->prefill_us_per_token, opts->decode_us_per_row);
    step_builder_init(&s->builder, &s->limits);
    queue_init(&s->waiting, opts->age_ms, opts->page_size);
    list_init(&s->cancels);
    s->reqs = mem_array(s->req_max, sizeof(*s->reqs));
    s->req_free = mem_array(s->req_max, sizeof(*s->req_free));
    s->running = mem_array(opts->slots, sizeof(struct req *));
    s->order = mem_array(opts->slots, sizeof(struct req *));
    s->group_of = mem_array(opts->slots, sizeof(*s->group_of));
    s->groups = mem_array(s->limits.groups, sizeof(*s->groups));
    s->groups_left = mem_array(s->limits.groups, sizeof(*s->groups_left));
    s->table = mem_array((size_t)opts->slots * s->pages_per_slot, sizeof(*s->table));
    for (int i = 0; i < 2; i++)
        s->records[i].rows = mem_array(opts->slots, sizeof(*s->records[i].rows));
    for (uint32_t i = s->req_max; i-- > 0;) {
        s->reqs[i].id = (uint64_t)1 << 32 | i;
        s->req_free[s->req_free_count++] = i;
    }
    s->deadline_min_ms = UINT64_MAX;
    s->usual_tokens = USUAL_TOKENS_START;
    s->caution = 1;
    s->order_set = UINT64_MAX;
    *out = s;
    return STATUS_OK;
}

void scheduler_free(struct scheduler *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->req_max; i++) {
        mem_free(s->reqs[i].tokens);
        mem_free(s->reqs[i].hashes);
        mem_free(s->reqs[i].bias);
    }
    pages_release(&s->pages);
    pages_release(&s->slots);
    cache_log_release(&s->log);
    radix_release(&s->radix);
    step_builder_release(&s->builder);
    mem_free(s->reqs);
    mem_free(s->req_free);
    mem_free(s->running);
    mem_free(s->order);
    mem_free(s->group_of);
    mem_free(s->groups);
    mem_free(s->groups_left);
    mem_free(s->table);
    mem_free(s->records[0].rows);
    mem_free(s->records[1].rows);
    mem_free(s);
}

void scheduler_limits(const struct scheduler *s, struct step_limits *limits)
{
    *limits = s->limits;
}

uint32_t scheduler_length_max(const struct scheduler *s)
{
    return s->length_max;
}

struct req *sched_req(const struct scheduler *s, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (index >= s->req_max || s->reqs[index].id != id || s->reqs[index].state == REQ_UNUSED)
        return NULL;
    return &s->reqs[index];
}

/* ---- add, cancel ---- */

static enum status spec_check(const struct scheduler *s, const struct req_spec *spec,
                              struct err *err)
{
    if (spec->prompt_count == 0 || spec->prompt_count > spec->token_count)
        return err_set(err, STATUS_INVALID, "A request of %u tokens cannot have a prompt of %u",
                       spec->token_count, spec->prompt_count);
    if (spec->token_count - spec->prompt_count >= spec->tokens_max)
        return err_set(err, STATUS_INVALID, "%u tokens are generated and %u asked for",
                       spec->token_count - spec->prompt_count, spec->tokens_max);
    if (spec->stop_id_count > SCHED_STOP_IDS_MAX)
        return err_set(err, STATUS_INVALID, "%u stop ids are more than %d", spec->stop_id_count,
                       SCHED_STOP_IDS_MAX);
    if (spec->token_count >= s->length_max)
        return err_set(err, STATUS_TOO_LONG,
                       "%u tokens leave no room to generate within the limit of %u",
                       spec->token_count, s->length_max);
    if (spec->bias_count > SAMPLING_BIAS_MAX || spec->logprobs > SAMPLING_TOP_MAX + 1)
        return err_set(err, STATUS_INVALID, "%u biases or %u alternatives are too many",
                       spec->bias_count, spec->logprobs);
    for (uint32_t i = 0; i < spec->token_count; i++)
        if (spec->tokens[i] == STEP_TOKEN_LAST)
            return err_set(err, STATUS_INVALID, "token %u is not a token id", i);
    return STATUS_OK;
}

enum status scheduler_add(struct scheduler *s, const struct req_spec *spec, uint64_t now_ms,
                          uint64_t *id, struct err *err)
{
    TRY(spec_check(s, spec, err));
    if (s->req_free_count == 0)
        return err_set(err, STATUS_QUEUE_FULL, "All %u places for requests are taken", s->req_max);
    uint32_t end_count =
        (uint32_t)MIN((uint64_t)spec->prompt_count + spec->tokens_max, (uint64_t)s->length_max);
    struct req *req = &s->reqs[s->req_free[--s->req_free_count]];
    req_fill(req, spec, end_count, s->opts.page_size,
             radix_root_hash(&s->radix, spec->namespace_hash));
    req->order = ++s->arrivals;
    if (req->deadline_ms)
        s->deadline_min_ms = MIN(s->deadline_min_ms, req->deadline_ms);
    queue_put(&s->waiting, req, now_ms);
    *id = req->id;
    return STATUS_OK;
}

void scheduler_cancel(struct scheduler *s, uint64_t id)
{
    struct req *req = sched_req(s, id);
    if (!req || req->cancelled)
        return;
    req->cancelled = true;
    list_append(&s->cancels, &req->cancel);
}

/* ---- ends without a token ---- */

void sched_emit(struct sched_out *out, const struct req *req, const uint32_t *token,
                enum sched_finish finish)
{
    CHECK(out->count < out->cap);
    out->events[out->count++] = (struct sched_event){
        .user = req->user,
        .index = req->token_count - req->prompt_count - (token ? 1 : 0),
        .token = token ? *token : 0,
        .has_token = token != NULL,
        .finish = finish,
        .cached_tokens = req->cached_tokens,
        .logprobs = req->logprobs,
    };
}

/* Leaves `keep` places in `out` for tokens. */
static void apply_ends(struct scheduler *s, uint64_t now_ms, uint32_t keep, struct sched_out *out)
{
    while (!list_empty(&s->cancels) && out->cap - out->count > keep) {
        struct req *req = LIST_ITEM(s->cancels.next, struct req, cancel);
        sched_emit(out, req, NULL, SCHED_CANCELLED);
        run_end(s, req, now_ms);
    }
    if (now_ms >= s->deadline_min_ms) {
        uint64_t next_ms = UINT64_MAX;
        for (uint32_t i = 0; i < s->req_max; i++) {
            struct req *req = &s->reqs[i];
            if (req->state == REQ_UNUSED || req->deadline_ms == 0)
                continue;
            if (now_ms >= req->deadline_ms && out->cap - out->count > keep) {
                sched_emit(out, req, NULL, SCHED_EXPIRED);
                run_end(s, req, now_ms);
            } else {
                next_ms = MIN(next_ms, req->deadline_ms);
            }
        }
        s->deadline_min_ms = next_ms;
    }
    run_compact(s);
}

uint32_t scheduler_event_max(const struct scheduler *s)
{
    return s->req_max;
}

/* ---- plan, commit ---- */

const struct step_packet *scheduler_plan(struct scheduler *s, uint64_t now_ms, void *block,
                                         struct sched_event *events, uint32_t *event_count)
{
    struct sched_out out = {events, 0, *event_count};
    apply_ends(s, now_ms, 0, &out);
    *event_count = out.count;
    if (s->planned - s->committed >= 2)
        return NULL;
    s->plans++;
    s->caution = MAX(1.0, s->caution * CAUTION_DECAY);
    s->deltas_left = s->limits.deltas;
    s->words_left = s->limits.words;
    s->scores_extra = 0;
    queue_age(&s->waiting, now_ms);
    uint32_t decode_rows = decode_decide(s, now_ms);
    prefill_decide(s, decode_rows, now_ms);
    if (!step_build(s))
        return NULL;
    s->planned++;
    return step_builder_finish(&s->builder, s->planned, block);
}

void scheduler_commit(struct scheduler *s, const uint32_t *tokens, uint32_t count, uint64_t now_ms,
                      uint64_t step_ns, struct sched_event *events, uint32_t *event_count)
{
    struct sched_out out = {events, 0, *event_count};
    CHECK(*event_count >= count);
    apply_ends(s, now_ms, step_events(s), &out);
    step_commit(s, tokens, count, now_ms, step_ns, &out);
    *event_count = out.count;
}

/* ---- what others ask ---- */

bool scheduler_runnable(const struct scheduler *s)
{
    if (!list_empty(&s->cancels))
        return true;
    if (s->planned - s->committed >= 2)
        return false;
    for (uint32_t i = 0; i < s->running_count; i++)
        if (req_left(s->running[i]) > 0)
            return true;
    return s->waiting.count > 0;
}

void scheduler_load(const struct scheduler *s, struct sched_load *load)
{
    *load = (struct sched_load){
        .running = s->running_count,
        .waiting = s->waiting.count,
        .pages_free = s->pages.free_count + pages_limbo(&s->pages) + s->radix.evictable,
        .slots_free = s->req_free_count,
        .retractions = s->retractions,
        .steps = s->committed,
        .cached_tokens = s->cached_tokens,
        .prompt_tokens = s->prompt_tokens,
    };
    for (uint32_t i = 0; i < s->running_count; i++) {
        /* What a step in flight computes is still to be waited for. */
        uint32_t left = s->running[i]->token_count - s->running[i]->computed;
        if (left > 1)
            load->pending_prefill_tokens += left;
        else
            load->decode_tokens += s->running[i]->token_count;
    }
    LIST_EACH(pos, &s->waiting.by_age) {
        const struct req *req = LIST_ITEM(pos, struct req, by_age);
        load->pending_prefill_tokens += req->token_count - req->hint_pages * s->opts.page_size;
    }
}

double scheduler_step_ms_bound(const struct scheduler *s)
{
    if (s->planned == s->committed)
        return 0;
    const struct step_record *record = &s->records[(s->committed + 1) & 1];
    return cost_us(&s->cost, record->prefill_tokens, record->decode_rows) / 1000;
}

double scheduler_late_ms(const struct scheduler *s)
{
    double step_ms = scheduler_step_ms_bound(s);
    return step_ms < LATE_MIN_MS ? 0 : step_ms - MAX(LATE_LEFT_MS, LATE_LEFT * step_ms);
}

bool scheduler_cache_events(struct scheduler *s, struct sched_cache_event *out, uint32_t *count,
                            bool *lost)
{
    return cache_log_take(&s->log, out, count, lost);
}

void scheduler_cache_walk(const struct scheduler *s, sched_page_fn fn, void *ctx)
{
    radix_walk(&s->radix, fn, ctx);
}
