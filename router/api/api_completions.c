/* The prompt of /v1/completions and of /generate: text, token ids, or a list of either. */
#include "router/api/prompt.h"

#include "common/mem.h"

static enum status take_ids(const json_t *ids, const char *key, struct model *model,
                            struct prompt *out, struct api_error *error)
{
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id) {
        if (!json_is_integer(id))
            return api_fail(error, STATUS_INVALID, key,
                            "%s mixes token ids with something else at index %zu", key, i);
        if (json_integer_value(id) < 0 || json_integer_value(id) >= model->vocab_size)
            return api_fail(error, STATUS_INVALID, key,
                            "%s holds %lld, which is no token id of %s (0 to %u)", key,
                            (long long)json_integer_value(id), model->name, model->vocab_size - 1);
        token_list_push(&out->tokens, (uint32_t)json_integer_value(id));
    }
    return STATUS_OK;
}

/* What echo puts in front: the text as it came, or what the ids say. */
static void take_echo(const json_t *value, const struct model *model, const struct params *params,
                      struct arena *arena, struct prompt *out)
{
    struct buf text = {0};
    if (json_is_string(value) && params->truncate == 0)
        buf_append(&text, json_string_value(value), json_string_length(value));
    else
        tokenizer_decode(model->tokenizer, out->tokens.ids, out->tokens.count, params->skip_special,
                         &text);
    out->text = (struct str){arena_strndup(arena, text.data ? text.data : "", text.len), text.len};
    buf_release(&text);
}

static enum status take_one(const json_t *value, const char *key, struct model *model,
                            const struct params *params, struct arena *arena, struct prompt *out,
                            struct api_error *error)
{
    if (json_is_string(value)) {
        struct str text = {json_string_value(value), json_string_length(value)};
        enum status status =
            model_encode(model, text, params->add_special != 0, &out->tokens, &error->err);
        if (status != STATUS_OK) {
            error->param = key;
            return status;
        }
    } else if (json_is_array(value)) {
        TRY(take_ids(value, key, model, out, error));
    } else {
        return api_fail(error, STATUS_INVALID, key,
                        "%s must be a string, a list of token ids, or a list of these, not %s", key,
                        json_type_name(value));
    }
    if (out->tokens.count == 0)
        return api_fail(error, STATUS_INVALID, key, "%s is empty", key);
    prompt_truncate(out, model, params);
    if (params->echo)
        take_echo(value, model, params, arena, out);
    return STATUS_OK;
}

enum status prompts_completions(const json_t *body, const char *key, struct model *model,
                                const struct params *params, struct arena *arena,
                                struct prompts *out, struct api_error *error)
{
    const json_t *prompt = json_object_get(body, key);
    if (!prompt || json_is_null(prompt))
        return api_fail(error, STATUS_INVALID, key, "%s is missing", key);
    const json_t *first = json_array_get(prompt, 0);
    bool many = json_is_array(prompt) && (json_is_string(first) || json_is_array(first));
    size_t count = many ? json_array_size(prompt) : 1;
    if (count > PROMPTS_MAX)
        return api_fail(error, STATUS_INVALID, key, "%s holds %zu prompts, the limit is %d", key,
                        count, PROMPTS_MAX);
    out->items = mem_array(count, sizeof(*out->items));
    for (; out->count < count;) {
        struct prompt *item = &out->items[out->count++];
        TRY(take_one(many ? json_array_get(prompt, out->count - 1) : prompt, key, model, params,
                     arena, item, error));
    }
    return STATUS_OK;
}
