/* token_bytes - what each token id adds to the text, in bytes, read from tokenizer.json: for whoever
 * has tokens and needs to know what they spell, without being able to encode.
 *
 * Byte-level vocabularies (GPT-2's alphabet) and SentencePiece's (U+2581 is a space, <0xHH> a byte)
 * are known. Special tokens spell nothing here: a grammar must not be fed with them.
 */
#ifndef MSGL_COMMON_TOKEN_BYTES_H
#define MSGL_COMMON_TOKEN_BYTES_H

#include "common/buf.h"
#include "common/status.h"

struct token_bytes { /* release */
    struct str *of;  /* [count]; empty: spells nothing, or no such token */
    uint32_t count;
    char *text; /* what `of` points into */
};

/* Reads DIR/tokenizer.json. */
enum status MUST_USE token_bytes_load(const char *dir, struct token_bytes *out, struct err *err);
void token_bytes_release(struct token_bytes *tokens); /* safe on a zeroed struct */

#endif
