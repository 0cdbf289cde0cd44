#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"

enum status file_read(const char *path, size_t max_bytes, struct buf *out, struct err *err)
{
    enum status status = STATUS_OK;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "cannot open %s: %s",
                       path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        status = err_set(err, STATUS_IO, "%s is not a regular file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > max_bytes) {
        status = err_set(err, STATUS_TOO_LARGE, "%s has %lld bytes, at most %zu are read", path,
                         (long long)st.st_size, max_bytes);
        goto out;
    }
    buf_reserve(out, (size_t)st.st_size);
    for (size_t left = (size_t)st.st_size; left > 0;) {
        ssize_t n = read(fd, out->data + out->len, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            status = err_set(err, STATUS_IO, "cannot read %s: %s", path,
                             n < 0 ? strerror(errno) : "it became shorter while being read");
            goto out;
        }
        out->len += (size_t)n;
        left -= (size_t)n;
    }
    out->data[out->len] = 0;
out:
    close(fd);
    return status;
}

enum status file_replace(const char *path, struct str text, struct err *err)
{
    struct buf temporary = {0};
    enum status status = STATUS_OK;
    FILE *file;
    bool good;

    buf_printf(&temporary, "%s.%d", path, (int)getpid());
    file = fopen(temporary.data, "w");
    good = file && fwrite(text.data, 1, text.len, file) == text.len;
    good = file && fclose(file) == 0 && good;
    if (!good || rename(temporary.data, path) != 0)
        status = err_set(err, errno == ENOSPC ? STATUS_NO_SPACE : STATUS_IO, "cannot write %s: %s",
                         path, strerror(errno));
    buf_release(&temporary);
    return status;
}

char *path_join(const char *dir, const char *name)
{
    struct buf path = {0};
    buf_str(&path, dir);
    if (path.len == 0 || path.data[path.len - 1] != '/')
        buf_char(&path, '/');
    buf_str(&path, name);
    return path.data;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

enum status dir_create(const char *path, struct err *err)
{
    enum status status = STATUS_OK;
    char *copy = mem_strdup(path);

    for (char *p = copy + 1;; p++) {
        char c = *p;
        if (c != '/' && c != 0)
            continue;
        *p = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            status = err_set(err, STATUS_IO, "cannot create %s: %s", copy, strerror(errno));
            break;
        }
        *p = c;
        if (c == 0)
            break;
    }
    mem_free(copy);
    return status;
}
