/* Text, {{ }}, and {% %} statements. */
#include "router/jinja/parser.h"

#include <string.h>

static enum status parse_body(struct parser *p, const char *const ends[], struct node **out);

/* The ':' that may end a tag's head, the tag's end, and the body up to one of `ends`. The end's
 * name is the current token afterwards. */
static enum status parse_block(struct parser *p, const char *const ends[], struct node **out)
{
    bool colon;

    TRY(parser_skip_if(p, TOKEN_COLON, &colon));
    TRY(parser_expect(p, TOKEN_BLOCK_END));
    return parse_body(p, ends, out);
}

static enum status parse_block_to(struct parser *p, const char *end, struct node **out)
{
    const char *const ends[] = {end, NULL};

    TRY(parse_block(p, ends, out));
    return parser_advance(p);
}

/* The attribute that an expression reads, through filters: x.attr, x['attr'], x.attr | list. */
static bool attr_of(const struct parser *p, const struct node *node, struct str *out)
{
    while (node && node->kind == NODE_FILTER)
        node = node->left;
    if (!node)
        return false;
    if (node->kind == NODE_ATTR) {
        *out = val_str_of(node->value);
        return true;
    }
    if (node->kind == NODE_ITEM && node->right->kind == NODE_CONST &&
        node->right->value.type == VAL_STRING) {
        *out = val_str_of(node->right->value);
        return true;
    }
    for (const struct alias *alias = p->aliases; node->kind == NODE_NAME && alias;
         alias = alias->next) {
        if (alias->sym == node->sym) {
            *out = alias->attr;
            return true;
        }
    }
    return false;
}

static void note_loop(struct parser *p, const struct node *iterable)
{
    struct jinja_template *tmpl = p->tmpl;
    struct str attr;

    if (!attr_of(p, iterable, &attr))
        return;
    for (size_t i = 0; i < tmpl->loop_attr_count; i++)
        if (str_eq(tmpl->loop_attrs[i], attr))
            return;
    if (tmpl->loop_attr_count == tmpl->loop_attr_cap) {
        size_t cap = MAX(tmpl->loop_attr_cap * 2, (size_t)8);
        struct str *attrs = arena_array(&tmpl->arena, cap, sizeof(*attrs));
        if (tmpl->loop_attr_count)
            memcpy(attrs, tmpl->loop_attrs, tmpl->loop_attr_count * sizeof(*attrs));
        tmpl->loop_attrs = attrs;
        tmpl->loop_attr_cap = cap;
    }
    tmpl->loop_attrs[tmpl->loop_attr_count++] = attr;
}

static void note_alias(struct parser *p, const struct node *target, const struct node *value)
{
    struct alias *alias;
    struct str attr;

    if (target->kind != NODE_NAME || value->kind == NODE_NAME || !attr_of(p, value, &attr))
        return;
    for (alias = p->aliases; alias; alias = alias->next)
        if (alias->sym == target->sym && str_eq(alias->attr, attr))
            return;
    alias = arena_zalloc(&p->tmpl->arena, sizeof(*alias));
    alias->sym = target->sym;
    alias->attr = attr;
    alias->next = p->aliases;
    p->aliases = alias;
}

static enum status parse_for(struct parser *p, struct node *node)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct tuple_rules rules = {.no_condexpr = true, .until = "recursive"};
    bool given;

    TRY(parse_target(p, "in", false, &node->left));
    TRY(parser_expect_name(p, "in"));
    TRY(parse_tuple(p, rules, &node->right));
    note_loop(p, node->right);
    TRY(parser_skip_name(p, "if", &given));
    if (given)
        TRY(parse_expression(p, &node->third));
    TRY(parser_skip_name(p, "recursive", &node->recursive));
    p->loop_depth++;
    TRY(parse_block(p, ends, &node->list));
    p->loop_depth--;
    given = parser_at_name(p, "else");
    TRY(parser_advance(p));
    if (given)
        TRY(parse_block_to(p, "endfor", &node->orelse));
    return STATUS_OK;
}

/* An elif is an IF in `orelse`; the chain is walked, never recursed into. */
static enum status parse_if(struct parser *p, struct node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct unknown *unknowns = p->unknowns;

    for (;;) {
        TRY(parse_tuple(p, (struct tuple_rules){.no_condexpr = true}, &node->left));
        TRY(parse_block(p, ends, &node->list));
        if (!parser_at_name(p, "elif"))
            break;
        node->orelse = parser_node(p, NODE_IF, p->token.line);
        node = node->orelse;
        TRY(parser_advance(p));
    }
    if (parser_at_name(p, "else")) {
        TRY(parser_advance(p));
        node->orelse = parser_node(p, NODE_SCOPE, p->token.line);
        node->orelse->op = 1; /* a plain body: no scope of its own */
        TRY(parse_block_to(p, "endif", &node->orelse->list));
    } else {
        TRY(parser_advance(p));
    }
    p->unknowns = unknowns;
    return STATUS_OK;
}

static enum status parse_set(struct parser *p, struct node *node)
{
    bool assign;

    TRY(parse_target(p, NULL, true, &node->left));
    TRY(parser_skip_if(p, TOKEN_ASSIGN, &assign));
    if (assign) {
        TRY(parse_tuple(p, (struct tuple_rules){0}, &node->right));
        note_alias(p, node->left, node->right);
        return STATUS_OK;
    }
    node->kind = NODE_SET_BLOCK;
    TRY(parse_filters(p, NULL, false, &node->right));
    return parse_block_to(p, "endset", &node->list);
}

static enum status parse_with(struct parser *p, struct node *node)
{
    struct node **last = &node->params;

    while (p->token.type != TOKEN_BLOCK_END && p->token.type != TOKEN_COLON) {
        struct node *pair = parser_node(p, NODE_PAIR, p->token.line);
        if (node->params)
            TRY(parser_expect(p, TOKEN_COMMA));
        TRY(parse_target(p, NULL, false, &pair->left));
        TRY(parser_expect(p, TOKEN_ASSIGN));
        TRY(parse_expression(p, &pair->right));
        *last = pair;
        last = &pair->next;
    }
    return parse_block_to(p, "endwith", &node->list);
}

/* The body of a macro or call block: what it mentions is noted, and loops outside do not count. */
static enum status parse_macro_body(struct parser *p, const char *end, struct node *macro)
{
    struct macro_uses uses = {.outer = p->macro};
    unsigned loop_depth = p->loop_depth;

    p->macro = &uses;
    p->loop_depth = 0;
    TRY(parse_block_to(p, end, &macro->list));
    p->macro = uses.outer;
    p->loop_depth = loop_depth;
    for (const struct node *pair = macro->params; pair; pair = pair->next) {
        uses.caller &= pair->left->sym != p->tmpl->sym_caller;
        uses.varargs &= pair->left->sym != p->tmpl->sym_varargs;
        uses.kwargs &= pair->left->sym != p->tmpl->sym_kwargs;
    }
    macro->uses_caller = uses.caller;
    macro->uses_varargs = uses.varargs;
    macro->uses_kwargs = uses.kwargs;
    return STATUS_OK;
}

static enum status parse_macro(struct parser *p, struct node *node)
{
    TRY(parse_name_target(p, &node->left));
    TRY(parse_signature(p, node));
    return parse_macro_body(p, "endmacro", node);
}

static enum status parse_call_block(struct parser *p, struct node *node)
{
    node->right = parser_node(p, NODE_MACRO, node->line);
    if (p->token.type == TOKEN_LPAREN)
        TRY(parse_signature(p, node->right));
    TRY(parse_expression(p, &node->left));
    if (node->left->kind != NODE_CALL)
        return parser_fail(p, node->line, "a call block needs a call");
    return parse_macro_body(p, "endcall", node->right);
}

static enum status parse_filter_block(struct parser *p, struct node *node)
{
    TRY(parse_filters(p, NULL, true, &node->left));
    return parse_block_to(p, "endfilter", &node->list);
}

static enum status parse_break(struct parser *p, struct node *node)
{
    if (p->loop_depth == 0)
        return parser_fail(p, node->line, "break or continue outside of a loop");
    return STATUS_OK;
}

static enum status parse_generation(struct parser *p, struct node *node)
{
    unsigned loop_depth = p->loop_depth;

    p->loop_depth = 0; /* its body is a function in the original */
    TRY(parse_block_to(p, "endgeneration", &node->list));
    p->loop_depth = loop_depth;
    return STATUS_OK;
}

/* {% block name %}: without inheritance a block is its body, with only the context around it. */
static enum status parse_named_block(struct parser *p, struct node *node)
{
    struct str name, again;
    bool skipped;

    TRY(parser_take_name(p, &name));
    TRY(parser_skip_name(p, "scoped", &skipped));
    TRY(parser_skip_name(p, "required", &skipped));
    TRY(parse_block_to(p, "endblock", &node->list));
    if (p->token.type == TOKEN_NAME && str_eq(p->token.text, name))
        TRY(parser_take_name(p, &again));
    return STATUS_OK;
}

static enum status parse_print(struct parser *p, struct node *node)
{
    struct node *list = parser_node(p, NODE_CONCAT, node->line), **last = &list->list;

    while (p->token.type != TOKEN_BLOCK_END) {
        if (list->list)
            TRY(parser_expect(p, TOKEN_COMMA));
        TRY(parse_expression(p, last));
        last = &(*last)->next;
    }
    node->left = list;
    return STATUS_OK;
}

static const struct {
    const char *name;
    enum node_kind kind;
    enum status (*parse)(struct parser *p, struct node *node);
} statements[] = {
    {"if", NODE_IF, parse_if},
    {"for", NODE_FOR, parse_for},
    {"set", NODE_SET, parse_set},
    {"macro", NODE_MACRO, parse_macro},
    {"call", NODE_CALL_BLOCK, parse_call_block},
    {"filter", NODE_FILTER_BLOCK, parse_filter_block},
    {"with", NODE_WITH, parse_with},
    {"break", NODE_BREAK, parse_break},
    {"continue", NODE_CONTINUE, parse_break},
    {"generation", NODE_SCOPE, parse_generation},
    {"block", NODE_SCOPE, parse_named_block},
    {"print", NODE_OUTPUT, parse_print},
};

static enum status parse_statement(struct parser *p, struct node **out)
{
    struct str name = p->token.text;
    uint32_t line = p->token.line;

    TRY(parser_enter(p));
    TRY(parser_expect(p, TOKEN_NAME));
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        if (!str_is(name, statements[i].name))
            continue;
        *out = parser_node(p, statements[i].kind, line);
        TRY(statements[i].parse(p, *out));
        p->depth--;
        return parser_expect(p, TOKEN_BLOCK_END);
    }
    if (str_is(name, "include") || str_is(name, "import") || str_is(name, "from") ||
        str_is(name, "extends"))
        return parser_fail(p, line, "'%.*s' is not supported: a template is one file",
                           (int)name.len, name.data);
    return parser_fail(p, line, "unknown or misplaced tag '%.*s'", (int)MIN(name.len, (size_t)60),
                       name.data);
}

static bool at_end_tag(const struct parser *p, const char *const ends[])
{
    for (size_t i = 0; ends && ends[i]; i++)
        if (parser_at_name(p, ends[i]))
            return true;
    return false;
}

/* Up to one of `ends` (whose name is then the current token), or the end of the source when ends is
 * NULL. */
static enum status parse_body(struct parser *p, const char *const ends[], struct node **out)
{
    struct node **last = out, *node;
    uint32_t line = p->token.line;

    *out = NULL;
    for (;;) {
        node = parser_node(p, NODE_TEXT, p->token.line);
        switch (p->token.type) {
        case TOKEN_DATA:
            node->value = parser_string(p, p->token.text);
            TRY(parser_advance(p));
            break;
        case TOKEN_VARIABLE_BEGIN:
            node->kind = NODE_OUTPUT;
            TRY(parser_advance(p));
            TRY(parse_tuple(p, (struct tuple_rules){0}, &node->left));
            TRY(parser_expect(p, TOKEN_VARIABLE_END));
            break;
        case TOKEN_BLOCK_BEGIN:
            TRY(parser_advance(p));
            if (at_end_tag(p, ends))
                return STATUS_OK;
            TRY(parse_statement(p, &node));
            break;
        default:
            if (!ends)
                return STATUS_OK;
            return parser_fail(p, line, "the template ends before '%s'", ends[0]);
        }
        *last = node;
        last = &node->next;
    }
}

enum status parser_run(struct jinja_template *tmpl, struct str source, struct err *err)
{
    struct parser p = {.tmpl = tmpl, .err = err};

    lexer_init(&p.lexer, &tmpl->arena, source, err);
    tmpl->source = p.lexer.source;
    TRY(parser_advance(&p));
    TRY(parse_body(&p, NULL, &tmpl->body));
    if (p.unknowns) {
        const struct node *node = p.unknowns->node;
        struct str name = val_str_of(node->value);
        return parser_fail(&p, node->line, "there is no %s named '%.*s'",
                           node->kind == NODE_FILTER ? "filter" : "test",
                           (int)MIN(name.len, (size_t)60), name.data);
    }
    return STATUS_OK;
}
