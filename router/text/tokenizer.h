/* tokenizer - BPE from a Hugging Face tokenizer.json: text to token ids and back.
 *
 *   text ─► split at added tokens ─► normalise ─► pre-tokenise ─► bytes or characters ─► merges ─► ids
 *                                                                            ─► post-process (template)
 *
 * Exactly equal to the `tokenizers` package, or refused by name when the file uses a part that is
 * unknown here. A loaded tokenizer is immutable; encode may run on any thread, each with its own
 * `struct tokenizer_scratch`. Text need not be valid UTF-8: invalid parts become U+FFFD first.
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_H
#define MSGL_ROUTER_TEXT_TOKENIZER_H

#include "common/buf.h"
#include "common/status.h"

struct tokenizer;
struct tokenizer_scratch; /* buffers, match data and the word cache of one thread */

/* Reads DIR/tokenizer.json. UNSUPPORTED names the part of the file that is not done here. */
enum status MUST_USE tokenizer_load(const char *dir, struct tokenizer **out, struct err *err);
void tokenizer_free(struct tokenizer *tokenizer);

struct tokenizer_scratch *tokenizer_scratch_new(const struct tokenizer *tokenizer);
void tokenizer_scratch_free(struct tokenizer_scratch *scratch);

struct token_list { /* zero-initialise; release with token_list_release */
    uint32_t *ids;
    size_t count, cap;
};
void token_list_push(struct token_list *list, uint32_t id);
void token_list_release(struct token_list *list);

/* Appends the ids of text. add_special: run the post-processor (BOS and such), as
 * `encode(text, add_special_tokens=True)`. Special tokens spelled out in text are recognised. */
enum status MUST_USE tokenizer_encode(const struct tokenizer *tokenizer,
                                      struct tokenizer_scratch *scratch, struct str text,
                                      bool add_special, struct token_list *out, struct err *err);

/* The bytes of one token as they appear in the middle of decoded text ("" for an unknown id).
 * skip_special drops special tokens. Borrowed from the tokenizer. */
struct str tokenizer_token_bytes(const struct tokenizer *tokenizer, uint32_t id, bool skip_special);

/* Whole decode: appends valid UTF-8 (invalid parts as U+FFFD). */
void tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                      bool skip_special, struct buf *out);

/* For the detokenizer. The decoder, or NULL: decoded text is the tokens' bytes one after the other. */
struct token_decoder;
const struct token_decoder *tokenizer_decoder(const struct tokenizer *tokenizer);
/* A token as the decoder wants it; false for an unknown id or a special token to be skipped. */
bool tokenizer_spelling(const struct tokenizer *tokenizer, uint32_t id, bool skip_special,
                        struct str *token);

uint32_t tokenizer_vocab_size(const struct tokenizer *tokenizer); /* 1 + highest id */
bool tokenizer_find(const struct tokenizer *tokenizer, struct str token, uint32_t *id);
uint64_t tokenizer_hash(const struct tokenizer *tokenizer); /* hash_bytes(tokenizer.json) */

#endif
