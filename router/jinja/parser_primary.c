/* Literals, names, lists, tuples, dicts, and what may stand left of an assignment. */
#include "router/jinja/parser.h"

#include <string.h>

#include "router/jinja/interp.h"

static enum status parse_list(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_LIST, p->token.line), *item;
    struct list_tail tail = {&node->list};

    TRY(parser_advance(p));
    while (p->token.type != TOKEN_RBRACKET) {
        if (node->list)
            TRY(parser_expect(p, TOKEN_COMMA));
        if (p->token.type == TOKEN_RBRACKET)
            break;
        TRY(parse_expression(p, &item));
        list_push(&tail, item);
    }
    *out = node;
    return parser_advance(p);
}

static enum status parse_dict(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_DICT, p->token.line), *pair;
    struct list_tail tail = {&node->list};

    TRY(parser_advance(p));
    while (p->token.type != TOKEN_RBRACE) {
        if (node->list)
            TRY(parser_expect(p, TOKEN_COMMA));
        if (p->token.type == TOKEN_RBRACE)
            break;
        pair = parser_node(p, NODE_PAIR, p->token.line);
        TRY(parse_expression(p, &pair->left));
        TRY(parser_expect(p, TOKEN_COLON));
        TRY(parse_expression(p, &pair->right));
        list_push(&tail, pair);
    }
    *out = node;
    return parser_advance(p);
}

static void note_name(struct parser *p, uint32_t sym)
{
    for (struct macro_uses *macro = p->macro; macro; macro = macro->outer) {
        macro->caller |= sym == p->tmpl->sym_caller;
        macro->varargs |= sym == p->tmpl->sym_varargs;
        macro->kwargs |= sym == p->tmpl->sym_kwargs;
    }
}

static enum status parse_name(struct parser *p, bool namespaces, struct node **out)
{
    uint32_t line = p->token.line;
    struct node *node = parser_node(p, NODE_CONST, line);
    struct str name;

    TRY(parser_take_name(p, &name));
    *out = node;
    if (str_is(name, "true") || str_is(name, "True") || str_is(name, "false") ||
        str_is(name, "False")) {
        node->value = val_bool(name.data[0] == 't' || name.data[0] == 'T');
        return STATUS_OK;
    }
    if (str_is(name, "none") || str_is(name, "None")) {
        node->value = val_none();
        return STATUS_OK;
    }
    node->kind = NODE_NAME;
    node->sym = sym_intern(p->tmpl, name);
    note_name(p, node->sym);
    if (namespaces && p->token.type == TOKEN_DOT) {
        node->kind = NODE_NSREF;
        TRY(parser_advance(p));
        TRY(parser_take_name(p, &name));
        node->value = parser_string(p, name);
    }
    return STATUS_OK;
}

/* Neighbouring string literals are one string. */
static enum status parse_string(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_CONST, p->token.line);
    struct str whole = p->token.text;

    TRY(parser_advance(p));
    while (p->token.type == TOKEN_STRING) {
        char *joined = arena_alloc(&p->tmpl->arena, whole.len + p->token.text.len + 1);
        memcpy(joined, whole.data, whole.len);
        memcpy(joined + whole.len, p->token.text.data, p->token.text.len);
        whole = (struct str){joined, whole.len + p->token.text.len};
        if (whole.len > JINJA_SOURCE_BYTES_MAX / 8 && p->tmpl->arena.used_bytes > (64u << 20))
            return parser_fail(p, p->token.line, "too many neighbouring strings");
        TRY(parser_advance(p));
    }
    node->value = parser_string(p, whole);
    *out = node;
    return STATUS_OK;
}

enum status parse_primary(struct parser *p, bool namespaces, struct node **out)
{
    struct node *node;

    switch (p->token.type) {
    case TOKEN_NAME:
        return parse_name(p, namespaces, out);
    case TOKEN_STRING:
        return parse_string(p, out);
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        node = parser_node(p, NODE_CONST, p->token.line);
        node->value =
            p->token.type == TOKEN_FLOAT ? val_float(p->token.number) : val_int(p->token.integer);
        *out = node;
        return parser_advance(p);
    case TOKEN_LPAREN:
        TRY(parser_advance(p));
        TRY(parse_tuple(p, (struct tuple_rules){.parentheses = true}, out));
        return parser_expect(p, TOKEN_RPAREN);
    case TOKEN_LBRACKET:
        return parse_list(p, out);
    case TOKEN_LBRACE:
        return parse_dict(p, out);
    default:
        return parser_fail(p, p->token.line, "expected an expression, found %s",
                           token_name(p->token.type));
    }
}

enum status parse_tuple(struct parser *p, struct tuple_rules rules, struct node **out)
{
    struct node *node = parser_node(p, NODE_TUPLE, p->token.line), *item;
    struct list_tail tail = {&node->list};
    bool comma = false;

    TRY(parser_enter(p));
    for (;;) {
        if (node->list && comma)
            TRY(parser_expect(p, TOKEN_COMMA));
        if (p->token.type == TOKEN_VARIABLE_END || p->token.type == TOKEN_BLOCK_END ||
            p->token.type == TOKEN_RPAREN || (rules.until && parser_at_name(p, rules.until)))
            break;
        if (rules.simplified)
            TRY(parse_primary(p, rules.namespaces, &item));
        else if (rules.no_condexpr)
            TRY(parse_or(p, &item));
        else
            TRY(parse_expression(p, &item));
        list_push(&tail, item);
        if (p->token.type != TOKEN_COMMA)
            break;
        comma = true;
    }
    p->depth--;
    *out = comma ? node : node->list;
    if (!node->list && !rules.parentheses)
        return parser_fail(p, p->token.line, "expected an expression, found %s",
                           token_name(p->token.type));
    if (!node->list)
        *out = node;
    return STATUS_OK;
}

static enum status check_target(struct parser *p, const struct node *node, bool inside)
{
    if (node->kind == NODE_NAME || node->kind == NODE_NSREF)
        return STATUS_OK;
    if (node->kind == NODE_TUPLE && !inside) {
        for (const struct node *item = node->list; item; item = item->next)
            TRY(check_target(p, item, false));
        return STATUS_OK;
    }
    return parser_fail(p, node->line, "cannot assign to this expression");
}

enum status parse_target(struct parser *p, const char *until, bool namespaces, struct node **out)
{
    struct tuple_rules rules = {.simplified = true, .namespaces = namespaces, .until = until};

    TRY(parse_tuple(p, rules, out));
    return check_target(p, *out, false);
}

enum status parse_name_target(struct parser *p, struct node **out)
{
    struct str name;

    *out = parser_node(p, NODE_NAME, p->token.line);
    TRY(parser_take_name(p, &name));
    (*out)->sym = sym_intern(p->tmpl, name);
    return STATUS_OK;
}

enum status parse_signature(struct parser *p, struct node *macro)
{
    struct list_tail tail = {&macro->params};
    bool defaults = false, given;

    TRY(parser_expect(p, TOKEN_LPAREN));
    while (p->token.type != TOKEN_RPAREN) {
        struct node *pair = parser_node(p, NODE_PAIR, p->token.line);
        if (macro->params)
            TRY(parser_expect(p, TOKEN_COMMA));
        TRY(parse_name_target(p, &pair->left));
        TRY(parser_skip_if(p, TOKEN_ASSIGN, &given));
        if (given)
            TRY(parse_expression(p, &pair->right));
        else if (defaults)
            return parser_fail(p, pair->line, "a parameter without default follows one with");
        defaults |= given;
        list_push(&tail, pair);
    }
    return parser_advance(p);
}
