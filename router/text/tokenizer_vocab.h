/* tokenizer_vocab - ids to bytes and bytes to ids.
 *
 * Byte-level files (`bytes`) write every byte as one printable character ("Ġ" is the space). A key
 * made of such characters only is kept as its bytes; any other key (added tokens with a real space,
 * say) is RAW and kept as its own UTF-8. The two kinds never meet in the index. The keys of other
 * files are kept as they are.
 *
 *   text:   [ t | h | e |   | t | h | e | … ]           all tokens' bytes, back to back
 *   tokens: [ {at, len, flags} ]                          by id; gaps have no VOCAB_PRESENT
 *   slots:  [ id + 1 | 0 | id + 1 | … ]                   open addressing over the bytes
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_VOCAB_H
#define MSGL_ROUTER_TEXT_TOKENIZER_VOCAB_H

#include "common/buf.h"
#include "common/status.h"

#define VOCAB_IDS_MAX (1u << 22)
#define VOCAB_NONE    UINT32_MAX

enum vocab_flag {
    VOCAB_PRESENT = 1,
    VOCAB_RAW = 2,       /* the key is outside the byte alphabet */
    VOCAB_SPECIAL = 4,   /* dropped by skip_special */
    VOCAB_RESPELLED = 8, /* decoded as something else than its key */
    VOCAB_ADDED = 16,    /* not the model's: no word is it */
};

struct vocab_token {
    uint32_t at, len, flags;
};

struct vocab_spelling {
    uint32_t id, at, len;
};

struct vocab {
    bool bytes; /* set before the first vocab_add: keys are written in the byte alphabet */
    struct buf text;
    struct vocab_token *tokens;
    uint32_t id_count; /* 1 + highest id */
    uint32_t id_cap;
    uint32_t count; /* tokens present */
    uint32_t *slots;
    uint32_t slot_cap;                /* power of two */
    struct vocab_spelling *spellings; /* few: added tokens that the normalizer changes */
    uint32_t spelling_count;
};

void vocab_release(struct vocab *vocab);

/* INVALID when the id or the key is there already, or the id is out of bounds. */
enum status MUST_USE vocab_add(struct vocab *vocab, struct str key, uint32_t id, struct err *err);

/* The id of a key as it is written in the file, or VOCAB_NONE. */
uint32_t vocab_find_key(const struct vocab *vocab, struct str key);

/* The model's token of these bytes, made from the byte alphabet if the vocabulary is. `hash` is
 * hash_bytes(data, len). */
uint32_t vocab_find_bytes(const struct vocab *vocab, const char *data, size_t len, uint64_t hash);

/* Decodes `id` as `key`, written as keys are, from now on. */
void vocab_respell(struct vocab *vocab, uint32_t id, struct str key);
/* What a token that is present is decoded as. */
struct str vocab_spelling(const struct vocab *vocab, uint32_t id);

static inline struct str vocab_bytes(const struct vocab *vocab, uint32_t id)
{
    return (struct str){vocab->text.data + vocab->tokens[id].at, vocab->tokens[id].len};
}

#endif
