/* hub_fetch - one file from the hub into the cache: resumed, checked, linked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/hub_impl.h"
#include "common/mem.h"

#define TRIES_MAX   5 /* in a row without a byte */
#define PROGRESS_MS 100

/* One download in the making. */
struct fetch {
    struct hub *hub;
    const char *file;
    struct hub_meta meta;
    int fd;
    uint64_t done_bytes;
    EVP_MD_CTX *digest; /* of the done bytes; NULL = the hub names none that we know */
    const EVP_MD *kind;
    uint64_t told_ms;
    bool range_asked;
    struct err write_err; /* why a write callback gave up */
};

static bool is_hex(const char *text)
{
    return text[strspn(text, "0123456789abcdef")] == 0;
}

static const EVP_MD *digest_kind(const struct hub_meta *meta)
{
    size_t len = strlen(meta->etag);
    if (len == 64 && is_hex(meta->etag))
        return EVP_sha256();
    if (len == 40 && is_hex(meta->etag) && meta->from_hub && meta->size_known)
        return EVP_sha1(); /* git's name of a blob */
    return NULL;
}

static void digest_start(struct fetch *fetch)
{
    char prefix[32];

    if (!fetch->kind)
        return;
    CHECK(EVP_DigestInit_ex(fetch->digest, fetch->kind, NULL) == 1);
    if (fetch->kind == EVP_sha1()) {
        int len = snprintf(prefix, sizeof(prefix), "blob %" PRIu64, fetch->meta.size_bytes);
        EVP_DigestUpdate(fetch->digest, prefix, (size_t)len + 1);
    }
}

static bool digest_matches(struct fetch *fetch)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned len = 0;

    if (!fetch->kind)
        return true;
    EVP_DigestFinal_ex(fetch->digest, raw, &len);
    for (unsigned i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    return strcmp(hex, fetch->meta.etag) == 0;
}

/* Takes up what an earlier try left in the file. */
static enum status take_up(struct fetch *fetch, struct err *err)
{
    char *bytes = mem_alloc(1 << 20);
    enum status status = STATUS_OK;
    ssize_t n;

    fetch->done_bytes = 0;
    digest_start(fetch);
    lseek(fetch->fd, 0, SEEK_SET);
    while ((n = read(fetch->fd, bytes, 1 << 20)) > 0) {
        if (fetch->kind)
            EVP_DigestUpdate(fetch->digest, bytes, (size_t)n);
        fetch->done_bytes += (uint64_t)n;
    }
    if (n < 0)
        status = err_set(err, STATUS_IO, "cannot read the cache: %s", strerror(errno));
    mem_free(bytes);
    return status;
}

static enum status start_over(struct fetch *fetch, struct err *err)
{
    if (ftruncate(fetch->fd, 0) != 0)
        return err_set(err, STATUS_IO, "cannot write the cache: %s", strerror(errno));
    return take_up(fetch, err);
}

static void tell(struct fetch *fetch, bool always)
{
    uint64_t now_ms = clock_now_ms();
    if (fetch->hub->progress && (always || now_ms - fetch->told_ms >= PROGRESS_MS)) {
        fetch->told_ms = now_ms;
        fetch->hub->progress(fetch->hub->ctx, fetch->file, fetch->done_bytes,
                             fetch->meta.size_bytes);
    }
}

static enum status no_space(const struct fetch *fetch, uint64_t free_bytes, struct err *err)
{
    return err_set(
        err, STATUS_NO_SPACE,
        "the disk of %s is full: %s needs %.1f MB more and %.1f MB are free. Make room, or set "
        "HF_HOME to a folder on another disk",
        fetch->hub->folder, fetch->file,
        (double)(fetch->meta.size_bytes - MIN(fetch->done_bytes, fetch->meta.size_bytes)) / 1e6,
        (double)free_bytes / 1e6);
}

static size_t on_bytes(char *data, size_t size, size_t count, void *ctx)
{
    struct fetch *fetch = ctx;
    size_t len = size * count;
    long http = 0;

    curl_easy_getinfo(fetch->hub->easy, CURLINFO_RESPONSE_CODE, &http);
    if (fetch->range_asked && http != 206) { /* the server sends all of it again */
        fetch->range_asked = false;
        if (start_over(fetch, &fetch->write_err) != STATUS_OK)
            return 0;
    }
    if (fetch->meta.size_known && fetch->done_bytes + len > fetch->meta.size_bytes) {
        err_set(&fetch->write_err, STATUS_CORRUPT,
                "%s is longer than the %" PRIu64 " bytes announced", fetch->file,
                fetch->meta.size_bytes);
        return 0;
    }
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fetch->fd, data + at, len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno == ENOSPC || errno == EDQUOT)
                no_space(fetch, 0, &fetch->write_err);
            else
                err_set(&fetch->write_err, STATUS_IO, "cannot write the cache: %s",
                        strerror(errno));
            return 0;
        }
        at += (size_t)n;
    }
    if (fetch->kind)
        EVP_DigestUpdate(fetch->digest, data, len);
    fetch->done_bytes += len;
    tell(fetch, false);
    return len;
}

static enum status check_space(const struct fetch *fetch, struct err *err)
{
    struct statvfs fs;
    uint64_t free_bytes;

    if (fstatvfs(fetch->fd, &fs) != 0)
        return STATUS_OK;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (fetch->meta.size_known && fetch->meta.size_bytes > fetch->done_bytes &&
        fetch->meta.size_bytes - fetch->done_bytes > free_bytes)
        return no_space(fetch, free_bytes, err);
    return STATUS_OK;
}

/* One GET from where we are. AGAIN: the connection failed, another try may go on. */
static enum status get_rest(struct fetch *fetch, const char *url, struct err *err)
{
    CURL *easy = fetch->hub->easy;
    char range[32];
    CURLcode code;
    long http = 0;

    hub_prepare(fetch->hub, url);
    fetch->range_asked = fetch->done_bytes > 0;
    if (fetch->range_asked) {
        snprintf(range, sizeof(range), "%" PRIu64 "-", fetch->done_bytes);
        curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    fetch->write_err.text[0] = 0;
    code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http);
    if (fetch->write_err.text[0])
        return err_set(err, fetch->write_err.status, "%s", fetch->write_err.text);
    if (code == CURLE_OK)
        return STATUS_OK;
    if (code == CURLE_HTTP_RETURNED_ERROR && http == 416) {
        TRY(start_over(fetch, err));
        return err_set(err, STATUS_AGAIN, "the hub cannot go on in the middle of %s", fetch->file);
    }
    if (code == CURLE_HTTP_RETURNED_ERROR && http < 500 && http != 429 && http != 408)
        return hub_http_error(fetch->hub, fetch->file, http, err);
    if (code == CURLE_HTTP_RETURNED_ERROR)
        return err_set(err, STATUS_AGAIN, "%s answers HTTP %ld for %s", fetch->hub->endpoint, http,
                       fetch->file);
    return err_set(err, STATUS_AGAIN, "the download of %s broke off: %s", fetch->file,
                   curl_easy_strerror(code));
}

static void wait_before(int try)
{
    struct timespec pause = {0, 100000000L};
    for (int i = 0; i < (1 << try); i++)
        nanosleep(&pause, NULL);
}

/* Until all bytes are there. A try that brought bytes gives the next one a fresh count. */
static enum status get_all(struct fetch *fetch, const char *url, struct err *err)
{
    for (int try = 0;;) {
        uint64_t before = fetch->done_bytes;
        enum status status = STATUS_OK;

        if (!fetch->meta.size_known || fetch->done_bytes < fetch->meta.size_bytes)
            status = get_rest(fetch, url, err);
        if (status == STATUS_OK && fetch->meta.size_known &&
            fetch->done_bytes < fetch->meta.size_bytes)
            status = err_set(err, STATUS_AGAIN, "%s ended after %" PRIu64 " of %" PRIu64 " bytes",
                             fetch->file, fetch->done_bytes, fetch->meta.size_bytes);
        if (status != STATUS_AGAIN)
            return status;
        try = fetch->done_bytes > before ? 0 : try + 1;
        if (try == TRIES_MAX)
            return err_prefix(err, STATUS_IO, "gave up after %d tries (run again to go on)",
                              TRIES_MAX);
        wait_before(try);
    }
}

static enum status get_checked(struct fetch *fetch, const char *url, struct err *err)
{
    struct stat st;

    if (fstat(fetch->fd, &st) == 0 && fetch->meta.size_known &&
        (uint64_t)st.st_size > fetch->meta.size_bytes && ftruncate(fetch->fd, 0) != 0)
        return err_set(err, STATUS_IO, "cannot write the cache: %s", strerror(errno));
    TRY(take_up(fetch, err));
    for (int round = 0; round < 2; round++) {
        TRY(check_space(fetch, err));
        TRY(get_all(fetch, url, err));
        if (digest_matches(fetch))
            return STATUS_OK;
        TRY(start_over(fetch,
                       err)); /* old bytes may have been at fault: once more, from the start */
    }
    return err_set(err, STATUS_CORRUPT, "%s came twice with another checksum than the hub names",
                   fetch->file);
}

/* snapshots/COMMIT/FILE -> ../../blobs/ETAG, put in place by a rename. */
static enum status link_file(const struct hub *hub, const char *file, const char *etag,
                             struct err *err)
{
    struct buf target = {0}, link = {0}, temporary = {0};
    enum status status = STATUS_OK;

    buf_printf(&target, "../../blobs/%s", etag);
    buf_printf(&link, "%s/snapshots/%s/%s", hub->folder, hub->commit, file);
    buf_printf(&temporary, "%s.%d", link.data, (int)getpid());
    unlink(temporary.data);
    if (symlink(target.data, temporary.data) != 0 || rename(temporary.data, link.data) != 0)
        status = err_set(err, errno == ENOSPC ? STATUS_NO_SPACE : STATUS_IO, "cannot create %s: %s",
                         link.data, strerror(errno));
    buf_release(&target);
    buf_release(&link);
    buf_release(&temporary);
    return status;
}

static enum status open_and_get(struct fetch *fetch, const char *url, const char *blob,
                                struct err *err)
{
    struct buf partial = {0};
    enum status status = STATUS_OK;

    buf_printf(&partial, "%s.incomplete", blob);
    fetch->kind = digest_kind(&fetch->meta);
    fetch->digest = EVP_MD_CTX_new();
    fetch->fd = open(partial.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fetch->fd < 0) {
        status = err_set(err, errno == ENOSPC ? STATUS_NO_SPACE : STATUS_IO, "cannot create %s: %s",
                         partial.data, strerror(errno));
        goto out;
    }
    flock(fetch->fd, LOCK_EX); /* somebody else's download of it may end meanwhile */
    if (file_exists(blob))
        goto out;
    TRY_OUT(get_checked(fetch, url, err));
    if (fsync(fetch->fd) != 0 || rename(partial.data, blob) != 0)
        status = err_set(err, errno == ENOSPC ? STATUS_NO_SPACE : STATUS_IO, "cannot write %s: %s",
                         blob, strerror(errno));
    tell(fetch, true);
out:
    if (fetch->fd >= 0)
        close(fetch->fd);
    EVP_MD_CTX_free(fetch->digest);
    buf_release(&partial);
    return status;
}

enum status hub_fetch(struct hub *hub, const char *file, struct err *err)
{
    struct fetch fetch = {.hub = hub, .file = file, .fd = -1};
    struct buf url = {0}, blob = {0}, link = {0};
    enum status status = STATUS_OK;

    buf_printf(&link, "%s/snapshots/%s/%s", hub->folder, hub->commit, file);
    if (file_exists(link.data)) /* through the link: the blob is there */
        goto out;
    buf_printf(&url, "%s/%s/resolve/%s/%s", hub->endpoint, hub->model, hub->commit, file);
    TRY_OUT(hub_head(hub, url.data, file, &fetch.meta, err));
    buf_printf(&blob, "%s/blobs/%s", hub->folder, fetch.meta.etag);
    if (!file_exists(blob.data))
        TRY_OUT(open_and_get(&fetch, url.data, blob.data, err));
    status = link_file(hub, file, fetch.meta.etag, err);
out:
    buf_release(&url);
    buf_release(&blob);
    buf_release(&link);
    return status;
}
