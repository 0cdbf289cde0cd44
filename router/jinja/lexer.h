/* lexer - template source to tokens, with Jinja's white-space rules (trim_blocks, lstrip_blocks).
 *
 *   mode ROOT:   text up to the next {{ {% {#   → DATA (comments and raw blocks are dealt with
 * here) mode TAG:    names, literals, operators up to the matching }} or %}
 *
 * Pull one token at a time. Text of tokens lives in the template's arena.
 */
#ifndef MSGL_ROUTER_JINJA_LEXER_H
#define MSGL_ROUTER_JINJA_LEXER_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/status.h"

enum token_type {
    TOKEN_EOF,
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_DIV,
    TOKEN_FLOORDIV,
    TOKEN_MUL,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_TILDE,
    TOKEN_LBRACKET,
    TOKEN_RBRACKET,
    TOKEN_LPAREN,
    TOKEN_RPAREN,
    TOKEN_LBRACE,
    TOKEN_RBRACE,
    TOKEN_EQ,
    TOKEN_NE,
    TOKEN_GT,
    TOKEN_GE,
    TOKEN_LT,
    TOKEN_LE,
    TOKEN_ASSIGN,
    TOKEN_DOT,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_COMMA,
    TOKEN_SEMICOLON,
};

struct token {
    enum token_type type;
    uint32_t line;
    struct str text; /* DATA, NAME, STRING (unescaped) */
    int64_t integer;
    double number;
};

#define LEXER_NESTING_MAX 200
struct lexer {
    struct arena *arena;
    struct str source; /* newlines normalised */
    size_t pos;
    uint32_t line;
    bool in_tag, in_variable;
    char closers[LEXER_NESTING_MAX]; /* brackets that are open inside the tag */
    size_t closer_count;
    struct err *err;
};

/* Copies the source into the arena with \r\n and \r as \n and without one final newline. */
void lexer_init(struct lexer *lexer, struct arena *arena, struct str source, struct err *err);
enum status MUST_USE lexer_next(struct lexer *lexer, struct token *out);

/* Inside the lexer. lexer_integer, _float, _string read the literal at pos; a float needs a
 * fraction or an exponent and is no float otherwise. */
enum status lexer_fail(struct lexer *lexer, const char *what);
bool lexer_at(const struct lexer *lexer, size_t pos, const char *text);
bool lexer_at_digit(const struct lexer *lexer, size_t pos);
void lexer_advance(struct lexer *lexer, size_t to); /* counts lines */
enum status MUST_USE lexer_integer(struct lexer *lexer, struct token *out);
bool lexer_float(struct lexer *lexer, struct token *out);
enum status MUST_USE lexer_string(struct lexer *lexer, struct token *out);

const char *token_name(enum token_type type); /* "','", "a name", ... */

#endif
