/* Log probabilities as the two APIs write them: a list of objects for chat, parallel lists for
 * completions. */
#include <math.h>
#include <string.h>

#include "common/utf8.h"
#include "router/api/response.h"

/* The tokens of a stream in the order of its text: with echo, the prompt's come first. */
struct span {
    const struct stream *stream;
    uint32_t prompt; /* how many of the prompt's are part of it */
};

static uint32_t span_id(const struct span *span, uint32_t i)
{
    const struct stream *stream = span->stream;
    return i < span->prompt ? stream->prompt->tokens.ids[i] : stream->tokens.ids[i - span->prompt];
}

/* The call asked for so many alternatives of the answer's tokens; the prompt's may have more. */
static uint32_t width_of(const struct span *span, const struct scores *scores)
{
    uint32_t asked = span->stream->call->params.logprobs;
    return MIN(scores->width, asked > 0 ? asked - 1 : 0);
}

/* Where the token's score lies; false for the prompt's first token, which has none. */
static bool span_score(const struct span *span, uint32_t i, const struct scores **scores,
                       uint32_t *at)
{
    bool prompt = i < span->prompt;
    *scores = prompt ? &span->stream->prompt_scores : &span->stream->scores;
    *at = prompt ? i - 1 : i - span->prompt;
    return !(prompt && i == 0) && *at < (*scores)->count;
}

static struct str bytes_of(const struct stream *stream, uint32_t id)
{
    return tokenizer_token_bytes(stream->call->model->tokenizer, id, false);
}

/* JSON has no infinity: OpenAI writes -9999.0 for what has no probability. */
static void put_logprob(struct buf *out, float logprob)
{
    if (isfinite(logprob))
        buf_printf(out, "%.9g", (double)logprob);
    else
        buf_str(out, "-9999.0");
}

static void put_token(const struct stream *stream, uint32_t id, struct buf *out)
{
    struct buf text = {0};
    struct str bytes = bytes_of(stream, id);
    if (stream->call->params.tokens_as_ids)
        buf_printf(&text, "token_id:%u", id);
    else
        utf8_append_lossy(&text, bytes.data, bytes.len);
    buf_json_string(out, text.data ? text.data : "", text.len);
    buf_release(&text);
}

static void put_chat_token(const struct stream *stream, uint32_t id, float logprob, struct buf *out)
{
    struct str bytes = bytes_of(stream, id);
    buf_str(out, "{\"token\":");
    put_token(stream, id, out);
    buf_str(out, ",\"logprob\":");
    put_logprob(out, logprob);
    buf_str(out, ",\"bytes\":[");
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%s%u", i ? "," : "", (unsigned char)bytes.data[i]);
    buf_char(out, ']');
}

static void put_chat(const struct span *span, uint32_t first, uint32_t end, struct buf *out)
{
    const struct scores *scores;
    uint32_t at;
    buf_str(out, "{\"content\":[");
    for (uint32_t i = first; i < end; i++) {
        if (!span_score(span, i, &scores, &at))
            continue;
        if (i > first)
            buf_char(out, ',');
        put_chat_token(span->stream, span_id(span, i), scores->logprobs[at], out);
        buf_str(out, ",\"top_logprobs\":[");
        for (uint32_t k = 0; k < width_of(span, scores); k++) {
            size_t top = (size_t)at * scores->width + k;
            if (k > 0)
                buf_char(out, ',');
            put_chat_token(span->stream, scores->top_ids[top], scores->top_logprobs[top], out);
            buf_char(out, '}');
        }
        buf_str(out, "]}");
    }
    buf_str(out, "],\"refusal\":null}");
}

/* {"token": logprob, …}: the likeliest, and the token itself where it is none of them. */
static void put_tops(const struct span *span, uint32_t i, struct buf *out)
{
    const struct scores *scores;
    uint32_t at, id = span_id(span, i);
    if (!span_score(span, i, &scores, &at)) {
        buf_str(out, "null");
        return;
    }
    bool there = false;
    uint32_t width = width_of(span, scores);
    buf_char(out, '{');
    for (uint32_t k = 0; k < width; k++) {
        size_t top = (size_t)at * scores->width + k;
        there |= scores->top_ids[top] == id;
        if (k > 0)
            buf_char(out, ',');
        put_token(span->stream, scores->top_ids[top], out);
        buf_char(out, ':');
        put_logprob(out, scores->top_logprobs[top]);
    }
    if (!there) {
        if (width > 0)
            buf_char(out, ',');
        put_token(span->stream, id, out);
        buf_char(out, ':');
        put_logprob(out, scores->logprobs[at]);
    }
    buf_char(out, '}');
}

/* Characters of tokens [first, end), each decoded alone. */
static uint64_t chars_of(const struct span *span, uint32_t first, uint32_t end)
{
    uint64_t chars = 0;
    struct buf text = {0};
    for (uint32_t i = first; i < end; i++) {
        struct str bytes = bytes_of(span->stream, span_id(span, i));
        buf_clear(&text);
        utf8_append_lossy(&text, bytes.data, bytes.len);
        for (size_t c = 0; c < text.len; c++)
            chars += ((unsigned char)text.data[c] & 0xc0) != 0x80;
    }
    buf_release(&text);
    return chars;
}

static void put_completions(const struct span *span, uint32_t first, uint32_t end, struct buf *out)
{
    const struct scores *scores;
    uint32_t at;
    buf_str(out, "{\"tokens\":[");
    for (uint32_t i = first; i < end; i++) {
        buf_str(out, i > first ? "," : "");
        put_token(span->stream, span_id(span, i), out);
    }
    buf_str(out, "],\"token_logprobs\":[");
    for (uint32_t i = first; i < end; i++) {
        buf_str(out, i > first ? "," : "");
        if (span_score(span, i, &scores, &at))
            put_logprob(out, scores->logprobs[at]);
        else
            buf_str(out, "null");
    }
    buf_str(out, "],\"top_logprobs\":[");
    for (uint32_t i = first; i < end; i++) {
        buf_str(out, i > first ? "," : "");
        put_tops(span, i, out);
    }
    buf_str(out, "],\"text_offset\":[");
    uint64_t offset = chars_of(span, 0, first);
    for (uint32_t i = first; i < end; i++) {
        buf_printf(out, "%s%llu", i > first ? "," : "", (unsigned long long)offset);
        offset += chars_of(span, i, i + 1);
    }
    buf_str(out, "]}");
}

static void put_ranked(const struct stream *stream, uint32_t id, float logprob, uint32_t rank,
                       struct buf *out)
{
    buf_printf(out, "\"%u\":{\"logprob\":", id);
    put_logprob(out, logprob);
    if (rank > 0)
        buf_printf(out, ",\"rank\":%u,\"decoded_token\":", rank);
    else
        buf_str(out, ",\"rank\":null,\"decoded_token\":");
    put_token(stream, id, out);
    buf_char(out, '}');
}

void response_prompt_logprobs(const struct stream *stream, struct buf *out)
{
    const struct scores *scores = &stream->prompt_scores;
    uint32_t width = stream->call->params.prompt_logprobs - 1;
    buf_str(out, "[null");
    for (uint32_t i = 0; i < scores->count; i++) {
        uint32_t id = stream->prompt->tokens.ids[i + 1];
        bool listed = false;
        buf_str(out, ",{");
        for (uint32_t k = 0; k < width; k++) {
            size_t top = (size_t)i * scores->width + k;
            listed |= scores->top_ids[top] == id;
            buf_str(out, k > 0 ? "," : "");
            put_ranked(stream, scores->top_ids[top], scores->top_logprobs[top], k + 1, out);
        }
        if (!listed) {
            buf_str(out, width > 0 ? "," : "");
            put_ranked(stream, id, scores->logprobs[i], scores->ranks[i], out);
        }
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

void response_logprobs(const struct stream *stream, uint32_t first, uint32_t end, struct buf *out)
{
    const struct params *params = &stream->call->params;
    struct span span = {stream, params->echo ? (uint32_t)stream->prompt->tokens.count : 0};
    if (params->logprobs == 0)
        buf_str(out, "null");
    else if (params->kind == API_CHAT)
        put_chat(&span, first, end, out);
    else
        put_completions(&span, first, end, out);
}
