/* stream - one choice of a call: which worker runs it, its tokens, its text.
 *
 *   QUEUED ──dispatch──► RUNNING ──finish, stop string──► DONE
 *      ▲                    │
 *      └── worker lost, gap, or worker error: attempt + 1, goes on behind the tokens so far
 *
 * A req on a worker is (call, choice, attempt). What arrives of an older attempt is dropped. The
 * tokens stay here, so that another worker can go on as if nothing had happened.
 */
#ifndef MSGL_ROUTER_STREAM_H
#define MSGL_ROUTER_STREAM_H

#include "router/api/scores.h"
#include "router/call.h"
#include "router/text/detokenizer.h"
#include "router/text/stop.h"

/* A call that workers die of must not take them all down: so many losses, and it fails. Losses of
 * workers that drain do not count, and STREAM_PROGRESS tokens since the last one forgive the rest. */
#define STREAM_FAILURES_MAX 8
#define STREAM_PROGRESS     64

enum stream_state { STREAM_QUEUED, STREAM_RUNNING, STREAM_DONE };

struct stream {
    struct call *call;
    struct prompt *prompt;
    uint32_t choice;
    uint32_t attempt;
    enum stream_state state;
    struct list queue_node, lane_node; /* in router->queue while QUEUED */
    struct list worker_node;           /* in worker->streams while RUNNING */
    struct worker *worker;             /* while RUNNING */
    uint32_t expected_pages; /* of prompt->hashes, entered in prefix_index for this worker */
    /* of the prompt: being computed there for another stream, see fleet.h */
    uint32_t shared_tokens;
    uint64_t queued_ms;   /* since when it waits */
    bool lost;            /* it waits because a worker failed it */
    uint64_t avoid_epoch; /* the worker that failed it last; 0 none */
    uint32_t failures;
    size_t failed_at; /* tokens at the last loss that counted */
    uint32_t tokens_max;
    struct token_list tokens;    /* generated */
    struct scores scores;        /* of tokens, when asked for */
    struct scores prompt_scores; /* of the prompt's from its second token on: when asked for */
    uint32_t told;               /* tokens that chunks have named, with echo the prompt's too */
    struct detokenizer detokenizer;
    struct stop stop;
    struct answer answer; /* with prompt->parses */
    struct buf text;      /* whole (not streaming), else scratch */
    uint32_t cached_tokens;
    bool cached_known;
    bool spoke;         /* the first chunk, with the role, is out */
    const char *finish; /* "stop", "length"; NULL while it runs */
};

void stream_init(struct stream *stream, struct call *call, uint32_t choice);
void stream_release(struct stream *stream); /* cancels it wherever it is */

/* Tokens that the answer's text is made of so far, with echo the prompt's too. */
static inline uint32_t stream_told(const struct stream *stream)
{
    size_t prompt = stream->call->params.echo ? stream->prompt->tokens.count : 0;
    return (uint32_t)(prompt + stream->tokens.count);
}

/* What a worker says about the stream. Each may free the call. */
void stream_tokens(struct stream *stream, const struct tokens_item *item);
void stream_error(struct stream *stream, const struct frame_error *error);
/* The attempt is lost; the stream waits for another worker, at the head of the queue. `blame`: the
 * stream may be the cause. */
void stream_lost(struct stream *stream, const char *reason, bool blame);

/* dispatch.c */
enum dispatch { DISPATCH_SENT, DISPATCH_FULL, DISPATCH_NOWHERE };
enum dispatch stream_dispatch(struct stream *stream);
void stream_detach(struct stream *stream);  /* off its worker: the one place where load goes down */
void stream_unshare(struct stream *stream); /* its prefill is over */

/* Of all prompts, what nobody had to compute for this call: a prompt with n choices counts once, and
 * the choice that came first computed it for the others. Of those that have begun. */
uint64_t streams_cached_tokens(const struct call *call);

#endif
