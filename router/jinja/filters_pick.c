/* Filters that apply another filter or test to each item: map, select, reject, groupby. */
#include <string.h>

#include "router/jinja/filters.h"

/* The call's arguments from index `skip` on, for the inner filter or test. */
static struct call inner_call(const struct call *call, size_t skip)
{
    struct call inner = {.kw = call->kw, .kw_count = call->kw_count};

    if (call->pos_count > skip) {
        inner.pos = call->pos + skip;
        inner.pos_count = call->pos_count - skip;
    }
    return inner;
}

static enum status map_attribute(struct interp *in, struct seq *seq, struct call *call,
                                 struct seq *mapped)
{
    struct val attribute = {.type = VAL_ABSENT}, otherwise = attribute;

    for (size_t i = 0; i < call->kw_count; i++) {
        if (str_is(call->kw[i].name, "attribute"))
            attribute = call->kw[i].value;
        else if (str_is(call->kw[i].name, "default"))
            otherwise = call->kw[i].value;
        else
            return interp_fail(in, "map got an unexpected keyword argument");
    }
    if (attribute.type == VAL_ABSENT)
        return interp_fail(in, "map requires a filter argument");
    for (size_t i = 0; i < seq->count; i++) {
        struct val item;
        TRY(interp_step(in, 1));
        TRY(val_path(in, seq->items[i], attribute, &item));
        if (item.type == VAL_UNDEFINED && given(otherwise))
            item = otherwise;
        TRY(seq_push(in, mapped, item));
    }
    return STATUS_OK;
}

static enum status filter_map(struct interp *in, struct val self, struct call *call,
                              struct val *out)
{
    struct seq *seq, *mapped = seq_new(in, SEQ_ITERATOR, 0);
    const struct builtin *filter;
    struct str name;

    *out = val_seq(mapped);
    if (!val_truth(self))
        return STATUS_OK;
    TRY(val_iterate(in, self, &seq));
    if (call->pos_count == 0)
        return map_attribute(in, seq, call, mapped);
    TRY(arg_string(in, call->pos[0], "map's filter", &name));
    filter = filter_find(name);
    if (!filter)
        return interp_fail(in, "there is no filter named '%.*s'", (int)MIN(name.len, (size_t)60),
                           name.data);
    for (size_t i = 0; i < seq->count; i++) {
        struct call inner = inner_call(call, 1);
        struct val item;
        TRY(builtin_call(in, filter, seq->items[i], &inner, &item));
        TRY(seq_push(in, mapped, item));
    }
    return STATUS_OK;
}

/* Keeps the items whose value (or attribute) passes the test, or is true when no test is named. */
static enum status pick(struct interp *in, struct val self, struct call *call, bool by_attribute,
                        bool keep, struct val *out)
{
    struct seq *seq, *kept = seq_new(in, SEQ_ITERATOR, 0);
    const struct builtin *test = NULL;
    size_t skip = by_attribute;
    struct str name;

    *out = val_seq(kept);
    if (!val_truth(self))
        return STATUS_OK;
    TRY(val_iterate(in, self, &seq));
    if (call->pos_count < skip)
        return interp_fail(in, "Missing parameter for attribute name");
    if (call->pos_count > skip) {
        TRY(arg_string(in, call->pos[skip], "the test", &name));
        test = test_find(name);
        if (!test)
            return interp_fail(in, "there is no test named '%.*s'", (int)MIN(name.len, (size_t)60),
                               name.data);
    }
    for (size_t i = 0; i < seq->count; i++) {
        struct call inner = inner_call(call, skip + 1);
        struct val v = seq->items[i];
        TRY(interp_step(in, 1));
        if (by_attribute)
            TRY(val_path(in, v, call->pos[0], &v));
        if (test)
            TRY(builtin_call(in, test, v, &inner, &v));
        if (val_truth(v) == keep)
            TRY(seq_push(in, kept, seq->items[i]));
    }
    return STATUS_OK;
}

static enum status filter_select(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    return pick(in, self, call, false, true, out);
}

static enum status filter_reject(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    return pick(in, self, call, false, false, out);
}

static enum status filter_selectattr(struct interp *in, struct val self, struct call *call,
                                     struct val *out)
{
    return pick(in, self, call, true, true, out);
}

static enum status filter_rejectattr(struct interp *in, struct val self, struct call *call,
                                     struct val *out)
{
    return pick(in, self, call, true, false, out);
}

static enum status group_key(struct interp *in, struct val item, struct call *call, bool fold,
                             struct val *out)
{
    TRY(val_path(in, item, call->arg[0], out));
    if (out->type == VAL_UNDEFINED && given(call->arg[1]))
        *out = call->arg[1];
    return fold ? fold_case(in, *out, out) : STATUS_OK;
}

static enum status filter_groupby(struct interp *in, struct val self, struct call *call,
                                  struct val *out)
{
    const struct builtin *list = filter_find(STR("list"));
    struct seq *keys, *groups = seq_new(in, SEQ_LIST, 0), *group = NULL;
    bool fold = !val_truth(call->arg[2]);
    struct val sorted, last = val_none();

    TRY(list->fn(in, self, call, &sorted));
    keys = seq_new(in, SEQ_LIST, sorted.seq->count);
    for (size_t i = 0; i < sorted.seq->count; i++) {
        struct val key;
        TRY(group_key(in, sorted.seq->items[i], call, fold, &key));
        TRY(seq_push(in, keys, key));
    }
    TRY(sort_by(in, sorted.seq, keys, false));
    for (size_t i = 0; i < keys->count; i++) {
        bool same = false;
        if (group)
            TRY(val_equal(in, last, keys->items[i], &same));
        if (!same) {
            struct seq *pair = seq_new(in, SEQ_TUPLE, 2);
            struct val key;
            pair->group = true;
            group = seq_new(in, SEQ_LIST, 0);
            TRY(group_key(in, sorted.seq->items[i], call, false, &key));
            TRY(seq_push(in, pair, key));
            TRY(seq_push(in, pair, val_seq(group)));
            TRY(seq_push(in, groups, val_seq(pair)));
            last = keys->items[i];
        }
        TRY(seq_push(in, group, sorted.seq->items[i]));
    }
    *out = val_seq(groups);
    return STATUS_OK;
}

static enum status filter_attr(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    struct str name;

    TRY(arg_string(in, call->arg[0], "the attribute", &name));
    TRY(val_attr(in, self, name, out));
    /* only attributes, never items */
    if (self.type == VAL_DICT && out->type != VAL_FUNC)
        *out = val_undefined(in, name, val_type_name(self));
    return STATUS_OK;
}

const struct builtin filters_pick[] = {
    GENERATOR("map", filter_map, NULL, 0),
    GENERATOR("select", filter_select, NULL, 0),
    GENERATOR("reject", filter_reject, NULL, 0),
    GENERATOR("selectattr", filter_selectattr, NULL, 0),
    GENERATOR("rejectattr", filter_rejectattr, NULL, 0),
    BUILTIN("groupby", filter_groupby, "attribute,default,case_sensitive", 1),
    BUILTIN("attr", filter_attr, "name", 1),
};
const size_t filters_pick_count = ARRAY_LEN(filters_pick);
