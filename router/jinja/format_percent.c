/* "%s" % values, and the format filter. */
#include <math.h>
#include <string.h>

#include "router/jinja/format.h"

struct percent {
    struct str format;
    size_t pos;
    struct val values;
    size_t used; /* of a tuple; a single value counts as a tuple of one */
};

static enum status next_value(struct interp *in, struct percent *p, struct val *out)
{
    bool tuple = val_is_seq(p->values, SEQ_TUPLE);

    if (p->used >= (tuple ? p->values.seq->count : 1))
        return interp_fail(in, "not enough arguments for format string");
    *out = tuple ? p->values.seq->items[p->used] : p->values;
    p->used++;
    return STATUS_OK;
}

static char peek(const struct percent *p)
{
    return p->pos < p->format.len ? p->format.data[p->pos] : 0;
}

static enum status read_number(struct interp *in, struct percent *p, int64_t *out)
{
    struct val v;

    *out = 0;
    if (peek(p) == '*') {
        p->pos++;
        TRY(next_value(in, p, &v));
        TRY(arg_int(in, v, "* in a format", out));
    }
    while (peek(p) >= '0' && peek(p) <= '9' && *out <= FORMAT_WIDTH_MAX)
        *out = *out * 10 + (p->format.data[p->pos++] - '0');
    return *out > FORMAT_WIDTH_MAX ? interp_fail(in, "a width in a format is too large")
                                   : STATUS_OK;
}

static enum status percent_spec(struct interp *in, struct percent *p, struct spec *spec)
{
    int64_t number;

    *spec = (struct spec){.precision = -1, .fill = ' ', .align = '>'};
    for (; peek(p) && strchr("-+ #0", peek(p)); p->pos++) {
        spec->left |= peek(p) == '-';
        spec->plus |= peek(p) == '+';
        spec->space |= peek(p) == ' ';
        spec->alternate |= peek(p) == '#';
        spec->zero |= peek(p) == '0';
    }
    if (spec->zero)
        spec->align = 0;
    TRY(read_number(in, p, &spec->width));
    if (spec->width < 0) {
        spec->left = true;
        spec->width = -spec->width;
    }
    if (peek(p) == '.') {
        p->pos++;
        TRY(read_number(in, p, &number));
        spec->precision = (int)MAX(number, 0);
    }
    while (peek(p) && strchr("hlL", peek(p)))
        p->pos++;
    spec->type = peek(p);
    if (!spec->type)
        return interp_fail(in, "incomplete format");
    p->pos++;
    return STATUS_OK;
}

static enum status percent_number(struct interp *in, struct spec *spec, struct val v)
{
    bool integral = strchr("diuxXo", spec->type) != NULL;

    if (v.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (!val_is_number(v) || (v.type == VAL_FLOAT && strchr("xXo", spec->type)))
        return interp_fail(in, "%%%c format: a number is required, not %s", spec->type,
                           val_type_name(v));
    if (!integral)
        return format_float(in, spec, val_as_double(v));
    if (v.type == VAL_FLOAT)
        TRY(double_to_int(in, trunc(v.f), &v));
    return format_int(in, spec, val_as_int(v));
}

static enum status percent_one(struct interp *in, struct percent *p)
{
    struct val v = {.type = VAL_ABSENT};
    struct spec spec;
    bool found;

    if (peek(p) == '(') { /* (name) */
        size_t start = ++p->pos, depth = 1;
        for (; p->pos < p->format.len && depth; p->pos++)
            depth += (peek(p) == '(') - (peek(p) == ')');
        if (depth)
            return interp_fail(in, "incomplete format key");
        if (p->values.type != VAL_DICT)
            return interp_fail(in, "format requires a mapping");
        struct val key = val_borrow(&in->arena, p->format.data + start, p->pos - 1 - start);
        TRY(dict_get(in, p->values.dict, key, &v, &found));
        if (!found)
            return interp_fail(in, "the format's key is not in the mapping");
        p->used = 1;
    }
    TRY(percent_spec(in, p, &spec));
    if (spec.type == '%')
        return interp_emit(in, "%", 1);
    if (v.type == VAL_ABSENT)
        TRY(next_value(in, p, &v));
    switch (spec.type) {
    case 's':
        TRY(val_to_str(in, v, &v));
        return format_text(in, &spec, v);
    case 'r':
    case 'a':
        TRY(format_repr(in, v, &v));
        return format_text(in, &spec, v);
    case 'c':
        if (v.type != VAL_STRING || val_chars(v) != 1)
            return interp_fail(in, "%%c requires a single character");
        return format_text(in, &spec, v);
    default:
        if (!strchr("diuxXoeEfFgG", spec.type))
            return interp_fail(in, "unsupported format character '%c'",
                               (unsigned char)spec.type < 0x80 ? spec.type : '?');
        return percent_number(in, &spec, v);
    }
}

enum status percent_format(struct interp *in, struct val format, struct val values, struct val *out)
{
    struct percent p = {.format = val_str_of(format), .values = values};
    size_t mark = interp_mark(in), start = 0;
    bool tuple = val_is_seq(values, SEQ_TUPLE);

    while (p.pos < p.format.len) {
        const char *percent = memchr(p.format.data + p.pos, '%', p.format.len - p.pos);
        p.pos = percent ? (size_t)(percent - p.format.data) : p.format.len;
        TRY(interp_emit(in, p.format.data + start, p.pos - start));
        if (percent) {
            p.pos++;
            TRY(interp_step(in, 1));
            TRY(percent_one(in, &p));
        }
        start = p.pos;
    }
    /* leftover values are an error, but a mapping or list may go unused */
    if (tuple ? p.used < values.seq->count
              : p.used == 0 && values.type != VAL_DICT && values.type != VAL_UNDEFINED &&
                    !val_is_seq(values, SEQ_LIST) && !val_is_seq(values, SEQ_RANGE))
        return interp_fail(in, "not all arguments converted during string formatting");
    TRY(interp_take(in, mark, out));
    out->markup = format.markup;
    return STATUS_OK;
}
