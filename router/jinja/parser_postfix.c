/* What follows a value: .x [x] (x), filters and tests; and unary signs, which bind in between. */
#include "router/jinja/parser.h"

#include "router/jinja/interp.h"

static enum status parse_arg(struct parser *p, struct call_args *args, struct list_tail *pos,
                             struct keyword ***kw)
{
    uint32_t line = p->token.line;
    struct token ahead = {0};
    struct node *node;

    if (p->token.type == TOKEN_MUL) {
        if (args->star || args->star_star)
            return parser_fail(p, line, "invalid syntax for a function call");
        TRY(parser_advance(p));
        return parse_expression(p, &args->star);
    }
    if (p->token.type == TOKEN_POW) {
        if (args->star_star)
            return parser_fail(p, line, "invalid syntax for a function call");
        TRY(parser_advance(p));
        return parse_expression(p, &args->star_star);
    }
    if (p->token.type == TOKEN_NAME)
        TRY(parser_look(p, &ahead));
    if (ahead.type == TOKEN_ASSIGN) {
        struct keyword *keyword = arena_zalloc(&p->tmpl->arena, sizeof(*keyword));
        keyword->name = p->token.text;
        if (args->star_star)
            return parser_fail(p, line, "invalid syntax for a function call");
        for (const struct keyword *k = args->kw; k; k = k->next)
            if (str_eq(k->name, keyword->name))
                return parser_fail(p, line, "keyword argument '%.*s' is given twice",
                                   (int)MIN(k->name.len, (size_t)60), k->name.data);
        TRY(parser_advance(p));
        TRY(parser_advance(p));
        TRY(parse_expression(p, &keyword->value));
        **kw = keyword;
        *kw = &keyword->next;
        args->kw_count++;
        return STATUS_OK;
    }
    if (args->star || args->star_star || args->kw)
        return parser_fail(p, line, "invalid syntax for a function call");
    TRY(parse_expression(p, &node));
    list_push(pos, node);
    args->pos_count++;
    return STATUS_OK;
}

static enum status parse_args(struct parser *p, struct call_args **out)
{
    struct call_args *args = arena_zalloc(&p->tmpl->arena, sizeof(*args));
    struct list_tail pos = {&args->pos};
    struct keyword **kw = &args->kw;
    bool first = true;

    TRY(parser_expect(p, TOKEN_LPAREN));
    while (p->token.type != TOKEN_RPAREN) {
        if (!first)
            TRY(parser_expect(p, TOKEN_COMMA));
        if (p->token.type == TOKEN_RPAREN)
            break;
        TRY(parse_arg(p, args, &pos, &kw));
        first = false;
    }
    *out = args;
    return parser_advance(p);
}

static enum status parse_call(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_CALL, p->token.line);

    node->left = *out;
    TRY(parse_args(p, &node->args));
    *out = node;
    return STATUS_OK;
}

/* One part of a subscript: an expression, or a slice a:b:c with any part missing. */
static enum status parse_subscribed(struct parser *p, struct node **out)
{
    struct node *parts[3] = {NULL, NULL, NULL}, *slice;
    uint32_t line = p->token.line;

    if (p->token.type != TOKEN_COLON)
        TRY(parse_expression(p, &parts[0]));
    if (p->token.type != TOKEN_COLON) {
        *out = parts[0];
        return STATUS_OK;
    }
    for (int i = 1; i < 3 && p->token.type == TOKEN_COLON; i++) {
        TRY(parser_advance(p));
        if (p->token.type != TOKEN_COLON && p->token.type != TOKEN_RBRACKET &&
            p->token.type != TOKEN_COMMA)
            TRY(parse_expression(p, &parts[i]));
    }
    slice = parser_node(p, NODE_SLICE, line);
    slice->left = parts[0];
    slice->right = parts[1];
    slice->third = parts[2];
    *out = slice;
    return STATUS_OK;
}

static enum status parse_subscript(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_ITEM, p->token.line), *item;
    struct node *tuple = parser_node(p, NODE_TUPLE, p->token.line);
    struct list_tail tail = {&tuple->list};
    size_t count = 0;

    TRY(parser_advance(p));
    while (p->token.type != TOKEN_RBRACKET) {
        if (count)
            TRY(parser_expect(p, TOKEN_COMMA));
        TRY(parse_subscribed(p, &item));
        list_push(&tail, item);
        count++;
    }
    node->left = *out;
    node->right = count == 1 ? tuple->list : tuple;
    *out = node;
    return parser_advance(p);
}

static enum status parse_dot(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_ATTR, p->token.line);

    TRY(parser_advance(p));
    node->left = *out;
    if (p->token.type == TOKEN_INTEGER) {
        node->kind = NODE_ITEM;
        node->right = parser_node(p, NODE_CONST, p->token.line);
        node->right->value = val_int(p->token.integer);
    } else if (p->token.type == TOKEN_NAME) {
        node->value = parser_string(p, p->token.text);
    } else {
        return parser_fail(p, p->token.line, "expected a name or a number behind '.', found %s",
                           token_name(p->token.type));
    }
    *out = node;
    return parser_advance(p);
}

static enum status parse_postfix(struct parser *p, struct node **out)
{
    for (;;) {
        if (p->token.type == TOKEN_DOT)
            TRY(parse_dot(p, out));
        else if (p->token.type == TOKEN_LBRACKET)
            TRY(parse_subscript(p, out));
        else if (p->token.type == TOKEN_LPAREN)
            TRY(parse_call(p, out));
        else
            return STATUS_OK;
    }
}

/* Filter and test names may be dotted. */
static enum status parse_dotted(struct parser *p, struct str *out)
{
    TRY(parser_take_name(p, out));
    while (p->token.type == TOKEN_DOT) {
        struct str more;
        char *text;
        TRY(parser_advance(p));
        TRY(parser_take_name(p, &more));
        if (out->len + more.len > 1000)
            return parser_fail(p, p->token.line, "the name of a filter or test is too long");
        text = arena_printf(&p->tmpl->arena, "%.*s.%.*s", (int)out->len, out->data, (int)more.len,
                            more.data);
        *out = str_from(text);
    }
    return STATUS_OK;
}

static void note_unknown(struct parser *p, const struct node *node)
{
    struct unknown *unknown = arena_zalloc(&p->tmpl->arena, sizeof(*unknown));

    unknown->node = node;
    unknown->next = p->unknowns;
    p->unknowns = unknown;
}

enum status parse_filters(struct parser *p, struct node *operand, bool inline_first,
                          struct node **out)
{
    *out = operand;
    while (inline_first || p->token.type == TOKEN_PIPE) {
        struct node *node = parser_node(p, NODE_FILTER, p->token.line);
        struct str name;
        if (!inline_first)
            TRY(parser_advance(p));
        inline_first = false;
        TRY(parse_dotted(p, &name));
        node->left = *out;
        node->value = parser_string(p, name);
        node->builtin = filter_find(name);
        if (!node->builtin)
            note_unknown(p, node);
        if (p->token.type == TOKEN_LPAREN)
            TRY(parse_args(p, &node->args));
        *out = node;
    }
    return STATUS_OK;
}

static enum status parse_test(struct parser *p, struct node **out)
{
    struct node *node = parser_node(p, NODE_TEST, p->token.line), *arg;
    struct str name;
    bool negated;

    TRY(parser_advance(p));
    TRY(parser_skip_name(p, "not", &negated));
    TRY(parse_dotted(p, &name));
    node->left = *out;
    node->value = parser_string(p, name);
    node->builtin = test_find(name);
    if (!node->builtin)
        note_unknown(p, node);
    switch (p->token.type) {
    case TOKEN_LPAREN:
        TRY(parse_args(p, &node->args));
        break;
    case TOKEN_NAME:
        if (parser_at_name(p, "else") || parser_at_name(p, "or") || parser_at_name(p, "and"))
            break;
        if (parser_at_name(p, "is"))
            return parser_fail(p, p->token.line, "tests cannot be chained with 'is'");
        /* fall through */
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        TRY(parse_primary(p, false, &arg));
        TRY(parse_postfix(p, &arg));
        node->args = arena_zalloc(&p->tmpl->arena, sizeof(*node->args));
        node->args->pos = arg;
        node->args->pos_count = 1;
        break;
    default:
        break;
    }
    *out = node;
    if (negated) {
        *out = parser_node(p, NODE_NOT, node->line);
        (*out)->left = node;
    }
    return STATUS_OK;
}

enum status parse_unary(struct parser *p, bool with_filter, struct node **out)
{
    if (p->token.type == TOKEN_SUB || p->token.type == TOKEN_ADD) {
        struct node *node = parser_node(p, NODE_POS, p->token.line);
        if (p->token.type == TOKEN_SUB)
            node->kind = NODE_NEG;
        TRY(parser_enter(p));
        TRY(parser_advance(p));
        TRY(parse_unary(p, false, &node->left));
        p->depth--;
        *out = node;
    } else {
        TRY(parse_primary(p, false, out));
    }
    TRY(parse_postfix(p, out));
    while (with_filter) {
        if (p->token.type == TOKEN_PIPE)
            TRY(parse_filters(p, *out, false, out));
        else if (parser_at_name(p, "is"))
            TRY(parse_test(p, out));
        else if (p->token.type == TOKEN_LPAREN)
            TRY(parse_call(p, out));
        else
            break;
    }
    return STATUS_OK;
}
