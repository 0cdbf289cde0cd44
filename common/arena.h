/* arena - memory that lives and dies together: one per router call.
 *
 *   struct arena ──► block ──► block ──► NULL      newest first; each block is bumped from its start
 *
 * Nothing points into an arena from outside its owner. Not thread-safe: one owner at a time.
 */
#ifndef MSGL_COMMON_ARENA_H
#define MSGL_COMMON_ARENA_H

#include "common/base.h"

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used_bytes; /* handed out since init or reset */
};

void arena_init(struct arena *arena);
void *arena_alloc(struct arena *arena, size_t bytes); /* 16-byte aligned, uninitialised */
void *arena_zalloc(struct arena *arena, size_t bytes);
void *arena_array(struct arena *arena, size_t count, size_t item_bytes); /* zeroed */
char *arena_strndup(struct arena *arena, const char *text, size_t len);  /* NUL-terminated */
char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
void arena_reset(struct arena *arena);   /* forgets everything, keeps the newest block */
void arena_release(struct arena *arena); /* frees everything; safe on a zeroed struct */

#endif
