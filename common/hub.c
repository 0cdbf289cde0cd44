#include "common/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/file.h"
#include "common/hub_impl.h"
#include "common/json.h"
#include "common/mem.h"

#define PUBLIC_HUB      "https://huggingface.co"
#define INDEX_BYTES_MAX (64u << 20)
#define INDEX_FILE      "model.safetensors.index.json"

/* Without weights, in the order of fetching: what a snapshot must have comes last, so that a
 * snapshot that has it was not cut short. */
static const char *const small_files[] = {
    "generation_config.json",  "chat_template.jinja", "tokenizer_config.json",
    "special_tokens_map.json", "tokenizer.json",      "config.json",
};
static const char *const needed_files[] = {"tokenizer.json", "config.json"};

/* A branch or tag may hold slashes; it becomes a path below refs/ and a part of a URL. */
static bool is_revision(const char *text)
{
    if (*text == '/' || strstr(text, ".."))
        return false;
    for (const char *part = text;; part++) {
        size_t len = strcspn(part, "/");
        if (!hub_is_name(part, len))
            return false;
        part += len;
        if (!*part)
            return true;
    }
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool environment_flag(const char *name)
{
    const char *value = environment(name);
    return value && (strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0 ||
                     strcasecmp(value, "yes") == 0 || strcasecmp(value, "on") == 0);
}

static char *cache_home(const struct hub_opts *opts)
{
    const char *home = opts->home ? opts->home : environment("HF_HOME");
    const char *cache = environment("XDG_CACHE_HOME"), *user = environment("HOME");

    if (home)
        return mem_strdup(home);
    if (cache)
        return path_join(cache, "huggingface");
    return path_join(user ? user : "/tmp", ".cache/huggingface");
}

static void hub_init(struct hub *hub, const char *model, const struct hub_opts *opts)
{
    const char *endpoint = opts->endpoint ? opts->endpoint : environment("HF_ENDPOINT");
    const char *token = opts->token ? opts->token : environment("HF_TOKEN");
    const char *slash = strchr(model, '/');
    struct buf folder = {0};
    char *home = cache_home(opts);
    size_t len;

    memset(hub, 0, sizeof(*hub));
    hub->model = model;
    hub->endpoint = mem_strdup(endpoint ? endpoint : PUBLIC_HUB);
    for (len = strlen(hub->endpoint); len && hub->endpoint[len - 1] == '/'; len--)
        hub->endpoint[len - 1] = 0;
    if (token) {
        token += strspn(token, " \t\r\n");
        hub->token = mem_strndup(token, strcspn(token, " \t\r\n"));
    }
    hub->revision = opts->revision ? opts->revision : "main";
    hub->stall_s = opts->stall_s ? opts->stall_s : 30;
    hub->progress = opts->progress;
    hub->ctx = opts->ctx;
    buf_printf(&folder, "%s/hub/models--%.*s--%s", home, (int)(slash - model), model, slash + 1);
    hub->folder = folder.data;
    mem_free(home);
}

static void hub_release(struct hub *hub)
{
    if (hub->easy)
        curl_easy_cleanup(hub->easy);
    mem_free(hub->endpoint);
    mem_free(hub->token);
    mem_free(hub->folder);
}

static char *snapshot_path(const struct hub *hub, const char *file)
{
    struct buf path = {0};
    buf_printf(&path, "%s/snapshots/%s%s%s", hub->folder, hub->commit, file ? "/" : "",
               file ? file : "");
    return path.data;
}

static bool snapshot_has(const struct hub *hub, const char *file)
{
    char *path = snapshot_path(hub, file);
    bool has = file_exists(path);
    mem_free(path);
    return has;
}

/* All shards that the index names, or the one file. */
static bool snapshot_has_weights(const struct hub *hub)
{
    char *path = snapshot_path(hub, INDEX_FILE);
    json_t *index = NULL, *file;
    const char *key;
    bool has;

    if (json_parse_file(path, INDEX_BYTES_MAX, &index, NULL) != STATUS_OK) {
        has = snapshot_has(hub, "model.safetensors");
    } else {
        json_t *map = json_object_get(index, "weight_map");
        has = json_object_size(map) > 0;
        json_object_foreach(map, key, file)
            has = has && json_is_string(file) && !strchr(json_string_value(file), '/') &&
                  snapshot_has(hub, json_string_value(file));
    }
    json_decref(index);
    mem_free(path);
    return has;
}

/* NULL, or the first file that is wanted and not there. */
static const char *snapshot_lacks(const struct hub *hub, enum hub_want want)
{
    for (size_t i = 0; i < ARRAY_LEN(needed_files); i++)
        if (!snapshot_has(hub, needed_files[i]))
            return needed_files[i];
    return want == HUB_WANT_ALL && !snapshot_has_weights(hub) ? "weights as safetensors" : NULL;
}

/* Reads refs/REVISION into hub->commit; a revision that is itself a commit has no ref. */
static bool read_ref(struct hub *hub)
{
    struct buf path = {0}, text = {0};
    size_t len;

    buf_printf(&path, "%s/refs/%s", hub->folder, hub->revision);
    if (file_read(path.data, HUB_NAME_MAX, &text, NULL) != STATUS_OK) {
        buf_clear(&text);
        buf_str(&text, hub->revision);
    }
    len = strcspn(text.data, " \r\n");
    hub->commit[0] = 0;
    if (hub_is_name(text.data, len)) {
        memcpy(hub->commit, text.data, len);
        hub->commit[len] = 0;
    }
    buf_release(&path);
    buf_release(&text);
    return hub->commit[0] != 0;
}

static enum status write_ref(const struct hub *hub, struct err *err)
{
    struct buf path = {0};
    enum status status;

    buf_printf(&path, "%s/refs/%s", hub->folder, hub->revision);
    char *slash = strrchr(path.data, '/');
    *slash = 0;
    status = dir_create(path.data, err);
    *slash = '/';
    if (status == STATUS_OK)
        status = file_replace(path.data, str_from(hub->commit), err);
    buf_release(&path);
    return status;
}

static bool lists(const json_t *siblings, const char *file)
{
    size_t i;
    json_t *sibling;

    json_array_foreach(siblings, i, sibling) {
        const char *name = json_string_value(json_object_get(sibling, "rfilename"));
        if (name && strcmp(name, file) == 0)
            return true;
    }
    return false;
}

/* model.safetensors alone, or the index and model-*.safetensors; other copies of the weights that a
 * repository may hold (consolidated, bin, gguf) are left there. */
static enum status fetch_weights(struct hub *hub, const json_t *siblings, struct err *err)
{
    size_t i;
    json_t *sibling;

    if (!lists(siblings, INDEX_FILE)) {
        if (!lists(siblings, "model.safetensors"))
            return err_set(err, STATUS_NOT_FOUND, "%s has no weights as safetensors on %s",
                           hub->model, hub->endpoint);
        return hub_fetch(hub, "model.safetensors", err);
    }
    TRY(hub_fetch(hub, INDEX_FILE, err));
    json_array_foreach(siblings, i, sibling) {
        const char *name = json_string_value(json_object_get(sibling, "rfilename"));
        size_t len = name ? strlen(name) : 0;
        if (len > 18 && hub_is_name(name, len) && strncmp(name, "model-", 6) == 0 &&
            strcmp(name + len - 12, ".safetensors") == 0)
            TRY(hub_fetch(hub, name, err));
    }
    return STATUS_OK;
}

static enum status fetch_listed(struct hub *hub, const json_t *siblings, enum hub_want want,
                                struct err *err)
{
    char *folder = snapshot_path(hub, NULL), *blobs = path_join(hub->folder, "blobs");
    const char *lacks;
    enum status status;

    TRY_OUT(dir_create(blobs, err));
    TRY_OUT(dir_create(folder, err));
    for (size_t i = 0; i < ARRAY_LEN(small_files); i++)
        if (lists(siblings, small_files[i]))
            TRY_OUT(hub_fetch(hub, small_files[i], err));
    if (want == HUB_WANT_ALL)
        TRY_OUT(fetch_weights(hub, siblings, err));
    lacks = snapshot_lacks(hub, want);
    if (lacks)
        status =
            err_set(err, STATUS_NOT_FOUND, "%s has no %s on %s", hub->model, lacks, hub->endpoint);
    else
        status = write_ref(hub, err);
out:
    mem_free(folder);
    mem_free(blobs);
    return status;
}

static enum status download(struct hub *hub, enum hub_want want, struct err *err)
{
    struct buf url = {0}, body = {0};
    json_t *info = NULL, *siblings;
    const char *commit = NULL;
    enum status status;

    hub->easy = curl_easy_init();
    if (!hub->easy)
        return err_set(err, STATUS_INTERNAL, "libcurl cannot be started");
    buf_printf(&url, "%s/api/models/%s/revision/", hub->endpoint, hub->model);
    for (const char *c = hub->revision; *c; c++)
        buf_printf(&url, *c == '/' ? "%%2F" : "%c", *c);
    TRY_OUT(hub_get(hub, url.data, &body, err));
    if (json_parse(body.data ? body.data : "", body.len, &info, err) != STATUS_OK) {
        status = err_prefix(err, STATUS_CORRUPT, "the hub's list of files of %s", hub->model);
        goto out;
    }
    siblings = json_object_get(info, "siblings");
    TRY_OUT(json_get_string(info, "sha", &commit, err));
    if (!commit || !hub_is_name(commit, strlen(commit)) || !json_is_array(siblings)) {
        status = err_set(err, STATUS_CORRUPT, "%s does not answer like a model hub", hub->endpoint);
        goto out;
    }
    snprintf(hub->commit, sizeof(hub->commit), "%s", commit);
    status = fetch_listed(hub, siblings, want, err);
out:
    json_decref(info);
    buf_release(&url);
    buf_release(&body);
    return status;
}

enum status hub_resolve(const char *model, enum hub_want want, const struct hub_opts *opts,
                        char **path, struct err *err)
{
    static const struct hub_opts none;
    enum status status = STATUS_OK;
    struct hub hub;

    if (!opts)
        opts = &none;
    if (hub_is_folder(model)) {
        *path = mem_strdup(model);
        return STATUS_OK;
    }
    if (!hub_is_model_name(model))
        return err_set(err, STATUS_NOT_FOUND,
                       "there is no folder %s, and it is no ORG/NAME of a hub", model);
    if (opts->revision && !is_revision(opts->revision))
        return err_set(err, STATUS_INVALID, "'%s' is no branch, tag or commit", opts->revision);
    hub_init(&hub, model, opts);
    if (!read_ref(&hub) || snapshot_lacks(&hub, want)) {
        if (opts->offline || environment_flag("HF_HUB_OFFLINE"))
            status = err_set(err, STATUS_NOT_FOUND,
                             "%s is not in the cache %s, and it is to be used offline", model,
                             hub.folder);
        else
            status = download(&hub, want, err);
    }
    if (status == STATUS_OK)
        *path = snapshot_path(&hub, NULL);
    hub_release(&hub);
    return status;
}
