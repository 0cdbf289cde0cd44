#include "common/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int http;
    const char *type;
} status_table[STATUS_COUNT] = {
#define X(id, name, http, type) [STATUS_##id] = {#name, http, type},
    STATUS_LIST(X)
#undef X
};

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, what);
    abort();
}

const char *status_name(enum status status)
{
    return (unsigned)status < STATUS_COUNT ? status_table[status].name : "unknown";
}

int status_http(enum status status)
{
    return (unsigned)status < STATUS_COUNT ? status_table[status].http : 500;
}

const char *status_openai_type(enum status status)
{
    return (unsigned)status < STATUS_COUNT ? status_table[status].type : "server_error";
}

int status_exit(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return EXIT_SUCCESS;
    case STATUS_INVALID:
    case STATUS_TOO_LONG:
    case STATUS_DENIED:
    case STATUS_NOT_FOUND:
    case STATUS_TOO_LARGE:
    case STATUS_UNSUPPORTED:
    case STATUS_CORRUPT:
        return EXIT_REFUSED;
    default:
        return EXIT_FAILURE;
    }
}

enum status err_set(struct err *err, enum status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->status = status;
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return status;
}

enum status err_prefix(struct err *err, enum status status, const char *format, ...)
{
    if (err) {
        char old[sizeof(err->text)];
        va_list args;
        size_t len;
        memcpy(old, err->text, sizeof(old));
        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        len = strlen(err->text);
        snprintf(err->text + len, sizeof(err->text) - len, ": %.200s", old);
        err->status = status;
    }
    return status;
}
