/* params_table - every parameter that the API knows, one row each: what parses it, what refuses it,
 * what the documents say about it. params.c walks the rows over a request body; docs/API.md's table
 * and /openapi.json are printed from the same rows, so that none of the three can drift.
 *
 *   row ─┬─► kind, offset, range ─► struct params            (honoured)
 *        ├─► parse()             ─► struct params            (honoured, with rules of its own)
 *        ├─► harmless values, all others are a 400 by name   (refused)
 *        └─► schema, fallback, text ─► docs/API.md, /openapi.json
 */
#ifndef MSGL_ROUTER_API_PARAMS_TABLE_H
#define MSGL_ROUTER_API_PARAMS_TABLE_H

#include "router/api/params.h"

/* Where a row is known. */
enum param_place {
    PLACE_CHAT = 1,
    PLACE_COMPLETIONS = 2,
    PLACE_GENERATE = 4, /* the body of /generate */
    PLACE_SAMPLING = 8, /* its sampling_params */
    PLACE_TOKENIZE = 16,
    PLACE_DETOKENIZE = 32,
};

enum param_kind {
    PARAM_BOOL,
    PARAM_U32,
    PARAM_I32,
    PARAM_F32,
    PARAM_CUSTOM,    /* parse() */
    PARAM_ELSEWHERE, /* read where the prompt is made */
    PARAM_NOTED,     /* taken, and by its nature without effect here */
    PARAM_REFUSED,
};

/* Which values of a refused row ask for nothing, so that it may stand there. */
enum harmless {
    HARMLESS_NONE,   /* null only */
    HARMLESS_FALSE,  /* null, false */
    HARMLESS_TRUE,   /* null, true */
    HARMLESS_ZERO,   /* null, 0 */
    HARMLESS_ONE,    /* null, 1 */
    HARMLESS_EMPTY,  /* null, "", [], {} */
    HARMLESS_TEXT,   /* null, {"type": "text"} */
    HARMLESS_MODES,  /* null, ["text"] */
    HARMLESS_MINUS,  /* null, -1 */
    HARMLESS_CHOICE, /* null, "auto", "none" */
    HARMLESS_TIER,   /* null, "auto", "default" */
    HARMLESS_MEDIUM, /* null, "medium" */
};

struct param {
    const char *name;
    unsigned places; /* PLACE_* */
    enum param_kind kind;
    const char *schema;   /* JSON schema without its range; "" for a refused row */
    const char *fallback; /* the default, in words; "" for none */
    const char *text;     /* what it does, or what to use instead */
    size_t offset;        /* in struct params */
    double min, max;      /* of numbers; max == 0: none */
    enum harmless harmless;
    enum status (*parse)(const json_t *body, const char *name, const json_t *value,
                         struct arena *arena, struct params *out, struct api_error *error);
};

extern const struct param params_table[];
extern const size_t params_table_count;

/* One place's rows over an object. */
enum status MUST_USE params_parse_place(const json_t *body, enum param_place place,
                                        struct arena *arena, struct params *out,
                                        struct api_error *error);

/* Appends docs/API.md's table. */
void params_markdown(struct buf *out);
/* Appends the JSON schema of the rows of one place: {"type":"object","properties":…}. */
void params_schema(enum param_place place, struct buf *out);

#endif
