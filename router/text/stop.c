#include "router/text/stop.h"

#include <string.h>

#include "common/mem.h"

struct stop_string {
    char *text;
    uint32_t *fail; /* fail[i]: length of the longest proper border of text[0..i] */
    uint32_t len;
    uint32_t matched; /* bytes of text that the input ends with */
};

static void string_init(struct stop_string *string, struct str source)
{
    CHECK(source.len >= 1 && source.len <= STOP_BYTES_MAX);
    string->text = mem_strndup(source.data, source.len);
    string->len = (uint32_t)source.len;
    string->fail = mem_array(source.len, sizeof(*string->fail));
    string->matched = 0;
    for (uint32_t i = 1, k = 0; i < string->len; i++) {
        while (k > 0 && string->text[i] != string->text[k])
            k = string->fail[k - 1];
        if (string->text[i] == string->text[k])
            k++;
        string->fail[i] = k;
    }
}

static bool string_step(struct stop_string *string, char c)
{
    while (string->matched > 0 && string->text[string->matched] != c)
        string->matched = string->fail[string->matched - 1];
    if (string->text[string->matched] == c)
        string->matched++;
    return string->matched == string->len;
}

void stop_init(struct stop *stop, const struct str *strings, size_t count, bool include)
{
    memset(stop, 0, sizeof(*stop));
    CHECK(count <= STOP_STRINGS_MAX);
    stop->include = include;
    stop->count = count;
    stop->strings = count > 0 ? mem_array(count, sizeof(*stop->strings)) : NULL;
    for (size_t i = 0; i < count; i++)
        string_init(&stop->strings[i], strings[i]);
}

bool stop_push(struct stop *stop, const char *text, size_t len, struct buf *out)
{
    if (stop->hit || len == 0)
        return stop->hit;
    if (stop->count == 0) {
        buf_append(out, text, len);
        return false;
    }
    size_t begin = stop->held.len;
    buf_append(&stop->held, text, len);
    for (size_t at = begin; at < stop->held.len; at++) {
        uint32_t longest = 0;
        for (size_t i = 0; i < stop->count; i++) {
            if (string_step(&stop->strings[i], stop->held.data[at]))
                longest = MAX(longest, stop->strings[i].len);
        }
        if (longest > 0) {
            stop->hit = true;
            buf_append(out, stop->held.data, at + 1 - (stop->include ? 0 : longest));
            buf_clear(&stop->held);
            return true;
        }
    }
    size_t keep = 0;
    for (size_t i = 0; i < stop->count; i++)
        keep = MAX(keep, stop->strings[i].matched);
    size_t certain = stop->held.len - keep;
    if (certain > 0) {
        buf_append(out, stop->held.data, certain);
        buf_consume(&stop->held, certain);
    }
    return false;
}

void stop_finish(struct stop *stop, struct buf *out)
{
    if (!stop->hit && stop->held.len > 0)
        buf_append(out, stop->held.data, stop->held.len);
    buf_clear(&stop->held);
}

void stop_release(struct stop *stop)
{
    for (size_t i = 0; i < stop->count; i++) {
        mem_free(stop->strings[i].text);
        mem_free(stop->strings[i].fail);
    }
    mem_free(stop->strings);
    buf_release(&stop->held);
    memset(stop, 0, sizeof(*stop));
}
