#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

struct str str_from(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool str_is(struct str a, const char *text)
{
    return str_eq(a, str_from(text));
}

void buf_reserve(struct buf *buf, size_t more)
{
    size_t need = buf->len + more + 1;
    CHECK(need > more);
    if (need > buf->cap) {
        size_t cap = MAX(need, MAX(buf->cap + buf->cap / 2, (size_t)64));
        buf->data = mem_realloc(buf->data, cap);
        buf->cap = cap;
    }
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    buf_reserve(buf, len);
    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = 0;
}

void buf_str(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_char(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    buf_reserve(buf, (size_t)len);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
    va_end(again);
    buf->len += (size_t)len;
}

void buf_json_string(struct buf *buf, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t start = 0;

    buf_reserve(buf, len + 2);
    buf_char(buf, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[6] = {'\\', 0, '0', '0', 0, 0};
        size_t escape_len = 2;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        switch (c) {
        case '"':
        case '\\':
            escape[1] = (char)c;
            break;
        case '\n':
            escape[1] = 'n';
            break;
        case '\r':
            escape[1] = 'r';
            break;
        case '\t':
            escape[1] = 't';
            break;
        default:
            escape[1] = 'u';
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            escape_len = 6;
        }
        buf_append(buf, text + start, i - start);
        buf_append(buf, escape, escape_len);
        start = i + 1;
    }
    buf_append(buf, text + start, len - start);
    buf_char(buf, '"');
}

void buf_consume(struct buf *buf, size_t len)
{
    CHECK(len <= buf->len);
    if (len) {
        buf->len -= len;
        memmove(buf->data, buf->data + len, buf->len + 1);
    }
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = 0;
}

void buf_release(struct buf *buf)
{
    mem_free(buf->data);
    memset(buf, 0, sizeof(*buf));
}
