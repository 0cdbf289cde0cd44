#include "router/text/pretoken.h"

#include <string.h>

#include "common/byte_alphabet.h"
#include "common/utf8.h"
#include "router/text/tokenizer_unicode.h"

/* One run of pretoken_split. `looked` is what regexes look at, `text` what words are cut from: same
 * length, same boundaries (see unicode_stand_in). */
struct run {
    const struct pretoken *pretoken;
    struct pretoken_scratch *scratch;
    const char *looked, *text;
    size_t origin; /* so much of text stems from the start of the input */
    pretoken_emit emit;
    void *ctx;
    struct err *err;
};

/* Matches and gaps of one subject on their way to the next stage: the slice that may still grow. */
struct joiner {
    struct run *run;
    size_t stage;
    bool have, last_match;
    size_t start, end;
};

static enum status run_stage(struct run *run, size_t stage, size_t start, size_t end);

void pretoken_release(struct pretoken *pretoken)
{
    for (size_t i = 0; i < pretoken->stage_count; i++)
        regex_release(&pretoken->stages[i].regex);
    pretoken->stage_count = 0;
}

void pretoken_scratch_init(struct pretoken_scratch *scratch)
{
    memset(scratch, 0, sizeof(*scratch));
    regex_scratch_init(&scratch->regex);
}

void pretoken_scratch_release(struct pretoken_scratch *scratch)
{
    regex_scratch_release(&scratch->regex);
    buf_release(&scratch->stand_in);
    for (size_t i = 0; i < ARRAY_LEN(scratch->written); i++)
        buf_release(&scratch->written[i]);
}

/* ---- matches and gaps to slices ---------------------------------------------------------------- */

static enum status joiner_flush(struct joiner *j)
{
    j->have = false;
    return run_stage(j->run, j->stage + 1, j->start, j->end);
}

/* Takes the next slice in order, a match or a gap, and passes on what has become certain. */
static enum status joiner_add(struct joiner *j, size_t start, size_t end, bool match)
{
    const struct pretoken_stage *stage = &j->run->pretoken->stages[j->stage];
    bool join = false;
    match ^= stage->invert;
    switch (stage->behavior) {
    case PRETOKEN_ISOLATED:
        return run_stage(j->run, j->stage + 1, start, end);
    case PRETOKEN_REMOVED:
        return match ? STATUS_OK : run_stage(j->run, j->stage + 1, start, end);
    case PRETOKEN_MERGED_WITH_PREVIOUS:
        join = match && !j->last_match;
        break;
    case PRETOKEN_MERGED_WITH_NEXT:
        join = !match && j->last_match;
        break;
    case PRETOKEN_CONTIGUOUS:
        join = match == j->last_match;
        break;
    }
    j->last_match = match;
    if (j->have && join) {
        j->end = end;
        return STATUS_OK;
    }
    if (j->have)
        TRY(joiner_flush(j));
    j->have = true;
    j->start = start;
    j->end = end;
    return STATUS_OK;
}

static enum status split_regex(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    struct joiner joiner = {.run = run, .stage = stage_idx};
    struct regex_walk walk = {.regex = &run->pretoken->stages[stage_idx].regex,
                              .scratch = &run->scratch->regex,
                              .subject = {run->looked + start, end - start}};
    for (;;) {
        size_t gap = walk.gap;
        bool found;
        TRY(regex_next(&walk, &found, run->err));
        if (!found)
            break;
        if (walk.start > gap)
            TRY(joiner_add(&joiner, start + gap, start + walk.start, false));
        TRY(joiner_add(&joiner, start + walk.start, start + walk.end, true));
    }
    if (walk.gap < end - start)
        TRY(joiner_add(&joiner, start + walk.gap, end, false));
    return joiner.have ? joiner_flush(&joiner) : STATUS_OK;
}

static size_t next_char(const struct run *run, size_t at, size_t end, uint32_t *cp)
{
    if ((unsigned char)run->text[at] < 0x80) {
        *cp = (unsigned char)run->text[at];
        return 1;
    }
    return (size_t)utf8_decode(run->text + at, end - at, cp);
}

static enum status split_chars(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    const struct pretoken_stage *stage = &run->pretoken->stages[stage_idx];
    struct joiner joiner = {.run = run, .stage = stage_idx};
    size_t gap = start;
    for (size_t i = start; i < end;) {
        uint32_t cp;
        size_t n = next_char(run, i, end, &cp);
        if (stage->test ? stage->test(cp) : cp == stage->cp) {
            if (i > gap)
                TRY(joiner_add(&joiner, gap, i, false));
            TRY(joiner_add(&joiner, i, i + n, true));
            gap = i + n;
        }
        i += n;
    }
    if (gap < end)
        TRY(joiner_add(&joiner, gap, end, false));
    return joiner.have ? joiner_flush(&joiner) : STATUS_OK;
}

static enum status split_words(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    enum { SPACE, WORD, OTHER } kind, last = SPACE;
    size_t from = start;
    for (size_t i = start; i < end;) {
        uint32_t cp;
        size_t n = next_char(run, i, end, &cp);
        kind = unicode_word_char(cp) ? WORD : unicode_space_char(cp) ? SPACE : OTHER;
        if (kind != last) {
            if (last != SPACE)
                TRY(run_stage(run, stage_idx + 1, from, i));
            from = i;
            last = kind;
        }
        i += n;
    }
    return last == SPACE ? STATUS_OK : run_stage(run, stage_idx + 1, from, end);
}

static enum status split_fixed(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    size_t length = run->pretoken->stages[stage_idx].length, from = start, count = 0;
    for (size_t i = start; i < end;) {
        uint32_t cp;
        i += next_char(run, i, end, &cp);
        if (++count == length || i == end) {
            TRY(run_stage(run, stage_idx + 1, from, i));
            from = i;
            count = 0;
        }
    }
    return STATUS_OK;
}

/* ---- stages that write their slice anew -------------------------------------------------------- */

/* Runs `then` of the stage over a written slice: text, and behind it what regexes look at. */
static enum status run_written(struct run *run, size_t stage_idx, size_t len, size_t origin,
                               enum status (*then)(struct run *, size_t, size_t, size_t))
{
    const struct buf *buf = &run->scratch->written[stage_idx];
    struct run inner = *run;
    inner.text = buf->data;
    inner.looked = buf->data + (buf->len > len ? len : 0);
    inner.origin = origin;
    return then ? then(&inner, stage_idx, 0, len) : run_stage(&inner, stage_idx + 1, 0, len);
}

/* Copies the slice with each space as the stage's character. */
static void write_metaspace(struct buf *buf, const char *text, size_t len, const char *meta,
                            size_t n)
{
    for (size_t i = 0; i < len;) {
        const char *space = memchr(text + i, ' ', len - i);
        size_t run = space ? (size_t)(space - text) - i : len - i;
        buf_append(buf, text + i, run);
        i += run;
        if (space) {
            buf_append(buf, meta, n);
            i++;
        }
    }
}

static enum status run_metaspace(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    const struct pretoken_stage *stage = &run->pretoken->stages[stage_idx];
    struct buf *buf = &run->scratch->written[stage_idx];
    const char *text = run->text + start;
    char meta[4];
    size_t n = (size_t)utf8_encode(stage->cp, meta), len = end - start, written = 0;
    size_t origin = start < run->origin ? run->origin - start : 0;
    bool has = text[0] == ' ' || (len >= n && memcmp(text, meta, n) == 0);
    bool prepend = !has && (stage->prepend == PRETOKEN_ALWAYS ||
                            (stage->prepend == PRETOKEN_FIRST && origin > 0));
    buf_clear(buf);
    for (int copy = 0; copy < 1 + (run->looked != run->text); copy++) {
        if (prepend)
            buf_append(buf, meta, n);
        write_metaspace(buf, (copy ? run->looked : run->text) + start, len, meta, n);
        written = copy ? written : buf->len;
    }
    if (origin)
        origin += prepend ? n : text[0] == ' ' ? n - 1 : 0;
    return run_written(run, stage_idx, written, origin, stage->split ? split_chars : NULL);
}

/* ByteLevel: a space in front, the split, the alphabet. With a split the alphabet has to wait, so
 * that stage is two: see pretoken_load.c. */
static enum status run_bytes(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    const struct pretoken_stage *stage = &run->pretoken->stages[stage_idx];
    struct buf *buf = &run->scratch->written[stage_idx];
    size_t origin = start < run->origin ? run->origin - start : 0, len = end - start + 1;
    if (stage->alphabet) {
        buf_clear(buf);
        origin = MIN(origin, end - start);
        byte_alphabet_write((struct str){run->text + start, origin}, buf);
        start += origin;
        origin = buf->len;
        byte_alphabet_write((struct str){run->text + start, end - start}, buf);
        return run_written(run, stage_idx, buf->len, origin, NULL);
    }
    if (stage->prepend == PRETOKEN_NEVER || run->text[start] == ' ')
        return stage->split ? split_regex(run, stage_idx, start, end)
                            : run_stage(run, stage_idx + 1, start, end);
    buf_clear(buf);
    buf_char(buf, ' ');
    buf_append(buf, run->text + start, len - 1);
    buf_char(buf, ' ');
    buf_append(buf, run->looked + start, len - 1);
    return run_written(run, stage_idx, len, origin ? origin + 1 : 0,
                       stage->split ? split_regex : NULL);
}

/* ---- the run ----------------------------------------------------------------------------------- */

static enum status run_stage(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    if (start == end)
        return STATUS_OK;
    if (stage_idx == run->pretoken->stage_count) {
        run->emit(run->ctx, run->text + start, end - start);
        return STATUS_OK;
    }
    switch (run->pretoken->stages[stage_idx].kind) {
    case PRETOKEN_REGEX:
        return split_regex(run, stage_idx, start, end);
    case PRETOKEN_CHARS:
        return split_chars(run, stage_idx, start, end);
    case PRETOKEN_WORDS:
        return split_words(run, stage_idx, start, end);
    case PRETOKEN_FIXED:
        return split_fixed(run, stage_idx, start, end);
    case PRETOKEN_METASPACE:
        return run_metaspace(run, stage_idx, start, end);
    case PRETOKEN_BYTES:
        break;
    }
    return run_bytes(run, stage_idx, start, end);
}

enum status pretoken_split(const struct pretoken *pretoken, struct pretoken_scratch *scratch,
                           struct str text, size_t origin, pretoken_emit emit, void *ctx,
                           struct err *err)
{
    struct run run = {pretoken, scratch, text.data, text.data, origin, emit, ctx, err};
    run.looked = unicode_stand_in(text, &scratch->stand_in);
    return run_stage(&run, 0, 0, text.len);
}
