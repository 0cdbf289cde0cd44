/* regex_nodes - an expression as a tree; what the parts of grammar_regex.h share.
 *
 *   grammar_regex.c  text to tree               regex_sets.c     sets of code points
 *   regex_states.c   tree to states             regex_counted.c  the same, with the length counted
 *
 *   CAT ─► a: SET spans [a-z] [0-9]
 *      └─► b: REPEAT 0.. ─► a: ALT ─► …
 *
 * Nodes and spans lie in the caller's arena.
 */
#ifndef MSGL_ROUTER_GRAMMAR_REGEX_NODES_H
#define MSGL_ROUTER_GRAMMAR_REGEX_NODES_H

#include "router/grammar/grammar_regex.h"

#define REGEX_POINT_MAX 0x10ffffu

enum node_kind { NODE_EMPTY, NODE_SET, NODE_CAT, NODE_ALT, NODE_REPEAT };

struct regex_span {
    uint32_t lo, hi; /* code points, both in it */
};

struct regex_node {
    enum node_kind kind;
    struct regex_span *spans; /* SET */
    uint32_t span_count;
    const struct regex_node *a, *b;
    uint32_t min, max; /* REPEAT; max UINT32_MAX: no end */
};

struct regex_node *regex_node_new(struct arena *arena, enum node_kind kind);

void regex_set_add(struct arena *arena, struct regex_node *set, uint32_t lo, uint32_t hi);
void regex_set_normalize(struct regex_node *set); /* sorted, disjoint */
struct regex_node *regex_set_negate(struct arena *arena, struct regex_node *set);
/* What \d, \w, \s mean, ASCII only: narrower than Unicode's, so always right. */
void regex_set_add_class(struct arena *arena, struct regex_node *set, char letter);
/* \D, \W, \S: printable ASCII outside the class, and Latin letters where no dialect counts them
 * in: again narrower than any of them. */
void regex_set_add_complement(struct arena *arena, struct regex_node *set, char letter);

/* The end state; json: as a JSON string has the code points. */
uint32_t regex_put_set(struct nfa *nfa, uint32_t from, const struct regex_node *set, bool json);
/* As regex_put_json_text, where min or max bound something. */
uint32_t regex_put_counted(struct nfa *nfa, uint32_t from, const struct regex *regex, uint32_t min,
                           uint32_t max);

#endif
