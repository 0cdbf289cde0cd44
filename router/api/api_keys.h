/* api_keys - who may call, how much, and whose cached prefixes are whose.
 *
 *   # name   key                 limits, all optional
 *   alice    sk-0123…            streams=8 calls-per-minute=60 tokens-per-minute=100000
 *   bob      sha256:9f86d0…      space=team
 *   carol    sha256:60303a…      space=team            shares cached prefixes with bob
 *
 * Keys are kept as SHA-256 digests; a presented key is compared with all of them, in a time that
 * does not depend on where it differs. The file may hold digests instead of keys. It is read again
 * when it changes: names keep their counts, names that are gone are refused from then on.
 *
 * A key's space separates its cached prefixes from those of other spaces (default: its own name),
 * so that nobody learns from a fast first token what others asked. `cache_salt` divides a space
 * further; no salt reaches into another space, since the namespace is SHA-256 over both.
 *
 * Limits are buckets of one minute's allowance. A call pays its prompt's tokens when it is admitted
 * and what it generates as it comes: a bucket may go below zero, and then no new call is admitted.
 * Loop thread.
 */
#ifndef MSGL_ROUTER_API_API_KEYS_H
#define MSGL_ROUTER_API_API_KEYS_H

#include "common/buf.h"
#include "common/metrics.h"
#include "common/status.h"
#include "router/queue_line.h"

#define API_KEY_NAME_BYTES_MAX 64
#define API_KEY_DIGEST_BYTES   32
#define API_KEYS_MAX           1024

struct api_quota {
    double per_minute; /* 0 = no limit */
    double left;
    uint64_t at_ms; /* of the last refill */
};

struct api_key {
    char name[API_KEY_NAME_BYTES_MAX + 1], space[API_KEY_NAME_BYTES_MAX + 1];
    unsigned char digest[API_KEY_DIGEST_BYTES];
    bool live;
    uint64_t streams_max; /* 0 = no limit */
    struct api_quota calls, tokens;
    uint64_t streams; /* now */
    struct queue_line line;
    uint64_t calls_total, refused_total, prompt_tokens_total, generated_tokens_total;
};

struct api_keys {
    struct api_key *items[API_KEYS_MAX]; /* never freed while calls may point at them */
    size_t count;
    const char *path; /* borrowed; NULL without a file */
    uint64_t file_stamp, checked_ms;
};

/* One key of the command line (NULL: none) and a file of them (NULL: none). Neither: everybody may. */
enum status MUST_USE api_keys_init(struct api_keys *keys, const char *one, const char *path,
                                   struct err *err);
void api_keys_release(struct api_keys *keys);
/* Reads the file again when it has changed; a file that is wrong changes nothing. Once a second. */
void api_keys_refresh(struct api_keys *keys, uint64_t now_ms);

static inline bool api_keys_needed(const struct api_keys *keys)
{
    return keys->count > 0;
}

/* The key of "Bearer …", or NULL. */
struct api_key *api_keys_find(struct api_keys *keys, struct str authorization);

/* `key` NULL (nobody needs one) takes everything. QUEUE_FULL: over a limit; *retry_s says when to
 * come again. */
enum status MUST_USE api_key_admit(struct api_key *key, uint32_t streams, uint64_t prompt_tokens,
                                   uint64_t now_ms, uint32_t *retry_s, struct err *err);
void api_key_generated(struct api_key *key, uint32_t tokens);
void api_key_done(struct api_key *key, uint32_t streams);

/* 0 = the common namespace: no space and no salt. */
uint64_t api_key_namespace(const struct api_key *key, struct str salt);

#endif
