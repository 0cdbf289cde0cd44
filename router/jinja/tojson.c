/* JSON text as Python's json.dumps writes it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/jinja/interp.h"
#include "router/jinja/text.h"

static enum status emit_unit(struct interp *in, uint32_t unit)
{
    char text[12];

    snprintf(text, sizeof(text), "\\u%04x", unit & 0xffff);
    return interp_emit(in, text, 6);
}

static enum status escape_char(struct interp *in, uint32_t cp)
{
    static const char plain[] = "\"\\\n\r\t\f\b", names[] = "\"\\nrtfb";
    const char *known = cp && cp < 0x80 ? strchr(plain, (int)cp) : NULL;
    char text[2] = {'\\', 0};

    if (known) {
        text[1] = names[known - plain];
        return interp_emit(in, text, 2);
    }
    if (cp < 0x10000)
        return emit_unit(in, cp);
    TRY(emit_unit(in, 0xd800 + ((cp - 0x10000) >> 10)));
    return emit_unit(in, 0xdc00 + ((cp - 0x10000) & 0x3ff));
}

static enum status json_text(struct interp *in, struct str s, bool ascii_only)
{
    size_t start = 0, i = 0;

    TRY(interp_emit(in, "\"", 1));
    while (i < s.len) {
        unsigned char c = (unsigned char)s.data[i];
        uint32_t cp = c;
        int n = 1;
        if (c >= 0x20 && c != '"' && c != '\\' && (!ascii_only || c < 0x7f)) {
            i++;
            continue;
        }
        if (c >= 0x80)
            n = text_next(s.data + i, s.len - i, &cp);
        TRY(interp_emit(in, s.data + start, i - start));
        TRY(escape_char(in, cp));
        i += (size_t)n;
        start = i;
    }
    TRY(interp_emit(in, s.data + start, s.len - start));
    return interp_emit(in, "\"", 1);
}

static enum status json_scalar(struct interp *in, struct val v)
{
    char text[40];

    switch ((enum val_type)v.type) {
    case VAL_NONE:
        return interp_emit_cstr(in, "null");
    case VAL_BOOL:
        return interp_emit_cstr(in, v.b ? "true" : "false");
    case VAL_INT:
        snprintf(text, sizeof(text), "%" PRId64, v.i);
        return interp_emit_cstr(in, text);
    case VAL_FLOAT:
        if (isnan(v.f) || isinf(v.f))
            return interp_emit_cstr(in, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        return interp_emit(in, text, format_double(v.f, text));
    default:
        return interp_fail(in, "Object of type %s is not JSON serializable", val_type_name(v));
    }
}

static enum status newline(struct interp *in, const struct json_style *style, unsigned level)
{
    if (!style->pretty)
        return STATUS_OK;
    TRY(interp_emit(in, "\n", 1));
    for (unsigned i = 0; i < level; i++)
        TRY(interp_emit(in, style->indent.data, style->indent.len));
    return STATUS_OK;
}

static enum status json_value(struct interp *in, struct val v, const struct json_style *style,
                              unsigned level);

static enum status json_list(struct interp *in, const struct seq *seq,
                             const struct json_style *style, unsigned level)
{
    if (seq->count == 0)
        return interp_emit(in, "[]", 2);
    TRY(interp_emit(in, "[", 1));
    for (size_t i = 0; i < seq->count; i++) {
        if (i)
            TRY(interp_emit(in, style->item_sep.data, style->item_sep.len));
        TRY(newline(in, style, level + 1));
        TRY(json_value(in, seq->items[i], style, level + 1));
    }
    TRY(newline(in, style, level));
    return interp_emit(in, "]", 1);
}

static enum status json_key(struct interp *in, struct val key, const struct json_style *style)
{
    if (key.type == VAL_STRING)
        return json_text(in, val_str_of(key), style->ascii_only);
    if (key.type != VAL_NONE && !val_is_number(key))
        return interp_fail(in, "keys must be str, int, float, bool or None, not %s",
                           val_type_name(key));
    TRY(interp_emit(in, "\"", 1));
    TRY(json_scalar(in, key));
    return interp_emit(in, "\"", 1);
}

/* Insertion sort into an array of pointers is quadratic: merge instead. */
static enum status sort_entries(struct interp *in, const struct dict_entry **a,
                                const struct dict_entry **tmp, size_t count)
{
    size_t half = count / 2, i = 0, j = half, k = 0;

    if (count < 2)
        return STATUS_OK;
    TRY(sort_entries(in, a, tmp, half));
    TRY(sort_entries(in, a + half, tmp, count - half));
    while (i < half && j < count) {
        bool less;
        TRY(val_compare(in, COMPARE_LT, a[j]->key, a[i]->key, &less));
        tmp[k++] = less ? a[j++] : a[i++];
    }
    while (i < half)
        tmp[k++] = a[i++];
    memcpy(a, tmp, k * sizeof(*a));
    return STATUS_OK;
}

static enum status json_dict(struct interp *in, const struct dict *dict,
                             const struct json_style *style, unsigned level)
{
    const struct dict_entry **order = NULL;

    if (dict->count == 0)
        return interp_emit(in, "{}", 2);
    if (style->sort_keys) {
        TRY(interp_room(in, 2 * dict->count * sizeof(*order)));
        order = arena_array(&in->arena, 2 * dict->count, sizeof(*order));
        for (size_t i = 0; i < dict->count; i++)
            order[i] = &dict->entries[i];
        TRY(sort_entries(in, order, order + dict->count, dict->count));
    }
    TRY(interp_emit(in, "{", 1));
    for (size_t i = 0; i < dict->count; i++) {
        const struct dict_entry *entry = order ? order[i] : &dict->entries[i];
        if (i)
            TRY(interp_emit(in, style->item_sep.data, style->item_sep.len));
        TRY(newline(in, style, level + 1));
        TRY(json_key(in, entry->key, style));
        TRY(interp_emit(in, style->key_sep.data, style->key_sep.len));
        TRY(json_value(in, entry->value, style, level + 1));
    }
    TRY(newline(in, style, level));
    return interp_emit(in, "}", 1);
}

static enum status json_value(struct interp *in, struct val v, const struct json_style *style,
                              unsigned level)
{
    TRY(interp_step(in, 1));
    if (v.type == VAL_STRING)
        return json_text(in, val_str_of(v), style->ascii_only);
    if (v.type == VAL_DICT || val_is_seq(v, SEQ_LIST) || val_is_seq(v, SEQ_TUPLE)) {
        TRY(interp_enter(in));
        if (v.type == VAL_DICT)
            TRY(json_dict(in, v.dict, style, level));
        else
            TRY(json_list(in, v.seq, style, level));
        interp_leave(in);
        return STATUS_OK;
    }
    return json_scalar(in, v);
}

enum status emit_json(struct interp *in, struct val v, const struct json_style *style)
{
    return json_value(in, v, style, 0);
}
