#include "worker/inbox.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "proto/codec.h"

static void on_welcome(struct worker *worker, struct link *link, const struct frame_welcome *frame)
{
    if (frame->version != PROTO_VERSION) {
        LOG_ERROR("links", "other_version", "router=%s ours=%d theirs=%u", link->endpoint,
                  PROTO_VERSION, frame->version);
        return;
    }
    if (frame->session != link->session)
        return;
    if (link->state == LINK_OPEN && frame->epoch != link->router_epoch) {
        link_restart(worker, link, 0, "the router was restarted");
        return;
    }
    if (link->state != LINK_OPEN) {
        link->state = LINK_OPEN;
        link->router_epoch = frame->epoch;
        link->received = 0;
        link->gather_ms = frame->gather_ms;
        link->load_sent_ms = 0; /* LOAD at once */
        LOG_INFO("links", "welcomed", "router=%.*s address=%s", (int)frame->router.len,
                 frame->router.data, link->endpoint);
    }
    if (frame->want_snapshot)
        outbox_snapshot(worker, link);
}

/* What this worker's engine cannot do: an answer that ignores it would be wrong. */
static const char *unsupported(const struct worker *worker, const struct frame_generate *frame)
{
    uint32_t has = worker->kind->info(worker->engine)->features;
    if (!(has & FEATURE_ADJUST) && (sampling_penalized(&frame->sampling) || frame->bias.len))
        return "this worker has no penalties and no logit bias";
    if (!(has & FEATURE_ADJUST) && frame->tokens_min > 0 && frame->stop_ids.count > 0)
        return "this worker has no min_tokens";
    if (!(has & FEATURE_LOGPROBS) && (frame->logprobs || frame->score_from))
        return "this worker has no log probabilities";
    if (!(has & FEATURE_GRAMMAR) && frame->automaton.len)
        return "this worker has no grammars";
    return NULL;
}

/* The scheduler wants aligned tokens and the model known ones. */
static bool copy_tokens(struct worker *worker, struct token_view tokens)
{
    uint32_t vocab = worker->kind->info(worker->engine)->vocab;

    if (tokens.count > worker->tokens_cap) {
        worker->tokens_cap = MAX(tokens.count, 2 * worker->tokens_cap);
        worker->tokens = mem_realloc(worker->tokens, worker->tokens_cap * sizeof(uint32_t));
    }
    token_view_copy(tokens, worker->tokens);
    for (uint32_t i = 0; i < tokens.count; i++)
        if (worker->tokens[i] >= vocab)
            return false;
    return true;
}

/* Every rank holds the same grammars under the same numbers: they come in the same order. */
static enum status add_grammar(struct worker *worker, struct str automaton, uint32_t *id,
                               struct err *err)
{
    TRY(worker->kind->grammar_add(worker->engine, automaton, id, err));
    return ranks_grammar(worker, *id, automaton, err);
}

static enum status add_req(struct worker *worker, struct req_entry *entry,
                           const struct frame_generate *frame, uint64_t now_ms, struct err *err)
{
    uint32_t stop_ids[PROTO_STOP_IDS_MAX], bias[SAMPLING_BIAS_MAX][2];
    struct req_spec spec = {
        .user = req_table_index(&worker->reqs, entry),
        .tokens = worker->tokens,
        .token_count = frame->tokens.count,
        .prompt_count = frame->n_prompt,
        .tokens_max = frame->tokens_max,
        .tokens_min = frame->tokens_min,
        .stop_ids = stop_ids,
        .stop_id_count = frame->stop_ids.count,
        .ignore_eos = frame->ignore_eos,
        .sampling = frame->sampling,
        .namespace_hash = frame->namespace_hash,
        .priority = frame->priority,
        .logprobs = frame->logprobs,
        .score_from = frame->logprobs ? frame->score_from : 0,
        .bias = bias[0],
        .bias_count = (uint32_t)(frame->bias.len / sizeof(bias[0])),
    };

    if (frame->automaton.len > 0)
        TRY(add_grammar(worker, frame->automaton, &entry->grammar, err));
    spec.grammar = entry->grammar;

    if (frame->bias.len > 0) /* aligned, and within the wire's bound */
        memcpy(bias, frame->bias.data, frame->bias.len);
    if (frame->deadline_ms)
        spec.deadline_ms = now_ms + MIN(frame->deadline_ms, UINT64_C(1) << 40);
    token_view_copy(frame->stop_ids, stop_ids);
    return scheduler_add(worker->scheduler, &spec, now_ms, &entry->sched_req, err);
}

/* What its line in the log is called; the router has let only harmless characters through. */
static void name_req(struct req_entry *entry, const struct frame_generate *frame)
{
    struct str id = frame->request_id, trace = frame->trace_parent;
    bool plain = id.len > 0;

    for (size_t i = 0; i < id.len; i++)
        plain &= id.data[i] > ' ' && id.data[i] < 0x7f && id.data[i] != '"';
    snprintf(entry->request_id, sizeof(entry->request_id), "%.*s", plain ? (int)id.len : 1,
             plain ? id.data : "-");
    bool traced = trace.len > 3 + 32;
    for (size_t i = 3; traced && i < 3 + 32; i++)
        traced = trace.data[i] && strchr("0123456789abcdef", trace.data[i]);
    snprintf(entry->trace_id, sizeof(entry->trace_id), "%.*s", traced ? 32 : 1,
             traced ? trace.data + 3 : "-");
}

static void on_generate(struct worker *worker, struct link *link,
                        const struct frame_generate *frame, uint64_t now_ms)
{
    const char *lacks = unsupported(worker, frame);
    struct req_entry *entry, *older;
    struct err err = {.text = ""};
    enum status status;

    if (link->state != LINK_OPEN || frame->key.epoch != link->router_epoch)
        return;
    link->received++;
    link->generate_ms = now_ms;
    older = req_table_newest(&worker->reqs, &frame->key);
    if (older && older->key.attempt >= frame->key.attempt) {
        LOG_WARN("inbox", "stale_attempt", "call=%llu attempt=%u newest=%u",
                 (unsigned long long)frame->key.call, frame->key.attempt, older->key.attempt);
        return;
    }
    if (older)
        scheduler_cancel(worker->scheduler, older->sched_req);
    entry = NULL;
    if (worker->draining)
        status = err_set(&err, STATUS_UNAVAILABLE, "the worker takes no new reqs");
    else if (lacks)
        status = err_set(&err, STATUS_UNSUPPORTED, "%s", lacks);
    else if (!copy_tokens(worker, frame->tokens))
        status = err_set(&err, STATUS_INVALID, "a token is not in the model's vocabulary");
    else if (!(entry = req_table_add(&worker->reqs, &frame->key)))
        status =
            err_set(&err, STATUS_QUEUE_FULL, "the worker holds %u reqs already", worker->reqs.cap);
    else
        status = add_req(worker, entry, frame, now_ms, &err);
    if (status == STATUS_OK) {
        entry->link = link;
        entry->arrived_ms = now_ms;
        name_req(entry, frame);
        list_append(&link->reqs, &entry->node);
        link->req_count++;
        return;
    }
    if (entry)
        worker_forget(worker, entry);
    LOG_DEBUG("inbox", "refused", "call=%llu status=%s", (unsigned long long)frame->key.call,
              status_name(status));
    outbox_error(worker, link, &frame->key, status, err.text);
}

static void on_cancel(struct worker *worker, const struct link *link,
                      const struct frame_cancel *frame)
{
    struct req_entry *entry = req_table_find(&worker->reqs, &frame->key);
    if (entry && entry->link == link)
        scheduler_cancel(worker->scheduler, entry->sched_req);
}

/* About the session: refused, or forgotten. */
static void on_error(struct worker *worker, struct link *link, const struct frame_error *frame)
{
    if (frame->key.epoch != 0)
        return;
    LOG_WARN("links", "router_says", "router=%s status=%s text=\"%.*s\"", link->endpoint,
             status_name((enum status)frame->status), (int)frame->text.len, frame->text.data);
    if (link->state != LINK_OPEN) {
        link->state = LINK_REFUSED;
        link->hello_at_ms = MAX(link->hello_at_ms, link->last_frame_ms + PROTO_REFUSED_EVERY_MS);
    } else if (frame->status == STATUS_NOT_FOUND || frame->status == STATUS_CONFLICT) {
        link_restart(worker, link, 0, "the router does not know this worker");
    }
}

static void handle(struct worker *worker, struct link *link, const struct frame *frame,
                   uint64_t now_ms)
{
    switch (frame->type) {
    case FRAME_WELCOME:
        on_welcome(worker, link, &frame->welcome);
        break;
    case FRAME_GENERATE:
        on_generate(worker, link, &frame->generate, now_ms);
        break;
    case FRAME_CANCEL:
        on_cancel(worker, link, &frame->cancel);
        break;
    case FRAME_ERROR:
        on_error(worker, link, &frame->error);
        break;
    case FRAME_SNAPSHOT:
        if (frame->snapshot.request && link->state == LINK_OPEN)
            outbox_snapshot(worker, link);
        break;
    case FRAME_DRAIN:
        LOG_INFO("links", "router_drains", "router=%s draining=%d", link->endpoint,
                 frame->drain.draining);
        break;
    case FRAME_BYE:
        link_restart(worker, link, PROTO_HELLO_EVERY_MS, "the router left");
        break;
    default: /* a worker's own frames */
        link->bad_frames++;
    }
}

bool inbox_receive(struct worker *worker, struct link *link, uint64_t now_ms)
{
    struct str peer, data;

    for (int n = 0; n < INBOX_FRAMES_MAX; n++) {
        struct frame frame;
        struct err err = {.text = ""};
        if (transport_receive(link->transport, &peer, &data) != STATUS_OK)
            return false;
        arena_reset(&worker->arena);
        if (frame_decode(data.data, data.len, &worker->arena, &frame, &err) != STATUS_OK) {
            /* Said at 1, 2, 4, 8 …: a broken peer must not fill the log. */
            link->bad_frames++;
            if ((link->bad_frames & (link->bad_frames - 1)) == 0)
                LOG_WARN("inbox", "bad_frame", "router=%s count=%llu error=\"%s\"", link->endpoint,
                         (unsigned long long)link->bad_frames, err.text);
            continue;
        }
        link->last_frame_ms = now_ms;
        handle(worker, link, &frame, now_ms);
    }
    return true;
}
