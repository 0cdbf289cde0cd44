/* chat - msgl chat: a conversation in the terminal, over the same API that programs use. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "deploy/local/client.h"
#include "deploy/local/commands.h"
#include "deploy/local/editor.h"

#define DIM   "\033[2m"
#define BOLD  "\033[1m"
#define PLAIN "\033[0m"

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
    OPTION_STRING(C, once, "once", NULL, NULL,
                  "ask this, print the answer with its times, and end"),
    OPTION_BOOL(C, stats, "stats", "false", NULL, "print times and tokens/s after each answer"),
};
static const struct config_spec chat_spec = {"msgl chat", "talk to a server in the terminal",
                                             chat_options, ARRAY_LEN(chat_options)};

/* Ctrl-C. A signal handler can reach nothing but a static. */
static volatile sig_atomic_t interrupted;

/* Of the last answer. */
struct chat_times {
    double first_ms, per_s;         /* per_s 0: not known */
    int64_t tokens, prompt, cached; /* -1: not told; tokens 0: there was no answer */
};

struct chat {
    struct chat_config config;
    char *model;
    json_t *messages; /* the conversation so far */
    char *system;     /* of this and later conversations; NULL: none */
    bool stats;       /* after each answer */
    bool colour;      /* the output is a terminal that wants it */
    bool thinking;    /* what was printed last was thought, not said */
    struct chat_times last;
};

static void on_interrupt(int number)
{
    interrupted = 1;
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
    if (chat->system)
        add_message(chat, "system", chat->system, strlen(chat->system));
}

static enum status request_body(const struct chat *chat, char **body, struct err *err)
{
    json_t *request = json_pack("{s:s,s:O,s:b,s:{s:b}}", "model", chat->model, "messages",
                                chat->messages, "stream", 1, "stream_options", "include_usage", 1);
    enum status status = STATUS_OK;

    if (chat->config.max_tokens)
        json_object_set_new(request, "max_tokens",
                            json_integer((json_int_t)chat->config.max_tokens));
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
static void print_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')
            putchar(c);
    }
}

/* Between what is thought and what is said: another colour, an empty line. */
static void set_thinking(struct chat *chat, bool thinking)
{
    if (chat->thinking == thinking)
        return;
    chat->thinking = thinking;
    if (!thinking)
        fputs("\n\n", stdout);
    if (chat->colour)
        fputs(thinking ? DIM : PLAIN, stdout);
}

static void print_text(void *ctx, const char *text, size_t len)
{
    set_thinking(ctx, false);
    print_plain(text, len);
    fflush(stdout);
}

static void print_reasoning(void *ctx, const char *text, size_t len)
{
    set_thinking(ctx, true);
    print_plain(text, len);
    fflush(stdout);
}

static void take_times(struct chat *chat, const struct chat_stream *stream)
{
    double seconds = (double)(stream->last_ns - stream->first_ns) / 1e9;
    int64_t tokens =
        stream->completion_tokens >= 0 ? stream->completion_tokens : (int64_t)stream->pieces;
    if (!stream->first_ns)
        return;
    chat->last = (struct chat_times){
        .first_ms = (double)(stream->first_ns - stream->start_ns) / 1e6,
        .per_s = tokens > 1 && seconds > 0 ? (double)(tokens - 1) / seconds : 0,
        .tokens = tokens,
        .prompt = stream->prompt_tokens,
        .cached = stream->cached_tokens,
    };
}

static void print_times(const struct chat *chat)
{
    const struct chat_times *last = &chat->last;
    if (last->tokens == 0)
        return;
    printf("%s[first token after %.0f ms", chat->colour ? DIM : "", last->first_ms);
    if (last->per_s > 0)
        printf(", then %.1f tokens/s", last->per_s);
    printf("; %lld tokens", (long long)last->tokens);
    if (last->prompt >= 0)
        printf(", prompt %lld", (long long)last->prompt);
    if (last->cached >= 0)
        printf(" (%lld cached)", (long long)last->cached);
    printf("]%s\n", chat->colour ? PLAIN : "");
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
    stream.on_reasoning = print_reasoning;
    stream.stop = &interrupted;
    add_message(chat, "user", question, strlen(question));
    TRY_OUT(request_body(chat, &body, err));
    interrupted = 0;
    chat_stream_prepare(&stream, easy, chat->config.url, "/v1/chat/completions", body,
                        chat->config.api_key);
    code = curl_easy_perform(easy);
    if (stream.answer.len || chat->thinking)
        putchar('\n');
    if (chat->thinking && chat->colour)
        fputs(PLAIN, stdout);
    chat->thinking = false;
    status = chat_stream_result(&stream, easy, code, chat->config.url, err);
    take_times(chat, &stream);
    if (status == STATUS_OK && (chat->stats || chat->config.once))
        print_times(chat);
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
    puts("/system TEXT says what the model is, /reset starts a new conversation, /stats shows "
         "times after each\n"
         "answer, /exit (or Ctrl-D) ends. Ctrl-C stops an answer.");
}

static void command_system(struct chat *chat, const char *text)
{
    text += strspn(text, " \t");
    mem_free(chat->system);
    chat->system = *text ? mem_strdup(text) : NULL;
    reset(chat);
    puts(chat->system ? "A new conversation, with this system message."
                      : "A new conversation, without a system message.");
}

/* The first time after an answer shows what that one took, too. */
static void command_stats(struct chat *chat)
{
    chat->stats = !chat->stats;
    if (chat->stats && chat->last.tokens > 0)
        print_times(chat);
    else
        puts(chat->stats ? "Times are shown after each answer." : "No more times.");
}

static void ask_and_say(struct chat *chat, const char *question)
{
    struct err err = {0};
    if (ask(chat, question, &err) == STATUS_OK)
        return;
    if (err.status == STATUS_CANCELLED)
        puts("[stopped]");
    else
        command_complain(chat_spec.program, &err);
}

/* False ends the conversation. */
static bool take_line(struct chat *chat, char *line)
{
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
    } else if (strncmp(line, "/system", 7) == 0 && (line[7] == 0 || line[7] == ' ')) {
        command_system(chat, line + 7);
    } else if (strcmp(line, "/stats") == 0) {
        command_stats(chat);
    } else if (*line == '/') {
        help();
    } else {
        ask_and_say(chat, line);
    }
    return true;
}

static char *history_path(void)
{
    char *home = config_home(), *path = NULL;
    struct err err;
    if (dir_create(home, &err) == STATUS_OK)
        path = path_join(home, "chat_history");
    mem_free(home);
    return path;
}

/* A terminal: editing, history, Ctrl-C at the prompt clears the line. */
static void talk(struct chat *chat)
{
    char *path = history_path(), *line = NULL;
    struct editor *editor;
    bool go_on = true;

    printf("%s at %s.\n", chat->model, chat->config.url);
    help();
    editor =
        editor_open(chat_spec.program, chat->colour ? "\1" BOLD "\1> \1" PLAIN "\1" : "> ", path);
    mem_free(path);
    while (editor && go_on) {
        enum editor_end end = editor_read(editor, &interrupted, &line);
        if (end == EDITOR_END)
            break;
        if (end == EDITOR_INTERRUPT)
            continue;
        go_on = take_line(chat, line);
        mem_free(line);
    }
    editor_close(editor);
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
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    chat->colour =
        isatty(STDOUT_FILENO) && !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
    chat->stats = chat->config.stats;
    chat->system = chat->config.system ? mem_strdup(chat->config.system) : NULL;
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
    mem_free(chat.system);
    config_release(&chat_spec, &chat.config);
    return status == STATUS_OK ? 0 : status == STATUS_CANCELLED ? 130 : 1;
}
