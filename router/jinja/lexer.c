#include "router/jinja/lexer.h"

#include "common/utf8.h"
#include "router/jinja/text.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    char text[3];
    uint8_t type;
} operators[] = {
    /* two characters first */
    {"//", TOKEN_FLOORDIV}, {"**", TOKEN_POW}, {"==", TOKEN_EQ}, {"!=", TOKEN_NE},
    {">=", TOKEN_GE},       {"<=", TOKEN_LE},  {"+", TOKEN_ADD}, {"-", TOKEN_SUB},
    {"/", TOKEN_DIV},       {"*", TOKEN_MUL},  {"%", TOKEN_MOD}, {"~", TOKEN_TILDE},
    {"[", TOKEN_LBRACKET},  {"]", TOKEN_RBRACKET}, {"(", TOKEN_LPAREN}, {")", TOKEN_RPAREN},
    {"{", TOKEN_LBRACE},    {"}", TOKEN_RBRACE}, {">", TOKEN_GT}, {"<", TOKEN_LT},
    {"=", TOKEN_ASSIGN},    {".", TOKEN_DOT},  {":", TOKEN_COLON}, {"|", TOKEN_PIPE},
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

static enum status fail(struct lexer *lexer, const char *what)
{
    return err_set(lexer->err, STATUS_INVALID, "template line %u: %s", lexer->line, what);
}

static bool at(const struct lexer *lexer, size_t pos, const char *text)
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

static void advance(struct lexer *lexer, size_t to)
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

    if (!at(lexer, pos, "{%"))
        return false;
    pos += 2;
    *sign = 0;
    if (at(lexer, pos, "-") || at(lexer, pos, "+"))
        *sign = lexer->source.data[pos++];
    pos = skip_space(lexer, pos);
    if (!at(lexer, pos, word))
        return false;
    pos = skip_space(lexer, pos + strlen(word));
    if (at(lexer, pos, "-%}"))
        *end = skip_space(lexer, pos + 3);
    else if (closing && at(lexer, pos, "+%}"))
        *end = pos + 3;
    else if (at(lexer, pos, "%}"))
        *end = pos + 2 + (closing && at(lexer, pos + 2, "\n"));
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
        if (at(lexer, pos, "-#}"))
            pos = skip_space(lexer, pos + 3);
        else if (at(lexer, pos, "+#}"))
            pos += 3;
        else if (at(lexer, pos, "#}"))
            pos += 2 + at(lexer, pos + 2, "\n");
        else
            continue;
        advance(lexer, pos);
        return STATUS_OK;
    }
    /* jinja2 forgives a tag with nothing behind it */
    return lexer->pos == lexer->source.len ? STATUS_OK : fail(lexer, "a comment is not closed");
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
        advance(lexer, end);
        return STATUS_OK;
    }
    return start == lexer->source.len ? STATUS_OK : fail(lexer, "a raw block is not closed");
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
            advance(lexer, lexer->source.len);
            return STATUS_OK;
        }
        raw = raw_tag(lexer, pos, "raw", &end, &sign);
        if (!raw) {
            end = pos + 2;
            sign = at(lexer, end, "-") || at(lexer, end, "+") ? lexer->source.data[end++] : 0;
        }
        text = strip_before(lexer, start, pos, sign, kind == '{');
        if (text.len > 0) { /* the tag is found again by the next call, with no text before it */
            out->type = TOKEN_DATA;
            out->text = text;
            advance(lexer, pos);
            return STATUS_OK;
        }
        advance(lexer, end);
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
    if (at(lexer, pos, lexer->in_variable ? "-}}" : "-%}"))
        pos = skip_space(lexer, pos + 3);
    else if (lexer->in_variable && at(lexer, pos, "}}"))
        pos += 2;
    else if (!lexer->in_variable && at(lexer, pos, "+%}"))
        pos += 3;
    else if (!lexer->in_variable && at(lexer, pos, "%}"))
        pos += 2 + at(lexer, pos + 2, "\n");
    else
        return false;
    out->type = lexer->in_variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END;
    lexer->in_tag = false;
    advance(lexer, pos);
    return true;
}

static size_t digits(const struct lexer *lexer, size_t pos, int base)
{
    const char *data = lexer->source.data;
    size_t end = pos;

    /* digits, each pair of them parted by at most one underscore */
    for (size_t i = pos; i < lexer->source.len; i++) {
        char c = data[i], low = (char)(c | 0x20);
        int value = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : 99;
        if (c == '_' && i > pos && data[i - 1] != '_')
            continue;
        if (value >= base)
            break;
        end = i + 1;
    }
    return end;
}

static enum status lex_integer(struct lexer *lexer, struct token *out)
{
    const char *data = lexer->source.data;
    size_t pos = lexer->pos, end = pos + 1;
    int base = 10;
    int64_t value = 0;

    if (data[pos] == '0' && pos + 1 < lexer->source.len) {
        char c = (char)(data[pos + 1] | 0x20);
        size_t from = pos + 2 + at(lexer, pos + 2, "_");
        base = c == 'b' ? 2 : c == 'o' ? 8 : c == 'x' ? 16 : 10;
        end = base == 10 ? pos + 1 : digits(lexer, from, base);
        if (base == 10 || end == from) { /* only zeros may follow a zero */
            base = 10;
            end = digits(lexer, pos, 1);
        }
    } else if (data[pos] != '0') {
        end = digits(lexer, pos, 10);
    }
    for (size_t i = base == 10 ? pos : pos + 2; i < end; i++) {
        char c = data[i];
        int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        if (c == '_')
            continue;
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return fail(lexer, "an integer does not fit 64 bits");
    }
    out->type = TOKEN_INTEGER;
    out->integer = value;
    lexer->pos = end;
    return STATUS_OK;
}

static bool is_digit(const struct lexer *lexer, size_t pos)
{
    return pos < lexer->source.len && lexer->source.data[pos] >= '0' &&
           lexer->source.data[pos] <= '9';
}

/* A float needs a fraction or an exponent, and no dot before it ("a.1.5" is two indexes). */
static bool lex_float(struct lexer *lexer, struct token *out)
{
    size_t pos = lexer->pos, end = digits(lexer, pos, 10), len = 0;
    bool real = false;
    char text[128];

    if (pos > 0 && lexer->source.data[pos - 1] == '.')
        return false;
    if (at(lexer, end, ".") && is_digit(lexer, end + 1)) {
        end = digits(lexer, end + 1, 10);
        real = true;
    }
    if (at(lexer, end, "e") || at(lexer, end, "E")) {
        size_t exponent = end + 1;
        if (at(lexer, exponent, "+") || at(lexer, exponent, "-"))
            exponent++;
        if (is_digit(lexer, exponent)) {
            end = digits(lexer, exponent, 10);
            real = true;
        }
    }
    if (!real)
        return false;
    for (size_t i = pos; i < end && len + 1 < sizeof(text); i++)
        if (lexer->source.data[i] != '_')
            text[len++] = lexer->source.data[i];
    text[len] = 0;
    out->type = TOKEN_FLOAT;
    out->number = strtod(text, NULL);
    lexer->pos = end;
    return true;
}

/* \xhh, \uhhhh, \Uhhhhhhhh: exactly `count` hex digits. */
static enum status hex_escape(struct lexer *lexer, size_t *pos, size_t stop, int count,
                              uint32_t *cp)
{
    *cp = 0;
    for (int i = 0; i < count; i++, (*pos)++) {
        char c = *pos < stop ? lexer->source.data[*pos] : 0, low = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            *cp = *cp * 16 + (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            *cp = *cp * 16 + (uint32_t)(low - 'a' + 10);
        else
            return fail(lexer, "a string has a truncated \\x or \\u escape");
    }
    if (*cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
        return fail(lexer, "a string has an escape that is no character");
    return STATUS_OK;
}

/* One escape; pos is behind the backslash. Unknown escapes keep their backslash. */
static enum status lex_escape(struct lexer *lexer, size_t *pos, size_t stop, char *to, size_t *len)
{
    static const char plain[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    char c = lexer->source.data[(*pos)++];
    const char *known = c ? strchr(plain, c) : NULL;
    uint32_t cp = 0;

    if (c == '\n')
        return STATUS_OK;
    if (known) {
        to[(*len)++] = values[known - plain];
        return STATUS_OK;
    }
    if (c >= '0' && c <= '7') {
        cp = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *pos < stop; i++, (*pos)++) {
            char d = lexer->source.data[*pos];
            if (d < '0' || d > '7')
                break;
            cp = cp * 8 + (uint32_t)(d - '0');
        }
    } else if (c == 'x' || c == 'u' || c == 'U') {
        TRY(hex_escape(lexer, pos, stop, c == 'x' ? 2 : c == 'u' ? 4 : 8, &cp));
    } else if (c == 'N') {
        return fail(lexer, "a string has a \\N{name} escape, which is not supported");
    } else {
        to[(*len)++] = '\\';
        to[(*len)++] = c;
        return STATUS_OK;
    }
    *len += (size_t)utf8_encode(cp, to + *len);
    return STATUS_OK;
}

static enum status lex_string(struct lexer *lexer, struct token *out)
{
    const char *data = lexer->source.data;
    char quote = data[lexer->pos];
    size_t start = lexer->pos + 1, stop = start, len = 0;
    char *text;

    while (stop < lexer->source.len && data[stop] != quote)
        stop += data[stop] == '\\' ? 2 : 1;
    if (stop >= lexer->source.len)
        return fail(lexer, "a string is not closed");
    text = arena_alloc(lexer->arena, 2 * (stop - start) + 8);
    for (size_t i = start; i < stop;) {
        if (data[i] != '\\') {
            text[len++] = data[i++];
            continue;
        }
        i++;
        TRY(lex_escape(lexer, &i, stop, text, &len));
    }
    out->type = TOKEN_STRING;
    out->text = (struct str){text, len};
    advance(lexer, stop + 1);
    return STATUS_OK;
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
        if (!at(lexer, lexer->pos, operators[i].text))
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
                return fail(lexer, "a closing bracket has no opening one");
            break;
        default:
            break;
        }
        return STATUS_OK;
    }
    return fail(lexer, "an unexpected character in a tag");
}

enum status lexer_next(struct lexer *lexer, struct token *out)
{
    size_t end;

    memset(out, 0, sizeof(*out));
    if (!lexer->in_tag)
        return lex_root(lexer, out);
    /* the end of a tag may begin with white space control, never with white space */
    advance(lexer, skip_space(lexer, lexer->pos));
    out->line = lexer->line;
    if (lexer->pos >= lexer->source.len)
        return STATUS_OK; /* EOF: the parser says what is missing */
    if (lex_tag_end(lexer, out))
        return STATUS_OK;
    if (is_digit(lexer, lexer->pos))
        return lex_float(lexer, out) ? STATUS_OK : lex_integer(lexer, out);
    end = name_end(lexer, lexer->pos);
    if (end > lexer->pos) {
        out->type = TOKEN_NAME;
        out->text = (struct str){lexer->source.data + lexer->pos, end - lexer->pos};
        lexer->pos = end;
        return STATUS_OK;
    }
    if (at(lexer, lexer->pos, "'") || at(lexer, lexer->pos, "\""))
        return lex_string(lexer, out);
    return lex_operator(lexer, out);
}
