/* input - what the fuzz targets share: bytes taken off an input one by one, and a folder for what the
 * product reads from files.
 *
 *   input:  │ choices, a byte each │ rest ………… │        choices come first, so that the rest is a
 *            input_byte()…          input_rest()         whole file that people can read
 *
 * A target is one file with LLVMFuzzerTestOneInput() in it. What must hold is CHECKed. docs/FUZZING.md.
 */
#ifndef MSGL_TESTS_FUZZ_INPUT_H
#define MSGL_TESTS_FUZZ_INPUT_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct input {
    const uint8_t *at;
    size_t left;
};

/* 0 at the end. */
static inline uint8_t input_byte(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static inline struct str input_take(struct input *in, size_t len)
{
    struct str taken = {(const char *)in->at, MIN(len, in->left)};
    in->at += taken.len;
    in->left -= taken.len;
    return taken;
}

static inline struct str input_rest(struct input *in)
{
    return input_take(in, in->left);
}

/* What stands before the next NUL, or all of it. */
static inline struct str input_text(struct input *in)
{
    const uint8_t *end = in->left ? memchr(in->at, 0, in->left) : NULL;
    struct str text = input_take(in, end ? (size_t)(end - in->at) : in->left);
    (void)input_byte(in);
    return text;
}

static inline const char *scratch_folder(void);

static inline void scratch_clear(void)
{
    DIR *dir = opendir(scratch_folder());
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(scratch_folder());
}

/* A folder of this process, in memory where there is such a place; removed when the process exits. */
static inline const char *scratch_folder(void)
{
    static char path[] = "/dev/shm/msgl-fuzz-XXXXXX", other[] = "/tmp/msgl-fuzz-XXXXXX";
    static const char *folder;
    if (folder)
        return folder;
    folder = mkdtemp(path);
    if (!folder)
        folder = mkdtemp(other);
    CHECK(folder && atexit(scratch_clear) == 0);
    return folder;
}

static inline void scratch_path(const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", scratch_folder(), name);
}

static inline void scratch_write(const char *name, struct str bytes)
{
    char path[200];
    FILE *file;
    scratch_path(name, path, sizeof(path));
    file = fopen(path, "w");
    CHECK(file && (bytes.len == 0 || fwrite(bytes.data, bytes.len, 1, file) == 1));
    CHECK(fclose(file) == 0);
}

static inline void scratch_remove(const char *name)
{
    char path[200];
    scratch_path(name, path, sizeof(path));
    unlink(path);
}

#endif
