/* "{}".format(values). */
#include <inttypes.h>
#include <string.h>

#include "router/jinja/format.h"
#include "router/jinja/text.h"

struct brace {
    struct str format;
    size_t pos;
    struct call *call;
    int64_t next; /* automatic number; -1 once explicit numbers were used */
};

static enum status first_value(struct interp *in, struct brace *b, struct str name, struct val *out)
{
    bool digits = true;
    int64_t index = 0;

    for (size_t i = 0; i < name.len; i++) {
        digits &= name.data[i] >= '0' && name.data[i] <= '9';
        index = digits && i < 9 ? index * 10 + (name.data[i] - '0') : index;
    }
    if (digits) {
        if (name.len == 0 ? b->next < 0 : b->next > 0)
            return interp_fail(in, "cannot mix automatic and manual field numbering");
        if (name.len == 0)
            index = b->next++;
        else
            b->next = -1;
        if ((size_t)index >= b->call->pos_count)
            return interp_fail(in, "Replacement index %" PRId64 " out of range", index);
        *out = b->call->pos[index];
        return STATUS_OK;
    }
    for (size_t i = 0; i < b->call->kw_count; i++) {
        if (str_eq(b->call->kw[i].name, name)) {
            *out = b->call->kw[i].value;
            return STATUS_OK;
        }
    }
    return interp_fail(in, "format() has no argument '%.*s'", (int)MIN(name.len, (size_t)60),
                       name.data);
}

/* first.attr[item]... */
static enum status field_value(struct interp *in, struct brace *b, struct str field,
                               struct val *out)
{
    size_t len = 0;

    while (len < field.len && field.data[len] != '.' && field.data[len] != '[')
        len++;
    TRY(first_value(in, b, (struct str){field.data, len}, out));
    while (len < field.len) {
        bool item = field.data[len] == '[';
        size_t start = ++len;
        struct str name;
        while (len < field.len && (item ? field.data[len] != ']' : !strchr(".[", field.data[len])))
            len++;
        name = (struct str){field.data + start, len - start};
        if (item && len >= field.len)
            return interp_fail(in, "expected ']' in a format field");
        len += item;
        if (item)
            TRY(val_path(in, *out, val_borrow(&in->arena, name.data, name.len), out));
        else
            TRY(val_attr(in, *out, name, out));
    }
    return STATUS_OK;
}

static enum status brace_spec(struct interp *in, struct str s, struct spec *spec)
{
    size_t i = 0;
    uint32_t cp;

    *spec = (struct spec){.precision = -1, .fill = ' '};
    if (s.len) {
        size_t n = (size_t)text_next(s.data, s.len, &cp);
        if (n < s.len && strchr("<>^=", s.data[n])) {
            spec->fill = cp;
            spec->align = s.data[n];
            i = n + 1;
        } else if (strchr("<>^=", s.data[0]) && s.data[0]) {
            spec->align = s.data[i++];
        }
    }
    for (; i < s.len && s.data[i] && strchr("+- ", s.data[i]); i++) {
        spec->plus |= s.data[i] == '+';
        spec->space |= s.data[i] == ' ';
    }
    if (i < s.len && s.data[i] == '#')
        spec->alternate = i++ < s.len;
    if (i < s.len && s.data[i] == '0') {
        i++;
        spec->zero = spec->align == 0;
        if (spec->fill == ' ' && spec->align)
            spec->fill = spec->align == '=' ? '0' : ' ';
    }
    for (; i < s.len && s.data[i] >= '0' && s.data[i] <= '9' && spec->width <= FORMAT_WIDTH_MAX;
         i++)
        spec->width = spec->width * 10 + (s.data[i] - '0');
    if (i < s.len && (s.data[i] == ',' || s.data[i] == '_')) {
        spec->comma = s.data[i] == ',';
        spec->underscore = s.data[i++] == '_';
    }
    if (i < s.len && s.data[i] == '.') {
        spec->precision = 0;
        for (i++; i < s.len && s.data[i] >= '0' && s.data[i] <= '9' && spec->precision < 100000;
             i++)
            spec->precision = spec->precision * 10 + (s.data[i] - '0');
    }
    if (i < s.len)
        spec->type = s.data[i++];
    if (i < s.len || spec->width > FORMAT_WIDTH_MAX)
        return interp_fail(in, "invalid format specifier");
    return STATUS_OK;
}

static enum status emit_field(struct interp *in, struct val v, struct str text)
{
    struct spec spec;

    TRY(brace_spec(in, text, &spec));
    if (v.type == VAL_STRING && (spec.type == 0 || spec.type == 's')) {
        if (spec.align == 0)
            spec.align = '<';
        if (spec.zero)
            spec.fill = '0';
        return format_text(in, &spec, v);
    }
    if (val_is_int(v) && (v.type == VAL_INT || spec.type) && strchr("dxXob", spec.type))
        return format_int(in, &spec, val_as_int(v));
    if (val_is_number(v) && strchr("eEfFgG%", spec.type) && (spec.type || v.type == VAL_FLOAT))
        return format_float(in, &spec, val_as_double(v));
    if (text.len)
        return interp_fail(in, "unsupported format specifier for a value of type %s",
                           val_type_name(v));
    return emit_str(in, v);
}

static enum status brace_one(struct interp *in, struct brace *b)
{
    size_t start = b->pos, stop = start, depth = 1;
    struct str field, spec = {0};
    char conversion = 0;
    const char *mark;
    struct val v;

    while (stop < b->format.len) {
        depth += b->format.data[stop] == '{';
        depth -= b->format.data[stop] == '}';
        if (depth == 0)
            break;
        stop++;
    }
    if (depth)
        return interp_fail(in, "expected '}' before end of string");
    b->pos = stop + 1;
    field = (struct str){b->format.data + start, stop - start};
    mark = field.len ? memchr(field.data, ':', field.len) : NULL;
    if (mark) {
        spec = (struct str){mark + 1, field.len - (size_t)(mark - field.data) - 1};
        field.len = (size_t)(mark - field.data);
    }
    if (field.len >= 2 && field.data[field.len - 2] == '!') {
        conversion = field.data[field.len - 1];
        field.len -= 2;
    }
    if (spec.len && memchr(spec.data, '{', spec.len))
        return interp_fail(in, "nested fields in a format are not supported");
    TRY(field_value(in, b, field, &v));
    if (conversion == 'r')
        TRY(format_repr(in, v, &v));
    else if (conversion == 's')
        TRY(val_to_str(in, v, &v));
    else if (conversion)
        return interp_fail(in, "unknown conversion in a format");
    return emit_field(in, v, spec);
}

enum status brace_format(struct interp *in, struct val format, struct call *call, struct val *out)
{
    struct brace b = {.format = val_str_of(format), .call = call};
    size_t mark = interp_mark(in);

    while (b.pos < b.format.len) {
        char c = b.format.data[b.pos++];
        bool twice = b.pos < b.format.len && b.format.data[b.pos] == c;
        if (c != '{' && c != '}') {
            TRY(interp_emit(in, &c, 1));
        } else if (twice) {
            TRY(interp_emit(in, &c, 1));
            b.pos++;
        } else if (c == '}') {
            return interp_fail(in, "Single '}' encountered in format string");
        } else {
            TRY(interp_step(in, 1));
            TRY(brace_one(in, &b));
        }
    }
    TRY(interp_take(in, mark, out));
    out->markup = format.markup;
    return STATUS_OK;
}
