/* include/base/vec.h
 *
 * A typed growing array: `VEC(struct thing) things = {0};`. Heap memory; vec_free() empties it.
 * Loop with a plain for over .p and .n. Ceilings are the caller's.
 */
#ifndef ENGRAM_BASE_VEC_H
#define ENGRAM_BASE_VEC_H

#include "base/heap.h"

#include <stddef.h>

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *p;                                                                                      \
        size_t n, cap;                                                                             \
    }

void *vec_grow_(void *p, size_t *cap, size_t want, size_t size);

#define vec_reserve(v, want)                                                                       \
    ((want) > (v)->cap ? (void)((v)->p = vec_grow_((v)->p, &(v)->cap, (want), sizeof(*(v)->p)))     \
                       : (void)0)
#define vec_push(v, x) (vec_reserve(v, (v)->n + 1), (v)->p[(v)->n++] = (x))
/* A cleared new element at the end; its address. */
#define vec_add(v)                                                                                 \
    (vec_reserve(v, (v)->n + 1), memset(&(v)->p[(v)->n], 0, sizeof(*(v)->p)), &(v)->p[(v)->n++])
#define vec_free(v) (heap_free((v)->p), (v)->p = NULL, (v)->n = 0, (v)->cap = 0)

#endif
