/* schema - a JSON schema as states of an automaton; the parts of grammar_schema.c.
 *
 *   schema.c         which keywords there are, what type is meant          schema_put: any schema
 *   schema_leaves.c  strings, numbers
 *   schema_nests.c   arrays, objects
 *   schema_choices.c references, anyOf, oneOf, enum
 *
 * A keyword that narrows what is valid and is not done here is refused by name; an unknown one is an
 * annotation, as the standard says. Each schema_put_* draws what the part allows from state `from` to a
 * new state *to. UNSUPPORTED, INVALID: s->err names the keyword.
 */
#ifndef MSGL_ROUTER_GRAMMAR_SCHEMA_H
#define MSGL_ROUTER_GRAMMAR_SCHEMA_H

#include "common/arena.h"
#include "router/grammar/grammar_json.h"

#define SCHEMA_REFS_MAX  64
#define SCHEMA_COUNT_MAX 1000 /* characters, items */

struct schema_reference {
    const json_t *target;
    uint32_t rule; /* NFA_NONE: put in place */
    bool done;
};

struct schema {
    struct nfa *nfa;
    struct json_rules rules;
    const json_t *root;
    struct schema_reference refs[SCHEMA_REFS_MAX];
    uint32_t ref_count, depth;
    struct arena arena;
    struct err *err;
};

/* NULL is any value, as true is. */
enum status MUST_USE schema_put(struct schema *s, const json_t *schema, uint32_t from,
                                uint32_t *to);

enum status MUST_USE schema_put_string(struct schema *s, const json_t *schema, uint32_t from,
                                       uint32_t *to);
enum status MUST_USE schema_put_number(struct schema *s, const json_t *schema, bool integer,
                                       uint32_t from, uint32_t *to);
enum status MUST_USE schema_put_array(struct schema *s, const json_t *schema, uint32_t from,
                                      uint32_t *to);
enum status MUST_USE schema_put_object(struct schema *s, const json_t *schema, uint32_t from,
                                       uint32_t *to);
enum status MUST_USE schema_put_reference(struct schema *s, const char *pointer, uint32_t from,
                                          uint32_t *to);
enum status MUST_USE schema_put_each(struct schema *s, const json_t *list, const char *keyword,
                                     uint32_t from, uint32_t *to);
enum status MUST_USE schema_put_one_of(struct schema *s, const json_t *list, uint32_t from,
                                       uint32_t *to);
enum status MUST_USE schema_put_values(struct schema *s, const json_t *list, uint32_t from,
                                       uint32_t *to);

bool schema_requires(const json_t *required, const char *name);
/* A whole number of a keyword, clamped to SCHEMA_COUNT_MAX where that narrows. */
enum status MUST_USE schema_count(struct schema *s, const json_t *schema, const char *keyword,
                                  bool least, uint32_t *out);
enum status MUST_USE schema_refuse(struct schema *s, const char *keyword, const char *why);
enum status MUST_USE schema_invalid(struct schema *s, const char *keyword, const char *why);

#endif
