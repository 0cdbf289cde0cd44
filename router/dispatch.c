/* Streams to workers: who is a candidate, who is picked. */
#include "router/queue.h"

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "router/telemetry.h"

static bool takes(const struct worker *worker, const struct stream *stream)
{
    return worker && !worker->draining && worker->model == stream->call->model &&
           (worker->features & stream->call->needs) == stream->call->needs &&
           worker->length_max >= stream->prompt->tokens.count + stream->tokens_max;
}

/* Fills router->candidate_workers with the workers that have room. */
static enum dispatch find_candidates(struct stream *stream, size_t *count)
{
    struct router *router = stream->call->router;
    const struct fleet *fleet = &router->fleet;
    bool any = false;
    struct worker *avoided = NULL;
    *count = 0;
    for (uint32_t i = 0; i < fleet->limit; i++) {
        struct worker *worker = fleet->workers[i];
        if (!takes(worker, stream))
            continue;
        any = true;
        if (worker_room(worker) == 0)
            continue;
        if (worker->epoch == stream->avoid_epoch)
            avoided = worker;
        else
            router->candidate_workers[(*count)++] = i;
    }
    if (*count == 0 && avoided)
        router->candidate_workers[(*count)++] = avoided->index;
    return *count > 0 ? DISPATCH_SENT : any ? DISPATCH_FULL : DISPATCH_NOWHERE;
}

static void fill_candidate(const struct router *router, const struct stream *stream,
                           const struct prefix_match *match, size_t count,
                           struct route_candidate *out)
{
    struct worker *worker = router->fleet.workers[out->worker];
    uint32_t prompt = (uint32_t)stream->prompt->tokens.count;
    uint32_t pages = worker->page_size == stream->prompt->page_size ? match->pages : 0;
    uint32_t expected = pages > 0 ? match->expected : 0;
    /* The last token is always computed: its logits are wanted. */
    uint32_t have = MIN(pages * worker->page_size, prompt - 1);
    out->prompt_tokens = prompt;
    out->expected_tokens = MIN(expected * worker->page_size, have);
    out->held_tokens = have - out->expected_tokens;
    out->pending_tokens = worker_pending_tokens(worker);
    out->reqs = worker_reqs(worker);
    worker->busy = route_busy(worker->busy, out->pending_tokens > 0, count, worker->looks++);
    out->busy = worker->busy;
    out->last_turn = worker->last_turn;
    out->cost = route_cost(out, router->config.decode_weight);
}

static const struct route_candidate *choose(struct stream *stream, size_t count)
{
    struct router *router = stream->call->router;
    const struct call *call = stream->call;
    const struct worker *first = router->fleet.workers[router->candidate_workers[0]];
    prompt_hash(stream->prompt, page_hash_root(call->model->fingerprint, call->namespace_hash),
                first->page_size);
    prefix_index_match(&router->fleet.index, stream->prompt->hashes, stream->prompt->page_count,
                       router->candidate_workers, count, router->matches);
    for (size_t i = 0; i < count; i++) {
        router->candidates[i].worker = router->candidate_workers[i];
        fill_candidate(router, stream, &router->matches[i], count, &router->candidates[i]);
    }
    return &router->candidates[router->policy->pick(router->candidates, count)];
}

/* Why it went there, for the log and the metric. */
static const char *reason_of(const struct router *router, size_t count,
                             const struct route_candidate *picked)
{
    if (count == 1)
        return "only";
    uint32_t best = 0;
    for (size_t i = 0; i < count; i++)
        best = MAX(best, router->candidates[i].held_tokens + router->candidates[i].expected_tokens);
    if (best == 0)
        return "load";
    return picked->held_tokens + picked->expected_tokens == best ? "prefix" : "load";
}

static enum status send_generate(struct stream *stream, struct worker *worker)
{
    struct call *call = stream->call;
    struct router *router = call->router;
    uint32_t stop_ids[PROTO_STOP_IDS_MAX];
    uint32_t stop_count = 0;
    for (uint32_t i = 0; i < call->model->eos_count && !call->params.ignore_eos; i++)
        stop_ids[stop_count++] = call->model->eos[i];
    for (uint32_t i = 0; i < call->params.stop_id_count; i++)
        stop_ids[stop_count++] = call->params.stop_ids[i];
    /* The prompt's list is lent: generated tokens go behind it for the time of this call. */
    struct token_list *tokens = &stream->prompt->tokens;
    size_t n_prompt = tokens->count;
    for (size_t i = 0; i < stream->tokens.count; i++)
        token_list_push(tokens, stream->tokens.ids[i]);
    struct frame frame = {.type = FRAME_GENERATE};
    struct frame_generate *generate = &frame.generate;
    generate->key = (struct req_key){router->epoch, call->id, stream->choice, stream->attempt + 1};
    generate->tokens = token_view_of(tokens->ids, (uint32_t)tokens->count);
    generate->n_prompt = (uint32_t)n_prompt;
    generate->tokens_max = stream->tokens_max;
    generate->tokens_min = call->params.tokens_min;
    generate->stop_ids = token_view_of(stop_ids, stop_count);
    generate->ignore_eos = call->params.ignore_eos && call->params.stop_id_count == 0;
    generate->sampling = call->params.sampling;
    generate->sampling.choice = stream->choice;
    generate->logprobs = params_scores(&call->params);
    if (params_score_prompt(&call->params))
        generate->score_from = 1 + stream->prompt_scores.count;
    generate->bias = (struct str){(const char *)call->params.bias,
                                  call->params.bias_count * sizeof(*call->params.bias)};
    generate->automaton = (struct str){call->automaton.data, call->automaton.len};
    generate->namespace_hash = call->namespace_hash;
    generate->priority = call->params.priority;
    uint64_t age_ms = (clock_now_ns() - call->began_ns) / 1000000u;
    generate->deadline_ms = age_ms < call->limit_ms ? call->limit_ms - age_ms : 1;
    generate->request_id = str_from(call->trace.id);
    generate->trace_parent = str_from(call->trace.parent);
    enum status status = link_send(&router->link, worker_peer(worker), &frame);
    tokens->count = n_prompt;
    return status;
}

/* What the page shows of the decision. */
static void note_decision(struct stream *stream, const struct route_candidate *picked, size_t count,
                          const char *reason)
{
    struct router *router = stream->call->router;
    struct journal_decision *decision = journal_decide(&router->watch.journal);
    size_t kept[JOURNAL_CANDIDATES];
    decision->call = stream->call->id;
    decision->choice = stream->choice;
    decision->attempt = stream->attempt + 1;
    decision->prompt = picked->prompt_tokens;
    decision->generated = (uint32_t)stream->tokens.count;
    decision->reason = reason;
    decision->of = (uint32_t)count;
    decision->count = journal_pick(router->candidates, count, (size_t)(picked - router->candidates),
                                   kept, &decision->chosen);
    for (uint32_t i = 0; i < decision->count; i++) {
        const struct route_candidate *candidate = &router->candidates[kept[i]];
        const struct worker *worker = router->fleet.workers[candidate->worker];
        struct journal_candidate *row = &decision->candidates[i];
        *row = (struct journal_candidate){.worker = worker->serial,
                                          .held = candidate->held_tokens,
                                          .expected = candidate->expected_tokens,
                                          .pending = candidate->pending_tokens,
                                          .reqs = candidate->reqs,
                                          .busy = candidate->busy,
                                          .cost = candidate->cost};
        journal_name(row->name, worker->name);
    }
    uint32_t pages = router->matches[picked - router->candidates].pages;
    if (router->watch.count > 0 && pages > 0)
        page_tree_touch(&router->tree, stream->prompt->hashes[pages - 1], clock_now_ms());
}

/* A stream that lost its worker goes on. */
static void note_move(const struct stream *stream, const struct worker *worker)
{
    bool resumed = stream->tokens.count > 0;
    journal_event(&stream->call->router->watch.journal, resumed ? JOURNAL_RESUMED : JOURNAL_RETRIED,
                  worker->name, "call %llu goes on here after %zu tokens",
                  (unsigned long long)stream->call->id, stream->tokens.count);
}

static void attach(struct stream *stream, struct worker *worker,
                   const struct route_candidate *picked)
{
    struct router *router = stream->call->router;
    queue_remove(stream);
    queue_line_of(stream->call)->running++;
    stream->state = STREAM_RUNNING;
    stream->attempt++;
    stream->worker = worker;
    if (stream->lost)
        note_move(stream, worker);
    stream->lost = false;
    trace_dispatched(&stream->call->trace, worker->name, clock_now_ns());
    list_append(&worker->streams, &stream->worker_node);
    worker->stream_count++;
    if (worker->page_size == stream->prompt->page_size) {
        stream->expected_pages = stream->prompt->page_count;
        prefix_index_expect(&router->fleet.index, worker->index, stream->prompt->hashes,
                            stream->expected_pages);
    }
    stream->shared_tokens = picked->expected_tokens;
    worker->shared_tokens += picked->expected_tokens;
    fleet_dispatched(&router->fleet, worker,
                     picked->prompt_tokens - picked->held_tokens + (uint32_t)stream->tokens.count);
}

enum dispatch stream_dispatch(struct stream *stream)
{
    struct router *router = stream->call->router;
    CHECK(stream->state == STREAM_QUEUED);
    for (;;) {
        size_t count;
        enum dispatch found = find_candidates(stream, &count);
        if (found != DISPATCH_SENT)
            return found;
        const struct route_candidate *picked = choose(stream, count);
        struct worker *worker = router->fleet.workers[picked->worker];
        const char *reason = reason_of(router, count, picked);
        if (send_generate(stream, worker) != STATUS_OK) {
            fleet_end(&router->fleet, worker, "it does not take frames");
            continue;
        }
        LOG_DEBUG("route", "dispatch",
                  "call=%llu choice=%u attempt=%u worker=%s reason=%s cost=%.0f prompt=%u held=%u "
                  "expected=%u pending=%llu reqs=%llu candidates=%zu",
                  (unsigned long long)stream->call->id, stream->choice, stream->attempt + 1,
                  worker->name, reason, picked->cost, picked->prompt_tokens, picked->held_tokens,
                  picked->expected_tokens, (unsigned long long)picked->pending_tokens,
                  (unsigned long long)picked->reqs, count);
        telemetry_dispatched(router, worker, reason, picked);
        note_decision(stream, picked, count, reason);
        attach(stream, worker, picked);
        return DISPATCH_SENT;
    }
}

void stream_unshare(struct stream *stream)
{
    stream->worker->shared_tokens -= stream->shared_tokens;
    stream->shared_tokens = 0;
}

void stream_detach(struct stream *stream)
{
    struct router *router = stream->call->router;
    struct worker *worker = stream->worker;
    CHECK(stream->state == STREAM_RUNNING && worker);
    stream_unshare(stream);
    list_remove(&stream->worker_node);
    worker->stream_count--;
    queue_line_of(stream->call)->running--;
    prefix_index_unexpect(&router->fleet.index, worker->index, stream->prompt->hashes,
                          stream->expected_pages);
    stream->expected_pages = 0;
    stream->worker = NULL;
    stream->state = STREAM_DONE;
}
