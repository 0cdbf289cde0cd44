/* str methods that return a changed text. */
#include <string.h>

#include "common/utf8.h"
#include "router/jinja/filters.h"
#include "router/jinja/methods.h"
#include "router/jinja/text.h"

#define METHOD(name)                                                                               \
    static enum status name(struct interp *in, struct val self, struct call *call, struct val *out)

METHOD(method_upper)
{
    return text_change_case(in, self, TEXT_UPPER, out);
}

METHOD(method_lower)
{
    return text_change_case(in, self, TEXT_LOWER, out);
}

METHOD(method_capitalize)
{
    return text_change_case(in, self, TEXT_CAPITALIZE, out);
}

METHOD(method_title)
{
    return text_change_case(in, self, TEXT_TITLE, out);
}

METHOD(method_swapcase)
{
    return text_change_case(in, self, TEXT_SWAP, out);
}

METHOD(method_strip)
{
    return text_trim(in, self, call->arg[0], true, true, out);
}

METHOD(method_lstrip)
{
    return text_trim(in, self, call->arg[0], true, false, out);
}

METHOD(method_rstrip)
{
    return text_trim(in, self, call->arg[0], false, true, out);
}

METHOD(method_replace)
{
    struct str old, with;
    int64_t count = -1;

    TRY(arg_string(in, call->arg[0], "replace() argument 1", &old));
    TRY(arg_string(in, call->arg[1], "replace() argument 2", &with));
    if (call->arg[2].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[2], "count", &count));
    return text_replace(in, self, old, with, count, out);
}

METHOD(method_removeprefix)
{
    struct str s = val_str_of(self), part;

    TRY(arg_string(in, call->arg[0], "the prefix", &part));
    if (part.len <= s.len && str_eq((struct str){s.data, part.len}, part))
        s = (struct str){s.data + part.len, s.len - part.len};
    *out = val_borrow(&in->arena, s.data, s.len);
    out->markup = self.markup;
    return STATUS_OK;
}

METHOD(method_removesuffix)
{
    struct str s = val_str_of(self), part;

    TRY(arg_string(in, call->arg[0], "the suffix", &part));
    if (part.len <= s.len && str_eq((struct str){s.data + s.len - part.len, part.len}, part))
        s.len -= part.len;
    *out = val_borrow(&in->arena, s.data, s.len);
    out->markup = self.markup;
    return STATUS_OK;
}

static enum status pad(struct interp *in, struct val self, struct call *call, char align,
                       struct val *out)
{
    uint32_t fill = ' ';
    int64_t width;

    TRY(arg_int(in, call->arg[0], "width", &width));
    if (call->arg[1].type != VAL_ABSENT) {
        struct str text;
        TRY(arg_string(in, call->arg[1], "the fill character", &text));
        if (val_chars(call->arg[1]) != 1)
            return interp_fail(in, "the fill character must be exactly one character long");
        text_next(text.data, text.len, &fill);
    }
    return text_pad(in, self, width, fill, align, out);
}

METHOD(method_center)
{
    return pad(in, self, call, 'c', out);
}

METHOD(method_ljust)
{
    return pad(in, self, call, '<', out);
}

METHOD(method_rjust)
{
    return pad(in, self, call, '>', out);
}

METHOD(method_zfill)
{
    struct str s = val_str_of(self);
    bool sign = s.len && (s.data[0] == '+' || s.data[0] == '-');
    size_t mark = interp_mark(in);
    struct val rest;
    int64_t width;

    TRY(arg_int(in, call->arg[0], "width", &width));
    rest = val_borrow(&in->arena, s.data + sign, s.len - sign);
    TRY(text_pad(in, rest, width - (width > INT64_MIN ? sign : 0), '0', '>', &rest));
    TRY(interp_emit(in, s.data, sign));
    TRY(emit_str(in, rest));
    return interp_take(in, mark, out);
}

METHOD(method_expandtabs)
{
    struct str s = val_str_of(self);
    size_t mark = interp_mark(in);
    int64_t tab = 8, column = 0;

    if (call->arg[0].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[0], "tabsize", &tab));
    if (tab > 10000)
        return interp_fail(in, "tabsize is too large");
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        size_t n = (size_t)text_next(s.data + i, s.len - i, &cp);
        TRY(interp_step(in, 1));
        if (cp == '\t') {
            for (int64_t spaces = tab > 0 ? tab - column % tab : 0; spaces > 0; spaces--, column++)
                TRY(interp_emit(in, " ", 1));
        } else {
            TRY(interp_emit(in, s.data + i, n));
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
        }
        i += n;
    }
    return interp_take(in, mark, out);
}

METHOD(method_join)
{
    return text_join(in, val_str_of(self), call->arg[0], true, out);
}

METHOD(method_format)
{
    return brace_format(in, self, call, out);
}

METHOD(method_format_map)
{
    struct call mapped = {0};
    const struct dict *dict = call->arg[0].dict;

    if (call->arg[0].type != VAL_DICT)
        return interp_fail(in, "format_map() needs a mapping");
    TRY(interp_room(in, (dict->count + 1) * sizeof(*mapped.kw)));
    mapped.kw = arena_array(&in->arena, dict->count + 1, sizeof(*mapped.kw));
    for (size_t i = 0; i < dict->count; i++)
        if (dict->entries[i].key.type == VAL_STRING)
            mapped.kw[mapped.kw_count++] =
                (struct kwarg){val_str_of(dict->entries[i].key), dict->entries[i].value};
    return brace_format(in, self, &mapped, out);
}

const struct builtin methods_text[] = {
    BUILTIN("strip", method_strip, ",", 0),
    BUILTIN("lstrip", method_lstrip, ",", 0),
    BUILTIN("rstrip", method_rstrip, ",", 0),
    BUILTIN("upper", method_upper, "", 0),
    BUILTIN("lower", method_lower, "", 0),
    BUILTIN("casefold", method_lower, "", 0),
    BUILTIN("capitalize", method_capitalize, "", 0),
    BUILTIN("title", method_title, "", 0),
    BUILTIN("swapcase", method_swapcase, "", 0),
    BUILTIN("replace", method_replace, ",,,", 2),
    BUILTIN("removeprefix", method_removeprefix, ",", 1),
    BUILTIN("removesuffix", method_removesuffix, ",", 1),
    BUILTIN("center", method_center, ",,", 1),
    BUILTIN("ljust", method_ljust, ",,", 1),
    BUILTIN("rjust", method_rjust, ",,", 1),
    BUILTIN("zfill", method_zfill, ",", 1),
    BUILTIN("expandtabs", method_expandtabs, "tabsize", 0),
    BUILTIN("join", method_join, ",", 1),
    BUILTIN("format", method_format, NULL, 0),
    BUILTIN("format_map", method_format_map, ",", 1),
};
const size_t methods_text_count = ARRAY_LEN(methods_text);
