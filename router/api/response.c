#include "router/api/response.h"

#include <string.h>

#include "common/hash.h"

void response_error(const struct api_error *error, struct buf *out)
{
    buf_str(out, "{\"error\":{\"message\":");
    buf_json_string(out, error->err.text, strlen(error->err.text));
    buf_printf(out, ",\"type\":\"%s\",\"param\":", status_openai_type(error->err.status));
    if (error->param)
        buf_json_string(out, error->param, strlen(error->param));
    else
        buf_str(out, "null");
    if (error->code)
        buf_printf(out, ",\"code\":\"%s\"}}", error->code);
    else
        buf_printf(out, ",\"code\":%d}}", status_http(error->err.status));
}

/* Up to and with `"choices":[`. */
static void head(const struct call *call, bool chunk, struct buf *out)
{
    if (chunk && call->chunk_head.len > 0) {
        buf_append(out, call->chunk_head.data, call->chunk_head.len);
        return;
    }
    const char *object = call->kind == API_COMPLETIONS ? "text_completion"
                         : chunk                       ? "chat.completion.chunk"
                                                       : "chat.completion";
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":", call->name,
               object, (unsigned long long)call->created_s);
    buf_json_string(out, call->model->name, strlen(call->model->name));
    buf_printf(out, ",\"system_fingerprint\":\"fp_%016llx\",\"choices\":[",
               (unsigned long long)call->model->fingerprint);
}

void response_begin(struct call *call)
{
    buf_clear(&call->out);
    head(call, true, &call->out);
    call->chunk_head =
        (struct str){arena_strndup(&call->arena, call->out.data, call->out.len), call->out.len};
}

static void usage(const struct call *call, struct buf *out)
{
    uint64_t prompt = 0, generated = 0;
    for (uint32_t i = 0; i < call->prompts.count; i++)
        prompt += call->prompts.items[i].tokens.count;
    for (uint32_t i = 0; i < call->stream_count; i++)
        generated += call->streams[i].tokens.count;
    buf_printf(out,
               "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%llu}}",
               (unsigned long long)prompt, (unsigned long long)generated,
               (unsigned long long)(prompt + generated),
               (unsigned long long)streams_cached_tokens(call));
}

static void put_ids(const uint32_t *ids, size_t count, struct buf *out)
{
    buf_char(out, '[');
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%u", i > 0 ? "," : "", ids[i]);
    buf_char(out, ']');
}

/* The end of a choice: what is asked about its tokens from `told` on, and why it ended. */
static void choice_end(const struct stream *stream, uint32_t told, struct buf *out)
{
    const struct params *params = &stream->call->params;
    uint32_t prompt = stream_told(stream) - (uint32_t)stream->tokens.count;
    uint32_t from = told > prompt ? told - prompt : 0;
    buf_str(out, ",\"logprobs\":");
    response_logprobs(stream, told, stream_told(stream), out);
    if (params->return_ids) {
        buf_str(out, ",\"token_ids\":");
        put_ids(stream->tokens.ids + from, stream->tokens.count - from, out);
    }
    if (params->return_ids && params->kind == API_COMPLETIONS && !stream->spoke) {
        buf_str(out, ",\"prompt_token_ids\":");
        put_ids(stream->prompt->tokens.ids, stream->prompt->tokens.count, out);
    }
    if (params->prompt_logprobs > 0 && params->kind == API_COMPLETIONS) {
        buf_str(out, ",\"prompt_logprobs\":");
        response_prompt_logprobs(stream, out);
    }
    if (stream->finish)
        buf_printf(out, ",\"finish_reason\":\"%s\"}", stream->finish);
    else
        buf_str(out, ",\"finish_reason\":null}");
}

/* A chat has one prompt, whose ids stand beside the choices. */
static void chat_prompt_ids(const struct call *call, struct buf *out)
{
    if (!call->params.return_ids || call->kind != API_CHAT)
        return;
    buf_str(out, ",\"prompt_token_ids\":");
    put_ids(call->prompts.items[0].tokens.ids, call->prompts.items[0].tokens.count, out);
}

static void put_string(const char *key, const struct buf *text, struct buf *out)
{
    buf_printf(out, "\"%s\":", key);
    buf_json_string(out, text->data ? text->data : "", text->len);
}

/* Unique: the call's name, the choice, the number in it. Mistral's templates take a call back only when
 * its id is nine letters and digits. */
static void put_call_id(const struct stream *stream, uint32_t i, struct buf *out)
{
    char text[128];
    int len =
        snprintf(text, sizeof(text), "call_%s_%u_%u", stream->call->name + 9, stream->choice, i);
    if (!tools_mistral(stream->call->model->tools)) {
        buf_append(out, text, (size_t)len);
        return;
    }
    uint64_t hash = hash_bytes(text, (size_t)len);
    for (int k = 0; k < 9; k++, hash /= 36)
        buf_char(out, "0123456789abcdefghijklmnopqrstuvwxyz"[hash % 36]);
}

/* One call of a tool. `from`: bytes of arguments that were told before; `whole`: with its name. */
static void put_call(const struct stream *stream, uint32_t i, size_t from, bool whole, bool chunk,
                     struct buf *out)
{
    const struct answer_call *call = &stream->answer.calls[i];
    struct buf rest = {.data = call->arguments.data ? call->arguments.data + from : NULL,
                       .len = call->arguments.len - from};
    buf_char(out, '{');
    if (chunk)
        buf_printf(out, "\"index\":%u,", i);
    if (whole) {
        buf_str(out, "\"id\":\"");
        put_call_id(stream, i, out);
        buf_str(out, "\",\"type\":\"function\",");
    }
    buf_str(out, "\"function\":{");
    if (whole) {
        put_string("name", &call->name, out);
        buf_char(out, ',');
    }
    put_string("arguments", &rest, out);
    buf_str(out, "}}");
}

/* The message of a whole answer, behind its role. */
static void put_message(const struct stream *stream, struct str text, struct buf *out)
{
    const struct answer *answer = &stream->answer;
    if (!stream->prompt->parses) {
        buf_str(out, "\"content\":");
        buf_json_string(out, text.data, text.len);
        return;
    }
    if (answer->content.len > 0 || answer->call_count == 0)
        put_string("content", &answer->content, out);
    else
        buf_str(out, "\"content\":null");
    if (answer->reasoning.len > 0 && stream->call->params.include_reasoning) {
        buf_char(out, ',');
        put_string("reasoning_content", &answer->reasoning, out);
    }
    for (uint32_t i = 0; i < answer->call_count; i++) {
        buf_str(out, i > 0 ? "," : ",\"tool_calls\":[");
        put_call(stream, i, 0, true, false, out);
    }
    if (answer->call_count > 0)
        buf_char(out, ']');
}

/* What is new since the last chunk. */
static void put_delta(const struct stream *stream, struct str text, struct buf *out)
{
    const struct answer *answer = &stream->answer;
    const char *comma = "", *calls = "\"tool_calls\":[";
    if (!stream->prompt->parses) {
        buf_str(out, "\"content\":");
        buf_json_string(out, text.data ? text.data : "", text.len);
        return;
    }
    if (answer->content.len > 0 || !stream->spoke) {
        put_string("content", &answer->content, out);
        comma = ",";
    }
    if (answer->reasoning.len > 0 && stream->call->params.include_reasoning) {
        buf_str(out, comma);
        put_string("reasoning_content", &answer->reasoning, out);
        comma = ",";
    }
    bool any = false;
    for (uint32_t i = 0; i < answer->call_count; i++) {
        const struct answer_call *call = &answer->calls[i];
        if (!call->named || (call->told && call->sent == call->arguments.len))
            continue;
        buf_printf(out, "%s%s", any ? "," : comma, any ? "" : calls);
        put_call(stream, i, call->sent, !call->told, true, out);
        any = true;
    }
    if (any)
        buf_char(out, ']');
}

void response_whole(const struct call *call, struct buf *out)
{
    head(call, false, out);
    for (uint32_t i = 0; i < call->stream_count; i++) {
        const struct stream *stream = &call->streams[i];
        const char *text = stream->text.data ? stream->text.data : "";
        buf_printf(out, "%s{\"index\":%u,", i > 0 ? "," : "", stream->choice);
        if (call->kind == API_CHAT) {
            buf_str(out, "\"message\":{\"role\":\"assistant\",");
            put_message(stream, (struct str){text, stream->text.len}, out);
            buf_char(out, '}');
        } else {
            buf_str(out, "\"text\":");
            buf_json_string(out, text, stream->text.len);
        }
        choice_end(stream, 0, out);
    }
    buf_char(out, ']');
    chat_prompt_ids(call, out);
    if (call->params.prompt_logprobs > 0 && call->kind == API_CHAT) {
        buf_str(out, ",\"prompt_logprobs\":");
        response_prompt_logprobs(&call->streams[0], out);
    }
    buf_str(out, ",\"usage\":");
    usage(call, out);
    buf_char(out, '}');
}

void response_chunk(const struct call *call, const struct stream *stream, struct str text,
                    struct buf *out)
{
    head(call, true, out);
    if (stream->choice == 0)
        buf_str(out, "{\"index\":0,");
    else
        buf_printf(out, "{\"index\":%u,", stream->choice);
    if (call->kind == API_CHAT) {
        buf_str(out, "\"delta\":{");
        if (!stream->spoke)
            buf_str(out, "\"role\":\"assistant\",");
        put_delta(stream, text, out);
        buf_char(out, '}');
    } else {
        buf_str(out, "\"text\":");
        buf_json_string(out, text.data ? text.data : "", text.len);
    }
    choice_end(stream, stream->told, out);
    buf_char(out, ']');
    if (!stream->spoke)
        chat_prompt_ids(call, out);
    if (call->params.include_usage || call->params.continuous_usage) {
        buf_str(out, ",\"usage\":");
        if (call->params.continuous_usage)
            usage(call, out);
        else
            buf_str(out, "null");
    }
    buf_char(out, '}');
}

void response_usage_chunk(const struct call *call, struct buf *out)
{
    head(call, true, out);
    buf_str(out, "],\"usage\":");
    usage(call, out);
    buf_char(out, '}');
}

void response_model(const struct model *model, struct buf *out)
{
    buf_str(out, "{\"id\":");
    buf_json_string(out, model->name, strlen(model->name));
    buf_printf(out, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"msgl\",\"root\":",
               (unsigned long long)model->created_s);
    buf_json_string(out, model->name, strlen(model->name));
    buf_printf(out, ",\"parent\":null,\"max_model_len\":%u}", model->context);
}

void response_models(const struct router *router, struct buf *out)
{
    buf_str(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < router->models.count; i++) {
        if (i > 0)
            buf_char(out, ',');
        response_model(&router->models.items[i], out);
    }
    buf_str(out, "]}");
}
