/* tokenizer_added - finds added tokens (<|im_start|>, <think>, …) spelled out in text.
 *
 * A trie over bytes; at each place where one starts, the longest wins, and the search goes on behind
 * it, as an Aho-Corasick automaton with "leftmost longest" does.
 *
 *   first[]: which bytes start a token        edges: node << 8 | byte ─► node
 *   ends[]:  node ─► index of a token, or ADDED_NONE
 *
 * There are two sets: tokens looked for in the text as it came, and those (`normalized`) looked for
 * in the normalised text between the former.
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_ADDED_H
#define MSGL_ROUTER_TEXT_TOKENIZER_ADDED_H

#include "common/buf.h"
#include "common/map.h"

#define ADDED_NONE UINT32_MAX

struct added_token {
    uint32_t id;
    bool lstrip, rstrip, single_word;
};

struct added_set {
    struct added_token *tokens;
    uint32_t count, cap;
    struct map edges;
    uint32_t *ends;
    uint32_t node_count, node_cap;
    bool first[256];
};

void added_set_release(struct added_set *set);
/* Of tokens with the same text the first one stays. */
void added_set_add(struct added_set *set, struct str text, struct added_token token);

struct added_cut { /* walks text: init with .text, .set */
    const struct added_set *set;
    struct str text;
    size_t search, start; /* where to look on; end of what was handed out */
    bool have;            /* a token is held back behind the piece before it */
    size_t token_start, token_end;
    uint32_t id;
};

/* The next piece: text between tokens (*id ADDED_NONE, never empty) or a token. False at the end. */
bool added_next(struct added_cut *cut, struct str *piece, uint32_t *id);

#endif
