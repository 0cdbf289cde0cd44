/* mem - heap allocation that never returns NULL.
 *
 * Out of memory prints the size and exits: nothing in this system can go on without what it asked
 * for, and every size that a client can influence is bounded before it gets here.
 * mem_alloc_count() lets a test prove that a steady step allocates nothing. Any thread.
 */
#ifndef MSGL_COMMON_MEM_H
#define MSGL_COMMON_MEM_H

#include "common/base.h"

void *mem_alloc(size_t bytes);                    /* uninitialised; bytes 0 gives a valid pointer */
void *mem_zalloc(size_t bytes);                   /* zeroed */
void *mem_array(size_t count, size_t item_bytes); /* zeroed, overflow-checked */
void *mem_realloc(void *ptr, size_t bytes);
void *mem_aligned(size_t bytes, size_t align); /* zeroed; free with mem_free */
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t len);
void mem_free(void *ptr);       /* NULL is fine */
uint64_t mem_alloc_count(void); /* allocations since start, all threads */

#endif
