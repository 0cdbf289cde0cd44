#include "router/trace.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "router/stream.h"

#define RAW_ID_BYTES_MAX 256 /* a longer X-Request-Id is nobody's */

static bool hex_run(const char *text, size_t len, bool zero_allowed)
{
    bool zero = true;
    for (size_t i = 0; i < len; i++) {
        if (!strchr("0123456789abcdef", text[i]) || text[i] == 0)
            return false;
        zero &= text[i] == '0';
    }
    return zero_allowed || !zero;
}

bool trace_parent_valid(struct str text)
{
    const char *t = text.data;
    return text.len == TRACE_PARENT_BYTES && hex_run(t, 2, true) && memcmp(t, "ff", 2) != 0 &&
           t[2] == '-' && hex_run(t + 3, 32, false) && t[35] == '-' && hex_run(t + 36, 16, false) &&
           t[52] == '-' && hex_run(t + 53, 2, true);
}

/* An id that may be answered as it came: printable, no longer than sensible. */
static bool id_fits(struct str id)
{
    if (id.len == 0 || id.len > RAW_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (id.data[i] < 0x20 || id.data[i] > 0x7e)
            return false;
    return true;
}

static void copy_id(char out[PROTO_REQUEST_ID_BYTES_MAX + 1], struct str id)
{
    static const char harmless[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+";
    size_t len = MIN(id.len, (size_t)PROTO_REQUEST_ID_BYTES_MAX);
    for (size_t i = 0; i < len; i++)
        out[i] = strchr(harmless, id.data[i]) ? id.data[i] : '_';
    out[len] = 0;
}

void trace_init(struct trace *trace, struct http_exchange *exchange, const char *fallback)
{
    struct str id = http_header(exchange, "x-request-id");
    struct str parent = http_header(exchange, "traceparent");

    if (!id_fits(id))
        id = str_from(fallback);
    http_add_header(exchange, "x-request-id", id);
    copy_id(trace->id, id);
    if (trace_parent_valid(parent))
        memcpy(trace->parent, parent.data, parent.len);
}

void trace_dispatched(struct trace *trace, const char *worker, uint64_t now_ns)
{
    if (trace->dispatched_ns == 0)
        trace->dispatched_ns = now_ns;
    trace->attempts++;
    snprintf(trace->worker, sizeof(trace->worker), "%.63s", worker);
}

static double ms_between(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns && to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-6 : 0;
}

static const char *kind_name(enum api_kind kind)
{
    return kind == API_CHAT ? "chat" : kind == API_COMPLETIONS ? "completions" : "other";
}

void trace_log(const struct call *call, int http_status, uint64_t now_ns)
{
    const struct trace *trace = &call->trace;
    uint64_t prompt = 0, tokens = 0, longest = 0;

    if (!log_enabled(LOG_LEVEL_INFO))
        return;
    for (uint32_t i = 0; i < call->stream_count; i++) {
        const struct stream *stream = &call->streams[i];
        prompt += i % call->params.n == 0 ? stream->prompt->tokens.count : 0;
        tokens += stream->tokens.count;
        longest = MAX(longest, (uint64_t)stream->tokens.count);
    }
    log_write(
        LOG_LEVEL_INFO, "call", "done",
        "id=%s trace=%.32s key=%s kind=%s model=%s status=%d choices=%u prompt=%llu cached=%llu "
        "tokens=%llu queue_ms=%.0f ttft_ms=%.0f itl_ms=%.1f total_ms=%.0f worker=%s attempts=%u",
        trace->id, trace->parent[0] ? trace->parent + 3 : "-",
        call->key && call->key->name[0] ? call->key->name : "-", kind_name(call->kind),
        call->model ? call->model->name : "-", http_status, call->stream_count,
        (unsigned long long)prompt, (unsigned long long)streams_cached_tokens(call),
        (unsigned long long)tokens, ms_between(call->began_ns, trace->dispatched_ns),
        ms_between(call->began_ns, call->first_token_ns),
        longest > 1 ? ms_between(call->first_token_ns, call->last_token_ns) / (double)(longest - 1)
                    : 0,
        ms_between(call->began_ns, now_ns), trace->worker[0] ? trace->worker : "-",
        trace->attempts);
}
