/* safetensors_header - one header's JSON into checked tensors. Sees hostile bytes. */
#include "worker/model/safetensors.h"

#include "common/json.h"
#include "common/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct dtype_row {
    const char *name;
    uint32_t bytes;
    bool usable;
    enum dtype dtype;
};

static const struct dtype_row dtype_rows[] = {
    {"BF16", 2, true, DTYPE_BF16},    {"F16", 2, true, DTYPE_F16},
    {"F32", 4, true, DTYPE_F32},      {"F64", 8, false, DTYPE_F32},
    {"F8_E4M3", 1, false, DTYPE_F32}, {"F8_E5M2", 1, false, DTYPE_F32},
    {"BOOL", 1, false, DTYPE_F32},    {"U8", 1, false, DTYPE_F32},
    {"I8", 1, false, DTYPE_F32},      {"U16", 2, false, DTYPE_F32},
    {"I16", 2, false, DTYPE_F32},     {"U32", 4, false, DTYPE_F32},
    {"I32", 4, false, DTYPE_F32},     {"U64", 8, false, DTYPE_F32},
    {"I64", 8, false, DTYPE_F32},
};

static const struct dtype_row *dtype_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(dtype_rows); i++)
        if (strcmp(dtype_rows[i].name, name) == 0)
            return &dtype_rows[i];
    return NULL;
}

void tensor_list_release(struct tensor_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->items[i].name);
    mem_free(list->items);
    *list = (struct tensor_list){0};
}

static struct tensor *list_add(struct tensor_list *list)
{
    if (list->count == list->cap) {
        list->cap = MAX(64, list->cap * 2);
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    struct tensor *tensor = &list->items[list->count++];
    memset(tensor, 0, sizeof(*tensor));
    return tensor;
}

/* A JSON integer that is not negative. */
static bool read_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static enum status parse_shape(const json_t *entry, struct tensor *tensor, uint64_t *items,
                               struct err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return err_set(err, STATUS_CORRUPT, "tensor %.80s has no shape", tensor->name);
    if (json_array_size(shape) > TENSOR_RANK_MAX)
        return err_set(err, STATUS_CORRUPT,
                       "tensor %.80s has %zu dimensions, at most %d are allowed", tensor->name,
                       json_array_size(shape), TENSOR_RANK_MAX);
    tensor->rank = (uint32_t)json_array_size(shape);
    *items = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!read_size(json_array_get(shape, i), &tensor->shape[i]))
            return err_set(err, STATUS_CORRUPT, "tensor %.80s: dimension %u is not a size",
                           tensor->name, i);
        if (__builtin_mul_overflow(*items, tensor->shape[i], items))
            return err_set(err, STATUS_CORRUPT, "tensor %.80s has more elements than fit 64 bits",
                           tensor->name);
    }
    return STATUS_OK;
}

static enum status parse_offsets(const json_t *entry, uint64_t data_bytes, struct tensor *tensor,
                                 struct err *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t end = 0;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !read_size(json_array_get(offsets, 0), &tensor->begin) ||
        !read_size(json_array_get(offsets, 1), &end))
        return err_set(err, STATUS_CORRUPT, "tensor %.80s: data_offsets is not a pair of sizes",
                       tensor->name);
    if (tensor->begin > end || end > data_bytes)
        return err_set(err, STATUS_CORRUPT,
                       "tensor %.80s lies at [%" PRIu64 ", %" PRIu64
                       "), outside the file's %" PRIu64 " data bytes",
                       tensor->name, tensor->begin, end, data_bytes);
    tensor->bytes = end - tensor->begin;
    return STATUS_OK;
}

/* Fills all but data and file. The name is set by the caller. */
static enum status parse_tensor(const json_t *entry, uint64_t data_bytes, struct tensor *tensor,
                                struct err *err)
{
    if (!json_is_object(entry))
        return err_set(err, STATUS_CORRUPT, "tensor %.80s is %s, not an object", tensor->name,
                       json_type_name(entry));
    const char *dtype_name = json_string_value(json_object_get(entry, "dtype"));
    if (dtype_name == NULL)
        return err_set(err, STATUS_CORRUPT, "tensor %.80s has no dtype", tensor->name);
    strncpy(tensor->dtype_name, dtype_name, sizeof(tensor->dtype_name) - 1);

    uint64_t items = 0, bytes = 0;
    TRY(parse_shape(entry, tensor, &items, err));
    TRY(parse_offsets(entry, data_bytes, tensor, err));

    const struct dtype_row *row = dtype_find(dtype_name);
    if (row == NULL)
        return STATUS_OK; /* a type of a later version: unusable, but its place is checked */
    if (__builtin_mul_overflow(items, (uint64_t)row->bytes, &bytes) || bytes != tensor->bytes)
        return err_set(err, STATUS_CORRUPT,
                       "tensor %.80s has %" PRIu64 " elements of type %s but %" PRIu64 " bytes",
                       tensor->name, items, row->name, tensor->bytes);
    tensor->usable = row->usable;
    tensor->dtype = row->dtype;
    return STATUS_OK;
}

static int by_begin(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorted by place, each tensor starts where the last one ended, and the last one ends the file. */
static enum status check_tiling(struct tensor *tensors, size_t count, uint64_t data_bytes,
                                struct err *err)
{
    qsort(tensors, count, sizeof(*tensors), by_begin);
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].begin < end)
            return err_set(err, STATUS_CORRUPT, "tensors %.80s and %.80s overlap",
                           tensors[i - 1].name, tensors[i].name);
        if (tensors[i].begin > end)
            return err_set(err, STATUS_CORRUPT,
                           "%" PRIu64 " bytes before tensor %.80s belong to no tensor",
                           tensors[i].begin - end, tensors[i].name);
        end = tensors[i].begin + tensors[i].bytes;
    }
    if (end != data_bytes)
        return err_set(err, STATUS_CORRUPT,
                       "%" PRIu64 " bytes at the end of the file belong to no tensor",
                       data_bytes - end);
    return STATUS_OK;
}

enum status safetensors_header_parse(const char *json, size_t len, uint64_t data_bytes,
                                     struct tensor_list *list, struct err *err)
{
    enum status status = STATUS_OK;
    size_t before = list->count;
    json_t *root = NULL;
    if (json_parse(json, len, &root, err) != STATUS_OK)
        return err_prefix(err, STATUS_CORRUPT, "the header is not JSON");
    if (!json_is_object(root)) {
        status =
            err_set(err, STATUS_CORRUPT, "the header is %s, not an object", json_type_name(root));
        goto out;
    }

    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct tensor *tensor = list_add(list);
        tensor->name = mem_strdup(name);
        TRY_OUT(parse_tensor(entry, data_bytes, tensor, err));
    }
    if (list->count > before)
        status = check_tiling(list->items + before, list->count - before, data_bytes, err);
    else
        status = err_set(err, STATUS_CORRUPT, "the header names no tensor");

out:
    while (status != STATUS_OK && list->count > before)
        mem_free(list->items[--list->count].name);
    json_decref(root);
    return status;
}
