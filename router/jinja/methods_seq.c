/* Methods of dict, list, tuple and cycler, and which methods the sandbox hides. */
#include <string.h>

#include "router/jinja/filters.h"
#include "router/jinja/methods.h"

#define METHOD(name)                                                                               \
    static enum status name(struct interp *in, struct val self, struct call *call, struct val *out)

METHOD(dict_method_get)
{
    bool found;

    TRY(dict_get(in, self.dict, call->arg[0], out, &found));
    if (!found)
        *out = call->arg[1].type == VAL_ABSENT ? val_none() : call->arg[1];
    return STATUS_OK;
}

static enum status view(struct interp *in, const struct dict *dict, enum seq_kind kind,
                        struct val *out)
{
    struct seq *seq = seq_new(in, kind, dict->count);

    for (size_t i = 0; i < dict->count; i++) {
        const struct dict_entry *entry = &dict->entries[i];
        struct val item = kind == SEQ_KEYS ? entry->key : entry->value;
        if (kind == SEQ_ITEMS) {
            struct seq *pair = seq_new(in, SEQ_TUPLE, 2);
            TRY(seq_push(in, pair, entry->key));
            TRY(seq_push(in, pair, entry->value));
            item = val_seq(pair);
        }
        TRY(interp_step(in, 1));
        TRY(seq_push(in, seq, item));
    }
    *out = val_seq(seq);
    return STATUS_OK;
}

METHOD(dict_method_keys)
{
    return view(in, self.dict, SEQ_KEYS, out);
}

METHOD(dict_method_values)
{
    return view(in, self.dict, SEQ_VALUES, out);
}

METHOD(dict_method_items)
{
    return view(in, self.dict, SEQ_ITEMS, out);
}

METHOD(dict_method_copy)
{
    struct dict *copy = dict_new(in, self.dict->count);

    for (size_t i = 0; i < self.dict->count; i++)
        TRY(dict_put(in, copy, self.dict->entries[i].key, self.dict->entries[i].value));
    *out = val_dict(copy);
    return STATUS_OK;
}

METHOD(seq_method_count)
{
    int64_t count = 0;

    for (size_t i = 0; i < self.seq->count; i++) {
        bool same;
        TRY(interp_step(in, 1));
        TRY(val_equal(in, self.seq->items[i], call->arg[0], &same));
        count += same;
    }
    *out = val_int(count);
    return STATUS_OK;
}

METHOD(seq_method_index)
{
    int64_t start = 0, stop = (int64_t)self.seq->count, count = stop;

    if (call->arg[1].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[1], "start", &start));
    if (call->arg[2].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[2], "stop", &stop));
    start = start < 0 ? MAX(start + count, 0) : start;
    stop = MIN(stop < 0 ? stop + count : stop, count);
    for (int64_t i = start; i < stop; i++) {
        bool same;
        TRY(interp_step(in, 1));
        TRY(val_equal(in, self.seq->items[i], call->arg[0], &same));
        *out = val_int(i);
        if (same)
            return STATUS_OK;
    }
    return interp_fail(in, "the value is not in the list");
}

METHOD(list_method_copy)
{
    return filter_find(STR("list"))->fn(in, self, call, out);
}

METHOD(cycler_method_next)
{
    struct object *object = self.object;

    *out = object->items->items[object->pos];
    object->pos = (object->pos + 1) % object->items->count;
    return STATUS_OK;
}

METHOD(cycler_method_reset)
{
    self.object->pos = 0;
    *out = val_none();
    return STATUS_OK;
}

static const struct builtin dict_methods[] = {
    BUILTIN("get", dict_method_get, ",,", 1), BUILTIN("items", dict_method_items, "", 0),
    BUILTIN("keys", dict_method_keys, "", 0), BUILTIN("values", dict_method_values, "", 0),
    BUILTIN("copy", dict_method_copy, "", 0),
};
static const struct builtin list_methods[] = {
    BUILTIN("count", seq_method_count, ",", 1), BUILTIN("index", seq_method_index, ",,,", 1),
    BUILTIN("copy", list_method_copy, "", 0), /* the last: tuples and ranges have no copy */
};
static const struct builtin cycler_methods[] = {
    BUILTIN("next", cycler_method_next, "", 0),
    BUILTIN("reset", cycler_method_reset, "", 0),
};

static const struct builtin *text_method(struct str name)
{
    const struct builtin *found = builtin_find(methods_text, methods_text_count, name);

    if (!found)
        found = builtin_find(methods_split, methods_split_count, name);
    return found ? found : builtin_find(methods_query, methods_query_count, name);
}

const struct builtin *method_find(struct val v, struct str name)
{
    if (v.type == VAL_STRING)
        return text_method(name);
    if (v.type == VAL_DICT)
        return builtin_find(dict_methods, ARRAY_LEN(dict_methods), name);
    if (v.type == VAL_SEQ && v.seq->kind <= SEQ_RANGE)
        return builtin_find(list_methods, ARRAY_LEN(list_methods) - (v.seq->kind != SEQ_LIST),
                            name);
    if (v.type == VAL_OBJECT && v.object->kind == OBJECT_CYCLER)
        return builtin_find(cycler_methods, ARRAY_LEN(cycler_methods), name);
    return NULL;
}

/* Methods that would change a value: they exist, and using them is an error. */
bool method_is_unsafe(struct val v, struct str name)
{
    static const char *const of_dict[] = {"clear",      "pop",    "popitem",
                                          "setdefault", "update", "fromkeys"};
    static const char *const of_list[] = {"append", "clear", "pop",    "reverse",
                                          "insert", "sort",  "extend", "remove"};
    const char *const *names = v.type == VAL_DICT ? of_dict : of_list;
    size_t count = v.type == VAL_DICT ? ARRAY_LEN(of_dict) : ARRAY_LEN(of_list);

    if (v.type != VAL_DICT && !val_is_seq(v, SEQ_LIST))
        return false;
    for (size_t i = 0; i < count; i++)
        if (str_is(name, names[i]))
            return true;
    return false;
}
