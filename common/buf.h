/* buf - growable bytes, and `struct str`, a borrowed slice of bytes.
 *
 * A buf always keeps one spare byte and a NUL behind its data, so buf.data is a C string when the
 * bytes hold no NUL. Not thread-safe.
 */
#ifndef MSGL_COMMON_BUF_H
#define MSGL_COMMON_BUF_H

#include "common/base.h"

struct str {
    const char *data; /* not NUL-terminated */
    size_t len;
};
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
struct str str_from(const char *text); /* NULL gives an empty slice */
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *text);

struct buf {
    char *data; /* NULL until the first byte */
    size_t len;
    size_t cap;
};

void buf_reserve(struct buf *buf, size_t more); /* room for `more` bytes beyond len */
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_str(struct buf *buf, const char *text);
void buf_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_json_string(struct buf *buf, const char *text,
                     size_t len);              /* quoted and escaped; `text` is valid UTF-8 */
void buf_consume(struct buf *buf, size_t len); /* drops the first len bytes */
void buf_clear(struct buf *buf);               /* len = 0, memory kept */
void buf_release(struct buf *buf);             /* safe on a zeroed struct */

#endif
