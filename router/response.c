#include "router/response.h"

#include <string.h>

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
    const char *object = call->kind == API_COMPLETIONS ? "text_completion"
                         : chunk                       ? "chat.completion.chunk"
                                                       : "chat.completion";
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":", call->name, object,
               (unsigned long long)call->created_s);
    buf_json_string(out, call->model->name, strlen(call->model->name));
    buf_printf(out, ",\"system_fingerprint\":\"fp_%016llx\",\"choices\":[",
               (unsigned long long)call->model->fingerprint);
}

static void usage(const struct call *call, struct buf *out)
{
    uint64_t prompt = 0, cached = 0, generated = 0;
    for (uint32_t i = 0; i < call->prompts.count; i++)
        prompt += call->prompts.items[i].tokens.count;
    for (uint32_t i = 0; i < call->stream_count; i++)
        generated += call->streams[i].tokens.count;
    /* A prompt with n choices counts once; so does what was cached of it, at its best. */
    for (uint32_t i = 0; i < call->stream_count; i += call->params.n) {
        uint32_t best = 0;
        for (uint32_t k = i; k < i + call->params.n; k++)
            best = MAX(best, call->streams[k].cached_tokens);
        cached += best;
    }
    buf_printf(out,
               "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%llu}}",
               (unsigned long long)prompt, (unsigned long long)generated,
               (unsigned long long)(prompt + generated), (unsigned long long)cached);
}

static void finish_reason(const struct stream *stream, struct buf *out)
{
    if (stream->finish)
        buf_printf(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}", stream->finish);
    else
        buf_str(out, ",\"logprobs\":null,\"finish_reason\":null}");
}

void response_whole(const struct call *call, struct buf *out)
{
    head(call, false, out);
    for (uint32_t i = 0; i < call->stream_count; i++) {
        const struct stream *stream = &call->streams[i];
        const char *text = stream->text.data ? stream->text.data : "";
        buf_printf(out, "%s{\"index\":%u,", i > 0 ? "," : "", stream->choice);
        if (call->kind == API_CHAT) {
            buf_str(out, "\"message\":{\"role\":\"assistant\",\"content\":");
            buf_json_string(out, text, stream->text.len);
            buf_char(out, '}');
        } else {
            buf_str(out, "\"text\":");
            buf_json_string(out, text, stream->text.len);
        }
        finish_reason(stream, out);
    }
    buf_str(out, "],\"usage\":");
    usage(call, out);
    buf_char(out, '}');
}

void response_chunk(const struct call *call, const struct stream *stream, struct str text,
                    struct buf *out)
{
    head(call, true, out);
    buf_printf(out, "{\"index\":%u,", stream->choice);
    if (call->kind == API_CHAT) {
        buf_str(out, "\"delta\":{");
        if (!stream->spoke)
            buf_str(out, "\"role\":\"assistant\",");
        buf_str(out, "\"content\":");
        buf_json_string(out, text.data ? text.data : "", text.len);
        buf_char(out, '}');
    } else {
        buf_str(out, "\"text\":");
        buf_json_string(out, text.data ? text.data : "", text.len);
    }
    finish_reason(stream, out);
    buf_char(out, ']');
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
