/* tokenizer_bpe - merges the symbols of one word, bytes or characters, into tokens.
 *
 * The pair of neighbours with the lowest rank is merged first, the leftmost of equals, until no pair
 * is in the table. Short words scan for it; long ones keep the pairs in a heap, O(n log n).
 */
#ifndef MSGL_ROUTER_TEXT_TOKENIZER_BPE_H
#define MSGL_ROUTER_TEXT_TOKENIZER_BPE_H

#include "common/base.h"

#define BPE_NONE UINT32_MAX

struct bpe_merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX = empty slot */
    uint32_t rank, id;
};

struct bpe {
    struct bpe_merge *slots; /* open addressing, at most half full */
    uint32_t slot_cap;       /* power of two */
    uint32_t byte_ids[256];  /* BPE_NONE: the file has no token for this byte */
    uint32_t unk_id;         /* BPE_NONE: such bytes vanish, as in the `tokenizers` package */
    bool fuse_unk;           /* a run of unknown characters is one unk */
};

struct bpe_node { /* a symbol of the word, linked to its neighbours */
    uint32_t id, prev, next;
    uint32_t rank;   /* of the pair (this, next); BPE_NONE: not mergeable, or merged away */
    uint32_t merged; /* id of that pair */
};

struct bpe_scratch {
    struct bpe_node *nodes;
    uint64_t *heap; /* rank << 32 | node; entries whose node has another rank by now are stale */
    size_t node_cap, heap_cap, heap_count;
};

void bpe_init(struct bpe *bpe, size_t merge_count);
void bpe_release(struct bpe *bpe);
/* A later merge of the same pair replaces the earlier one. At most merge_count calls. */
void bpe_put(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);

void bpe_scratch_release(struct bpe_scratch *scratch);
/* Merges count symbols in place; returns how many are left. count < 2^31. */
size_t bpe_merge_all(const struct bpe *bpe, struct bpe_scratch *scratch, uint32_t *ids,
                     size_t count);
/* The same from a word's bytes. Writes at most `len` ids to out and returns how many. len < 2^31. */
size_t bpe_word(const struct bpe *bpe, struct bpe_scratch *scratch, const char *word, size_t len,
                uint32_t *out);

#endif
