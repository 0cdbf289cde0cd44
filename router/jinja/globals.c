/* Functions that every template can call: range, namespace, dict, joiner, cycler, raise_exception,
 * strftime_now. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/utf8.h"
#include "router/jinja/interp.h"

#define RANGE_MAX 100000 /* the sandbox's own limit */

static enum status global_range(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    int64_t n[3] = {0, 0, 1};
    uint64_t count = 0, span, step;
    struct seq *seq;

    if (call->pos_count < 1 || call->pos_count > 3 || call->kw_count)
        return interp_fail(in, "range() takes one to three integers");
    for (size_t i = 0; i < call->pos_count; i++)
        TRY(arg_int(in, call->pos[i], "range()'s argument", &n[call->pos_count == 1 ? 1 : i]));
    if (n[2] == 0)
        return interp_fail(in, "range() arg 3 must not be zero");
    step = n[2] > 0 ? (uint64_t)n[2] : 0 - (uint64_t)n[2];
    if (n[2] > 0 ? n[1] > n[0] : n[1] < n[0]) {
        span = n[2] > 0 ? (uint64_t)n[1] - (uint64_t)n[0] : (uint64_t)n[0] - (uint64_t)n[1];
        count = (span - 1) / step + 1;
    }
    if (count > RANGE_MAX)
        return interp_fail(in, "Range too big. The sandbox blocks ranges larger than %d.",
                           RANGE_MAX);
    TRY(interp_step(in, count));
    TRY(interp_room(in, count * sizeof(struct val)));
    seq = seq_new(in, SEQ_RANGE, count);
    seq->start = n[0];
    seq->stop = n[1];
    seq->step = n[2];
    seq->count = count;
    for (uint64_t i = 0; i < count; i++)
        seq->items[i] = val_int((int64_t)((uint64_t)n[0] + i * (uint64_t)n[2]));
    *out = val_seq(seq);
    return STATUS_OK;
}

/* Pairs or a mapping, then keywords, as Python's dict(). */
static enum status make_dict(struct interp *in, const struct call *call, struct dict *dict)
{
    struct seq *pairs, *pair;

    if (call->pos_count > 1)
        return interp_fail(in, "dict expected at most 1 argument, got %zu", call->pos_count);
    if (call->pos_count == 1 && call->pos[0].type == VAL_DICT) {
        const struct dict *from = call->pos[0].dict;
        for (size_t i = 0; i < from->count; i++)
            TRY(dict_put(in, dict, from->entries[i].key, from->entries[i].value));
    } else if (call->pos_count == 1) {
        TRY(val_iterate(in, call->pos[0], &pairs));
        for (size_t i = 0; i < pairs->count; i++) {
            TRY(val_iterate(in, pairs->items[i], &pair));
            if (pair->count != 2)
                return interp_fail(in,
                                   "dictionary update sequence element #%zu has length %zu; "
                                   "2 is required",
                                   i, pair->count);
            TRY(dict_put(in, dict, pair->items[0], pair->items[1]));
        }
    }
    for (size_t i = 0; i < call->kw_count; i++)
        TRY(dict_put(in, dict, val_borrow(&in->arena, call->kw[i].name.data, call->kw[i].name.len),
                     call->kw[i].value));
    return STATUS_OK;
}

static enum status global_dict(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    *out = val_dict(dict_new(in, 0));
    return make_dict(in, call, out->dict);
}

static enum status global_namespace(struct interp *in, struct val self, struct call *call,
                                    struct val *out)
{
    *out = val_dict(dict_new(in, 0));
    out->type = VAL_NAMESPACE;
    TRY(make_dict(in, call, out->dict));
    for (size_t i = 0; i < out->dict->count; i++) {
        struct val key = out->dict->entries[i].key;
        if (key.type == VAL_STRING && key.text->len && key.text->data[0] == '_')
            return interp_fail(in, "a namespace attribute may not start with an underscore");
    }
    return STATUS_OK;
}

static enum status make_object(struct interp *in, enum object_kind kind, struct seq *items,
                               struct val *out)
{
    struct object *object = arena_zalloc(&in->arena, sizeof(*object));

    object->kind = kind;
    object->items = items;
    *out = (struct val){.type = VAL_OBJECT, .object = object};
    return STATUS_OK;
}

static enum status global_joiner(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    struct seq *items = seq_new(in, SEQ_LIST, 1);
    struct val sep = call->arg[0];

    TRY(seq_push(in, items, sep.type == VAL_ABSENT ? val_cstr(&in->arena, ", ") : sep));
    return make_object(in, OBJECT_JOINER, items, out);
}

static enum status global_cycler(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    struct seq *items = seq_new(in, SEQ_LIST, 0);

    if (call->pos_count == 0)
        return interp_fail(in, "at least one item has to be provided");
    for (size_t i = 0; i < call->pos_count; i++)
        TRY(seq_push(in, items, call->pos[i]));
    return make_object(in, OBJECT_CYCLER, items, out);
}

/* The template's own words, without a line number: the client reads them. */
static enum status global_raise(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    struct val text;
    size_t len;

    TRY(val_to_str(in, call->arg[0], &text));
    err_set(in->err, STATUS_INVALID, "%.*s", (int)MIN(text.text->len, (size_t)400),
            text.text->data);
    if (in->err) {
        len = strlen(in->err->text);
        in->err->text[len - utf8_incomplete_tail(in->err->text, len)] = 0;
    }
    return STATUS_INVALID;
}

static enum status global_strftime_now(struct interp *in, struct val self, struct call *call,
                                       struct val *out)
{
    time_t now = (time_t)clock_unix_s();
    char text[512];
    struct str format;
    struct tm tm;
    size_t len;

    TRY(arg_string(in, call->arg[0], "strftime_now()'s format", &format));
    if (format.len == 0 || format.len > 200 || memchr(format.data, 0, format.len))
        return format.len == 0 ? val_copy(in, "", 0, out)
                               : interp_fail(in, "strftime_now()'s format is too long");
    localtime_r(&now, &tm);
    len = strftime(text, sizeof(text), arena_strndup(&in->arena, format.data, format.len), &tm);
    return val_copy(in, text, len, out);
}

static const struct builtin globals[] = {
    BUILTIN("range", global_range, NULL, 0),
    BUILTIN("dict", global_dict, NULL, 0),
    BUILTIN("namespace", global_namespace, NULL, 0),
    BUILTIN("joiner", global_joiner, "sep", 0),
    BUILTIN("cycler", global_cycler, NULL, 0),
    BUILTIN("raise_exception", global_raise, "message", 1),
    BUILTIN("strftime_now", global_strftime_now, "format", 1),
};

const struct builtin *global_find(struct str name)
{
    return builtin_find(globals, ARRAY_LEN(globals), name);
}
