/* Evaluates expressions. */
#include <string.h>

#include "router/jinja/interp.h"

static enum status eval_name(struct interp *in, const struct node *node, struct val *out)
{
    struct str name = in->tmpl->syms[node->sym];
    const struct builtin *builtin;
    struct func *func;

    if (scope_get(in->scope, node->sym, out))
        return STATUS_OK;
    builtin = global_find(name);
    if (!builtin) {
        *out = val_undefined(in, name, NULL);
        return STATUS_OK;
    }
    func = arena_zalloc(&in->arena, sizeof(*func));
    func->kind = FUNC_BUILTIN;
    func->builtin = builtin;
    *out = (struct val){.type = VAL_FUNC, .func = func};
    return STATUS_OK;
}

static enum status eval_list(struct interp *in, const struct node *node, struct val *out)
{
    struct seq *seq = seq_new(in, node->kind == NODE_LIST ? SEQ_LIST : SEQ_TUPLE, 0);

    for (const struct node *item = node->list; item; item = item->next) {
        struct val v;
        TRY(eval(in, item, &v));
        TRY(seq_push(in, seq, v));
    }
    *out = val_seq(seq);
    return STATUS_OK;
}

static enum status eval_dict(struct interp *in, const struct node *node, struct val *out)
{
    struct dict *dict = dict_new(in, 0);

    for (const struct node *pair = node->list; pair; pair = pair->next) {
        struct val key, value;
        TRY(eval(in, pair->left, &key));
        TRY(eval(in, pair->right, &value));
        TRY(dict_put(in, dict, key, value));
    }
    *out = val_dict(dict);
    return STATUS_OK;
}

static enum status eval_bound(struct interp *in, const struct node *node, bool *given, int64_t *out)
{
    struct val v;

    *given = false;
    if (!node)
        return STATUS_OK;
    TRY(eval(in, node, &v));
    if (v.type == VAL_NONE)
        return STATUS_OK;
    *given = true;
    return arg_int(in, v, "a slice index", out);
}

static enum status eval_slice(struct interp *in, const struct node *node, struct val object,
                              struct val *out)
{
    struct slice slice = {0};

    TRY(eval_bound(in, node->left, &slice.has_start, &slice.start));
    TRY(eval_bound(in, node->right, &slice.has_stop, &slice.stop));
    TRY(eval_bound(in, node->third, &slice.has_step, &slice.step));
    return val_slice(in, object, &slice, out);
}

static enum status eval_item(struct interp *in, const struct node *node, struct val *out)
{
    struct val object, key;

    TRY(eval(in, node->left, &object));
    if (node->right && node->right->kind == NODE_SLICE)
        return eval_slice(in, node->right, object, out);
    TRY(eval(in, node->right, &key));
    return val_item(in, object, key, out);
}

static enum status add_kwarg(struct interp *in, struct call *call, struct str name,
                             struct val value)
{
    for (size_t i = 0; i < call->kw_count; i++)
        if (str_eq(call->kw[i].name, name))
            return interp_fail(in, "got multiple values for keyword argument '%.*s'",
                               (int)MIN(name.len, (size_t)60), name.data);
    call->kw[call->kw_count++] = (struct kwarg){name, value};
    return STATUS_OK;
}

/* *list and **dict; `call` has room only for what is written out, so both arrays are made anew. */
static enum status eval_stars(struct interp *in, const struct call_args *args, struct call *call)
{
    struct val star = {.type = VAL_ABSENT}, star_star = star;
    struct seq *seq = NULL;
    struct kwarg *kw = call->kw;
    size_t more;

    if (args->star) {
        struct seq *all = seq_new(in, SEQ_LIST, 0);
        TRY(eval(in, args->star, &star));
        TRY(val_iterate(in, star, &seq));
        for (size_t i = 0; i < call->pos_count; i++)
            TRY(seq_push(in, all, call->pos[i]));
        for (size_t i = 0; i < seq->count; i++)
            TRY(seq_push(in, all, seq->items[i]));
        call->pos = all->items;
        call->pos_count = all->count;
    }
    if (!args->star_star)
        return STATUS_OK;
    TRY(eval(in, args->star_star, &star_star));
    if (star_star.type != VAL_DICT)
        return interp_fail(in, "argument after ** must be a mapping, not %s",
                           val_type_name(star_star));
    more = star_star.dict->count;
    TRY(interp_step(in, more * (more + call->kw_count) / 4));
    TRY(interp_room(in, (call->kw_count + more) * sizeof(*kw)));
    call->kw = arena_array(&in->arena, call->kw_count + more + 1, sizeof(*kw));
    if (call->kw_count)
        memcpy(call->kw, kw, call->kw_count * sizeof(*kw));
    for (size_t i = 0; i < more; i++) {
        struct val key = star_star.dict->entries[i].key;
        if (key.type != VAL_STRING)
            return interp_fail(in, "keywords must be strings");
        TRY(add_kwarg(in, call, val_str_of(key), star_star.dict->entries[i].value));
    }
    return STATUS_OK;
}

/* Leaves room for one more keyword: a call block's caller. */
enum status eval_args(struct interp *in, const struct call_args *args, struct call *call)
{
    size_t i = 0;

    memset(call, 0, sizeof(*call));
    if (!args)
        return STATUS_OK;
    if (args->pos_count)
        call->pos = arena_alloc(&in->arena, args->pos_count * sizeof(*call->pos));
    for (const struct node *arg = args->pos; arg; arg = arg->next)
        TRY(eval(in, arg, &call->pos[i++]));
    call->pos_count = i;
    if (args->kw)
        call->kw = arena_alloc(&in->arena, (args->kw_count + 1) * sizeof(*call->kw));
    for (const struct keyword *keyword = args->kw; keyword; keyword = keyword->next) {
        struct val value;
        TRY(eval(in, keyword->value, &value));
        call->kw[call->kw_count++] = (struct kwarg){keyword->name, value};
    }
    return args->star || args->star_star ? eval_stars(in, args, call) : STATUS_OK;
}

static enum status eval_call(struct interp *in, const struct node *node, struct val *out)
{
    struct val callee;
    struct call call;

    TRY(eval(in, node->left, &callee));
    TRY(eval_args(in, node->args, &call));
    in->line = node->line;
    return call_value(in, callee, &call, out);
}

static enum status eval_filter(struct interp *in, const struct node *node, struct val *out)
{
    struct str name = val_str_of(node->value);
    struct val operand = in->block_input;
    struct call call;

    if (node->left)
        TRY(eval(in, node->left, &operand));
    TRY(eval_args(in, node->args, &call));
    in->line = node->line;
    if (!node->builtin)
        return interp_fail(in, "there is no %s named '%.*s'",
                           node->kind == NODE_FILTER ? "filter" : "test",
                           (int)MIN(name.len, (size_t)60), name.data);
    return builtin_call(in, node->builtin, operand, &call, out);
}

/* Evaluating an operand may emit too, but takes off what it emitted. */
static enum status eval_concat(struct interp *in, const struct node *node, struct val *out)
{
    size_t mark = interp_mark(in);

    for (const struct node *item = node->list; item; item = item->next) {
        struct val v;
        TRY(eval(in, item, &v));
        TRY(emit_str(in, v));
    }
    return interp_take(in, mark, out);
}

static enum status eval_compare(struct interp *in, const struct node *node, struct val *out)
{
    struct val left, right;
    bool holds = true;

    TRY(eval(in, node->left, &left));
    for (const struct node *operand = node->list; operand && holds; operand = operand->next) {
        TRY(eval(in, operand->left, &right));
        in->line = operand->line;
        TRY(val_compare(in, operand->op, left, right, &holds));
        left = right;
    }
    *out = val_bool(holds);
    return STATUS_OK;
}

static enum status eval_cond(struct interp *in, const struct node *node, struct val *out)
{
    struct val test;

    TRY(eval(in, node->left, &test));
    if (val_truth(test))
        return eval(in, node->right, out);
    if (node->third)
        return eval(in, node->third, out);
    *out = val_undefined_because(in, "an inline if evaluated to false and has no else");
    return STATUS_OK;
}

static enum status eval_binary(struct interp *in, const struct node *node, struct val *out)
{
    struct val left, right;

    TRY(eval(in, node->left, &left));
    TRY(eval(in, node->right, &right));
    in->line = node->line;
    return val_binary(in, node->op, left, right, out);
}

static enum status eval_unary(struct interp *in, const struct node *node, struct val *out)
{
    struct val v;

    TRY(eval(in, node->left, &v));
    if (node->kind == NODE_NEG)
        return val_negate(in, v, out);
    if (node->kind == NODE_NOT) {
        *out = val_bool(!val_truth(v));
        return STATUS_OK;
    }
    if (!val_is_number(v))
        return v.type == VAL_UNDEFINED
                   ? interp_fail_undefined(in, v)
                   : interp_fail(in, "bad operand type for unary +: '%s'", val_type_name(v));
    *out = v.type == VAL_BOOL ? val_int(v.b) : v;
    return STATUS_OK;
}

static enum status eval_logic(struct interp *in, const struct node *node, struct val *out)
{
    TRY(eval(in, node->left, out));
    if (val_truth(*out) == (node->kind == NODE_OR))
        return STATUS_OK;
    return eval(in, node->right, out);
}

static enum status eval_attr(struct interp *in, const struct node *node, struct val *out)
{
    struct val object;

    TRY(eval(in, node->left, &object));
    in->line = node->line;
    return val_attr(in, object, val_str_of(node->value), out);
}

static enum status eval_any(struct interp *in, const struct node *node, struct val *out)
{
    switch (node->kind) {
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(in, node, out);
    case NODE_DICT:
        return eval_dict(in, node, out);
    case NODE_ATTR:
        return eval_attr(in, node, out);
    case NODE_ITEM:
        return eval_item(in, node, out);
    case NODE_CALL:
        return eval_call(in, node, out);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_filter(in, node, out);
    case NODE_NOT:
    case NODE_NEG:
    case NODE_POS:
        return eval_unary(in, node, out);
    case NODE_BINARY:
        return eval_binary(in, node, out);
    case NODE_AND:
    case NODE_OR:
        return eval_logic(in, node, out);
    case NODE_CONCAT:
        return eval_concat(in, node, out);
    case NODE_COMPARE:
        return eval_compare(in, node, out);
    case NODE_COND:
        return eval_cond(in, node, out);
    default:
        return interp_fail(in, "a slice is only allowed alone in [ ]");
    }
}

enum status eval(struct interp *in, const struct node *node, struct val *out)
{
    TRY(interp_step(in, 1));
    if (node->kind == NODE_CONST) {
        *out = node->value;
        return STATUS_OK;
    }
    if (node->kind == NODE_NAME)
        return eval_name(in, node, out);
    TRY(interp_enter(in));
    TRY(eval_any(in, node, out));
    interp_leave(in);
    return STATUS_OK;
}
