/* detokenizer - one choice's token ids to text as they come, never half a character.
 *
 * The concatenation of all pieces equals tokenizer_decode() of all ids. Loop thread.
 */
#ifndef MSGL_ROUTER_TEXT_DETOKENIZER_H
#define MSGL_ROUTER_TEXT_DETOKENIZER_H

#include "router/text/token_decoder.h"
#include "router/text/tokenizer.h"

#define DETOKENIZER_KEPT_MAX 5

struct detokenizer { /* zero-initialise by detokenizer_init; release */
    const struct tokenizer *tokenizer;
    bool skip_special;
    uint32_t kept[DETOKENIZER_KEPT_MAX]; /* ids that are not skipped, special or not */
    uint32_t kept_count;
    struct buf held;            /* bytes of a character whose rest may still come, at most 3 */
    struct token_stream stream; /* in its place when the tokenizer has a decoder to run */
};

void detokenizer_init(struct detokenizer *detokenizer, const struct tokenizer *tokenizer,
                      bool skip_special);
/* A token that says something to whoever reads the text, though the file calls it special. */
void detokenizer_keep(struct detokenizer *detokenizer, uint32_t id);
/* Appends the text that has become certain. */
void detokenizer_push(struct detokenizer *detokenizer, const uint32_t *ids, size_t count,
                      struct buf *out);
/* The end: what is held comes out as U+FFFD. */
void detokenizer_finish(struct detokenizer *detokenizer, struct buf *out);
void detokenizer_release(struct detokenizer *detokenizer);

#endif
