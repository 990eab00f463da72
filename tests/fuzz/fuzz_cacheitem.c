/* Fuzz target: items of the results cache. The input is tried as an item as it stands, and as the body of
 * an item whose checksum and packing are right (first byte: kind and completeness), so that the fuzzer
 * gets past both. What decodes must encode and decode to the same. */
#include "../../src/frontend/fe_int.h"
#include "wire/wire.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)64 << 20)
#define HEADER 8u /* magic, checksum */

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool ascending(const struct value *v)
{
    for (size_t i = 0; i < v->rows_n; i++)
        for (size_t k = 1; k < v->rows[i].n; k++)
            if (v->rows[i].t_ms[k] <= v->rows[i].t_ms[k - 1])
                return false;
    return true;
}

static void try_item(struct sv item)
{
    struct arena arena;
    struct value *v, *again;
    struct buf out;
    struct err err = ERR_INIT;

    arena_init(&arena, ARENA_MAX);
    buf_init(&out, ARENA_MAX);
    if (fe_decode(item, &arena, &v, &err) == ST_OK) {
        if (!ascending(v))
            abort();
        if (v->kind == VALUE_SCALAR && (v->rows_n != 1 || v->rows[0].n != 1))
            abort();
        /* Rows without points are dropped in writing. */
        bool all = true;

        for (size_t i = 0; i < v->rows_n; i++)
            all &= v->rows[i].n > 0;
        if (fe_encode(&out, v, INT64_MIN, INT64_MAX) && all) {
            if (fe_decode(buf_view(&out), &arena, &again, &err) != ST_OK) {
                if (err.st != ST_LIMIT)
                    abort();
            } else if (!value_eq(v, again) || v->complete != again->complete) {
                abort();
            }
        }
    }
    buf_fini(&out);
    arena_fini(&arena);
}

static void packed(struct buf *item, uint8_t kind, bool complete, struct sv body)
{
    uint32_t crc;

    buf_str(item, "FEV1");
    buf_le32(item, 0);
    buf_u8(item, kind);
    buf_u8(item, complete);
    wire_snap(item, body);
    crc = crc32c(0, item->p + HEADER, item->n - HEADER);
    for (size_t i = 0; i < 4; i++)
        item->p[4 + i] = (char)(crc >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct buf item;

    try_item(sv_make(p ? (const char *)p : "", n));
    if (n < 1)
        return 0;
    buf_init(&item, ARENA_MAX);
    packed(&item, p[0] & 7, p[0] & 8, sv_make((const char *)p + 1, n - 1));
    try_item(buf_view(&item));
    buf_fini(&item);
    return 0;
}
