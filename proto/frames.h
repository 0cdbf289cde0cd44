/* frames - the wire as plain structs. proto/PROTOCOL.md is normative; this is its C face.
 *
 *        router (ROUTER, bound)                    worker (DEALER, one per router)
 *              │ ◄────────────── HELLO ──────────────── │   who I am, what I serve
 *              │ ─────────────── WELCOME ─────────────► │   or ERROR + BYE: refused, and why
 *              │ ◄──────── SNAPSHOT, CACHE… ─────────── │   every page stored and dropped
 *              │ ◄──────────── LOAD … ───────────────── │   every 100 ms and on change: also the heartbeat
 *              │ ───────── GENERATE, CANCEL ──────────► │
 *              │ ◄──────── TOKENS, ERROR ────────────── │   one TOKENS a step
 *              │ ◄────────────── DRAIN ──────────────── │   no new work, please (either way)
 *              │ ◄────────────── BYE ────────────────── │   either side leaves
 *
 * Decoded frames are views: pointers go into the received message and die with it, except small
 * arrays, which lie in the decoder's arena. Encoders append to a struct buf.
 */
#ifndef MSGL_PROTO_FRAMES_H
#define MSGL_PROTO_FRAMES_H

#include "common/buf.h"
#include "common/sampling.h"
#include "common/status.h"

#define PROTO_VERSION              1
#define PROTO_FRAME_BYTES_MAX      (64u << 20)
#define PROTO_PROMPT_TOKENS_MAX    (4u << 20)
#define PROTO_NAME_BYTES_MAX       256
#define PROTO_REQUEST_ID_BYTES_MAX 128
#define PROTO_TRACE_BYTES_MAX      64
#define PROTO_TEXT_BYTES_MAX       1024
#define PROTO_TOKEN_ITEMS_MAX      65536      /* reqs in one TOKENS */
#define PROTO_RUNS_MAX             65536      /* runs in one CACHE or SNAPSHOT */
#define PROTO_PAGES_MAX            (4u << 20) /* hashes in one CACHE or SNAPSHOT */
#define PROTO_STOP_IDS_MAX         64

#define FRAME_LIST(X)                                                                              \
    X(HELLO, 1)                                                                                    \
    X(WELCOME, 2)                                                                                  \
    X(GENERATE, 3)                                                                                 \
    X(CANCEL, 4)                                                                                   \
    X(TOKENS, 5)                                                                                   \
    X(ERROR, 6)                                                                                    \
    X(CACHE, 7)                                                                                    \
    X(SNAPSHOT, 8)                                                                                 \
    X(LOAD, 9)                                                                                     \
    X(DRAIN, 10)                                                                                   \
    X(BYE, 11)

enum frame_type {
#define X(name, number) FRAME_##name = number,
    FRAME_LIST(X)
#undef X
};

/* Token ids on the wire: little-endian u32, not aligned. Copy before use. */
struct token_view {
    const unsigned char *data;
    uint32_t count;
};

/* A req's name: unique for the life of both processes. */
struct req_key {
    uint64_t epoch; /* of the router, random per start */
    uint64_t call;
    uint32_t choice;
    uint32_t attempt; /* rises each time a router sends the choice to a worker (retry, resume) */
};

struct frame_hello {
    uint32_t version;
    struct str worker;       /* stable name, "worker-0" */
    uint64_t epoch;          /* of the worker, random per start */
    uint64_t session;        /* of this link, rises each time the worker starts over on it */
    struct str model;        /* name that clients use */
    uint64_t fingerprint;    /* model_fingerprint(config.json, tokenizer.json) */
    uint64_t tokenizer_hash; /* hash_bytes(tokenizer.json) */
    uint64_t weights_hash;   /* of the weights' headers and sizes, or of the dummy seed */
    uint32_t page_size;
    uint32_t length_max; /* min(context, tokens the pool can hold) */
    uint32_t pages;
    uint32_t tp;
    uint32_t slots;    /* credits: reqs a router may have here, running and waiting */
    uint32_t features; /* enum feature: what reqs may ask beyond drawing tokens */
};

struct frame_welcome {
    uint32_t version;
    struct str router;
    uint64_t epoch;   /* of the router */
    uint64_t session; /* of the HELLO that it answers */
    bool want_snapshot;
    uint32_t gather_ms; /* tokens may wait so long for more; not a req's first, nor its end */
};

struct frame_generate {
    struct req_key key;
    struct token_view tokens;   /* prompt, then the n_generated tokens of earlier attempts */
    uint32_t n_prompt;          /* tokens.count == n_prompt + tokens generated so far */
    uint32_t tokens_max;        /* to generate in all, earlier attempts included */
    uint32_t tokens_min;        /* stop tokens are banned before so many are generated */
    struct token_view stop_ids; /* end-of-sequence ids; generation ends after one of them */
    bool ignore_eos;
    struct sampling sampling; /* choice is key.choice: sent once, decoded into both */
    uint64_t namespace_hash;  /* 0 = common */
    int32_t priority;         /* higher first; 0 */
    uint64_t deadline_ms;     /* from receipt; 0 = none */
    uint32_t logprobs;        /* 0 = off, else 1 + alternatives, of all that comes back */
    uint32_t score_from;      /* prompt tokens from this index on are scored too; 0 = none */
    struct str bias;          /* packed (u32 id, f32 value) pairs */
    struct str automaton;     /* common/automaton.h; empty = none */
    struct str request_id;    /* for logs; empty = none */
    struct str trace_parent;  /* W3C traceparent; empty = none */
};

struct frame_cancel {
    struct req_key key;
};

enum finish { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCEL, FINISH_ERROR };

struct tokens_item {
    struct req_key key;       /* its epoch is the frame's: the decoder fills it in */
    uint32_t first;           /* index of tokens[0] among the choice's generated tokens, from 0 */
    struct token_view tokens; /* usually one; may be empty with a finish */
    uint32_t finish;          /* enum finish */
    /* prompt tokens that were not computed; in the item with first == start */
    uint32_t cached_tokens;
    /* With GENERATE's logprobs = 1 + n: a log probability a token, and its n alternatives. */
    struct str logprobs;       /* packed f32, as many as tokens */
    struct token_view top_ids; /* n for each of tokens, likeliest first */
    struct str top_logprobs;   /* packed f32, as top_ids */
    uint32_t score_first;      /* prompt index of the first score in this item */
    struct str scores;         /* packed f32: log probabilities of prompt tokens from there on */
    struct token_view score_ranks;   /* 1 = the likeliest; as many as scores, or none */
    struct token_view score_top_ids; /* n for each score */
    struct str score_top_logprobs;
};

struct frame_tokens {
    uint64_t epoch; /* of the addressed router; every item's key.epoch */
    uint64_t step;
    struct tokens_item *items; /* decoder's arena */
    uint32_t item_count;
};

/* With key.epoch != 0: that req failed here. With 0: the whole connection (refused HELLO). */
struct frame_error {
    struct req_key key;
    uint32_t status; /* enum status */
    struct str text;
};

/* One chain of pages: parent hash, then hashes in order. `removed` runs have no parent (0). */
struct page_run {
    uint64_t parent;
    const unsigned char *hashes; /* little-endian u64, not aligned */
    uint32_t count;
    bool removed;
};

/* CACHE: changes since seq - 1. SNAPSHOT: everything as of seq. (epoch, seq) order them; within a
 * frame runs apply in order. */
struct frame_cache {
    uint64_t epoch; /* of the worker */
    uint64_t seq;
    struct page_run *runs; /* decoder's arena */
    uint32_t run_count;
};

/* Sent empty by a router to ask for one; otherwise as frame_cache, possibly in several parts. */
struct frame_snapshot {
    bool request;
    uint32_t part, part_count; /* parts 0..part_count-1 of one snapshot, in order */
    struct frame_cache cache;
};

struct frame_load {
    uint64_t epoch;    /* of the worker */
    uint64_t step;     /* steps completed: progress */
    uint64_t received; /* GENERATE frames taken from the addressed router in this session */
    uint32_t running;
    uint32_t waiting;
    uint64_t pending_prefill_tokens;
    uint64_t decode_tokens; /* context tokens of running reqs: what a decode step reads */
    uint32_t pages_free;    /* free + evictable */
    uint32_t slots_free;    /* credits left, over all routers */
    uint32_t step_ms_bound; /* longest time the step in flight should take; 0 = idle */
    bool draining;
    uint64_t retractions; /* since start: reqs sent back to waiting for want of pages */
};

struct frame_drain {
    bool draining;
};

struct frame_bye {
    struct str reason;
};

struct frame {
    enum frame_type type;
    union {
        struct frame_hello hello;
        struct frame_welcome welcome;
        struct frame_generate generate;
        struct frame_cancel cancel;
        struct frame_tokens tokens;
        struct frame_error error;
        struct frame_cache cache;
        struct frame_snapshot snapshot;
        struct frame_load load;
        struct frame_drain drain;
        struct frame_bye bye;
    };
};

/* Limits of fields that hold packed bytes. */
#define PROTO_BIAS_BYTES_MAX      (8u * SAMPLING_BIAS_MAX)
#define PROTO_SCORE_BYTES_MAX     (16u << 20)
#define PROTO_AUTOMATON_BYTES_MAX (16u << 20)

/* Times that both sides agree on; PROTOCOL.md "Liveness". */
#define PROTO_HELLO_EVERY_MS   1000 /* until WELCOME */
#define PROTO_REFUSED_EVERY_MS 5000 /* after a refusal */
#define PROTO_LOAD_EVERY_MS    100
#define PROTO_WELCOME_EVERY_MS 500  /* the router's heartbeat */
#define PROTO_WORKER_DEAD_MS   2000 /* no frame for this long */
#define PROTO_ROUTER_DEAD_MS   3000

/* Copies view to out[view.count]. */
void token_view_copy(struct token_view view, uint32_t *out);
/* A view of native tokens (little-endian hosts only, which is all we build for). */
struct token_view token_view_of(const uint32_t *tokens, uint32_t count);
uint64_t page_run_hash(const struct page_run *run, uint32_t i);

#endif
