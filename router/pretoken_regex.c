/* The files' patterns are written for Oniguruma with Ruby's syntax. Most of it means the same to
 * PCRE2; this file lets that part through and refuses, by name, the constructs that do not. */
#include "router/pretoken.h"

#include <ctype.h>
#include <string.h>

#define PATTERN_BYTES_MAX 65536

struct scan {
    const char *pattern;
    size_t len, at;
    bool in_class;
    bool counted; /* the item before ended with "}" */
};

static enum status refuse(const struct scan *scan, size_t from, size_t len, struct err *err)
{
    len = MIN(len, scan->len - from);
    return err_set(err, STATUS_UNSUPPORTED,
                   "the pre-tokenizer's regex uses \"%.*s\" at byte %zu, which is not supported",
                   (int)len, scan->pattern + from, from);
}

/* \X: those whose meaning is shared. \w, \b, \h and friends are not among them. */
static enum status scan_escape(struct scan *scan, struct err *err)
{
    char c;
    if (scan->at + 1 >= scan->len)
        return refuse(scan, scan->at, 1, err);
    c = scan->pattern[scan->at + 1];
    if (isalnum((unsigned char)c) && !strchr("rntfsSpPdDxAz", c))
        return refuse(scan, scan->at, 2, err);
    if (c == 'x' && !(scan->at + 2 < scan->len && scan->pattern[scan->at + 2] == '{'))
        return refuse(scan, scan->at, 2, err);
    if (strchr("pPx", c)) {
        const char *from = scan->pattern + scan->at + 2;
        const char *close = memchr(from, '}', scan->len - scan->at - 2);
        if (*from != '{' || !close)
            return refuse(scan, scan->at, 4, err);
        scan->at = (size_t)(close - scan->pattern) + 1;
        return STATUS_OK;
    }
    scan->at += 2;
    return STATUS_OK;
}

/* "(": plain groups, look-around, atomic groups, and (?i:…). */
static enum status scan_group(struct scan *scan, struct err *err)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    const char *at = scan->pattern + scan->at;
    size_t left = scan->len - scan->at;
    if (left < 2 || at[1] == '*')
        return refuse(scan, scan->at, 2, err);
    if (at[1] != '?') {
        scan->at++;
        return STATUS_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i]);
        if (left >= n && memcmp(at, known[i], n) == 0) {
            scan->at += n;
            return STATUS_OK;
        }
    }
    return refuse(scan, scan->at, 4, err);
}

static enum status scan_class_char(struct scan *scan, size_t class_start, struct err *err)
{
    char c = scan->pattern[scan->at], next = scan->at + 1 < scan->len ? scan->pattern[scan->at + 1] : 0;
    if (c == '[') /* nested classes; POSIX names have another idea of Unicode */
        return refuse(scan, scan->at, 2, err);
    if (c == '&' && next == '&')
        return refuse(scan, scan->at, 2, err);
    if (c == ']') {
        if (scan->at == class_start) /* "[]": an empty class to one, a bracket to the other */
            return refuse(scan, scan->at, 1, err);
        scan->in_class = false;
    }
    scan->at++;
    return STATUS_OK;
}

/* "{": a count {n}, {n,} or {n,m}; Ruby reads "{,m}" and a possessive "}+" in its own way. */
static enum status scan_count(struct scan *scan, struct err *err)
{
    size_t i = scan->at + 1;
    if (i >= scan->len || !isdigit((unsigned char)scan->pattern[i]))
        return refuse(scan, scan->at, 2, err);
    while (i < scan->len && (isdigit((unsigned char)scan->pattern[i]) || scan->pattern[i] == ','))
        i++;
    if (i >= scan->len || scan->pattern[i] != '}')
        return refuse(scan, scan->at, i - scan->at + 1, err);
    if (i + 1 < scan->len && strchr("+*?{", scan->pattern[i + 1]))
        return refuse(scan, scan->at, i + 2 - scan->at, err);
    scan->at = i + 1;
    return STATUS_OK;
}

static enum status check_syntax(const char *pattern, struct err *err)
{
    struct scan scan = {.pattern = pattern, .len = strlen(pattern)};
    size_t class_start = 0;
    while (scan.at < scan.len) {
        char c = pattern[scan.at];
        if (c == '\\') {
            TRY(scan_escape(&scan, err));
        } else if (scan.in_class) {
            TRY(scan_class_char(&scan, class_start, err));
        } else if (c == '[') {
            scan.in_class = true;
            scan.at += 1 + (scan.at + 1 < scan.len && pattern[scan.at + 1] == '^');
            class_start = scan.at;
        } else if (c == '(') {
            TRY(scan_group(&scan, err));
        } else if (c == '{') {
            TRY(scan_count(&scan, err));
        } else {
            scan.at++;
        }
    }
    return STATUS_OK;
}

enum status pretoken_regex(const char *pattern, bool literal, pcre2_code **out, bool *jit,
                           struct err *err)
{
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK;
    pcre2_compile_context *context;
    PCRE2_SIZE offset;
    int code;

    if (strlen(pattern) > PATTERN_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "the pre-tokenizer's regex is longer than %d bytes",
                       PATTERN_BYTES_MAX);
    if (!literal)
        TRY(check_syntax(pattern, err));
    options |= literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE; /* Ruby's ^ and $ are lines' */
    context = pcre2_compile_context_create(NULL);
    CHECK(context);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    *out = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern), options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!*out) {
        PCRE2_UCHAR text[128] = "";
        pcre2_get_error_message(code, text, sizeof(text));
        return err_set(err, STATUS_UNSUPPORTED, "the pre-tokenizer's regex: %s at byte %zu",
                       (const char *)text, (size_t)offset);
    }
    *jit = pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE) == 0;
    return STATUS_OK;
}
