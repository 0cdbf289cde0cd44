/* str() and repr(). */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/jinja/interp.h"
#include "router/jinja/text.h"

/* The fewest digits that read back as the same number; exponents below -4 and from 16 on. */
size_t format_double(double f, char out[40])
{
    char digits[40], *e;
    int precision = 1, exponent, count, len = 0;
    const char *p = digits;

    if (isnan(f) || isinf(f))
        return (size_t)snprintf(out, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    for (; precision <= 17; precision++) {
        snprintf(digits, sizeof(digits), "%.*e", precision - 1, f);
        if (strtod(digits, NULL) == f)
            break;
    }
    e = strchr(digits, 'e');
    exponent = (int)strtol(e + 1, NULL, 10);
    *e = 0;
    if (exponent < -4 || exponent >= 16)
        return (size_t)snprintf(out, 40, "%se%c%02d", digits, exponent < 0 ? '-' : '+',
                                abs(exponent));
    if (*p == '-')
        out[len++] = *p++;
    count = precision > 17 ? 17 : precision; /* digits that stand in p, beside its point */
    if (exponent < 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (int i = -1; i > exponent; i--)
            out[len++] = '0';
    }
    for (int i = 0, given = 0; i < MAX(count, exponent + 1); i++) {
        if (exponent >= 0 && i == exponent + 1)
            out[len++] = '.';
        if (*p == '.')
            p++;
        out[len++] = given < count ? *p++ : '0';
        given++;
    }
    if (exponent >= 0 && count <= exponent + 1) {
        out[len++] = '.';
        out[len++] = '0';
    }
    out[len] = 0;
    return (size_t)len;
}

static enum status emit_escaped(struct interp *in, uint32_t cp, const char *raw, int raw_len)
{
    char text[12];

    switch (cp) {
    case '\n':
        return interp_emit(in, "\\n", 2);
    case '\r':
        return interp_emit(in, "\\r", 2);
    case '\t':
        return interp_emit(in, "\\t", 2);
    case '\\':
        return interp_emit(in, "\\\\", 2);
    default:
        break;
    }
    if (text_is_printable(cp))
        return interp_emit(in, raw, (size_t)raw_len);
    snprintf(text, sizeof(text), cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
    return interp_emit_cstr(in, text);
}

static enum status repr_text(struct interp *in, struct val v)
{
    struct str s = val_str_of(v);
    char quote = '\'';

    if (s.len && memchr(s.data, '\'', s.len) && !memchr(s.data, '"', s.len))
        quote = '"';
    if (v.markup)
        TRY(interp_emit_cstr(in, "Markup("));
    TRY(interp_emit(in, &quote, 1));
    for (size_t i = 0; i < s.len;) {
        uint32_t cp;
        int n = text_next(s.data + i, s.len - i, &cp);
        if (cp == (unsigned char)quote)
            TRY(interp_emit(in, "\\", 1));
        TRY(emit_escaped(in, cp, s.data + i, n));
        i += (size_t)n;
    }
    TRY(interp_emit(in, &quote, 1));
    return v.markup ? interp_emit_cstr(in, ")") : STATUS_OK;
}

static enum status repr_range(struct interp *in, const struct seq *seq)
{
    char text[80];

    if (seq->step == 1)
        snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ")", seq->start, seq->stop);
    else
        snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")", seq->start,
                 seq->stop, seq->step);
    return interp_emit_cstr(in, text);
}

static enum status repr_seq(struct interp *in, const struct seq *seq)
{
    static const char *const open[] = {"[",           "(", "", "dict_keys([", "dict_values([",
                                       "dict_items(["};
    static const char *const close[] = {"]", ")", "", "])", "])", "])"};

    if (seq->kind == SEQ_RANGE)
        return repr_range(in, seq);
    if (seq->kind == SEQ_ITERATOR)
        return interp_emit_cstr(in, "<generator object>");
    TRY(interp_emit_cstr(in, open[seq->kind]));
    for (size_t i = 0; i < seq->count; i++) {
        if (i)
            TRY(interp_emit(in, ", ", 2));
        TRY(emit_repr(in, seq->items[i]));
    }
    if (seq->kind == SEQ_TUPLE && seq->count == 1)
        TRY(interp_emit(in, ",", 1));
    return interp_emit_cstr(in, close[seq->kind]);
}

static enum status repr_dict(struct interp *in, struct val v)
{
    TRY(interp_emit_cstr(in, v.type == VAL_NAMESPACE ? "<Namespace {" : "{"));
    for (size_t i = 0; i < v.dict->count; i++) {
        if (i)
            TRY(interp_emit(in, ", ", 2));
        TRY(emit_repr(in, v.dict->entries[i].key));
        TRY(interp_emit(in, ": ", 2));
        TRY(emit_repr(in, v.dict->entries[i].value));
    }
    return interp_emit_cstr(in, v.type == VAL_NAMESPACE ? "}>" : "}");
}

static enum status repr_other(struct interp *in, struct val v)
{
    char text[64];

    switch ((enum val_type)v.type) {
    case VAL_UNDEFINED:
        return interp_emit_cstr(in, "Undefined");
    case VAL_NONE:
        return interp_emit_cstr(in, "None");
    case VAL_BOOL:
        return interp_emit_cstr(in, v.b ? "True" : "False");
    case VAL_INT:
        snprintf(text, sizeof(text), "%" PRId64, v.i);
        return interp_emit_cstr(in, text);
    case VAL_FLOAT:
        return interp_emit(in, text, format_double(v.f, text));
    case VAL_FUNC:
        if (v.func->kind != FUNC_MACRO)
            return interp_emit_cstr(in, "<function>");
        if (v.func->macro->left == NULL)
            return interp_emit_cstr(in, "<Macro anonymous>");
        TRY(interp_emit_cstr(in, "<Macro '"));
        TRY(interp_emit(in, in->tmpl->syms[v.func->macro->left->sym].data,
                        in->tmpl->syms[v.func->macro->left->sym].len));
        return interp_emit_cstr(in, "'>");
    case VAL_LOOP:
        snprintf(text, sizeof(text), "<LoopContext %zu/%zu>", v.loop->index0 + 1,
                 v.loop->items->count);
        return interp_emit_cstr(in, text);
    default:
        return interp_emit_cstr(in, "<object>");
    }
}

enum status emit_repr(struct interp *in, struct val v)
{
    enum status status;

    TRY(interp_step(in, 1));
    if (v.type == VAL_STRING)
        return repr_text(in, v);
    if (v.type != VAL_SEQ && v.type != VAL_DICT && v.type != VAL_NAMESPACE)
        return repr_other(in, v);
    TRY(interp_enter(in));
    status = v.type == VAL_SEQ ? repr_seq(in, v.seq) : repr_dict(in, v);
    interp_leave(in);
    return status;
}

enum status emit_str(struct interp *in, struct val v)
{
    if (v.type == VAL_STRING)
        return interp_emit(in, v.text->data, v.text->len);
    if (v.type == VAL_UNDEFINED)
        return STATUS_OK;
    return emit_repr(in, v);
}

enum status val_to_str(struct interp *in, struct val v, struct val *out)
{
    size_t mark = interp_mark(in);

    if (v.type == VAL_STRING) {
        *out = v;
        return STATUS_OK;
    }
    TRY(emit_str(in, v));
    return interp_take(in, mark, out);
}
