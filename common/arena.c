#include "common/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define ARENA_BLOCK_BYTES 8192
#define ARENA_ALIGN       16

struct arena_block {
    struct arena_block *next;
    size_t cap;
    size_t used;
    size_t pad; /* keeps data[] 16-byte aligned */
    char data[];
};

void arena_init(struct arena *arena)
{
    memset(arena, 0, sizeof(*arena));
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    struct arena_block *block = arena->head;
    size_t need = ROUND_UP(bytes ? bytes : 1, (size_t)ARENA_ALIGN);
    void *ptr;

    if (!block || block->cap - block->used < need) {
        size_t cap = MAX(need, block ? MIN(block->cap * 2, (size_t)1 << 20) : ARENA_BLOCK_BYTES);
        block = mem_alloc(sizeof(*block) + cap);
        block->next = arena->head;
        block->cap = cap;
        block->used = 0;
        arena->head = block;
    }
    ptr = block->data + block->used;
    block->used += need;
    arena->used_bytes += need;
    return ptr;
}

void *arena_zalloc(struct arena *arena, size_t bytes)
{
    return memset(arena_alloc(arena, bytes), 0, bytes);
}

void *arena_array(struct arena *arena, size_t count, size_t item_bytes)
{
    size_t bytes;
    CHECK(!__builtin_mul_overflow(count, item_bytes, &bytes));
    return arena_zalloc(arena, bytes);
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    char *copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    int len;
    char *text;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    text = arena_alloc(arena, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}

static void free_blocks(struct arena_block *block)
{
    while (block) {
        struct arena_block *next = block->next;
        mem_free(block);
        block = next;
    }
}

void arena_reset(struct arena *arena)
{
    if (arena->head) {
        free_blocks(arena->head->next);
        arena->head->next = NULL;
        arena->head->used = 0;
    }
    arena->used_bytes = 0;
}

void arena_release(struct arena *arena)
{
    free_blocks(arena->head);
    arena_init(arena);
}
