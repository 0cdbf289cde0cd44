#include "router/api/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"

#define FILE_BYTES_MAX (1u << 20)
#define CHECK_MS       1000
#define RETRY_MAX_S    60

static void digest_of(struct str secret, unsigned char out[API_KEY_DIGEST_BYTES])
{
    SHA256((const unsigned char *)secret.data, secret.len, out);
}

/* ---- the file ---- */

static bool hex_digest(const char *text, unsigned char out[API_KEY_DIGEST_BYTES])
{
    if (strlen(text) != 2 * API_KEY_DIGEST_BYTES ||
        strspn(text, "0123456789abcdefABCDEF") != 2 * API_KEY_DIGEST_BYTES)
        return false;
    for (size_t i = 0; i < API_KEY_DIGEST_BYTES; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return true;
}

static bool number(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == 0 && *out >= 0 && *out <= 1e12;
}

static bool name_fits(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= API_KEY_NAME_BYTES_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") ==
               len;
}

static bool set_word(struct api_key *key, const char *word)
{
    double value;

    if (strncmp(word, "space=", 6) == 0 && name_fits(word + 6)) {
        snprintf(key->space, sizeof(key->space), "%s", word + 6);
        return true;
    }
    if (strncmp(word, "streams=", 8) == 0 && number(word + 8, &value)) {
        key->streams_max = (uint64_t)value;
        return true;
    }
    if (strncmp(word, "calls-per-minute=", 17) == 0)
        return number(word + 17, &key->calls.per_minute);
    if (strncmp(word, "tokens-per-minute=", 18) == 0)
        return number(word + 18, &key->tokens.per_minute);
    return false;
}

/* "name secret words…" cut in place. */
static bool parse_line(char *line, struct api_key *key)
{
    char *save = NULL, *name = strtok_r(line, " \t", &save), *secret = strtok_r(NULL, " \t", &save);

    memset(key, 0, sizeof(*key));
    if (!name || !secret || !name_fits(name) || strlen(secret) < 8)
        return false;
    snprintf(key->name, sizeof(key->name), "%s", name);
    snprintf(key->space, sizeof(key->space), "%s", name);
    if (strncmp(secret, "sha256:", 7) == 0) {
        if (!hex_digest(secret + 7, key->digest))
            return false;
    } else {
        digest_of(str_from(secret), key->digest);
    }
    for (char *word = strtok_r(NULL, " \t", &save); word; word = strtok_r(NULL, " \t", &save))
        if (!set_word(key, word))
            return false;
    return true;
}

struct parsed {
    struct api_key *items;
    size_t count;
};

static enum status parse(const char *path, struct buf *text, struct parsed *out, struct err *err)
{
    unsigned line_number = 0;

    for (char *line = text->len ? text->data : NULL, *next; line; line = next) {
        struct api_key key;
        next = strpbrk(line, "\n");
        if (next)
            *next++ = 0;
        line_number++;
        line[strcspn(line, "\r")] = 0;
        line += strspn(line, " \t");
        if (*line == 0 || *line == '#')
            continue;
        if (out->count == API_KEYS_MAX - 1)
            return err_set(err, STATUS_TOO_LARGE, "%s has more than %d keys", path,
                           API_KEYS_MAX - 1);
        if (!parse_line(line, &key))
            return err_set(
                err, STATUS_INVALID,
                "%s line %u must be NAME KEY, then space=, streams=, calls-per-minute= or "
                "tokens-per-minute=; keys have 8 characters or more",
                path, line_number);
        for (size_t i = 0; i < out->count; i++)
            if (strcmp(out->items[i].name, key.name) == 0)
                return err_set(err, STATUS_INVALID, "%s line %u: there are two keys named %s", path,
                               line_number, key.name);
        out->items = mem_realloc(out->items, (out->count + 1) * sizeof(*out->items));
        out->items[out->count++] = key;
    }
    return STATUS_OK;
}

static struct api_key *by_name(const struct api_keys *keys, const char *name)
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i]->name, name) == 0)
            return keys->items[i];
    return NULL;
}

static void quota_take_over(struct api_quota *quota, const struct api_quota *fresh)
{
    if (quota->per_minute != fresh->per_minute)
        *quota = (struct api_quota){.per_minute = fresh->per_minute, .left = fresh->per_minute};
}

static void take_over(struct api_keys *keys, const struct api_key *fresh)
{
    struct api_key *key = by_name(keys, fresh->name);

    if (!key) {
        if (keys->count == API_KEYS_MAX)
            return; /* names of a thousand files came and went: a restart clears them */
        key = keys->items[keys->count++] = mem_zalloc(sizeof(*key));
        *key = *fresh;
        queue_line_init(&key->line);
        key->calls.left = key->calls.per_minute;
        key->tokens.left = key->tokens.per_minute;
    }
    memcpy(key->space, fresh->space, sizeof(key->space));
    memcpy(key->digest, fresh->digest, sizeof(key->digest));
    key->streams_max = fresh->streams_max;
    quota_take_over(&key->calls, &fresh->calls);
    quota_take_over(&key->tokens, &fresh->tokens);
    key->live = true;
}

static uint64_t stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec +
           (uint64_t)st.st_ino + (uint64_t)st.st_size;
}

static enum status read_file(struct api_keys *keys, struct err *err)
{
    struct buf text = {0};
    struct parsed parsed = {0};
    enum status status;

    keys->file_stamp = stamp_of(keys->path);
    TRY_OUT(file_read(keys->path, FILE_BYTES_MAX, &text, err));
    TRY_OUT(parse(keys->path, &text, &parsed, err));
    if (parsed.count == 0) {
        status = err_set(err, STATUS_INVALID, "%s holds no key", keys->path);
        goto out;
    }
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i]->name, "") != 0)
            keys->items[i]->live = false;
    for (size_t i = 0; i < parsed.count; i++)
        take_over(keys, &parsed.items[i]);
out:
    if (text.len)
        explicit_bzero(text.data, text.len);
    buf_release(&text);
    mem_free(parsed.items);
    return status;
}

enum status api_keys_init(struct api_keys *keys, const char *one, const char *path, struct err *err)
{
    memset(keys, 0, sizeof(*keys));
    keys->path = path;
    if (one && *one) { /* nameless, in the common space */
        struct api_key *key = keys->items[keys->count++] = mem_zalloc(sizeof(*key));
        queue_line_init(&key->line);
        digest_of(str_from(one), key->digest);
        key->live = true;
    }
    return path ? read_file(keys, err) : STATUS_OK;
}

void api_keys_release(struct api_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        mem_free(keys->items[i]);
    keys->count = 0;
}

void api_keys_refresh(struct api_keys *keys, uint64_t now_ms)
{
    struct err err = {.text = ""};

    if (!keys->path || now_ms - keys->checked_ms < CHECK_MS)
        return;
    keys->checked_ms = now_ms;
    if (stamp_of(keys->path) == keys->file_stamp)
        return;
    if (read_file(keys, &err) == STATUS_OK)
        LOG_INFO("keys", "read_again", "file=%s keys=%zu", keys->path, keys->count);
    else
        LOG_ERROR("keys", "unreadable", "error=\"%s\" kept=%zu", err.text, keys->count);
}

struct api_key *api_keys_find(struct api_keys *keys, struct str authorization)
{
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof(scheme) - 1;
    unsigned char digest[API_KEY_DIGEST_BYTES];
    struct api_key *found = NULL;

    if (authorization.len <= skip || strncasecmp(authorization.data, scheme, skip) != 0)
        return NULL;
    digest_of((struct str){authorization.data + skip, authorization.len - skip}, digest);
    for (size_t i = 0; i < keys->count; i++) { /* all of them, wherever it is */
        bool same = CRYPTO_memcmp(keys->items[i]->digest, digest, sizeof(digest)) == 0;
        if (same && keys->items[i]->live)
            found = keys->items[i];
    }
    return found;
}

/* ---- limits ---- */

static void refill(struct api_quota *quota, uint64_t now_ms)
{
    if (quota->at_ms && now_ms > quota->at_ms)
        quota->left += quota->per_minute * (double)(now_ms - quota->at_ms) / 60000;
    quota->left = MIN(quota->left, quota->per_minute);
    quota->at_ms = now_ms;
}

/* Seconds until `need` is there; 0 when it is. */
static uint32_t quota_wait_s(struct api_quota *quota, double need, uint64_t now_ms)
{
    if (quota->per_minute == 0)
        return 0;
    refill(quota, now_ms);
    /* More than the bucket holds can never be there: a full bucket must do. */
    double lacks = MIN(need, quota->per_minute) - quota->left;
    return lacks <= 1e-9 ? 0
                         : (uint32_t)MIN(1 + lacks * 60 / quota->per_minute, (double)RETRY_MAX_S);
}

enum status api_key_admit(struct api_key *key, uint32_t streams, uint64_t prompt_tokens,
                          uint64_t now_ms, uint32_t *retry_s, struct err *err)
{
    const char *limit = NULL;

    if (!key)
        return STATUS_OK;
    *retry_s = 1;
    if (key->streams_max && key->streams + streams > key->streams_max)
        limit = "streams at once";
    uint32_t calls_s = quota_wait_s(&key->calls, 1, now_ms);
    uint32_t tokens_s = quota_wait_s(&key->tokens, (double)prompt_tokens, now_ms);
    if (!limit && calls_s) {
        limit = "calls per minute";
        *retry_s = calls_s;
    }
    if (!limit && tokens_s) {
        limit = "tokens per minute";
        *retry_s = tokens_s;
    }
    if (limit) {
        key->refused_total++;
        return err_set(err, STATUS_QUEUE_FULL, "this API key has used up its %s", limit);
    }
    key->streams += streams;
    key->calls_total++;
    key->prompt_tokens_total += prompt_tokens;
    key->calls.left -= 1;
    key->tokens.left -= (double)prompt_tokens;
    return STATUS_OK;
}

void api_key_generated(struct api_key *key, uint32_t tokens)
{
    if (!key)
        return;
    key->generated_tokens_total += tokens;
    key->tokens.left -= tokens;
}

void api_key_done(struct api_key *key, uint32_t streams)
{
    if (key)
        key->streams -= streams;
}

uint64_t api_key_namespace(const struct api_key *key, struct str salt)
{
    const char *space = key ? key->space : "";
    unsigned char digest[API_KEY_DIGEST_BYTES];
    struct buf text = {0};
    uint64_t namespace_hash = 0;

    if (*space == 0 && salt.len == 0)
        return 0;
    buf_str(&text, space);
    buf_char(&text, '\0'); /* no name holds one */
    buf_append(&text, salt.data, salt.len);
    digest_of((struct str){text.data, text.len}, digest);
    buf_release(&text);
    for (int i = 0; i < 8; i++)
        namespace_hash |= (uint64_t)digest[i] << (8 * i);
    return namespace_hash | 1;
}
