/* str methods that answer a question about a text. */
#include <string.h>

#include "router/jinja/filters.h"
#include "router/jinja/methods.h"
#include "router/jinja/text.h"

#define METHOD(name)                                                                               \
    static enum status name(struct interp *in, struct val self, struct call *call, struct val *out)

/* The part of the text that optional start and end arguments (in characters) leave. `outside` when
 * start is behind the end: then not even an empty text is found. */
static enum status window(struct interp *in, struct val self, struct call *call, struct str *part,
                          size_t *skipped_chars, bool *outside)
{
    int64_t chars = (int64_t)val_chars(self), start = 0, stop = chars;
    struct str s = val_str_of(self);
    size_t from, to;

    if (given(call->arg[1]))
        TRY(arg_int(in, call->arg[1], "start", &start));
    if (given(call->arg[2]))
        TRY(arg_int(in, call->arg[2], "end", &stop));
    stop = MIN(stop < 0 ? MAX(stop + chars, 0) : stop, chars);
    start = start < 0 ? MAX(start + chars, 0) : start;
    *outside = start > stop;
    TRY(interp_step(in, s.len / 64));
    if (*outside)
        start = stop;
    from = text_offset(s.data, s.len, (size_t)start);
    to = text_offset(s.data, s.len, (size_t)stop);
    *part = (struct str){s.data + from, to - from};
    *skipped_chars = (size_t)start;
    return STATUS_OK;
}

static enum status affix(struct interp *in, struct val self, struct call *call, bool end,
                         struct val *out)
{
    struct val one = call->arg[0];
    struct seq single = {.kind = SEQ_TUPLE, .items = &one, .count = 1}, *options = &single;
    struct str part, option;
    size_t skipped;
    bool outside;

    if (val_is_seq(one, SEQ_TUPLE))
        options = one.seq;
    *out = val_bool(false);
    TRY(window(in, self, call, &part, &skipped, &outside));
    for (size_t i = 0; i < options->count; i++) {
        TRY(arg_string(in, options->items[i], end ? "endswith's argument" : "startswith's argument",
                       &option));
        if (option.len <= part.len && !outside &&
            memcmp(part.data + (end ? part.len - option.len : 0), option.data, option.len) == 0)
            *out = val_bool(true);
    }
    return STATUS_OK;
}

METHOD(method_startswith)
{
    return affix(in, self, call, false, out);
}

METHOD(method_endswith)
{
    return affix(in, self, call, true, out);
}

static enum status find(struct interp *in, struct val self, struct call *call, bool last, bool must,
                        struct val *out)
{
    struct str part, needle;
    size_t skipped, at;
    bool outside;

    TRY(arg_string(in, call->arg[0], "the text to find", &needle));
    TRY(window(in, self, call, &part, &skipped, &outside));
    at = outside ? SIZE_MAX : last ? text_rfind(part, needle) : text_find(part, needle, 0);
    if (at == SIZE_MAX && must)
        return interp_fail(in, "substring not found");
    *out = val_int(at == SIZE_MAX ? -1 : (int64_t)(skipped + text_count(part.data, at)));
    return STATUS_OK;
}

METHOD(str_method_find)
{
    return find(in, self, call, false, false, out);
}

METHOD(method_rfind)
{
    return find(in, self, call, true, false, out);
}

METHOD(method_index)
{
    return find(in, self, call, false, true, out);
}

METHOD(method_rindex)
{
    return find(in, self, call, true, true, out);
}

METHOD(method_count)
{
    struct str part, needle;
    size_t skipped, at, from = 0;
    int64_t count = 0;
    bool outside;

    TRY(arg_string(in, call->arg[0], "the text to count", &needle));
    TRY(window(in, self, call, &part, &skipped, &outside));
    if (needle.len == 0) {
        *out = val_int(outside ? 0 : (int64_t)text_count(part.data, part.len) + 1);
        return STATUS_OK;
    }
    while (!outside && (at = text_find(part, needle, from)) != SIZE_MAX) {
        count++;
        from = at + needle.len;
    }
    *out = val_int(count);
    return STATUS_OK;
}

/* All characters pass, and there is one. */
static enum status all(struct interp *in, struct val self, bool (*passes)(uint32_t cp),
                       struct val *out)
{
    struct str s = val_str_of(self);

    *out = val_bool(s.len > 0);
    TRY(interp_step(in, s.len / 8));
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        i += (size_t)text_next(s.data + i, s.len - i, &cp);
        if (!passes(cp))
            *out = val_bool(false);
    }
    return STATUS_OK;
}

static bool is_digit(uint32_t cp)
{
    return text_is_decimal(cp) || cp == 0xb2 || cp == 0xb3 || cp == 0xb9 ||
           (cp >= 0x2070 && cp <= 0x2089 && cp != 0x2071 && cp != 0x2072 && cp != 0x2073 &&
            (cp <= 0x2079 || cp >= 0x2080));
}

static bool is_ascii(uint32_t cp)
{
    return cp < 0x80;
}

METHOD(method_isalpha)
{
    return all(in, self, text_is_alpha, out);
}

METHOD(method_isalnum)
{
    return all(in, self, text_is_alnum, out);
}

METHOD(method_isdecimal)
{
    return all(in, self, text_is_decimal, out);
}

METHOD(method_isdigit)
{
    return all(in, self, is_digit, out);
}

METHOD(method_isspace)
{
    return all(in, self, text_is_space, out);
}

METHOD(method_isascii)
{
    TRY(all(in, self, is_ascii, out));
    *out = val_bool(out->b || self.text->len == 0);
    return STATUS_OK;
}

METHOD(method_islower)
{
    return test_find(STR("lower"))->fn(in, self, call, out);
}

METHOD(method_isupper)
{
    return test_find(STR("upper"))->fn(in, self, call, out);
}

METHOD(method_istitle)
{
    struct str s = val_str_of(self);
    bool after_cased = false, any = false;

    *out = val_bool(false);
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        i += (size_t)text_next(s.data + i, s.len - i, &cp);
        bool upper = text_is_upper(cp) || text_is_title(cp), lower = text_is_lower(cp);
        if ((upper && after_cased) || (lower && !after_cased))
            return STATUS_OK;
        after_cased = upper || lower;
        any |= after_cased;
    }
    *out = val_bool(any);
    return STATUS_OK;
}

const struct builtin methods_query[] = {
    BUILTIN("startswith", method_startswith, ",,,", 1),
    BUILTIN("endswith", method_endswith, ",,,", 1),
    BUILTIN("find", str_method_find, ",,,", 1),
    BUILTIN("rfind", method_rfind, ",,,", 1),
    BUILTIN("index", method_index, ",,,", 1),
    BUILTIN("rindex", method_rindex, ",,,", 1),
    BUILTIN("count", method_count, ",,,", 1),
    BUILTIN("isalpha", method_isalpha, "", 0),
    BUILTIN("isalnum", method_isalnum, "", 0),
    BUILTIN("isdecimal", method_isdecimal, "", 0),
    BUILTIN("isdigit", method_isdigit, "", 0),
    BUILTIN("isnumeric", method_isdigit, "", 0),
    BUILTIN("isspace", method_isspace, "", 0),
    BUILTIN("isascii", method_isascii, "", 0),
    BUILTIN("islower", method_islower, "", 0),
    BUILTIN("isupper", method_isupper, "", 0),
    BUILTIN("istitle", method_istitle, "", 0),
};
const size_t methods_query_count = ARRAY_LEN(methods_query);
