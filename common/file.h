/* file - whole files and paths. Any thread. */
#ifndef MSGL_COMMON_FILE_H
#define MSGL_COMMON_FILE_H

#include "common/buf.h"
#include "common/status.h"

/* Appends the whole file to *out. NOT_FOUND when it is absent, TOO_LARGE above max_bytes. */
enum status MUST_USE file_read(const char *path, size_t max_bytes, struct buf *out,
                               struct err *err);

/* Writes `text` beside the old file, then takes its place: a reader finds the one or the other. The
 * folder is there already. NO_SPACE, IO. */
enum status MUST_USE file_replace(const char *path, struct str text, struct err *err);

/* "dir/name" on the heap; free with mem_free. */
char *path_join(const char *dir, const char *name);

bool file_exists(const char *path);

/* mkdir -p. */
enum status MUST_USE dir_create(const char *path, struct err *err);

#endif
