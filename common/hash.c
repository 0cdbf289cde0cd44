#include "common/hash.h"

#include <xxhash.h>

uint64_t hash_bytes(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

uint64_t hash_bytes_seeded(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t page_hash_root(uint64_t fingerprint, uint64_t namespace_hash)
{
    return XXH3_64bits_withSeed(&namespace_hash, sizeof(namespace_hash), fingerprint);
}

uint64_t page_hash_next(uint64_t parent, const uint32_t *tokens, size_t page_size)
{
    return XXH3_64bits_withSeed(tokens, page_size * sizeof(*tokens), parent);
}

uint64_t model_fingerprint(const void *config, size_t config_len, const void *tokenizer,
                           size_t tokenizer_len)
{
    return XXH3_64bits_withSeed(config, config_len, XXH3_64bits(tokenizer, tokenizer_len));
}
