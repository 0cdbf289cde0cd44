/* Numbers and strings, with the spellings that Python has for them. */
#include "router/jinja/lexer.h"

#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

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

enum status lexer_integer(struct lexer *lexer, struct token *out)
{
    const char *data = lexer->source.data;
    size_t pos = lexer->pos, end = pos + 1;
    int base = 10;
    int64_t value = 0;

    if (data[pos] == '0' && pos + 1 < lexer->source.len) {
        char c = (char)(data[pos + 1] | 0x20);
        size_t from = pos + 2 + lexer_at(lexer, pos + 2, "_");
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
            return lexer_fail(lexer, "an integer does not fit 64 bits");
    }
    out->type = TOKEN_INTEGER;
    out->integer = value;
    lexer->pos = end;
    return STATUS_OK;
}

bool lexer_at_digit(const struct lexer *lexer, size_t pos)
{
    return pos < lexer->source.len && lexer->source.data[pos] >= '0' &&
           lexer->source.data[pos] <= '9';
}

/* A float needs a fraction or an exponent, and no dot before it ("a.1.5" is two indexes). */
bool lexer_float(struct lexer *lexer, struct token *out)
{
    size_t pos = lexer->pos, end = digits(lexer, pos, 10), len = 0;
    bool real = false;
    char *text;

    if (pos > 0 && lexer->source.data[pos - 1] == '.')
        return false;
    if (lexer_at(lexer, end, ".") && lexer_at_digit(lexer, end + 1)) {
        end = digits(lexer, end + 1, 10);
        real = true;
    }
    if (lexer_at(lexer, end, "e") || lexer_at(lexer, end, "E")) {
        size_t exponent = end + 1;
        if (lexer_at(lexer, exponent, "+") || lexer_at(lexer, exponent, "-"))
            exponent++;
        if (lexer_at_digit(lexer, exponent)) {
            end = digits(lexer, exponent, 10);
            real = true;
        }
    }
    if (!real)
        return false;
    text = arena_alloc(lexer->arena, end - pos + 1);
    for (size_t i = pos; i < end; i++)
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
            return lexer_fail(lexer, "a string has a truncated \\x or \\u escape");
    }
    if (*cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
        return lexer_fail(lexer, "a string has an escape that is no character");
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
        return lexer_fail(lexer, "a string has a \\N{name} escape, which is not supported");
    } else {
        to[(*len)++] = '\\';
        to[(*len)++] = c;
        return STATUS_OK;
    }
    *len += (size_t)utf8_encode(cp, to + *len);
    return STATUS_OK;
}

enum status lexer_string(struct lexer *lexer, struct token *out)
{
    const char *data = lexer->source.data;
    char quote = data[lexer->pos];
    size_t start = lexer->pos + 1, stop = start, len = 0;
    char *text;

    while (stop < lexer->source.len && data[stop] != quote)
        stop += data[stop] == '\\' ? 2 : 1;
    if (stop >= lexer->source.len)
        return lexer_fail(lexer, "a string is not closed");
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
    lexer_advance(lexer, stop + 1);
    return STATUS_OK;
}
