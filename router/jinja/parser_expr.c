/* Expressions, loosest binding first: conditional, or, and, not, comparison, + -, ~, * / // %, **,
 * unary, then postfix (.x [x] (x)) and filters and tests. */
#include "router/jinja/parser.h"

#include <string.h>

#include "router/jinja/interp.h"

static enum status parse_unary(struct parser *p, bool with_filter, struct node **out);

struct list_tail {
    struct node **last;
};

static void push(struct list_tail *tail, struct node *node)
{
    *tail->last = node;
    tail->last = &node->next;
}

static struct node *binary(struct parser *p, enum node_kind kind, struct node *left,
                           struct node *right)
{
    struct node *node = parser_node(p, kind, left->line);

    node->left = left;
    node->right = right;
    return node;
}

static const enum binary_op *binary_op_of(enum token_type type)
{
    static const enum binary_op ops[] = {
        [TOKEN_ADD] = BINARY_ADD, [TOKEN_SUB] = BINARY_SUB,           [TOKEN_MUL] = BINARY_MUL,
        [TOKEN_DIV] = BINARY_DIV, [TOKEN_FLOORDIV] = BINARY_FLOORDIV, [TOKEN_MOD] = BINARY_MOD,
        [TOKEN_POW] = BINARY_POW,
    };
    return &ops[type];
}

static enum status parse_power(struct parser *p, struct node **out)
{
    TRY(parse_unary(p, true, out));
    while (p->token.type == TOKEN_POW) {
        struct node *right;
        TRY(parser_advance(p));
        TRY(parse_unary(p, true, &right));
        *out = binary(p, NODE_BINARY, *out, right);
        (*out)->op = BINARY_POW;
    }
    return STATUS_OK;
}

static enum status parse_product(struct parser *p, struct node **out)
{
    TRY(parse_power(p, out));
    while (p->token.type == TOKEN_MUL || p->token.type == TOKEN_DIV ||
           p->token.type == TOKEN_FLOORDIV || p->token.type == TOKEN_MOD) {
        enum binary_op op = *binary_op_of(p->token.type);
        struct node *right;
        TRY(parser_advance(p));
        TRY(parse_power(p, &right));
        *out = binary(p, NODE_BINARY, *out, right);
        (*out)->op = op;
    }
    return STATUS_OK;
}

static enum status parse_concat(struct parser *p, struct node **out)
{
    struct list_tail tail;
    struct node *node, *item;

    TRY(parse_product(p, out));
    if (p->token.type != TOKEN_TILDE)
        return STATUS_OK;
    node = parser_node(p, NODE_CONCAT, (*out)->line);
    tail.last = &node->list;
    push(&tail, *out);
    while (p->token.type == TOKEN_TILDE) {
        TRY(parser_advance(p));
        TRY(parse_product(p, &item));
        push(&tail, item);
    }
    *out = node;
    return STATUS_OK;
}

static enum status parse_sum(struct parser *p, struct node **out)
{
    TRY(parse_concat(p, out));
    while (p->token.type == TOKEN_ADD || p->token.type == TOKEN_SUB) {
        enum binary_op op = *binary_op_of(p->token.type);
        struct node *right;
        TRY(parser_advance(p));
        TRY(parse_concat(p, &right));
        *out = binary(p, NODE_BINARY, *out, right);
        (*out)->op = op;
    }
    return STATUS_OK;
}

/* Is a comparison operator here? Skips it. */
static enum status compare_op(struct parser *p, bool *found, uint8_t *op)
{
    struct token ahead;

    *found = true;
    switch (p->token.type) {
    case TOKEN_EQ:
        *op = COMPARE_EQ;
        break;
    case TOKEN_NE:
        *op = COMPARE_NE;
        break;
    case TOKEN_LT:
        *op = COMPARE_LT;
        break;
    case TOKEN_LE:
        *op = COMPARE_LE;
        break;
    case TOKEN_GT:
        *op = COMPARE_GT;
        break;
    case TOKEN_GE:
        *op = COMPARE_GE;
        break;
    default:
        *op = COMPARE_IN;
        *found = parser_at_name(p, "in");
        if (parser_at_name(p, "not")) {
            TRY(parser_look(p, &ahead));
            *found = ahead.type == TOKEN_NAME && str_is(ahead.text, "in");
            *op = COMPARE_NOT_IN;
            if (*found)
                TRY(parser_advance(p));
        }
    }
    return *found ? parser_advance(p) : STATUS_OK;
}

static enum status parse_compare(struct parser *p, struct node **out)
{
    struct list_tail tail = {NULL};
    struct node *node = NULL;

    TRY(parse_sum(p, out));
    for (;;) {
        struct node *operand;
        bool found;
        uint8_t op;
        TRY(compare_op(p, &found, &op));
        if (!found)
            break;
        if (!node) {
            node = parser_node(p, NODE_COMPARE, (*out)->line);
            node->left = *out;
            tail.last = &node->list;
        }
        operand = parser_node(p, NODE_OPERAND, p->token.line);
        operand->op = op;
        TRY(parse_sum(p, &operand->left));
        push(&tail, operand);
    }
    if (node)
        *out = node;
    return STATUS_OK;
}

static enum status parse_not(struct parser *p, struct node **out)
{
    struct node *node;

    if (!parser_at_name(p, "not"))
        return parse_compare(p, out);
    node = parser_node(p, NODE_NOT, p->token.line);
    TRY(parser_enter(p));
    TRY(parser_advance(p));
    TRY(parse_not(p, &node->left));
    p->depth--;
    *out = node;
    return STATUS_OK;
}

static enum status parse_and(struct parser *p, struct node **out)
{
    struct node *right;
    bool more;

    TRY(parse_not(p, out));
    for (;;) {
        TRY(parser_skip_name(p, "and", &more));
        if (!more)
            return STATUS_OK;
        TRY(parse_not(p, &right));
        *out = binary(p, NODE_AND, *out, right);
    }
}

static enum status parse_or(struct parser *p, struct node **out)
{
    struct node *right;
    bool more;

    TRY(parse_and(p, out));
    for (;;) {
        TRY(parser_skip_name(p, "or", &more));
        if (!more)
            return STATUS_OK;
        TRY(parse_and(p, &right));
        *out = binary(p, NODE_OR, *out, right);
    }
}

enum status parse_expression(struct parser *p, struct node **out)
{
    struct unknown *unknowns = p->unknowns;
    bool more;

    TRY(parser_enter(p));
    TRY(parse_or(p, out));
    for (;;) {
        struct node *node;
        TRY(parser_skip_name(p, "if", &more));
        if (!more)
            break;
        node = parser_node(p, NODE_COND, (*out)->line);
        node->right = *out;
        TRY(parse_or(p, &node->left));
        TRY(parser_skip_name(p, "else", &more));
        if (more)
            TRY(parse_expression(p, &node->third));
        p->unknowns = unknowns;
        *out = node;
    }
    p->depth--;
    return STATUS_OK;
}

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
        push(&tail, item);
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
        push(&tail, pair);
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

static enum status parse_primary(struct parser *p, bool namespaces, struct node **out)
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
        node->value = p->token.type == TOKEN_FLOAT ? val_float(p->token.number)
                                                   : val_int(p->token.integer);
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
        push(&tail, item);
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
        push(&tail, pair);
    }
    return parser_advance(p);
}

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
    push(pos, node);
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
        push(&tail, item);
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
        text = arena_printf(&p->tmpl->arena, "%.*s.%.*s", (int)out->len, out->data,
                            (int)more.len, more.data);
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

static enum status parse_unary(struct parser *p, bool with_filter, struct node **out)
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
