/* x.name, x[key], x[a:b:c], and dotted paths. What is missing is an undefined value. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "router/jinja/interp.h"
#include "router/jinja/text.h"

static struct val missing(struct interp *in, struct val owner, struct str name)
{
    return val_undefined(in, name, owner.type == VAL_NONE ? "None" : val_type_name(owner));
}

static struct val insecure(struct interp *in, struct val owner, struct str name)
{
    struct undef *undef = arena_zalloc(&in->arena, sizeof(*undef));

    undef->name = name;
    undef->owner = val_type_name(owner);
    undef->insecure = true;
    return (struct val){.type = VAL_UNDEFINED, .undef = undef};
}

static struct val loop_func(struct interp *in, struct val self, enum func_kind kind)
{
    struct func *func = arena_zalloc(&in->arena, sizeof(*func));

    func->kind = kind;
    func->self = self;
    return (struct val){.type = VAL_FUNC, .func = func};
}

static bool loop_attr(struct interp *in, struct val v, struct str name, struct val *out)
{
    const struct loop *loop = v.loop;
    size_t index0 = loop->index0,
           count = loop->items->count; /* as far as loop_look() filled them */

    if (str_is(name, "index"))
        *out = val_int((int64_t)index0 + 1);
    else if (str_is(name, "index0"))
        *out = val_int((int64_t)index0);
    else if (str_is(name, "first"))
        *out = val_bool(index0 == 0);
    else if (str_is(name, "last"))
        *out = val_bool(index0 + 1 >= count);
    else if (str_is(name, "length"))
        *out = val_int((int64_t)count);
    else if (str_is(name, "revindex"))
        *out = val_int((int64_t)(count - index0));
    else if (str_is(name, "revindex0"))
        *out = val_int((int64_t)(count - index0 - 1));
    else if (str_is(name, "depth"))
        *out = val_int((int64_t)loop->depth0 + 1);
    else if (str_is(name, "depth0"))
        *out = val_int(loop->depth0);
    else if (str_is(name, "previtem"))
        *out = index0 > 0 ? loop->items->items[index0 - 1]
                          : val_undefined_because(in, "there is no previous item");
    else if (str_is(name, "nextitem"))
        *out = index0 + 1 < count ? loop->items->items[index0 + 1]
                                  : val_undefined_because(in, "there is no next item");
    else if (str_is(name, "cycle"))
        *out = loop_func(in, v, FUNC_LOOP_CYCLE);
    else if (str_is(name, "changed"))
        *out = loop_func(in, v, FUNC_LOOP_CHANGED);
    else
        return false;
    return true;
}

/* How far a filtered loop must look ahead for this attribute. */
static enum status loop_look(struct interp *in, struct val v, struct str name)
{
    if (str_is(name, "last") || str_is(name, "nextitem"))
        return loop_fill(in, v.loop, v.loop->index0 + 2);
    if (str_is(name, "length") || str_is(name, "revindex") || str_is(name, "revindex0"))
        return loop_fill(in, v.loop, SIZE_MAX);
    return STATUS_OK;
}

static bool macro_attr(struct interp *in, struct val v, struct str name, struct val *out)
{
    const struct node *macro = v.func->macro;
    struct seq *names;

    if (v.func->kind != FUNC_MACRO)
        return false;
    if (str_is(name, "name")) {
        struct str text = macro->left ? in->tmpl->syms[macro->left->sym] : STR("");
        *out = macro->left ? val_borrow(&in->arena, text.data, text.len) : val_none();
        return true;
    }
    if (str_is(name, "catch_kwargs") || str_is(name, "catch_varargs") || str_is(name, "caller")) {
        *out = val_bool(name.len == 6    ? macro->uses_caller
                        : name.len == 12 ? macro->uses_kwargs
                                         : macro->uses_varargs);
        return true;
    }
    if (!str_is(name, "arguments"))
        return false;
    names = seq_new(in, SEQ_TUPLE, 0);
    for (const struct node *pair = macro->params; pair; pair = pair->next) {
        struct str text = in->tmpl->syms[pair->left->sym];
        if (seq_push(in, names, val_borrow(&in->arena, text.data, text.len)) != STATUS_OK)
            return false;
    }
    *out = val_seq(names);
    return true;
}

static bool seq_attr(struct val v, struct str name, struct val *out)
{
    const struct seq *seq = v.seq;

    if (seq->group && str_is(name, "grouper"))
        *out = seq->items[0];
    else if (seq->group && str_is(name, "list"))
        *out = seq->items[1];
    else if (seq->kind == SEQ_RANGE && str_is(name, "start"))
        *out = val_int(seq->start);
    else if (seq->kind == SEQ_RANGE && str_is(name, "stop"))
        *out = val_int(seq->stop);
    else if (seq->kind == SEQ_RANGE && str_is(name, "step"))
        *out = val_int(seq->step);
    else
        return false;
    return true;
}

/* Python's getattr(): methods and the few fields that templates can see. */
static bool python_attr(struct interp *in, struct val v, struct str name, struct val *out)
{
    const struct builtin *method;

    if (name.len > 4 && memcmp(name.data, "__", 2) == 0 &&
        memcmp(name.data + name.len - 2, "__", 2) == 0) {
        *out = insecure(in, v, name);
        return true;
    }
    if (v.type == VAL_NAMESPACE)
        return dict_get_str(v.dict, name, out);
    if (v.type == VAL_LOOP)
        return loop_attr(in, v, name, out);
    if (v.type == VAL_FUNC)
        return macro_attr(in, v, name, out);
    if (v.type == VAL_SEQ && seq_attr(v, name, out))
        return true;
    if (v.type == VAL_OBJECT && v.object->kind == OBJECT_CYCLER && str_is(name, "current")) {
        *out = v.object->items->items[v.object->pos];
        return true;
    }
    method = method_find(v, name);
    if (method) {
        *out = val_method(in, method, v);
        return true;
    }
    if (method_is_unsafe(v, name)) {
        *out = insecure(in, v, name);
        return true;
    }
    return false;
}

enum status val_attr(struct interp *in, struct val v, struct str name, struct val *out)
{
    if (v.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (v.type == VAL_LOOP)
        TRY(loop_look(in, v, name));
    if (python_attr(in, v, name, out))
        return STATUS_OK;
    if (v.type != VAL_DICT || !dict_get_str(v.dict, name, out))
        *out = missing(in, v, name);
    return STATUS_OK;
}

static bool seq_item(const struct seq *seq, int64_t index, struct val *out)
{
    if (seq->kind != SEQ_LIST && seq->kind != SEQ_TUPLE && seq->kind != SEQ_RANGE)
        return false;
    index += index < 0 ? (int64_t)seq->count : 0;
    if (index < 0 || (uint64_t)index >= seq->count)
        return false;
    *out = seq->items[index];
    return true;
}

static bool text_item(struct interp *in, struct val v, int64_t index, struct val *out)
{
    struct str s = val_str_of(v);
    int64_t chars = (int64_t)val_chars(v);
    size_t at;
    uint32_t cp;

    index += index < 0 ? chars : 0;
    if (index < 0 || index >= chars)
        return false;
    at = chars == (int64_t)s.len ? (size_t)index : text_offset(s.data, s.len, (size_t)index);
    *out = val_borrow(&in->arena, s.data + at, (size_t)text_next(s.data + at, s.len - at, &cp));
    out->markup = v.markup;
    return true;
}

enum status val_item(struct interp *in, struct val v, struct val key, struct val *out)
{
    bool found = false,
         hashable = key.type != VAL_DICT && (key.type != VAL_SEQ || key.seq->kind == SEQ_TUPLE);
    char text[32];

    if (v.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, v);
    TRY(interp_step(in, v.type == VAL_STRING ? v.text->len / 256 : 0));
    if (v.type == VAL_DICT && hashable)
        TRY(dict_get(in, v.dict, key, out, &found));
    else if (v.type == VAL_SEQ && val_is_int(key))
        found = seq_item(v.seq, val_as_int(key), out);
    else if (v.type == VAL_STRING && val_is_int(key))
        found = text_item(in, v, val_as_int(key), out);
    if (v.type == VAL_LOOP && key.type == VAL_STRING)
        TRY(loop_look(in, v, val_str_of(key)));
    if (!found && key.type == VAL_STRING)
        found = python_attr(in, v, val_str_of(key), out);
    if (found)
        return STATUS_OK;
    if (key.type == VAL_STRING) {
        *out = missing(in, v, val_str_of(key));
        return STATUS_OK;
    }
    snprintf(text, sizeof(text), "%" PRId64, val_is_int(key) ? val_as_int(key) : 0);
    *out = val_undefined_because(in, arena_printf(&in->arena, "%s object has no element %s",
                                                  val_type_name(v),
                                                  val_is_int(key) ? text : val_type_name(key)));
    return STATUS_OK;
}

/* Python's slice arithmetic: how many items, from where; `step` is not 0. */
static size_t slice_plan(const struct slice *slice, int64_t count, int64_t *start, int64_t *stop)
{
    int64_t step = slice->step, low = step < 0 ? -1 : 0, high = step < 0 ? count - 1 : count;

    *start = step < 0 ? high : low;
    *stop = step < 0 ? low : high;
    if (slice->has_start) {
        *start = slice->start < 0 ? slice->start + count : slice->start;
        *start = slice->start < 0 && *start < low ? low : MIN(*start, high);
        *start = MAX(*start, low);
    }
    if (slice->has_stop) {
        *stop = slice->stop < 0 ? slice->stop + count : slice->stop;
        *stop = MAX(MIN(*stop, high), low);
    }
    if (step > 0)
        return *stop > *start ? (size_t)((*stop - *start - 1) / step + 1) : 0;
    return *start > *stop ? (size_t)((*start - *stop - 1) / -step + 1) : 0;
}

static enum status slice_text(struct interp *in, struct val v, int64_t start, int64_t step,
                              size_t count, struct val *out)
{
    struct str s = val_str_of(v);
    bool ascii = val_chars(v) == s.len;
    size_t mark = interp_mark(in);
    struct seq *chars;

    if (count == 0) {
        *out = val_borrow(&in->arena, "", 0);
    } else if (step == 1) {
        size_t from = ascii ? (size_t)start : text_offset(s.data, s.len, (size_t)start);
        size_t len = ascii ? count : text_offset(s.data + from, s.len - from, count);
        *out = val_borrow(&in->arena, s.data + from, len);
    } else if (ascii) {
        for (size_t i = 0; i < count; i++)
            TRY(interp_emit(in, s.data + start + (int64_t)i * step, 1));
        TRY(interp_take(in, mark, out));
    } else {
        TRY(val_iterate(in, v, &chars));
        for (size_t i = 0; i < count; i++)
            TRY(emit_str(in, chars->items[start + (int64_t)i * step]));
        TRY(interp_take(in, mark, out));
    }
    out->markup = v.markup;
    return STATUS_OK;
}

enum status val_slice(struct interp *in, struct val v, const struct slice *given, struct val *out)
{
    struct slice slice = *given;
    int64_t start, stop;
    struct seq *seq;
    size_t count;

    if (!slice.has_step)
        slice.step = 1;
    if (slice.step == 0)
        return interp_fail(in, "slice step cannot be zero");
    if (slice.step == INT64_MIN)
        slice.step++;
    if (v.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, v);
    if (v.type == VAL_STRING) {
        TRY(interp_step(in, v.text->len / 64));
        count = slice_plan(&slice, (int64_t)val_chars(v), &start, &stop);
        return slice_text(in, v, start, slice.step, count, out);
    }
    if (v.type != VAL_SEQ ||
        (v.seq->kind != SEQ_LIST && v.seq->kind != SEQ_TUPLE && v.seq->kind != SEQ_RANGE))
        return interp_fail(in, "'%s' object cannot be sliced", val_type_name(v));
    count = slice_plan(&slice, (int64_t)v.seq->count, &start, &stop);
    TRY(interp_room(in, count * sizeof(struct val)));
    TRY(interp_step(in, count / 16));
    seq = seq_new(in, v.seq->kind, count);
    for (size_t i = 0; i < count; i++)
        seq->items[i] = v.seq->items[start + (int64_t)i * slice.step];
    seq->count = count;
    if (seq->kind == SEQ_RANGE) {
        seq->start = v.seq->start + start * v.seq->step;
        seq->stop = v.seq->start + stop * v.seq->step;
        if (__builtin_mul_overflow(v.seq->step, slice.step, &seq->step))
            return interp_fail(in, "an integer does not fit 64 bits");
    }
    *out = val_seq(seq);
    return STATUS_OK;
}

enum status val_path(struct interp *in, struct val v, struct val path, struct val *out)
{
    struct str rest;

    *out = v;
    if (path.type == VAL_NONE || path.type == VAL_ABSENT)
        return STATUS_OK;
    if (path.type != VAL_STRING)
        return val_item(in, v, path, out);
    rest = val_str_of(path);
    for (;;) {
        const char *dot = rest.len ? memchr(rest.data, '.', rest.len) : NULL;
        size_t len = dot ? (size_t)(dot - rest.data) : rest.len;
        struct val key = val_borrow(&in->arena, rest.data, len);
        int64_t number = 0;
        bool digits = len > 0 && len < 18;
        for (size_t i = 0; i < len && digits; i++) {
            digits = rest.data[i] >= '0' && rest.data[i] <= '9';
            number = number * 10 + (rest.data[i] - '0');
        }
        TRY(val_item(in, *out, digits ? val_int(number) : key, out));
        if (!dot)
            return STATUS_OK;
        rest.data += len + 1;
        rest.len -= len + 1;
    }
}
