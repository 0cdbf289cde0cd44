/* params - what a request body asks for, checked. Nothing is dropped in silence: a field that the API
 * knows and this server does not honour is UNSUPPORTED and named; null means absent; fields that
 * nobody knows are ignored. Pure; any thread. */
#ifndef MSGL_ROUTER_PARAMS_H
#define MSGL_ROUTER_PARAMS_H

#include "common/arena.h"
#include "common/json.h"
#include "common/sampling.h"
#include "proto/frames.h"
#include "router/stop.h"

enum api_kind { API_CHAT, API_COMPLETIONS };

struct api_error {
    struct err err;
    const char *param; /* static or in the call's arena; NULL */
    const char *code;  /* "model_not_found"; NULL: the HTTP status */
};
enum status api_fail(struct api_error *error, enum status status, const char *param,
                     const char *format, ...) PRINTF_LIKE(4, 5);

struct params {
    enum api_kind kind;
    bool stream, include_usage, continuous_usage;
    bool echo;
    bool ignore_eos, skip_special, include_stop;
    int add_special; /* -1: not said */
    uint32_t n;
    uint32_t tokens_max; /* 0: not said */
    uint32_t tokens_min;
    struct sampling sampling; /* choice is filled in later */
    uint32_t stop_ids[PROTO_STOP_IDS_MAX];
    uint32_t stop_id_count;
    struct str stops[STOP_STRINGS_MAX]; /* in the arena */
    uint32_t stop_count;
    struct str salt; /* cache_salt, in the arena; empty: none */
    int32_t priority;
};

/* *out holds the sampling defaults on entry. The seed is left alone when the body names none. */
enum status MUST_USE params_parse(const json_t *body, enum api_kind kind, struct arena *arena,
                                  struct params *out, struct api_error *error);

/* Refuses what is known but not done here. */
enum status MUST_USE params_refuse(const json_t *body, enum api_kind kind, struct api_error *error);

#endif
