/* tokenizer_unicode - one Unicode for all: where PCRE2, utf8proc and the `tokenizers` package know
 * different versions of Unicode, the package's answer, from tables that were made by asking it.
 * Pure functions, any thread.
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_UNICODE_H
#define MSGL_ROUTER_TEXT_TOKENIZER_UNICODE_H

#include "common/buf.h"

/* Replaces code points newer than Unicode 14 by old ones of the same category and UTF-8 length, so
 * that a regex engine classifies them as the package does. `text` is valid UTF-8. When there is
 * nothing to replace returns text.data; otherwise the copy in *scratch, same length. */
const char *unicode_stand_in(struct str text, struct buf *scratch);

/* Rust's char::is_numeric (categories Nd, Nl, No). */
bool unicode_numeric_char(uint32_t cp);

bool unicode_space_char(uint32_t cp); /* White_Space: \s of Rust's regexes */
bool unicode_word_char(uint32_t cp);  /* \w of Rust's regexes */

bool unicode_punctuation_char(uint32_t cp); /* Punctuation, BertPreTokenizer */
bool unicode_other_char(uint32_t cp);       /* controls and such, as BertNormalizer cleans them */
bool unicode_nonspacing_char(uint32_t cp);  /* what BertNormalizer takes for an accent, after NFD */
bool unicode_combining_char(uint32_t cp);   /* what StripAccents drops */
size_t unicode_lowercase(uint32_t cp, uint32_t low[2]); /* one or two characters; how many */

enum unicode_form { UNICODE_NONE, UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/* Appends `text` (valid UTF-8) in the given form; linear in its length whatever the marks. False
 * when the text is in that form already, as far as a quick look tells, and nothing was appended. */
bool unicode_normalize(enum unicode_form form, struct str text, struct buf *out);

#endif
