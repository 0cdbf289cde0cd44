/* The answers of /tokenize and /detokenize. */
#include "common/utf8.h"
#include "router/api/response.h"

void response_tokens(const struct call *call, struct buf *out)
{
    const struct token_list *tokens = &call->prompts.items[0].tokens;
    struct buf text = {0};
    buf_printf(out, "{\"count\":%zu,\"max_model_len\":%u,\"tokens\":[", tokens->count,
               call->model->context);
    for (size_t i = 0; i < tokens->count; i++)
        buf_printf(out, "%s%u", i > 0 ? "," : "", tokens->ids[i]);
    buf_str(out, "],\"token_strs\":");
    buf_str(out, call->params.token_texts ? "[" : "null");
    for (size_t i = 0; i < tokens->count && call->params.token_texts; i++) {
        struct str bytes = tokenizer_token_bytes(call->model->tokenizer, tokens->ids[i], false);
        buf_clear(&text);
        utf8_append_lossy(&text, bytes.data, bytes.len);
        buf_str(out, i > 0 ? "," : "");
        buf_json_string(out, text.data ? text.data : "", text.len);
    }
    buf_str(out, call->params.token_texts ? "]}" : "}");
    buf_release(&text);
}

void response_text(const struct call *call, struct buf *out)
{
    const struct token_list *tokens = &call->prompts.items[0].tokens;
    struct buf text = {0};
    tokenizer_decode(call->model->tokenizer, tokens->ids, tokens->count, false, &text);
    buf_str(out, "{\"prompt\":");
    buf_json_string(out, text.data ? text.data : "", text.len);
    buf_char(out, '}');
    buf_release(&text);
}
