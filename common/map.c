#include "common/map.h"

#include <string.h>

#include "common/mem.h"

static size_t slot_of(const struct map *map, uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    key ^= key >> 29;
    return (size_t)key & (map->cap - 1);
}

static size_t find(const struct map *map, uint64_t key)
{
    size_t i = slot_of(map, key);
    while (map->used[i] && map->slots[i].key != key)
        i = (i + 1) & (map->cap - 1);
    return i;
}

static void grow(struct map *map, size_t cap)
{
    struct map old = *map;
    map->slots = mem_array(cap, sizeof(*map->slots));
    map->used = mem_array(cap, 1);
    map->cap = cap;
    for (size_t i = 0; i < old.cap; i++) {
        if (old.used[i]) {
            size_t at = find(map, old.slots[i].key);
            map->slots[at] = old.slots[i];
            map->used[at] = 1;
        }
    }
    mem_free(old.slots);
    mem_free(old.used);
}

void map_init(struct map *map)
{
    memset(map, 0, sizeof(*map));
}

void map_reserve(struct map *map, size_t count)
{
    size_t cap = MAX(map->cap, (size_t)16);
    while (cap / 4 * 3 < count)
        cap *= 2;
    if (cap > map->cap)
        grow(map, cap);
}

uint64_t *map_get(const struct map *map, uint64_t key)
{
    size_t i;
    if (!map->cap)
        return NULL;
    i = find(map, key);
    return map->used[i] ? &map->slots[i].value : NULL;
}

bool map_put(struct map *map, uint64_t key, uint64_t value)
{
    size_t i;
    bool is_new;
    map_reserve(map, map->count + 1);
    i = find(map, key);
    is_new = !map->used[i];
    map->count += is_new;
    map->used[i] = 1;
    map->slots[i] = (struct map_slot){key, value};
    return is_new;
}

bool map_remove(struct map *map, uint64_t key)
{
    size_t hole, i;
    if (!map->cap)
        return false;
    hole = find(map, key);
    if (!map->used[hole])
        return false;
    i = hole;
    for (;;) { /* shift back every entry whose home is not after the hole */
        size_t home;
        i = (i + 1) & (map->cap - 1);
        if (!map->used[i])
            break;
        home = slot_of(map, map->slots[i].key);
        if (((i - home) & (map->cap - 1)) >= ((i - hole) & (map->cap - 1))) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->used[hole] = 0;
    map->count--;
    return true;
}

void map_clear(struct map *map)
{
    if (map->cap)
        memset(map->used, 0, map->cap);
    map->count = 0;
}

void map_release(struct map *map)
{
    mem_free(map->slots);
    mem_free(map->used);
    map_init(map);
}

bool map_next(const struct map *map, size_t *cursor, uint64_t *key, uint64_t *value)
{
    for (; *cursor < map->cap; ++*cursor) {
        if (map->used[*cursor]) {
            *key = map->slots[*cursor].key;
            *value = map->slots[*cursor].value;
            ++*cursor;
            return true;
        }
    }
    return false;
}
