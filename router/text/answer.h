/* answer - what a chat model wrote, taken apart as it comes: thinking, text, calls of tools.
 *
 *   "<think>a</think>b<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>"
 *      └─ reasoning a ─┘└ content b      └─ call f, arguments {"x": 1}, in pieces
 *
 *   START ─► REASONING ─► CONTENT ◄──► CALL ◄─► AFTER          what may become a mark is held back
 *
 * The formats are those of the model families' own templates:
 *   hermes   <tool_call>{"name": …, "arguments": …}</tool_call>, again for each call (Qwen, Hermes)
 *   llama    {"name": …, "parameters": …} alone, or behind <|python_tag|> (Llama 3.x)
 *   mistral  [TOOL_CALLS][{"name": …, "arguments": …}, …]
 *            and the newer [TOOL_CALLS]name[ARGS]{…}, again for each call; both are read
 * What begins like a call and is none stays content. Arguments are the model's own bytes. Loop thread.
 */
#ifndef MSGL_ROUTER_TEXT_ANSWER_H
#define MSGL_ROUTER_TEXT_ANSWER_H

#include "router/text/answer_scan.h"

enum tool_format { TOOLS_NONE, TOOLS_HERMES, TOOLS_LLAMA, TOOLS_MISTRAL, TOOLS_MISTRAL_ARGS };
static inline bool tools_mistral(enum tool_format format)
{
    return format == TOOLS_MISTRAL || format == TOOLS_MISTRAL_ARGS;
}

struct answer_call {
    struct buf name, arguments;
    bool named;  /* its name is known: it may be told of */
    bool told;   /* a chunk has told its name */
    size_t sent; /* bytes of arguments that chunks have told */
};

enum answer_state { ANSWER_START, ANSWER_REASONING, ANSWER_CONTENT, ANSWER_CALL, ANSWER_AFTER };

struct answer_opts {
    enum tool_format format;
    bool reasoning; /* <think> is a mark */
    bool thinking;  /* the prompt has opened it already */
    bool calling;   /* a grammar makes the answer begin with a call's text */
    bool forced;    /* a grammar lets nothing but calls pass: what is cut off is no text */
    bool one_call;  /* what follows the first is dropped */
};

struct answer { /* answer_init; release */
    struct answer_opts opts;
    enum answer_state state;
    struct buf held;               /* not decided yet */
    struct buf content, reasoning; /* decided; whoever tells them to a client clears them */
    struct buf raw;                /* of the call being read */
    bool raw_named;                /* it is in calls already */
    struct buf mark;               /* what stood in front of it, untold: space, its mark */
    bool bare_name;                /* it is of the form name[ARGS]{…} */
    struct answer_place place;     /* in raw: where its arguments are read on; value 0: nowhere */
    struct answer_call *calls;
    uint32_t call_count;
    uint32_t no_calls; /* beginnings of calls that were none */
    bool spoke;        /* there was content: llama's bare calls come first or not at all */
    bool over;         /* one_call, and it is complete */
};

void answer_init(struct answer *answer, const struct answer_opts *opts);
void answer_push(struct answer *answer, const char *text, size_t len);
void answer_finish(struct answer *answer);         /* the end: what is held is decided */
bool answer_has_news(const struct answer *answer); /* something to tell */
void answer_told(struct answer *answer);           /* all of it was told */
void answer_release(struct answer *answer);

#endif
