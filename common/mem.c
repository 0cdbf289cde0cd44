#include "common/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one mutable static of this file: a statistic, never read by production logic. */
static atomic_uint_fast64_t alloc_count;

static void *checked(void *ptr, size_t bytes)
{
    if (!ptr) {
        fprintf(stderr, "out of memory: %zu bytes\n", bytes);
        abort();
    }
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    return ptr;
}

void *mem_alloc(size_t bytes)
{
    return checked(malloc(bytes ? bytes : 1), bytes);
}

void *mem_zalloc(size_t bytes)
{
    return checked(calloc(1, bytes ? bytes : 1), bytes);
}

void *mem_array(size_t count, size_t item_bytes)
{
    size_t bytes;
    CHECK(!__builtin_mul_overflow(count, item_bytes, &bytes));
    return mem_zalloc(bytes);
}

void *mem_realloc(void *ptr, size_t bytes)
{
    return checked(realloc(ptr, bytes ? bytes : 1), bytes);
}

void *mem_aligned(size_t bytes, size_t align)
{
    size_t rounded = ROUND_UP(bytes ? bytes : 1, align);
    void *ptr = checked(aligned_alloc(align, rounded), bytes);
    memset(ptr, 0, rounded);
    return ptr;
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

void mem_free(void *ptr)
{
    free(ptr);
}

uint64_t mem_alloc_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}
