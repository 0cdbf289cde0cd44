/* kv_store - the KV pool in a file, so that cached pages outlive the process: --kv-store DIR.
 *
 *   DIR/rank-0.kv   │ header, 4 KiB │ entries of worker/sched/mirror.h │ the pool's bytes │
 *                     whose pages     what each page holds               mapped by the engine
 *
 * The engine computes in the mapping: nothing is copied, and a process that is killed leaves in the
 * kernel's hands what it wrote. The header names model, weights, layout and sizes; with others, or
 * damaged, the file starts empty. A lock keeps a second worker off. The file holds token ids and what
 * was computed from them: mode 0600. Blocks are taken at start, so a full disk is an error there and
 * not a signal later.
 *
 * open() ─► engine's open calls map() ─► mirror for the scheduler ─► close() behind both
 */
#ifndef MSGL_WORKER_KV_STORE_H
#define MSGL_WORKER_KV_STORE_H

#include "worker/engine/engine.h"
#include "worker/sched/mirror.h"

struct kv_store {
    char *path;
    int fd;
    char *map;
    size_t bytes;
    uint64_t fingerprint; /* of the model, to be set before the engine opens */
    uint32_t page_size;   /* also */
    const char *fresh;    /* why it starts empty; NULL: it does not */
    struct mirror mirror; /* all but page_sum, after map() */
};

/* Makes the folder and the file where they are missing, and locks it. UNAVAILABLE: another worker has
 * it. IO: not writable. */
enum status MUST_USE kv_store_open(const char *dir, struct kv_store *store, struct err *err);

/* For struct engine_pool; ctx is the store. NO_SPACE when the file system has no room. */
enum status MUST_USE kv_store_map(void *ctx, const struct engine_pool_need *need, void **out,
                                  struct err *err);

void kv_store_close(struct kv_store *store); /* safe on a zeroed struct */

#endif
