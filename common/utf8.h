/* utf8 - strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). Any thread. */
#ifndef MSGL_COMMON_UTF8_H
#define MSGL_COMMON_UTF8_H

#include "common/base.h"

struct buf;

/* Decodes one character at `text` into *cp and returns its length 1..4, or 0 when the bytes there
 * are not a complete valid character (*cp is then untouched). len >= 1. */
int utf8_decode(const char *text, size_t len, uint32_t *cp);

/* Writes cp (a valid scalar value) into out[4]; returns its length. */
int utf8_encode(uint32_t cp, char out[4]);

bool utf8_valid(const char *text, size_t len);

/* How many bytes at the end of text are the start of a character whose rest may still come (0..3).
 * Text that can never become valid counts as complete: the caller replaces it. */
size_t utf8_incomplete_tail(const char *text, size_t len);

/* Appends text with each maximal invalid part replaced by U+FFFD, as the WHATWG decoder and
 * Rust's from_utf8_lossy do. */
void utf8_append_lossy(struct buf *out, const char *text, size_t len);

#endif
