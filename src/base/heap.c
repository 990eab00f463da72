/* malloc that does not fail: budgets and ceilings are the error path, so running out here is a
 * crash with a message. The only file of the house that calls malloc. */
#include "base/heap.h"

#include "base/vec.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

NORETURN static void out_of_memory(size_t bytes)
{
    fprintf(stderr, "engram: out of memory asking for %zu bytes\n", bytes);
    abort();
}

void *heap_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);

    if (UNLIKELY(!p))
        out_of_memory(bytes);
    return p;
}

void *heap_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);

    if (UNLIKELY(!p))
        out_of_memory(bytes);
    return p;
}

void *heap_array(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);

    if (UNLIKELY(!p))
        out_of_memory(count);
    return p;
}

void *heap_realloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes ? bytes : 1);

    if (UNLIKELY(!q))
        out_of_memory(bytes);
    return q;
}

void *heap_dup(const void *p, size_t bytes)
{
    void *q = heap_alloc(bytes);

    if (bytes)
        memcpy(q, p, bytes);
    return q;
}

char *heap_strn(const char *p, size_t n)
{
    char *q = heap_alloc(n + 1);

    if (n)
        memcpy(q, p, n);
    q[n] = 0;
    return q;
}

void heap_free(void *p)
{
    free(p);
}

void *vec_grow_(void *p, size_t *cap, size_t want, size_t size)
{
    size_t n = *cap ? *cap : 8;

    while (n < want)
        n += n / 2 + 8;
    if (UNLIKELY(n > SIZE_MAX / 2 / (size ? size : 1)))
        out_of_memory(want);
    *cap = n;
    return heap_realloc(p, n * size);
}
