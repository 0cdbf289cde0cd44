/* grammar_nfa - a nondeterministic automaton being put together: states, and edges that take a range
 * of bytes, nothing, or the text of another rule.
 *
 *   rule 0:  start ─"{"─► o ─ε─► o ─rule 3─► o ─"}"─► end        every rule has one start and one end
 *
 * Builders take the state to go on from and return the state where the text has been read.
 */
#ifndef MSGL_ROUTER_GRAMMAR_GRAMMAR_NFA_H
#define MSGL_ROUTER_GRAMMAR_GRAMMAR_NFA_H

#include "common/buf.h"
#include "common/status.h"

#define NFA_STATES_MAX 400000u
#define NFA_RULES_MAX  256u
#define NFA_NONE       UINT32_MAX

enum nfa_kind { NFA_BYTES, NFA_EMPTY, NFA_RULE };

struct nfa_edge {
    enum nfa_kind kind;
    uint8_t lo, hi;
    uint32_t rule, to, next; /* next: of the same state */
};

struct nfa_rule {
    uint32_t start, end;
};

struct nfa {            /* zero-initialise; release */
    uint32_t *edges_of; /* [states] first edge, NFA_NONE */
    uint32_t states, states_cap;
    struct nfa_edge *edges;
    uint32_t edge_count, edges_cap;
    struct nfa_rule rules[NFA_RULES_MAX];
    uint32_t rule_count;
    bool too_large; /* a limit was passed: what follows is dropped, nfa_compile() says so */
    bool too_many;  /* nfa_compile(): it would have too many states, or take too long */
};

void nfa_release(struct nfa *nfa);
uint32_t nfa_rule(struct nfa *nfa); /* a new rule, with its start and end */
uint32_t nfa_state(struct nfa *nfa);

void nfa_empty(struct nfa *nfa, uint32_t from, uint32_t to);
void nfa_range(struct nfa *nfa, uint32_t from, uint8_t lo, uint8_t hi, uint32_t to);
uint32_t nfa_call(struct nfa *nfa, uint32_t from, uint32_t rule);
uint32_t nfa_text(struct nfa *nfa, uint32_t from, const char *text, size_t len);
/* A code point from lo to hi, as UTF-8; surrogates are left out. */
void nfa_points(struct nfa *nfa, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to);

/* Takes away what leads from `from`, or from a state made since `first`, to where `end` is out of reach
 * (by edges between these). False: it is from `from` too. */
bool nfa_trim(struct nfa *nfa, uint32_t from, uint32_t first, uint32_t end);

/* Appends the automaton. UNSUPPORTED: too many states, or a place where two ways that nest differently
 * begin with the same byte. */
enum status MUST_USE nfa_compile(struct nfa *nfa, struct buf *out, struct err *err);

#endif
