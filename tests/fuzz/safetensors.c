/* A folder of weights: a header for a data part of some size, alone or named by an index. Whatever
 * opens lies inside its file. Input: flags, u16 bytes of data, header; NUL, index. */
#include <jansson.h>

#include "tests/fuzz/input.h"
#include "worker/model/safetensors.h"

#define ONE   "model.safetensors"
#define SHARD "model-1.safetensors"
#define INDEX "model.safetensors.index.json"

static void write_weights(const char *name, struct str header, uint64_t header_bytes,
                          size_t data_bytes)
{
    struct buf file = {0};
    for (int i = 0; i < 8; i++)
        buf_char(&file, (char)(header_bytes >> 8 * i));
    buf_append(&file, header.data, header.len);
    buf_reserve(&file, data_bytes);
    for (size_t i = 0; i < data_bytes; i++)
        buf_char(&file, (char)i);
    scratch_write(name, (struct str){file.data, file.len});
    buf_release(&file);
}

static void check_open(size_t data_bytes)
{
    struct safetensors *set;
    struct err err = {.text = ""};
    volatile uint8_t sum = 0;
    if (safetensors_open(scratch_folder(), &set, &err) != STATUS_OK) {
        CHECK(err.text[0]);
        return;
    }
    static const char *const names[] = {"a", "b", "model.norm.weight", ""};
    CHECK(safetensors_count(set) > 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct tensor *tensor = safetensors_find(set, names[i]);
        CHECK(!tensor || tensor->begin + tensor->bytes <= data_bytes);
        for (uint64_t b = 0; tensor && b < tensor->bytes; b++)
            sum = (uint8_t)(sum + tensor->data[b]);
    }
    safetensors_close(set);
}

static void check_header(struct str header, uint64_t data_bytes)
{
    struct tensor_list list = {0};
    struct err err = {.text = ""};
    uint64_t end = 0;
    if (safetensors_header_parse(header.data, header.len, data_bytes, &list, &err) != STATUS_OK)
        CHECK(err.text[0] && list.count == 0);
    for (size_t i = 0; i < list.count; i++) {
        CHECK(list.items[i].begin == end && list.items[i].rank <= TENSOR_RANK_MAX);
        end = list.items[i].begin + list.items[i].bytes;
    }
    CHECK(list.count == 0 || end == data_bytes);
    tensor_list_release(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    uint8_t flags = input_byte(&in);
    size_t low = input_byte(&in), data_bytes = low | (size_t)input_byte(&in) << 8;
    struct str header = input_text(&in), index = input_rest(&in);
    bool sharded = flags & 1;
    uint64_t header_bytes = flags & 2 ? header.len + (uint64_t)flags * 3 - 300 : header.len;

    check_header(header, flags & 4 ? UINT64_MAX - data_bytes : data_bytes);
    write_weights(sharded ? SHARD : ONE, header, header_bytes, data_bytes);
    if (sharded)
        scratch_write(INDEX, index);
    check_open(data_bytes);
    scratch_remove(ONE);
    scratch_remove(SHARD);
    scratch_remove(INDEX);
    return 0;
}
