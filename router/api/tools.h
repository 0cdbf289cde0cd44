/* tools - how a model's family calls tools and thinks, found out once, and what a call asks of that. */
#ifndef MSGL_ROUTER_API_TOOLS_H
#define MSGL_ROUTER_API_TOOLS_H

#include "router/api/params.h"
#include "router/models.h"
#include "router/text/answer.h"
#include "router/text/detokenizer.h"

#define TOOL_FORMATS "auto|none|hermes|llama|mistral|mistral-args"

/* Sets model->tools, takes_tools and thinks. Renders the chat template with and without a tool and
 * looks for the families' marks; `format` other than auto (0) and `thinking` off decide instead. */
void tools_probe(struct model *model, uint32_t format, bool thinking);

/* Leaves of the body's tools, and of params->tools, those that tool_choice allows. */
enum status MUST_USE tools_allow(json_t *body, struct params *params, struct api_error *error);
/* Checks `tools` and `tool_choice` against each other and against the model. */
enum status MUST_USE tools_check(const struct params *params, const struct model *model,
                                 struct api_error *error);
/* The automaton of a required or named call. */
enum status MUST_USE tools_grammar(const struct params *params, const struct model *model,
                                   struct buf *out, struct err *err);
/* How the answer is taken apart. False: not at all. `prompt`: the rendered text's end. */
bool tools_answer_opts(const struct params *params, const struct model *model, struct str prompt,
                       struct answer_opts *out);
/* Many files call the marks special tokens, which clients do not want to see: the answer must. */
void tools_keep_marks(const struct model *model, const struct answer_opts *opts,
                      struct detokenizer *detokenizer);

#endif
