/* Equality, order, membership, and hashes, as Python defines them for these types. */
#include <math.h>
#include <string.h>

#include "common/hash.h"
#include "router/jinja/interp.h"
#include "router/jinja/text.h"

enum status val_hash(struct interp *in, struct val v, uint64_t *out)
{
    switch ((enum val_type)v.type) {
    case VAL_STRING:
        *out = hash_bytes(v.text->data, v.text->len);
        return STATUS_OK;
    case VAL_BOOL:
    case VAL_INT:
        *out = (uint64_t)val_as_int(v) * 0x9e3779b97f4a7c15u;
        return STATUS_OK;
    case VAL_FLOAT: /* equal numbers have equal hashes, whatever their type */
        if (v.f >= -9.2e18 && v.f <= 9.2e18 && v.f == floor(v.f))
            return val_hash(in, val_int((int64_t)v.f), out);
        *out = hash_bytes(&v.f, sizeof(v.f));
        return STATUS_OK;
    case VAL_NONE:
    case VAL_UNDEFINED:
        *out = v.type;
        return STATUS_OK;
    case VAL_SEQ:
        if (v.seq->kind != SEQ_TUPLE)
            break;
        TRY(interp_enter(in));
        *out = 77;
        for (size_t i = 0; i < v.seq->count; i++) {
            uint64_t hash;
            TRY(interp_step(in, 1));
            TRY(val_hash(in, v.seq->items[i], &hash));
            *out = hash_bytes_seeded(&hash, sizeof(hash), *out);
        }
        interp_leave(in);
        return STATUS_OK;
    case VAL_DICT:
        break;
    default:
        *out = (uint64_t)(uintptr_t)v.func;
        return STATUS_OK;
    }
    return interp_fail(in, "unhashable type: '%s'", val_type_name(v));
}

static enum status seq_equal(struct interp *in, const struct seq *a, const struct seq *b, bool *out)
{
    *out = a == b;
    if (*out || a->kind != b->kind || a->kind == SEQ_ITERATOR || a->kind == SEQ_VALUES ||
        a->count != b->count)
        return STATUS_OK;
    TRY(interp_enter(in));
    *out = true;
    for (size_t i = 0; i < a->count && *out; i++) {
        TRY(interp_step(in, 1));
        TRY(val_equal(in, a->items[i], b->items[i], out));
    }
    interp_leave(in);
    return STATUS_OK;
}

static enum status dict_equal(struct interp *in, const struct dict *a, const struct dict *b,
                              bool *out)
{
    *out = a == b;
    if (*out || a->count != b->count)
        return STATUS_OK;
    TRY(interp_enter(in));
    *out = true;
    for (size_t i = 0; i < a->count && *out; i++) {
        struct val other;
        TRY(interp_step(in, 1));
        TRY(dict_get(in, b, a->entries[i].key, &other, out));
        if (*out)
            TRY(val_equal(in, a->entries[i].value, other, out));
    }
    interp_leave(in);
    return STATUS_OK;
}

static int compare_numbers(struct val a, struct val b)
{
    if (val_is_int(a) && val_is_int(b)) {
        int64_t x = val_as_int(a), y = val_as_int(b);
        return (x > y) - (x < y);
    }
    double x = val_as_double(a), y = val_as_double(b);
    return x != x || y != y ? 2 : (x > y) - (x < y); /* 2: a NaN is in no order */
}

enum status val_equal(struct interp *in, struct val a, struct val b, bool *out)
{
    *out = false;
    if (val_is_number(a) && val_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
        return STATUS_OK;
    }
    if (a.type != b.type)
        return STATUS_OK;
    switch ((enum val_type)a.type) {
    case VAL_STRING:
        *out = str_eq(val_str_of(a), val_str_of(b));
        return STATUS_OK;
    case VAL_SEQ:
        return seq_equal(in, a.seq, b.seq, out);
    case VAL_DICT:
        return dict_equal(in, a.dict, b.dict, out);
    case VAL_NONE:
    case VAL_UNDEFINED:
    case VAL_ABSENT:
        *out = true;
        return STATUS_OK;
    case VAL_FUNC: /* methods of one value are equal though each look-up makes a new one */
        *out = a.func == b.func ||
               (a.func->kind == FUNC_METHOD && b.func->kind == FUNC_METHOD &&
                a.func->builtin == b.func->builtin && a.func->self.text == b.func->self.text);
        return STATUS_OK;
    default:
        *out = a.func == b.func;
        return STATUS_OK;
    }
}

static enum status order(struct interp *in, enum compare_op op, struct val a, struct val b,
                         int *out);

static enum status order_seq(struct interp *in, enum compare_op op, const struct seq *a,
                             const struct seq *b, int *out)
{
    size_t count = MIN(a->count, b->count);

    TRY(interp_enter(in));
    *out = (a->count > b->count) - (a->count < b->count);
    for (size_t i = 0; i < count; i++) {
        bool same;
        TRY(interp_step(in, 1));
        TRY(val_equal(in, a->items[i], b->items[i], &same));
        if (!same) {
            TRY(order(in, op, a->items[i], b->items[i], out));
            break;
        }
    }
    interp_leave(in);
    return STATUS_OK;
}

/* <0, 0, >0, or 2 for numbers in no order; an error for types that have none. */
static enum status order(struct interp *in, enum compare_op op, struct val a, struct val b,
                         int *out)
{
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">=", "in", "not in"};

    if (val_is_number(a) && val_is_number(b)) {
        *out = compare_numbers(a, b);
        return STATUS_OK;
    }
    if (a.type == VAL_STRING && b.type == VAL_STRING) { /* UTF-8 sorts as its code points do */
        int diff = memcmp(a.text->data, b.text->data, MIN(a.text->len, b.text->len));
        *out = diff ? (diff > 0) - (diff < 0)
                    : (a.text->len > b.text->len) - (a.text->len < b.text->len);
        return STATUS_OK;
    }
    if (a.type == VAL_SEQ && b.type == VAL_SEQ && a.seq->kind == b.seq->kind &&
        (a.seq->kind == SEQ_LIST || a.seq->kind == SEQ_TUPLE))
        return order_seq(in, op, a.seq, b.seq, out);
    if (a.type == VAL_UNDEFINED || b.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, a.type == VAL_UNDEFINED ? a : b);
    return interp_fail(in, "'%s' not supported between instances of '%s' and '%s'", signs[op],
                       val_type_name(a), val_type_name(b));
}

static enum status contains(struct interp *in, struct val item, struct val box, bool *out)
{
    struct val ignored;
    struct seq *seq;

    *out = false;
    if (box.type == VAL_STRING) {
        if (item.type != VAL_STRING)
            return interp_fail(in, "'in <string>' requires string as left operand, not %s",
                               val_type_name(item));
        TRY(interp_step(in, box.text->len / 64));
        *out = text_find(val_str_of(box), val_str_of(item), 0) != SIZE_MAX;
        return STATUS_OK;
    }
    if (box.type == VAL_DICT)
        return dict_get(in, box.dict, item, &ignored, out);
    if (!val_is_iterable(box))
        return interp_fail(in, "argument of type '%s' is not iterable", val_type_name(box));
    TRY(val_iterate(in, box, &seq));
    for (size_t i = 0; i < seq->count && !*out; i++) {
        TRY(interp_step(in, 1));
        TRY(val_equal(in, seq->items[i], item, out));
    }
    return STATUS_OK;
}

enum status val_compare(struct interp *in, enum compare_op op, struct val a, struct val b,
                        bool *out)
{
    int diff;

    switch (op) {
    case COMPARE_EQ:
    case COMPARE_NE:
        TRY(val_equal(in, a, b, out));
        *out ^= op == COMPARE_NE;
        return STATUS_OK;
    case COMPARE_IN:
    case COMPARE_NOT_IN:
        TRY(contains(in, a, b, out));
        *out ^= op == COMPARE_NOT_IN;
        return STATUS_OK;
    default:
        break;
    }
    TRY(order(in, op, a, b, &diff));
    if (diff == 2)
        *out = false;
    else if (op == COMPARE_LT)
        *out = diff < 0;
    else if (op == COMPARE_LE)
        *out = diff <= 0;
    else if (op == COMPARE_GT)
        *out = diff > 0;
    else
        *out = diff >= 0;
    return STATUS_OK;
}
