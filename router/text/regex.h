/* regex - the files' regular expressions: written for Oniguruma with Ruby's syntax, run by PCRE2.
 *
 *   pattern ─regex_translate─► the same meaning for PCRE2, or refused by name ─► PCRE2, JIT
 *
 * A compiled regex is immutable; each thread matches with a scratch of its own. Text is valid UTF-8
 * in which unicode_stand_in() has replaced what PCRE2 is too old for.
 */
#ifndef MSGL_ROUTER_TEXT_REGEX_H
#define MSGL_ROUTER_TEXT_REGEX_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/buf.h"
#include "common/status.h"

struct regex { /* zero-initialise; release */
    pcre2_code *code;
    bool jit;
};

struct regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* `literal`: the pattern is plain text. UNSUPPORTED names the part that is not known here. */
enum status MUST_USE regex_compile(const char *pattern, bool literal, struct regex *out,
                                   struct err *err);
void regex_release(struct regex *regex);

void regex_scratch_init(struct regex_scratch *scratch);
void regex_scratch_release(struct regex_scratch *scratch);

struct regex_walk { /* init with .regex, .scratch, .subject */
    const struct regex *regex;
    struct regex_scratch *scratch;
    struct str subject;
    size_t gap, from;  /* end of the last match; where to search on */
    size_t start, end; /* the match */
};

/* The next match, from left to right, none inside another; an empty match right behind a match is
 * none. *found is false at the end. */
enum status MUST_USE regex_next(struct regex_walk *walk, bool *found, struct err *err);

/* regex_translate.c: appends what PCRE2 is to compile. */
enum status MUST_USE regex_translate(const char *pattern, struct buf *out, struct err *err);

#endif
