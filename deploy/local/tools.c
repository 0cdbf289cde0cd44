/* tools - for whoever debugs a model folder: msgl tokenize, msgl prompt. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/mem.h"
#include "deploy/local/commands.h"
#include "router/text/chat_template.h"
#include "router/text/tokenizer.h"

struct tokenize_config {
    const char *model;
    bool decode;
    bool special;
};

static const struct option tokenize_options[] = {
    OPTION_STRING(struct tokenize_config, model, "model", NULL, NULL, "model folder, or ORG/NAME"),
    OPTION_BOOL(struct tokenize_config, decode, "decode", "false", NULL, "ids to text"),
    OPTION_BOOL(struct tokenize_config, special, "special", "false", NULL,
                "add what the tokenizer puts around a text (BOS and such)"),
};
static const struct config_spec tokenize_spec = {
    "msgl tokenize", "text on standard input to token ids, a line each, or back", tokenize_options,
    ARRAY_LEN(tokenize_options)};

struct prompt_config {
    const char *model;
};

static const struct option prompt_options[] = {
    OPTION_STRING(struct prompt_config, model, "model", NULL, NULL, "model folder, or ORG/NAME"),
};
static const struct config_spec prompt_spec = {
    "msgl prompt", "a chat request's JSON on standard input to the prompt that the model sees",
    prompt_options, ARRAY_LEN(prompt_options)};

static enum status read_input(struct buf *in, struct err *err)
{
    for (;;) {
        ssize_t n;
        buf_reserve(in, 65536);
        n = read(STDIN_FILENO, in->data + in->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, STATUS_IO, "cannot read standard input: %s", strerror(errno));
        if (n == 0)
            break;
        in->len += (size_t)n;
    }
    in->data[in->len] = 0;
    return STATUS_OK;
}

static enum status encode_line(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                               struct str line, bool special, struct buf *out, struct err *err)
{
    struct token_list ids = {0};
    enum status status = tokenizer_encode(tokenizer, scratch, line, special, &ids, err);

    for (size_t i = 0; status == STATUS_OK && i < ids.count; i++)
        buf_printf(out, "%s%u", i ? " " : "", ids.ids[i]);
    token_list_release(&ids);
    return status;
}

static enum status decode_line(const struct tokenizer *tokenizer, struct str line, struct buf *out,
                               struct err *err)
{
    struct token_list ids = {0};
    enum status status = STATUS_OK;
    const char *at = line.data, *end = line.data + line.len;

    while (at < end) {
        uint64_t id = 0;
        const char *start = at;
        while (at < end && *at >= '0' && *at <= '9' && id < UINT32_MAX)
            id = id * 10 + (uint64_t)(*at++ - '0');
        if (at == start || id >= tokenizer_vocab_size(tokenizer) || (at < end && *at != ' ')) {
            status =
                err_set(err, STATUS_INVALID, "'%.*s' is no list of token ids below %u",
                        (int)MIN(line.len, (size_t)60), line.data, tokenizer_vocab_size(tokenizer));
            goto out;
        }
        token_list_push(&ids, (uint32_t)id);
        while (at < end && *at == ' ')
            at++;
    }
    tokenizer_decode(tokenizer, ids.ids, ids.count, false, out);
out:
    token_list_release(&ids);
    return status;
}

static enum status each_line(const struct tokenizer *tokenizer,
                             const struct tokenize_config *config, const struct buf *in,
                             struct err *err)
{
    struct tokenizer_scratch *scratch = tokenizer_scratch_new(tokenizer);
    struct buf out = {0};
    enum status status = STATUS_OK;
    size_t number = 0;

    for (size_t start = 0; start < in->len && status == STATUS_OK;) {
        const char *newline = memchr(in->data + start, '\n', in->len - start);
        size_t end = newline ? (size_t)(newline - in->data) : in->len;
        struct str line = {in->data + start, end - start};
        number++;
        status = config->decode ? decode_line(tokenizer, line, &out, err)
                                : encode_line(tokenizer, scratch, line, config->special, &out, err);
        buf_char(&out, '\n');
        start = end + 1;
    }
    if (status != STATUS_OK)
        err_prefix(err, status, "line %zu", number);
    else if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
        status = err_set(err, STATUS_IO, "cannot write: %s", strerror(errno));
    tokenizer_scratch_free(scratch);
    buf_release(&out);
    return status;
}

int command_tokenize(int argc, char **argv)
{
    struct tokenize_config config = {0};
    struct tokenizer *tokenizer = NULL;
    struct buf in = {0};
    struct err err = {0};
    char *path = NULL;
    enum status status;
    int exit_status;

    if (!command_parse(&tokenize_spec, argc, argv, &config, &exit_status))
        return exit_status;
    TRY_OUT(command_model_path(config.model, false, &path, &err));
    TRY_OUT(tokenizer_load(path, &tokenizer, &err));
    TRY_OUT(read_input(&in, &err));
    TRY_OUT(each_line(tokenizer, &config, &in, &err));
out:
    if (status != STATUS_OK)
        command_complain(tokenize_spec.program, &err);
    tokenizer_free(tokenizer);
    buf_release(&in);
    mem_free(path);
    config_release(&tokenize_spec, &config);
    return status == STATUS_OK ? 0 : 1;
}

static enum status render(const struct chat_template *tmpl, const json_t *request, struct buf *out,
                          struct err *err)
{
    const json_t *messages = json_object_get(request, "messages");
    struct chat_render_opts opts = {.add_generation_prompt = true};

    if (!json_is_array(messages))
        return err_set(err, STATUS_INVALID, "the request needs 'messages', a list");
    opts.tools = json_object_get(request, "tools");
    opts.kwargs = json_object_get(request, "chat_template_kwargs");
    TRY(json_get_bool(request, "continue_final_message", &opts.continue_final_message, err));
    opts.add_generation_prompt = !opts.continue_final_message;
    TRY(json_get_bool(request, "add_generation_prompt", &opts.add_generation_prompt, err));
    return chat_template_render(tmpl, messages, &opts, out, err);
}

int command_prompt(int argc, char **argv)
{
    struct prompt_config config = {0};
    struct chat_template *tmpl = NULL;
    struct buf in = {0}, out = {0};
    struct err err = {0};
    json_t *request = NULL;
    char *path = NULL;
    enum status status;
    int exit_status;

    if (!command_parse(&prompt_spec, argc, argv, &config, &exit_status))
        return exit_status;
    TRY_OUT(command_model_path(config.model, false, &path, &err));
    TRY_OUT(chat_template_load(path, &tmpl, &err));
    TRY_OUT(read_input(&in, &err));
    TRY_OUT(json_parse(in.data, in.len, &request, &err));
    TRY_OUT(render(tmpl, request, &out, &err));
    if (fwrite(out.data ? out.data : "", 1, out.len, stdout) != out.len || fflush(stdout) != 0)
        status = err_set(&err, STATUS_IO, "cannot write: %s", strerror(errno));
out:
    if (status != STATUS_OK)
        command_complain(prompt_spec.program, &err);
    json_decref(request);
    chat_template_free(tmpl);
    buf_release(&in);
    buf_release(&out);
    mem_free(path);
    config_release(&prompt_spec, &config);
    return status == STATUS_OK ? 0 : 1;
}
