/* printf-style formatting ("%s" % x, the format filter) and str.format(). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "router/jinja/filters.h"
#include "router/jinja/text.h"

#define FORMAT_WIDTH_MAX 100000

/* One conversion of either language. */
struct spec {
    bool left, plus, space, zero, alternate, comma, underscore;
    char align; /* '<' '>' '^' '=', or 0 */
    char type;  /* 0 when not given */
    uint32_t fill;
    int64_t width;
    int precision; /* -1 when not given */
};

static enum status group_digits(char *text, size_t size, char sep)
{
    char digits[400];
    size_t len = strcspn(text, ".eE%"), out = 0;

    snprintf(digits, sizeof(digits), "%s", text);
    for (size_t i = 0; i < len && out + 2 < size; i++) {
        if (i && (len - i) % 3 == 0)
            text[out++] = sep;
        text[out++] = digits[i];
    }
    snprintf(text + out, size - out, "%s", digits + len);
    return STATUS_OK;
}

/* Sign, prefix and digits of a number, then padding. `digits` has no sign. */
static enum status emit_number(struct interp *in, const struct spec *spec, bool negative,
                               const char *prefix, const char *digits)
{
    const char *sign = negative ? "-" : spec->plus ? "+" : spec->space ? " " : "";
    size_t len = strlen(sign) + strlen(prefix) + strlen(digits);
    bool zero = spec->zero && !spec->left && (spec->align == 0 || spec->align == '=');
    char align = spec->left ? '<' : spec->align ? spec->align : '>';
    struct val text;

    if (zero || align == '=') {
        TRY(interp_emit_cstr(in, sign));
        TRY(interp_emit_cstr(in, prefix));
        text = val_cstr(&in->arena, arena_strndup(&in->arena, digits, strlen(digits)));
        TRY(text_pad(in, text, spec->width - (int64_t)(len - strlen(digits)),
                     zero ? '0' : spec->fill, '>', &text));
        return emit_str(in, text);
    }
    text = val_cstr(&in->arena, arena_printf(&in->arena, "%s%s%s", sign, prefix, digits));
    TRY(text_pad(in, text, spec->width, spec->fill, align, &text));
    return emit_str(in, text);
}

static enum status emit_int(struct interp *in, const struct spec *spec, int64_t value)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    const char *prefix = "";
    char digits[400];
    size_t len = 0, pad;

    switch (spec->type) {
    case 'x':
    case 'X':
        snprintf(digits, sizeof(digits), spec->type == 'x' ? "%" PRIx64 : "%" PRIX64, magnitude);
        prefix = !spec->alternate ? "" : spec->type == 'x' ? "0x" : "0X";
        break;
    case 'o':
        snprintf(digits, sizeof(digits), "%" PRIo64, magnitude);
        prefix = spec->alternate ? "0o" : "";
        break;
    case 'b':
        for (int bit = 63; bit >= 0; bit--)
            if (len || bit == 0 || (magnitude >> bit & 1))
                digits[len++] = (char)('0' + (magnitude >> bit & 1));
        digits[len] = 0;
        prefix = spec->alternate ? "0b" : "";
        break;
    default:
        snprintf(digits, sizeof(digits), "%" PRIu64, magnitude);
    }
    len = strlen(digits);
    if (spec->precision > (int)len && spec->precision < 300) {
        pad = (size_t)spec->precision - len;
        memmove(digits + pad, digits, len + 1);
        memset(digits, '0', pad);
    }
    if (spec->comma || spec->underscore)
        TRY(group_digits(digits, sizeof(digits), spec->comma ? ',' : '_'));
    return emit_number(in, spec, value < 0, prefix, digits);
}

static enum status emit_float(struct interp *in, const struct spec *spec, double value)
{
    char digits[400], format[16];
    int precision = spec->precision < 0 ? 6 : spec->precision;
    char type = spec->type == '%' ? 'f' : spec->type;
    bool negative = signbit(value) && !isnan(value);

    if (precision > 60)
        return interp_fail(in, "the precision is too large");
    value = fabs(value) * (spec->type == '%' ? 100 : 1);
    if (isnan(value) || isinf(value)) {
        bool upper = type == 'F' || type == 'E' || type == 'G';
        snprintf(digits, sizeof(digits), "%s",
                 isnan(value) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
    } else if (type == 0 && spec->precision < 0) {
        format_double(value, digits);
    } else if (type == 0) { /* like g, but with a digit behind the point */
        snprintf(digits, sizeof(digits), "%.*g", MAX(precision, 1), value);
        if (!strpbrk(digits, ".e"))
            strcat(digits, ".0");
    } else {
        snprintf(format, sizeof(format), spec->alternate ? "%%#.*%c" : "%%.*%c", type);
        snprintf(digits, sizeof(digits), format, precision, value);
    }
    if (spec->type == '%')
        strcat(digits, "%");
    if (spec->comma || spec->underscore)
        TRY(group_digits(digits, sizeof(digits), spec->comma ? ',' : '_'));
    return emit_number(in, spec, negative, "", digits);
}

static enum status emit_text(struct interp *in, const struct spec *spec, struct val v)
{
    char align = spec->left ? '<' : spec->align;

    if (spec->precision >= 0) {
        struct str s = val_str_of(v);
        v = val_borrow(&in->arena, s.data, text_offset(s.data, s.len, (size_t)spec->precision));
    }
    TRY(text_pad(in, v, spec->width, spec->fill, align, &v));
    return emit_str(in, v);
}

static enum status to_repr(struct interp *in, struct val v, struct val *out)
{
    size_t mark = interp_mark(in);

    TRY(emit_repr(in, v));
    return interp_take(in, mark, out);
}

/* ---- "%s" % values */

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
        return emit_float(in, spec, val_as_double(v));
    if (v.type == VAL_FLOAT)
        TRY(double_to_int(in, trunc(v.f), &v));
    return emit_int(in, spec, val_as_int(v));
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
        return emit_text(in, &spec, v);
    case 'r':
    case 'a':
        TRY(to_repr(in, v, &v));
        return emit_text(in, &spec, v);
    case 'c':
        if (v.type != VAL_STRING || val_chars(v) != 1)
            return interp_fail(in, "%%c requires a single character");
        return emit_text(in, &spec, v);
    default:
        if (!strchr("diuxXoeEfFgG", spec.type))
            return interp_fail(in, "unsupported format character '%c'",
                               (unsigned char)spec.type < 0x80 ? spec.type : '?');
        return percent_number(in, &spec, v);
    }
}

enum status percent_format(struct interp *in, struct val format, struct val values,
                           struct val *out)
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

/* ---- "{}".format(values) */

struct brace {
    struct str format;
    size_t pos;
    struct call *call;
    int64_t next; /* automatic number; -1 once explicit numbers were used */
};

static enum status first_value(struct interp *in, struct brace *b, struct str name,
                               struct val *out)
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
    for (; i < s.len && s.data[i] >= '0' && s.data[i] <= '9' && spec->width <= FORMAT_WIDTH_MAX; i++)
        spec->width = spec->width * 10 + (s.data[i] - '0');
    if (i < s.len && (s.data[i] == ',' || s.data[i] == '_')) {
        spec->comma = s.data[i] == ',';
        spec->underscore = s.data[i++] == '_';
    }
    if (i < s.len && s.data[i] == '.') {
        spec->precision = 0;
        for (i++; i < s.len && s.data[i] >= '0' && s.data[i] <= '9' && spec->precision < 100000; i++)
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
        return emit_text(in, &spec, v);
    }
    if (val_is_int(v) && (v.type == VAL_INT || spec.type) && strchr("dxXob", spec.type))
        return emit_int(in, &spec, val_as_int(v));
    if (val_is_number(v) && strchr("eEfFgG%", spec.type) && (spec.type || v.type == VAL_FLOAT))
        return emit_float(in, &spec, val_as_double(v));
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
        TRY(to_repr(in, v, &v));
    else if (conversion == 's')
        TRY(val_to_str(in, v, &v));
    else if (conversion)
        return interp_fail(in, "unknown conversion in a format");
    return emit_field(in, v, spec);
}

enum status brace_format(struct interp *in, struct val format, struct call *call,
                         struct val *out)
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
