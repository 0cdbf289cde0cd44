#include "common/utf8.h"

#include "common/buf.h"

/* How far a sequence at text is well-formed: *need is its full length (0 for a bad first byte),
 * the result is the count of good bytes (1..need). Table 3-7 of the Unicode standard. */
static size_t well_formed(const unsigned char *text, size_t len, size_t *need)
{
    unsigned char c = text[0], low = 0x80, high = 0xbf;
    size_t good = 1;

    if (c < 0x80) {
        *need = 1;
        return 1;
    }
    if (c < 0xc2 || c > 0xf4) {
        *need = 0;
        return 1;
    }
    *need = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    while (good < *need && good < len && text[good] >= low && text[good] <= high) {
        good++;
        low = 0x80;
        high = 0xbf;
    }
    return good;
}

int utf8_decode(const char *text, size_t len, uint32_t *cp)
{
    const unsigned char *t = (const unsigned char *)text;
    size_t need, good;
    if (t[0] < 0x80) {
        *cp = t[0];
        return 1;
    }
    good = well_formed(t, len, &need);
    if (need == 0 || good < need)
        return 0;
    *cp = t[0] & (0xffu >> (need + 1));
    for (size_t i = 1; i < need; i++)
        *cp = *cp << 6 | (t[i] & 0x3f);
    return (int)need;
}

int utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int n = utf8_decode(text + i, len - i, &cp);
        if (n == 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

size_t utf8_incomplete_tail(const char *text, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        const unsigned char *t = (const unsigned char *)text + len - back;
        if ((*t & 0xc0) != 0x80) {
            size_t need, good = well_formed(t, back, &need);
            return need > back && good == back ? back : 0;
        }
    }
    return 0;
}

void utf8_append_lossy(struct buf *out, const char *text, size_t len)
{
    size_t start = 0, i = 0;
    while (i < len) {
        size_t need, good = well_formed((const unsigned char *)text + i, len - i, &need);
        if (need == 0 || good < need) {
            buf_append(out, text + start, i - start);
            buf_append(out, "\xef\xbf\xbd", 3);
            start = i + good;
        }
        i += good;
    }
    buf_append(out, text + start, len - start);
}
