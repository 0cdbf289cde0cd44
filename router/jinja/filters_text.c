/* Filters on strings. Values that are no strings are turned into them first, as jinja2 does. */
#include <string.h>

#include "router/jinja/filters.h"
#include "router/jinja/text.h"

static enum status filter_upper(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    TRY(val_to_str(in, self, &self));
    return text_change_case(in, self, TEXT_UPPER, out);
}

static enum status filter_lower(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    TRY(val_to_str(in, self, &self));
    return text_change_case(in, self, TEXT_LOWER, out);
}

static enum status filter_capitalize(struct interp *in, struct val self, struct call *call,
                                     struct val *out)
{
    TRY(val_to_str(in, self, &self));
    return text_change_case(in, self, TEXT_CAPITALIZE, out);
}

/* Unlike str.title: words begin only after white space and -({[<. */
static enum status filter_title(struct interp *in, struct val self, struct call *call,
                                struct val *out)
{
    size_t mark = interp_mark(in), start = 0, i = 0;
    struct str s;

    TRY(val_to_str(in, self, &self));
    s = val_str_of(self);
    while (i <= s.len) {
        uint32_t cp = ' ';
        size_t n = i < s.len ? (size_t)text_next(s.data + i, s.len - i, &cp) : 1;
        struct val word;
        if (!text_is_space(cp) && !(cp < 0x80 && strchr("-({[<", (int)cp))) {
            i += n;
            continue;
        }
        word = val_borrow(&in->arena, s.data + start, i - start);
        TRY(text_change_case(in, word, TEXT_FIRST_UPPER, &word));
        TRY(emit_str(in, word));
        if (i < s.len)
            TRY(interp_emit(in, s.data + i, n));
        i += n;
        start = i;
    }
    return interp_take(in, mark, out);
}

static enum status filter_trim(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    TRY(val_to_str(in, self, &self));
    return text_trim(in, self, call->arg[0], true, true, out);
}

static enum status filter_string(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    return val_to_str(in, self, out);
}

static enum status filter_replace(struct interp *in, struct val self, struct call *call,
                                  struct val *out)
{
    struct val old, with;
    int64_t count = -1;

    TRY(val_to_str(in, self, &self));
    TRY(val_to_str(in, call->arg[0], &old));
    TRY(val_to_str(in, call->arg[1], &with));
    if (given(call->arg[2]))
        TRY(arg_int(in, call->arg[2], "count", &count));
    self.markup = false;
    return text_replace(in, self, val_str_of(old), val_str_of(with), count, out);
}

static enum status filter_indent(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    bool first = val_truth(call->arg[1]), blank = val_truth(call->arg[2]);
    size_t mark = interp_mark(in);
    struct val pad = val_cstr(&in->arena, "    ");
    struct seq *lines;
    struct str text;
    char *copy;
    int64_t width;

    if (self.type == VAL_UNDEFINED)
        return interp_fail_undefined(in, self);
    TRY(arg_string(in, self, "indent's value", &text));
    if (call->arg[0].type == VAL_STRING) {
        pad = call->arg[0];
    } else if (call->arg[0].type != VAL_ABSENT) {
        TRY(arg_int(in, call->arg[0], "width", &width));
        TRY(text_pad(in, val_cstr(&in->arena, ""), width, ' ', '<', &pad));
    }
    TRY(interp_room(in, text.len));
    copy = arena_alloc(&in->arena, text.len + 1);
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\n'; /* so that a last newline counts as a line */
    TRY(text_split_lines(in, val_borrow(&in->arena, copy, text.len + 1), false, &lines));
    for (size_t i = 0; i < lines->count; i++) {
        if (i)
            TRY(interp_emit(in, "\n", 1));
        if (i ? blank || lines->items[i].text->len > 0 : first)
            TRY(emit_str(in, pad));
        TRY(emit_str(in, lines->items[i]));
    }
    return interp_take(in, mark, out);
}

static enum status filter_center(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    int64_t width = 80;

    TRY(val_to_str(in, self, &self));
    if (call->arg[0].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[0], "width", &width));
    return text_pad(in, self, width, ' ', 'c', out);
}

static enum status filter_wordcount(struct interp *in, struct val self, struct call *call,
                                    struct val *out)
{
    bool inside = false;
    int64_t count = 0;
    struct str s;

    TRY(val_to_str(in, self, &self));
    s = val_str_of(self);
    TRY(interp_step(in, s.len / 8));
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        i += (size_t)text_next(s.data + i, s.len - i, &cp);
        bool word = cp == '_' || text_is_alnum(cp);
        count += word && !inside;
        inside = word;
    }
    *out = val_int(count);
    return STATUS_OK;
}

static enum status filter_escape(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    static const struct {
        char c;
        const char *entity;
    } entities[] = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"},
    };
    size_t mark = interp_mark(in);
    struct str s;

    TRY(val_to_str(in, self, &self));
    *out = self;
    if (self.markup)
        return STATUS_OK;
    s = val_str_of(self);
    TRY(interp_step(in, s.len / 8));
    for (size_t i = 0; i < s.len; i++) {
        const char *entity = NULL;
        for (size_t j = 0; j < ARRAY_LEN(entities); j++)
            if (entities[j].c == s.data[i])
                entity = entities[j].entity;
        if (entity)
            TRY(interp_emit_cstr(in, entity));
        else
            TRY(interp_emit(in, s.data + i, 1));
    }
    TRY(interp_take(in, mark, out));
    out->markup = true;
    return STATUS_OK;
}

static enum status filter_forceescape(struct interp *in, struct val self, struct call *call,
                                      struct val *out)
{
    TRY(val_to_str(in, self, &self));
    self.markup = false;
    return filter_escape(in, self, call, out);
}

static enum status filter_safe(struct interp *in, struct val self, struct call *call,
                               struct val *out)
{
    TRY(val_to_str(in, self, out));
    out->markup = true;
    return STATUS_OK;
}

/* Comments and tags go, white space collapses, the common entities are decoded. */
static enum status filter_striptags(struct interp *in, struct val self, struct call *call,
                                    struct val *out)
{
    static const char *const entities[][2] = {
        {"&lt;", "<"},    {"&gt;", ">"},  {"&#34;", "\""},
        {"&quot;", "\""}, {"&#39;", "'"}, {"&amp;", "&"},
    };
    size_t mark = interp_mark(in), at;
    struct str s, open, close;
    bool space = false, any = false;

    TRY(val_to_str(in, self, &self));
    for (int round = 0; round < 2; round++) { /* comments, then tags */
        size_t from = 0;
        s = val_str_of(self);
        open = round ? STR("<") : STR("<!--");
        close = round ? STR(">") : STR("-->");
        while ((at = text_find(s, open, from)) != SIZE_MAX) {
            size_t end = text_find(s, close, at);
            if (end == SIZE_MAX)
                break;
            TRY(interp_emit(in, s.data + from, at - from));
            from = end + close.len;
        }
        TRY(interp_emit(in, s.data + from, s.len - from));
        TRY(interp_take(in, mark, &self));
    }
    s = val_str_of(self);
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        size_t n = (size_t)text_next(s.data + i, s.len - i, &cp);
        if (text_is_space(cp)) {
            space = any;
        } else {
            if (space)
                TRY(interp_emit(in, " ", 1));
            TRY(interp_emit(in, s.data + i, n));
            space = false;
            any = true;
        }
        i += n;
    }
    TRY(interp_take(in, mark, out));
    for (size_t i = 0; i < ARRAY_LEN(entities); i++)
        TRY(text_replace(in, *out, str_from(entities[i][0]), str_from(entities[i][1]), -1, out));
    return STATUS_OK;
}

static enum status filter_truncate(struct interp *in, struct val self, struct call *call,
                                   struct val *out)
{
    int64_t length = 255, leeway = 5, chars;
    struct val end = val_cstr(&in->arena, "...");
    size_t mark = interp_mark(in), at, len;
    struct str s;

    if (call->arg[0].type != VAL_ABSENT)
        TRY(arg_int(in, call->arg[0], "length", &length));
    if (call->arg[2].type != VAL_ABSENT)
        end = call->arg[2];
    if (end.type != VAL_STRING)
        return interp_fail(in, "truncate's end must be a string");
    if (given(call->arg[3]))
        TRY(arg_int(in, call->arg[3], "leeway", &leeway));
    chars = (int64_t)val_chars(end);
    if (length < chars || leeway < 0)
        return interp_fail(in, "truncate's length or leeway is too small");
    *out = self;
    TRY(val_length(in, self, &len));
    if ((int64_t)len - leeway <= length)
        return STATUS_OK;
    if (self.type != VAL_STRING)
        return interp_fail(in, "truncate needs a string, not %s", val_type_name(self));
    s = val_str_of(self);
    s.len = text_offset(s.data, s.len, (size_t)(length - chars));
    at = val_truth(call->arg[1]) ? SIZE_MAX : text_rfind(s, STR(" "));
    TRY(interp_emit(in, s.data, at == SIZE_MAX ? s.len : at));
    TRY(emit_str(in, end));
    TRY(interp_take(in, mark, out));
    return STATUS_OK;
}

static enum status filter_format(struct interp *in, struct val self, struct call *call,
                                 struct val *out)
{
    struct val values;

    TRY(val_to_str(in, self, &self));
    if (call->pos_count && call->kw_count)
        return interp_fail(in, "format takes positional or keyword arguments, not both");
    if (call->kw_count) {
        values = val_dict(dict_new(in, 0));
        for (size_t i = 0; i < call->kw_count; i++)
            TRY(dict_put(in, values.dict,
                         val_borrow(&in->arena, call->kw[i].name.data, call->kw[i].name.len),
                         call->kw[i].value));
    } else {
        values = val_seq(seq_new(in, SEQ_TUPLE, 0));
        for (size_t i = 0; i < call->pos_count; i++)
            TRY(seq_push(in, values.seq, call->pos[i]));
    }
    return percent_format(in, self, values, out);
}

static enum status filter_urlencode(struct interp *in, struct val self, struct call *call,
                                    struct val *out)
{
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/";
    static const char hex[] = "0123456789ABCDEF";
    size_t mark = interp_mark(in);

    if (self.type == VAL_DICT || self.type == VAL_SEQ)
        return interp_fail(in, "urlencode of pairs is not supported");
    TRY(val_to_str(in, self, &self));
    for (size_t i = 0; i < self.text->len; i++) {
        unsigned char c = (unsigned char)self.text->data[i];
        char text[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (c && strchr(safe, c))
            TRY(interp_emit(in, self.text->data + i, 1));
        else
            TRY(interp_emit(in, text, 3));
    }
    return interp_take(in, mark, out);
}

const struct builtin filters_text[] = {
    BUILTIN("upper", filter_upper, "", 0),
    BUILTIN("lower", filter_lower, "", 0),
    BUILTIN("capitalize", filter_capitalize, "", 0),
    BUILTIN("title", filter_title, "", 0),
    BUILTIN("trim", filter_trim, "chars", 0),
    BUILTIN("string", filter_string, "", 0),
    BUILTIN("replace", filter_replace, "old,new,count", 2),
    BUILTIN("indent", filter_indent, "width,first,blank", 0),
    BUILTIN("center", filter_center, "width", 0),
    BUILTIN("wordcount", filter_wordcount, "", 0),
    BUILTIN("e", filter_escape, "", 0),
    BUILTIN("escape", filter_escape, "", 0),
    BUILTIN("forceescape", filter_forceescape, "", 0),
    BUILTIN("safe", filter_safe, "", 0),
    BUILTIN("striptags", filter_striptags, "", 0),
    BUILTIN("truncate", filter_truncate, "length,killwords,end,leeway", 0),
    BUILTIN("format", filter_format, NULL, 0),
    BUILTIN("urlencode", filter_urlencode, "", 0),
};
const size_t filters_text_count = ARRAY_LEN(filters_text);
