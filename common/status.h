/* status - how operating errors travel.
 *
 * A function that can fail returns `enum status` (marked MUST_USE) and, where a person will read
 * the reason, takes a `struct err *` that it fills with one sentence. `err` may be NULL.
 *
 *     TRY(expr)      returns the status when it is not STATUS_OK
 *     TRY_OUT(expr)  stores it in the local `status` and goes to the one label `out:`
 */
#ifndef MSGL_COMMON_STATUS_H
#define MSGL_COMMON_STATUS_H

#include "common/base.h"

/* enum suffix, name, HTTP status, OpenAI error type. */
#define STATUS_LIST(X)                                                                             \
    X(OK, ok, 200, "")                                                                             \
    X(INVALID, invalid, 400,                                                                       \
      "invalid_request_error") /* what the client or the operator said is wrong */                 \
    X(TOO_LONG, too_long, 400, "invalid_request_error") /* the prompt does not fit the context */  \
    X(DENIED, denied, 401, "authentication_error")                                                 \
    X(NOT_FOUND, not_found, 404, "invalid_request_error") /* model, path, file */                  \
    X(TOO_LARGE, too_large, 413, "invalid_request_error") /* a named limit was passed */           \
    X(QUEUE_FULL, queue_full, 429, "rate_limit_error")    /* back-pressure, try again later */     \
    X(INTERNAL, internal, 500, "server_error")                                                     \
    X(UNSUPPORTED, unsupported, 400, "invalid_request_error") /* known, but not done here */       \
    X(UNAVAILABLE, unavailable, 503, "service_unavailable")   /* no worker, or draining */         \
    X(TIMEOUT, timeout, 504, "server_error")                                                       \
    X(IO, io, 500, "server_error")               /* file or network; text says which */            \
    X(CORRUPT, corrupt, 500, "server_error")     /* bytes that are not what they should be */      \
    X(NO_SPACE, no_space, 500, "server_error")   /* disk, memory or pages are used up */           \
    X(CANCELLED, cancelled, 499, "server_error") /* the client went away */                        \
    X(AGAIN, again, 503, "service_unavailable")  /* nothing there now; not an error */             \
    X(CONFLICT, conflict, 409, "invalid_request_error") /* versions, names or hashes differ */

enum status {
#define X(id, name, http, type) STATUS_##id,
    STATUS_LIST(X)
#undef X
        STATUS_COUNT
};

/* Names are lower case ("queue_full"); valid for the life of the process. Any thread. */
const char *status_name(enum status status);
int status_http(enum status status);
const char *status_openai_type(enum status status);

/* Exit status of a program whose start was refused: nothing but another command line or another folder
 * mends it, so it is not started again. EXIT_FAILURE: it may get better. */
#define EXIT_REFUSED 2
int status_exit(enum status status);

struct err {
    enum status status;
    char text[320]; /* one sentence without a full stop at its end, NUL-terminated */
};

/* Fills *err (when not NULL) and returns `status`, so that `return err_set(...)` reads well. */
enum status err_set(struct err *err, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "context: " before the text already in *err; returns err->status (or `status` if NULL). */
enum status err_prefix(struct err *err, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum status try_status_ = (expr);                                                          \
        if (try_status_ != STATUS_OK)                                                              \
            return try_status_;                                                                    \
    } while (0)

#define TRY_OUT(expr)                                                                              \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != STATUS_OK)                                                                   \
            goto out;                                                                              \
    } while (0)

#endif
