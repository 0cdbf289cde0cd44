#include "proto/frames.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "token ids go to the wire as they lie in memory: little-endian hosts only"
#endif

void token_view_copy(struct token_view view, uint32_t *out)
{
    if (view.count)
        memcpy(out, view.data, (size_t)view.count * sizeof(*out));
}

struct token_view token_view_of(const uint32_t *tokens, uint32_t count)
{
    return (struct token_view){(const unsigned char *)tokens, count};
}

uint64_t page_run_hash(const struct page_run *run, uint32_t i)
{
    uint64_t hash;
    CHECK(i < run->count);
    memcpy(&hash, run->hashes + (size_t)i * sizeof(hash), sizeof(hash));
    return hash;
}
