/* The entries that a killed process left: whatever they say, the tree made of them is sound, holds what
 * its entries say, and is the same when it is made again.
 * Input: how many entries, 6 bytes each (page, parent, namespace, two tokens, what is wrong with it);
 * then bytes of the table that differ: offset, high and low, and value. */
#include "common/hash.h"
#include "tests/fuzz/input.h"

#define PAGES       32u
#define SIZE        2u
#define FINGERPRINT 9u
#include "tests/worker/sched/mirror_world.h"

enum wrong { WRONG_SUM = 1, WRONG_DATA = 2, WRONG_HASH = 4, WRONG_STATE = 8, WRONG_PARENT = 16 };

static void put_entry(struct world *w, struct input *in)
{
    uint32_t page = input_byte(in) % PAGES, parent = input_byte(in);
    uint64_t namespace_hash = input_byte(in) % 4;
    uint32_t tokens[SIZE];
    tokens[0] = input_byte(in);
    tokens[1] = input_byte(in);
    uint8_t wrong = input_byte(in);
    bool root = parent >= PAGES;
    uint64_t above =
        root ? page_hash_root(FINGERPRINT, namespace_hash) : mirror_entry(&w->mirror, parent)->hash;
    uint64_t hash = page_hash_next(above, tokens, SIZE) + (wrong & WRONG_HASH);
    w->data[page] = hash * 3;
    mirror_put(&w->mirror, page, root && !(wrong & WRONG_PARENT) ? PAGE_NONE : parent,
               namespace_hash, hash, tokens, tokens[0]);
    w->data[page] += wrong & WRONG_DATA;
    mirror_entry(&w->mirror, page)->sum += wrong & WRONG_SUM;
    mirror_entry(&w->mirror, page)->state += wrong & WRONG_STATE;
}

/* The page's path in the tree is the one that its entry tells. */
static void check_path(const struct world *w, uint32_t page)
{
    uint32_t tokens[PAGES * SIZE], depth = 0;
    uint64_t hashes[PAGES];
    for (uint32_t at = page; at != PAGE_NONE; at = mirror_entry(&w->mirror, at)->parent)
        CHECK(++depth <= PAGES);
    uint64_t namespace_hash = mirror_entry(&w->mirror, page)->namespace_hash;
    for (uint32_t i = depth; i-- > 0; page = mirror_entry(&w->mirror, page)->parent) {
        CHECK(mirror_entry(&w->mirror, page)->namespace_hash == namespace_hash);
        memcpy(tokens + i * SIZE, mirror_entry(&w->mirror, page)->tokens, SIZE * sizeof(*tokens));
        hashes[i] = mirror_entry(&w->mirror, page)->hash;
    }
    CHECK(radix_match(&w->radix, namespace_hash, tokens, hashes, depth) == depth);
}

static void restore(struct world *w, const struct world *from)
{
    struct err err = {.text = ""};
    world_init(w, from);
    mirror_restore(&w->mirror, &w->radix, PAGES);
    CHECK(radix_check(&w->radix, &err) && pages_check(&w->pages, &err));
    CHECK(w->pages.req_count == 0 && w->mirror.restored == w->pages.tree_count);
    for (uint32_t page = 0; page < PAGES; page++) {
        bool held = w->pages.owner[page] == PAGE_TREE;
        CHECK(mirror_entry(&w->mirror, page)->state == (held ? MIRROR_VALID : MIRROR_EMPTY));
        if (held)
            check_path(w, page);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    struct world was, is, again;
    size_t bytes = mirror_entry_bytes(SIZE) * PAGES;
    world_init(&was, NULL);
    for (uint32_t count = input_byte(&in) % 64; count > 0; count--)
        put_entry(&was, &in);
    while (in.left >= 3) {
        size_t at = (size_t)input_byte(&in) << 8;
        at |= input_byte(&in);
        ((uint8_t *)was.mirror.entries)[at % bytes] = input_byte(&in);
    }
    restore(&is, &was);
    restore(&again, &is);
    CHECK(again.mirror.restored == is.mirror.restored && again.mirror.dropped == 0);
    CHECK(memcmp(is.pages.owner, again.pages.owner, PAGES) == 0);
    radix_evict(&is.radix, PAGES);
    for (uint32_t page = 0; page < PAGES; page++)
        CHECK(mirror_entry(&is.mirror, page)->state == MIRROR_EMPTY);
    world_release(&was);
    world_release(&is);
    world_release(&again);
    return 0;
}
