#include "router/text/answer_scan.h"

#include <jansson.h>
#include <string.h>

struct reader {
    const char *text;
    size_t len, at;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool skip(struct reader *r, const char *also)
{
    while (r->at < r->len &&
           (is_space(r->text[r->at]) || memchr(also, r->text[r->at], strlen(also))))
        r->at++;
    return r->at < r->len;
}

/* A string with its quotes. */
static enum scan_end scan_string(struct reader *r, struct str *inside)
{
    if (r->text[r->at] != '"')
        return SCAN_BAD;
    size_t start = ++r->at;
    for (; r->at < r->len; r->at++) {
        if (r->text[r->at] == '\\')
            r->at++;
        else if (r->text[r->at] == '"') {
            *inside = (struct str){r->text + start, r->at++ - start};
            return SCAN_DONE;
        }
    }
    r->at = r->len;
    return SCAN_MORE;
}

/* Any value: brackets are counted, strings skipped; a bare word ends where the object goes on. */
static enum scan_end scan_value(struct reader *r, struct str *value)
{
    size_t start = r->at, depth = 0;
    struct str inside;
    *value = (struct str){r->text + start, 0};
    while (r->at < r->len) {
        char c = r->text[r->at];
        if (c == '"') {
            enum scan_end end = scan_string(r, &inside);
            value->len = r->at - start;
            if (end == SCAN_MORE || depth == 0)
                return end;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']') && r->at > start) {
            value->len = r->at - start;
            return SCAN_DONE;
        }
        if (c == '{' || c == '[')
            depth++;
        if (c == '}' || c == ']') {
            if (depth == 0)
                return SCAN_BAD;
            depth--;
        }
        r->at++;
        value->len = r->at - start;
        if (depth == 0 && (c == '}' || c == ']'))
            return SCAN_DONE;
    }
    return SCAN_MORE;
}

/* `"key": value`. Of two names, and of two lists of arguments, the first counts: it was told. */
static enum scan_end scan_member(struct reader *r, struct answer_scan *out)
{
    struct str key, value = {NULL, 0};
    enum scan_end end = scan_string(r, &key);
    if (end != SCAN_DONE)
        return end;
    if (!skip(r, ""))
        return SCAN_MORE;
    if (r->text[r->at] != ':')
        return SCAN_BAD;
    r->at++;
    if (!skip(r, ""))
        return SCAN_MORE;
    if (str_is(key, "name")) {
        end = scan_string(r, &value);
        if (!out->name.data)
            out->name = value;
        return end;
    }
    end = scan_value(r, &value);
    bool arguments = str_is(key, "arguments") || str_is(key, "parameters");
    if (arguments && !out->arguments.data && end != SCAN_BAD)
        out->arguments = value;
    return end;
}

enum scan_end answer_scan(const char *text, size_t len, struct answer_scan *out)
{
    struct reader r = {text, len, 0};
    *out = (struct answer_scan){.used = 0};
    if (!skip(&r, "[,"))
        return SCAN_MORE;
    if (text[r.at] != '{')
        return SCAN_BAD;
    r.at++;
    for (;;) {
        if (!skip(&r, ""))
            return SCAN_MORE;
        if (text[r.at] == '}') {
            out->used = r.at + 1;
            return SCAN_DONE;
        }
        enum scan_end end = scan_member(&r, out);
        out->used = r.at;
        if (end != SCAN_DONE)
            return end;
        if (!skip(&r, ""))
            return SCAN_MORE;
        out->used = r.at;
        if (text[r.at] == ',')
            r.at++;
        else if (text[r.at] != '}')
            return SCAN_BAD;
    }
}

/* ---- name[ARGS]{…} ---- */

#define NAME_BYTES_MAX 256
#define ID_BYTES_MAX   64

static const struct str args_mark = {"[ARGS]", 6}, id_mark = {"[CALL_ID]", 9};

static bool is_name_byte(char c)
{
    return (unsigned char)c > ' ' && !strchr("\"\\[]{}<>\x7f", c);
}

/* One or more of a name's bytes; MORE while it may go on. */
static enum scan_end scan_bare(struct reader *r, size_t max, struct str *out)
{
    size_t start = r->at;
    while (r->at < r->len && is_name_byte(r->text[r->at]))
        if (++r->at - start > max)
            return SCAN_BAD;
    *out = (struct str){r->text + start, r->at - start};
    if (r->at == r->len)
        return SCAN_MORE;
    return out->len > 0 ? SCAN_DONE : SCAN_BAD;
}

/* DONE: it is there, and behind us; BAD: something else is. */
static enum scan_end scan_mark(struct reader *r, struct str mark)
{
    size_t have = MIN(r->len - r->at, mark.len);
    if (memcmp(r->text + r->at, mark.data, have) != 0)
        return SCAN_BAD;
    if (have < mark.len)
        return SCAN_MORE;
    r->at += mark.len;
    return SCAN_DONE;
}

/* What stands between the name and the arguments. */
static enum scan_end scan_marks(struct reader *r)
{
    struct str id;
    enum scan_end end = scan_mark(r, id_mark);
    if (end == SCAN_MORE)
        return end;
    bool with_id = end == SCAN_DONE;
    if (with_id && (end = scan_bare(r, ID_BYTES_MAX, &id)) != SCAN_DONE)
        return end;
    if (r->text[r->at] == '{' && !with_id)
        return SCAN_DONE;
    return scan_mark(r, args_mark);
}

enum scan_end answer_scan_named(const char *text, size_t len, struct answer_scan *out)
{
    struct reader r = {text, len, 0};
    struct str name;
    *out = (struct answer_scan){.used = 0};
    if (!skip(&r, ""))
        return SCAN_MORE;
    enum scan_end end = scan_bare(&r, NAME_BYTES_MAX, &name);
    if (end == SCAN_DONE && !skip(&r, ""))
        end = SCAN_MORE;
    if (end == SCAN_DONE)
        end = scan_marks(&r);
    if (end != SCAN_DONE)
        return end;
    if (!skip(&r, ""))
        return SCAN_MORE;
    if (text[r.at] != '{')
        return SCAN_BAD;
    out->name = name;
    end = scan_value(&r, &out->arguments);
    out->used = r.at;
    return end;
}

bool answer_name_fits(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!is_name_byte(name.data[i]))
            return false;
    return name.len > 0 && name.len <= NAME_BYTES_MAX;
}

bool answer_scan_on(const char *text, size_t len, struct answer_place *place)
{
    for (; place->at < len; place->at++) {
        char c = text[place->at];
        if (place->string && c == '\\') {
            if (place->at + 1 == len)
                return true; /* what it escapes is still to come */
            place->at++;
        } else if (c == '"') {
            place->string = !place->string;
            if (!place->string && place->depth == 0)
                return false;
        } else if (!place->string) {
            bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
            if (place->depth == 0 && (closes || c == ',') && place->at > place->value)
                return false;
            place->depth += opens;
            place->depth -= closes;
            if (closes && place->depth == 0)
                return false;
        }
    }
    return true;
}

void answer_unescape(struct str inside, struct buf *out)
{
    struct buf quoted = {0};
    buf_char(&quoted, '"');
    buf_append(&quoted, inside.data, inside.len);
    buf_char(&quoted, '"');
    json_t *value = json_loadb(quoted.data, quoted.len, JSON_DECODE_ANY, NULL);
    if (value)
        buf_append(out, json_string_value(value), json_string_length(value));
    else
        buf_append(out, inside.data, inside.len);
    json_decref(value);
    buf_release(&quoted);
}
