/* The answers of /generate. With `text` or `input_ids` they are SGLang's: objects whose text grows,
 * with meta_info. With `prompt` they are mini-sglang's: lines "data: TEXT". */
#include "router/api/response.h"

#include <string.h>

#include "common/clock.h"
#include "common/utf8.h"
#include "router/api/sse.h"

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

/* [logprob, id, text]; the text null unless asked for, the logprob where there is none. */
static void put_triple(const struct stream *stream, const float *logprob, uint32_t id,
                       struct buf *out)
{
    struct buf text = {0};
    if (logprob)
        buf_printf(out, "[%.9g,%u,", *logprob > -9999.0f ? (double)*logprob : -9999.0, id);
    else
        buf_printf(out, "[null,%u,", id);
    if (stream->call->params.logprob_texts) {
        struct str bytes = tokenizer_token_bytes(stream->call->model->tokenizer, id, false);
        utf8_append_lossy(&text, bytes.data, bytes.len);
        buf_json_string(out, text.data ? text.data : "", text.len);
    } else {
        buf_str(out, "null");
    }
    buf_char(out, ']');
    buf_release(&text);
}

/* "SIDE_token_logprobs" and "SIDE_top_logprobs" of tokens [from, count); the scores begin with that of
 * token `first`: before it there is none. */
static void put_side(const struct stream *stream, const char *side, const uint32_t *ids,
                     uint32_t from, uint32_t first, const struct scores *scores, struct buf *out)
{
    uint32_t end = first + scores->count;
    buf_printf(out, ",\"%s_token_logprobs\":[", side);
    for (uint32_t i = from; i < end; i++) {
        buf_str(out, i > from ? "," : "");
        put_triple(stream, i < first ? NULL : &scores->logprobs[i - first], ids[i], out);
    }
    buf_printf(out, "],\"%s_top_logprobs\":[", side);
    for (uint32_t i = from; i < end; i++) {
        buf_str(out, i > from ? "," : "");
        buf_str(out, i < first ? "null" : "[");
        for (uint32_t k = 0; i >= first && k < scores->width; k++) {
            size_t at = (size_t)(i - first) * scores->width + k;
            buf_str(out, k > 0 ? "," : "");
            put_triple(stream, &scores->top_logprobs[at], scores->top_ids[at], out);
        }
        buf_str(out, i < first ? "" : "]");
    }
    buf_char(out, ']');
}

static void put_logprobs(const struct stream *stream, struct buf *out)
{
    const struct params *params = &stream->call->params;
    if (params->prompt_logprobs)
        put_side(stream, "input", stream->prompt->tokens.ids, params->prompt_from, 1,
                 &stream->prompt_scores, out);
    put_side(stream, "output", stream->tokens.ids, 0, 0, &stream->scores, out);
}

static void put_choice(const struct stream *stream, struct buf *out)
{
    const struct call *call = stream->call;
    buf_str(out, "{\"text\":");
    buf_json_string(out, stream->text.data ? stream->text.data : "", stream->text.len);
    buf_str(out, ",\"output_ids\":[");
    for (size_t i = 0; i < stream->tokens.count; i++)
        buf_printf(out, "%s%u", i > 0 ? "," : "", stream->tokens.ids[i]);
    buf_printf(out,
               "],\"index\":%u,\"meta_info\":{\"id\":\"%s\",\"finish_reason\":", stream->choice,
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
