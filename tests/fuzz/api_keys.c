/* A file of API keys: it is read whole or refused with a sentence, each key that it names is found by
 * itself only, and reading it again changes nothing. */
#include "router/api/api_keys.h"
#include "tests/fuzz/input.h"

/* "Bearer " and the file's second word, which may be a key. */
static void header_of(struct str file, struct buf *out)
{
    size_t at = 0;
    buf_str(out, "Bearer ");
    while (at < file.len && !memchr(" \t\n", file.data[at], 3))
        at++;
    while (at < file.len && memchr(" \t", file.data[at], 2))
        at++;
    while (at < file.len && !memchr(" \t\r\n", file.data[at], 4))
        buf_char(out, file.data[at++]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str file = {(const char *)data, len};
    struct buf header = {0};
    static struct api_keys keys;
    struct err err = {.text = ""};
    char path[200];

    scratch_write("keys", file);
    scratch_path("keys", path, sizeof(path));
    enum status status = api_keys_init(&keys, NULL, path, &err);
    CHECK(status == STATUS_OK ? keys.count > 0 : err.text[0] != 0 && keys.count == 0);
    size_t count = keys.count;
    for (size_t i = 0; i < keys.count; i++) {
        struct api_key *key = keys.items[i];
        uint32_t retry_s = 0;
        CHECK(key->live && key->name[0] && key->space[0]);
        for (uint64_t now_ms = 1; now_ms < 200000; now_ms += 60000) {
            enum status admitted = api_key_admit(key, 1, 1000, now_ms, &retry_s, &err);
            CHECK(admitted == STATUS_OK || (retry_s >= 1 && retry_s <= 60));
            if (admitted == STATUS_OK)
                api_key_done(key, 1);
        }
        CHECK(key->streams == 0);
        CHECK(api_key_namespace(key, STR("salt")) != api_key_namespace(key, STR("")));
    }
    header_of(file, &header);
    const struct api_key *found = api_keys_find(&keys, (struct str){header.data, header.len});
    CHECK(!found || (keys.count > 0 && header.len >= 7 + 8));
    buf_release(&header);
    keys.file_stamp = 0; /* as if it had changed */
    api_keys_refresh(&keys, 100000);
    CHECK(keys.count == count);
    api_keys_release(&keys);
    return 0;
}
