/* safetensors - maps the files of a folder and finds tensors by name. */
#include "worker/model/safetensors.h"

#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_BYTES_MAX (64u << 20)

struct mapped_file {
    char *name;
    uint8_t *map;
    size_t bytes;
};

struct safetensors {
    struct mapped_file *files; /* by name */
    size_t file_count;
    struct tensor_list tensors; /* by name */
    uint64_t hash;
};

static enum status map_file(const char *path, struct mapped_file *file, struct err *err)
{
    enum status status = STATUS_OK;
    /* O_NONBLOCK: a FIFO in the folder must not hang us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "cannot open %s: %s",
                       path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        status = err_set(err, STATUS_CORRUPT, "%s is not a regular file", path);
        goto out;
    }
    if (st.st_size < 8) {
        status = err_set(err, STATUS_CORRUPT, "%s is truncated: it has only %lld bytes", path,
                         (long long)st.st_size);
        goto out;
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        status = err_set(err, STATUS_IO, "cannot map %s: %s", path, strerror(errno));
        goto out;
    }
    file->map = map;
    file->bytes = (size_t)st.st_size;
out:
    close(fd);
    return status;
}

/* Maps files[idx] and adds its tensors. */
static enum status load_file(struct safetensors *set, const char *dir, uint32_t idx,
                             struct err *err)
{
    struct mapped_file *file = &set->files[idx];
    char *path = path_join(dir, file->name);
    enum status status = map_file(path, file, err);
    mem_free(path);
    TRY(status);

    uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; i--)
        header_bytes = header_bytes << 8 | file->map[i];
    if (header_bytes > SAFETENSORS_HEADER_MAX)
        return err_set(err, STATUS_CORRUPT,
                       "%s says its header has %" PRIu64 " bytes; at most %u are allowed",
                       file->name, header_bytes, SAFETENSORS_HEADER_MAX);
    if (header_bytes > file->bytes - 8)
        return err_set(err, STATUS_CORRUPT,
                       "%s is truncated: its header has %" PRIu64 " bytes, the whole file %zu",
                       file->name, header_bytes, file->bytes);

    size_t first = set->tensors.count;
    status = safetensors_header_parse((const char *)file->map + 8, (size_t)header_bytes,
                                      file->bytes - 8 - header_bytes, &set->tensors, err);
    if (status != STATUS_OK)
        return err_prefix(err, status, "%s", file->name);
    for (size_t i = first; i < set->tensors.count; i++) {
        struct tensor *tensor = &set->tensors.items[i];
        tensor->file = idx;
        tensor->data = file->map + 8 + header_bytes + tensor->begin;
    }
    set->hash = hash_bytes_seeded(file->map, 8 + (size_t)header_bytes, set->hash);
    uint64_t size = file->bytes;
    set->hash = hash_bytes_seeded(&size, sizeof(size), set->hash);
    return STATUS_OK;
}

static int by_file_name(const void *a, const void *b)
{
    const struct mapped_file *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int by_tensor_name(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static const struct mapped_file *file_find(const struct safetensors *set, const char *name)
{
    struct mapped_file key = {.name = (char *)(uintptr_t)name};
    return set->file_count ? bsearch(&key, set->files, set->file_count, sizeof(key), by_file_name)
                           : NULL;
}

/* The distinct file names of the index, sorted. A name with a slash could leave the folder. */
static enum status collect_files(struct safetensors *set, const json_t *weight_map, struct err *err)
{
    set->files = mem_array(SAFETENSORS_FILES_MAX, sizeof(*set->files));
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)weight_map, tensor, value) {
        const char *name = json_string_value(value);
        if (name == NULL || name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
            return err_set(err, STATUS_CORRUPT,
                           "model.safetensors.index.json: tensor %.80s names no plain file",
                           tensor);
        if (file_find(set, name) != NULL)
            continue;
        if (set->file_count == SAFETENSORS_FILES_MAX)
            return err_set(err, STATUS_CORRUPT,
                           "model.safetensors.index.json names more than %d files",
                           SAFETENSORS_FILES_MAX);
        set->files[set->file_count++].name = mem_strdup(name);
        qsort(set->files, set->file_count, sizeof(*set->files), by_file_name);
    }
    if (set->file_count == 0)
        return err_set(err, STATUS_CORRUPT, "model.safetensors.index.json names no file");
    return STATUS_OK;
}

/* Every tensor of the index lies in the file that the index says. */
static enum status check_index(const struct safetensors *set, const json_t *weight_map,
                               struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)weight_map, name, value) {
        const struct tensor *tensor = safetensors_find(set, name);
        const char *file = json_string_value(value);
        if (tensor == NULL || strcmp(set->files[tensor->file].name, file) != 0)
            return err_set(
                err, STATUS_CORRUPT,
                "model.safetensors.index.json says that %.80s lies in %.80s, but it does "
                "not",
                name, file);
    }
    return STATUS_OK;
}

static enum status load_all(struct safetensors *set, const char *dir, struct err *err)
{
    for (uint32_t i = 0; i < set->file_count; i++)
        TRY(load_file(set, dir, i, err));
    qsort(set->tensors.items, set->tensors.count, sizeof(*set->tensors.items), by_tensor_name);
    for (size_t i = 1; i < set->tensors.count; i++) {
        const struct tensor *a = &set->tensors.items[i - 1], *b = &set->tensors.items[i];
        if (strcmp(a->name, b->name) == 0)
            return err_set(err, STATUS_CORRUPT, "tensor %.80s lies in both %.80s and %.80s",
                           a->name, set->files[a->file].name, set->files[b->file].name);
    }
    return STATUS_OK;
}

static enum status load_sharded(struct safetensors *set, const char *dir, const char *index_path,
                                struct err *err)
{
    enum status status = STATUS_OK;
    json_t *root = NULL;
    TRY(json_parse_file(index_path, INDEX_BYTES_MAX, &root, err));
    const json_t *weight_map = json_object_get(root, "weight_map");
    if (!json_is_object(weight_map)) {
        status = err_set(err, STATUS_CORRUPT, "model.safetensors.index.json has no weight_map");
        goto out;
    }
    TRY_OUT(collect_files(set, weight_map, err));
    TRY_OUT(load_all(set, dir, err));
    TRY_OUT(check_index(set, weight_map, err));
out:
    json_decref(root);
    return status;
}

enum status safetensors_open(const char *dir, struct safetensors **out, struct err *err)
{
    enum status status = STATUS_OK;
    struct safetensors *set = mem_zalloc(sizeof(*set));
    char *single = path_join(dir, "model.safetensors");
    char *index = path_join(dir, "model.safetensors.index.json");
    if (file_exists(single)) {
        set->files = mem_array(1, sizeof(*set->files));
        set->files[0].name = mem_strdup("model.safetensors");
        set->file_count = 1;
        status = load_all(set, dir, err);
    } else if (file_exists(index)) {
        status = load_sharded(set, dir, index, err);
    } else {
        status = err_set(err, STATUS_NOT_FOUND,
                         "%s has neither model.safetensors nor model.safetensors.index.json", dir);
    }
    mem_free(single);
    mem_free(index);
    if (status != STATUS_OK) {
        safetensors_close(set);
        return status;
    }
    *out = set;
    return STATUS_OK;
}

void safetensors_close(struct safetensors *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->file_count; i++) {
        if (set->files[i].map != NULL)
            munmap(set->files[i].map, set->files[i].bytes);
        mem_free(set->files[i].name);
    }
    mem_free(set->files);
    tensor_list_release(&set->tensors);
    mem_free(set);
}

const struct tensor *safetensors_find(const struct safetensors *set, const char *name)
{
    struct tensor key = {.name = (char *)(uintptr_t)name};
    return set->tensors.count == 0
               ? NULL
               : bsearch(&key, set->tensors.items, set->tensors.count, sizeof(key), by_tensor_name);
}

size_t safetensors_count(const struct safetensors *set)
{
    return set->tensors.count;
}

uint64_t safetensors_hash(const struct safetensors *set)
{
    return set->hash;
}

uint64_t safetensors_content_hash(const struct safetensors *set)
{
    uint64_t hash = set->hash;
    for (size_t i = 0; i < set->file_count; i++)
        hash = hash_bytes_seeded(set->files[i].map, set->files[i].bytes, hash);
    return hash;
}

void safetensors_forget(const struct tensor *tensor)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ROUND_UP((uintptr_t)tensor->data, page);
    uintptr_t end = ((uintptr_t)tensor->data + tensor->bytes) / page * page;
    if (begin < end) /* only a hint: a failure changes nothing */
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
