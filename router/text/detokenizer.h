/* detokenizer - one choice's token ids to text as they come, never half a character.
 *
 * The concatenation of all pieces equals tokenizer_decode() of all ids. Loop thread.
 */
#ifndef MSGL_ROUTER_TEXT_DETOKENIZER_H
#define MSGL_ROUTER_TEXT_DETOKENIZER_H

#include "router/text/token_decoder.h"
#include "router/text/tokenizer.h"

struct detokenizer { /* zero-initialise by detokenizer_init; release */
    const struct tokenizer *tokenizer;
    bool skip_special;
    struct buf held;            /* bytes of a character whose rest may still come, at most 3 */
    struct token_stream stream; /* in its place when the tokenizer has a decoder to run */
};

void detokenizer_init(struct detokenizer *detokenizer, const struct tokenizer *tokenizer,
                      bool skip_special);
/* Appends the text that has become certain. */
void detokenizer_push(struct detokenizer *detokenizer, const uint32_t *ids, size_t count,
                      struct buf *out);
/* The end: what is held comes out as U+FFFD. */
void detokenizer_finish(struct detokenizer *detokenizer, struct buf *out);
void detokenizer_release(struct detokenizer *detokenizer);

#endif
