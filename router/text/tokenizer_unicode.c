#include "router/text/tokenizer_unicode.h"

#include <string.h>

#include <utf8proc.h>

#include "common/mem.h"
#include "common/utf8.h"
#include "router/text/tokenizer_unicode_tables.h"

#define FIRST_WITH_PROPERTIES 0x300u /* below: no combining class, and NFC leaves it alone */
#define HANGUL_NO_FINAL       0x11a7 /* one before the finals; utf8proc composes it away */
#define STACK_DECOMPOSED      32     /* the longest decomposition has 18 code points */

static const struct unicode_range *find_range(const struct unicode_range *ranges, size_t count,
                                              uint32_t cp)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < count && cp >= ranges[low].first ? &ranges[low] : NULL;
}

/* Only these first bytes start a code point of unicode_newer; ideographs (e4..e9) are not among
 * them, which is what makes the look cheap. A test holds this against the table. */
static bool may_be_newer(unsigned char lead)
{
    return lead >= 0xe0 && (lead <= 0xe3 || lead == 0xea || lead == 0xf0);
}

const char *unicode_stand_in(struct str text, struct buf *scratch)
{
    bool copied = false;
    for (size_t i = 0; i < text.len;) {
        const struct unicode_range *range;
        uint32_t cp;
        if (!may_be_newer((unsigned char)text.data[i])) {
            i++;
            continue;
        }
        size_t n = (size_t)utf8_decode(text.data + i, text.len - i, &cp);
        range = find_range(unicode_newer, ARRAY_LEN(unicode_newer), cp);
        if (range) {
            if (!copied) {
                buf_clear(scratch);
                buf_append(scratch, text.data, text.len);
                copied = true;
            }
            utf8_encode(range->value, scratch->data + i);
        }
        i += n;
    }
    return copied ? scratch->data : text.data;
}

bool unicode_numeric_char(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= '0' && cp <= '9';
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return find_range(unicode_numeric, ARRAY_LEN(unicode_numeric), cp) != NULL;
    }
}

bool unicode_space_char(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

/* Letters and what else is Alphabetic, marks, decimal digits, connectors, joiners. */
bool unicode_word_char(uint32_t cp)
{
    const struct unicode_range *newer = find_range(unicode_newer, ARRAY_LEN(unicode_newer), cp);
    if (cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) ||
        (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
        (cp >= 0x1f170 && cp <= 0x1f189))
        return true;
    switch (utf8proc_category((utf8proc_int32_t)(newer ? newer->value : cp))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

/* ---- normal forms: decompose, sort each run of marks, compose ---------------------------------- */

struct glyphs { /* code points with their combining classes */
    int32_t *cps;
    uint8_t *classes;
    size_t count, cap;
};

static bool inert(uint32_t cp)
{
    return find_range(unicode_inert, ARRAY_LEN(unicode_inert), cp) != NULL;
}

static void glyphs_push(struct glyphs *glyphs, uint32_t cp)
{
    if (glyphs->count == glyphs->cap) {
        glyphs->cap = glyphs->cap ? glyphs->cap * 2 : 256;
        glyphs->cps = mem_realloc(glyphs->cps, glyphs->cap * sizeof(*glyphs->cps));
        glyphs->classes = mem_realloc(glyphs->classes, glyphs->cap);
    }
    glyphs->cps[glyphs->count] = (int32_t)cp;
    glyphs->classes[glyphs->count++] =
        cp < FIRST_WITH_PROPERTIES || inert(cp)
            ? 0
            : (uint8_t)utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

static void decompose(uint32_t cp, bool compat, struct glyphs *glyphs)
{
    utf8proc_int32_t parts[STACK_DECOMPOSED];
    utf8proc_ssize_t n;
    int boundary = 0,
        options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    if (cp < 0x80 || inert(cp)) {
        glyphs_push(glyphs, cp);
        return;
    }
    n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, STACK_DECOMPOSED,
                                (utf8proc_option_t)options, &boundary);
    CHECK(n >= 1 && n <= STACK_DECOMPOSED);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        glyphs_push(glyphs, (uint32_t)parts[i]);
}

/* Canonical order: a stable sort by class of cps[from..to). Short runs by insertion; long ones (only
 * an attacker writes them) by counting, so that a megabyte of marks stays linear. */
static void sort_marks(struct glyphs *glyphs, size_t from, size_t to)
{
    size_t n = to - from, starts[257] = {0};
    int32_t *cps = glyphs->cps + from;
    uint8_t *classes = glyphs->classes + from;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            int32_t cp = cps[i];
            uint8_t class = classes[i];
            size_t j = i;
            for (; j > 0 && classes[j - 1] > class; j--) {
                cps[j] = cps[j - 1];
                classes[j] = classes[j - 1];
            }
            cps[j] = cp;
            classes[j] = class;
        }
        return;
    }
    int32_t *old_cps = mem_alloc(n * sizeof(*old_cps));
    uint8_t *old_classes = mem_alloc(n);
    memcpy(old_cps, cps, n * sizeof(*old_cps));
    memcpy(old_classes, classes, n);
    for (size_t i = 0; i < n; i++)
        starts[old_classes[i] + 1]++;
    for (size_t i = 1; i < 257; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < n; i++) {
        size_t at = starts[old_classes[i]]++;
        cps[at] = old_cps[i];
        classes[at] = old_classes[i];
    }
    mem_free(old_cps);
    mem_free(old_classes);
}

static void sort_all(struct glyphs *glyphs)
{
    for (size_t i = 0; i < glyphs->count;) {
        size_t to = i;
        while (to < glyphs->count && glyphs->classes[to])
            to++;
        if (to - i > 1)
            sort_marks(glyphs, i, to);
        i = to + 1;
    }
}

/* The primary composite of a and b, or 0. utf8proc composes only whole buffers, so it gets one of
 * two; exclusions and Hangul are its business. */
static int32_t compose_pair(int32_t a, int32_t b)
{
    utf8proc_int32_t pair[3] = {a, b, 0};
    utf8proc_ssize_t n;
    if (b == HANGUL_NO_FINAL)
        return 0;
    n = utf8proc_normalize_utf32(pair, 2, (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    return n == 1 && !inert((uint32_t)pair[0]) ? pair[0] : 0;
}

static void compose_all(struct glyphs *glyphs)
{
    size_t out = 0, starter = SIZE_MAX;
    int last = -1; /* class of the glyph before, -1 right behind the starter */
    for (size_t i = 0; i < glyphs->count; i++) {
        int32_t cp = glyphs->cps[i], composed = 0;
        int class = glyphs->classes[i];
        /* Blocked when something of the same or a higher class stands between. */
        if (starter != SIZE_MAX && last < class && cp >= (int32_t)FIRST_WITH_PROPERTIES)
            composed = compose_pair(glyphs->cps[starter], cp);
        if (composed) {
            glyphs->cps[starter] = composed;
            continue;
        }
        if (class == 0) {
            starter = out;
            last = -1;
        } else {
            last = class;
        }
        glyphs->cps[out] = cp;
        glyphs->classes[out++] = (uint8_t) class;
    }
    glyphs->count = out;
}

/* May NFC change a text that holds this code point? Marks and anything that combines backwards
 * (all of them marks, or Hangul vowels and finals), and what never stands in NFC text. */
static bool nfc_suspect(uint32_t cp)
{
    const utf8proc_property_t *p;
    if (cp < FIRST_WITH_PROPERTIES || (cp >= 0x3400 && cp < 0xa000) ||
        (cp >= 0xac00 && cp < 0xd7a4))
        return false;
    if (cp >= 0x1100 && cp < 0x1200)
        return true;
    p = utf8proc_get_property((utf8proc_int32_t)cp);
    /* The singletons, which always decompose (the Kelvin sign to K), lie in these blocks. */
    if (p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0 &&
        (cp < 0x388 || (cp >= 0x1f00 && cp < 0x3000) || cp >= 0xf900))
        return true;
    return p->comp_exclusion || p->combining_class || p->category == UTF8PROC_CATEGORY_MN ||
           p->category == UTF8PROC_CATEGORY_MC;
}

static bool needs_work(enum unicode_form form, struct str text)
{
    for (size_t i = 0; i < text.len;) {
        uint32_t cp;
        if ((unsigned char)text.data[i] < 0x80) {
            i++;
            continue;
        }
        if (form != UNICODE_NFC)
            return true;
        i += (size_t)utf8_decode(text.data + i, text.len - i, &cp);
        if (nfc_suspect(cp))
            return true;
    }
    return false;
}

bool unicode_normalize(enum unicode_form form, struct str text, struct buf *out)
{
    struct glyphs glyphs = {0};
    bool compat = form == UNICODE_NFKC || form == UNICODE_NFKD;
    if (form == UNICODE_NONE || !needs_work(form, text))
        return false;
    for (size_t i = 0; i < text.len;) {
        uint32_t cp;
        i += (size_t)utf8_decode(text.data + i, text.len - i, &cp);
        decompose(cp, compat, &glyphs);
    }
    sort_all(&glyphs);
    if (form == UNICODE_NFC || form == UNICODE_NFKC)
        compose_all(&glyphs);
    buf_reserve(out, glyphs.count * 4);
    for (size_t i = 0; i < glyphs.count; i++) {
        char bytes[4];
        buf_append(out, bytes, (size_t)utf8_encode((uint32_t)glyphs.cps[i], bytes));
    }
    mem_free(glyphs.cps);
    mem_free(glyphs.classes);
    return true;
}
