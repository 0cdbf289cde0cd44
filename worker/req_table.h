/* req_table - the reqs that this worker holds, by their name on the wire.
 *
 *   buckets: hash(epoch, call, choice) ─► entry ─► entry       attempts of one choice share a
 * bucket entries: [ entry | entry | free | … ]                       an entry's index is the
 * scheduler's `user` link->reqs: list of the entries that came over a link
 *
 * An entry lives from GENERATE to its end event. When its link's session has ended, `link` is NULL
 * and nobody is told about the rest. Sized at init. Loop thread.
 */
#ifndef MSGL_WORKER_REQ_TABLE_H
#define MSGL_WORKER_REQ_TABLE_H

#include "common/list.h"
#include "proto/frames.h"

struct link;

#define REQ_HELD_MAX 32

struct req_entry {
    struct req_key key;
    struct link *link;  /* NULL: nobody waits for it */
    struct list node;   /* in link->reqs */
    uint64_t sched_req; /* the scheduler's handle */
    uint32_t grammar;   /* the engine's number for it; 0 = none */
    uint32_t next;      /* in its bucket, or in the free list */
    bool live;
    uint64_t arrived_ms,
        first_ms; /* first_ms: of the first token that went out here, 0 = none yet */
    uint32_t cached_tokens;
    char request_id[PROTO_REQUEST_ID_BYTES_MAX + 1]; /* "-" when the router sent none */
    char trace_id[33];
    bool answered;                   /* an item was sent */
    uint32_t held_first, held_count; /* tokens that wait to be sent, and the first one's number */
    uint32_t held[REQ_HELD_MAX];
};

struct req_table {
    struct req_entry *entries;
    uint32_t *buckets; /* power of two */
    uint32_t cap, bucket_mask, free_head, count;
};

#define REQ_NONE UINT32_MAX

void req_table_init(struct req_table *table, uint32_t cap);
void req_table_release(struct req_table *table);

/* NULL when the table is full. The entry is in no link's list yet. */
struct req_entry *req_table_add(struct req_table *table, const struct req_key *key);
void req_table_remove(struct req_table *table,
                      struct req_entry *entry); /* also from its link's list */

struct req_entry *req_table_find(const struct req_table *table, const struct req_key *key);
/* The newest attempt of the key's choice, whatever the key's attempt; NULL when there is none. */
struct req_entry *req_table_newest(const struct req_table *table, const struct req_key *key);

static inline uint32_t req_table_index(const struct req_table *table, const struct req_entry *entry)
{
    return (uint32_t)(entry - table->entries);
}

#endif
