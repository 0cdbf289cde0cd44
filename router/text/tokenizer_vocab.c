#include "router/text/tokenizer_vocab.h"

#include <string.h>

#include "common/byte_alphabet.h"
#include "common/hash.h"
#include "common/mem.h"
#include "common/utf8.h"

#define RAW_SEED 1

void vocab_release(struct vocab *vocab)
{
    buf_release(&vocab->text);
    mem_free(vocab->tokens);
    mem_free(vocab->slots);
    mem_free(vocab->spellings);
    memset(vocab, 0, sizeof(*vocab));
}

/* Writes what `key` stands for to out (room for key.len bytes); returns its flags. */
static uint32_t key_to_bytes(const struct vocab *vocab, struct str key, char *out, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; vocab->bytes && i < key.len;) {
        uint32_t cp;
        int used = utf8_decode(key.data + i, key.len - i, &cp);
        int byte = used ? byte_alphabet_byte(cp) : -1;
        if (byte < 0) {
            memcpy(out, key.data, key.len);
            *len = key.len;
            return VOCAB_RAW;
        }
        out[n++] = (char)byte;
        i += (size_t)used;
    }
    if (!vocab->bytes)
        memcpy(out, key.data, n = key.len);
    *len = n;
    return 0;
}

static uint64_t hash_of(const char *data, size_t len, uint32_t raw)
{
    return raw ? hash_bytes_seeded(data, len, RAW_SEED) : hash_bytes(data, len);
}

/* The slot that holds the bytes, or the empty one where they would go. */
static uint32_t find_slot(const struct vocab *vocab, const char *data, size_t len, uint32_t raw,
                          uint64_t hash)
{
    uint32_t mask = vocab->slot_cap - 1, i = (uint32_t)hash & mask;
    for (; vocab->slots[i]; i = (i + 1) & mask) {
        const struct vocab_token *t = &vocab->tokens[vocab->slots[i] - 1];
        if (t->len == len && (t->flags & VOCAB_RAW) == raw &&
            memcmp(vocab->text.data + t->at, data, len) == 0)
            break;
    }
    return i;
}

static void grow_slots(struct vocab *vocab)
{
    mem_free(vocab->slots);
    vocab->slot_cap = vocab->slot_cap ? vocab->slot_cap * 2 : 1024;
    vocab->slots = mem_array(vocab->slot_cap, sizeof(*vocab->slots));
    for (uint32_t id = 0; id < vocab->id_count; id++) {
        const struct vocab_token *t = &vocab->tokens[id];
        const char *data = vocab->text.data + t->at;
        uint32_t raw = t->flags & VOCAB_RAW;
        if (t->flags & VOCAB_PRESENT)
            vocab->slots[find_slot(vocab, data, t->len, raw, hash_of(data, t->len, raw))] = id + 1;
    }
}

static void grow_ids(struct vocab *vocab, uint32_t id)
{
    if (id >= vocab->id_cap) {
        uint32_t cap = vocab->id_cap ? vocab->id_cap : 1024;
        while (cap <= id)
            cap *= 2;
        vocab->tokens = mem_realloc(vocab->tokens, cap * sizeof(*vocab->tokens));
        memset(vocab->tokens + vocab->id_cap, 0, (cap - vocab->id_cap) * sizeof(*vocab->tokens));
        vocab->id_cap = cap;
    }
    vocab->id_count = MAX(vocab->id_count, id + 1);
}

enum status vocab_add(struct vocab *vocab, struct str key, uint32_t id, struct err *err)
{
    struct vocab_token *token;
    uint32_t slot, flags;
    char *data;
    size_t len;

    if (id >= VOCAB_IDS_MAX)
        return err_set(err, STATUS_INVALID, "token id %u is above the limit of %u", id,
                       VOCAB_IDS_MAX - 1);
    if (vocab->text.len + key.len > UINT32_MAX / 2)
        return err_set(err, STATUS_TOO_LARGE, "the vocabulary's text is larger than 2 GiB");
    if (vocab->slot_cap / 2 <= vocab->count)
        grow_slots(vocab);
    buf_reserve(&vocab->text, key.len);
    data = vocab->text.data + vocab->text.len;
    flags = key_to_bytes(vocab, key, data, &len);
    slot = find_slot(vocab, data, len, flags, hash_of(data, len, flags));
    if (vocab->slots[slot])
        return err_set(err, STATUS_INVALID, "token \"%.*s\" is in the vocabulary twice",
                       (int)MIN(key.len, (size_t)60), key.data);
    grow_ids(vocab, id);
    token = &vocab->tokens[id];
    if (token->flags & VOCAB_PRESENT)
        return err_set(err, STATUS_INVALID, "two tokens have the id %u", id);
    *token = (struct vocab_token){(uint32_t)vocab->text.len, (uint32_t)len, flags | VOCAB_PRESENT};
    vocab->text.len += len;
    vocab->slots[slot] = id + 1;
    vocab->count++;
    return STATUS_OK;
}

uint32_t vocab_find_key(const struct vocab *vocab, struct str key)
{
    char small[256], *data = key.len <= sizeof(small) ? small : mem_alloc(key.len);
    uint32_t flags, id = VOCAB_NONE;
    size_t len;
    if (vocab->slot_cap) {
        flags = key_to_bytes(vocab, key, data, &len);
        id = vocab->slots[find_slot(vocab, data, len, flags, hash_of(data, len, flags))] - 1;
    }
    if (data != small)
        mem_free(data);
    return id; /* an empty slot, 0, has become VOCAB_NONE */
}

uint32_t vocab_find_bytes(const struct vocab *vocab, const char *data, size_t len, uint64_t hash)
{
    uint32_t id =
        vocab->slot_cap ? vocab->slots[find_slot(vocab, data, len, 0, hash)] - 1 : VOCAB_NONE;
    return id != VOCAB_NONE && vocab->tokens[id].flags & VOCAB_ADDED ? VOCAB_NONE : id;
}

void vocab_respell(struct vocab *vocab, uint32_t id, struct str key)
{
    struct vocab_spelling *spelling;
    uint32_t count = vocab->spelling_count++;
    size_t len;
    vocab->spellings = mem_realloc(vocab->spellings, (count + 1) * sizeof(*vocab->spellings));
    spelling = &vocab->spellings[count];
    buf_reserve(&vocab->text, key.len);
    key_to_bytes(vocab, key, vocab->text.data + vocab->text.len, &len);
    *spelling = (struct vocab_spelling){id, (uint32_t)vocab->text.len, (uint32_t)len};
    vocab->text.len += len;
    vocab->tokens[id].flags |= VOCAB_RESPELLED;
}

struct str vocab_spelling(const struct vocab *vocab, uint32_t id)
{
    for (uint32_t i = vocab->spelling_count;
         vocab->tokens[id].flags & VOCAB_RESPELLED && i-- > 0;) {
        const struct vocab_spelling *spelling = &vocab->spellings[i];
        if (spelling->id == id)
            return (struct str){vocab->text.data + spelling->at, spelling->len};
    }
    return vocab_bytes(vocab, id);
}
