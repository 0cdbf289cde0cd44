/* params - what a request body asks for, checked. Nothing is dropped in silence: a field that the API
 * knows and this server does not honour is UNSUPPORTED and named, and so is one that is in no row of
 * the table, unless `ignore_unknown` is set; null means absent. Pure; any thread. */
#ifndef MSGL_ROUTER_API_PARAMS_H
#define MSGL_ROUTER_API_PARAMS_H

#include "common/arena.h"
#include "common/json.h"
#include "common/sampling.h"
#include "proto/frames.h"
#include "router/text/stop.h"

enum api_kind { API_CHAT, API_COMPLETIONS, API_GENERATE, API_TOKENIZE, API_DETOKENIZE };

struct api_error {
    struct err err;
    const char *param; /* static or in the call's arena; NULL */
    const char *code;  /* "model_not_found"; NULL: the HTTP status */
};
enum status api_fail(struct api_error *error, enum status status, const char *param,
                     const char *format, ...) PRINTF_LIKE(4, 5);

struct token_bias {
    uint32_t id;
    float value;
};

/* What an answer must look like; the JSON is the body's, and dies with it. */
enum grammar_kind {
    GRAMMAR_NONE,
    GRAMMAR_OBJECT,
    GRAMMAR_SCHEMA,
    GRAMMAR_REGEX,
    GRAMMAR_CHOICE,
    GRAMMAR_WITHOUT, /* anything but these strings */
    GRAMMAR_IDS,     /* these tokens only */
    GRAMMAR_TOOLS
};

enum tool_choice { TOOL_AUTO, TOOL_OFF, TOOL_REQUIRED, TOOL_NAMED };

struct params {
    enum api_kind kind;
    enum grammar_kind grammar;
    const json_t *grammar_of; /* schema, expression or choices */
    const char *grammar_param;
    const json_t *tools; /* the body's; NULL */
    enum tool_choice tool_choice;
    const char *tool_name;       /* NAMED: in the arena */
    const json_t *allowed_tools; /* those that tool_choice lists; NULL: all */
    bool parallel_calls, separate_reasoning, include_reasoning;
    bool plain_events;   /* /generate as mini-sglang has it: text lines */
    bool token_texts;    /* /tokenize: the tokens' strings too */
    bool logprob_texts;  /* /generate: in log probabilities */
    bool ignore_unknown; /* set by the caller: --unknown-fields ignore */
    bool want_logprobs;  /* /generate, while parsing */
    bool stream, include_usage, continuous_usage;
    bool echo;
    bool ignore_eos, skip_special, include_stop;
    int add_special, generation_prompt; /* -1: not said */
    bool continue_final;
    bool stream_options, tokens_as_ids, return_ids;
    /* so many of the prompt's tokens; 0: all; UINT32_MAX: what the context holds */
    uint32_t truncate;
    bool truncate_right;     /* keep the first ones, not the last */
    const char *tokens_none; /* the parameter that asks for no token at all; NULL */
    uint32_t n;
    uint32_t tokens_max; /* 0: not said */
    uint32_t tokens_min;
    struct sampling sampling; /* choice is filled in later */
    uint32_t stop_ids[PROTO_STOP_IDS_MAX];
    uint32_t stop_id_count;
    struct str stops[STOP_STRINGS_MAX]; /* in the arena */
    uint32_t stop_count;
    struct token_bias *bias; /* in the arena */
    uint32_t bias_count;
    uint32_t logprobs;        /* 0 = none, else 1 + alternatives */
    uint32_t prompt_logprobs; /* of the prompt's tokens, where not told by echo: as logprobs */
    uint32_t prompt_from;     /* /generate: the first of them that is told */
    const char *prompt_logprobs_param;
    uint32_t top_logprobs; /* while parsing */
    struct str salt;       /* cache_salt, in the arena; empty: none */
    int32_t priority;
};

/* What workers are asked for, which is the larger of the two: 0 = none, else 1 + alternatives. */
static inline uint32_t params_scores(const struct params *params)
{
    return MAX(params->logprobs, params->prompt_logprobs);
}

/* The prompt's tokens are to be scored: it is computed anew, past the cache. */
static inline bool params_score_prompt(const struct params *params)
{
    return params->prompt_logprobs > 0 || (params->echo && params->logprobs > 0);
}

/* The parameter for which a worker must have the feature; NULL when there is none. */
const char *params_needs(const struct params *params, enum feature feature);

/* *out holds the sampling defaults on entry. The seed is left alone when the body names none. */
enum status MUST_USE params_parse(const json_t *body, enum api_kind kind, struct arena *arena,
                                  struct params *out, struct api_error *error);

#endif
