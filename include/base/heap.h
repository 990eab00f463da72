/* include/base/heap.h
 *
 * The allocator of the house. Running out of memory is a crash with a message: budgets
 * (base/budget.h) and ceilings are the error path, so code is not written twice.
 *
 * Threads: any. Memory: what it returns is freed with heap_free(), which takes NULL.
 */
#ifndef ENGRAM_BASE_HEAP_H
#define ENGRAM_BASE_HEAP_H

#include "base/attr.h"

#include <stddef.h>

void *heap_alloc(size_t bytes) NODISCARD;                    /* not cleared */
void *heap_zalloc(size_t bytes) NODISCARD;                   /* cleared */
void *heap_array(size_t count, size_t size) NODISCARD;       /* cleared; overflow aborts */
void *heap_realloc(void *p, size_t bytes) NODISCARD;
void *heap_dup(const void *p, size_t bytes) NODISCARD;       /* NULL-safe when bytes is 0 */
char *heap_strn(const char *p, size_t n) NODISCARD;          /* NUL-terminated copy */
void heap_free(void *p);

#define heap_new(type) ((type *)heap_zalloc(sizeof(type)))

#endif
