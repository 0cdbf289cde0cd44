/* Filters that convert: int, float, round, abs, default, tojson, filesizeformat. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/jinja/filters.h"
#include "router/jinja/text.h"

static enum status filter_abs(struct interp *in, struct val self, struct call *call,
                              struct val *out)
{
    if (self.type == VAL_FLOAT) {
        *out = val_float(fabs(self.f));
        return STATUS_OK;
    }
    if (!val_is_int(self))
        return self.type == VAL_UNDEFINED
                   ? interp_fail_undefined(in, self)
                   : interp_fail(in, "bad operand type for abs(): '%s'", val_type_name(self));
    *out = val_int(val_as_int(self));
    return out->i < 0 ? val_negate(in, *out, out) : STATUS_OK;
}

/* Digits with single underscores between them, as int() and float() take them, to plain ones. */
static bool plain_number(struct str s, char out[64])
{
    size_t len = 0;

    s = text_strip(s);
    if (s.len == 0 || s.len >= 64)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_') {
            if (i == 0 || i + 1 == s.len || s.data[i - 1] == '_' ||
                !text_is_alnum((unsigned char)s.data[i - 1]) ||
                !text_is_alnum((unsigned char)s.data[i + 1]))
                return false;
            continue;
        }
        if ((unsigned char)s.data[i] >= 0x80 || s.data[i] <= ' ')
            return false;
        out[len++] = s.data[i];
    }
    out[len] = 0;
    return true;
}

static bool parse_float(struct str s, double *out)
{
    char text[64], *end;
    const char *p = text;

    if (!plain_number(s, text))
        return false;
    p += *p == '+' || *p == '-';
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) /* strtod takes hex, float() does not */
        return false;
    if (strchr(p, '('))
        return false;
    *out = strtod(text, &end);
    return *end == 0 && end != text;
}

static bool parse_int(struct str s, int64_t base, int64_t *out)
{
    char text[64], *end;
    const char *p = text;

    if (!plain_number(s, text) || base < 0 || base == 1 || base > 36)
        return false;
    p += *p == '+' || *p == '-';
    if (p[0] == '0' && p[1]) {
        char low = (char)(p[1] | 0x20);
        int prefix = low == 'x' ? 16 : low == 'o' ? 8 : low == 'b' ? 2 : 0;
        if (prefix && (base == 0 || base == prefix)) {
            base = prefix;
            memmove(text + (p - text), p + 2, strlen(p + 2) + 1);
        } else if (base == 0) { /* only zeros may begin with a zero */
            base = strspn(p, "0") == strlen(p) ? 10 : -1;
        }
    }
    if (base < 0 || !text_is_alnum((unsigned char)*p))
        return false;
    errno = 0;
    *out = strtoll(text, &end, base ? (int)base : 10);
    return *end == 0 && end != text && errno == 0;
}

static enum status filter_int(struct interp *in, struct val self, struct call *call,
                              struct val *out)
{
    int64_t base = 10, number;
    double real;

    if (call->arg[1].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[1], "base", &base));
    *out = call->arg[0].type == VAL_ABSENT ? val_int(0) : call->arg[0];
    if (self.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, self);
    if (val_is_int(self)) {
        *out = val_int(val_as_int(self));
        return STATUS_OK;
    }
    if (self.type == VAL_FLOAT) {
        if (isinf(self.f))
            return interp_fail(in, "cannot convert float infinity to integer");
        return isnan(self.f) ? STATUS_OK : double_to_int(in, trunc(self.f), out);
    }
    if (self.type != VAL_STRING)
        return STATUS_OK;
    if (parse_int(val_str_of(self), base, &number))
        *out = val_int(number);
    else if (parse_float(val_str_of(self), &real) && !isnan(real) && !isinf(real))
        return double_to_int(in, trunc(real), out);
    return STATUS_OK;
}

static enum status filter_float(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    double real;

    *out = call->arg[0].type == VAL_ABSENT ? val_float(0) : call->arg[0];
    if (self.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, self);
    if (val_is_number(self))
        *out = val_float(val_as_double(self));
    else if (self.type == VAL_STRING && parse_float(val_str_of(self), &real))
        *out = val_float(real);
    return STATUS_OK;
}

/* round() of a float is exact on its decimal expansion; printf rounds the same way. */
static enum status round_common(struct interp *in, struct val self, int64_t precision,
                                struct val *out)
{
    char text[420];

    if (val_is_int(self) && precision >= 0) {
        *out = val_int(val_as_int(self));
        return STATUS_OK;
    }
    if (val_is_int(self)) {
        int64_t unit = 1, v = val_as_int(self), rest;
        if (precision < -18)
            return *out = val_int(0), STATUS_OK;
        while (precision++ < 0)
            unit *= 10;
        rest = ((v % unit) + unit) % unit;
        v -= rest;
        if (rest > unit - rest || (rest == unit - rest && v / unit % 2 != 0))
            v += unit;
        *out = val_int(v);
        return STATUS_OK;
    }
    if (isnan(self.f) || isinf(self.f) || precision > 30) {
        *out = self;
        return STATUS_OK;
    }
    if (precision < 0) {
        double unit = pow(10, (double)-precision);
        *out = val_float(precision < -308 ? 0 : nearbyint(self.f / unit) * unit);
        return STATUS_OK;
    }
    snprintf(text, sizeof(text), "%.*f", (int)precision, self.f);
    *out = val_float(strtod(text, NULL));
    return STATUS_OK;
}

static enum status filter_round(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    struct str method = STR("common");
    int64_t precision = 0;
    struct val unit;

    if (call->arg[0].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[0], "precision", &precision));
    if (call->arg[1].type != VAL_ABSENT)
        TRY(arg_string(in, call->arg[1], "method", &method));
    if (!val_is_number(self))
        return self.type == VAL_UNDEFINED
                   ? interp_fail_undefined(in, self)
                   : interp_fail(in, "type %s doesn't define __round__ method",
                                 val_type_name(self));
    if (str_is(method, "common"))
        return round_common(in, self, precision, out);
    if (!str_is(method, "ceil") && !str_is(method, "floor"))
        return interp_fail(in, "method must be common, ceil or floor");
    TRY(val_binary(in, BINARY_POW, val_int(10), val_int(precision), &unit));
    TRY(val_binary(in, BINARY_MUL, self, unit, out));
    if (out->type == VAL_FLOAT)
        TRY(double_to_int(in, str_is(method, "ceil") ? ceil(out->f) : floor(out->f), out));
    return val_binary(in, BINARY_DIV, *out, unit, out);
}

static enum status filter_default(struct interp *in, struct val self, struct call *call,
                                  struct val *out)
{
    bool empty = self.type == VAL_UNDEFINED || (val_truth(call->arg[1]) && !val_truth(self));

    *out = self;
    if (empty)
        *out = call->arg[0].type == VAL_ABSENT ? val_borrow(&in->arena, "", 0) : call->arg[0];
    return STATUS_OK;
}

/* ensure_ascii, indent, separators, sort_keys: the arguments that transformers gives tojson. */
static enum status filter_tojson(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    struct json_style style = {.item_sep = STR(", "), .key_sep = STR(": ")};
    struct val indent = call->arg[1], seps = call->arg[2];
    size_t mark = interp_mark(in);
    int64_t width;

    style.ascii_only = val_truth(call->arg[0]);
    style.sort_keys = val_truth(call->arg[3]);
    if (given(indent)) {
        style.pretty = true;
        style.item_sep = STR(",");
        if (indent.type != VAL_STRING) {
            TRY(arg_int(in, indent, "indent", &width));
            TRY(text_pad(in, val_borrow(&in->arena, "", 0), width, ' ', '<', &indent));
        }
        style.indent = val_str_of(indent);
    }
    if (given(seps)) {
        if (seps.type != VAL_SEQ || seps.seq->count != 2)
            return interp_fail(in, "separators must be a pair of strings");
        TRY(arg_string(in, seps.seq->items[0], "a separator", &style.item_sep));
        TRY(arg_string(in, seps.seq->items[1], "a separator", &style.key_sep));
    }
    TRY(emit_json(in, self, &style));
    return interp_take(in, mark, out);
}

static enum status filter_filesizeformat(struct interp *in, struct val self, struct call *call,
                                         struct val *out)
{
    static const char *const names = "kMGTPEZY";
    bool binary = val_truth(call->arg[0]);
    double bytes, base = binary ? 1024 : 1000, unit = base;
    char text[64];
    size_t i = 0;

    TRY(filter_float(in, self, &(struct call){0}, &self));
    bytes = self.f;
    if (bytes == 1)
        return val_copy(in, "1 Byte", 6, out);
    if (bytes < base) {
        snprintf(text, sizeof(text), "%.0f Bytes", trunc(bytes));
        return val_copy(in, text, strlen(text), out);
    }
    for (unit *= base; bytes >= unit && i < 7; i++)
        unit *= base;
    snprintf(text, sizeof(text), "%.1f %c%sB", base * bytes / unit,
             binary && names[i] == 'k' ? 'K' : names[i], binary ? "i" : "");
    return val_copy(in, text, strlen(text), out);
}

const struct builtin filters_num[] = {
    BUILTIN("abs", filter_abs, "", 0),
    BUILTIN("int", filter_int, "default,base", 0),
    BUILTIN("float", filter_float, "default", 0),
    BUILTIN("round", filter_round, "precision,method", 0),
    BUILTIN("default", filter_default, "default_value,boolean", 0),
    BUILTIN("d", filter_default, "default_value,boolean", 0),
    BUILTIN("tojson", filter_tojson, "ensure_ascii,indent,separators,sort_keys", 0),
    BUILTIN("filesizeformat", filter_filesizeformat, "binary", 0),
};
const size_t filters_num_count = ARRAY_LEN(filters_num);

const struct builtin *filter_find(struct str name)
{
    const struct {
        const struct builtin *table;
        size_t count;
    } tables[] = {
        {filters_text, filters_text_count},
        {filters_seq, filters_seq_count},
        {filters_pick, filters_pick_count},
        {filters_num, filters_num_count},
    };
    const struct builtin *found = NULL;

    for (size_t i = 0; i < ARRAY_LEN(tables) && !found; i++)
        found = builtin_find(tables[i].table, tables[i].count, name);
    return found;
}
