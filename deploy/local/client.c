#include "deploy/local/client.h"

#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/mem.h"

#define BODY_BYTES_MAX (1u << 20)
#define LINE_BYTES_MAX (16u << 20)

/* "http://host:port" and "http://host:port/v1/" name the same server. */
static char *full_url(const char *base, const char *path)
{
    struct buf url = {0};
    size_t len = strlen(base);

    while (len && base[len - 1] == '/')
        len--;
    if (len > 3 && memcmp(base + len - 3, "/v1", 3) == 0)
        len -= 3;
    buf_append(&url, base, len);
    buf_str(&url, path);
    return url.data;
}

static bool is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 ||
           strncmp(host, "[::1]", 5) == 0;
}

static struct curl_slist *common_setup(CURL *easy, const char *url, const char *api_key)
{
    struct curl_slist *headers = NULL;

    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (is_loopback(url))
        curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    if (api_key) {
        struct buf line = {0};
        buf_printf(&line, "Authorization: Bearer %s", api_key);
        headers = curl_slist_append(headers, line.data);
        buf_release(&line);
    }
    return headers;
}

void chat_stream_init(struct chat_stream *stream, client_text on_text, void *ctx)
{
    memset(stream, 0, sizeof(*stream));
    stream->on_text = on_text;
    stream->ctx = ctx;
    stream->prompt_tokens = stream->completion_tokens = stream->cached_tokens = -1;
}

void chat_stream_release(struct chat_stream *stream)
{
    buf_release(&stream->line);
    buf_release(&stream->body);
    buf_release(&stream->answer);
    curl_slist_free_all(stream->headers);
    mem_free(stream->url);
    memset(stream, 0, sizeof(*stream));
}

static void count_text(struct chat_stream *stream)
{
    stream->last_ns = clock_now_ns();
    if (!stream->first_ns)
        stream->first_ns = stream->last_ns;
    stream->pieces++;
}

static void take_text(struct chat_stream *stream, const char *text, size_t len)
{
    if (!len)
        return;
    count_text(stream);
    buf_append(&stream->answer, text, len);
    if (stream->on_text)
        stream->on_text(stream->ctx, text, len);
}

static void take_error(struct err *err, const json_t *error)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    err_set(err, STATUS_UNAVAILABLE, "%s", message ? message : "the server reports an error");
}

/* One event: chat's delta or completions' text, usage, error. Unknown fields are left alone. */
static void take_event(struct chat_stream *stream, const char *text, size_t len)
{
    json_t *event = NULL, *choice, *delta, *piece, *usage, *error;

    if (len == 6 && memcmp(text, "[DONE]", 6) == 0) {
        stream->done = true;
        return;
    }
    if (json_parse(text, len, &event, &stream->err) != STATUS_OK)
        return;
    error = json_object_get(event, "error");
    if (json_is_object(error))
        take_error(&stream->err, error);
    choice = json_array_get(json_object_get(event, "choices"), 0);
    delta = json_object_get(choice, "delta");
    piece = delta ? json_object_get(delta, "content") : json_object_get(choice, "text");
    if (json_is_string(piece))
        take_text(stream, json_string_value(piece), json_string_length(piece));
    piece = json_object_get(delta, "reasoning_content");
    if (json_string_length(piece) > 0) {
        count_text(stream);
        if (stream->on_reasoning)
            stream->on_reasoning(stream->ctx, json_string_value(piece), json_string_length(piece));
    }
    usage = json_object_get(event, "usage");
    if (json_is_object(usage)) {
        stream->prompt_tokens = json_integer_value(json_object_get(usage, "prompt_tokens"));
        stream->completion_tokens = json_integer_value(json_object_get(usage, "completion_tokens"));
        const json_t *cached =
            json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens");
        if (json_is_integer(cached))
            stream->cached_tokens = json_integer_value(cached);
    }
    json_decref(event);
}

static void take_line(struct chat_stream *stream, const char *line, size_t len)
{
    if (len && line[len - 1] == '\r')
        len--;
    if (len >= 5 && memcmp(line, "data:", 5) == 0) {
        size_t skip = len > 5 && line[5] == ' ' ? 6 : 5;
        take_event(stream, line + skip, len - skip);
    }
}

void chat_stream_feed(struct chat_stream *stream, const char *data, size_t len)
{
    const char *end;
    while ((end = memchr(data, '\n', len))) {
        size_t part = (size_t)(end - data);
        buf_append(&stream->line, data, part);
        take_line(stream, stream->line.data, stream->line.len);
        buf_clear(&stream->line);
        data += part + 1;
        len -= part + 1;
    }
    buf_append(&stream->line, data, len);
}

static size_t on_stream_bytes(char *data, size_t size, size_t count, void *ctx)
{
    struct chat_stream *stream = ctx;
    size_t len = size * count;

    if (stream->body.len < BODY_BYTES_MAX)
        buf_append(&stream->body, data, MIN(len, (size_t)BODY_BYTES_MAX - stream->body.len));
    if (stream->line.len > LINE_BYTES_MAX)
        return 0;
    chat_stream_feed(stream, data, len);
    return len;
}

static int on_stream_progress(void *ctx, curl_off_t down_total, curl_off_t down,
                              curl_off_t up_total, curl_off_t up)
{
    const struct chat_stream *stream = ctx;
    return stream->stop && *stream->stop;
}

void chat_stream_prepare(struct chat_stream *stream, CURL *easy, const char *url, const char *path,
                         const char *body, const char *api_key)
{
    stream->url = full_url(url, path);
    stream->headers = common_setup(easy, stream->url, api_key);
    stream->headers = curl_slist_append(stream->headers, "Content-Type: application/json");
    stream->headers = curl_slist_append(stream->headers, "Expect:");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, stream->headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_stream_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, stream);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_stream_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, stream);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, stream);
    stream->start_ns = clock_now_ns();
}

/* The sentence of an OpenAI-shaped error body, or the status code when it has none. */
static enum status server_error(const struct buf *body, long http, struct err *err)
{
    json_t *json = NULL;
    struct err said = {0};

    if (json_parse(body->data ? body->data : "", body->len, &json, NULL) == STATUS_OK)
        take_error(&said, json_object_get(json, "error"));
    json_decref(json);
    return err_set(err, http == 404 ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE,
                   "the server answered %ld: %s", http,
                   said.text[0] ? said.text : "no reason given");
}

enum status chat_stream_result(const struct chat_stream *stream, CURL *easy, CURLcode code,
                               const char *url, struct err *err)
{
    long http = 0;

    if (code == CURLE_ABORTED_BY_CALLBACK)
        return err_set(err, STATUS_CANCELLED, "stopped");
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http);
    if (code == CURLE_OK && http != 200)
        return server_error(&stream->body, http, err);
    if (stream->err.text[0])
        return err_set(err, stream->err.status, "%s", stream->err.text);
    if (code != CURLE_OK)
        return err_set(err, STATUS_UNAVAILABLE, "%s: %s", url, curl_easy_strerror(code));
    if (!stream->done)
        return err_set(err, STATUS_IO, "%s: the answer ended before [DONE]", url);
    return STATUS_OK;
}

static size_t on_body_bytes(char *data, size_t size, size_t count, void *ctx)
{
    struct buf *body = ctx;
    if (body && body->len < BODY_BYTES_MAX)
        buf_append(body, data, size * count);
    return size * count;
}

enum status client_get(const char *url, const char *path, const char *api_key, long timeout_ms,
                       long *http, struct buf *body, struct err *err)
{
    CURL *easy = curl_easy_init();
    char *whole = full_url(url, path);
    struct curl_slist *headers = common_setup(easy, whole, api_key);
    enum status status = STATUS_OK;
    CURLcode code;

    *http = 0;
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    code = curl_easy_perform(easy);
    if (code == CURLE_OK)
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, http);
    else
        status = err_set(err, STATUS_UNAVAILABLE, "no server answers at %s: %s", url,
                         curl_easy_strerror(code));
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    mem_free(whole);
    return status;
}

enum status client_first_model(const char *url, const char *api_key, char **model, struct err *err)
{
    struct buf body = {0};
    json_t *json = NULL, *id;
    enum status status;
    long http;

    TRY_OUT(client_get(url, "/v1/models", api_key, 10000, &http, &body, err));
    if (http != 200) {
        status = server_error(&body, http, err);
        goto out;
    }
    TRY_OUT(json_parse(body.data ? body.data : "", body.len, &json, err));
    id = json_object_get(json_array_get(json_object_get(json, "data"), 0), "id");
    if (json_is_string(id))
        *model = mem_strdup(json_string_value(id));
    else
        status = err_set(err, STATUS_NOT_FOUND, "%s serves no model", url);
out:
    json_decref(json);
    buf_release(&body);
    return status;
}
