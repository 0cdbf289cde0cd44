/* base - the few macros that every file uses.
 *
 * CHECK() is for programmer errors and is always on: it prints the condition and aborts.
 * DCHECK() is CHECK() in debug builds and nothing in release builds: for hot loops.
 * Operating errors (client, network, file, device) are never CHECKed: see common/status.h.
 */
#ifndef MSGL_COMMON_BASE_H
#define MSGL_COMMON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define DIV_CEIL(a, b)                  (((a) + (b)-1) / (b))
#define ROUND_UP(a, b)                  (DIV_CEIL(a, b) * (b))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MUST_USE               __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN               __attribute__((noreturn))
#define UNUSED                 __attribute__((unused))

/* For the few inline functions that kernels share with the host. */
#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif

/* Prints "file:line: what" on standard error and aborts. */
NORETURN void check_failed(const char *file, int line, const char *what);

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
#ifdef NDEBUG
#define DCHECK(cond) ((void)sizeof(cond))
#else
#define DCHECK(cond) CHECK(cond)
#endif

#endif
