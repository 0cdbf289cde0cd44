/* client - the client's side of the OpenAI API: one GET, and one streamed chat answer.
 *
 *   POST /v1/chat/completions ─► bytes ─► lines ─► `data: {json}` ─► text, usage, finish reason, error
 *
 * A chat_stream belongs to one transfer. It may be driven by curl_easy_perform() (chat) or by a
 * multi handle (bench). Not thread-safe.
 */
#ifndef MSGL_DEPLOY_LOCAL_CLIENT_H
#define MSGL_DEPLOY_LOCAL_CLIENT_H

#include <curl/curl.h>
#include <signal.h>

#include "common/buf.h"
#include "common/status.h"

/* A piece of the answer, as it arrives. */
typedef void (*client_text)(void *ctx, const char *text, size_t len);

struct chat_stream {
    client_text on_text;      /* NULL: only counted */
    client_text on_reasoning; /* what a model thinks; NULL: only counted */
    void *ctx;
    const volatile sig_atomic_t *stop;    /* nonzero ends the transfer; may be NULL */
    struct buf line;                      /* the unfinished line */
    struct buf body;                      /* an answer that is no event stream: an error */
    struct buf answer;                    /* the text so far */
    uint64_t start_ns, first_ns, last_ns; /* first_ns 0 = no text yet */
    uint64_t pieces;                      /* events that carried text */
    int64_t prompt_tokens, completion_tokens, cached_tokens; /* from usage; -1 = not told */
    bool done;                                               /* [DONE] was seen */
    struct err err;                                          /* an error event's text */
    struct curl_slist *headers;
    char *url;
};

void chat_stream_init(struct chat_stream *stream, client_text on_text, void *ctx);
/* Sets up `easy` for `path` under the base `url`; `body` must stay valid during the transfer.
 * api_key may be NULL. */
void chat_stream_prepare(struct chat_stream *stream, CURL *easy, const char *url, const char *path,
                         const char *body, const char *api_key);
/* What came of it: OK, CANCELLED (stop), UNAVAILABLE (no server), or the server's own words. */
enum status MUST_USE chat_stream_result(const struct chat_stream *stream, CURL *easy, CURLcode code,
                                        const char *url, struct err *err);
void chat_stream_release(struct chat_stream *stream);

/* Bytes of an event stream; exposed for tests. */
void chat_stream_feed(struct chat_stream *stream, const char *data, size_t len);

/* GET; *http is the status code. UNAVAILABLE when nobody answers. body may be NULL. */
enum status MUST_USE client_get(const char *url, const char *path, const char *api_key,
                                long timeout_ms, long *http, struct buf *body, struct err *err);

/* The first model that a server names, on the heap. */
enum status MUST_USE client_first_model(const char *url, const char *api_key, char **model,
                                        struct err *err);

#endif
