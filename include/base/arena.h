/* include/base/arena.h
 *
 * Bump allocation with a ceiling: memory that dies together (a request, a sub-query, a cut).
 *
 * Over the ceiling arena_alloc() returns NULL and arena_over() is true from then on until
 * arena_reset(); decoders turn that into ST_LIMIT. All memory is 16-byte aligned, not cleared.
 *
 * Threads: one at a time. Memory: blocks grow from 4 KiB to 1 MiB; arena_reset() keeps one.
 */
#ifndef ENGRAM_BASE_ARENA_H
#define ENGRAM_BASE_ARENA_H

#include "base/sv.h"

struct arena_block;

struct arena {
    struct arena_block *head;
    char *at, *end;
    size_t used_bytes; /* asked for by callers since the last reset */
    size_t max_bytes;
    bool over;
};

struct arena_mark {
    struct arena_block *block;
    char *at;
    size_t used_bytes;
};

void arena_init(struct arena *a, size_t max_bytes);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a);
void *arena_alloc(struct arena *a, size_t bytes);                    /* NULL over the ceiling */
void *arena_zalloc(struct arena *a, size_t bytes);
void *arena_array(struct arena *a, size_t count, size_t size);       /* cleared */
struct sv arena_sv(struct arena *a, struct sv s);                    /* copy; p NULL when over */
char *arena_str(struct arena *a, struct sv s);                       /* NUL-terminated copy */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
static inline bool arena_over(const struct arena *a)
{
    return a->over;
}
/* Everything allocated after the mark is given back. */
struct arena_mark arena_mark(const struct arena *a);
void arena_back(struct arena *a, struct arena_mark m);

#define arena_new(a, type) ((type *)arena_zalloc((a), sizeof(type)))

#endif
