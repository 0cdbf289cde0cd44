/* safetensors - the tensors of a model folder, read where they lie in the page cache.
 *
 *   file:  ┌ u64 n ┬ n bytes of JSON: name -> dtype, shape, [begin, end) ┬ tensor bytes ┐
 *          └───────┴─────────────────────────────────────────────────────┴──────────────┘
 *                                                     begin and end count from here ▲
 *
 * A folder holds model.safetensors, or model.safetensors.index.json and the files that it names.
 * Every number in a header is checked before it is used: the tensors must tile the data part
 * exactly, so no two can overlap and none can reach outside. A file that shrinks while it is mapped
 * ends the process with SIGBUS: model folders are not edited under a running worker.
 *
 * A set is immutable after open; any thread may read it.
 */
#ifndef MSGL_WORKER_MODEL_SAFETENSORS_H
#define MSGL_WORKER_MODEL_SAFETENSORS_H

#include "common/buf.h"
#include "common/status.h"
#include "kernels/ops.h"

#define TENSOR_RANK_MAX        8
#define SAFETENSORS_HEADER_MAX 100000000u /* bytes; the format's own limit */
#define SAFETENSORS_FILES_MAX  1024

struct tensor {
    char *name;
    char dtype_name[16];
    enum dtype dtype; /* valid when usable */
    bool usable; /* F32, BF16 or F16; others may lie in a file as long as nobody asks for them */
    uint32_t rank;
    uint64_t shape[TENSOR_RANK_MAX];
    uint64_t begin, bytes; /* in its file's data part */
    uint32_t file;
    const uint8_t *data; /* mapped; as aligned as the file has it */
};

struct tensor_list {
    struct tensor *items;
    size_t count, cap;
};

/* Appends the tensors of one header (`json`, without its length word) to *list, checked against a
 * data part of data_bytes. `data` of each is NULL. On failure the list is left as it was. */
enum status MUST_USE safetensors_header_parse(const char *json, size_t len, uint64_t data_bytes,
                                              struct tensor_list *list, struct err *err);
void tensor_list_release(struct tensor_list *list);

struct safetensors;

/* Maps the folder's files and checks their headers. NOT_FOUND when the folder has none. */
enum status MUST_USE safetensors_open(const char *dir, struct safetensors **out, struct err *err);
void safetensors_close(struct safetensors *set); /* NULL is fine; tensors' data is unmapped */

/* NULL when there is no such tensor. */
const struct tensor *safetensors_find(const struct safetensors *set, const char *name);
size_t safetensors_count(const struct safetensors *set);

/* XXH3-64 over all headers and file sizes, in the order of the file names. */
uint64_t safetensors_hash(const struct safetensors *set);
/* Of every byte of the files, which it reads. */
uint64_t safetensors_content_hash(const struct safetensors *set);

/* The bytes were copied and will not be read again soon: gives their memory back. */
void safetensors_forget(const struct tensor *tensor);

#endif
