/* kv_store - open and lock, judge the header, map. */
#include "worker/kv_store.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC        UINT64_C(0x31766b6c67736d0a) /* "\nmsglkv1" */
#define VERSION      1u                           /* of the layout: header, entries, pages */
#define HEADER_BYTES 4096u

struct header {
    uint64_t magic;
    uint32_t version, page_size, pages, pad;
    uint64_t page_bytes, fingerprint, weights;
    char kind[16];
    uint64_t sum; /* of all above */
};

static uint64_t header_sum(const struct header *header)
{
    return hash_bytes(header, offsetof(struct header, sum));
}

/* Why the file cannot be read as `want`; NULL when it can. */
static const char *why_fresh(const struct header *found, size_t found_bytes,
                             const struct header *want, size_t want_bytes)
{
    if (found_bytes == 0)
        return "new";
    if (found_bytes < HEADER_BYTES || found->magic != MAGIC || found->sum != header_sum(found))
        return "damaged or no store";
    if (found->version != want->version)
        return "another version of msgl's layout";
    if (found->fingerprint != want->fingerprint)
        return "another model";
    if (found->weights != want->weights)
        return "other weights";
    if (memcmp(found->kind, want->kind, sizeof(want->kind)) != 0)
        return "another engine";
    if (found->page_size != want->page_size || found->page_bytes != want->page_bytes)
        return "another page size";
    if (found->pages != want->pages || found_bytes != want_bytes)
        return "another size of the pool";
    return NULL;
}

enum status kv_store_open(const char *dir, struct kv_store *store, struct err *err)
{
    *store = (struct kv_store){.fd = -1};
    TRY(dir_create(dir, err));
    store->path = path_join(dir, "rank-0.kv");
    store->fd = open(store->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (store->fd < 0)
        return err_set(err, STATUS_IO, "cannot open %s for --kv-store: %s", store->path,
                       strerror(errno));
    if (flock(store->fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(err, STATUS_UNAVAILABLE,
                       "%s belongs to a worker that runs: each needs a --kv-store of its own",
                       store->path);
    struct stat st;
    if (fstat(store->fd, &st) != 0 || !S_ISREG(st.st_mode) || fchmod(store->fd, 0600) != 0)
        return err_set(err, STATUS_IO, "%s is no file of ours", store->path);
    return STATUS_OK;
}

/* Empties the file where it is not what is wanted, and takes all its blocks. */
static enum status fit(struct kv_store *store, const struct header *want, struct err *err)
{
    struct header found = {.magic = 0};
    struct stat st = {.st_size = 0};
    ssize_t got = pread(store->fd, &found, sizeof(found), 0);
    if (got < 0 || fstat(store->fd, &st) != 0)
        return err_set(err, STATUS_IO, "cannot read %s: %s", store->path, strerror(errno));
    store->fresh = why_fresh(&found, (size_t)st.st_size, want, store->bytes);
    if (store->fresh && ftruncate(store->fd, 0) != 0)
        return err_set(err, STATUS_IO, "cannot empty %s: %s", store->path, strerror(errno));
    int error = posix_fallocate(store->fd, 0, (off_t)store->bytes);
    if (error == 0)
        return STATUS_OK;
    if (store->fresh && ftruncate(store->fd, 0) != 0)
        store->fresh = "damaged or no store"; /* the next start says the same */
    return err_set(err, error == ENOSPC ? STATUS_NO_SPACE : STATUS_IO,
                   "%s needs %zu MiB for --kv-mib and its table: %s", store->path,
                   (store->bytes >> 20) + 1, strerror(error));
}

enum status kv_store_map(void *ctx, const struct engine_pool_need *need, void **out,
                         struct err *err)
{
    struct kv_store *store = ctx;
    struct header want = {.magic = MAGIC,
                          .version = VERSION,
                          .page_size = store->page_size,
                          .pages = need->pages,
                          .page_bytes = need->page_bytes,
                          .fingerprint = store->fingerprint,
                          .weights = need->weights};
    size_t entries = mirror_entry_bytes(store->page_size) * need->pages;
    size_t pool_at = HEADER_BYTES + ROUND_UP(entries, (size_t)HEADER_BYTES);

    snprintf(want.kind, sizeof(want.kind), "%s", need->kind);
    want.sum = header_sum(&want);
    store->bytes = pool_at + need->pages * need->page_bytes;
    TRY(fit(store, &want, err));
    store->map = mmap(NULL, store->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, store->fd, 0);
    if (store->map == MAP_FAILED) {
        store->map = NULL;
        return err_set(err, STATUS_IO, "cannot map %s: %s", store->path, strerror(errno));
    }
    if (store->fresh)
        memcpy(store->map, &want, sizeof(want));
    store->mirror = (struct mirror){
        .entries = store->map + HEADER_BYTES, .pages = need->pages, .page_size = store->page_size};
    *out = store->map + pool_at;
    return STATUS_OK;
}

void kv_store_close(struct kv_store *store)
{
    if (store->map)
        munmap(store->map, store->bytes);
    if (store->path && store->fd >= 0)
        close(store->fd);
    mem_free(store->path);
    *store = (struct kv_store){.fd = -1};
}
