/* From Oniguruma's syntax (Ruby) to PCRE2's. What means the same to both passes; what means something
 * else is written in another way; the rest is refused by name.
 *
 *   \w  [[:alpha:]]        ─► [\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]   [\p{Alphabetic}]
 *   \b                      ─► look-around over \w
 *   \p{Han}                 ─► \p{sc:Han}                 PCRE2's own reading takes script extensions
 *   [a[bc]]  [a[^b]]        ─► [abc]  (?:[a]|[^b])
 *   [\p{L}&&[^\p{Han}]]     ─► (?:(?=[^\p{sc:Han}])[\p{L}])
 */
#include <ctype.h>
#include <string.h>

#include "router/text/regex.h"

#define CLASS_NESTING_MAX 8
#define NAME_MAX_BYTES    48
/* What is alphabetic to Oniguruma and was not yet when PCRE2's tables were made. */
#define ALPHA                                                                                      \
    "\\p{Alphabetic}\\x{363}-\\x{36f}\\x{c04}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{11080}\\x{"    \
    "11081}"
#define LOWER "\\p{Lowercase}\\x{10fc}\\x{a7f2}-\\x{a7f4}\\x{ab69}"
#define WORD  "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside of classes it asks a table of bytes first, which takes these for word characters. */
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

struct scan {
    const char *text;
    size_t len, at;
    struct err *err;
};

/* One class: the operands of its && so far, and the one being read. All match one character. */
struct class
{
    bool negated;
    struct buf ahead;  /* (?=…) of the operands before */
    struct buf body;   /* what stands between brackets */
    struct buf others; /* |[^…]|…: parts that cannot */
    bool single;       /* the item before was a character that may start a range */
};

static enum status refuse(const struct scan *s, size_t from, size_t len)
{
    len = MIN(len, s->len - from);
    return err_set(s->err, STATUS_UNSUPPORTED,
                   "the tokenizer's regex uses \"%.*s\" at byte %zu, which is not supported",
                   (int)len, s->text + from, from);
}

static char peek(const struct scan *s, size_t ahead)
{
    return s->at + ahead < s->len ? s->text[s->at + ahead] : 0;
}

/* ---- properties -------------------------------------------------------------------------------- */

struct name {
    const char *ruby, *pcre; /* what stands between the brackets of a class */
};

/* Spelled without case, spaces, "_" and "-". The general categories that PCRE2 knows pass. */
static const struct name properties[] = {
    {"alpha", ALPHA},
    {"alphabetic", ALPHA},
    {"alnum", ALPHA "\\p{Nd}"},
    {"digit", "\\p{Nd}"},
    {"space", "\\s"},
    {"whitespace", "\\s"},
    {"upper", "\\p{Uppercase}"},
    {"uppercase", "\\p{Uppercase}"},
    {"lower", LOWER},
    {"lowercase", LOWER},
    {"word", WORD},
    {"cntrl", "\\p{Cc}"},
    {"xdigit", "0-9A-Fa-f"},
    {"blank", "\\t\\p{Zs}"},
    {"punct", "\\p{P}\\p{S}"},
    {"letter", "\\p{L}"},
    {"mark", "\\p{M}"},
    {"number", "\\p{N}"},
    {"punctuation", "\\p{P}"},
    {"symbol", "\\p{S}"},
    {"separator", "\\p{Z}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
};

static const char *const categories[] = {
    "l",  "lu", "ll", "lt", "lm", "lo", "m",  "mn", "mc", "me", "n",  "nd",
    "nl", "no", "p",  "pc", "pd", "ps", "pe", "pi", "pf", "po", "s",  "sm",
    "sc", "sk", "so", "z",  "zs", "zl", "zp", "cc", "c",  "cf", "cn", "co",
};

static bool is_category(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(categories); i++) {
        if (strcmp(name, categories[i]) == 0)
            return true;
    }
    return false;
}

static void squeeze(const char *text, size_t len, char out[NAME_MAX_BYTES])
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < NAME_MAX_BYTES; i++) {
        if (isalnum((unsigned char)text[i]))
            out[n++] = (char)tolower((unsigned char)text[i]);
    }
    out[n] = 0;
}

/* Appends what a property's name stands for, to go between brackets. */
static enum status put_property(const struct scan *s, const char *text, size_t len, struct buf *out)
{
    char name[NAME_MAX_BYTES];
    squeeze(text, len, name);
    for (size_t i = 0; i < ARRAY_LEN(properties); i++) {
        if (strcmp(name, properties[i].ruby) == 0) {
            buf_str(out, properties[i].pcre);
            return STATUS_OK;
        }
    }
    if (is_category(name)) {
        buf_printf(out, "\\p{%c%s}", toupper((unsigned char)name[0]), name + 1);
        return STATUS_OK;
    }
    if (!*name || strncmp(name, "emoji", 5) == 0 || strncmp(name, "in", 2) == 0 ||
        len >= NAME_MAX_BYTES)
        return refuse(s, (size_t)(text - s->text), len);
    buf_printf(out, "\\p{sc:%.*s}", (int)len, text); /* PCRE2 refuses what is no script */
    return STATUS_OK;
}

/* ---- escapes ----------------------------------------------------------------------------------- */

static bool hex_run(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isxdigit((unsigned char)text[i]))
            return false;
    }
    return len > 0;
}

/* \x{…}, \xHH, \uHHHH: a character by its number. */
static enum status put_number(struct scan *s, struct buf *out)
{
    const char *from = s->text + s->at + 2;
    size_t left = s->len - s->at - 2, len = peek(s, 1) == 'u' ? 4 : 2, extra = 0;
    if (peek(s, 1) == 'x' && left && *from == '{') {
        const char *close = memchr(from, '}', left);
        len = close ? (size_t)(close - from) - 1 : 0;
        from++;
        extra = 2;
    } else if (peek(s, 1) == 'x' && left >= 2 && *from > '7') {
        return refuse(s, s->at, 4); /* a byte, to Oniguruma */
    }
    if (len > 8 || left < len + extra || !hex_run(from, len))
        return refuse(s, s->at, 4);
    buf_printf(out, "\\x{%.*s}", (int)len, from);
    s->at += 2 + len + extra;
    return STATUS_OK;
}

/* An escape that stands for a set: what goes between brackets, and whether it is the complement. */
static enum status read_set(struct scan *s, bool *is_set, bool *negated, struct buf *body)
{
    static const struct {
        char c;
        const char *body;
    } sets[] = {{'s', "\\s"}, {'d', "\\p{Nd}"}, {'w', WORD}, {'h', "0-9a-fA-F"}};
    char c = peek(s, 1);
    size_t from = s->at + 3;
    *is_set = true;
    *negated = isupper((unsigned char)c);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        if (tolower((unsigned char)c) == sets[i].c) {
            buf_str(body, sets[i].body);
            s->at += 2;
            return STATUS_OK;
        }
    }
    if (c == 'p' || c == 'P') {
        const char *close = memchr(s->text + s->at, '}', s->len - s->at);
        if (peek(s, 2) != '{' || !close)
            return refuse(s, s->at, 4);
        if (s->text[from] == '^') {
            *negated = !*negated;
            from++;
        }
        TRY(put_property(s, s->text + from, (size_t)(close - s->text) - from, body));
        s->at = (size_t)(close - s->text) + 1;
        return STATUS_OK;
    }
    *is_set = false;
    return STATUS_OK;
}

/* Any other escape that stands for one character. */
static enum status put_character(struct scan *s, struct buf *out)
{
    char c = peek(s, 1);
    if (s->at + 1 >= s->len)
        return refuse(s, s->at, 1);
    if (c == 'x' || c == 'u')
        return put_number(s, out);
    if (c == 'v') {
        buf_str(out, "\\x{0b}");
    } else if (isalnum((unsigned char)c) && !strchr("rntfae", c)) {
        return refuse(s, s->at, 2);
    } else if ((unsigned char)c >= 0x80) {
        s->at++; /* the backslash says nothing */
        return STATUS_OK;
    } else {
        buf_append(out, s->text + s->at, 2);
    }
    s->at += 2;
    return STATUS_OK;
}

/* ---- classes ----------------------------------------------------------------------------------- */

static enum status put_class(struct scan *s, int depth, struct class *class);

/* The operand being read, as an expression. */
static void put_operand(const struct class *class, struct buf *out)
{
    const char *others = class->others.len ? class->others.data + (class->body.len == 0) : "";
    if (class->others.len == 0) {
        buf_printf(out, "[%s]", class->body.data);
        return;
    }
    buf_str(out, "(?:");
    if (class->body.len)
        buf_printf(out, "[%s]", class->body.data);
    buf_printf(out, "%s)", others);
}

static bool class_empty(const struct class *class)
{
    return class->body.len == 0 && class->others.len == 0;
}

static void put_whole(const struct class *class, struct buf *out)
{
    if (class->ahead.len == 0 && class->others.len == 0) {
        buf_printf(out, "[%s%s]", class->negated ? "^" : "", class->body.data);
        return;
    }
    buf_str(out, class->negated ? "(?:(?!" : "(?:");
    buf_append(out, class->ahead.data, class->ahead.len);
    put_operand(class, out);
    buf_str(out, class->negated ? ")(?s:.))" : ")");
}

static void class_release(struct class *class)
{
    buf_release(&class->ahead);
    buf_release(&class->body);
    buf_release(&class->others);
}

static enum status nested_class(struct scan *s, int depth, struct class *class)
{
    struct class inner = {0};
    enum status status;
    if (depth == CLASS_NESTING_MAX)
        return refuse(s, s->at, 2);
    status = put_class(s, depth + 1, &inner);
    if (status == STATUS_OK && !inner.negated && inner.ahead.len == 0) {
        buf_append(&class->body, inner.body.data, inner.body.len);
        buf_append(&class->others, inner.others.data, inner.others.len);
    } else if (status == STATUS_OK) {
        buf_char(&class->others, '|');
        put_whole(&inner, &class->others);
    }
    class_release(&inner);
    return status;
}

/* [:name:] and [:^name:] */
static enum status posix_class(struct scan *s, struct class *class)
{
    const char *from = s->text + s->at + 2, *close = strstr(from, ":]");
    bool negated = *from == '^';
    struct buf body = {0};
    enum status status;
    if (!close || close - from > NAME_MAX_BYTES)
        return refuse(s, s->at, 2);
    status = put_property(s, from + negated, (size_t)(close - from) - negated, &body);
    if (status == STATUS_OK && !strncmp(body.data, "\\p{sc:", 6))
        status = refuse(s, s->at, (size_t)(close - from) + 4);
    if (negated)
        buf_printf(&class->others, "|[^%s]", body.data ? body.data : "");
    else
        buf_append(&class->body, body.data, body.len);
    buf_release(&body);
    s->at = (size_t)(close - s->text) + 2;
    return status;
}

static enum status class_escape(struct scan *s, struct class *class)
{
    struct buf body = {0};
    bool is_set, negated;
    enum status status = read_set(s, &is_set, &negated, &body);
    if (status == STATUS_OK && is_set && negated)
        buf_printf(&class->others, "|[^%s]", body.data);
    else if (status == STATUS_OK && is_set)
        buf_append(&class->body, body.data, body.len);
    else if (status == STATUS_OK)
        status = put_character(s, &class->body);
    class->single = !is_set;
    buf_release(&body);
    return status;
}

static void copy_char(struct scan *s, struct buf *out)
{
    do
        buf_char(out, s->text[s->at++]);
    while (s->at < s->len && ((unsigned char)s->text[s->at] & 0xc0) == 0x80);
}

/* A "-" makes a range only between two characters. */
static bool is_range(const struct scan *s, const struct class *class)
{
    char next = peek(s, 1), after = peek(s, 2);
    bool set = next == '\\' && after && strchr("sSdDwWhHpP", after);
    return class->single && next != ']' && next != '[' && !set && !(next == '&' && after == '&');
}

static enum status class_item(struct scan *s, int depth, struct class *class)
{
    char c = peek(s, 0);
    bool range = c == '-' && is_range(s, class);
    if (c == '[') {
        class->single = false;
        return peek(s, 1) == ':' ? posix_class(s, class) : nested_class(s, depth, class);
    }
    if (c == '-') {
        buf_str(&class->body, range ? "-" : "\\-");
        s->at++;
        class->single = !range;
        if (!range)
            return STATUS_OK;
        c = peek(s, 0);
    }
    if (c == '\\') {
        TRY(class_escape(s, class));
    } else {
        if (c == '^')
            buf_char(&class->body, '\\');
        copy_char(s, &class->body);
        class->single = true;
    }
    class->single &= !range; /* no range starts where one ends */
    return STATUS_OK;
}

/* Reads from "[" to behind its "]". On failure, too, class_release() is the caller's. */
static enum status put_class(struct scan *s, int depth, struct class *class)
{
    size_t from = s->at++;
    class->negated = peek(s, 0) == '^';
    s->at += class->negated;
    buf_reserve(&class->body, 1);
    class->body.data[0] = 0;
    while (s->at < s->len) {
        bool and = peek(s, 0) == '&' && peek(s, 1) == '&';
        if (!and&&peek(s, 0) != ']') {
            TRY(class_item(s, depth, class));
            continue;
        }
        if (class_empty(class)) /* "[]": an empty class to one, a bracket to the other */
            return refuse(s, from, s->at - from + 2);
        s->at += and? 2 : 1;
        if (!and)
            return STATUS_OK;
        buf_str(&class->ahead, "(?=");
        put_operand(class, &class->ahead);
        buf_char(&class->ahead, ')');
        buf_clear(&class->body);
        class->body.data[0] = 0;
        buf_clear(&class->others);
        class->single = false;
    }
    return refuse(s, from, s->len - from);
}

/* ---- the pattern ------------------------------------------------------------------------------- */

static enum status translate_escape(struct scan *s, struct buf *out)
{
    struct buf body = {0};
    bool is_set, negated;
    char c = peek(s, 1);
    enum status status = STATUS_OK;
    if (c == 'A' || c == 'z' || c == 'Z') {
        buf_append(out, s->text + s->at, 2);
        s->at += 2;
        return STATUS_OK;
    }
    if (c == 'b' || c == 'B') {
        buf_printf(out,
                   c == 'b' ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))"
                            : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))",
                   WORD_ALONE, WORD_ALONE, WORD_ALONE, WORD_ALONE);
        s->at += 2;
        return STATUS_OK;
    }
    status = read_set(s, &is_set, &negated, &body);
    if (status == STATUS_OK && is_set)
        buf_printf(out, "[%s%s]", negated ? "^" : "",
                   strcmp(body.data, WORD) == 0 ? WORD_ALONE : body.data);
    else if (status == STATUS_OK)
        status = put_character(s, out);
    buf_release(&body);
    return status;
}

/* "(": plain groups, look-around, atomic groups, and options for a group or, in front, for all. */
static enum status translate_group(struct scan *s, struct buf *out)
{
    static const struct name known[] = {
        {"(?:", "(?:"}, {"(?=", "(?="},   {"(?!", "(?!"},     {"(?<=", "(?<="}, {"(?<!", "(?<!"},
        {"(?>", "(?>"}, {"(?i:", "(?i:"}, {"(?-i:", "(?-i:"}, {"(?m:", "(?s:"},
    };
    const char *at = s->text + s->at;
    if (peek(s, 1) == '*')
        return refuse(s, s->at, 2);
    if (peek(s, 1) != '?') {
        buf_char(out, '(');
        s->at++;
        return STATUS_OK;
    }
    if (s->at == 0 && strncmp(at, "(?i)", 4) == 0) {
        buf_str(out, "(?i)");
        s->at += 4;
        return STATUS_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i].ruby);
        if (strncmp(at, known[i].ruby, n) == 0) {
            buf_str(out, known[i].pcre);
            s->at += n;
            return STATUS_OK;
        }
    }
    return refuse(s, s->at, 4);
}

/* "{": a count {n}, {n,}, {n,m} or {,m}, or a brace. Ruby reads a "+" behind it as another count. */
static enum status translate_count(struct scan *s, struct buf *out)
{
    size_t i = s->at + 1, digits = 0, commas = 0;
    for (; i < s->len && (isdigit((unsigned char)s->text[i]) || s->text[i] == ','); i++) {
        digits += s->text[i] != ',';
        commas += s->text[i] == ',';
    }
    if (i >= s->len || s->text[i] != '}' || digits == 0 || commas > 1) {
        buf_str(out, "\\{");
        s->at++;
        return STATUS_OK;
    }
    if (i + 1 < s->len && strchr("+*?{", s->text[i + 1]))
        return refuse(s, s->at, i + 2 - s->at);
    buf_str(out, s->text[s->at + 1] == ',' ? "{0" : "{");
    buf_append(out, s->text + s->at + 1, i - s->at);
    s->at = i + 1;
    return STATUS_OK;
}

enum status regex_translate(const char *pattern, struct buf *out, struct err *err)
{
    struct scan s = {.text = pattern, .len = strlen(pattern), .err = err};
    while (s.at < s.len) {
        char c = peek(&s, 0);
        if (c == '\\') {
            TRY(translate_escape(&s, out));
        } else if (c == '[') {
            struct class class = {0};
            enum status status = put_class(&s, 0, &class);
            if (status == STATUS_OK)
                put_whole(&class, out);
            class_release(&class);
            TRY(status);
        } else if (c == '(') {
            TRY(translate_group(&s, out));
        } else if (c == '{') {
            TRY(translate_count(&s, out));
        } else {
            buf_char(out, c);
            s.at++;
        }
    }
    return STATUS_OK;
}
