/* ast - the tree of a template. Nodes and constants live in the template's arena and never change
 * once compiled. Lists of nodes are linked through `next`.
 *
 *   kind            left        right      third     list          other
 *   CONST                                                          value
 *   NAME                                                           sym
 *   LIST TUPLE                                       items
 *   DICT                                             pairs: CONST-free PAIR(left = key, right)
 *   ATTR            object                                         value (name)
 *   ITEM            object      key or SLICE
 *   SLICE           start       stop       step                    (each may be NULL)
 *   CALL            callee                                         args
 *   FILTER, TEST    operand (NULL in a filter block)               builtin, value (name), args
 *   NOT NEG POS     operand
 *   BINARY          left        right                              op (enum binary_op)
 *   AND OR          left        right
 *   CONCAT                                           operands
 *   COMPARE         first                            OPERAND(left) with op (enum compare_op)
 *   COND            test        value      else
 *   NSREF                                                          sym, value (attribute)
 *   TEXT                                                           value
 *   OUTPUT          expression
 *   IF              test                             body          orelse (elif: an IF), see below
 *   FOR             target      iterable   filter    body          orelse, recursive
 *   SET             target      value
 *   SET_BLOCK       target      filter               body
 *   MACRO           target                           body          params, flags
 *   CALL_BLOCK      call        MACRO
 *   FILTER_BLOCK    filter                           body
 *   WITH                                             body          params: PAIR(target, value)
 *   SCOPE                                            body
 *   BREAK CONTINUE UNSUPPORTED
 */
#ifndef MSGL_ROUTER_JINJA_AST_H
#define MSGL_ROUTER_JINJA_AST_H

#include "common/arena.h"
#include "router/jinja/value.h"

enum node_kind {
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT,
    NODE_PAIR,
    NODE_ATTR,
    NODE_ITEM,
    NODE_SLICE,
    NODE_CALL,
    NODE_FILTER,
    NODE_TEST,
    NODE_NOT,
    NODE_NEG,
    NODE_POS,
    NODE_BINARY,
    NODE_AND,
    NODE_OR,
    NODE_CONCAT,
    NODE_COMPARE,
    NODE_OPERAND,
    NODE_COND,
    NODE_NSREF,
    NODE_TEXT,
    NODE_OUTPUT,
    NODE_IF,
    NODE_FOR,
    NODE_SET,
    NODE_SET_BLOCK,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_WITH,
    NODE_SCOPE,
    NODE_BREAK,
    NODE_CONTINUE,
};

struct keyword {
    struct keyword *next;
    struct str name;
    struct node *value;
};
struct call_args {
    struct node *pos;
    size_t pos_count;
    struct keyword *kw;
    size_t kw_count;
    struct node *star, *star_star; /* *list, **dict; or NULL */
};

struct node {
    enum node_kind kind;
    uint8_t op;
    bool recursive;                              /* FOR */
    bool uses_caller, uses_varargs, uses_kwargs; /* MACRO */
    uint32_t line;
    uint32_t sym;
    struct node *next;
    struct node *left, *right, *third;
    struct node *list;   /* items or body */
    struct node *orelse; /* IF, FOR */
    struct node *params; /* MACRO: PAIR(NAME, default or NULL); WITH: PAIR(target, value) */
    struct call_args *args;
    const struct builtin *builtin;
    struct val value;
};

/* Names become small numbers; a table of them belongs to the template. */
#define SYM_NONE UINT32_MAX
struct jinja_template {
    struct arena arena;
    struct str source;
    struct node *body;
    struct str *syms;
    uint32_t sym_count, sym_cap;
    uint32_t *sym_index; /* sym + 1 by hash of the name, 0 = free; never full */
    uint32_t sym_index_cap;
    uint32_t sym_loop, sym_caller, sym_varargs, sym_kwargs;
    struct str *loop_attrs; /* attribute names that loops run over */
    size_t loop_attr_count, loop_attr_cap;
};

uint32_t sym_intern(struct jinja_template *tmpl, struct str name);
uint32_t sym_find(const struct jinja_template *tmpl, struct str name); /* SYM_NONE when unknown */

#endif
