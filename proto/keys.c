#include "proto/keys.h"

#include <string.h>
#include <zmq.h>

#include "common/buf.h"
#include "common/file.h"

#define KEY_FILE_BYTES_MAX 4096

static bool is_key(const char *text, size_t len)
{
    unsigned char bytes[32];
    char copy[KEY_TEXT_BYTES];

    if (len != KEY_TEXT_BYTES - 1)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    return zmq_z85_decode(bytes, copy) != NULL;
}

/* The next line that says something; false at the end. */
static bool next_line(const char **at, const char **line, size_t *len)
{
    while (**at) {
        *line = *at;
        *len = strcspn(*at, "\r\n");
        *at += *len + strspn(*at + *len, "\r\n");
        while (*len && ((*line)[*len - 1] == ' ' || (*line)[*len - 1] == '\t'))
            --*len;
        if (*len && **line != '#')
            return true;
    }
    return false;
}

static enum status read_keys(const char *path, char *const keys[], size_t count, struct err *err)
{
    struct buf text = {0};
    const char *at, *line = NULL;
    size_t len = 0;
    enum status status;

    TRY_OUT(file_read(path, KEY_FILE_BYTES_MAX, &text, err));
    at = text.len ? text.data : "";
    for (size_t i = 0; i < count; i++) {
        if (!next_line(&at, &line, &len) || !is_key(line, len)) {
            status = err_set(err, STATUS_INVALID,
                             "%s must hold %s of 40 characters, one a line (see msgl keys)", path,
                             count == 1 ? "a CURVE public key" : "a CURVE public and secret key");
            goto out;
        }
        memcpy(keys[i], line, len);
        keys[i][len] = 0;
    }
out:
    if (text.len)
        explicit_bzero(text.data, text.len);
    buf_release(&text);
    return status;
}

enum status key_pair_make(struct key_pair *pair, struct err *err)
{
    if (zmq_curve_keypair(pair->public_key, pair->secret_key) != 0)
        return err_set(err, STATUS_UNSUPPORTED, "this ZeroMQ is built without CURVE");
    return STATUS_OK;
}

enum status key_pair_read(const char *path, struct key_pair *pair, struct err *err)
{
    char derived[KEY_TEXT_BYTES];

    TRY(read_keys(path, (char *const[]){pair->public_key, pair->secret_key}, 2, err));
    if (zmq_curve_public(derived, pair->secret_key) != 0 || strcmp(derived, pair->public_key) != 0)
        return err_set(err, STATUS_INVALID, "the keys in %s do not belong together", path);
    return STATUS_OK;
}

enum status key_read(const char *path, char key[KEY_TEXT_BYTES], struct err *err)
{
    return read_keys(path, (char *const[]){key}, 1, err);
}

void key_pair_wipe(struct key_pair *pair)
{
    explicit_bzero(pair, sizeof(*pair));
}
