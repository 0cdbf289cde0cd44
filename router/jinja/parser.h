/* parser - tokens to the tree of ast.h, by recursive descent with bounded nesting.
 *
 *   parser_stmt.c      text, tags, bodies
 *   parser_expr.c      operators, down to
 *   parser_postfix.c   a value with signs, .x [x] (x), filters and tests, down to
 *   parser_primary.c   literals, names, lists, tuples, dicts; assignment targets
 *
 * A filter or test that does not exist is an error here, except inside an if or a conditional
 * expression: there it is an error when it is reached, so that templates can probe for it.
 */
#ifndef MSGL_ROUTER_JINJA_PARSER_H
#define MSGL_ROUTER_JINJA_PARSER_H

#include "router/jinja/ast.h"
#include "router/jinja/lexer.h"

#define PARSER_DEPTH_MAX 200

/* What a macro's body mentions decides whether it takes extra arguments. */
struct macro_uses {
    struct macro_uses *outer;
    bool caller, varargs, kwargs;
};

/* A variable that was set from x.attr: loops over it count as loops over the attribute. */
struct alias {
    struct alias *next;
    uint32_t sym;
    struct str attr;
};

/* A filter or test that does not exist, waiting to be forgiven or reported. */
struct unknown {
    struct unknown *next;
    const struct node *node;
};

struct parser {
    struct jinja_template *tmpl;
    struct lexer lexer;
    struct token token; /* current */
    struct token ahead;
    bool has_ahead;
    unsigned depth;
    unsigned loop_depth; /* loops that a break here would find */
    struct macro_uses *macro;
    struct alias *aliases;
    struct unknown *unknowns;
    struct err *err;
};

enum status MUST_USE parser_run(struct jinja_template *tmpl, struct str source, struct err *err);

/* Shared by the two halves. */
enum status parser_fail(struct parser *p, uint32_t line, const char *format, ...) PRINTF_LIKE(3, 4);
enum status MUST_USE parser_advance(struct parser *p);
enum status MUST_USE parser_look(struct parser *p, struct token *out);
bool parser_at_name(const struct parser *p, const char *name);
enum status MUST_USE parser_skip_if(struct parser *p, enum token_type type, bool *skipped);
enum status MUST_USE parser_skip_name(struct parser *p, const char *name, bool *skipped);
enum status MUST_USE parser_expect(struct parser *p, enum token_type type);
enum status MUST_USE parser_expect_name(struct parser *p, const char *name);
enum status MUST_USE parser_take_name(struct parser *p, struct str *out);
enum status MUST_USE parser_enter(struct parser *p);
struct node *parser_node(struct parser *p, enum node_kind kind, uint32_t line);
struct val parser_string(struct parser *p, struct str text);

struct list_tail { /* where the next node of a list goes */
    struct node **last;
};
static inline void list_push(struct list_tail *tail, struct node *node)
{
    *tail->last = node;
    tail->last = &node->next;
}

/* parser_expr.c */
enum status MUST_USE parse_expression(struct parser *p, struct node **out);
enum status MUST_USE parse_or(struct parser *p, struct node **out); /* no conditional */

/* parser_primary.c */
enum status MUST_USE parse_primary(struct parser *p, bool namespaces, struct node **out);
struct tuple_rules {
    bool simplified; /* names and literals only: an assignment's left side */
    bool no_condexpr;
    bool parentheses;  /* an empty tuple is allowed */
    bool namespaces;   /* ns.attr may be assigned to */
    const char *until; /* a name that also ends the tuple, or NULL */
};
enum status MUST_USE parse_tuple(struct parser *p, struct tuple_rules rules, struct node **out);
enum status MUST_USE parse_target(struct parser *p, const char *until, bool namespaces,
                                  struct node **out);
enum status MUST_USE parse_name_target(struct parser *p, struct node **out);
enum status MUST_USE parse_signature(struct parser *p, struct node *macro);

/* parser_postfix.c */
enum status MUST_USE parse_unary(struct parser *p, bool with_filter, struct node **out);
/* The filters behind a value; operand NULL in blocks. `inline_first`: the first has no '|'. */
enum status MUST_USE parse_filters(struct parser *p, struct node *operand, bool inline_first,
                                   struct node **out);

#endif
