/* Operations on strings that both filters and methods offer. */
#include <string.h>

#include "common/utf8.h"
#include "router/jinja/filters.h"
#include "router/jinja/text.h"

static enum status emit_chars(struct interp *in, const uint32_t *cps, int count)
{
    char text[12];
    int len = 0;

    for (int i = 0; i < count; i++)
        len += utf8_encode(cps[i], text + len);
    return interp_emit(in, text, (size_t)len);
}

static bool cased(uint32_t cp)
{
    return text_is_upper(cp) || text_is_lower(cp) || text_is_title(cp);
}

/* A capital sigma at the end of a word becomes a final sigma. */
static int lower_at(struct str s, size_t at, size_t len, bool after_cased, uint32_t cp,
                    uint32_t out[3])
{
    uint32_t next = 0;

    if (cp != 0x3a3 || !after_cased)
        return text_lower(cp, out);
    if (at + len < s.len)
        text_next(s.data + at + len, s.len - at - len, &next);
    out[0] = next && cased(next) ? 0x3c3 : 0x3c2;
    return 1;
}

enum status text_change_case(struct interp *in, struct val v, enum text_case how, struct val *out)
{
    struct str s = val_str_of(v);
    size_t mark = interp_mark(in);
    bool after_cased = false, first = true;

    TRY(interp_step(in, s.len / 8));
    for (size_t i = 0; i < s.len; first = false) {
        uint32_t cp, to[3];
        int len = text_next(s.data + i, s.len - i, &cp), count;
        if (cp >= 0x80 && len == 1) { /* not UTF-8: leave it alone */
            TRY(interp_emit(in, s.data + i++, 1));
            continue;
        }
        if (how == TEXT_UPPER || (how == TEXT_SWAP && text_is_lower(cp)) ||
            (how == TEXT_FIRST_UPPER && first))
            count = text_upper(cp, to);
        else if ((how == TEXT_CAPITALIZE && first) || (how == TEXT_TITLE && !after_cased))
            count = text_title(cp, to);
        else if (how == TEXT_SWAP && !text_is_upper(cp))
            count = (to[0] = cp, 1);
        else
            count = lower_at(s, i, (size_t)len, after_cased, cp, to);
        TRY(emit_chars(in, to, count));
        after_cased = cased(cp) && !(how == TEXT_FIRST_UPPER && first);
        i += (size_t)len;
    }
    TRY(interp_take(in, mark, out));
    out->markup = v.markup;
    return STATUS_OK;
}

/* With an empty `old`, `with` goes before every character and to the end. */
static enum status replace_empty(struct interp *in, struct str s, struct str with, int64_t count)
{
    size_t i = 0;

    while (count != 0) {
        uint32_t cp;
        int n;
        TRY(interp_emit(in, with.data, with.len));
        count -= count > 0;
        if (i >= s.len)
            break;
        n = text_next(s.data + i, s.len - i, &cp);
        TRY(interp_emit(in, s.data + i, (size_t)n));
        i += (size_t)n;
    }
    return interp_emit(in, s.data + i, s.len - i);
}

enum status text_replace(struct interp *in, struct val v, struct str old, struct str with,
                         int64_t count, struct val *out)
{
    struct str s = val_str_of(v);
    size_t mark = interp_mark(in), from = 0;

    TRY(interp_step(in, s.len / 16));
    if (old.len == 0) {
        TRY(replace_empty(in, s, with, count));
    } else {
        while (count != 0) {
            size_t at = text_find(s, old, from);
            if (at == SIZE_MAX)
                break;
            TRY(interp_emit(in, s.data + from, at - from));
            TRY(interp_emit(in, with.data, with.len));
            from = at + old.len;
            count -= count > 0;
        }
        TRY(interp_emit(in, s.data + from, s.len - from));
    }
    TRY(interp_take(in, mark, out));
    out->markup = v.markup;
    return STATUS_OK;
}

static size_t set_prefix(struct str s, struct str chars)
{
    size_t i = 0;

    while (i < s.len) {
        uint32_t cp;
        int n = text_next(s.data + i, s.len - i, &cp);
        if (text_find(chars, (struct str){s.data + i, (size_t)n}, 0) == SIZE_MAX)
            break;
        i += (size_t)n;
    }
    return i;
}

static size_t set_suffix(struct str s, struct str chars)
{
    size_t end = s.len;

    while (end > 0) {
        size_t start = end - 1;
        while (start > 0 && ((unsigned char)s.data[start] & 0xc0) == 0x80)
            start--;
        if (text_find(chars, (struct str){s.data + start, end - start}, 0) == SIZE_MAX)
            break;
        end = start;
    }
    return s.len - end;
}

enum status text_trim(struct interp *in, struct val v, struct val chars, bool left, bool right,
                      struct val *out)
{
    struct str s = val_str_of(v), set = {0};
    size_t skip;

    TRY(interp_step(in, s.len / 64));
    if (given(chars))
        TRY(arg_string(in, chars, "the characters to strip", &set));
    if (left) {
        skip = given(chars) ? set_prefix(s, set) : text_space_prefix(s);
        s.data += skip;
        s.len -= skip;
    }
    if (right)
        s.len -= given(chars) ? set_suffix(s, set) : text_space_suffix(s);
    *out = s.len == v.text->len ? v : val_borrow(&in->arena, s.data, s.len);
    out->markup = v.markup;
    return STATUS_OK;
}

enum status text_split_lines(struct interp *in, struct val v, bool keep_ends, struct seq **out)
{
    struct str s = val_str_of(v);
    size_t start = 0, i = 0;

    *out = seq_new(in, SEQ_LIST, 0);
    TRY(interp_step(in, s.len / 8));
    while (i < s.len) {
        uint32_t cp;
        size_t stop = i;
        i += (size_t)text_next(s.data + i, s.len - i, &cp);
        if (!text_is_line_break(cp))
            continue;
        if (cp == '\r' && i < s.len && s.data[i] == '\n')
            i++;
        if (keep_ends)
            stop = i;
        TRY(seq_push(in, *out, val_borrow(&in->arena, s.data + start, stop - start)));
        start = i;
    }
    if (start < s.len)
        TRY(seq_push(in, *out, val_borrow(&in->arena, s.data + start, s.len - start)));
    for (i = 0; i < (*out)->count; i++)
        (*out)->items[i].markup = v.markup;
    return STATUS_OK;
}

/* `strict` as str.join: only strings may be joined. */
enum status text_join(struct interp *in, struct str sep, struct val items, bool strict,
                      struct val *out)
{
    size_t mark = interp_mark(in);
    struct seq *seq;

    TRY(val_iterate(in, items, &seq));
    for (size_t i = 0; i < seq->count; i++) {
        TRY(interp_step(in, 1));
        if (strict && seq->items[i].type != VAL_STRING)
            return interp_fail(in, "sequence item %zu: expected str instance, %s found", i,
                               val_type_name(seq->items[i]));
        if (i)
            TRY(interp_emit(in, sep.data, sep.len));
        TRY(emit_str(in, seq->items[i]));
    }
    return interp_take(in, mark, out);
}

static enum status emit_fill(struct interp *in, uint32_t fill, size_t count)
{
    char text[4];
    size_t len = (size_t)utf8_encode(fill, text);

    TRY(interp_step(in, count / 16));
    while (count-- > 0)
        TRY(interp_emit(in, text, len));
    return STATUS_OK;
}

/* align '<', '>', '^' (format's centre), or 'c' (str.center's, which puts odd padding left). */
enum status text_pad(struct interp *in, struct val v, int64_t width, uint32_t fill, char align,
                     struct val *out)
{
    int64_t chars = (int64_t)val_chars(v);
    size_t mark = interp_mark(in), more, left;

    *out = v;
    if (width <= chars)
        return STATUS_OK;
    more = (size_t)(width - chars);
    if (more > in->limits->output_bytes_max)
        return interp_fail(in, "a padded text is too long");
    left = align == '<' ? 0 : align == '>' ? more : more / 2;
    if (align == 'c') /* CPython: pad/2 + (pad & width & 1) */
        left = more / 2 + (more & (size_t)width & 1);
    TRY(emit_fill(in, fill, left));
    TRY(emit_str(in, v));
    TRY(emit_fill(in, fill, more - left));
    TRY(interp_take(in, mark, out));
    out->markup = v.markup;
    return STATUS_OK;
}
