/* tokenizer_symbols - a word that is text (not bytes) to the symbols that merging starts from.
 *
 *   "▁né" ─► "▁"  "n"  "é"            each character that the vocabulary has
 *         ─► "▁"  "n"  <0xC3> <0xA9>   byte fallback: "é" is not there, its bytes are
 *         ─► "▁"  "n"  <unk>           neither is
 *
 * Characters may be looked up with a prefix (all but the first) and a suffix (the last).
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_SYMBOLS_H
#define MSGL_ROUTER_TEXT_TOKENIZER_SYMBOLS_H

#include "router/text/tokenizer_vocab.h"

#define SYMBOLS_AFFIX_MAX 16

struct symbols {
    bool byte_fallback, fuse_unk;
    uint32_t byte_ids[256]; /* "<0x00>" …; VOCAB_NONE: not there */
    uint32_t ascii_ids[128];
    uint32_t unk_id; /* VOCAB_NONE: unknown characters vanish */
    char prefix[SYMBOLS_AFFIX_MAX + 1], suffix[SYMBOLS_AFFIX_MAX + 1];
    size_t prefix_len, suffix_len;
};

/* Looks the bytes and ASCII up; the flags, affixes and unk_id are the caller's. */
void symbols_init(struct symbols *symbols, const struct vocab *vocab);

/* How many symbols a word of so many bytes may have. */
size_t symbols_max(const struct symbols *symbols, size_t len);

/* Writes the symbols of word (valid UTF-8); returns how many. */
size_t symbols_of(const struct symbols *symbols, const struct vocab *vocab, const char *word,
                  size_t len, uint32_t *out);

#endif
