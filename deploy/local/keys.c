/* keys - msgl keys: the key pairs of one cluster, as files or as a Kubernetes Secret. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/file.h"
#include "common/mem.h"
#include "deploy/local/commands.h"
#include "proto/keys.h"

struct keys_config {
    const char *dir, *name, *namespace_name;
    bool kubernetes, force;
};

#define K struct keys_config
static const struct option keys_options[] = {
    OPTION_STRING(K, dir, "dir", NULL, NULL, "folder for the key files; made when it is missing"),
    OPTION_BOOL(K, kubernetes, "kubernetes", "false", NULL, "print a Secret with the same files"),
    OPTION_STRING(K, name, "name", "msgl-wire-keys", NULL, "name of the Secret"),
    OPTION_STRING(K, namespace_name, "namespace", NULL, NULL, "namespace of the Secret"),
    OPTION_BOOL(K, force, "force", "false", NULL, "write over files that are there"),
};
static const struct config_spec keys_spec = {
    "msgl keys", "makes the CURVE keys of a cluster: one pair for its routers, one for its workers",
    keys_options, ARRAY_LEN(keys_options)};

#define FILE_COUNT 4
struct key_file {
    const char *name;
    mode_t mode;
    struct buf text;
};

static enum status make_files(struct key_file files[FILE_COUNT], struct err *err)
{
    struct key_pair router, worker;

    TRY(key_pair_make(&router, err));
    TRY(key_pair_make(&worker, err));
    files[0] = (struct key_file){.name = "router.key", .mode = 0600};
    buf_printf(&files[0].text, "# routers: public, secret\n%s\n%s\n", router.public_key,
               router.secret_key);
    files[1] = (struct key_file){.name = "router.pub", .mode = 0644};
    buf_printf(&files[1].text, "# routers: public\n%s\n", router.public_key);
    files[2] = (struct key_file){.name = "worker.key", .mode = 0600};
    buf_printf(&files[2].text, "# workers: public, secret\n%s\n%s\n", worker.public_key,
               worker.secret_key);
    files[3] = (struct key_file){.name = "workers.allow", .mode = 0644};
    buf_printf(&files[3].text, "# workers that routers let in, one public key a line\n%s\n",
               worker.public_key);
    key_pair_wipe(&router);
    key_pair_wipe(&worker);
    return STATUS_OK;
}

static enum status write_file(const char *path, const struct key_file *file, bool force,
                              struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL), file->mode);
    ssize_t written;

    if (fd < 0)
        return err_set(err, STATUS_IO, "%s: %s%s", path, strerror(errno),
                       errno == EEXIST ? " (--force writes over it)" : "");
    written = fchmod(fd, file->mode) == 0 ? write(fd, file->text.data, file->text.len) : -1;
    if (close(fd) != 0 || written != (ssize_t)file->text.len)
        return err_set(err, STATUS_IO, "%s cannot be written", path);
    return STATUS_OK;
}

static enum status write_files(const struct keys_config *config,
                               const struct key_file files[FILE_COUNT], struct err *err)
{
    TRY(dir_create(config->dir, err));
    for (int i = 0; i < FILE_COUNT; i++) {
        char *path = path_join(config->dir, files[i].name);
        enum status status = write_file(path, &files[i], config->force, err);
        if (status == STATUS_OK)
            printf("%s\n", path);
        mem_free(path);
        TRY(status);
    }
    return STATUS_OK;
}

static void print_base64(const struct buf *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < text->len; i += 3) {
        uint32_t bits = 0;
        size_t have = MIN(text->len - i, (size_t)3);
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (j < have ? (unsigned char)text->data[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            putchar(j <= have ? digits[bits >> (18 - 6 * j) & 63] : '=');
    }
}

static void print_secret(const struct keys_config *config, const struct key_file files[FILE_COUNT])
{
    printf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n", config->name);
    if (config->namespace_name)
        printf("  namespace: %s\n", config->namespace_name);
    printf("type: Opaque\ndata:\n");
    for (int i = 0; i < FILE_COUNT; i++) {
        printf("  %s: ", files[i].name);
        print_base64(&files[i].text);
        putchar('\n');
    }
}

int command_keys(int argc, char **argv)
{
    struct keys_config config = {0};
    struct key_file files[FILE_COUNT] = {0};
    struct err err = {0};
    enum status status = STATUS_OK;
    int exit_status;

    if (!command_parse(&keys_spec, argc, argv, &config, &exit_status))
        return exit_status;
    if (!config.dir && !config.kubernetes)
        status = err_set(&err, STATUS_INVALID, "--dir FOLDER or --kubernetes is needed");
    if (status == STATUS_OK)
        status = make_files(files, &err);
    if (status == STATUS_OK && config.dir)
        status = write_files(&config, files, &err);
    if (status == STATUS_OK && config.kubernetes)
        print_secret(&config, files);
    for (int i = 0; i < FILE_COUNT; i++) {
        if (files[i].text.len)
            explicit_bzero(files[i].text.data, files[i].text.len);
        buf_release(&files[i].text);
    }
    if (status != STATUS_OK)
        command_complain("msgl keys", &err);
    config_release(&keys_spec, &config);
    return status == STATUS_OK ? 0 : 1;
}
