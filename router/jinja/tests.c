/* Tests: x is defined, x is divisibleby 3, ... */
#include <math.h>

#include "router/jinja/filters.h"
#include "router/jinja/text.h"

#define TEST(name)                                                                                 \
    static enum status name(struct interp *in, struct val self, struct call *call, struct val *out)

static enum status yes(struct val *out, bool value)
{
    *out = val_bool(value);
    return STATUS_OK;
}

static enum status modulo(struct interp *in, struct val self, struct val by, struct val *out)
{
    struct val zero = val_int(0);
    bool same;

    TRY(val_binary(in, BINARY_MOD, self, by, out));
    TRY(val_equal(in, *out, zero, &same));
    return yes(out, same);
}

TEST(test_odd)
{
    bool odd;

    TRY(val_binary(in, BINARY_MOD, self, val_int(2), out));
    TRY(val_equal(in, *out, val_int(1), &odd));
    return yes(out, odd);
}

TEST(test_even)
{
    return modulo(in, self, val_int(2), out);
}

TEST(test_divisibleby)
{
    return modulo(in, self, call->arg[0], out);
}

TEST(test_defined)
{
    return yes(out, self.type != VAL_UNDEFINED);
}

TEST(test_undefined)
{
    return yes(out, self.type == VAL_UNDEFINED);
}

TEST(test_none)
{
    return yes(out, self.type == VAL_NONE);
}

TEST(test_boolean)
{
    return yes(out, self.type == VAL_BOOL);
}

TEST(test_true)
{
    return yes(out, self.type == VAL_BOOL && self.b);
}

TEST(test_false)
{
    return yes(out, self.type == VAL_BOOL && !self.b);
}

TEST(test_integer)
{
    return yes(out, self.type == VAL_INT);
}

TEST(test_float)
{
    return yes(out, self.type == VAL_FLOAT);
}

TEST(test_number)
{
    return yes(out, val_is_number(self));
}

TEST(test_string)
{
    return yes(out, self.type == VAL_STRING);
}

TEST(test_mapping)
{
    return yes(out, self.type == VAL_DICT);
}

/* Python asks for a length and indexing; an undefined value has the methods for both. */
TEST(test_sequence)
{
    return yes(out, self.type == VAL_STRING || self.type == VAL_DICT ||
                        self.type == VAL_UNDEFINED ||
                        (self.type == VAL_SEQ && self.seq->kind <= SEQ_RANGE));
}

TEST(test_iterable)
{
    return yes(out, val_is_iterable(self));
}

TEST(test_callable)
{
    return yes(out, self.type == VAL_FUNC || self.type == VAL_UNDEFINED || self.type == VAL_LOOP ||
                        (self.type == VAL_OBJECT && self.object->kind == OBJECT_JOINER));
}

TEST(test_sameas)
{
    struct val other = call->arg[0];
    bool same = self.type == other.type;

    if (same && (val_is_number(self) || self.type == VAL_STRING))
        TRY(val_equal(in, self, other, &same));
    else if (same && self.type > VAL_NONE)
        same = self.func == other.func;
    return yes(out, same);
}

TEST(test_escaped)
{
    return yes(out, self.type == VAL_STRING && self.markup);
}

/* str.islower and str.isupper: some cased character, and none of the other case. */
static enum status all_case(struct interp *in, struct val self, bool upper, struct val *out)
{
    bool any = false;
    struct str s;

    TRY(val_to_str(in, self, &self));
    s = val_str_of(self);
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        i += (size_t)text_next(s.data + i, s.len - i, &cp);
        if (upper ? text_is_lower(cp) : text_is_upper(cp))
            return yes(out, false);
        any |= upper ? text_is_upper(cp) : text_is_lower(cp);
    }
    return yes(out, any);
}

TEST(test_lower)
{
    return all_case(in, self, false, out);
}

TEST(test_upper)
{
    return all_case(in, self, true, out);
}

TEST(test_filter)
{
    return yes(out, self.type == VAL_STRING && filter_find(val_str_of(self)));
}

TEST(test_test)
{
    return yes(out, self.type == VAL_STRING && test_find(val_str_of(self)));
}

static enum status compare(struct interp *in, enum compare_op op, struct val a, struct val b,
                           struct val *out)
{
    bool holds;

    TRY(val_compare(in, op, a, b, &holds));
    return yes(out, holds);
}

TEST(test_eq)
{
    return compare(in, COMPARE_EQ, self, call->arg[0], out);
}

TEST(test_ne)
{
    return compare(in, COMPARE_NE, self, call->arg[0], out);
}

TEST(test_lt)
{
    return compare(in, COMPARE_LT, self, call->arg[0], out);
}

TEST(test_le)
{
    return compare(in, COMPARE_LE, self, call->arg[0], out);
}

TEST(test_gt)
{
    return compare(in, COMPARE_GT, self, call->arg[0], out);
}

TEST(test_ge)
{
    return compare(in, COMPARE_GE, self, call->arg[0], out);
}

TEST(test_in)
{
    return compare(in, COMPARE_IN, self, call->arg[0], out);
}

static const struct builtin tests[] = {
    BUILTIN("defined", test_defined, "", 0),
    BUILTIN("undefined", test_undefined, "", 0),
    BUILTIN("none", test_none, "", 0),
    BUILTIN("string", test_string, "", 0),
    BUILTIN("mapping", test_mapping, "", 0),
    BUILTIN("iterable", test_iterable, "", 0),
    BUILTIN("sequence", test_sequence, "", 0),
    BUILTIN("boolean", test_boolean, "", 0),
    BUILTIN("true", test_true, "", 0),
    BUILTIN("false", test_false, "", 0),
    BUILTIN("number", test_number, "", 0),
    BUILTIN("integer", test_integer, "", 0),
    BUILTIN("float", test_float, "", 0),
    BUILTIN("odd", test_odd, "", 0),
    BUILTIN("even", test_even, "", 0),
    BUILTIN("divisibleby", test_divisibleby, "num", 1),
    BUILTIN("callable", test_callable, "", 0),
    BUILTIN("sameas", test_sameas, "other", 1),
    BUILTIN("escaped", test_escaped, "", 0),
    BUILTIN("lower", test_lower, "", 0),
    BUILTIN("upper", test_upper, "", 0),
    BUILTIN("filter", test_filter, "", 0),
    BUILTIN("test", test_test, "", 0),
    BUILTIN("in", test_in, "seq", 1),
    BUILTIN("==", test_eq, ",", 1),
    BUILTIN("eq", test_eq, ",", 1),
    BUILTIN("equalto", test_eq, ",", 1),
    BUILTIN("!=", test_ne, ",", 1),
    BUILTIN("ne", test_ne, ",", 1),
    BUILTIN("<", test_lt, ",", 1),
    BUILTIN("lt", test_lt, ",", 1),
    BUILTIN("lessthan", test_lt, ",", 1),
    BUILTIN("<=", test_le, ",", 1),
    BUILTIN("le", test_le, ",", 1),
    BUILTIN(">", test_gt, ",", 1),
    BUILTIN("gt", test_gt, ",", 1),
    BUILTIN("greaterthan", test_gt, ",", 1),
    BUILTIN(">=", test_ge, ",", 1),
    BUILTIN("ge", test_ge, ",", 1),
};

const struct builtin *test_find(struct str name)
{
    return builtin_find(tests, ARRAY_LEN(tests), name);
}
