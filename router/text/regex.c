#include "router/text/regex.h"

#include <string.h>

#include "common/utf8.h"

#define PATTERN_BYTES_MAX   65536
#define MATCH_LIMIT         1000000000u
#define JIT_STACK_BYTES_MAX (16u << 20)

void regex_release(struct regex *regex)
{
    pcre2_code_free(regex->code);
    regex->code = NULL;
}

void regex_scratch_init(struct regex_scratch *scratch)
{
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    CHECK(scratch->match && scratch->context);
    pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
    scratch->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_BYTES_MAX, NULL);
    if (scratch->stack)
        pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
}

void regex_scratch_release(struct regex_scratch *scratch)
{
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    if (scratch->stack)
        pcre2_jit_stack_free(scratch->stack);
    memset(scratch, 0, sizeof(*scratch));
}

static enum status compile(const char *pattern, bool literal, struct regex *out, struct err *err)
{
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_SIZE offset;
    int code;

    CHECK(context);
    /* Ruby's ^ and $ are lines' */
    options |= literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    out->code =
        pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern), options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!out->code) {
        PCRE2_UCHAR text[128] = "";
        pcre2_get_error_message(code, text, sizeof(text));
        return err_set(err, STATUS_UNSUPPORTED,
                       "the tokenizer's regex: %s at byte %zu of \"%.200s\"", (const char *)text,
                       (size_t)offset, pattern);
    }
    out->jit = pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE) == 0;
    return STATUS_OK;
}

enum status regex_compile(const char *pattern, bool literal, struct regex *out, struct err *err)
{
    struct buf translated = {0};
    enum status status;
    if (strlen(pattern) > PATTERN_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "the tokenizer's regex is longer than %d bytes",
                       PATTERN_BYTES_MAX);
    if (literal)
        return compile(pattern, true, out, err);
    status = regex_translate(pattern, &translated, err);
    if (status == STATUS_OK)
        status = compile(translated.data ? translated.data : "", false, out, err);
    buf_release(&translated);
    return status;
}

static size_t char_len(const char *at, size_t left)
{
    uint32_t cp;
    return left ? (size_t)utf8_decode(at, left, &cp) : 1;
}

static int match_once(const struct regex_walk *w)
{
    PCRE2_SPTR text = (PCRE2_SPTR)w->subject.data;
    if (w->regex->jit)
        return pcre2_jit_match(w->regex->code, text, w->subject.len, w->from, 0, w->scratch->match,
                               w->scratch->context);
    return pcre2_match(w->regex->code, text, w->subject.len, w->from, PCRE2_NO_UTF_CHECK,
                       w->scratch->match, w->scratch->context);
}

enum status regex_next(struct regex_walk *w, bool *found, struct err *err)
{
    *found = false;
    while (w->from <= w->subject.len) {
        int rc = match_once(w);
        const PCRE2_SIZE *at;
        if (rc == PCRE2_ERROR_NOMATCH)
            return STATUS_OK;
        if (rc < 0)
            return err_set(err, STATUS_INVALID,
                           "the text is too complex for the tokenizer's regex (PCRE2 error %d)",
                           rc);
        at = pcre2_get_ovector_pointer(w->scratch->match);
        w->start = at[0];
        w->end = w->from = at[1];
        if (w->start == w->end) {
            w->from += char_len(w->subject.data + w->from, w->subject.len - w->from);
            if (w->start == w->gap && w->gap > 0)
                continue;
        }
        w->gap = w->end;
        *found = true;
        return STATUS_OK;
    }
    return STATUS_OK;
}
