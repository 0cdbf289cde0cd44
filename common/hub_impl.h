/* hub_impl - what hub.c and its two halves share; nobody else includes it. */
#ifndef MSGL_COMMON_HUB_IMPL_H
#define MSGL_COMMON_HUB_IMPL_H

#include <curl/curl.h>

#include "common/buf.h"
#include "common/hub.h"

#define HUB_NAME_MAX 200 /* of a file, an ETag, a commit */

struct hub {
    const char *model; /* ORG/NAME */
    char *endpoint;    /* without a slash at its end */
    char *token;       /* or NULL */
    const char *revision;
    char *folder; /* HF_HOME/hub/models--ORG--NAME */
    unsigned stall_s;
    hub_progress progress;
    void *ctx;
    CURL *easy;
    char commit[HUB_NAME_MAX + 1];
};

/* What the hub says of one file. */
struct hub_meta {
    char etag[HUB_NAME_MAX + 1]; /* without quotes; safe as a file name */
    uint64_t size_bytes;
    bool size_known;
    bool from_hub; /* X-Repo-Commit was there: a 40-digit ETag is git's */
};

/* hub_name.c */
bool hub_is_folder(const char *path);
bool hub_is_name(const char *text, size_t len); /* of an organisation, a model, a commit, a file */
bool hub_is_model_name(const char *model); /* ORG/NAME: two names with one slash between them */

/* hub_http.c */
/* GET of a small document. */
enum status MUST_USE hub_get(struct hub *hub, const char *url, struct buf *body, struct err *err);
/* HEAD; follows redirects until the file's own headers are known. */
enum status MUST_USE hub_head(struct hub *hub, const char *url, const char *file,
                              struct hub_meta *meta, struct err *err);
/* Sets what every request has in common (URL, token, time-outs). */
void hub_prepare(struct hub *hub, const char *url);
/* The sentence for an HTTP status that is no success. */
enum status hub_http_error(const struct hub *hub, const char *what, long http, struct err *err);

/* hub_fetch.c: one file into blobs/, and its link in snapshots/COMMIT. */
enum status MUST_USE hub_fetch(struct hub *hub, const char *file, struct err *err);

#endif
