#include "router/pretoken.h"

#include <string.h>

#include "common/utf8.h"
#include "router/tokenizer_unicode.h"

#define MATCH_LIMIT 1000000000u
#define JIT_STACK_BYTES_MAX (16u << 20)

/* One run of pretoken_split. `looked` is what regexes look at, `text` what words are cut from: same
 * length, same boundaries (see unicode_stand_in). */
struct run {
    const struct pretoken *pretoken;
    struct pretoken_scratch *scratch;
    const char *looked, *text;
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
        pcre2_code_free(pretoken->stages[i].regex);
    pretoken->stage_count = 0;
}

void pretoken_scratch_init(struct pretoken_scratch *scratch)
{
    memset(scratch, 0, sizeof(*scratch));
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    CHECK(scratch->match && scratch->context);
    pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
    scratch->stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_BYTES_MAX, NULL);
    if (scratch->stack)
        pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
}

void pretoken_scratch_release(struct pretoken_scratch *scratch)
{
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    if (scratch->stack)
        pcre2_jit_stack_free(scratch->stack);
    buf_release(&scratch->stand_in);
    buf_release(&scratch->prefixed);
}

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

/* The next match at or behind `from` in the subject; *found false at its end. */
static enum status next_match(struct run *run, const struct pretoken_stage *stage, struct str subject,
                              size_t from, bool *found, size_t match[2])
{
    struct pretoken_scratch *s = run->scratch;
    PCRE2_SPTR text = (PCRE2_SPTR)subject.data;
    int rc;
    if (stage->jit)
        rc = pcre2_jit_match(stage->regex, text, subject.len, from, 0, s->match, s->context);
    else
        rc = pcre2_match(stage->regex, text, subject.len, from, PCRE2_NO_UTF_CHECK, s->match,
                         s->context);
    *found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
        match[0] = at[0];
        match[1] = at[1];
        return STATUS_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return STATUS_OK;
    return err_set(run->err, STATUS_INVALID,
                   "the text is too complex for the pre-tokenizer's regex (PCRE2 error %d)", rc);
}

static size_t char_len(const char *at, size_t left)
{
    uint32_t cp;
    return left ? (size_t)utf8_decode(at, left, &cp) : 1;
}

static enum status split_regex(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    const struct pretoken_stage *stage = &run->pretoken->stages[stage_idx];
    struct joiner joiner = {.run = run, .stage = stage_idx};
    struct str subject = {run->looked + start, end - start};
    size_t gap = 0, from = 0; /* end of the last match; where to search on */
    while (from <= subject.len) {
        size_t match[2];
        bool found;
        TRY(next_match(run, stage, subject, from, &found, match));
        if (!found)
            break;
        from = match[1];
        if (match[0] == match[1]) {
            from += char_len(subject.data + from, subject.len - from);
            if (match[0] == gap && gap > 0) /* an empty match right behind a match is none */
                continue;
        }
        if (match[0] > gap)
            TRY(joiner_add(&joiner, start + gap, start + match[0], false));
        TRY(joiner_add(&joiner, start + match[0], start + match[1], true));
        gap = match[1];
    }
    if (gap < subject.len)
        TRY(joiner_add(&joiner, start + gap, end, false));
    return joiner.have ? joiner_flush(&joiner) : STATUS_OK;
}

static enum status split_digits(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    struct joiner joiner = {.run = run, .stage = stage_idx};
    size_t gap = start;
    for (size_t i = start; i < end;) {
        uint32_t cp;
        size_t n = 1;
        if ((unsigned char)run->text[i] < 0x80)
            cp = (unsigned char)run->text[i];
        else
            n = (size_t)utf8_decode(run->text + i, end - i, &cp);
        if (unicode_numeric_char(cp)) {
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

/* ByteLevel's add_prefix_space changes the slice: the rest of the stages runs on a copy. */
static enum status with_prefix_space(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    struct buf *buf = &run->scratch->prefixed;
    struct run inner = *run;
    size_t len = end - start + 1;
    buf_clear(buf);
    buf_char(buf, ' ');
    buf_append(buf, run->text + start, len - 1);
    buf_char(buf, ' ');
    buf_append(buf, run->looked + start, len - 1);
    inner.text = buf->data;
    inner.looked = buf->data + len;
    return run->pretoken->stages[stage_idx].regex ? split_regex(&inner, stage_idx, 0, len)
                                                  : run_stage(&inner, stage_idx + 1, 0, len);
}

static enum status run_stage(struct run *run, size_t stage_idx, size_t start, size_t end)
{
    const struct pretoken_stage *stage;
    if (start == end)
        return STATUS_OK;
    if (stage_idx == run->pretoken->stage_count) {
        run->emit(run->ctx, run->text + start, end - start);
        return STATUS_OK;
    }
    stage = &run->pretoken->stages[stage_idx];
    if (stage->kind == PRETOKEN_DIGITS)
        return split_digits(run, stage_idx, start, end);
    if (stage->prefix_space && run->text[start] != ' ')
        return with_prefix_space(run, stage_idx, start, end);
    return stage->regex ? split_regex(run, stage_idx, start, end)
                        : run_stage(run, stage_idx + 1, start, end);
}

enum status pretoken_split(const struct pretoken *pretoken, struct pretoken_scratch *scratch,
                           struct str text, pretoken_emit emit, void *ctx, struct err *err)
{
    struct run run = {pretoken, scratch, text.data, text.data, emit, ctx, err};
    run.looked = unicode_stand_in(text, &scratch->stand_in);
    return run_stage(&run, 0, 0, text.len);
}
