/* interp - the state of one render, and what builtins are called with.
 *
 *   scope ──► scope ──► root scope       innermost first; a loop body, macro, with-block is a scope
 *   [sym|val]…          [messages, tools, …]
 *
 * Text goes to `out`. Whatever must become a value instead (macros, set-blocks, string building)
 * is emitted behind a mark and taken off again: interp_mark(), emit…, interp_take().
 */
#ifndef MSGL_ROUTER_JINJA_INTERP_H
#define MSGL_ROUTER_JINJA_INTERP_H

#include "router/jinja/ast.h"
#include "router/jinja/jinja.h"
#include "router/jinja/value.h"

struct binding {
    uint32_t sym;
    struct val value;
};
struct scope {
    struct scope *parent;
    struct binding *items;
    uint32_t count, cap;
};

enum flow { FLOW_NORMAL, FLOW_BREAK, FLOW_CONTINUE };

struct interp {
    const struct jinja_template *tmpl;
    const struct jinja_limits *limits;
    struct arena arena;
    struct buf *out;
    size_t out_start;
    struct scope *scope;
    struct err *err;
    uint64_t steps;
    unsigned depth;
    uintptr_t stack_base;
    uint32_t line; /* of the statement or call that runs, for errors */
    enum flow flow;
    struct val block_input; /* what the first filter of a filter block or set block gets */
};

/* "line N: ..." with status INVALID. */
enum status interp_fail(struct interp *in, const char *format, ...) PRINTF_LIKE(2, 3);
enum status interp_fail_undefined(struct interp *in, struct val v);
/* Counts work; TOO_LARGE when the render has done too much. */
enum status MUST_USE interp_step(struct interp *in, uint64_t steps);
/* Is there room for that many more bytes in the arena? */
enum status MUST_USE interp_room(struct interp *in, size_t bytes);
/* Pairs with interp_leave; bounds recursion. */
enum status MUST_USE interp_enter(struct interp *in);
void interp_leave(struct interp *in);

enum status MUST_USE interp_emit(struct interp *in, const char *data, size_t len);
enum status MUST_USE interp_emit_cstr(struct interp *in, const char *text);
size_t interp_mark(const struct interp *in);
enum status MUST_USE interp_take(struct interp *in, size_t mark, struct val *out);

struct kwarg {
    struct str name;
    struct val value;
};
/* A call's arguments, as written and, for builtins with a parameter list, bound by name. */
struct call {
    struct val *pos;
    size_t pos_count;
    struct kwarg *kw;
    size_t kw_count;
    struct val arg[8]; /* bound; ABSENT when not given */
};

typedef enum status (*builtin_fn)(struct interp *in, struct val self, struct call *call,
                                  struct val *out);
struct builtin {
    const char *name;
    builtin_fn fn;
    const char *params; /* "old,new,count"; NULL: the function reads pos and kw itself */
    uint8_t required;   /* how many of params must be given */
    bool lazy;          /* a generator in Python: fails when it is walked, not when it is made */
};
#define BUILTIN(name, fn, params, required)                                                        \
    {                                                                                              \
        name, fn, params, required, false                                                          \
    }
#define GENERATOR(name, fn, params, required)                                                      \
    {                                                                                              \
        name, fn, params, required, true                                                           \
    }
enum status MUST_USE builtin_call(struct interp *in, const struct builtin *builtin, struct val self,
                                  struct call *call, struct val *out);
const struct builtin *builtin_find(const struct builtin *table, size_t count, struct str name);

const struct builtin *filter_find(struct str name);
const struct builtin *test_find(struct str name);
const struct builtin *global_find(struct str name);
const struct builtin *method_find(struct val v, struct str name);
bool method_is_unsafe(struct val v, struct str name);

enum func_kind { FUNC_BUILTIN, FUNC_METHOD, FUNC_MACRO, FUNC_LOOP_CYCLE, FUNC_LOOP_CHANGED };
struct func {
    enum func_kind kind;
    const struct builtin *builtin; /* BUILTIN, METHOD */
    struct val self;               /* METHOD, LOOP_* */
    const struct node *macro;      /* MACRO, and the body of a call block */
    struct scope *closure;         /* MACRO: where it was defined */
};

/* With a filter ("for x in xs if test"), items are tested one at a time as the loop comes to them:
 * the body may change what the test sees. loop.last looks one item ahead, loop.length at all. */
struct loop {
    const struct node *node;
    struct seq *items;  /* that passed so far; all of them when there is no filter */
    struct seq *source; /* with a filter: what is tested, from source_pos on; else NULL */
    size_t source_pos;
    size_t index0;
    uint32_t depth0;
    struct scope *outer; /* where the loop statement stands */
    struct val changed;  /* last arguments of loop.changed(), as a tuple; ABSENT before */
};

enum object_kind { OBJECT_CYCLER, OBJECT_JOINER };
struct object {
    enum object_kind kind;
    struct seq *items;
    size_t pos;
};

/* interp_expr.c */
enum status MUST_USE eval(struct interp *in, const struct node *node, struct val *out);
enum status MUST_USE eval_args(struct interp *in, const struct call_args *args, struct call *call);
/* interp_stmt.c */
enum status MUST_USE exec_body(struct interp *in, const struct node *first);
enum status MUST_USE exec_loop(struct interp *in, const struct node *node, struct seq *items,
                               uint32_t depth0, struct scope *outer);
/* Tests items until `count` have passed or all are tested. */
enum status MUST_USE loop_fill(struct interp *in, struct loop *loop, size_t count);
enum status MUST_USE assign(struct interp *in, const struct node *target, struct val value);
/* call.c */
enum status MUST_USE call_value(struct interp *in, struct val callee, struct call *call,
                                struct val *out);
struct val val_method(struct interp *in, const struct builtin *builtin, struct val self);
struct val val_macro(struct interp *in, const struct node *macro, struct scope *closure);

struct scope *scope_push(struct interp *in);
void scope_set(struct interp *in, struct scope *scope, uint32_t sym, struct val value);
bool scope_get(const struct scope *scope, uint32_t sym, struct val *out);

/* Argument helpers; the name of the argument goes into the error text. */
enum status MUST_USE arg_int(struct interp *in, struct val v, const char *what, int64_t *out);
enum status MUST_USE arg_string(struct interp *in, struct val v, const char *what, struct str *out);

/* Walks a dotted attribute ("function.name", 0) as filters' attribute= does. */
enum status MUST_USE val_path(struct interp *in, struct val v, struct val path, struct val *out);

/* format_percent.c, format_brace.c: "%s %d" % values, and str.format(). */
enum status MUST_USE percent_format(struct interp *in, struct val format, struct val values,
                                    struct val *out);
enum status MUST_USE brace_format(struct interp *in, struct val format, struct call *call,
                                  struct val *out);

#endif
