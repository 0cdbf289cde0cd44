/* hub - model folders by name: a path, the Hugging Face cache, or a download from a hub.
 *
 * Speaks the hub's plain paths: GET {HF_ENDPOINT}/api/models/{org}/{name}/revision/{rev} for the
 * list of files (siblings), GET {HF_ENDPOINT}/{org}/{name}/resolve/{rev}/{file} for each. Files go
 * to the ordinary cache layout (HF_HOME/hub/models--org--name/{blobs,refs,snapshots}), are resumed
 * (Range), and are checked: size always, sha256 where the hub names it (X-Linked-ETag of LFS files).
 * HF_TOKEN is sent as a bearer token to the endpoint's own host only. A cut download goes on where it
 * stopped, also in a later process; two processes that want the same file fetch it once.
 *
 *   HF_HOME/hub/models--org--name/refs/main                        the commit's name
 *                                /snapshots/COMMIT/config.json ──► ../../blobs/ETAG
 *                                /blobs/ETAG, ETAG.incomplete      (locked while it grows)
 *
 * A snapshot in the cache that has all that is wanted is used without asking the hub.
 */
#ifndef MSGL_COMMON_HUB_H
#define MSGL_COMMON_HUB_H

#include "common/status.h"

enum hub_want {
    HUB_WANT_ALL,        /* weights too: the worker */
    HUB_WANT_NO_WEIGHTS, /* config, generation config, tokenizer, template: the router */
};

/* Progress of one file; total_bytes 0 = unknown. Called at most ten times a second. */
typedef void (*hub_progress)(void *ctx, const char *file, uint64_t done_bytes,
                             uint64_t total_bytes);

struct hub_opts {
    const char *endpoint;  /* NULL: HF_ENDPOINT or the public hub */
    const char *home;      /* NULL: HF_HOME or ~/.cache/huggingface */
    const char *token;     /* NULL: HF_TOKEN, or none */
    const char *revision;  /* NULL: "main" */
    bool offline;          /* use the cache only (also HF_HUB_OFFLINE=1) */
    unsigned stall_s;      /* a connection without a byte for this long is given up; 0: 30 */
    hub_progress progress; /* NULL: silent */
    void *ctx;
};

/* `model` is a folder that exists, or ORG/NAME. *path is the folder to read, on the heap (mem_free).
 * NOT_FOUND, DENIED (gated), NO_SPACE, IO, CORRUPT come with a sentence that says what to do. */
enum status MUST_USE hub_resolve(const char *model, enum hub_want want, const struct hub_opts *opts,
                                 char **path, struct err *err);

/* What clients call `model`: ORG/NAME as written, or a folder's own name. On the heap. */
char *hub_served_name(const char *model);

#endif
