/* Operators, loosest binding first: conditional, or, and, not, comparison, + -, ~, * / // %, **. */
#include "router/jinja/parser.h"

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
    list_push(&tail, *out);
    while (p->token.type == TOKEN_TILDE) {
        TRY(parser_advance(p));
        TRY(parse_product(p, &item));
        list_push(&tail, item);
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
        list_push(&tail, operand);
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

enum status parse_or(struct parser *p, struct node **out)
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
