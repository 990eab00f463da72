/* Bump allocation. Blocks form a list, newest first; a block holds its size in front. A request
 * larger than a block gets one of its own. */
#include "base/arena.h"

#include "base/heap.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define BLOCK_MIN ((size_t)4096)
#define BLOCK_MAX ((size_t)1 << 20)
#define ALIGN     16

struct arena_block {
    struct arena_block *next;
    size_t bytes; /* of data */
    char data[] __attribute__((aligned(ALIGN)));
};

void arena_init(struct arena *a, size_t max_bytes)
{
    memset(a, 0, sizeof(*a));
    a->max_bytes = max_bytes;
}

void arena_fini(struct arena *a)
{
    struct arena_block *b = a->head;

    while (b) {
        struct arena_block *next = b->next;
        heap_free(b);
        b = next;
    }
    a->head = NULL;
    a->at = a->end = NULL;
    a->used_bytes = 0;
}

void arena_reset(struct arena *a)
{
    arena_back(a, (struct arena_mark){0});
    a->over = false;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){a->head, a->at, a->used_bytes};
}

void arena_back(struct arena *a, struct arena_mark m)
{
    struct arena_block *b = a->head;

    while (b && b != m.block) {
        struct arena_block *next = b->next;
        if (!next && !m.block) { /* the last block is kept for the next round */
            a->head = b;
            a->at = b->data;
            a->end = b->data + b->bytes;
            a->used_bytes = 0;
            return;
        }
        heap_free(b);
        b = next;
    }
    assert(b == m.block);
    a->head = b;
    a->at = m.at;
    a->end = b ? b->data + b->bytes : NULL;
    a->used_bytes = m.used_bytes;
}

static void add_block(struct arena *a, size_t bytes)
{
    size_t size = a->head ? a->head->bytes * 2 : BLOCK_MIN;
    struct arena_block *b;

    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    if (size < bytes)
        size = bytes;
    b = heap_alloc(sizeof(*b) + size);
    b->next = a->head;
    b->bytes = size;
    a->head = b;
    a->at = b->data;
    a->end = b->data + size;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    char *p;

    if (UNLIKELY(bytes > a->max_bytes || a->used_bytes + bytes > a->max_bytes || a->over)) {
        a->over = true;
        return NULL;
    }
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (UNLIKELY((size_t)(a->end - a->at) < bytes))
        add_block(a, bytes);
    p = a->at;
    a->at += bytes;
    a->used_bytes += bytes;
    return p;
}

void *arena_zalloc(struct arena *a, size_t bytes)
{
    void *p = arena_alloc(a, bytes);

    if (p)
        memset(p, 0, bytes);
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        a->over = true;
        return NULL;
    }
    return arena_zalloc(a, bytes);
}

struct sv arena_sv(struct arena *a, struct sv s)
{
    char *p = arena_str(a, s);

    return p ? (struct sv){p, s.n} : (struct sv){NULL, 0};
}

char *arena_str(struct arena *a, struct sv s)
{
    char *p = arena_alloc(a, s.n + 1);

    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *p;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return p;
}
