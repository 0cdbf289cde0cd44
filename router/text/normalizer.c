#include "router/text/normalizer.h"

#include <string.h>

#include "common/byte_alphabet.h"
#include "common/mem.h"
#include "common/utf8.h"

/* One step's work: reads text, appends to out. A step returns false when it left the text alone. */
struct work {
    const struct normalizer_step *step;
    struct normalizer_scratch *scratch;
    struct str text;
    struct buf *out;
    size_t origin, gone, come; /* bytes that REPLACE took from those of the origin, and gave */
    struct err *err;
};

void normalizer_release(struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        mem_free(normalizer->steps[i].text);
        mem_free(normalizer->steps[i].pattern);
        regex_release(&normalizer->steps[i].regex);
    }
    normalizer->count = 0;
}

void normalizer_scratch_release(struct normalizer_scratch *scratch)
{
    buf_release(&scratch->text[0]);
    buf_release(&scratch->text[1]);
    buf_release(&scratch->stand_in);
    buf_release(&scratch->form);
    if (scratch->regex_ready)
        regex_scratch_release(&scratch->regex);
    scratch->regex_ready = false;
}

static size_t char_at(struct str text, size_t at, uint32_t *cp)
{
    return (size_t)utf8_decode(text.data + at, text.len - at, cp);
}

static void put_char(struct buf *out, uint32_t cp)
{
    char bytes[4];
    buf_append(out, bytes, (size_t)utf8_encode(cp, bytes));
}

/* ---- steps ------------------------------------------------------------------------------------- */

static bool prepend(struct work *w)
{
    size_t len = strlen(w->step->text);
    buf_append(w->out, w->step->text, len);
    buf_append(w->out, w->text.data, w->text.len);
    if (w->origin)
        w->origin += len;
    return len > 0;
}

/* Copies text[from..start) and the replacement of text[start..end). What is put in stems from where
 * the last character of the match does. */
static void replace_one(struct work *w, size_t *from, size_t start, size_t end)
{
    size_t len = strlen(w->step->text), last = end;
    buf_append(w->out, w->text.data + *from, start - *from);
    while (last > start && ((unsigned char)w->text.data[--last] & 0xc0) == 0x80)
        ;
    buf_append(w->out, w->step->text, len);
    *from = end;
    if (start < w->origin) {
        w->gone += MIN(end, w->origin) - start;
        w->come += last < w->origin ? len : 0;
    }
}

static enum status replace_regex(struct work *w, bool *changed)
{
    struct normalizer_scratch *s = w->scratch;
    struct regex_walk walk = {.regex = &w->step->regex, .scratch = &s->regex};
    size_t from = 0;
    if (!s->regex_ready)
        regex_scratch_init(&s->regex);
    s->regex_ready = true;
    walk.subject = (struct str){unicode_stand_in(w->text, &s->stand_in), w->text.len};
    for (;;) {
        bool found;
        TRY(regex_next(&walk, &found, w->err));
        if (!found)
            break;
        *changed = true;
        replace_one(w, &from, walk.start, walk.end);
    }
    if (*changed)
        buf_append(w->out, w->text.data + from, w->text.len - from);
    return STATUS_OK;
}

static bool replace_text(struct work *w)
{
    const char *pattern = w->step->pattern;
    size_t len = strlen(pattern), from = 0;
    const char *hit = memmem(w->text.data, w->text.len, pattern, len);
    if (!hit)
        return false;
    for (; hit; hit = memmem(w->text.data + from, w->text.len - from, pattern, len))
        replace_one(w, &from, (size_t)(hit - w->text.data), (size_t)(hit - w->text.data) + len);
    buf_append(w->out, w->text.data + from, w->text.len - from);
    return true;
}

/* For a step that goes character by character: at i, tells where the origin's end has come to. */
static void map_origin(struct work *w, size_t i, size_t *mapped)
{
    if (i <= w->origin)
        *mapped = w->out->len;
}

static bool lowercase(struct work *w)
{
    size_t mapped = 0;
    for (size_t i = 0; i < w->text.len;) {
        uint32_t cp, low[2];
        size_t n = char_at(w->text, i, &cp), count = unicode_lowercase(cp, low);
        for (size_t k = 0; k < count; k++)
            put_char(w->out, low[k]);
        i += n;
        map_origin(w, i, &mapped);
    }
    w->origin = mapped;
    return true;
}

static bool strip(struct work *w)
{
    size_t start = 0, end = w->text.len;
    uint32_t cp;
    while (w->step->left && start < end) {
        size_t n = char_at(w->text, start, &cp);
        if (!unicode_space_char(cp))
            break;
        start += n;
    }
    while (w->step->right && end > start) {
        size_t at = end;
        while (((unsigned char)w->text.data[--at] & 0xc0) == 0x80)
            ;
        char_at(w->text, at, &cp);
        if (!unicode_space_char(cp))
            break;
        end = at;
    }
    buf_append(w->out, w->text.data + start, end - start);
    w->origin -= MIN(w->origin, start);
    return end - start < w->text.len;
}

/* Drops the characters that `drop` takes, maps the others. */
static bool filter(struct work *w, bool (*drop)(uint32_t), uint32_t (*map)(uint32_t))
{
    size_t mapped = 0;
    for (size_t i = 0; i < w->text.len;) {
        uint32_t cp;
        size_t n = char_at(w->text, i, &cp);
        if (!drop(cp))
            put_char(w->out, map ? map(cp) : cp);
        i += n;
        map_origin(w, i, &mapped);
    }
    w->origin = mapped;
    return true;
}

static bool nmt_drops(uint32_t cp)
{
    return (cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f ||
           cp == 0x8f || cp == 0x9f;
}

static uint32_t nmt_maps(uint32_t cp)
{
    bool space = cp == 9 || cp == 0xa || cp == 0xc || cp == 0xd || cp == 0x1680 ||
                 (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
                 cp == 0xfeff || cp == 0xfffd;
    return space ? ' ' : cp;
}

/* ---- Bert -------------------------------------------------------------------------------------- */

static bool bert_drops(uint32_t cp)
{
    if (cp == '\t' || cp == '\n' || cp == '\r')
        return false;
    return cp == 0 || cp == 0xfffd || unicode_other_char(cp);
}

static uint32_t bert_maps(uint32_t cp)
{
    return unicode_space_char(cp) ? ' ' : cp;
}

static bool bert_ideograph(uint32_t cp)
{
    return (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0x3400 && cp <= 0x4dbf) ||
           (cp >= 0x20000 && cp <= 0x2a6df) || (cp >= 0x2a700 && cp <= 0x2b73f) ||
           (cp >= 0x2b740 && cp <= 0x2b81f) || (cp >= 0x2b920 && cp <= 0x2ceaf) ||
           (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0x2f800 && cp <= 0x2fa1f);
}

static bool bert_spaces(struct work *w)
{
    size_t mapped = 0;
    for (size_t i = 0; i < w->text.len;) {
        uint32_t cp;
        size_t n = char_at(w->text, i, &cp);
        bool ideograph = bert_ideograph(cp);
        if (ideograph)
            buf_char(w->out, ' ');
        buf_append(w->out, w->text.data + i, n);
        if (ideograph)
            buf_char(w->out, ' ');
        i += n;
        map_origin(w, i, &mapped);
    }
    w->origin = mapped;
    return true;
}

/* One of Bert's parts: the loader makes a step of each, in this order. */
static bool bert(struct work *w)
{
    if (w->step->clean)
        return filter(w, bert_drops, bert_maps);
    return w->step->chinese ? bert_spaces(w) : filter(w, unicode_nonspacing_char, NULL);
}

/* ---- characters to others ------------------------------------------------------------------------ */

static bool form(struct work *w)
{
    struct str front = {w->text.data, w->origin};
    if (!unicode_normalize(w->step->form, w->text, w->out))
        return false;
    buf_clear(&w->scratch->form);
    if (w->origin && unicode_normalize(w->step->form, front, &w->scratch->form))
        w->origin = w->scratch->form.len;
    return true;
}

static void bytes(struct work *w)
{
    struct str front = {w->text.data, w->origin};
    struct str rest = {w->text.data + w->origin, w->text.len - w->origin};
    byte_alphabet_write(front, w->out);
    w->origin = w->out->len;
    byte_alphabet_write(rest, w->out);
}

/* ---- the run ----------------------------------------------------------------------------------- */

static enum status run_step(struct work *w, bool *changed)
{
    *changed = false;
    switch (w->step->kind) {
    case NORMALIZER_FORM:
        *changed = form(w);
        break;
    case NORMALIZER_PREPEND:
        *changed = prepend(w);
        break;
    case NORMALIZER_REPLACE:
        if (!w->step->pattern)
            return replace_regex(w, changed);
        *changed = replace_text(w);
        break;
    case NORMALIZER_LOWERCASE:
        *changed = lowercase(w);
        break;
    case NORMALIZER_STRIP:
        *changed = strip(w);
        break;
    case NORMALIZER_STRIP_ACCENTS:
        *changed = filter(w, unicode_combining_char, NULL);
        break;
    case NORMALIZER_NMT:
        *changed = filter(w, nmt_drops, nmt_maps);
        break;
    case NORMALIZER_BERT:
        *changed = bert(w);
        break;
    case NORMALIZER_BYTES:
        bytes(w);
        *changed = true;
        break;
    }
    return STATUS_OK;
}

enum status normalizer_run(const struct normalizer *normalizer, struct normalizer_scratch *scratch,
                           struct str text, size_t *origin, struct str *out, struct err *err)
{
    struct work w = {.scratch = scratch, .text = text, .err = err, .origin = origin ? *origin : 0};
    int side = 0;
    for (size_t i = 0; i < normalizer->count && w.text.len; i++) {
        bool changed;
        w.step = &normalizer->steps[i];
        w.out = &scratch->text[side];
        buf_clear(w.out);
        w.gone = w.come = 0;
        TRY(run_step(&w, &changed));
        if (!changed)
            continue;
        w.text = (struct str){w.out->data ? w.out->data : "", w.out->len};
        w.origin = MIN(w.origin - w.gone + w.come, w.text.len);
        while (w.origin < w.text.len && ((unsigned char)w.text.data[w.origin] & 0xc0) == 0x80)
            w.origin++; /* what was composed is one character now */
        side ^= 1;
    }
    if (origin)
        *origin = w.origin;
    *out = w.text;
    return STATUS_OK;
}
