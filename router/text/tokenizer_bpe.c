#include "router/text/tokenizer_bpe.h"

#include <string.h>

#include "common/mem.h"

#define SCAN_MAX 64 /* words of at most this many symbols are scanned, not heaped */
#define END      UINT32_MAX

void bpe_init(struct bpe *bpe, size_t merge_count)
{
    bpe->slot_cap = 16;
    while (bpe->slot_cap / 2 < merge_count)
        bpe->slot_cap *= 2;
    bpe->slots = mem_alloc(bpe->slot_cap * sizeof(*bpe->slots));
    memset(bpe->slots, 0xff, bpe->slot_cap * sizeof(*bpe->slots));
    memset(bpe->byte_ids, 0xff, sizeof(bpe->byte_ids));
    bpe->unk_id = BPE_NONE;
}

void bpe_release(struct bpe *bpe)
{
    mem_free(bpe->slots);
    bpe->slots = NULL;
}

static inline struct bpe_merge *find(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right, hash = pair * 0x9e3779b97f4a7c15u;
    uint32_t mask = bpe->slot_cap - 1, i = (uint32_t)(hash >> 32) & mask;
    while (bpe->slots[i].pair != pair && bpe->slots[i].pair != UINT64_MAX)
        i = (i + 1) & mask;
    return &bpe->slots[i];
}

void bpe_put(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    *find(bpe, left, right) = (struct bpe_merge){(uint64_t)left << 32 | right, rank, id};
}

void bpe_scratch_release(struct bpe_scratch *scratch)
{
    mem_free(scratch->nodes);
    mem_free(scratch->heap);
    memset(scratch, 0, sizeof(*scratch));
}

/* ---- short words: arrays, the best pair by scanning -------------------------------------------- */

static size_t merge_short(const struct bpe *bpe, uint32_t *ids, size_t count)
{
    uint32_t ranks[SCAN_MAX], merged[SCAN_MAX];
    for (size_t i = 0; i + 1 < count; i++) {
        const struct bpe_merge *m = find(bpe, ids[i], ids[i + 1]);
        ranks[i] = m->rank; /* of an empty slot: BPE_NONE */
        merged[i] = m->id;
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++) {
            if (ranks[i] < ranks[best])
                best = i;
        }
        if (ranks[best] == BPE_NONE)
            break;
        ids[best] = merged[best];
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof(*ids));
        memmove(ranks + best, ranks + best + 1, (count - best - 1) * sizeof(*ranks));
        memmove(merged + best, merged + best + 1, (count - best - 1) * sizeof(*merged));
        if (best + 1 < count) {
            const struct bpe_merge *m = find(bpe, ids[best], ids[best + 1]);
            ranks[best] = m->rank;
            merged[best] = m->id;
        }
        if (best > 0) {
            const struct bpe_merge *m = find(bpe, ids[best - 1], ids[best]);
            ranks[best - 1] = m->rank;
            merged[best - 1] = m->id;
        }
    }
    return count;
}

/* ---- long words: a linked list and a heap of pairs --------------------------------------------- */

static void heap_push(struct bpe_scratch *scratch, uint64_t item)
{
    size_t i = scratch->heap_count++;
    if (i == scratch->heap_cap) {
        scratch->heap_cap = scratch->heap_cap ? scratch->heap_cap * 2 : 256;
        scratch->heap = mem_realloc(scratch->heap, scratch->heap_cap * sizeof(*scratch->heap));
    }
    for (; i > 0 && scratch->heap[(i - 1) / 2] > item; i = (i - 1) / 2)
        scratch->heap[i] = scratch->heap[(i - 1) / 2];
    scratch->heap[i] = item;
}

static void heap_sink(uint64_t *heap, size_t count, size_t i)
{
    uint64_t item = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= item)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = item;
}

static uint64_t heap_pop(struct bpe_scratch *scratch)
{
    uint64_t top = scratch->heap[0];
    scratch->heap[0] = scratch->heap[--scratch->heap_count];
    if (scratch->heap_count > 1)
        heap_sink(scratch->heap, scratch->heap_count, 0);
    return top;
}

/* Looks the pair (at, its next) up again. */
static void rate(const struct bpe *bpe, struct bpe_node *nodes, uint32_t at)
{
    struct bpe_node *node = &nodes[at];
    const struct bpe_merge *m;
    if (node->next == END) {
        node->rank = BPE_NONE;
        return;
    }
    m = find(bpe, node->id, nodes[node->next].id);
    node->rank = m->rank;
    node->merged = m->id;
}

static void heap_build(const struct bpe *bpe, struct bpe_scratch *scratch, uint32_t count)
{
    struct bpe_node *nodes = scratch->nodes;
    if (scratch->heap_cap < count) {
        mem_free(scratch->heap);
        scratch->heap_cap = count;
        scratch->heap = mem_alloc(count * sizeof(*scratch->heap));
    }
    scratch->heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        rate(bpe, nodes, i);
        if (nodes[i].rank != BPE_NONE)
            scratch->heap[scratch->heap_count++] = (uint64_t)nodes[i].rank << 32 | i;
    }
    for (size_t i = scratch->heap_count / 2; i-- > 0;)
        heap_sink(scratch->heap, scratch->heap_count, i);
}

static size_t merge_long(const struct bpe *bpe, struct bpe_scratch *scratch, uint32_t *ids,
                         size_t count)
{
    struct bpe_node *nodes;
    size_t kept = 0;
    if (scratch->node_cap < count) {
        mem_free(scratch->nodes);
        scratch->node_cap = count;
        scratch->nodes = mem_alloc(count * sizeof(*nodes));
    }
    nodes = scratch->nodes;
    for (uint32_t i = 0; i < count; i++)
        nodes[i] =
            (struct bpe_node){ids[i], i ? i - 1 : END, i + 1 < count ? i + 1 : END, BPE_NONE, 0};
    heap_build(bpe, scratch, (uint32_t)count);
    while (scratch->heap_count) {
        uint64_t top = heap_pop(scratch);
        uint32_t at = (uint32_t)top;
        struct bpe_node *node = &nodes[at], *right;
        if (node->rank != top >> 32)
            continue; /* stale: a neighbour was merged since, or this node is gone */
        right = &nodes[node->next];
        node->id = node->merged;
        node->next = right->next;
        right->rank = BPE_NONE;
        if (node->next != END)
            nodes[node->next].prev = at;
        rate(bpe, nodes, at);
        if (node->rank != BPE_NONE)
            heap_push(scratch, (uint64_t)node->rank << 32 | at);
        if (node->prev != END) {
            rate(bpe, nodes, node->prev);
            if (nodes[node->prev].rank != BPE_NONE)
                heap_push(scratch, (uint64_t)nodes[node->prev].rank << 32 | node->prev);
        }
    }
    for (uint32_t i = 0; i != END; i = nodes[i].next)
        ids[kept++] = nodes[i].id;
    return kept;
}

size_t bpe_merge_all(const struct bpe *bpe, struct bpe_scratch *scratch, uint32_t *ids,
                     size_t count)
{
    if (count < 2)
        return count;
    return count <= SCAN_MAX ? merge_short(bpe, ids, count) : merge_long(bpe, scratch, ids, count);
}

size_t bpe_word(const struct bpe *bpe, struct bpe_scratch *scratch, const char *word, size_t len,
                uint32_t *out)
{
    size_t count = 0;
    bool unknown = false; /* the symbol before was unknown */
    for (size_t i = 0; i < len; i++) {
        uint32_t id = bpe->byte_ids[(unsigned char)word[i]];
        if (id != BPE_NONE)
            out[count++] = id;
        else if (bpe->unk_id != BPE_NONE && !(bpe->fuse_unk && unknown))
            out[count++] = bpe->unk_id;
        unknown = id == BPE_NONE;
    }
    return bpe_merge_all(bpe, scratch, out, count);
}
