/* Calling things: builtins with bound arguments, macros, loop functions, joiners. */
#include <string.h>

#include "router/jinja/interp.h"

const struct builtin *builtin_find(const struct builtin *table, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].name[0] == (name.len ? name.data[0] : 0) && str_is(name, table[i].name))
            return &table[i];
    return NULL;
}

/* The index of a parameter in "old,new,count", and how many there are. Positional-only parameters
 * have an empty name. */
static size_t param_find(const char *params, struct str name, size_t *count)
{
    size_t index = SIZE_MAX;
    const char *p = params;

    *count = 0;
    while (*p) {
        size_t len = strcspn(p, ",");
        if (len > 0 && str_eq(name, (struct str){p, len}))
            index = *count;
        ++*count;
        p += len + (p[len] == ',');
    }
    return index;
}

/* A generator's failure is kept in the iterator that it returns. */
static enum status run_lazy(struct interp *in, const struct builtin *builtin, struct val self,
                            struct call *call, struct val *out)
{
    unsigned depth = in->depth;
    size_t mark = interp_mark(in);
    enum status status;

    *out = val_seq(seq_new(in, SEQ_ITERATOR, 0));
    status = builtin->fn(in, self, call, out);
    if (status != STATUS_INVALID)
        return status;
    in->depth = depth;
    in->out->len = mark;
    out->seq->failure = arena_strndup(&in->arena, in->err->text, strlen(in->err->text));
    return STATUS_OK;
}

enum status builtin_call(struct interp *in, const struct builtin *builtin, struct val self,
                         struct call *call, struct val *out)
{
    size_t count;

    TRY(interp_step(in, 1));
    if (!builtin->params)
        return builtin->lazy ? run_lazy(in, builtin, self, call, out)
                             : builtin->fn(in, self, call, out);
    param_find(builtin->params, STR(""), &count);
    CHECK(count <= ARRAY_LEN(call->arg));
    if (call->pos_count > count)
        return interp_fail(in, "%s() takes at most %zu arguments (%zu given)", builtin->name, count,
                           call->pos_count);
    for (size_t i = 0; i < count; i++)
        call->arg[i] = i < call->pos_count ? call->pos[i] : (struct val){.type = VAL_ABSENT};
    for (size_t i = 0; i < call->kw_count; i++) {
        struct str name = call->kw[i].name;
        size_t at = param_find(builtin->params, name, &count);
        if (at == SIZE_MAX || call->arg[at].type != VAL_ABSENT)
            return interp_fail(in, "%s() got an unexpected keyword argument '%.*s'", builtin->name,
                               (int)MIN(name.len, (size_t)60), name.data);
        call->arg[at] = call->kw[i].value;
    }
    for (size_t i = 0; i < builtin->required; i++)
        if (call->arg[i].type == VAL_ABSENT)
            return interp_fail(in, "%s() needs at least %u arguments", builtin->name,
                               builtin->required);
    return builtin->lazy ? run_lazy(in, builtin, self, call, out)
                         : builtin->fn(in, self, call, out);
}

struct val val_method(struct interp *in, const struct builtin *builtin, struct val self)
{
    struct func *func = arena_zalloc(&in->arena, sizeof(*func));

    func->kind = FUNC_METHOD;
    func->builtin = builtin;
    func->self = self;
    return (struct val){.type = VAL_FUNC, .func = func};
}

struct val val_macro(struct interp *in, const struct node *macro, struct scope *closure)
{
    struct func *func = arena_zalloc(&in->arena, sizeof(*func));

    func->kind = FUNC_MACRO;
    func->macro = macro;
    func->closure = closure;
    return (struct val){.type = VAL_FUNC, .func = func};
}

enum status arg_int(struct interp *in, struct val v, const char *what, int64_t *out)
{
    if (v.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (!val_is_int(v))
        return interp_fail(in, "%s must be an integer, not %s", what, val_type_name(v));
    *out = val_as_int(v);
    return STATUS_OK;
}

enum status arg_string(struct interp *in, struct val v, const char *what, struct str *out)
{
    if (v.type != VAL_STRING)
        return interp_fail(in, "%s must be a string, not %s", what, val_type_name(v));
    *out = val_str_of(v);
    return STATUS_OK;
}

static const struct kwarg *kwarg_find(const struct call *call, struct str name)
{
    for (size_t i = 0; i < call->kw_count; i++)
        if (str_eq(call->kw[i].name, name))
            return &call->kw[i];
    return NULL;
}

static enum status bind_params(struct interp *in, const struct node *macro, struct call *call,
                               bool *caller_given)
{
    size_t i = 0;

    for (const struct node *pair = macro->params; pair; pair = pair->next, i++) {
        struct str name = in->tmpl->syms[pair->left->sym];
        const struct kwarg *kwarg = i < call->pos_count ? NULL : kwarg_find(call, name);
        struct val value;
        if (i < call->pos_count)
            value = call->pos[i];
        else if (kwarg)
            value = kwarg->value;
        else if (pair->right)
            TRY(eval(in, pair->right, &value));
        else
            value = val_undefined_because(
                in, arena_printf(&in->arena, "parameter '%.*s' was not provided",
                                 (int)MIN(name.len, (size_t)80), name.data));
        *caller_given |= pair->left->sym == in->tmpl->sym_caller;
        scope_set(in, in->scope, pair->left->sym, value);
    }
    return STATUS_OK;
}

static bool is_param(const struct interp *in, const struct node *macro, size_t skip,
                     struct str name)
{
    size_t i = 0;

    for (const struct node *pair = macro->params; pair; pair = pair->next, i++)
        if (i >= skip && str_eq(in->tmpl->syms[pair->left->sym], name))
            return true;
    return false;
}

/* What the parameters left over goes to varargs, kwargs and caller, or is an error. */
static enum status bind_rest(struct interp *in, const struct node *macro, struct call *call,
                             bool caller_given)
{
    const struct jinja_template *tmpl = in->tmpl;
    struct dict *kwargs = dict_new(in, 0);
    struct seq *varargs = seq_new(in, SEQ_TUPLE, 0);
    struct val caller = val_undefined_because(in, "No caller defined");
    size_t params = 0;

    for (const struct node *pair = macro->params; pair; pair = pair->next)
        params++;
    for (size_t i = params; i < call->pos_count; i++)
        TRY(seq_push(in, varargs, call->pos[i]));
    for (size_t i = 0; i < call->kw_count; i++) {
        struct str name = call->kw[i].name;
        if (is_param(in, macro, call->pos_count, name))
            continue;
        if (macro->uses_caller && !caller_given && str_is(name, "caller")) {
            caller = call->kw[i].value;
            continue;
        }
        TRY(dict_put(in, kwargs, val_borrow(&in->arena, name.data, name.len), call->kw[i].value));
    }
    if (kwargs->count && !macro->uses_kwargs) {
        struct str name = val_str_of(kwargs->entries[0].key);
        return interp_fail(in, "the macro takes no keyword argument '%.*s'",
                           (int)MIN(name.len, (size_t)60), name.data);
    }
    if (varargs->count && !macro->uses_varargs)
        return interp_fail(in, "the macro takes not more than %zu argument(s)", params);
    if (macro->uses_caller && !caller_given)
        scope_set(in, in->scope, tmpl->sym_caller, caller);
    if (macro->uses_kwargs)
        scope_set(in, in->scope, tmpl->sym_kwargs, val_dict(kwargs));
    if (macro->uses_varargs)
        scope_set(in, in->scope, tmpl->sym_varargs, val_seq(varargs));
    return STATUS_OK;
}

static enum status call_macro(struct interp *in, const struct func *func, struct call *call,
                              struct val *out)
{
    struct scope *saved = in->scope;
    size_t mark = interp_mark(in);
    uint32_t line = in->line;
    bool caller_given = false;

    TRY(interp_enter(in));
    in->scope = func->closure;
    scope_push(in);
    TRY(bind_params(in, func->macro, call, &caller_given));
    TRY(bind_rest(in, func->macro, call, caller_given));
    TRY(exec_body(in, func->macro->list));
    TRY(interp_take(in, mark, out));
    in->scope = saved;
    in->line = line;
    interp_leave(in);
    return STATUS_OK;
}

static enum status call_loop(struct interp *in, const struct loop *loop, struct call *call,
                             struct val *out)
{
    struct scope *saved = in->scope;
    size_t mark = interp_mark(in);
    struct seq *items;

    if (!loop->node->recursive)
        return interp_fail(in, "the loop must have the 'recursive' marker to be called");
    if (call->pos_count != 1 || call->kw_count)
        return interp_fail(in, "loop() takes one argument");
    TRY(val_iterate(in, call->pos[0], &items));
    TRY(interp_enter(in));
    TRY(exec_loop(in, loop->node, items, loop->depth0 + 1, loop->outer));
    TRY(interp_take(in, mark, out));
    in->scope = saved;
    interp_leave(in);
    return STATUS_OK;
}

static enum status loop_cycle(struct interp *in, const struct loop *loop, struct call *call,
                              struct val *out)
{
    if (call->pos_count == 0)
        return interp_fail(in, "no items for cycling given");
    *out = call->pos[loop->index0 % call->pos_count];
    return STATUS_OK;
}

static enum status loop_changed(struct interp *in, struct loop *loop, struct call *call,
                                struct val *out)
{
    struct seq *now = seq_new(in, SEQ_TUPLE, call->pos_count);
    bool same = false;

    for (size_t i = 0; i < call->pos_count; i++)
        TRY(seq_push(in, now, call->pos[i]));
    if (loop->changed.type != VAL_ABSENT)
        TRY(val_equal(in, loop->changed, val_seq(now), &same));
    loop->changed = val_seq(now);
    *out = val_bool(!same);
    return STATUS_OK;
}

static enum status call_object(struct interp *in, struct val callee, struct val *out)
{
    struct object *object = callee.object;

    if (object->kind != OBJECT_JOINER)
        return interp_fail(in, "'%s' object is not callable", val_type_name(callee));
    *out = object->pos++ ? object->items->items[0] : val_borrow(&in->arena, "", 0);
    return STATUS_OK;
}

enum status call_value(struct interp *in, struct val callee, struct call *call, struct val *out)
{
    TRY(interp_step(in, 1));
    if (callee.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, callee);
    if (callee.type == VAL_LOOP)
        return call_loop(in, callee.loop, call, out);
    if (callee.type == VAL_OBJECT)
        return call_object(in, callee, out);
    if (callee.type != VAL_FUNC)
        return interp_fail(in, "'%s' object is not callable", val_type_name(callee));
    switch (callee.func->kind) {
    case FUNC_MACRO:
        return call_macro(in, callee.func, call, out);
    case FUNC_LOOP_CYCLE:
        return loop_cycle(in, callee.func->self.loop, call, out);
    case FUNC_LOOP_CHANGED:
        return loop_changed(in, callee.func->self.loop, call, out);
    default:
        return builtin_call(in, callee.func->builtin, callee.func->self, call, out);
    }
}
