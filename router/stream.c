#include "router/queue.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "router/api/tools.h"
#include "router/telemetry.h"

void stream_init(struct stream *stream, struct call *call, uint32_t choice)
{
    memset(stream, 0, sizeof(*stream));
    stream->call = call;
    stream->choice = choice;
    stream->prompt = &call->prompts.items[choice / call->params.n];
    stream->state = STREAM_DONE;
    list_init(&stream->queue_node);
    list_init(&stream->lane_node);
    list_init(&stream->worker_node);
    detokenizer_init(&stream->detokenizer, call->model->tokenizer, call->params.skip_special);
    if (stream->prompt->parses) {
        tools_keep_marks(call->model, &stream->prompt->answer, &stream->detokenizer);
        answer_init(&stream->answer, &stream->prompt->answer);
    }
    stop_init(&stream->stop, call->params.stops, call->params.stop_count,
              call->params.include_stop);
    if (params_scores(&call->params) > 0)
        stream->scores.width = stream->prompt_scores.width = params_scores(&call->params) - 1;
    if (call->params.echo)
        buf_append(&stream->text, stream->prompt->text.data, stream->prompt->text.len);
}

static void send_cancel(struct stream *stream)
{
    struct router *router = stream->call->router;
    struct frame frame = {.type = FRAME_CANCEL};
    frame.cancel.key =
        (struct req_key){router->epoch, stream->call->id, stream->choice, stream->attempt};
    enum status status = link_send(&router->link, worker_peer(stream->worker), &frame);
    if (status != STATUS_OK) /* heartbeats decide whether it is dead */
        LOG_DEBUG("stream", "cancel_not_sent", "worker=%s status=%s", stream->worker->name,
                  status_name(status));
}

static void leave(struct stream *stream)
{
    if (stream->state == STREAM_RUNNING) {
        send_cancel(stream);
        stream_detach(stream);
    } else if (stream->state == STREAM_QUEUED) {
        queue_remove(stream);
        stream->state = STREAM_DONE;
    }
}

void stream_release(struct stream *stream)
{
    leave(stream);
    token_list_release(&stream->tokens);
    scores_release(&stream->scores);
    scores_release(&stream->prompt_scores);
    detokenizer_release(&stream->detokenizer);
    stop_release(&stream->stop);
    answer_release(&stream->answer);
    buf_release(&stream->text);
}

void stream_lost(struct stream *stream, const char *reason, bool blame)
{
    struct router *router = stream->call->router;
    LOG_INFO("stream", "lost", "call=%llu choice=%u attempt=%u worker=%s tokens=%zu reason=\"%s\"",
             (unsigned long long)stream->call->id, stream->choice, stream->attempt,
             stream->worker->name, stream->tokens.count, reason);
    metrics_add(router->metrics, stream->tokens.count > 0 ? METRIC_RESUMED : METRIC_RETRIED, "", 1);
    stream->avoid_epoch = stream->worker->epoch;
    if (blame && stream->tokens.count >= stream->failed_at + STREAM_PROGRESS)
        stream->failures = 0;
    if (blame) {
        stream->failed_at = stream->tokens.count;
        stream->failures++;
    }
    stream->lost = true;
    stream_detach(stream);
    queue_add(stream);
}

/* The worker still runs an attempt that has gone wrong: cancel it there, and go elsewhere. */
static void give_up_attempt(struct stream *stream, const char *reason)
{
    send_cancel(stream);
    stream_lost(stream, reason, true);
    queue_pump(stream->call->router);
}

static bool is_stop_id(const struct call *call, uint32_t id)
{
    for (uint32_t i = 0; i < call->params.stop_id_count; i++) {
        if (call->params.stop_ids[i] == id)
            return true;
    }
    for (uint32_t i = 0; i < call->model->eos_count; i++) {
        if (call->model->eos[i] == id)
            return true;
    }
    return false;
}

/* Text of one token through the detokenizer and the stop strings. True when a stop string hit. */
static bool push_token(struct stream *stream, uint32_t id, struct buf *scratch)
{
    buf_clear(scratch);
    detokenizer_push(&stream->detokenizer, &id, 1, scratch);
    if (stream->tokens.count <= stream->call->params.tokens_min) {
        buf_append(&stream->text, scratch->data, scratch->len);
        return false;
    }
    return scratch->len > 0 && stop_push(&stream->stop, scratch->data, scratch->len, &stream->text);
}

static void finish_text(struct stream *stream, struct buf *scratch)
{
    buf_clear(scratch);
    detokenizer_finish(&stream->detokenizer, scratch);
    if (scratch->len > 0 && stop_push(&stream->stop, scratch->data, scratch->len, &stream->text))
        stream->finish = "stop";
    stop_finish(&stream->stop, &stream->text);
}

/* False when the worker did not send what was asked for. */
static bool take_scores(struct stream *stream, const struct tokens_item *item)
{
    uint32_t scores = (uint32_t)(item->scores.len / sizeof(float));
    if (params_scores(&stream->call->params) == 0)
        return true;
    if (scores > 0 &&
        (item->score_first != 1 + stream->prompt_scores.count ||
         item->score_first + scores > stream->prompt->tokens.count ||
         !scores_append(&stream->prompt_scores, scores, item->scores, item->score_ranks,
                        item->score_top_ids, item->score_top_logprobs)))
        return false;
    return scores_append(&stream->scores, item->tokens.count, item->logprobs,
                         (struct token_view){0}, item->top_ids, item->top_logprobs);
}

/* The prompt's scores come before what is told of the answer. */
static bool awaits_scores(const struct stream *stream)
{
    return params_score_prompt(&stream->call->params) &&
           stream->prompt_scores.count + 1 < stream->prompt->tokens.count;
}

static void take_tokens(struct stream *stream, const struct tokens_item *item)
{
    struct call *call = stream->call;
    if (call->params.tokens_none) /* only the prompt was asked for */
        return;
    struct buf *scratch = &call->out;
    for (uint32_t i = 0; i < item->tokens.count; i++) {
        struct token_view one = {item->tokens.data + (size_t)i * 4, 1};
        uint32_t id;
        token_view_copy(one, &id);
        token_list_push(&stream->tokens, id);
        bool last = i + 1 == item->tokens.count;
        /* The token that ends generation is reported and counted, but says nothing. */
        if (last && item->finish == FINISH_STOP && !call->params.include_stop &&
            is_stop_id(call, id))
            break;
        if (push_token(stream, id, scratch)) {
            stream->finish = "stop";
            return;
        }
    }
}

/* The text goes through the answer, whose parts the response tells. */
static void take_apart(struct stream *stream)
{
    struct answer *answer = &stream->answer;
    const struct params *params = &stream->call->params;
    answer_push(answer, stream->text.data, stream->text.len);
    buf_clear(&stream->text);
    if (answer->over && !stream->finish) { /* nothing that may still come is wanted */
        stream->finish = "stop";
        leave(stream);
    }
    if (!stream->finish)
        return;
    answer_finish(answer);
    if (answer->call_count > 0 && strcmp(stream->finish, "stop") == 0 &&
        params->tool_choice != TOOL_NAMED)
        stream->finish = "tool_calls";
}

void stream_tokens(struct stream *stream, const struct tokens_item *item)
{
    struct call *call = stream->call;
    if (stream->state != STREAM_RUNNING || item->key.attempt != stream->attempt)
        return; /* stale */
    if (item->first != stream->tokens.count) {
        give_up_attempt(stream, "tokens are missing");
        return;
    }
    if (item->finish == FINISH_ERROR || item->finish == FINISH_CANCEL ||
        stream->tokens.count + item->tokens.count > stream->tokens_max) {
        give_up_attempt(stream, "the worker ended it without need");
        return;
    }
    if (!take_scores(stream, item)) {
        give_up_attempt(stream, "its log probabilities do not fit");
        return;
    }
    stream_unshare(stream);
    if (!stream->cached_known) {
        stream->cached_known = true;
        uint32_t prompt = (uint32_t)stream->prompt->tokens.count;
        stream->cached_tokens = MIN(item->cached_tokens, prompt);
        telemetry_prefilled(call->router, stream->worker, prompt - stream->cached_tokens);
        stream->worker->prompted += prompt;
        stream->worker->cached += stream->cached_tokens;
    }
    if (item->tokens.count > 0)
        telemetry_tokens(call, item->tokens.count);
    stream->worker->generated += item->tokens.count;
    take_tokens(stream, item);
    stream->scores.count = MIN(stream->scores.count, (uint32_t)stream->tokens.count);
    if (stream->finish) { /* a stop string: the worker does not know yet */
        leave(stream);
    } else if (item->finish != FINISH_NONE) {
        bool length = item->finish == FINISH_LENGTH || call->params.tokens_none;
        stream->finish = length ? "length" : "stop";
        finish_text(stream, &call->out);
        stream_detach(stream);
    }
    if (stream->prompt->parses)
        take_apart(stream);
    if (stream->finish || !awaits_scores(stream))
        call_emit(call, stream, (struct str){stream->text.data, stream->text.len});
}

void stream_error(struct stream *stream, const struct frame_error *frame)
{
    if (stream->state != STREAM_RUNNING || frame->key.attempt != stream->attempt)
        return;
    struct router *router = stream->call->router;
    enum status status =
        frame->status < STATUS_COUNT ? (enum status)frame->status : STATUS_INTERNAL;
    switch (status) {
    case STATUS_QUEUE_FULL: /* back-pressure: another router was faster */
        stream_detach(stream);
        queue_add(stream);
        return; /* pumped with the LOAD that follows */
    case STATUS_INVALID:
    case STATUS_TOO_LONG:
    case STATUS_TOO_LARGE:
    case STATUS_UNSUPPORTED:
    case STATUS_TIMEOUT: {
        struct api_error error = {0};
        api_fail(&error, status, NULL, "%.*s", (int)frame->text.len,
                 frame->text.data ? frame->text.data : "");
        stream_detach(stream);
        call_fail(stream->call, &error);
        return;
    }
    default:
        stream_lost(stream, "the worker reported an error", status != STATUS_UNAVAILABLE);
        queue_pump(router);
    }
}
