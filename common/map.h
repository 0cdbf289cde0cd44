/* map - hash map from u64 to u64 (or a pointer), open addressing with linear probing.
 *
 *   slots: [ key | value ] [ empty ] [ key | value ] …     power-of-two count, at most 3/4 full;
 *   removal shifts the following run back, so there are no tombstones.
 *
 * Any key is allowed. Pointers returned by map_get stay valid until the next put or remove.
 * Not thread-safe.
 */
#ifndef MSGL_COMMON_MAP_H
#define MSGL_COMMON_MAP_H

#include "common/base.h"

struct map_slot {
    uint64_t key;
    uint64_t value;
};
struct map {
    struct map_slot *slots;
    uint8_t *used; /* one byte a slot */
    size_t cap;    /* power of two, or 0 */
    size_t count;
};

void map_init(struct map *map);
void map_reserve(struct map *map, size_t count);        /* no allocation until `count` entries */
uint64_t *map_get(const struct map *map, uint64_t key); /* NULL when absent */
bool map_put(struct map *map, uint64_t key, uint64_t value); /* true when the key is new */
bool map_remove(struct map *map, uint64_t key);              /* true when it was there */
void map_clear(struct map *map);
void map_release(struct map *map);

/* Walks all entries: start with *cursor = 0; false at the end. No put or remove meanwhile. */
bool map_next(const struct map *map, size_t *cursor, uint64_t *key, uint64_t *value);

static inline void *map_get_ptr(const struct map *map, uint64_t key)
{
    uint64_t *value = map_get(map, key);
    return value ? (void *)(uintptr_t)*value : NULL;
}

static inline bool map_put_ptr(struct map *map, uint64_t key, void *ptr)
{
    return map_put(map, key, (uint64_t)(uintptr_t)ptr);
}

#endif
