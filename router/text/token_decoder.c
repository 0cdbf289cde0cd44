#include "router/text/token_decoder.h"

#include <stdlib.h>
#include <string.h>

#include "common/byte_alphabet.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "router/text/tokenizer_unicode.h"

#define REPLACEMENT "\xef\xbf\xbd"

static void feed(struct token_stream *stream, size_t at, struct str piece);

void token_decoder_release(struct token_decoder *decoder)
{
    for (size_t i = 0; i < decoder->count; i++) {
        mem_free(decoder->steps[i].pattern);
        mem_free(decoder->steps[i].text);
        regex_release(&decoder->steps[i].regex);
    }
    decoder->count = 0;
}

void token_stream_init(struct token_stream *stream, const struct token_decoder *decoder)
{
    memset(stream, 0, sizeof(*stream));
    stream->decoder = decoder;
}

void token_stream_release(struct token_stream *stream)
{
    for (size_t i = 0; i < ARRAY_LEN(stream->steps); i++) {
        buf_release(&stream->steps[i].held);
        buf_release(&stream->steps[i].work);
    }
    if (stream->regex_ready)
        regex_scratch_release(&stream->regex);
    stream->regex_ready = false;
}

static struct str str_of(const struct buf *buf)
{
    return (struct str){buf->data ? buf->data : "", buf->len};
}

static size_t char_before(struct str text, size_t end)
{
    while (end > 0 && ((unsigned char)text.data[--end] & 0xc0) == 0x80)
        ;
    return end;
}

/* ---- bytes ------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "<0x41>" is the byte 0x41; so, to the package, is "<0x+1>" a 1. Anything else is -1. */
static int fallback_byte(struct str token)
{
    int high, low;
    if (token.len != 6 || memcmp(token.data, "<0x", 3) != 0 || token.data[5] != '>')
        return -1;
    high = token.data[3] == '+' ? 0 : hex_digit(token.data[3]);
    low = hex_digit(token.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void flush_bytes(struct token_stream *stream, size_t at)
{
    struct buf *held = &stream->steps[at].held;
    if (held->len == 0)
        return;
    if (utf8_valid(held->data, held->len)) {
        feed(stream, at + 1, str_of(held));
    } else {
        for (size_t i = 0; i < held->len; i++)
            feed(stream, at + 1, STR(REPLACEMENT));
    }
    buf_clear(held);
}

static void feed_fallback(struct token_stream *stream, size_t at, struct str token)
{
    int byte = fallback_byte(token);
    if (byte >= 0) {
        buf_char(&stream->steps[at].held, (char)byte);
        return;
    }
    flush_bytes(stream, at);
    feed(stream, at + 1, token);
}

/* Passes on what is certain of the bytes held; the cut is in front of a first byte. */
static void pass_bytes(struct token_stream *stream, size_t at, bool all)
{
    struct token_stream_step *state = &stream->steps[at];
    size_t certain = state->held.len;
    if (!all)
        certain -= utf8_incomplete_tail(state->held.data, state->held.len);
    if (certain == 0)
        return;
    buf_clear(&state->work);
    utf8_append_lossy(&state->work, state->held.data, certain);
    buf_consume(&state->held, certain);
    feed(stream, at + 1, str_of(&state->work));
}

static void feed_byte_level(struct token_stream *stream, size_t at, struct str token)
{
    struct buf *held = &stream->steps[at].held;
    if (!byte_alphabet_read(token, held))
        buf_append(held, token.data, token.len);
    if (held->len)
        pass_bytes(stream, at, false);
}

/* ---- replace ----------------------------------------------------------------------------------- */

static void replace_regex(struct token_stream *stream, const struct token_decoder_step *step,
                          struct str token, struct buf *out)
{
    struct regex_walk walk = {.regex = &step->regex, .scratch = &stream->regex};
    struct buf stand_in = {0};
    struct err err = {0};
    size_t from = 0;
    bool found = true;
    if (!stream->regex_ready)
        regex_scratch_init(&stream->regex);
    stream->regex_ready = true;
    walk.subject = (struct str){unicode_stand_in(token, &stand_in), token.len};
    while (found) {
        enum status status = regex_next(&walk, &found, &err);
        found &= status == STATUS_OK; /* a token too complex to match stays as it is */
        if (!found)
            break;
        buf_append(out, token.data + from, walk.start - from);
        buf_str(out, step->text);
        from = walk.end;
    }
    buf_append(out, token.data + from, token.len - from);
    buf_release(&stand_in);
}

/* Appends text with the pattern replaced. Returns how many bytes at its end were kept back since a
 * match may start there; 0 if `whole`. */
static size_t replace_text(struct str text, const char *pattern, const char *by, bool whole,
                           struct buf *out)
{
    size_t len = strlen(pattern), from = 0, keep = 0;
    const char *hit;
    while ((hit = memmem(text.data + from, text.len - from, pattern, len))) {
        buf_append(out, text.data + from, (size_t)(hit - text.data) - from);
        buf_str(out, by);
        from = (size_t)(hit - text.data) + len;
    }
    for (size_t n = MIN(len - 1, text.len - from); !whole && n > 0 && keep == 0; n--) {
        if (memcmp(text.data + text.len - n, pattern, n) == 0)
            keep = n;
    }
    buf_append(out, text.data + from, text.len - from - keep);
    return keep;
}

static void feed_replace(struct token_stream *stream, size_t at, struct str token)
{
    const struct token_decoder_step *step = &stream->decoder->steps[at];
    struct token_stream_step *state = &stream->steps[at];
    size_t keep;
    buf_clear(&state->work);
    if (step->fused) {
        buf_append(&state->held, token.data, token.len);
        keep = replace_text(str_of(&state->held), step->pattern, step->text, false, &state->work);
        buf_consume(&state->held, state->held.len - keep);
        if (state->work.len == 0)
            return;
    } else if (step->pattern) {
        replace_text(token, step->pattern, step->text, true, &state->work);
    } else {
        replace_regex(stream, step, token, &state->work);
    }
    feed(stream, at + 1, str_of(&state->work));
}

/* ---- strip ------------------------------------------------------------------------------------- */

static bool is_char(struct str text, size_t at, uint32_t wanted, size_t *len)
{
    uint32_t cp;
    *len = (size_t)utf8_decode(text.data + at, text.len - at, &cp);
    return *len && cp == wanted;
}

/* How many bytes at the front are to go; *left is how many characters may, and is counted down. */
static size_t strip_front(struct str text, uint32_t cp, size_t *left)
{
    size_t at = 0, n;
    while (at < text.len && *left && is_char(text, at, cp, &n)) {
        at += n;
        --*left;
    }
    return at;
}

/* Where the last `stop` characters cp at the end begin. */
static size_t strip_back(struct str text, uint32_t cp, size_t stop)
{
    size_t end = text.len, n;
    while (end > 0 && stop--) {
        size_t before = char_before(text, end);
        if (!is_char(text, before, cp, &n))
            break;
        end = before;
    }
    return end;
}

static void feed_strip(struct token_stream *stream, size_t at, struct str token)
{
    const struct token_decoder_step *step = &stream->decoder->steps[at];
    struct token_stream_step *state = &stream->steps[at];
    size_t left = step->start - state->seen, front, end;
    if (!step->fused) {
        left = step->start;
        front = strip_front(token, step->cp, &left);
        end = MAX(front, strip_back(token, step->cp, step->stop));
        feed(stream, at + 1, (struct str){token.data + front, end - front});
        return;
    }
    if (!state->begun) {
        front = strip_front(token, step->cp, &left);
        state->seen = step->start - left;
        state->begun = left == 0 || front < token.len;
        token = (struct str){token.data + front, token.len - front};
    }
    if (token.len == 0)
        return;
    buf_append(&state->held, token.data, token.len);
    end = strip_back(str_of(&state->held), step->cp, step->stop);
    if (end == 0)
        return;
    buf_clear(&state->work);
    buf_append(&state->work, state->held.data, end);
    buf_consume(&state->held, end);
    feed(stream, at + 1, str_of(&state->work));
}

/* ---- words ------------------------------------------------------------------------------------- */

static void feed_metaspace(struct token_stream *stream, size_t at, struct str token)
{
    const struct token_decoder_step *step = &stream->decoder->steps[at];
    struct token_stream_step *state = &stream->steps[at];
    bool drop = state->seen == 0 && step->first;
    char meta[5] = "";
    utf8_encode(step->cp, meta);
    if (!step->fused)
        state->seen++;
    buf_clear(&state->work);
    replace_text(token, meta, drop ? "" : " ", true, &state->work);
    feed(stream, at + 1, str_of(&state->work));
}

static void flush_bpe(struct token_stream *stream, size_t at, const char *by)
{
    struct token_stream_step *state = &stream->steps[at];
    if (!state->begun)
        return;
    buf_clear(&state->work);
    replace_text(str_of(&state->held), stream->decoder->steps[at].pattern, by, true, &state->work);
    feed(stream, at + 1, str_of(&state->work));
}

static void feed_bpe(struct token_stream *stream, size_t at, struct str token)
{
    struct token_stream_step *state = &stream->steps[at];
    flush_bpe(stream, at, " ");
    buf_clear(&state->held);
    buf_append(&state->held, token.data, token.len);
    state->begun = true;
}

/* Takes the spaces away that stand before punctuation and English short forms. */
static void cleanup(struct buf *text, struct buf *work)
{
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        buf_clear(work);
        replace_text(str_of(text), pairs[i][0], pairs[i][1], true, work);
        buf_clear(text);
        buf_append(text, work->data, work->len);
    }
}

static void feed_wordpiece(struct token_stream *stream, size_t at, struct str token)
{
    const struct token_decoder_step *step = &stream->decoder->steps[at];
    struct token_stream_step *state = &stream->steps[at];
    size_t len = strlen(step->pattern);
    buf_clear(&state->work);
    if (state->seen++ > 0) {
        if (token.len >= len && memcmp(token.data, step->pattern, len) == 0)
            token = (struct str){token.data + len, token.len - len};
        else
            buf_char(&state->work, ' ');
    }
    buf_append(&state->work, token.data, token.len);
    if (step->cleanup)
        cleanup(&state->work, &state->held);
    feed(stream, at + 1, str_of(&state->work));
}

/* ---- the chain --------------------------------------------------------------------------------- */

static void feed(struct token_stream *stream, size_t at, struct str piece)
{
    if (at == stream->decoder->count) {
        buf_append(stream->out, piece.data, piece.len);
        return;
    }
    switch (stream->decoder->steps[at].kind) {
    case DECODER_REPLACE:
        feed_replace(stream, at, piece);
        break;
    case DECODER_BYTE_FALLBACK:
        feed_fallback(stream, at, piece);
        break;
    case DECODER_BYTE_LEVEL:
        feed_byte_level(stream, at, piece);
        break;
    case DECODER_FUSE:
        if (piece.len)
            feed(stream, at + 1, piece);
        break;
    case DECODER_STRIP:
        feed_strip(stream, at, piece);
        break;
    case DECODER_METASPACE:
        feed_metaspace(stream, at, piece);
        break;
    case DECODER_BPE:
        feed_bpe(stream, at, piece);
        break;
    case DECODER_WORDPIECE:
        feed_wordpiece(stream, at, piece);
        break;
    case DECODER_SPACES:
        if (stream->steps[at].seen++ > 0)
            feed(stream, at + 1, STR(" "));
        feed(stream, at + 1, piece);
        break;
    }
}

void token_stream_push(struct token_stream *stream, struct str token, struct buf *out)
{
    stream->out = out;
    feed(stream, 0, token);
}

/* From the front: what a step lets go may be what the next one waits for. */
void token_stream_finish(struct token_stream *stream, struct buf *out)
{
    stream->out = out;
    for (size_t at = 0; at < stream->decoder->count; at++) {
        const struct token_decoder_step *step = &stream->decoder->steps[at];
        struct buf *held = &stream->steps[at].held;
        if (step->kind == DECODER_BYTE_FALLBACK)
            flush_bytes(stream, at);
        else if (step->kind == DECODER_BYTE_LEVEL)
            pass_bytes(stream, at, true);
        else if (step->kind == DECODER_BPE)
            flush_bpe(stream, at, "");
        else if (step->kind == DECODER_REPLACE && step->fused && held->len)
            feed(stream, at + 1, str_of(held));
    }
}

void token_decoder_piece(const struct token_decoder *decoder, struct str token, struct buf *out)
{
    struct token_stream stream;
    int byte;
    token_stream_init(&stream, decoder);
    stream.out = out;
    for (size_t at = 0; at < decoder->count; at++) {
        const struct token_decoder_step *step = &decoder->steps[at];
        stream.steps[at].seen = step->fused ? step->start : 1;
        stream.steps[at].begun = step->fused;
        byte = step->kind == DECODER_BYTE_FALLBACK ? fallback_byte(token) : -1;
        if (byte >= 0) {
            buf_char(out, (char)byte);
            token_stream_release(&stream);
            return;
        }
    }
    feed(&stream, 0, token);
    for (size_t at = 0; at < decoder->count; at++) {
        const struct token_decoder_step *step = &decoder->steps[at];
        struct buf *held = &stream.steps[at].held;
        if (step->kind == DECODER_BPE)
            flush_bpe(&stream, at, " ");
        else if (held->len && step->kind != DECODER_WORDPIECE)
            buf_append(out, held->data, held->len);
    }
    token_stream_release(&stream);
}
