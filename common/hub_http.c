/* hub_http - the requests that hub.c makes: a document, and the headers of a file. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/hub_impl.h"
#include "common/mem.h"

#define DOCUMENT_BYTES_MAX (32u << 20)
#define REDIRECTS_MAX      6

void hub_prepare(struct hub *hub, const char *url)
{
    CURL *easy = hub->easy;

    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "msgl/" MSGL_VERSION);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, 15L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)hub->stall_s);
    if (hub->token) { /* libcurl drops it when a redirect leaves the host */
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, hub->token);
    }
}

enum status hub_http_error(const struct hub *hub, const char *what, long http, struct err *err)
{
    switch (http) {
    case 401:
    case 403:
        return err_set(
            err, STATUS_DENIED,
            "%s does not give out %s (HTTP %ld): is the name right? If the model is private or "
            "gated, accept its terms there and set HF_TOKEN",
            hub->endpoint, what, http);
    case 404:
        return err_set(err, STATUS_NOT_FOUND, "%s has no %s (revision %s)", hub->endpoint, what,
                       hub->revision);
    case 429:
        return err_set(err, STATUS_QUEUE_FULL, "%s refuses %s for now: too many requests",
                       hub->endpoint, what);
    default:
        return err_set(err, STATUS_IO, "%s answers HTTP %ld for %s", hub->endpoint, http, what);
    }
}

static size_t on_document(char *data, size_t size, size_t count, void *ctx)
{
    struct buf *body = ctx;
    if (body->len + size * count > DOCUMENT_BYTES_MAX)
        return 0;
    buf_append(body, data, size * count);
    return size * count;
}

enum status hub_get(struct hub *hub, const char *url, struct buf *body, struct err *err)
{
    CURLcode code;
    long http = 0;

    hub_prepare(hub, url);
    curl_easy_setopt(hub->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(hub->easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(hub->easy, CURLOPT_WRITEFUNCTION, on_document);
    curl_easy_setopt(hub->easy, CURLOPT_WRITEDATA, body);
    code = curl_easy_perform(hub->easy);
    if (code != CURLE_OK)
        return err_set(err, STATUS_IO, "cannot reach the hub at %s: %s", hub->endpoint,
                       curl_easy_strerror(code));
    curl_easy_getinfo(hub->easy, CURLINFO_RESPONSE_CODE, &http);
    return http == 200 ? STATUS_OK : hub_http_error(hub, hub->model, http, err);
}

struct head {
    struct hub_meta *meta;
    char linked_etag[HUB_NAME_MAX + 1];
    char plain_etag[HUB_NAME_MAX + 1];
    uint64_t linked_size, plain_size;
    bool has_linked_size, has_plain_size;
};

/* The value behind "name:", trimmed; NULL when the line is another header. */
static const char *header_value(const char *line, size_t len, const char *name, size_t *value_len)
{
    size_t skip = strlen(name);
    if (len < skip || strncasecmp(line, name, skip) != 0)
        return NULL;
    while (skip < len && (line[skip] == ' ' || line[skip] == '\t'))
        skip++;
    while (len > skip && strchr(" \t\r\n", line[len - 1]))
        len--;
    *value_len = len - skip;
    return line + skip;
}

/* W/"abc" and "abc" name abc. Anything that is not safe as a file name is refused (left empty). */
static void copy_etag(const char *value, size_t len, char out[HUB_NAME_MAX + 1])
{
    out[0] = 0;
    if (len > 2 && value[0] == 'W' && value[1] == '/') {
        value += 2;
        len -= 2;
    }
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value++;
        len -= 2;
    }
    if (len == 0 || len > HUB_NAME_MAX)
        return;
    for (size_t i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", value[i]) ||
            !value[i])
            return;
    memcpy(out, value, len);
    out[len] = 0;
}

static bool copy_size(const char *value, size_t len, uint64_t *out)
{
    uint64_t size = 0;
    if (len == 0 || len > 18)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        size = size * 10 + (uint64_t)(value[i] - '0');
    }
    *out = size;
    return true;
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
    struct head *head = ctx;
    size_t len = size * count, value_len;
    const char *value;

    if ((value = header_value(line, len, "x-linked-etag:", &value_len)))
        copy_etag(value, value_len, head->linked_etag);
    else if ((value = header_value(line, len, "etag:", &value_len)))
        copy_etag(value, value_len, head->plain_etag);
    else if ((value = header_value(line, len, "x-linked-size:", &value_len)))
        head->has_linked_size = copy_size(value, value_len, &head->linked_size);
    else if ((value = header_value(line, len, "content-length:", &value_len)))
        head->has_plain_size = copy_size(value, value_len, &head->plain_size);
    else if (header_value(line, len, "x-repo-commit:", &value_len))
        head->meta->from_hub = true;
    return len;
}

static enum status request_head(struct hub *hub, const char *url, struct head *head, long *http,
                                struct err *err)
{
    CURLcode code;

    hub_prepare(hub, url);
    curl_easy_setopt(hub->easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(hub->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(hub->easy, CURLOPT_HEADERDATA, head);
    head->plain_etag[0] = 0;
    head->has_plain_size = false;
    code = curl_easy_perform(hub->easy);
    if (code != CURLE_OK)
        return err_set(err, STATUS_IO, "cannot reach the hub at %s: %s", hub->endpoint,
                       curl_easy_strerror(code));
    curl_easy_getinfo(hub->easy, CURLINFO_RESPONSE_CODE, http);
    return STATUS_OK;
}

/* True when both URLs begin with the same scheme, host and port. */
static bool same_host(const char *a, const char *b)
{
    const char *host = strstr(a, "://");
    size_t len = host ? (size_t)(host + 3 - a) + strcspn(host + 3, "/?#") : 0;
    return len && strncasecmp(a, b, len) == 0 && strchr("/?#", b[len]);
}

/* Large files redirect to a store elsewhere that may refuse HEAD: their headers are in the hub's own
 * answer. Plain files may redirect within the hub: those are followed. */
enum status hub_head(struct hub *hub, const char *url, const char *file, struct hub_meta *meta,
                     struct err *err)
{
    struct head head = {.meta = meta};
    char *at = mem_strdup(url);
    enum status status;
    long http = 0;

    memset(meta, 0, sizeof(*meta));
    for (int redirects = 0; redirects < REDIRECTS_MAX; redirects++) {
        char *next = NULL;
        TRY_OUT(request_head(hub, at, &head, &http, err));
        if (http < 300 || http >= 400)
            break;
        curl_easy_getinfo(hub->easy, CURLINFO_REDIRECT_URL, &next);
        if (!next || (head.linked_etag[0] && !same_host(hub->endpoint, next)))
            break;
        next = mem_strdup(next);
        mem_free(at);
        at = next;
    }
    if (http >= 400) {
        status = hub_http_error(hub, file, http, err);
        goto out;
    }
    memcpy(meta->etag, head.linked_etag[0] ? head.linked_etag : head.plain_etag,
           sizeof(meta->etag));
    meta->size_known = head.has_linked_size || head.has_plain_size;
    meta->size_bytes = head.has_linked_size ? head.linked_size : head.plain_size;
    if (!meta->etag[0] || (http >= 300 && !head.has_linked_size))
        status = err_set(err, STATUS_CORRUPT, "%s names neither a usable ETag nor a size for %s",
                         hub->endpoint, file);
out:
    mem_free(at);
    return status;
}
