/* str methods that take a text apart. */
#include <string.h>

#include "router/jinja/filters.h"
#include "router/jinja/methods.h"
#include "router/jinja/text.h"

#define METHOD(name)                                                                               \
    static enum status name(struct interp *in, struct val self, struct call *call, struct val *out)

static enum status push_part(struct interp *in, struct seq *seq, struct str s, size_t from,
                             size_t to, bool markup)
{
    struct val v = val_borrow(&in->arena, s.data + from, to - from);

    v.markup = markup;
    TRY(interp_step(in, 1));
    return seq_push(in, seq, v);
}

static enum status split_space(struct interp *in, struct val self, int64_t max, struct seq *seq)
{
    struct str s = val_str_of(self);
    size_t i = text_space_prefix(s), start = i;

    while (i < s.len) {
        uint32_t cp;
        size_t n;
        if (max == 0) /* the rest, with the white space at its end */
            return push_part(in, seq, s, i, s.len, self.markup);
        start = i;
        while (i < s.len) {
            n = (size_t)text_next(s.data + i, s.len - i, &cp);
            if (text_is_space(cp))
                break;
            i += n;
        }
        TRY(push_part(in, seq, s, start, i, self.markup));
        max--;
        i += text_space_prefix((struct str){s.data + i, s.len - i});
    }
    return STATUS_OK;
}

static void turn(struct seq *seq)
{
    for (size_t i = 0; i < seq->count / 2; i++) {
        struct val tmp = seq->items[i];
        seq->items[i] = seq->items[seq->count - 1 - i];
        seq->items[seq->count - 1 - i] = tmp;
    }
}

static enum status rsplit_space(struct interp *in, struct val self, int64_t max, struct seq *seq)
{
    struct str s = val_str_of(self);

    s.len -= text_space_suffix(s);
    while (s.len > 0) {
        size_t end = s.len, start = end;
        if (max == 0) {
            TRY(push_part(in, seq, s, 0, s.len, self.markup));
            break;
        }
        while (start > 0) {
            size_t at = start - 1;
            uint32_t cp;
            while (at > 0 && ((unsigned char)s.data[at] & 0xc0) == 0x80)
                at--;
            text_next(s.data + at, start - at, &cp);
            if (text_is_space(cp))
                break;
            start = at;
        }
        TRY(push_part(in, seq, s, start, end, self.markup));
        max--;
        s.len = start;
        s.len -= text_space_suffix(s);
    }
    turn(seq);
    return STATUS_OK;
}

static enum status split_args(struct interp *in, struct call *call, struct str *sep, int64_t *max)
{
    *max = -1;
    if (call->arg[1].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[1], "maxsplit", max));
    if (!given(call->arg[0]))
        return STATUS_OK;
    TRY(arg_string(in, call->arg[0], "the separator", sep));
    return sep->len ? STATUS_OK : interp_fail(in, "empty separator");
}

METHOD(method_split)
{
    struct str s = val_str_of(self), sep = {0};
    struct seq *seq = seq_new(in, SEQ_LIST, 0);
    size_t from = 0;
    int64_t max;

    *out = val_seq(seq);
    TRY(split_args(in, call, &sep, &max));
    TRY(interp_step(in, s.len / 32));
    if (sep.len == 0)
        return split_space(in, self, max, seq);
    while (max != 0) {
        size_t at = text_find(s, sep, from);
        if (at == SIZE_MAX)
            break;
        TRY(push_part(in, seq, s, from, at, self.markup));
        from = at + sep.len;
        max--;
    }
    return push_part(in, seq, s, from, s.len, self.markup);
}

METHOD(method_rsplit)
{
    struct str s = val_str_of(self), sep = {0};
    struct seq *seq = seq_new(in, SEQ_LIST, 0);
    int64_t max;

    *out = val_seq(seq);
    TRY(split_args(in, call, &sep, &max));
    TRY(interp_step(in, s.len / 32));
    if (sep.len == 0)
        return rsplit_space(in, self, max, seq);
    while (max != 0) {
        size_t at = text_rfind(s, sep);
        if (at == SIZE_MAX)
            break;
        TRY(push_part(in, seq, s, at + sep.len, s.len, self.markup));
        s.len = at;
        max--;
    }
    TRY(push_part(in, seq, s, 0, s.len, self.markup));
    turn(seq);
    return STATUS_OK;
}

METHOD(method_splitlines)
{
    struct seq *seq;

    TRY(text_split_lines(in, self, val_truth(call->arg[0]), &seq));
    *out = val_seq(seq);
    return STATUS_OK;
}

static enum status partition(struct interp *in, struct val self, struct call *call, bool last,
                             struct val *out)
{
    struct str s = val_str_of(self), sep;
    struct seq *seq = seq_new(in, SEQ_TUPLE, 3);
    size_t at, end;

    TRY(arg_string(in, call->arg[0], "the separator", &sep));
    if (sep.len == 0)
        return interp_fail(in, "empty separator");
    TRY(interp_step(in, s.len / 32));
    at = last ? text_rfind(s, sep) : text_find(s, sep, 0);
    end = at + sep.len;
    if (at == SIZE_MAX)
        at = end = last ? 0 : s.len;
    TRY(push_part(in, seq, s, 0, at, self.markup));
    TRY(push_part(in, seq, s, at, end, self.markup));
    TRY(push_part(in, seq, s, end, s.len, self.markup));
    *out = val_seq(seq);
    return STATUS_OK;
}

METHOD(method_partition)
{
    return partition(in, self, call, false, out);
}

METHOD(method_rpartition)
{
    return partition(in, self, call, true, out);
}

const struct builtin methods_split[] = {
    BUILTIN("split", method_split, "sep,maxsplit", 0),
    BUILTIN("rsplit", method_rsplit, "sep,maxsplit", 0),
    BUILTIN("splitlines", method_splitlines, "keepends", 0),
    BUILTIN("partition", method_partition, ",", 1),
    BUILTIN("rpartition", method_rpartition, ",", 1),
};
const size_t methods_split_count = ARRAY_LEN(methods_split);
