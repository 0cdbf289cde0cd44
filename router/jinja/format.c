/* One conversion of a number or a text: what both formatting languages share. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "router/jinja/format.h"
#include "router/jinja/text.h"

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

enum status format_int(struct interp *in, const struct spec *spec, int64_t value)
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

enum status format_float(struct interp *in, const struct spec *spec, double value)
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
                 isnan(value) ? (upper ? "NAN" : "nan")
                 : upper      ? "INF"
                              : "inf");
    } else if (type == 0 && spec->precision < 0) {
        format_double(value, digits);
    } else if (type == 0) { /* like g, but with a digit behind the point */
        snprintf(digits, sizeof(digits), "%.*g", MAX(precision, 1), value);
        if (!strpbrk(digits, ".e"))
            snprintf(digits + strlen(digits), 3, ".0");
    } else {
        snprintf(format, sizeof(format), spec->alternate ? "%%#.*%c" : "%%.*%c", type);
        snprintf(digits, sizeof(digits), format, precision, value);
    }
    if (spec->type == '%')
        snprintf(digits + strlen(digits), 2, "%%");
    if (spec->comma || spec->underscore)
        TRY(group_digits(digits, sizeof(digits), spec->comma ? ',' : '_'));
    return emit_number(in, spec, negative, "", digits);
}

enum status format_text(struct interp *in, const struct spec *spec, struct val v)
{
    char align = spec->left ? '<' : spec->align;

    if (spec->precision >= 0) {
        struct str s = val_str_of(v);
        v = val_borrow(&in->arena, s.data, text_offset(s.data, s.len, (size_t)spec->precision));
    }
    TRY(text_pad(in, v, spec->width, spec->fill, align, &v));
    return emit_str(in, v);
}

enum status format_repr(struct interp *in, struct val v, struct val *out)
{
    size_t mark = interp_mark(in);

    TRY(emit_repr(in, v));
    return interp_take(in, mark, out);
}
