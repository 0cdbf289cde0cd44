#include "router/jinja/text.h"

#include "common/utf8.h"

#include <utf8proc.h>

#include <string.h>

int text_next(const char *data, size_t len, uint32_t *cp)
{
    unsigned char c = (unsigned char)data[0];
    int n;

    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    n = utf8_decode(data, len, cp);
    if (n)
        return n;
    *cp = c;
    return 1;
}

size_t text_count(const char *data, size_t len)
{
    size_t count = 0;

    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)data[i] & 0xc0) != 0x80;
    return count;
}

size_t text_offset(const char *data, size_t len, size_t chars)
{
    size_t i = 0;

    while (i < len) {
        if (((unsigned char)data[i] & 0xc0) != 0x80) {
            if (chars == 0)
                return i;
            chars--;
        }
        i++;
    }
    return len;
}

bool text_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool text_is_line_break(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool text_is_printable(uint32_t cp)
{
    if (cp < 0x7f)
        return cp >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    default:
        return true;
    }
}

bool text_is_alpha(uint32_t cp)
{
    utf8proc_category_t category;

    if (cp < 0x80)
        return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
    category = utf8proc_category((utf8proc_int32_t)cp);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool text_is_decimal(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= '0' && cp <= '9';
    return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND;
}

bool text_is_alnum(uint32_t cp)
{
    utf8proc_category_t category;

    if (cp < 0x80)
        return text_is_alpha(cp) || text_is_decimal(cp);
    category = utf8proc_category((utf8proc_int32_t)cp);
    return text_is_alpha(cp) || category == UTF8PROC_CATEGORY_ND ||
           category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool text_is_upper(uint32_t cp)
{
    return cp < 0x80 ? cp >= 'A' && cp <= 'Z' : utf8proc_isupper((utf8proc_int32_t)cp);
}

bool text_is_lower(uint32_t cp)
{
    return cp < 0x80 ? cp >= 'a' && cp <= 'z' : utf8proc_islower((utf8proc_int32_t)cp);
}

bool text_is_title(uint32_t cp)
{
    return cp >= 0x80 && utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LT;
}

size_t text_space_prefix(struct str s)
{
    size_t i = 0;

    while (i < s.len) {
        uint32_t cp;
        int n = text_next(s.data + i, s.len - i, &cp);
        if (!text_is_space(cp))
            break;
        i += (size_t)n;
    }
    return i;
}

size_t text_space_suffix(struct str s)
{
    size_t end = s.len;

    while (end > 0) {
        size_t start = end - 1;
        uint32_t cp;
        while (start > 0 && ((unsigned char)s.data[start] & 0xc0) == 0x80)
            start--;
        text_next(s.data + start, end - start, &cp);
        if (!text_is_space(cp))
            break;
        end = start;
    }
    return s.len - end;
}

struct str text_strip(struct str s)
{
    size_t skip = text_space_prefix(s);

    s.data += skip;
    s.len -= skip;
    s.len -= text_space_suffix(s);
    return s;
}

size_t text_find(struct str hay, struct str needle, size_t from)
{
    const char *found;

    if (from > hay.len)
        return SIZE_MAX;
    if (needle.len == 0)
        return from;
    found = memmem(hay.data + from, hay.len - from, needle.data, needle.len);
    return found ? (size_t)(found - hay.data) : SIZE_MAX;
}

size_t text_rfind(struct str hay, struct str needle)
{
    if (needle.len > hay.len)
        return SIZE_MAX;
    for (size_t at = hay.len - needle.len + 1; at-- > 0;)
        if (memcmp(hay.data + at, needle.data, needle.len) == 0)
            return at;
    return SIZE_MAX;
}

/* Characters whose upper (and title) case is more than one character: Unicode's SpecialCasing,
 * without the Greek letters with iota subscript. */
static const struct {
    uint16_t from, upper[3], title[3];
} special[] = {
    {0xdf, {'S', 'S'}, {'S', 's'}},
    {0x149, {0x2bc, 'N'}, {0x2bc, 'N'}},
    {0x1f0, {'J', 0x30c}, {'J', 0x30c}},
    {0x390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x3b0, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
    {0x587, {0x535, 0x552}, {0x535, 0x582}},
    {0x1e96, {'H', 0x331}, {'H', 0x331}},
    {0x1e97, {'T', 0x308}, {'T', 0x308}},
    {0x1e98, {'W', 0x30a}, {'W', 0x30a}},
    {0x1e99, {'Y', 0x30a}, {'Y', 0x30a}},
    {0x1e9a, {'A', 0x2be}, {'A', 0x2be}},
    {0xfb00, {'F', 'F'}, {'F', 'f'}},
    {0xfb01, {'F', 'I'}, {'F', 'i'}},
    {0xfb02, {'F', 'L'}, {'F', 'l'}},
    {0xfb03, {'F', 'F', 'I'}, {'F', 'f', 'i'}},
    {0xfb04, {'F', 'F', 'L'}, {'F', 'f', 'l'}},
    {0xfb05, {'S', 'T'}, {'S', 't'}},
    {0xfb06, {'S', 'T'}, {'S', 't'}},
};

static int special_case(uint32_t cp, bool title, uint32_t out[3])
{
    int count = 0;

    for (size_t i = 0; cp >= 0xdf && i < ARRAY_LEN(special); i++) {
        if (special[i].from != cp)
            continue;
        for (; count < 3; count++) {
            uint32_t c = title ? special[i].title[count] : special[i].upper[count];
            if (!c)
                break;
            out[count] = c;
        }
    }
    return count;
}

int text_upper(uint32_t cp, uint32_t out[3])
{
    int count;

    if (cp < 0x80) {
        out[0] = text_is_lower(cp) ? cp - 32 : cp;
        return 1;
    }
    count = special_case(cp, false, out);
    if (count == 0)
        out[count++] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
    return count;
}

int text_title(uint32_t cp, uint32_t out[3])
{
    int count;

    if (cp < 0x80)
        return text_upper(cp, out);
    count = special_case(cp, true, out);
    if (count == 0)
        out[count++] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp);
    return count;
}

int text_lower(uint32_t cp, uint32_t out[3])
{
    if (cp < 0x80) {
        out[0] = text_is_upper(cp) ? cp + 32 : cp;
        return 1;
    }
    if (cp == 0x130) {
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return 1;
}
