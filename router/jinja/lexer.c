#include "router/jinja/lexer.h"

#include "router/jinja/text.h"

#include <string.h>

static const struct {
    char text[3];
    uint8_t type;
} operators[] = {
    /* two characters first */
    {"//", TOKEN_FLOORDIV}, {"**", TOKEN_POW},      {"==", TOKEN_EQ},    {"!=", TOKEN_NE},
    {">=", TOKEN_GE},       {"<=", TOKEN_LE},       {"+", TOKEN_ADD},    {"-", TOKEN_SUB},
    {"/", TOKEN_DIV},       {"*", TOKEN_MUL},       {"%", TOKEN_MOD},    {"~", TOKEN_TILDE},
    {"[", TOKEN_LBRACKET},  {"]", TOKEN_RBRACKET},  {"(", TOKEN_LPAREN}, {")", TOKEN_RPAREN},
    {"{", TOKEN_LBRACE},    {"}", TOKEN_RBRACE},    {">", TOKEN_GT},     {"<", TOKEN_LT},
    {"=", TOKEN_ASSIGN},    {".", TOKEN_DOT},       {":", TOKEN_COLON},  {"|", TOKEN_PIPE},
    {",", TOKEN_COMMA},     {";", TOKEN_SEMICOLON},
};

const char *token_name(enum token_type type)
{
    switch (type) {
    case TOKEN_EOF:
        return "the end of the template";
    case TOKEN_DATA:
        return "text";
    case TOKEN_VARIABLE_BEGIN:
        return "'{{'";
    case TOKEN_VARIABLE_END:
        return "'}}'";
    case TOKEN_BLOCK_BEGIN:
        return "'{%'";
    case TOKEN_BLOCK_END:
        return "'%}'";
    case TOKEN_NAME:
        return "a name";
    case TOKEN_STRING:
        return "a string";
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        return "a number";
    default:
        for (size_t i = 0; i < ARRAY_LEN(operators); i++)
            if (operators[i].type == type)
                return operators[i].text;
        return "?";
    }
}

void lexer_init(struct lexer *lexer, struct arena *arena, struct str source, struct err *err)
{
    char *copy = arena_alloc(arena, source.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < source.len; i++) {
        char c = source.data[i];
        if (c == '\r') {
            if (i + 1 < source.len && source.data[i + 1] == '\n')
                i++;
            c = '\n';
        }
        copy[len++] = c;
    }
    if (len > 0 && copy[len - 1] == '\n')
        len--;
    copy[len] = 0;
    memset(lexer, 0, sizeof(*lexer));
    lexer->arena = arena;
    lexer->source = (struct str){copy, len};
    lexer->line = 1;
    lexer->err = err;
}

enum status lexer_fail(struct lexer *lexer, const char *what)
{
    return err_set(lexer->err, STATUS_INVALID, "template line %u: %s", lexer->line, what);
}

bool lexer_at(const struct lexer *lexer, size_t pos, const char *text)
{
    size_t len = strlen(text);
    return lexer->source.len - pos >= len && memcmp(lexer->source.data + pos, text, len) == 0;
}

static struct str rest(const struct lexer *lexer, size_t pos)
{
    return (struct str){lexer->source.data + pos, lexer->source.len - pos};
}

static size_t skip_space(const struct lexer *lexer, size_t pos)
{
    return pos + text_space_prefix(rest(lexer, pos));
}

void lexer_advance(struct lexer *lexer, size_t to)
{
    const char *p = lexer->source.data + lexer->pos, *end = lexer->source.data + to;

    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        lexer->line++;
        p++;
    }
    lexer->pos = to;
}

/* Does "{%" sign? spaces WORD spaces, then the end of the tag, stand at pos? *end is behind it.
 * `raw` tags do not swallow the newline behind them, `endraw` tags do. */
static bool raw_tag(const struct lexer *lexer, size_t pos, const char *word, size_t *end,
                    char *sign)
{
    bool closing = word[0] == 'e';

    if (!lexer_at(lexer, pos, "{%"))
        return false;
    pos += 2;
    *sign = 0;
    if (lexer_at(lexer, pos, "-") || lexer_at(lexer, pos, "+"))
        *sign = lexer->source.data[pos++];
    pos = skip_space(lexer, pos);
    if (!lexer_at(lexer, pos, word))
        return false;
    pos = skip_space(lexer, pos + strlen(word));
    if (lexer_at(lexer, pos, "-%}"))
        *end = skip_space(lexer, pos + 3);
    else if (closing && lexer_at(lexer, pos, "+%}"))
        *end = pos + 3;
    else if (lexer_at(lexer, pos, "%}"))
        *end = pos + 2 + (closing && lexer_at(lexer, pos + 2, "\n"));
    else
        return false;
    return true;
}

/* The text before a tag, as much of it as the tag's sign and lstrip_blocks leave. */
static struct str strip_before(const struct lexer *lexer, size_t start, size_t stop, char sign,
                               bool variable)
{
    struct str text = {lexer->source.data + start, stop - start};
    size_t line_start = text.len;

    if (sign == '-') {
        text.len -= text_space_suffix(text);
        return text;
    }
    if (sign == '+' || variable)
        return text;
    while (line_start > 0 && text.data[line_start - 1] != '\n')
        line_start--;
    if (line_start > 0 || start == 0 || lexer->source.data[start - 1] == '\n') {
        struct str tail = {text.data + line_start, text.len - line_start};
        if (text_space_prefix(tail) == tail.len)
            text.len = line_start;
    }
    return text;
}

static enum status skip_comment(struct lexer *lexer, size_t pos)
{
    for (; pos < lexer->source.len; pos++) {
        if (lexer_at(lexer, pos, "-#}"))
            pos = skip_space(lexer, pos + 3);
        else if (lexer_at(lexer, pos, "+#}"))
            pos += 3;
        else if (lexer_at(lexer, pos, "#}"))
            pos += 2 + lexer_at(lexer, pos + 2, "\n");
        else
            continue;
        lexer_advance(lexer, pos);
        return STATUS_OK;
    }
    /* jinja2 forgives a tag with nothing behind it */
    return lexer->pos == lexer->source.len ? STATUS_OK
                                           : lexer_fail(lexer, "a comment is not closed");
}

static enum status lex_raw(struct lexer *lexer, size_t start, struct token *out)
{
    for (size_t pos = start; pos < lexer->source.len; pos++) {
        size_t end;
        char sign;
        if (lexer->source.data[pos] != '{' || !raw_tag(lexer, pos, "endraw", &end, &sign))
            continue;
        out->type = TOKEN_DATA;
        out->text = strip_before(lexer, start, pos, sign, false);
        lexer_advance(lexer, end);
        return STATUS_OK;
    }
    return start == lexer->source.len ? STATUS_OK : lexer_fail(lexer, "a raw block is not closed");
}

/* In text: returns DATA, or the begin of a tag when no text is left before it. */
static enum status lex_root(struct lexer *lexer, struct token *out)
{
    while (lexer->pos < lexer->source.len) {
        size_t start = lexer->pos, pos = start, end;
        char kind = 0, sign = 0;
        bool raw = false;
        struct str text;

        while (pos < lexer->source.len) {
            const char *brace = memchr(lexer->source.data + pos, '{', lexer->source.len - pos);
            pos = brace ? (size_t)(brace - lexer->source.data) : lexer->source.len;
            kind = pos + 1 < lexer->source.len ? lexer->source.data[pos + 1] : 0;
            if (kind == '%' || kind == '{' || kind == '#')
                break;
            pos += pos < lexer->source.len;
        }
        out->line = lexer->line;
        if (pos >= lexer->source.len) {
            out->type = TOKEN_DATA;
            out->text = rest(lexer, start);
            lexer_advance(lexer, lexer->source.len);
            return STATUS_OK;
        }
        raw = raw_tag(lexer, pos, "raw", &end, &sign);
        if (!raw) {
            end = pos + 2;
            sign = lexer_at(lexer, end, "-") || lexer_at(lexer, end, "+")
                       ? lexer->source.data[end++]
                       : 0;
        }
        text = strip_before(lexer, start, pos, sign, kind == '{');
        if (text.len > 0) { /* the tag is found again by the next call, with no text before it */
            out->type = TOKEN_DATA;
            out->text = text;
            lexer_advance(lexer, pos);
            return STATUS_OK;
        }
        lexer_advance(lexer, end);
        if (raw)
            return lex_raw(lexer, end, out);
        if (kind != '#') {
            lexer->in_tag = true;
            lexer->in_variable = kind == '{';
            out->type = kind == '{' ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN;
            return STATUS_OK;
        }
        TRY(skip_comment(lexer, end));
    }
    out->type = TOKEN_EOF;
    return STATUS_OK;
}

/* The end of the tag, when it stands here and no bracket is open. */
static bool lex_tag_end(struct lexer *lexer, struct token *out)
{
    size_t pos = lexer->pos;

    if (lexer->closer_count > 0)
        return false;
    if (lexer_at(lexer, pos, lexer->in_variable ? "-}}" : "-%}"))
        pos = skip_space(lexer, pos + 3);
    else if (lexer->in_variable && lexer_at(lexer, pos, "}}"))
        pos += 2;
    else if (!lexer->in_variable && lexer_at(lexer, pos, "+%}"))
        pos += 3;
    else if (!lexer->in_variable && lexer_at(lexer, pos, "%}"))
        pos += 2 + lexer_at(lexer, pos + 2, "\n");
    else
        return false;
    out->type = lexer->in_variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END;
    lexer->in_tag = false;
    lexer_advance(lexer, pos);
    return true;
}

static size_t name_end(const struct lexer *lexer, size_t pos)
{
    while (pos < lexer->source.len) {
        uint32_t cp;
        int n = text_next(lexer->source.data + pos, lexer->source.len - pos, &cp);
        if (cp != '_' && !text_is_alnum(cp))
            break;
        pos += (size_t)n;
    }
    return pos;
}

static enum status lex_operator(struct lexer *lexer, struct token *out)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (!lexer_at(lexer, lexer->pos, operators[i].text))
            continue;
        out->type = operators[i].type;
        lexer->pos += strlen(operators[i].text);
        switch (out->type) {
        case TOKEN_LPAREN:
        case TOKEN_LBRACKET:
        case TOKEN_LBRACE:
            if (lexer->closer_count == LEXER_NESTING_MAX)
                return err_set(lexer->err, STATUS_TOO_LARGE,
                               "template line %u: more than %d open brackets", lexer->line,
                               LEXER_NESTING_MAX);
            lexer->closers[lexer->closer_count++] = (char)(out->type + 1);
            break;
        case TOKEN_RPAREN:
        case TOKEN_RBRACKET:
        case TOKEN_RBRACE:
            if (lexer->closer_count == 0 ||
                lexer->closers[--lexer->closer_count] != (char)out->type)
                return lexer_fail(lexer, "a closing bracket has no opening one");
            break;
        default:
            break;
        }
        return STATUS_OK;
    }
    return lexer_fail(lexer, "an unexpected character in a tag");
}

enum status lexer_next(struct lexer *lexer, struct token *out)
{
    size_t end;

    memset(out, 0, sizeof(*out));
    if (!lexer->in_tag)
        return lex_root(lexer, out);
    /* the end of a tag may begin with white space control, never with white space */
    lexer_advance(lexer, skip_space(lexer, lexer->pos));
    out->line = lexer->line;
    if (lexer->pos >= lexer->source.len)
        return STATUS_OK; /* EOF: the parser says what is missing */
    if (lex_tag_end(lexer, out))
        return STATUS_OK;
    if (lexer_at_digit(lexer, lexer->pos))
        return lexer_float(lexer, out) ? STATUS_OK : lexer_integer(lexer, out);
    end = name_end(lexer, lexer->pos);
    if (end > lexer->pos) {
        out->type = TOKEN_NAME;
        out->text = (struct str){lexer->source.data + lexer->pos, end - lexer->pos};
        lexer->pos = end;
        return STATUS_OK;
    }
    if (lexer_at(lexer, lexer->pos, "'") || lexer_at(lexer, lexer->pos, "\""))
        return lexer_string(lexer, out);
    return lex_operator(lexer, out);
}
