/* Snappy, block format. A few bytes can announce gigabytes; nothing is allocated on their word. */
#include "wire/wire.h"

#include "base/heap.h"

#include <snappy-c.h>

/* The densest element is a copy with a two-byte offset: 3 bytes that make 64. */
#define DENSEST_IN  3
#define DENSEST_OUT 64

enum status wire_unsnap(struct sv in, size_t max_bytes, struct arena *arena, struct sv *ret,
                        struct err *err)
{
    size_t n, got;
    char *p;

    if (snappy_uncompressed_length(in.p, in.n, &n) != SNAPPY_OK)
        return err_set(err, ST_INVALID, "body is not in snappy block format");
    if (n > max_bytes)
        return err_set(err, ST_TOOBIG, "body is %zu bytes when decompressed, more than %zu", n,
                       max_bytes);
    if (n / DENSEST_OUT > in.n / DENSEST_IN)
        return err_set(err, ST_INVALID,
                       "body of %zu bytes announces %zu decompressed, more than snappy can pack",
                       in.n, n);
    p = arena_alloc(arena, n + 1);
    if (!p)
        return err_set(err, ST_LIMIT, "no memory left for this request (%zu bytes)",
                       arena->max_bytes);
    got = n;
    if (snappy_uncompress(in.p, in.n, p, &got) != SNAPPY_OK || got != n)
        return err_set(err, ST_INVALID, "body is damaged: snappy can't decompress it");
    *ret = sv_make(p, n);
    return ST_OK;
}

void wire_snap(struct buf *out, struct sv in)
{
    size_t n = snappy_max_compressed_length(in.n);

    if (!buf_reserve(out, n))
        return;
    if (snappy_compress(in.p, in.n, out->p + out->n, &n) == SNAPPY_OK)
        out->n += n;
    else
        out->over = true;
}
