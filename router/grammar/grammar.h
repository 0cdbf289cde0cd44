/* grammar - what an answer must look like, compiled to an automaton over bytes (common/automaton.h).
 *
 *   regex ──────► grammar_regex ──┐
 *   JSON schema ► grammar_schema ─┼─► struct nfa ─► grammar_dfa ─► bytes of an automaton
 *   choices, words ───────────────┘
 *
 * What is compiled may be narrower than what was asked, never wider: every text that the automaton
 * lets pass is valid. What cannot be done so is UNSUPPORTED, with the keyword's name. Pure; any thread.
 */
#ifndef MSGL_ROUTER_GRAMMAR_GRAMMAR_H
#define MSGL_ROUTER_GRAMMAR_GRAMMAR_H

#include <jansson.h>

#include "common/buf.h"
#include "common/status.h"

/* The whole answer matches the expression. */
enum status MUST_USE grammar_from_regex(struct str regex, struct buf *out, struct err *err);
/* The answer is one of the strings of the list. */
enum status MUST_USE grammar_from_choices(const json_t *choices, struct buf *out, struct err *err);
/* The answer holds none of the strings; anything else may come. */
enum status MUST_USE grammar_without(const json_t *words, struct buf *out, struct err *err);
/* No other tokens than those of the list, each an id below vocab, come: no automaton but a list. */
enum status MUST_USE grammar_from_ids(const json_t *ids, uint32_t vocab, struct buf *out,
                                      struct err *err);
/* The answer is JSON that the schema takes; NULL: any object. */
enum status MUST_USE grammar_from_schema(const json_t *schema, struct buf *out, struct err *err);

/* Calls of tools: begin, a JSON object that names a tool and holds arguments that its schema takes,
 * end; several, with `between`, where parallel. */
struct grammar_tools {
    const json_t *tools; /* OpenAI's list */
    const char *only;    /* NULL: any of them */
    struct str begin, end, between;
    const char *name_key, *arguments_key; /* "name", "arguments" or "parameters" */
    struct str behind_name;               /* empty, or what makes it NAME behind_name {arguments} */
    bool parallel;
};
enum status MUST_USE grammar_from_tools(const struct grammar_tools *tools, struct buf *out,
                                        struct err *err);

#endif
