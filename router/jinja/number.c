/* Arithmetic with Python's rules: floor division, sign of the modulus, true division; int stays
 * int and must fit 64 bits. Also + and * of strings and lists, and % formatting. */
#include <math.h>
#include <string.h>

#include "router/jinja/interp.h"

static enum status overflow(struct interp *in)
{
    return interp_fail(in, "an integer does not fit 64 bits");
}

enum status double_to_int(struct interp *in, double f, struct val *out)
{
    if (isnan(f) || isinf(f))
        return interp_fail(in, "cannot convert float %s to integer", isnan(f) ? "NaN" : "infinity");
    if (f >= 9223372036854775808.0 || f < -9223372036854775808.0)
        return overflow(in);
    *out = val_int((int64_t)f);
    return STATUS_OK;
}

static enum status int_power(struct interp *in, int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(*out, base, out))
            return overflow(in);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
            return overflow(in);
    }
    return STATUS_OK;
}

static enum status int_binary(struct interp *in, enum binary_op op, int64_t a, int64_t b,
                              struct val *out)
{
    bool wrong = false;
    int64_t r = 0;

    if (b == 0 && (op == BINARY_DIV || op == BINARY_FLOORDIV || op == BINARY_MOD))
        return interp_fail(in, "division by zero");
    switch (op) {
    case BINARY_ADD:
        wrong = __builtin_add_overflow(a, b, &r);
        break;
    case BINARY_SUB:
        wrong = __builtin_sub_overflow(a, b, &r);
        break;
    case BINARY_MUL:
        wrong = __builtin_mul_overflow(a, b, &r);
        break;
    case BINARY_DIV:
        *out = val_float((double)((long double)a / (long double)b));
        return STATUS_OK;
    case BINARY_FLOORDIV:
        if (a == INT64_MIN && b == -1)
            return overflow(in);
        r = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
        break;
    case BINARY_MOD:
        r = b == -1 ? 0 : a % b;
        r += r != 0 && (r < 0) != (b < 0) ? b : 0;
        break;
    case BINARY_POW:
        if (b < 0) {
            if (a == 0)
                return interp_fail(in, "0.0 cannot be raised to a negative power");
            *out = val_float(pow((double)a, (double)b));
            return STATUS_OK;
        }
        TRY(int_power(in, a, b, &r));
        break;
    }
    *out = val_int(r);
    return wrong ? overflow(in) : STATUS_OK;
}

static double float_mod(double a, double b)
{
    double r = fmod(a, b);

    if (r == 0)
        return copysign(0, b);
    return (r < 0) != (b < 0) ? r + b : r;
}

static double float_floordiv(double a, double b)
{
    double mod = float_mod(a, b), div = (a - mod) / b, floored = floor(div);

    if (div == 0)
        return copysign(0, a / b);
    return div - floored > 0.5 ? floored + 1 : floored;
}

static enum status float_binary(struct interp *in, enum binary_op op, double a, double b,
                                struct val *out)
{
    double r = 0;

    if (b == 0 && (op == BINARY_DIV || op == BINARY_FLOORDIV || op == BINARY_MOD))
        return interp_fail(in, "float division by zero");
    switch (op) {
    case BINARY_ADD:
        r = a + b;
        break;
    case BINARY_SUB:
        r = a - b;
        break;
    case BINARY_MUL:
        r = a * b;
        break;
    case BINARY_DIV:
        r = a / b;
        break;
    case BINARY_FLOORDIV:
        r = float_floordiv(a, b);
        break;
    case BINARY_MOD:
        r = float_mod(a, b);
        break;
    case BINARY_POW:
        if (a == 0 && b < 0)
            return interp_fail(in, "0.0 cannot be raised to a negative power");
        r = pow(a, b);
        if (isnan(r) && !isnan(a) && !isnan(b))
            return interp_fail(in, "complex numbers are not supported");
        if (isinf(r) && !isinf(a) && !isinf(b))
            return interp_fail(in, "numerical result out of range");
        break;
    }
    *out = val_float(r);
    return STATUS_OK;
}

/* Joining a plain string to markup escapes the plain one. */
static enum status add_text(struct interp *in, struct val a, struct val b, struct val *out)
{
    const struct builtin *escape = a.markup == b.markup ? NULL : filter_find(STR("e"));
    bool markup = a.markup || b.markup;
    char *data;

    if (escape) {
        struct call call = {0};
        TRY(escape->fn(in, a, &call, &a));
        TRY(escape->fn(in, b, &call, &b));
    }
    TRY(interp_room(in, a.text->len + b.text->len + 64));
    TRY(interp_step(in, (a.text->len + b.text->len) / 256));
    data = arena_alloc(&in->arena, a.text->len + b.text->len + 1);
    memcpy(data, a.text->data, a.text->len);
    memcpy(data + a.text->len, b.text->data, b.text->len);
    data[a.text->len + b.text->len] = 0;
    *out = val_borrow(&in->arena, data, a.text->len + b.text->len);
    out->markup = markup;
    return STATUS_OK;
}

static enum status repeat(struct interp *in, struct val v, int64_t times, struct val *out)
{
    bool text = v.type == VAL_STRING;
    size_t len = text ? v.text->len : v.seq->count, item = text ? 1 : sizeof(struct val), bytes;
    size_t count = times > 0 ? (size_t)times : 0;
    char *data;

    if (len == 0)
        count = 0;
    if (__builtin_mul_overflow(len * item, count, &bytes))
        bytes = SIZE_MAX / 2;
    TRY(interp_room(in, bytes + 64));
    TRY(interp_step(in, bytes / 256));
    data = arena_alloc(&in->arena, bytes + 1);
    for (size_t i = 0; i < count; i++)
        memcpy(data + i * len * item, text ? (const void *)v.text->data : v.seq->items, len * item);
    if (text) {
        data[bytes] = 0;
        *out = val_borrow(&in->arena, data, bytes);
        out->markup = v.markup;
        return STATUS_OK;
    }
    *out = val_seq(seq_new(in, v.seq->kind, 0));
    out->seq->items = (struct val *)(void *)data;
    out->seq->count = out->seq->cap = len * count;
    return STATUS_OK;
}

static enum status add_seq(struct interp *in, const struct seq *a, const struct seq *b,
                           struct val *out)
{
    struct seq *seq;

    TRY(interp_room(in, (a->count + b->count) * sizeof(struct val)));
    TRY(interp_step(in, (a->count + b->count) / 16));
    seq = seq_new(in, a->kind, a->count + b->count);
    for (size_t i = 0; i < a->count; i++)
        TRY(seq_push(in, seq, a->items[i]));
    for (size_t i = 0; i < b->count; i++)
        TRY(seq_push(in, seq, b->items[i]));
    *out = val_seq(seq);
    return STATUS_OK;
}

static bool repeatable(struct val v)
{
    return v.type == VAL_STRING || val_is_seq(v, SEQ_LIST) || val_is_seq(v, SEQ_TUPLE);
}

enum status val_binary(struct interp *in, enum binary_op op, struct val a, struct val b,
                       struct val *out)
{
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};

    if (val_is_int(a) && val_is_int(b))
        return int_binary(in, op, val_as_int(a), val_as_int(b), out);
    if (val_is_number(a) && val_is_number(b))
        return float_binary(in, op, val_as_double(a), val_as_double(b), out);
    if (op == BINARY_MOD && a.type == VAL_STRING)
        return percent_format(in, a, b, out);
    if (a.type == VAL_UNDEFINED || b.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, a.type == VAL_UNDEFINED ? a : b);
    if (op == BINARY_ADD && a.type == VAL_STRING && b.type == VAL_STRING)
        return add_text(in, a, b, out);
    if (op == BINARY_ADD && repeatable(a) && a.type == VAL_SEQ && b.type == VAL_SEQ &&
        a.seq->kind == b.seq->kind)
        return add_seq(in, a.seq, b.seq, out);
    if (op == BINARY_MUL && repeatable(a) && val_is_int(b))
        return repeat(in, a, val_as_int(b), out);
    if (op == BINARY_MUL && repeatable(b) && val_is_int(a))
        return repeat(in, b, val_as_int(a), out);
    if (op == BINARY_ADD && a.type == VAL_STRING)
        return interp_fail(in, "can only concatenate str (not \"%s\") to str", val_type_name(b));
    return interp_fail(in, "unsupported operand type(s) for %s: '%s' and '%s'", signs[op],
                       val_type_name(a), val_type_name(b));
}

enum status val_negate(struct interp *in, struct val v, struct val *out)
{
    if (v.type == VAL_FLOAT) {
        *out = val_float(-v.f);
        return STATUS_OK;
    }
    if (v.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (!val_is_int(v))
        return interp_fail(in, "bad operand type for unary -: '%s'", val_type_name(v));
    return int_binary(in, BINARY_SUB, 0, val_as_int(v), out);
}
