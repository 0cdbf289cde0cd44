/* chat - msgl chat: a conversation in the terminal, over the same API that programs use. */
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "deploy/local/client.h"
#include "deploy/local/commands.h"

#define HISTORY_LINES 1000

struct chat_config {
    const char *url;
    const char *model;
    const char *api_key;
    const char *system;
    const char *temperature;
    uint64_t max_tokens;
    const char *once;
    bool stats;
};

#define C struct chat_config
static const struct option chat_options[] = {
    OPTION_STRING(C, url, "url", "http://127.0.0.1:8000", "MSGL_URL", "the server"),
    OPTION_STRING(C, model, "model", NULL, NULL, "a served name (default: the server's first)"),
    OPTION_STRING(C, api_key, "api-key", NULL, "MSGL_API_KEY", "bearer key of the server"),
    OPTION_STRING(C, system, "system", NULL, NULL, "system message of each conversation"),
    OPTION_STRING(C, temperature, "temperature", NULL, NULL, "0 = greedy (default: the server's)"),
    OPTION_UINT(C, max_tokens, "max-tokens", "0", 0, 1 << 24, "of one answer; 0 = the server's"),
    OPTION_STRING(C, once, "once", NULL, NULL, "ask this, print the answer with its times, and end"),
    OPTION_BOOL(C, stats, "stats", "false", NULL, "print times and tokens/s after each answer"),
};
static const struct config_spec chat_spec = {"msgl chat", "talk to a server in the terminal",
                                             chat_options, ARRAY_LEN(chat_options)};

/* Ctrl-C. A signal handler can reach nothing but a static. */
static volatile sig_atomic_t interrupted;

struct chat {
    struct chat_config config;
    char *model;
    json_t *messages; /* the conversation so far */
    EditLine *line_editor;
    History *history;
    char *history_path;
};

static void on_interrupt(int number)
{
    interrupted = 1;
}

static char *prompt_text(EditLine *line_editor)
{
    static char text[] = "> ";
    return text;
}

static void add_message(struct chat *chat, const char *role, const char *text, size_t len)
{
    struct buf valid = {0};
    utf8_append_lossy(&valid, text, len);
    json_array_append_new(chat->messages, json_pack("{s:s,s:s%}", "role", role, "content",
                                                    valid.data ? valid.data : "", valid.len));
    buf_release(&valid);
}

static void reset(struct chat *chat)
{
    json_array_clear(chat->messages);
    if (chat->config.system)
        add_message(chat, "system", chat->config.system, strlen(chat->config.system));
}

static enum status request_body(const struct chat *chat, char **body, struct err *err)
{
    json_t *request = json_pack("{s:s,s:O,s:b,s:{s:b}}", "model", chat->model, "messages",
                                chat->messages, "stream", 1, "stream_options", "include_usage", 1);
    enum status status = STATUS_OK;

    if (chat->config.max_tokens)
        json_object_set_new(request, "max_tokens", json_integer((json_int_t)chat->config.max_tokens));
    if (chat->config.temperature) {
        char *end;
        double value = strtod(chat->config.temperature, &end);
        if (*end || end == chat->config.temperature || !(value >= 0 && value <= 100))
            status = err_set(err, STATUS_INVALID, "--temperature must be a number, not '%s'",
                             chat->config.temperature);
        else
            json_object_set_new(request, "temperature", json_real(value));
    }
    if (status == STATUS_OK)
        *body = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    return status;
}

/* Model output goes to the terminal without the control characters that could steer it. */
static void print_text(void *ctx, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')
            putchar(c);
    }
    fflush(stdout);
}

static void print_stats(const struct chat_stream *stream)
{
    double first_ms = (double)(stream->first_ns - stream->start_ns) / 1e6;
    double seconds = (double)(stream->last_ns - stream->first_ns) / 1e9;
    int64_t tokens = stream->completion_tokens >= 0 ? stream->completion_tokens
                                                    : (int64_t)stream->pieces;
    if (!stream->first_ns)
        return;
    printf("[first token after %.0f ms", first_ms);
    if (tokens > 1 && seconds > 0)
        printf(", then %.1f tokens/s", (double)(tokens - 1) / seconds);
    printf("; %lld tokens", (long long)tokens);
    if (stream->prompt_tokens >= 0)
        printf(", prompt %lld", (long long)stream->prompt_tokens);
    printf("]\n");
}

/* One question: streams the answer to the terminal and adds both to the conversation. A question
 * that failed is taken back out. */
static enum status ask(struct chat *chat, const char *question, struct err *err)
{
    struct chat_stream stream;
    CURL *easy = curl_easy_init();
    char *body = NULL;
    enum status status;
    CURLcode code;

    chat_stream_init(&stream, print_text, chat);
    stream.stop = &interrupted;
    add_message(chat, "user", question, strlen(question));
    TRY_OUT(request_body(chat, &body, err));
    interrupted = 0;
    chat_stream_prepare(&stream, easy, chat->config.url, "/v1/chat/completions", body,
                        chat->config.api_key);
    code = curl_easy_perform(easy);
    if (stream.answer.len)
        putchar('\n');
    status = chat_stream_result(&stream, easy, code, chat->config.url, err);
    if (status == STATUS_OK && (chat->config.stats || chat->config.once))
        print_stats(&stream);
    fflush(stdout);
out:
    if (stream.answer.len)
        add_message(chat, "assistant", stream.answer.data, stream.answer.len);
    else if (status != STATUS_OK)
        json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
    free(body);
    curl_easy_cleanup(easy);
    chat_stream_release(&stream);
    return status;
}

static void help(void)
{
    puts("/reset starts a new conversation, /exit (or Ctrl-D) ends. Ctrl-C stops an answer.");
}

/* False ends the conversation. */
static bool take_line(struct chat *chat, char *line)
{
    struct err err = {0};
    size_t len = strlen(line);

    while (len && strchr("\r\n \t", line[len - 1]))
        line[--len] = 0;
    while (*line == ' ' || *line == '\t')
        line++;
    if (*line == 0)
        return true;
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0)
        return false;
    if (strcmp(line, "/reset") == 0) {
        reset(chat);
        puts("A new conversation.");
    } else if (*line == '/') {
        help();
    } else if (ask(chat, line, &err) != STATUS_OK) {
        if (err.status == STATUS_CANCELLED)
            puts("[stopped]");
        else
            command_complain(chat_spec.program, &err);
    }
    return true;
}

static void open_editor(struct chat *chat)
{
    HistEvent event;
    char *home = command_home();
    struct err err;

    if (dir_create(home, &err) == STATUS_OK)
        chat->history_path = path_join(home, "chat_history");
    mem_free(home);
    chat->line_editor = el_init(chat_spec.program, stdin, stdout, stderr);
    chat->history = history_init();
    if (!chat->line_editor || !chat->history)
        return;
    history(chat->history, &event, H_SETSIZE, HISTORY_LINES);
    history(chat->history, &event, H_SETUNIQUE, 1);
    el_set(chat->line_editor, EL_PROMPT, prompt_text);
    el_set(chat->line_editor, EL_EDITOR, "emacs");
    el_set(chat->line_editor, EL_HIST, history, chat->history);
    el_set(chat->line_editor, EL_SIGNAL, 0);
    el_source(chat->line_editor, NULL);
    if (chat->history_path && file_exists(chat->history_path))
        history(chat->history, &event, H_LOAD, chat->history_path);
}

static void close_editor(struct chat *chat)
{
    HistEvent event;
    if (chat->history) {
        if (chat->history_path)
            history(chat->history, &event, H_SAVE, chat->history_path);
        history_end(chat->history);
    }
    if (chat->line_editor)
        el_end(chat->line_editor);
    mem_free(chat->history_path);
}

/* A terminal: editing, history, Ctrl-C at the prompt clears the line. */
static void talk(struct chat *chat)
{
    HistEvent event;

    printf("%s at %s. ", chat->model, chat->config.url);
    help();
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8"); /* what is typed is UTF-8, also where no locale is set */
    open_editor(chat);
    if (!chat->line_editor)
        return;
    for (;;) {
        int count = 0;
        const char *got;
        char *line;
        bool go_on;

        interrupted = 0;
        errno = 0;
        got = el_gets(chat->line_editor, &count);
        if (!got || count <= 0) {
            if (interrupted || (count < 0 && errno == EINTR)) {
                el_reset(chat->line_editor);
                putchar('\n');
                continue;
            }
            putchar('\n');
            break;
        }
        line = mem_strndup(got, (size_t)count);
        if (strspn(line, " \t\r\n") < strlen(line))
            history(chat->history, &event, H_ENTER, line);
        go_on = take_line(chat, line);
        mem_free(line);
        if (!go_on)
            break;
    }
    close_editor(chat);
}

/* Not a terminal: one question a line. */
static void talk_plain(struct chat *chat)
{
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) >= 0 && take_line(chat, line))
        continue;
    free(line);
}

static enum status run(struct chat *chat, struct err *err)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    if (chat->config.model)
        chat->model = mem_strdup(chat->config.model);
    else
        TRY(client_first_model(chat->config.url, chat->config.api_key, &chat->model, err));
    sigaction(SIGINT, &action, NULL); /* without SA_RESTART: reading a line ends too */
    chat->messages = json_array();
    reset(chat);
    if (chat->config.once)
        return ask(chat, chat->config.once, err);
    if (isatty(STDIN_FILENO))
        talk(chat);
    else
        talk_plain(chat);
    return STATUS_OK;
}

int command_chat(int argc, char **argv)
{
    struct chat chat = {0};
    struct err err = {0};
    enum status status;
    int exit_status;

    if (!command_parse(&chat_spec, argc, argv, &chat.config, &exit_status))
        return exit_status;
    status = run(&chat, &err);
    if (status != STATUS_OK)
        command_complain(chat_spec.program, &err);
    json_decref(chat.messages);
    mem_free(chat.model);
    config_release(&chat_spec, &chat.config);
    return status == STATUS_OK ? 0 : status == STATUS_CANCELLED ? 130 : 1;
}
