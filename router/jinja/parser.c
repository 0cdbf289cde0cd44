#include "router/jinja/parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "router/jinja/text.h"

enum status parser_fail(struct parser *p, uint32_t line, const char *format, ...)
{
    char text[240];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return err_set(p->err, STATUS_INVALID, "template line %u: %s", line, text);
}

enum status parser_advance(struct parser *p)
{
    if (p->has_ahead) {
        p->token = p->ahead;
        p->has_ahead = false;
        return STATUS_OK;
    }
    return lexer_next(&p->lexer, &p->token);
}

enum status parser_look(struct parser *p, struct token *out)
{
    if (!p->has_ahead) {
        TRY(lexer_next(&p->lexer, &p->ahead));
        p->has_ahead = true;
    }
    *out = p->ahead;
    return STATUS_OK;
}

bool parser_at_name(const struct parser *p, const char *name)
{
    return p->token.type == TOKEN_NAME && str_is(p->token.text, name);
}

enum status parser_skip_if(struct parser *p, enum token_type type, bool *skipped)
{
    *skipped = p->token.type == type;
    return *skipped ? parser_advance(p) : STATUS_OK;
}

enum status parser_skip_name(struct parser *p, const char *name, bool *skipped)
{
    *skipped = parser_at_name(p, name);
    return *skipped ? parser_advance(p) : STATUS_OK;
}

static enum status unexpected(struct parser *p, const char *wanted)
{
    if (p->token.type == TOKEN_NAME)
        return parser_fail(p, p->token.line, "expected %s, found '%.*s'", wanted,
                           (int)MIN(p->token.text.len, (size_t)60), p->token.text.data);
    return parser_fail(p, p->token.line, "expected %s, found %s", wanted,
                       token_name(p->token.type));
}

enum status parser_expect(struct parser *p, enum token_type type)
{
    if (p->token.type != type)
        return unexpected(p, token_name(type));
    return parser_advance(p);
}

enum status parser_expect_name(struct parser *p, const char *name)
{
    if (!parser_at_name(p, name))
        return unexpected(p, name);
    return parser_advance(p);
}

enum status parser_take_name(struct parser *p, struct str *out)
{
    *out = p->token.text;
    return parser_expect(p, TOKEN_NAME);
}

enum status parser_enter(struct parser *p)
{
    if (++p->depth > PARSER_DEPTH_MAX)
        return err_set(p->err, STATUS_TOO_LARGE, "template line %u: nested deeper than %d levels",
                       p->token.line, PARSER_DEPTH_MAX);
    return STATUS_OK;
}

struct node *parser_node(struct parser *p, enum node_kind kind, uint32_t line)
{
    struct node *node = arena_zalloc(&p->tmpl->arena, sizeof(*node));

    node->kind = kind;
    node->line = line;
    node->sym = SYM_NONE;
    return node;
}

struct val parser_string(struct parser *p, struct str text)
{
    struct val v = val_borrow(&p->tmpl->arena, text.data, text.len);

    v.text->chars = text_count(text.data, text.len); /* rendering threads must not write it */
    return v;
}
