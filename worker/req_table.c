#include "worker/req_table.h"

#include <string.h>

#include "common/hash.h"
#include "common/mem.h"

void req_table_init(struct req_table *table, uint32_t cap)
{
    uint32_t buckets = 16;
    while (buckets < cap)
        buckets *= 2;
    *table = (struct req_table){.cap = cap, .bucket_mask = buckets - 1};
    table->entries = mem_array(cap, sizeof(*table->entries));
    table->buckets = mem_array(buckets, sizeof(*table->buckets));
    memset(table->buckets, 0xff, buckets * sizeof(*table->buckets));
    for (uint32_t i = 0; i < cap; i++)
        table->entries[i].next = i + 1 < cap ? i + 1 : REQ_NONE;
    table->free_head = cap ? 0 : REQ_NONE;
}

void req_table_release(struct req_table *table)
{
    mem_free(table->entries);
    mem_free(table->buckets);
    memset(table, 0, sizeof(*table));
}

static bool same_choice(const struct req_key *a, const struct req_key *b)
{
    return a->epoch == b->epoch && a->call == b->call && a->choice == b->choice;
}

static uint32_t *bucket_of(const struct req_table *table, const struct req_key *key)
{
    uint64_t words[3] = {key->epoch, key->call, key->choice};
    return &table->buckets[hash_bytes(words, sizeof(words)) & table->bucket_mask];
}

struct req_entry *req_table_add(struct req_table *table, const struct req_key *key)
{
    uint32_t index = table->free_head, *bucket = bucket_of(table, key);
    struct req_entry *entry;

    if (index == REQ_NONE)
        return NULL;
    entry = &table->entries[index];
    table->free_head = entry->next;
    *entry = (struct req_entry){.key = *key, .next = *bucket, .live = true};
    list_init(&entry->node);
    *bucket = index;
    table->count++;
    return entry;
}

void req_table_remove(struct req_table *table, struct req_entry *entry)
{
    uint32_t index = req_table_index(table, entry), *at = bucket_of(table, &entry->key);

    CHECK(entry->live);
    while (*at != index) {
        CHECK(*at != REQ_NONE);
        at = &table->entries[*at].next;
    }
    *at = entry->next;
    list_remove(&entry->node);
    entry->live = false;
    entry->next = table->free_head;
    table->free_head = index;
    table->count--;
}

struct req_entry *req_table_find(const struct req_table *table, const struct req_key *key)
{
    for (uint32_t i = *bucket_of(table, key); i != REQ_NONE; i = table->entries[i].next) {
        struct req_entry *entry = &table->entries[i];
        if (same_choice(&entry->key, key) && entry->key.attempt == key->attempt)
            return entry;
    }
    return NULL;
}

struct req_entry *req_table_newest(const struct req_table *table, const struct req_key *key)
{
    struct req_entry *newest = NULL;
    for (uint32_t i = *bucket_of(table, key); i != REQ_NONE; i = table->entries[i].next) {
        struct req_entry *entry = &table->entries[i];
        if (same_choice(&entry->key, key) && (!newest || entry->key.attempt > newest->key.attempt))
            newest = entry;
    }
    return newest;
}
