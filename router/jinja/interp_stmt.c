/* Executes statements. */
#include "router/jinja/interp.h"

static enum status assign_tuple(struct interp *in, const struct node *target, struct val value)
{
    struct seq *items;
    size_t count = 0, i = 0;

    for (const struct node *part = target->list; part; part = part->next)
        count++;
    TRY(val_iterate(in, value, &items));
    if (items->count != count)
        return interp_fail(in, "cannot unpack %zu values into %zu names", items->count, count);
    TRY(interp_enter(in));
    for (const struct node *part = target->list; part; part = part->next)
        TRY(assign(in, part, items->items[i++]));
    interp_leave(in);
    return STATUS_OK;
}

static enum status assign_attr(struct interp *in, const struct node *target, struct val value)
{
    struct str name = val_str_of(target->value);
    struct val object;

    if (!scope_get(in->scope, target->sym, &object) || object.type != VAL_NAMESPACE)
        return interp_fail(in, "cannot assign attribute on non-namespace object");
    if (name.len && name.data[0] == '_')
        return interp_fail(in, "a namespace attribute may not start with an underscore");
    return dict_put(in, object.dict, target->value, value);
}

enum status assign(struct interp *in, const struct node *target, struct val value)
{
    switch (target->kind) {
    case NODE_NAME:
        scope_set(in, in->scope, target->sym, value);
        return interp_step(in, in->scope->count / 16);
    case NODE_NSREF:
        return assign_attr(in, target, value);
    default:
        return assign_tuple(in, target, value);
    }
}

static enum status exec_if(struct interp *in, const struct node *node)
{
    for (;; node = node->orelse) {
        struct val test;
        if (node->kind == NODE_SCOPE) /* the else */
            return exec_body(in, node->list);
        in->line = node->line;
        TRY(eval(in, node->left, &test));
        if (val_truth(test))
            return exec_body(in, node->list);
        if (!node->orelse)
            return STATUS_OK;
    }
}

enum status loop_fill(struct interp *in, struct loop *loop, size_t count)
{
    struct scope *saved = in->scope;
    struct val test;

    while (loop->source && loop->items->count < count && loop->source_pos < loop->source->count) {
        struct val item = loop->source->items[loop->source_pos++];
        in->scope = loop->outer;
        scope_push(in);
        TRY(assign(in, loop->node->left, item));
        TRY(eval(in, loop->node->third, &test));
        if (val_truth(test))
            TRY(seq_push(in, loop->items, item));
    }
    in->scope = saved;
    return STATUS_OK;
}

static enum status exec_pass(struct interp *in, struct loop *loop)
{
    struct val self = {.type = VAL_LOOP, .loop = loop};

    TRY(interp_step(in, 1));
    in->scope = loop->outer;
    scope_push(in);
    scope_set(in, in->scope, in->tmpl->sym_loop, self);
    TRY(assign(in, loop->node->left, loop->items->items[loop->index0]));
    return exec_body(in, loop->node->list);
}

enum status exec_loop(struct interp *in, const struct node *node, struct seq *items,
                      uint32_t depth0, struct scope *outer)
{
    struct loop *loop = arena_zalloc(&in->arena, sizeof(*loop));
    bool completed = false;

    *loop = (struct loop){.node = node, .items = items, .depth0 = depth0, .outer = outer};
    if (node->third) {
        loop->source = items;
        loop->items = seq_new(in, SEQ_LIST, 0);
    }
    for (; in->flow != FLOW_BREAK; loop->index0++) {
        in->flow = FLOW_NORMAL;
        TRY(loop_fill(in, loop, loop->index0 + 1));
        if (loop->index0 >= loop->items->count)
            break;
        TRY(exec_pass(in, loop));
        completed |= in->flow == FLOW_NORMAL;
    }
    in->flow = FLOW_NORMAL;
    in->scope = outer;
    if (!completed && node->orelse) { /* jinja2's else: no pass came to its end */
        scope_push(in);
        TRY(exec_body(in, node->orelse)); /* a break in it belongs to the loop outside */
        in->scope = outer;
    }
    return STATUS_OK;
}

static enum status exec_for(struct interp *in, const struct node *node)
{
    struct val iterable;
    struct seq *items;

    TRY(eval(in, node->right, &iterable));
    in->line = node->line;
    TRY(val_iterate(in, iterable, &items));
    return exec_loop(in, node, items, 0, in->scope);
}

/* Runs a body in a scope of its own and takes its text, through the filters if there are any.
 * When the body breaks or continues the loop around it, there is no text, and nothing may be done
 * with *out: in->flow tells. */
static enum status capture(struct interp *in, const struct node *body, const struct node *filter,
                           struct val *out)
{
    struct scope *saved = in->scope;
    struct val input = in->block_input;
    size_t mark = interp_mark(in);

    scope_push(in);
    TRY(exec_body(in, body));
    TRY(interp_take(in, mark, out));
    in->scope = saved;
    if (filter && in->flow == FLOW_NORMAL) {
        in->block_input = *out;
        TRY(eval(in, filter, out));
        in->block_input = input;
    }
    return STATUS_OK;
}

static enum status exec_set_block(struct interp *in, const struct node *node)
{
    struct val text;

    TRY(capture(in, node->list, node->right, &text));
    return in->flow == FLOW_NORMAL ? assign(in, node->left, text) : STATUS_OK;
}

static enum status exec_call_block(struct interp *in, const struct node *node)
{
    struct val callee, text;
    struct call call;
    struct kwarg *kw;

    TRY(eval(in, node->left->left, &callee));
    TRY(eval_args(in, node->left->args, &call));
    kw = arena_array(&in->arena, call.kw_count + 1, sizeof(*kw));
    for (size_t i = 0; i < call.kw_count; i++) {
        kw[i] = call.kw[i];
        if (str_is(kw[i].name, "caller"))
            return interp_fail(in, "got multiple values for keyword argument 'caller'");
    }
    kw[call.kw_count++] = (struct kwarg){STR("caller"), val_macro(in, node->right, in->scope)};
    call.kw = kw;
    in->line = node->line;
    TRY(call_value(in, callee, &call, &text));
    return emit_str(in, text);
}

static enum status exec_with(struct interp *in, const struct node *node)
{
    struct scope *saved = in->scope, *scope;
    struct val value;

    /* values see the outside only, so they are evaluated before the scope becomes current */
    scope = arena_zalloc(&in->arena, sizeof(*scope));
    scope->parent = saved;
    for (const struct node *pair = node->params; pair; pair = pair->next) {
        TRY(eval(in, pair->right, &value));
        in->scope = scope;
        TRY(assign(in, pair->left, value));
        in->scope = saved;
    }
    in->scope = scope;
    TRY(exec_body(in, node->list));
    in->scope = saved;
    return STATUS_OK;
}

static enum status exec_scope(struct interp *in, const struct node *node)
{
    struct scope *saved = in->scope;

    scope_push(in);
    TRY(exec_body(in, node->list));
    in->scope = saved;
    return STATUS_OK;
}

static enum status exec(struct interp *in, const struct node *node)
{
    struct val v;

    TRY(interp_step(in, 1));
    in->line = node->line;
    switch (node->kind) {
    case NODE_TEXT:
        return interp_emit(in, node->value.text->data, node->value.text->len);
    case NODE_OUTPUT:
        TRY(eval(in, node->left, &v));
        return emit_str(in, v);
    case NODE_IF:
        return exec_if(in, node);
    case NODE_FOR:
        return exec_for(in, node);
    case NODE_SET:
        TRY(eval(in, node->right, &v));
        return assign(in, node->left, v);
    case NODE_SET_BLOCK:
        return exec_set_block(in, node);
    case NODE_MACRO:
        scope_set(in, in->scope, node->left->sym, val_macro(in, node, in->scope));
        return STATUS_OK;
    case NODE_CALL_BLOCK:
        return exec_call_block(in, node);
    case NODE_FILTER_BLOCK:
        TRY(capture(in, node->list, node->left, &v));
        return in->flow == FLOW_NORMAL ? emit_str(in, v) : STATUS_OK;
    case NODE_WITH:
        return exec_with(in, node);
    case NODE_SCOPE:
        return exec_scope(in, node);
    case NODE_BREAK:
        in->flow = FLOW_BREAK;
        return STATUS_OK;
    case NODE_CONTINUE:
        in->flow = FLOW_CONTINUE;
        return STATUS_OK;
    default:
        return interp_fail(in, "not a statement");
    }
}

enum status exec_body(struct interp *in, const struct node *first)
{
    TRY(interp_enter(in));
    for (const struct node *node = first; node && in->flow == FLOW_NORMAL; node = node->next)
        TRY(exec(in, node));
    interp_leave(in);
    return STATUS_OK;
}
