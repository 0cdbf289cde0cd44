/* normalizer - rewrites a piece of text before it is cut into words.
 *
 *   "  Hé " ─Strip─► "Hé" ─NFD─► "He\u0301" ─StripAccents─► "He" ─Lowercase─► "he" ─Prepend─► "▁he"
 *
 * A loaded normalizer is immutable. A step that changes nothing copies nothing.
 */
#ifndef MSGL_ROUTER_TEXT_NORMALIZER_H
#define MSGL_ROUTER_TEXT_NORMALIZER_H

#include "common/json.h"
#include "router/text/regex.h"
#include "router/text/tokenizer_unicode.h"

#define NORMALIZER_STEPS_MAX 16

enum normalizer_kind {
    NORMALIZER_FORM,
    NORMALIZER_PREPEND,
    NORMALIZER_REPLACE,
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP,
    NORMALIZER_STRIP_ACCENTS,
    NORMALIZER_NMT,
    NORMALIZER_BERT,
    NORMALIZER_BYTES, /* bytes as characters of the byte alphabet */
};

struct normalizer_step {
    enum normalizer_kind kind;
    enum unicode_form form;       /* FORM */
    char *text;                   /* PREPEND: what; REPLACE: by what */
    char *pattern;                /* REPLACE: plain text; NULL: the regex */
    struct regex regex;           /* REPLACE */
    bool left, right;             /* STRIP */
    bool clean, chinese, accents; /* BERT; accents: drop them. Lowercase is a step of its own */
};

struct normalizer {
    struct normalizer_step steps[NORMALIZER_STEPS_MAX];
    size_t count;
};

struct normalizer_scratch { /* zero-initialise; release */
    struct buf text[2], stand_in, form;
    struct regex_scratch regex;
    bool regex_ready;
};

/* Reads the "normalizer" of a tokenizer.json; none gives no steps. UNSUPPORTED names what is not
 * known here. On failure normalizer_release() is still the caller's. */
enum status MUST_USE normalizer_load(const json_t *json, struct normalizer *normalizer,
                                     struct err *err);
void normalizer_release(struct normalizer *normalizer);
void normalizer_scratch_release(struct normalizer_scratch *scratch);

/* Rewrites text (valid UTF-8); the result is borrowed from scratch or is text itself. *origin, if not
 * NULL, is how many bytes at the front of text, and then of the result, stem from the start of the
 * whole input. */
enum status MUST_USE normalizer_run(const struct normalizer *normalizer,
                                    struct normalizer_scratch *scratch, struct str text,
                                    size_t *origin, struct str *out, struct err *err);

#endif
