/* grammar_json - the parts that every JSON text has, put into an nfa: space, strings, numbers, any
 * value. Numbers are bounded so that no reader overflows; space is at most 20 characters at a place. */
#ifndef MSGL_ROUTER_GRAMMAR_GRAMMAR_JSON_H
#define MSGL_ROUTER_GRAMMAR_GRAMMAR_JSON_H

#include <jansson.h>

#include "router/grammar/grammar_nfa.h"

struct json_rules {
    struct nfa *nfa;
    bool compact; /* what repeats is a call, where it can be: far fewer states, and more refusals */
    uint32_t space, value, object, rare, integer,
        number; /* rules; NFA_NONE until they are wanted */
};

#define JSON_RULES(nfa_, compact_)                                                                 \
    ((struct json_rules){nfa_, compact_, NFA_NONE, NFA_NONE, NFA_NONE, NFA_NONE, NFA_NONE,         \
                         NFA_NONE})

uint32_t json_space(struct json_rules *rules, uint32_t from); /* optional */
uint32_t json_char(struct json_rules *rules, uint32_t from, char c);
/* The character, then optional space. */
uint32_t json_mark(struct json_rules *rules, uint32_t from, char c);
/* A string of min to max characters; max UINT32_MAX: any number. */
uint32_t json_string_of(struct json_rules *rules, uint32_t from, uint32_t min, uint32_t max);
/* The text of a value, as it is dumped. */
uint32_t json_literal(struct json_rules *rules, uint32_t from, const json_t *value);
uint32_t json_any(struct json_rules *rules, uint32_t from);
uint32_t json_any_object(struct json_rules *rules, uint32_t from);

/* Limits of a number; the ends as doubles, infinite where there is none. */
struct json_bounds {
    double min, max;
    bool min_open, max_open;
};
/* False when no number that can be written here fits. */
bool json_integer_of(struct json_rules *rules, uint32_t from, const struct json_bounds *bounds,
                     uint32_t *to);
bool json_number_of(struct json_rules *rules, uint32_t from, const struct json_bounds *bounds,
                    uint32_t *to);

#endif
