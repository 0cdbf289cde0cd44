/* Good folders are read exactly; every kind of broken one is refused with a sentence. */
#include "worker/model/safetensors.h"

#include "common/mem.h"
#include "common/rng.h"
#include "tests/effort.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static struct folder folder_make(void)
{
    struct folder folder = {"/tmp/msgl_test_XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(folder.path));
    return folder;
}

static void folder_remove(const struct folder *folder)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "a.safetensors", "b.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder->path, names[i]);
        if (unlink(path) != 0 && errno == EISDIR)
            rmdir(path);
    }
    ck_assert_int_eq(rmdir(folder->path), 0);
}

static void put(const struct folder *folder, const char *name, const void *data, size_t len)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

/* Length word, header, data bytes 0, 1, 2, … */
static void put_tensors(const struct folder *folder, const char *name, const char *header,
                        size_t data_bytes)
{
    struct buf buf = {0};
    uint64_t len = strlen(header);
    for (int i = 0; i < 8; i++)
        buf_char(&buf, (char)(len >> (8 * i)));
    buf_str(&buf, header);
    for (size_t i = 0; i < data_bytes; i++)
        buf_char(&buf, (char)i);
    put(folder, name, buf.data, buf.len);
    buf_release(&buf);
}

static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                           "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                           "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[28,36]},"
                           "\"none\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[36,36]},"
                           "\"new\":{\"dtype\":\"F4_X\",\"shape\":[4],\"data_offsets\":[36,38]}}";

START_TEST(reads_one_file)
{
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    struct err err = {0};
    put_tensors(&folder, "model.safetensors", good, 38);
    ck_assert_msg(safetensors_open(folder.path, &set, &err) == STATUS_OK, "%s", err.text);
    ck_assert_uint_eq(safetensors_count(set), 5);

    const struct tensor *a = safetensors_find(set, "a"), *b = safetensors_find(set, "b");
    ck_assert(a != NULL && a->usable && a->dtype == DTYPE_BF16 && a->rank == 1);
    ck_assert_uint_eq(a->data[0], 0);
    ck_assert(b != NULL && b->usable && b->dtype == DTYPE_F32 && b->rank == 2);
    ck_assert_uint_eq(b->shape[0], 2);
    ck_assert_uint_eq(b->shape[1], 3);
    ck_assert_uint_eq(b->data[0], 4);
    ck_assert_uint_eq(b->bytes, 24);
    ck_assert(!safetensors_find(set, "ids")->usable);
    ck_assert(!safetensors_find(set, "new")->usable);
    ck_assert_ptr_null(safetensors_find(set, "c"));
    safetensors_forget(b);
    ck_assert_uint_eq(b->data[23], 27);
    safetensors_close(set);
    folder_remove(&folder);
}
END_TEST

static uint64_t hash_of(const char *header, size_t data_bytes)
{
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    put_tensors(&folder, "model.safetensors", header, data_bytes);
    ck_assert_int_eq(safetensors_open(folder.path, &set, NULL), STATUS_OK);
    uint64_t hash = safetensors_hash(set);
    safetensors_close(set);
    folder_remove(&folder);
    return hash;
}

START_TEST(hash_sees_names_and_shapes)
{
    const char *x = "{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    const char *y = "{\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    const char *x2 = "{\"x\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}";
    ck_assert(hash_of(x, 4) == hash_of(x, 4));
    ck_assert(hash_of(x, 4) != hash_of(y, 4));
    ck_assert(hash_of(x, 4) != hash_of(x2, 4));
}
END_TEST

/* Headers over 16 data bytes, and a word that the refusal must contain. */
static const struct {
    const char *header, *word;
} broken[] = {
    {"", "not JSON"},
    {"{", "not JSON"},
    {"[]", "not an object"},
    {"{}", "names no tensor"},
    {"{\"__metadata__\":{}}", "names no tensor"},
    {"{\"x\":1}", "not an object"},
    {"{\"x\":{}}", "no dtype"},
    {"{\"x\":{\"dtype\":7,\"shape\":[16],\"data_offsets\":[0,16]}}", "no dtype"},
    {"{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,16]}}", "no shape"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":16,\"data_offsets\":[0,16]}}", "no shape"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[-16],\"data_offsets\":[0,16]}}", "not a size"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16.0],\"data_offsets\":[0,16]}}", "not a size"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[\"16\"],\"data_offsets\":[0,16]}}", "not a size"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,16],\"data_offsets\":[0,16]}}",
     "dimensions"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,16]}}",
     "64 bits"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4611686018427387908],\"data_offsets\":[0,16]}}",
     "elements of type"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,16]}}",
     "not JSON"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16]}}", "not a pair"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0]}}", "not a pair"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16,17]}}", "not a pair"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[-1,15]}}", "not a pair"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[16,0]}}", "outside"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[17],\"data_offsets\":[0,17]}}", "outside"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[9223372036854775800,"
     "9223372036854775807]}}",
     "outside"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[15],\"data_offsets\":[0,16]}}", "elements of type"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[16],\"data_offsets\":[0,16]}}", "elements of type"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[15],\"data_offsets\":[0,15]}}", "at the end"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[15],\"data_offsets\":[1,16]}}", "before tensor"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[8,16]}}",
     "overlap"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}",
     "overlap"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[12,16]}}",
     "before tensor"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]},"
     "\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}",
     "not JSON"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}} trailing", "not JSON"},
    {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}", "not JSON"},
    {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}", "not JSON"},
};

START_TEST(refuses_broken_header)
{
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    struct err err = {0};
    put_tensors(&folder, "model.safetensors", broken[_i].header, 16);
    ck_assert_int_eq(safetensors_open(folder.path, &set, &err), STATUS_CORRUPT);
    ck_assert_ptr_null(set);
    ck_assert_msg(strstr(err.text, broken[_i].word) != NULL, "case %d says: %s", _i, err.text);
    ck_assert_msg(strstr(err.text, "model.safetensors") != NULL, "no file in: %s", err.text);
    folder_remove(&folder);
}
END_TEST

START_TEST(refuses_every_truncation)
{
    struct folder folder = folder_make();
    struct buf whole = {0};
    uint64_t len = strlen(good);
    buf_append(&whole, &len, 8);
    buf_str(&whole, good);
    for (int i = 0; i < 38; i++)
        buf_char(&whole, 'x');
    struct safetensors *set = NULL;
    for (size_t cut = 0; cut < whole.len; cut++) {
        put(&folder, "model.safetensors", whole.data ? whole.data : "", cut);
        ck_assert_int_eq(safetensors_open(folder.path, &set, NULL), STATUS_CORRUPT);
    }
    buf_release(&whole);
    folder_remove(&folder);
}
END_TEST

START_TEST(refuses_absurd_header_lengths)
{
    static const uint64_t lengths[] = {17,         1u << 20,       SAFETENSORS_HEADER_MAX + 1,
                                       UINT64_MAX, UINT64_MAX - 7, (uint64_t)INT64_MAX + 1};
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char bytes[24] = {0};
        memcpy(bytes, &lengths[i], 8);
        put(&folder, "model.safetensors", bytes, sizeof(bytes));
        ck_assert_int_eq(safetensors_open(folder.path, &set, &err), STATUS_CORRUPT);
        ck_assert_ptr_nonnull(strstr(err.text, "header"));
    }
    folder_remove(&folder);
}
END_TEST

/* A header with random bytes changed is refused or read; it never reaches outside its data. */
START_TEST(survives_random_changes)
{
    uint64_t rng = 20;
    size_t accepted = 0;
    uint64_t rounds = effort(20000);
    for (uint64_t round = 0; round < rounds; round++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        for (uint64_t i = 0, n = 1 + rng_below(&rng, 4); i < n; i++) {
            static const char alphabet[] = "0123456789-[]{},:\"FBUI eE.";
            text[rng_below(&rng, sizeof(good) - 1)] =
                rng_below(&rng, 4) ? alphabet[rng_below(&rng, sizeof(alphabet) - 1)]
                                   : (char)rng_next(&rng);
        }
        struct tensor_list list = {0};
        if (safetensors_header_parse(text, sizeof(good) - 1, 38, &list, NULL) == STATUS_OK) {
            accepted++;
            for (size_t i = 0; i < list.count; i++)
                ck_assert(list.items[i].begin + list.items[i].bytes <= 38);
        } else {
            ck_assert_uint_eq(list.count, 0);
        }
        tensor_list_release(&list);
    }
    ck_assert_uint_gt(accepted, rounds / 200); /* changed names are fine */
    ck_assert_uint_lt(accepted, rounds / 4 * 3);
}
END_TEST

static const char shard_a[] = "{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
static const char shard_b[] = "{\"y\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}";

static enum status open_sharded(const char *index, const char *a, const char *b,
                                struct safetensors **set, struct err *err,
                                const struct folder *folder)
{
    put(folder, "model.safetensors.index.json", index, strlen(index));
    if (a != NULL)
        put_tensors(folder, "a.safetensors", a, 4);
    if (b != NULL)
        put_tensors(folder, "b.safetensors", b, 8);
    return safetensors_open(folder->path, set, err);
}

START_TEST(reads_shards)
{
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    struct err err = {0};
    const char *index = "{\"metadata\":{\"total_size\":12},\"weight_map\":"
                        "{\"y\":\"b.safetensors\",\"x\":\"a.safetensors\"}}";
    ck_assert_msg(open_sharded(index, shard_a, shard_b, &set, &err, &folder) == STATUS_OK, "%s",
                  err.text);
    ck_assert_uint_eq(safetensors_count(set), 2);
    ck_assert_uint_eq(safetensors_find(set, "y")->bytes, 8);
    ck_assert_uint_eq(safetensors_find(set, "x")->data[3], 3);
    safetensors_close(set);
    folder_remove(&folder);
}
END_TEST

static const struct {
    const char *index, *a, *b;
    enum status status;
    const char *word;
} broken_sets[] = {
    {"nonsense", shard_a, shard_b, STATUS_COUNT, "JSON"},
    {"[]", shard_a, shard_b, STATUS_CORRUPT, "weight_map"},
    {"{\"weight_map\":[]}", shard_a, shard_b, STATUS_CORRUPT, "weight_map"},
    {"{\"weight_map\":{}}", shard_a, shard_b, STATUS_CORRUPT, "names no file"},
    {"{\"weight_map\":{\"x\":3}}", shard_a, shard_b, STATUS_CORRUPT, "no plain file"},
    {"{\"weight_map\":{\"x\":\"\"}}", shard_a, shard_b, STATUS_CORRUPT, "no plain file"},
    {"{\"weight_map\":{\"x\":\"../a.safetensors\"}}", shard_a, shard_b, STATUS_CORRUPT,
     "no plain file"},
    {"{\"weight_map\":{\"x\":\"/etc/passwd\"}}", shard_a, shard_b, STATUS_CORRUPT, "no plain file"},
    {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}", shard_a, NULL,
     STATUS_NOT_FOUND, "b.safetensors"},
    {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"a.safetensors\"}}", shard_a, shard_b,
     STATUS_CORRUPT, "does not"},
    {"{\"weight_map\":{\"x\":\"b.safetensors\",\"y\":\"a.safetensors\"}}", shard_a, shard_b,
     STATUS_CORRUPT, "does not"},
    {"{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}", shard_a,
     "{\"x\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", STATUS_CORRUPT, "both"},
};

START_TEST(refuses_broken_sets)
{
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    struct err err = {0};
    enum status status = open_sharded(broken_sets[_i].index, broken_sets[_i].a, broken_sets[_i].b,
                                      &set, &err, &folder);
    ck_assert_int_ne(status, STATUS_OK);
    if (broken_sets[_i].status != STATUS_COUNT)
        ck_assert_int_eq(status, broken_sets[_i].status);
    ck_assert_msg(strstr(err.text, broken_sets[_i].word) != NULL, "case %d says: %s", _i, err.text);
    folder_remove(&folder);
}
END_TEST

START_TEST(refuses_what_is_no_file)
{
    struct folder folder = folder_make();
    struct safetensors *set = NULL;
    struct err err = {0};
    ck_assert_int_eq(safetensors_open(folder.path, &set, &err), STATUS_NOT_FOUND);
    ck_assert_int_eq(safetensors_open("/nonexistent/folder", &set, &err), STATUS_NOT_FOUND);

    char path[128];
    snprintf(path, sizeof(path), "%s/model.safetensors", folder.path);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* must not hang */
    ck_assert_int_ne(safetensors_open(folder.path, &set, &err), STATUS_OK);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_ne(safetensors_open(folder.path, &set, &err), STATUS_OK);
    ck_assert_int_eq(rmdir(path), 0);
    folder_remove(&folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, reads_one_file);
    tcase_add_test(tcase, hash_sees_names_and_shapes);
    tcase_add_loop_test(tcase, refuses_broken_header, 0, (int)ARRAY_LEN(broken));
    tcase_add_test(tcase, refuses_every_truncation);
    tcase_add_test(tcase, refuses_absurd_header_lengths);
    tcase_add_test(tcase, survives_random_changes);
    tcase_add_test(tcase, reads_shards);
    tcase_add_loop_test(tcase, refuses_broken_sets, 0, (int)ARRAY_LEN(broken_sets));
    tcase_add_test(tcase, refuses_what_is_no_file);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
