/* token_decoder - the "decoder" of a tokenizer.json: tokens back to text, as they come.
 *
 *   "▁caf" "<0xC3>" "<0xA9>" "▁" ─Replace─► " caf" "<0xC3>" "<0xA9>" " " ─ByteFallback─► " caf" "é" " "
 *                                 ─Fuse─► " café " ─Strip─► "café "
 *
 * Steps work on tokens up to Fuse or ByteLevel, behind it on one text that comes in parts. What a step
 * cannot know yet it holds back: ByteFallback the run of bytes (one bad byte spoils them all), Strip
 * the characters that may be the last, Replace the start of a pattern. So what came out stays true
 * and all of it together is what the `tokenizers` package decodes from all tokens at once.
 */
#ifndef MSGL_ROUTER_TEXT_TOKEN_DECODER_H
#define MSGL_ROUTER_TEXT_TOKEN_DECODER_H

#include "common/json.h"
#include "router/text/regex.h"

#define TOKEN_DECODER_STEPS_MAX 8

enum token_decoder_kind {
    DECODER_REPLACE,
    DECODER_BYTE_FALLBACK,
    DECODER_BYTE_LEVEL,
    DECODER_FUSE,
    DECODER_STRIP,
    DECODER_METASPACE,
    DECODER_BPE,       /* a suffix ends a word */
    DECODER_WORDPIECE, /* a prefix goes on with a word */
    DECODER_SPACES,    /* no decoder in the file: tokens are joined by spaces */
};

struct token_decoder_step {
    enum token_decoder_kind kind;
    bool fused;         /* works on one text, not on tokens */
    char *pattern;      /* REPLACE: plain text, NULL: the regex; BPE: suffix; WORDPIECE: prefix */
    char *text;         /* REPLACE: by what */
    struct regex regex; /* REPLACE */
    uint32_t cp;        /* STRIP, METASPACE */
    size_t start, stop; /* STRIP: at most so many at each end */
    bool first;         /* METASPACE: drop it from the first token */
    bool cleanup;       /* WORDPIECE */
};

struct token_decoder {
    struct token_decoder_step steps[TOKEN_DECODER_STEPS_MAX];
    size_t count;
    bool plain; /* ByteLevel and nothing else that matters: tokens are bytes */
};

struct token_stream_step {
    struct buf held, work;
    size_t seen; /* tokens; STRIP on a text: characters taken from its front */
    bool begun;  /* BPE: a token is held; STRIP: the front is done */
};

struct token_stream { /* init; release */
    const struct token_decoder *decoder;
    struct token_stream_step steps[TOKEN_DECODER_STEPS_MAX];
    struct regex_scratch regex;
    bool regex_ready;
    struct buf *out;
};

/* Reads the file's "decoder". UNSUPPORTED names what is not known here. On failure
 * token_decoder_release() is still the caller's. */
enum status MUST_USE token_decoder_load(const json_t *json, struct token_decoder *decoder,
                                        struct err *err);
void token_decoder_release(struct token_decoder *decoder);

void token_stream_init(struct token_stream *stream, const struct token_decoder *decoder);
/* Appends the text that has become certain with this token, as it is spelled in the vocabulary. */
void token_stream_push(struct token_stream *stream, struct str token, struct buf *out);
void token_stream_finish(struct token_stream *stream, struct buf *out);
void token_stream_release(struct token_stream *stream);

/* Appends what the token says in the middle of a text: bytes, which need not be whole characters. */
void token_decoder_piece(const struct token_decoder *decoder, struct str token, struct buf *out);

#endif
