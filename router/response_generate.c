/* The answers of /generate. With `text` or `input_ids` they are SGLang's: objects whose text grows,
 * with meta_info. With `prompt` they are mini-sglang's: lines "data: TEXT". */
#include "router/response.h"

#include <string.h>

#include "common/clock.h"
#include "router/sse.h"

static void put_finish(const struct stream *stream, struct buf *out)
{
    const struct token_list *tokens = &stream->tokens;
    if (!stream->finish)
        buf_str(out, "null");
    else if (strcmp(stream->finish, "length") == 0)
        buf_printf(out, "{\"type\":\"length\",\"length\":%zu}", tokens->count);
    else
        buf_printf(out, "{\"type\":\"stop\",\"matched\":%lld}",
                   tokens->count > 0 ? (long long)tokens->ids[tokens->count - 1] : -1);
}

/* [logprob, id, null] for a token. */
static void put_triple(float logprob, uint32_t id, struct buf *out)
{
    buf_printf(out, "[%.9g,%u,null]", logprob > -9999.0f ? (double)logprob : -9999.0, id);
}

static void put_logprobs(const struct stream *stream, struct buf *out)
{
    const struct scores *scores = &stream->scores;
    buf_str(out, ",\"output_token_logprobs\":[");
    for (uint32_t i = 0; i < scores->count; i++) {
        buf_str(out, i > 0 ? "," : "");
        put_triple(scores->logprobs[i], stream->tokens.ids[i], out);
    }
    buf_str(out, "],\"output_top_logprobs\":[");
    for (uint32_t i = 0; i < scores->count; i++) {
        buf_str(out, i > 0 ? ",[" : "[");
        for (uint32_t k = 0; k < scores->width; k++) {
            size_t at = (size_t)i * scores->width + k;
            buf_str(out, k > 0 ? "," : "");
            put_triple(scores->top_logprobs[at], scores->top_ids[at], out);
        }
        buf_char(out, ']');
    }
    buf_char(out, ']');
}

static void put_choice(const struct stream *stream, struct buf *out)
{
    const struct call *call = stream->call;
    buf_str(out, "{\"text\":");
    buf_json_string(out, stream->text.data ? stream->text.data : "", stream->text.len);
    buf_str(out, ",\"output_ids\":[");
    for (size_t i = 0; i < stream->tokens.count; i++)
        buf_printf(out, "%s%u", i > 0 ? "," : "", stream->tokens.ids[i]);
    buf_printf(out, "],\"index\":%u,\"meta_info\":{\"id\":\"%s\",\"finish_reason\":", stream->choice,
               call->name);
    put_finish(stream, out);
    buf_printf(out,
               ",\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"cached_tokens\":%u,"
               "\"e2e_latency\":%.6f",
               stream->prompt->tokens.count, stream->tokens.count, stream->cached_tokens,
               (double)(clock_now_ns() - call->began_ns) * 1e-9);
    if (call->params.logprobs)
        put_logprobs(stream, out);
    buf_str(out, "}}");
}

void response_generate_whole(const struct call *call, struct buf *out)
{
    if (call->stream_count > 1)
        buf_char(out, '[');
    for (uint32_t i = 0; i < call->stream_count; i++) {
        buf_str(out, i > 0 ? "," : "");
        put_choice(&call->streams[i], out);
    }
    if (call->stream_count > 1)
        buf_char(out, ']');
}

void response_generate_event(const struct stream *stream, struct buf *out)
{
    if (stream->call->params.plain_events) {
        buf_printf(out, "data: ");
        buf_append(out, stream->text.data, stream->text.len);
        buf_char(out, '\n');
        return;
    }
    sse_begin(out);
    put_choice(stream, out);
    sse_end(out);
}
