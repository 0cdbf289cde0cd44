/* Classes of characters as the `tokenizers` package sees them, from generated tables. */
#include "router/text/tokenizer_class_tables.h"
#include "router/text/tokenizer_unicode.h"

static bool in_ranges(const struct class_range *ranges, size_t count, uint32_t cp)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < count && cp >= ranges[low].first;
}

bool unicode_punctuation_char(uint32_t cp)
{
    return in_ranges(class_punctuation, ARRAY_LEN(class_punctuation), cp);
}

bool unicode_other_char(uint32_t cp)
{
    return in_ranges(class_other, ARRAY_LEN(class_other), cp);
}

bool unicode_nonspacing_char(uint32_t cp)
{
    return cp >= 0x300 && in_ranges(class_nonspacing, ARRAY_LEN(class_nonspacing), cp);
}

bool unicode_combining_char(uint32_t cp)
{
    return cp >= 0x300 && in_ranges(class_combining, ARRAY_LEN(class_combining), cp);
}

size_t unicode_lowercase(uint32_t cp, uint32_t low[2])
{
    size_t from = 0, to = ARRAY_LEN(class_lower);
    low[0] = cp;
    if (cp < 0x80) {
        low[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
        return 1;
    }
    if (cp == 0x130) { /* the capital I with a dot: i and a dot */
        low[0] = 'i';
        low[1] = 0x307;
        return 2;
    }
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (cp > class_lower[mid].last)
            from = mid + 1;
        else
            to = mid;
    }
    if (from < ARRAY_LEN(class_lower) && cp >= class_lower[from].first &&
        (cp - class_lower[from].first) % class_lower[from].step == 0)
        low[0] = (uint32_t)((int32_t)cp + class_lower[from].delta);
    return 1;
}
