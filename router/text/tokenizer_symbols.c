#include "router/text/tokenizer_symbols.h"

#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/utf8.h"

static uint32_t find(const struct vocab *vocab, const char *text, size_t len)
{
    return vocab_find_bytes(vocab, text, len, hash_bytes(text, len));
}

void symbols_init(struct symbols *symbols, const struct vocab *vocab)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8], c = (char)byte;
        snprintf(name, sizeof(name), "<0x%02X>", byte);
        symbols->byte_ids[byte] = find(vocab, name, 6);
        if (byte < 128)
            symbols->ascii_ids[byte] = find(vocab, &c, 1);
    }
}

size_t symbols_max(const struct symbols *symbols, size_t len)
{
    return len * (1 + symbols->prefix_len) + symbols->suffix_len + 1;
}

/* The symbols of one character with its affixes: its own, or its bytes'. 0: it is unknown. */
static size_t symbols_of_char(const struct symbols *symbols, const struct vocab *vocab,
                              struct str text, bool *fallback, uint32_t *out)
{
    bool ascii = text.len == 1 && (unsigned char)text.data[0] < 128;
    *out =
        ascii ? symbols->ascii_ids[(unsigned char)text.data[0]] : find(vocab, text.data, text.len);
    *fallback = *out == VOCAB_NONE;
    if (*out != VOCAB_NONE)
        return 1;
    for (size_t i = 0; symbols->byte_fallback && i < text.len; i++) {
        out[i] = symbols->byte_ids[(unsigned char)text.data[i]];
        if (out[i] == VOCAB_NONE)
            return 0;
    }
    return symbols->byte_fallback ? text.len : 0;
}

size_t symbols_of(const struct symbols *symbols, const struct vocab *vocab, const char *word,
                  size_t len, uint32_t *out)
{
    size_t count = 0;
    bool unknown = false; /* an unk waits; as in the package, bytes of a fallback overtake it */
    for (size_t i = 0; i < len;) {
        char text[2 * SYMBOLS_AFFIX_MAX + 4];
        uint32_t cp, found[2 * SYMBOLS_AFFIX_MAX + 4];
        size_t n = (size_t)utf8_decode(word + i, len - i, &cp), used = 0, got;
        bool fallback;
        if (i > 0 && symbols->prefix_len) {
            memcpy(text, symbols->prefix, symbols->prefix_len);
            used = symbols->prefix_len;
        }
        memcpy(text + used, word + i, n);
        used += n;
        i += n;
        if (i == len && symbols->suffix_len) {
            memcpy(text + used, symbols->suffix, symbols->suffix_len);
            used += symbols->suffix_len;
        }
        got = symbols_of_char(symbols, vocab, (struct str){text, used}, &fallback, found);
        if (unknown && ((got && !fallback) || (!got && !symbols->fuse_unk))) {
            out[count++] = symbols->unk_id;
            unknown = false;
        }
        memcpy(out + count, found, got * sizeof(*out));
        count += got;
        unknown |= !got && symbols->unk_id != VOCAB_NONE;
    }
    if (unknown)
        out[count++] = symbols->unk_id;
    return count;
}
