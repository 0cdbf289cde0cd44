/* text - Python's view of characters on top of UTF-8 bytes. Any thread. */
#ifndef MSGL_ROUTER_JINJA_TEXT_H
#define MSGL_ROUTER_JINJA_TEXT_H

#include "common/buf.h"

/* One character; a byte that is not valid UTF-8 counts as one character of its own value. */
int text_next(const char *data, size_t len, uint32_t *cp);
size_t text_count(const char *data, size_t len);
/* Byte offset of the n-th character, or len. */
size_t text_offset(const char *data, size_t len, size_t chars);

bool text_is_space(uint32_t cp); /* str.isspace */
bool text_is_printable(uint32_t cp);
bool text_is_alpha(uint32_t cp);
bool text_is_alnum(uint32_t cp);
bool text_is_decimal(uint32_t cp);
bool text_is_upper(uint32_t cp);
bool text_is_lower(uint32_t cp);
bool text_is_title(uint32_t cp);
bool text_is_line_break(uint32_t cp); /* str.splitlines */

/* How many bytes of white space start, and end, the text. */
size_t text_space_prefix(struct str s);
size_t text_space_suffix(struct str s);
struct str text_strip(struct str s);

/* Bytes from `from` on; SIZE_MAX when absent. An empty needle is found at once. */
size_t text_find(struct str hay, struct str needle, size_t from);
size_t text_rfind(struct str hay, struct str needle);

/* Up to three characters each; return how many. */
int text_upper(uint32_t cp, uint32_t out[3]);
int text_lower(uint32_t cp, uint32_t out[3]);
int text_title(uint32_t cp, uint32_t out[3]);

#endif
