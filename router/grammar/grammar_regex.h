/* grammar_regex - expressions as JSON schemas, vLLM and SGLang write them, put into an nfa.
 *
 * Literals, `.`, classes, \d \w \s \D \W \S, \n \t \r \f \v \0 \xHH \uHHHH, groups, (?:…), |, *, +, ?,
 * {m}, {m,}, {m,n}; a lazy `?` behind a quantifier changes nothing that matches. Anchors only where
 * they say nothing (^ first, $ last). Back references, look-around and \b are refused. */
#ifndef MSGL_ROUTER_GRAMMAR_GRAMMAR_REGEX_H
#define MSGL_ROUTER_GRAMMAR_GRAMMAR_REGEX_H

#include "common/arena.h"
#include "router/grammar/grammar_nfa.h"

struct regex_node;

struct regex {
    const struct regex_node *root;
    bool from_start, to_end; /* ^ and $ were there */
};

/* Nodes lie in the arena. INVALID: no expression; UNSUPPORTED: a part that is not done. */
enum status MUST_USE regex_parse(struct str text, struct arena *arena, struct regex *out,
                                 struct err *err);

/* In a JSON string a code point is written as JSON writes it. Returns the end state. */
uint32_t regex_put(struct nfa *nfa, uint32_t from, const struct regex_node *node, bool json);
/* A JSON string's text that matches, anywhere but for ^ and $, and has min to max code points; max
 * UINT32_MAX: no end. NFA_NONE: there is none. What would take too much makes the nfa too_large. */
uint32_t regex_put_json_text(struct nfa *nfa, uint32_t from, const struct regex *regex,
                             uint32_t min, uint32_t max);
/* A code point of a JSON string: raw, \", \\, \n, …, \uHHHH. */
uint32_t regex_put_json_char(struct nfa *nfa, uint32_t from);
/* One of those that are more than a byte: all but ASCII as it stands. */
void regex_put_json_rare(struct nfa *nfa, uint32_t from, uint32_t to);

#endif
