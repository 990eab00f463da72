/* Cuts a column of samples into XOR chunks. Each is encoded on the stack and copied, as long as it
 * has become, into the arena: no chunk carries the slack of its worst case. */
#include "tsdb/chunk.h"

#include <assert.h>

/* The slack lets the appender's rule (CHUNK_XOR_NEED spare bytes) hold up to the last sample. */
enum { SCRATCH = CHUNK_XOR_MAX_BYTES + CHUNK_XOR_NEED };

static bool encode_one(const struct samples *s, size_t from, size_t n, struct arena *arena,
                       struct chunk *ret)
{
    uint8_t scratch[SCRATCH];
    struct chunk_xor c;

    chunk_xor_begin(&c, scratch, SCRATCH);
    for (size_t i = from; i < from + n; i++)
        chunk_xor_append(&c, s->t_ms[i], s->f[i]);
    *ret = (struct chunk){s->t_ms[from], s->t_ms[from + n - 1], CHUNK_XOR,
                          arena_sv(arena, sv_make(scratch, c.n_bytes))};
    return ret->data.p != NULL;
}

enum status chunk_encode(const struct samples *s, struct arena *arena, struct chunk_list *ret,
                         struct err *err)
{
    size_t n = (s->n + CHUNK_SAMPLES - 1) / CHUNK_SAMPLES;
    struct chunk_list list = {NULL, 0, n};

    if (s->h)
        for (size_t i = 0; i < s->n; i++)
            if (s->h[i])
                return err_set(err, ST_INVALID, "native histograms can't be put into chunks yet");
    for (size_t i = 1; i < s->n; i++)
        if (s->t_ms[i] <= s->t_ms[i - 1])
            return err_set(err, ST_BUG, "samples for chunks don't ascend at %zu", i);
    if (n && !(list.p = arena_array(arena, n, sizeof(*list.p))))
        return err_set(err, ST_LIMIT, "no room for %zu chunks", n);
    for (size_t from = 0; from < s->n; from += CHUNK_SAMPLES) {
        size_t m = s->n - from < CHUNK_SAMPLES ? s->n - from : CHUNK_SAMPLES;

        assert(list.n < list.cap);
        if (!encode_one(s, from, m, arena, &list.p[list.n]))
            return err_set(err, ST_LIMIT, "no room for %zu chunks", n);
        list.n++;
    }
    *ret = list;
    return ST_OK;
}
