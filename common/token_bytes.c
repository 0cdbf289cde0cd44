#include "common/token_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/byte_alphabet.h"
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/utf8.h"

#define FILE_BYTES_MAX (256u << 20)
#define TOKENS_MAX     (8u << 20)
#define METASPACE      0x2581u

static size_t spell_byte_level(const char *key, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int used = utf8_decode(key + i, len - i, &cp), byte = used ? byte_alphabet_byte(cp) : -1;
        if (byte < 0) { /* a token that is spelled as it is */
            memcpy(out, key, len);
            return len;
        }
        out[n++] = (char)byte;
        i += (size_t)used;
    }
    return n;
}

static size_t spell_pieces(const char *key, size_t len, char *out)
{
    unsigned byte;
    char end;
    size_t n = 0;
    if (len == 6 && sscanf(key, "<0x%2X%c", &byte, &end) == 2 && end == '>') {
        out[0] = (char)byte;
        return 1;
    }
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int used = utf8_decode(key + i, len - i, &cp);
        if (used > 0 && cp == METASPACE) {
            out[n++] = ' ';
        } else {
            used = MAX(used, 1);
            memcpy(out + n, key + i, (size_t)used);
            n += (size_t)used;
        }
        i += (size_t)used;
    }
    return n;
}

/* The pre-tokenizer or the decoder says so, alone or in a sequence. */
static bool is_byte_level(const json_t *part)
{
    static const char *const lists[] = {"pretokenizers", "decoders"};
    const char *type = json_string_value(json_object_get(part, "type"));
    if (type && strcmp(type, "ByteLevel") == 0)
        return true;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        const json_t *list = json_object_get(part, lists[l]);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (is_byte_level(json_array_get(list, i)))
                return true;
    }
    return false;
}

static bool raise_count(struct token_bytes *out, const json_t *id)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= TOKENS_MAX)
        return false;
    out->count = MAX(out->count, (uint32_t)json_integer_value(id) + 1);
    return true;
}

/* Room for every id. */
static enum status count_tokens(const json_t *vocab, const json_t *added, struct token_bytes *out,
                                struct err *err)
{
    const char *key;
    json_t *id;
    bool fits = true;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, id)
        fits &= raise_count(out, id);
    for (size_t i = 0; i < json_array_size(added); i++)
        fits &= raise_count(out, json_object_get(json_array_get(added, i), "id"));
    if (!fits)
        return err_set(err, STATUS_CORRUPT, "tokenizer.json has a token without an id");
    out->of = mem_array(out->count, sizeof(*out->of));
    return STATUS_OK;
}

static size_t text_bytes(const json_t *vocab, const json_t *added)
{
    size_t bytes = 1;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
        bytes += strlen(key);
    for (size_t i = 0; i < json_array_size(added); i++)
        bytes += json_string_length(json_object_get(json_array_get(added, i), "content"));
    return bytes;
}

static enum status read_tokens(const json_t *root, struct token_bytes *out, struct err *err)
{
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    const json_t *added = json_object_get(root, "added_tokens");
    bool level = is_byte_level(json_object_get(root, "pre_tokenizer")) ||
                 is_byte_level(json_object_get(root, "decoder"));
    const char *key;
    json_t *value;
    if (!json_is_object(vocab))
        return err_set(err, STATUS_UNSUPPORTED, "tokenizer.json has no vocabulary of the BPE kind");
    TRY(count_tokens(vocab, added, out, err));
    char *at = out->text = mem_alloc(text_bytes(vocab, added));
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) {
        size_t len = strlen(key);
        size_t n = level ? spell_byte_level(key, len, at) : spell_pieces(key, len, at);
        out->of[json_integer_value(value)] = (struct str){at, n};
        at += n;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i), *id = json_object_get(token, "id");
        const json_t *content = json_object_get(token, "content");
        size_t len =
            json_is_true(json_object_get(token, "special")) ? 0 : json_string_length(content);
        if (len > 0)
            memcpy(at, json_string_value(content), len);
        out->of[json_integer_value(id)] = (struct str){at, len};
        at += len;
    }
    return STATUS_OK;
}

enum status token_bytes_load(const char *dir, struct token_bytes *out, struct err *err)
{
    char *path = path_join(dir, "tokenizer.json");
    json_t *root = NULL;
    memset(out, 0, sizeof(*out));
    enum status status = json_parse_file(path, FILE_BYTES_MAX, &root, err);
    if (status == STATUS_OK)
        status = read_tokens(root, out, err);
    if (status != STATUS_OK)
        token_bytes_release(out);
    json_decref(root);
    mem_free(path);
    return status;
}

void token_bytes_release(struct token_bytes *tokens)
{
    mem_free(tokens->of);
    mem_free(tokens->text);
    memset(tokens, 0, sizeof(*tokens));
}
