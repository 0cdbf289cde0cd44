/* Filters on sequences and mappings: length, first, join, sort, unique, batch, ... */
#include <string.h>

#include "router/jinja/filters.h"

static enum status filter_length(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    size_t count;

    TRY(val_length(in, self, &count));
    *out = val_int((int64_t)count);
    return STATUS_OK;
}

static enum status filter_first(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    struct seq *seq;

    if (val_is_seq(self, SEQ_ITERATOR)) { /* takes one and leaves the rest */
        seq = self.seq;
        if (seq->pos < seq->count) {
            *out = seq->items[seq->pos++];
            return STATUS_OK;
        }
        TRY(val_iterate(in, self, &seq)); /* fails if making the first item did */
    } else {
        TRY(val_iterate(in, self, &seq));
        if (seq->count) {
            *out = seq->items[0];
            return STATUS_OK;
        }
    }
    *out = val_undefined_because(in, "No first item, sequence was empty.");
    return STATUS_OK;
}

static enum status filter_last(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    struct seq *seq;

    if (val_is_seq(self, SEQ_ITERATOR))
        return interp_fail(in, "'generator' object is not reversible");
    TRY(val_iterate(in, self, &seq));
    *out = seq->count ? seq->items[seq->count - 1]
                      : val_undefined_because(in, "No last item, sequence was empty.");
    return STATUS_OK;
}

static enum status filter_list(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    struct seq *seq, *copy;

    TRY(val_iterate(in, self, &seq));
    TRY(interp_room(in, seq->count * sizeof(struct val)));
    TRY(interp_step(in, seq->count / 16));
    copy = seq_new(in, SEQ_LIST, seq->count);
    if (seq->count)
        memcpy(copy->items, seq->items, seq->count * sizeof(struct val));
    copy->count = seq->count;
    *out = val_seq(copy);
    return STATUS_OK;
}

static enum status filter_reverse(struct interp *in, struct val self, struct call *call,
                                  struct val *out)
{
    struct slice back = {.has_step = true, .step = -1};
    struct seq *seq, *turned;

    if (self.type == VAL_STRING)
        return val_slice(in, self, &back, out);
    TRY(val_iterate(in, self, &seq));
    TRY(interp_room(in, seq->count * sizeof(struct val)));
    turned = seq_new(in, val_is_seq(self, SEQ_ITERATOR) ? SEQ_LIST : SEQ_ITERATOR, seq->count);
    for (size_t i = 0; i < seq->count; i++)
        turned->items[i] = seq->items[seq->count - 1 - i];
    turned->count = seq->count;
    *out = val_seq(turned);
    return STATUS_OK;
}

static enum status filter_join(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    struct val sep = val_borrow(&in->arena, "", 0);
    struct seq *seq, *mapped;

    if (call->arg[0].type != VAL_ABSENT)
        TRY(val_to_str(in, call->arg[0], &sep));
    if (given(call->arg[1])) {
        TRY(val_iterate(in, self, &seq));
        mapped = seq_new(in, SEQ_LIST, 0);
        for (size_t i = 0; i < seq->count; i++) {
            struct val item;
            TRY(val_path(in, seq->items[i], call->arg[1], &item));
            TRY(seq_push(in, mapped, item));
        }
        self = val_seq(mapped);
    }
    return text_join(in, val_str_of(sep), self, false, out);
}

enum status fold_case(struct interp *in, struct val v, struct val *out)
{
    *out = v;
    return v.type == VAL_STRING ? text_change_case(in, v, TEXT_LOWER, out) : STATUS_OK;
}

static enum status merge(struct interp *in, struct val *values, struct val *keys,
                         struct val *values_tmp, struct val *keys_tmp, size_t count, bool reverse)
{
    size_t half = count / 2, i = 0, j = half, k = 0;

    if (count < 2)
        return STATUS_OK;
    TRY(merge(in, values, keys, values_tmp, keys_tmp, half, reverse));
    TRY(merge(in, values + half, keys + half, values_tmp, keys_tmp, count - half, reverse));
    while (i < half || j < count) {
        bool right = i >= half;
        if (i < half && j < count) {
            TRY(interp_step(in, 1));
            TRY(val_compare(in, COMPARE_LT, reverse ? keys[i] : keys[j],
                            reverse ? keys[j] : keys[i], &right));
        }
        keys_tmp[k] = right ? keys[j] : keys[i];
        values_tmp[k++] = right ? values[j++] : values[i++];
    }
    memcpy(keys, keys_tmp, k * sizeof(*keys));
    memcpy(values, values_tmp, k * sizeof(*values));
    return STATUS_OK;
}

enum status sort_by(struct interp *in, struct seq *values, struct seq *keys, bool reverse)
{
    size_t count = values->count;
    struct val *tmp;

    CHECK(keys->count == count);
    TRY(interp_room(in, 2 * count * sizeof(*tmp)));
    tmp = arena_array(&in->arena, 2 * count + 1, sizeof(*tmp));
    return merge(in, values->items, keys->items, tmp, tmp + count, count, reverse);
}

/* The sort key of an item: a list, one entry for each of attribute's comma-separated paths. */
static enum status sort_key(struct interp *in, struct val item, struct val attribute, bool fold,
                            struct val *out)
{
    struct seq *key = seq_new(in, SEQ_LIST, 1);
    struct str rest;
    struct val v;

    if (attribute.type != VAL_STRING) {
        TRY(val_path(in, item, attribute, &v));
        if (fold)
            TRY(fold_case(in, v, &v));
        *out = val_seq(key);
        return seq_push(in, key, v);
    }
    rest = val_str_of(attribute);
    for (;;) {
        const char *comma = rest.len ? memchr(rest.data, ',', rest.len) : NULL;
        size_t len = comma ? (size_t)(comma - rest.data) : rest.len;
        TRY(val_path(in, item, val_borrow(&in->arena, rest.data, len), &v));
        if (fold)
            TRY(fold_case(in, v, &v));
        TRY(seq_push(in, key, v));
        if (!comma)
            break;
        rest.data += len + 1;
        rest.len -= len + 1;
    }
    *out = val_seq(key);
    return STATUS_OK;
}

static enum status filter_sort(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    struct seq *keys;

    TRY(filter_list(in, self, call, out));
    keys = seq_new(in, SEQ_LIST, out->seq->count);
    for (size_t i = 0; i < out->seq->count; i++) {
        struct val key;
        TRY(sort_key(in, out->seq->items[i], call->arg[2], !val_truth(call->arg[1]), &key));
        TRY(seq_push(in, keys, key));
    }
    return sort_by(in, out->seq, keys, val_truth(call->arg[0]));
}

static enum status filter_dictsort(struct interp *in, struct val self, struct call *call,
                                   struct val *out)
{
    bool fold = !val_truth(call->arg[0]), by_value = false;
    struct seq *items, *keys;

    if (self.type != VAL_DICT)
        return self.type == VAL_UNDEFINED
                   ? interp_fail_undefined(in, self)
                   : interp_fail(in, "'%s' object has no attribute 'items'", val_type_name(self));
    if (call->arg[1].type != VAL_ABSENT) {
        struct str by;
        TRY(arg_string(in, call->arg[1], "by", &by));
        by_value = str_is(by, "value");
        if (!by_value && !str_is(by, "key"))
            return interp_fail(in, "You can only sort by either \"key\" or \"value\"");
    }
    items = seq_new(in, SEQ_LIST, self.dict->count);
    keys = seq_new(in, SEQ_LIST, self.dict->count);
    for (size_t i = 0; i < self.dict->count; i++) {
        const struct dict_entry *entry = &self.dict->entries[i];
        struct seq *pair = seq_new(in, SEQ_TUPLE, 2);
        struct val key = by_value ? entry->value : entry->key;
        TRY(seq_push(in, pair, entry->key));
        TRY(seq_push(in, pair, entry->value));
        TRY(seq_push(in, items, val_seq(pair)));
        if (fold)
            TRY(fold_case(in, key, &key));
        TRY(seq_push(in, keys, key));
    }
    *out = val_seq(items);
    return sort_by(in, items, keys, val_truth(call->arg[2]));
}

static enum status filter_items(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    struct seq *items = seq_new(in, SEQ_ITERATOR, 0);

    *out = val_seq(items);
    if (self.type == VAL_UNDEFINED)
        return STATUS_OK;
    if (self.type != VAL_DICT)
        return interp_fail(in, "Can only get item pairs from a mapping.");
    for (size_t i = 0; i < self.dict->count; i++) {
        struct seq *pair = seq_new(in, SEQ_TUPLE, 2);
        TRY(seq_push(in, pair, self.dict->entries[i].key));
        TRY(seq_push(in, pair, self.dict->entries[i].value));
        TRY(seq_push(in, items, val_seq(pair)));
    }
    return STATUS_OK;
}

static enum status filter_unique(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    struct dict *seen = dict_new(in, 0);
    struct seq *seq, *kept = seq_new(in, SEQ_ITERATOR, 0);

    *out = val_seq(kept);
    TRY(val_iterate(in, self, &seq));
    for (size_t i = 0; i < seq->count; i++) {
        struct val key, ignored;
        bool found;
        TRY(interp_step(in, 1));
        TRY(val_path(in, seq->items[i], call->arg[1], &key));
        if (!val_truth(call->arg[0]))
            TRY(fold_case(in, key, &key));
        TRY(dict_get(in, seen, key, &ignored, &found));
        if (found)
            continue;
        TRY(dict_put(in, seen, key, val_none()));
        TRY(seq_push(in, kept, seq->items[i]));
    }
    return STATUS_OK;
}

static enum status extreme(struct interp *in, struct val self, struct call *call,
                           enum compare_op op, struct val *out)
{
    struct val best = {.type = VAL_ABSENT};
    struct seq *seq;

    TRY(val_iterate(in, self, &seq));
    *out = val_undefined_because(in, "No aggregated item, sequence was empty.");
    for (size_t i = 0; i < seq->count; i++) {
        struct val key;
        bool better = best.type == VAL_ABSENT;
        TRY(interp_step(in, 1));
        TRY(val_path(in, seq->items[i], call->arg[1], &key));
        if (!val_truth(call->arg[0]))
            TRY(fold_case(in, key, &key));
        if (!better)
            TRY(val_compare(in, op, key, best, &better));
        if (better) {
            best = key;
            *out = seq->items[i];
        }
    }
    return STATUS_OK;
}

static enum status filter_min(struct interp *in, struct val self, struct call *call,
                              struct val *out)
{
    return extreme(in, self, call, COMPARE_LT, out);
}

static enum status filter_max(struct interp *in, struct val self, struct call *call,
                              struct val *out)
{
    return extreme(in, self, call, COMPARE_GT, out);
}

static enum status filter_sum(struct interp *in, struct val self, struct call *call,
                              struct val *out)
{
    struct seq *seq;

    TRY(val_iterate(in, self, &seq));
    *out = call->arg[1].type == VAL_ABSENT ? val_int(0) : call->arg[1];
    if (out->type == VAL_STRING)
        return interp_fail(in, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < seq->count; i++) {
        struct val item;
        TRY(interp_step(in, 1));
        TRY(val_path(in, seq->items[i], call->arg[0], &item));
        TRY(val_binary(in, BINARY_ADD, *out, item, out));
    }
    return STATUS_OK;
}

static enum status filter_batch(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    struct seq *seq, *batches = seq_new(in, SEQ_ITERATOR, 0), *batch = NULL;
    int64_t size;

    TRY(arg_int(in, call->arg[0], "linecount", &size));
    TRY(val_iterate(in, self, &seq));
    for (size_t i = 0; i < seq->count; i++) {
        if (!batch || (int64_t)batch->count == size) {
            if (!batch && size == 0) /* a first, empty batch is full at once */
                TRY(seq_push(in, batches, val_seq(seq_new(in, SEQ_LIST, 0))));
            batch = seq_new(in, SEQ_LIST, 0);
            TRY(seq_push(in, batches, val_seq(batch)));
        }
        TRY(interp_step(in, 1));
        TRY(seq_push(in, batch, seq->items[i]));
    }
    while (batch && given(call->arg[1]) && (int64_t)batch->count < size) {
        TRY(interp_step(in, 1));
        TRY(seq_push(in, batch, call->arg[1]));
    }
    *out = val_seq(batches);
    return STATUS_OK;
}

static enum status filter_slice(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    struct seq *seq, *slices = seq_new(in, SEQ_ITERATOR, 0);
    int64_t count;
    size_t next = 0;

    TRY(arg_int(in, call->arg[0], "slices", &count));
    TRY(val_iterate(in, self, &seq));
    if (count == 0)
        return interp_fail(in, "integer division or modulo by zero");
    for (int64_t i = 0; i < count; i++) {
        size_t each = seq->count / (size_t)count, extra = seq->count % (size_t)count;
        size_t take = each + ((size_t)i < extra);
        struct seq *slice = seq_new(in, SEQ_LIST, 0);
        TRY(interp_step(in, 1 + take));
        for (size_t k = 0; k < take; k++)
            TRY(seq_push(in, slice, seq->items[next++]));
        if (given(call->arg[1]) && (size_t)i >= extra)
            TRY(seq_push(in, slice, call->arg[1]));
        TRY(seq_push(in, slices, val_seq(slice)));
    }
    *out = val_seq(slices);
    return STATUS_OK;
}

const struct builtin filters_seq[] = {
    BUILTIN("length", filter_length, "", 0),
    BUILTIN("count", filter_length, "", 0),
    BUILTIN("first", filter_first, "", 0),
    BUILTIN("last", filter_last, "", 0),
    BUILTIN("list", filter_list, "", 0),
    BUILTIN("reverse", filter_reverse, "", 0),
    BUILTIN("join", filter_join, "d,attribute", 0),
    BUILTIN("sort", filter_sort, "reverse,case_sensitive,attribute", 0),
    BUILTIN("dictsort", filter_dictsort, "case_sensitive,by,reverse", 0),
    GENERATOR("items", filter_items, "", 0),
    GENERATOR("unique", filter_unique, "case_sensitive,attribute", 0),
    BUILTIN("min", filter_min, "case_sensitive,attribute", 0),
    BUILTIN("max", filter_max, "case_sensitive,attribute", 0),
    BUILTIN("sum", filter_sum, "attribute,start", 0),
    GENERATOR("batch", filter_batch, "linecount,fill_with", 1),
    GENERATOR("slice", filter_slice, "slices,fill_with", 1),
};
const size_t filters_seq_count = ARRAY_LEN(filters_seq);
