/* hash - XXH3-64, and the page hash that router and worker compute alike.
 *
 *   root      = page_hash_root(fingerprint, namespace)
 *   hash(i)   = page_hash_next(hash(i - 1), tokens of page i)
 *
 * Hashes only route. Whoever shares pages compares namespace and token ids. Any thread.
 */
#ifndef MSGL_COMMON_HASH_H
#define MSGL_COMMON_HASH_H

#include "common/base.h"

uint64_t hash_bytes(const void *data, size_t len);
uint64_t hash_bytes_seeded(const void *data, size_t len, uint64_t seed);

/* Seed of a model's chains. `namespace_hash` is 0 for the common namespace. */
uint64_t page_hash_root(uint64_t fingerprint, uint64_t namespace_hash);

/* XXH3-64 of the page's little-endian u32 token ids, seeded with the parent's hash. */
uint64_t page_hash_next(uint64_t parent, const uint32_t *tokens, size_t page_size);

/* Model fingerprint = XXH3-64 of config.json's bytes, seeded with that of tokenizer.json. */
uint64_t model_fingerprint(const void *config, size_t config_len, const void *tokenizer,
                           size_t tokenizer_len);

#endif
