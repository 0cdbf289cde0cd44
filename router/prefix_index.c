#include "router/prefix_index.h"

#include <string.h>

#include "common/mem.h"

#define PREFETCH_PAGES 8

static size_t home_of(const struct prefix_block *block, uint64_t hash)
{
    /* Page hashes are XXH3 values, but a hostile worker may send any: mix again. */
    hash ^= hash >> 31;
    hash *= 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 20) & (block->cap - 1);
}

static struct prefix_slot *slot_find(const struct prefix_block *block, uint64_t hash)
{
    size_t i = home_of(block, hash);
    while (block->slots[i].workers != 0 && block->slots[i].hash != hash)
        i = (i + 1) & (block->cap - 1);
    return &block->slots[i];
}

static uint64_t block_get(const struct prefix_block *block, uint64_t hash)
{
    return block->cap == 0 ? 0 : slot_find(block, hash)->workers;
}

static void block_grow(struct prefix_block *block)
{
    struct prefix_block old = *block;
    block->cap = MAX(old.cap * 2, (size_t)64);
    block->slots = mem_array(block->cap, sizeof(*block->slots));
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].workers != 0)
            *slot_find(block, old.slots[i].hash) = old.slots[i];
    }
    mem_free(old.slots);
}

/* Empties slot i and shifts the run behind it back, so that probing needs no tombstones. */
static void slot_clear(struct prefix_block *block, size_t i)
{
    size_t hole = i;
    for (size_t j = (i + 1) & (block->cap - 1); block->slots[j].workers != 0;
         j = (j + 1) & (block->cap - 1)) {
        size_t home = home_of(block, block->slots[j].hash);
        if (((j - home) & (block->cap - 1)) >= ((j - hole) & (block->cap - 1))) {
            block->slots[hole] = block->slots[j];
            hole = j;
        }
    }
    block->slots[hole].workers = 0;
    block->count--;
}

void prefix_index_init(struct prefix_index *index)
{
    memset(index, 0, sizeof(*index));
    map_init(&index->expected);
    index->page_counts = mem_array(PREFIX_WORKERS_MAX, sizeof(*index->page_counts));
}

void prefix_index_release(struct prefix_index *index)
{
    for (size_t b = 0; b < PREFIX_BLOCKS_MAX; b++)
        mem_free(index->blocks[b].slots);
    mem_free(index->page_counts);
    map_release(&index->expected);
    memset(index, 0, sizeof(*index));
}

void prefix_index_add(struct prefix_index *index, uint32_t worker, uint64_t hash)
{
    CHECK(worker < PREFIX_WORKERS_MAX);
    struct prefix_block *block = &index->blocks[worker / PREFIX_BLOCK_WORKERS];
    uint64_t bit = (uint64_t)1 << (worker % PREFIX_BLOCK_WORKERS);
    if (block->count + 1 > block->cap / 4 * 3)
        block_grow(block);
    struct prefix_slot *slot = slot_find(block, hash);
    if (slot->workers & bit)
        return;
    if (slot->workers == 0) {
        slot->hash = hash;
        block->count++;
    }
    slot->workers |= bit;
    index->page_counts[worker]++;
}

void prefix_index_remove(struct prefix_index *index, uint32_t worker, uint64_t hash)
{
    CHECK(worker < PREFIX_WORKERS_MAX);
    struct prefix_block *block = &index->blocks[worker / PREFIX_BLOCK_WORKERS];
    uint64_t bit = (uint64_t)1 << (worker % PREFIX_BLOCK_WORKERS);
    if (block->cap == 0)
        return;
    struct prefix_slot *slot = slot_find(block, hash);
    if (!(slot->workers & bit))
        return;
    if (slot->workers == bit)
        slot_clear(block, (size_t)(slot - block->slots));
    else
        slot->workers &= ~bit;
    index->page_counts[worker]--;
}

uint64_t prefix_index_holders(const struct prefix_index *index, size_t block, uint64_t hash)
{
    return block_get(&index->blocks[block], hash);
}

bool prefix_index_held(const struct prefix_index *index, uint64_t hash)
{
    for (size_t b = 0; b < PREFIX_BLOCKS_MAX; b++)
        if (block_get(&index->blocks[b], hash) != 0)
            return true;
    return false;
}

void prefix_index_drop_worker(struct prefix_index *index, uint32_t worker,
                              void (*gone)(void *ctx, uint64_t hash), void *ctx)
{
    CHECK(worker < PREFIX_WORKERS_MAX);
    if (index->page_counts[worker] == 0)
        return;
    struct prefix_block *block = &index->blocks[worker / PREFIX_BLOCK_WORKERS];
    uint64_t bit = (uint64_t)1 << (worker % PREFIX_BLOCK_WORKERS);
    for (size_t i = 0; i < block->cap; i++) {
        /* Clearing may shift another slot to i: look again. */
        while (block->slots[i].workers == bit) {
            uint64_t hash = block->slots[i].hash;
            slot_clear(block, i);
            if (gone && !prefix_index_held(index, hash))
                gone(ctx, hash);
        }
        block->slots[i].workers &= ~bit;
    }
    index->page_counts[worker] = 0;
}

static uint64_t expected_key(uint64_t hash, uint32_t worker)
{
    return hash ^ ((uint64_t)(worker + 1) * 0xd6e8feb86659fd93u);
}

void prefix_index_expect(struct prefix_index *index, uint32_t worker, const uint64_t *hashes,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t key = expected_key(hashes[i], worker);
        uint64_t *streams = map_get(&index->expected, key);
        if (streams)
            ++*streams;
        else
            map_put(&index->expected, key, 1);
    }
}

void prefix_index_unexpect(struct prefix_index *index, uint32_t worker, const uint64_t *hashes,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t key = expected_key(hashes[i], worker);
        uint64_t *streams = map_get(&index->expected, key);
        CHECK(streams && *streams > 0);
        if (--*streams == 0)
            map_remove(&index->expected, key);
    }
}

/* Where each worker's chain of reported pages stops: depth[w], for the workers of one block. One
 * look-up a page serves all of them. */
static void block_depths(const struct prefix_block *block, const uint64_t *hashes, size_t count,
                         uint32_t depth[PREFIX_BLOCK_WORKERS])
{
    uint64_t alive = ~(uint64_t)0;
    size_t page = 0;
    memset(depth, 0, PREFIX_BLOCK_WORKERS * sizeof(*depth));
    for (; page < count && alive != 0; page++) {
        /* A slot is a cache miss of its own: ask for it in time. */
        if (block->cap > 0 && page + PREFETCH_PAGES < count)
            __builtin_prefetch(&block->slots[home_of(block, hashes[page + PREFETCH_PAGES])]);
        uint64_t lost = alive & ~block_get(block, hashes[page]);
        alive &= ~lost;
        for (; lost != 0; lost &= lost - 1)
            depth[__builtin_ctzll(lost)] = (uint32_t)page;
    }
    for (; alive != 0; alive &= alive - 1)
        depth[__builtin_ctzll(alive)] = (uint32_t)page;
}

/* Goes on from a chain of reported pages through expected ones. */
static void match_extend(const struct prefix_index *index, const uint64_t *hashes, size_t count,
                         uint32_t worker, struct prefix_match *match)
{
    const struct prefix_block *block = &index->blocks[worker / PREFIX_BLOCK_WORKERS];
    uint64_t bit = (uint64_t)1 << (worker % PREFIX_BLOCK_WORKERS);
    for (; match->pages < count; match->pages++) {
        uint64_t hash = hashes[match->pages];
        if (block_get(block, hash) & bit)
            continue;
        if (!map_get(&index->expected, expected_key(hash, worker)))
            break;
        match->expected++;
    }
}

void prefix_index_match(const struct prefix_index *index, const uint64_t *hashes, size_t count,
                        const uint32_t *workers, size_t worker_count, struct prefix_match *out)
{
    uint32_t depth[PREFIX_BLOCK_WORKERS];
    uint32_t block = PREFIX_BLOCKS_MAX; /* the one that depth is of */
    for (size_t i = 0; i < worker_count; i++) {
        uint32_t worker = workers[i];
        CHECK(worker < PREFIX_WORKERS_MAX);
        if (block != worker / PREFIX_BLOCK_WORKERS) {
            block = worker / PREFIX_BLOCK_WORKERS;
            block_depths(&index->blocks[block], hashes, count, depth);
        }
        out[i] = (struct prefix_match){.pages = depth[worker % PREFIX_BLOCK_WORKERS]};
        match_extend(index, hashes, count, worker, &out[i]);
    }
}

uint64_t prefix_index_pages(const struct prefix_index *index, uint32_t worker)
{
    return index->page_counts[worker];
}

uint64_t prefix_index_bytes(const struct prefix_index *index)
{
    uint64_t bytes = sizeof(*index) + PREFIX_WORKERS_MAX * sizeof(*index->page_counts);
    for (size_t b = 0; b < PREFIX_BLOCKS_MAX; b++)
        bytes += index->blocks[b].cap * sizeof(struct prefix_slot);
    return bytes + index->expected.cap * (sizeof(struct map_slot) + 1);
}
