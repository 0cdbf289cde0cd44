/* call - one generation request of a client, from its body to the last byte of the answer.
 *
 *   begun ──► prepared (JSON, template, tokens; on a thread when large) ──► admitted ──► streams run
 *     │              │                                                 │         │
 *     └──────────────┴── error: JSON with its status ──────────────────┘         ├─► all ended: answer
 *                                                                                ├─► failed: error or event
 *                                                                                └─► client gone: CANCEL
 *
 * A grammar is always made on a thread. A call owns its streams, one a choice. It is freed at exactly
 * one place, call_free(), which takes every stream off its worker. All memory is the call's arena or
 * released there.
 */
#ifndef MSGL_ROUTER_CALL_H
#define MSGL_ROUTER_CALL_H

#include "router/api/prompt.h"
#include "router/router.h"
#include "router/trace.h"

struct stream;

struct call {
    struct arena arena; /* holds this struct too */
    struct router *router;
    struct http_exchange *exchange; /* NULL: the client left */
    struct list node;
    uint64_t id;   /* 0 until admitted */
    char name[48]; /* "chatcmpl-…" */
    uint64_t created_s, began_ns;
    uint64_t first_token_ns, last_token_ns; /* 0: none yet */
    struct trace trace;
    const char *labels; /* model_name="…", for metrics; "" before there is a model */
    /* prepare */
    enum api_kind kind;
    struct str body;
    char *body_copy; /* when a thread works on it */
    json_t *json;    /* the body while it is prepared */
    uv_work_t work;
    bool working;
    struct model *model;
    struct params params;
    struct prompts prompts;
    struct buf automaton; /* what the answer must look like; empty: anything */
    enum status prepared;
    struct api_error error;
    /* run */
    struct stream *streams;
    uint32_t stream_count, stream_open;
    uint64_t namespace_hash;
    bool assumed_penalty;  /* repetition_penalty is the model's, the client gave none */
    uint32_t needs;        /* enum feature: of the workers that may run it */
    struct api_key *key;   /* who pays; NULL: nobody needs a key */
    uint32_t key_streams;  /* counted there until the call is freed */
    uint32_t retry_s;      /* Retry-After of a 429 or 503 */
    uint64_t limit_ms;     /* from began_ns on; then it ends with 504 */
    bool started;          /* the 200 is promised: errors are events from now on */
    struct str chunk_head; /* of response_begin */
    struct buf out;        /* scratch for one event or the whole answer */
};

/* Takes the exchange over. */
void call_begin(struct router *router, struct http_exchange *exchange, enum api_kind kind);
/* Answers with the error (an event when the stream has begun) and frees the call. */
void call_fail(struct call *call, const struct api_error *error);
/* A stream has new text or has ended; may free the call. `text` is what became certain. */
void call_emit(struct call *call, struct stream *stream, struct str text);
/* The client is too slow or gone: nothing more to say. Frees the call. */
void call_drop(struct call *call);

/* call_prepare.c; any thread. Sets prepared, error, model, params, prompts. False: all is well so far,
 * but there is a grammar, which call_compile() has to make: a hundred letters may take half a second. */
bool MUST_USE call_prepare(struct call *call);
void call_compile(struct call *call);

#endif
