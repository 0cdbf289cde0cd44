#include "router/call.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rng.h"
#include "router/api/response.h"
#include "router/api/sse.h"
#include "router/queue.h"
#include "router/stream.h"
#include "router/telemetry.h"

static void call_free(struct call *call)
{
    struct router *router = call->router;
    for (uint32_t i = 0; i < call->stream_count; i++)
        stream_release(&call->streams[i]);
    router->streams -= call->stream_open;
    api_key_done(call->key, call->key_streams);
    if (call->id != 0)
        map_remove(&router->calls, call->id);
    list_remove(&call->node);
    router->call_count--;
    prompts_release(&call->prompts);
    json_decref(call->json);
    mem_free(call->body_copy);
    buf_release(&call->out);
    buf_release(&call->automaton);
    struct arena arena = call->arena;
    arena_release(&arena);
}

static void on_gone(void *owner)
{
    struct call *call = owner;
    call->exchange = NULL;
    if (call->working)
        return; /* its thread still reads it: freed in on_worked */
    LOG_DEBUG("call", "client_left", "call=%s", call->name);
    telemetry_ended(call, 499);
    call_free(call);
}

void call_drop(struct call *call)
{
    if (call->exchange)
        http_abort(call->exchange);
    telemetry_ended(call, 499);
    call_free(call);
}

static void reply_error(struct call *call, const struct api_error *error)
{
    int http = status_http(error->err.status);
    if (http == 429 || http == 503) {
        char seconds[16];
        snprintf(seconds, sizeof(seconds), "%u", MAX(call->retry_s, 1u));
        http_add_header(call->exchange, "retry-after", str_from(seconds));
    }
    if (error->err.status == STATUS_DENIED)
        http_add_header(call->exchange, "www-authenticate", STR("Bearer"));
    buf_clear(&call->out);
    response_error(error, &call->out);
    http_reply(call->exchange, http, "application/json",
               (struct str){call->out.data, call->out.len});
}

void call_fail(struct call *call, const struct api_error *error)
{
    LOG_DEBUG("call", "failed", "call=%s status=%s reason=\"%s\"", call->name,
              status_name(error->err.status), error->err.text);
    if (call->started) {
        buf_clear(&call->out);
        sse_begin(&call->out);
        response_error(error, &call->out);
        sse_end(&call->out);
        sse_done(&call->out);
        if (http_write(call->exchange, call->out.data, call->out.len) == STATUS_OK)
            http_finish(call->exchange);
        else
            http_abort(call->exchange);
    } else {
        reply_error(call, error);
    }
    telemetry_ended(call, status_http(error->err.status));
    call_free(call);
}

/* How many tokens this prompt may get; 0: *error says why not. */
static uint32_t tokens_max_of(const struct call *call, const struct prompt *prompt, uint32_t length,
                              uint32_t length_best, struct api_error *error)
{
    uint64_t n = prompt->tokens.count;
    if (n >= length_best) {
        error->code = "context_length_exceeded";
        api_fail(error, STATUS_TOO_LONG, call->kind == API_CHAT ? "messages" : "prompt",
                 "the prompt has %llu tokens, but this model takes at most %u tokens, prompt and "
                 "answer together",
                 (unsigned long long)n, length_best);
        return 0;
    }
    uint64_t rest = (n < length ? length : length_best) - n;
    if (call->params.tokens_none)
        return 1; /* drawn and dropped */
    if (call->params.tokens_max == 0)
        return (uint32_t)(call->kind == API_CHAT          ? rest
                          : call->kind == API_COMPLETIONS ? MIN(rest, 16u)
                                                          : MIN(rest, 128u));
    if (n + call->params.tokens_max > length_best) {
        error->code = "context_length_exceeded";
        api_fail(error, STATUS_TOO_LONG, "max_tokens",
                 "max_tokens is %u and the prompt has %llu tokens, but this model takes at most %u "
                 "tokens, prompt and answer together",
                 call->params.tokens_max, (unsigned long long)n, length_best);
        return 0;
    }
    return call->params.tokens_max;
}

/* Is there a worker, a slot or a place in the queue for all choices? */
static enum status check_capacity(struct call *call, uint32_t choices, struct api_error *error)
{
    struct router *router = call->router;
    uint64_t waiting = queue_surplus(call, choices);
    if (router->stopped)
        return api_fail(error, STATUS_UNAVAILABLE, NULL, "this server is shutting down");
    if (choices > router->config.choices_max)
        return api_fail(error, STATUS_INVALID, "n",
                        "this call asks for %u choices, the limit is %llu", choices,
                        (unsigned long long)router->config.choices_max);
    if (router->streams + choices <= router->config.streams_max &&
        (waiting == 0 || queue_takes(call, waiting)))
        return STATUS_OK;
    call->retry_s = queue_retry_s(router);
    metrics_add(router->metrics, METRIC_QUEUE_REFUSED, "reason=\"full\"", 1);
    return api_fail(error, STATUS_QUEUE_FULL, NULL,
                    "all workers are busy and the queue is full, try again soon");
}

/* Sets call->needs. UNSUPPORTED names the parameter that no worker can honour. */
static enum status check_features(struct call *call, struct api_error *error)
{
    static const uint32_t features[] = {FEATURE_ADJUST, FEATURE_LOGPROBS, FEATURE_GRAMMAR};
    /* What only the model's folder asks for refuses nobody. */
    if (call->assumed_penalty && !fleet_can(&call->router->fleet, call->model, FEATURE_ADJUST))
        call->params.sampling.repetition_penalty = 1;
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        const char *name = params_needs(&call->params, features[i]);
        if (!name)
            continue;
        call->needs |= features[i];
        if (!fleet_can(&call->router->fleet, call->model, call->needs))
            return api_fail(error, STATUS_UNSUPPORTED, name,
                            "%s is not supported by the workers of model %s", name,
                            call->model->name);
    }
    return STATUS_OK;
}

/* The last thing that can refuse a call: a key pays only for what is taken. */
static enum status pay(struct call *call, uint32_t choices, struct api_error *error)
{
    uint64_t tokens = 0;
    struct err err = {.text = ""};
    for (uint32_t i = 0; i < call->prompts.count; i++)
        tokens += call->prompts.items[i].tokens.count;
    if (api_key_admit(call->key, choices, tokens, clock_now_ms(), &call->retry_s, &err) !=
        STATUS_OK)
        return api_fail(error, err.status, NULL, "%s", err.text);
    call->key_streams = choices;
    return STATUS_OK;
}

static enum status admit(struct call *call, struct api_error *error)
{
    struct router *router = call->router;
    uint32_t length, length_best, choices = call->prompts.count * call->params.n;
    if (fleet_serving(&router->fleet, call->model, &length, &length_best) == 0)
        return api_fail(error, STATUS_UNAVAILABLE, NULL, "no worker serves model %s right now",
                        call->model->name);
    TRY(check_features(call, error));
    TRY(check_capacity(call, choices, error));
    uint32_t *tokens_max = arena_array(&call->arena, call->prompts.count, sizeof(*tokens_max));
    for (uint32_t i = 0; i < call->prompts.count; i++) {
        tokens_max[i] = tokens_max_of(call, &call->prompts.items[i], length, length_best, error);
        if (tokens_max[i] == 0)
            return error->err.status;
    }
    TRY(pay(call, choices, error));
    uint64_t waiting = queue_surplus(call, choices);
    if (waiting > 0)
        queue_push_out(call, waiting);
    call->labels = telemetry_labels(call);
    call->id = ++router->call_last;
    map_put_ptr(&router->calls, call->id, call);
    call->streams = arena_array(&call->arena, choices, sizeof(*call->streams));
    call->stream_count = call->stream_open = choices;
    router->streams += choices;
    for (uint32_t i = 0; i < choices; i++) {
        stream_init(&call->streams[i], call, i);
        call->streams[i].tokens_max = tokens_max[i / call->params.n];
        metrics_add(router->metrics, METRIC_PROMPT_TOKENS, "",
                    i % call->params.n == 0 ? (double)call->streams[i].prompt->tokens.count : 0);
    }
    return STATUS_OK;
}

/* /tokenize, /detokenize: what was prepared is the answer. */
static void answer_tokens(struct call *call)
{
    buf_clear(&call->out);
    if (call->kind == API_TOKENIZE)
        response_tokens(call, &call->out);
    else
        response_text(call, &call->out);
    http_reply(call->exchange, 200, "application/json",
               (struct str){call->out.data, call->out.len});
    telemetry_ended(call, 200);
    call_free(call);
}

static void prepared(struct call *call)
{
    struct router *router = call->router;
    if (call->prepared == STATUS_OK)
        call->namespace_hash = api_key_namespace(call->key, call->params.salt);
    if (call->prepared == STATUS_OK && call->kind >= API_TOKENIZE) {
        answer_tokens(call);
        return;
    }
    if (call->prepared != STATUS_OK || admit(call, &call->error) != STATUS_OK) {
        call_fail(call, &call->error);
        return;
    }
    if (call->params.stream) {
        response_begin(call);
        http_stream(call->exchange, SSE_TYPE);
    }
    for (uint32_t i = 0; i < call->stream_count; i++)
        queue_add(&call->streams[i]);
    queue_pump(router);
}

static void on_work(uv_work_t *work)
{
    struct call *call = CONTAINER_OF(work, struct call, work);
    /* Text threads yield to the loop, which has tokens to deliver. */
    setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
    if (call->json || !call_prepare(call))
        call_compile(call);
}

static void on_worked(uv_work_t *work, int status)
{
    struct call *call = CONTAINER_OF(work, struct call, work);
    call->working = false;
    call->router->preparing--;
    mem_free(call->body_copy);
    call->body_copy = NULL;
    if (call->exchange)
        prepared(call);
    else
        call_free(call);
}

static void name_call(struct call *call)
{
    uint64_t random = rng_next(&call->router->random), more = rng_next(&call->router->random);
    snprintf(call->name, sizeof(call->name), "%s-%016llx%08llx",
             call->kind == API_CHAT          ? "chatcmpl"
             : call->kind == API_COMPLETIONS ? "cmpl"
                                             : "gen",
             (unsigned long long)random, (unsigned long long)(more >> 32));
}

/* The router's limit, or less when the client says so, or the proxy before us (Envoy does by itself). */
static uint64_t limit_ms_of(const struct router *router, const struct http_exchange *exchange)
{
    static const char *const headers[] = {"x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms"};
    uint64_t limit_ms = router->config.request_timeout_s * 1000;
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct str text = http_header(exchange, headers[i]);
        uint64_t ms = 0;
        size_t at = 0;
        while (at < text.len && at < 12 && text.data[at] >= '0' && text.data[at] <= '9')
            ms = ms * 10 + (uint64_t)(text.data[at++] - '0');
        if (at > 0 && at == text.len && ms > 0)
            limit_ms = MIN(limit_ms, ms);
    }
    return limit_ms;
}

void call_begin(struct router *router, struct http_exchange *exchange, enum api_kind kind)
{
    struct arena arena;
    arena_init(&arena);
    struct call *call = arena_zalloc(&arena, sizeof(*call));
    call->arena = arena;
    call->router = router;
    call->exchange = exchange;
    call->kind = kind;
    call->key = router->caller;
    call->created_s = clock_unix_s();
    call->began_ns = clock_now_ns();
    call->limit_ms = limit_ms_of(router, exchange);
    call->params.sampling.seed = rng_next(&router->random);
    name_call(call);
    call->labels = "";
    trace_init(&call->trace, exchange, call->name);
    list_init(&call->node);
    list_append(&router->call_list, &call->node);
    router->call_count++;
    http_own(exchange, call, on_gone);
    call->body = http_body(exchange);
    bool small = call->body.len <= router->config.inline_bytes;
    if (small && call_prepare(call)) {
        prepared(call);
        return;
    }
    if (router->preparing >= router->config.queue_max + 64) {
        api_fail(&call->error, STATUS_QUEUE_FULL, NULL,
                 "too many long prompts and grammars are being read");
        call_fail(call, &call->error);
        return;
    }
    if (!small) {
        call->body_copy = mem_strndup(call->body.data, call->body.len);
        call->body.data = call->body_copy;
    }
    call->working = true;
    router->preparing++;
    CHECK(uv_queue_work(&router->loop, &call->work, on_work, on_worked) == 0);
}

/* The last stream has ended. */
static void complete(struct call *call)
{
    struct router *router = call->router;
    metrics_add(router->metrics, METRIC_CACHED_TOKENS, "", (double)streams_cached_tokens(call));
    buf_clear(&call->out);
    if (!call->params.stream) {
        if (call->kind == API_GENERATE)
            response_generate_whole(call, &call->out);
        else
            response_whole(call, &call->out);
        http_reply(call->exchange, 200, "application/json",
                   (struct str){call->out.data, call->out.len});
    } else {
        if (call->params.include_usage) {
            sse_begin(&call->out);
            response_usage_chunk(call, &call->out);
            sse_end(&call->out);
        }
        sse_done(&call->out);
        if (http_write(call->exchange, call->out.data, call->out.len) == STATUS_OK)
            http_finish(call->exchange);
        else
            http_abort(call->exchange);
    }
    telemetry_ended(call, 200);
    call_free(call);
}

static void response_event(const struct call *call, const struct stream *stream, struct str text,
                           struct buf *out)
{
    if (call->kind == API_GENERATE) {
        response_generate_event(stream, out);
        return;
    }
    sse_begin(out);
    response_chunk(call, stream, text, out);
    sse_end(out);
}

void call_emit(struct call *call, struct stream *stream, struct str text)
{
    bool news = stream->prompt->parses ? answer_has_news(&stream->answer) : text.len > 0;
    if (call->params.stream && (news || stream->finish)) {
        buf_clear(&call->out);
        response_event(call, stream, text, &call->out);
        stream->spoke = call->started = true;
        stream->told = stream_told(stream);
        answer_told(&stream->answer);
        if (call->kind != API_GENERATE || call->params.plain_events)
            buf_clear(&stream->text); /* SGLang's events repeat it */
        if (http_write(call->exchange, call->out.data, call->out.len) != STATUS_OK) {
            LOG_INFO("call", "slow_reader", "id=%s", call->trace.id);
            metrics_add(call->router->metrics, METRIC_SLOW_READERS, "", 1);
            call_drop(call);
            return;
        }
    }
    if (!stream->finish)
        return;
    call->stream_open--;
    call->router->streams--;
    if (call->stream_open == 0)
        complete(call);
}
