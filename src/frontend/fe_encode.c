/* A value as bytes, for the cache and for those who share a flight. Floats come back bit for bit.
 *
 *   item     "FEV1" | crc32c u32 of what follows | kind u8 | complete u8 | snappy of the body
 *   body     rows uvarint, then each:
 *              labels uvarint, each: name, value (uvarint length, bytes)
 *              points uvarint
 *              times, varint: the first, the difference to the next, then differences of differences
 *              values, 8 bytes each: the bits, XORed with those before
 *            warnings uvarint, each a text; infos likewise
 *
 * Times on a grid and values that stand still become runs that snappy takes to nothing. */
#include "base/codec.h"
#include "base/heap.h"
#include "fe_int.h"
#include "wire/wire.h"

#define MAGIC "FEV1"
#define HEADER 10u
#define BODY_MAX ((size_t)512 << 20)

static bool row_range(const struct row *row, int64_t from_ms, int64_t to_ms, size_t *ret_from,
                      size_t *ret_to)
{
    size_t a = 0, b = row->n;

    while (a < b && row->t_ms[a] < from_ms)
        a++;
    while (b > a && row->t_ms[b - 1] > to_ms)
        b--;
    *ret_from = a;
    *ret_to = b;
    return a < b;
}

static void put_text(struct buf *out, struct sv s)
{
    buf_uvarint(out, s.n);
    buf_sv(out, s);
}

static void put_row(struct buf *out, const struct row *row, size_t a, size_t b)
{
    int64_t t = 0, delta = 0;
    uint64_t before = 0;

    buf_uvarint(out, row->labels.n);
    for (size_t i = 0; i < row->labels.n; i++) {
        put_text(out, row->labels.p[i].name);
        put_text(out, row->labels.p[i].value);
    }
    buf_uvarint(out, b - a);
    for (size_t i = a; i < b; i++) {
        int64_t d = (int64_t)((uint64_t)row->t_ms[i] - (uint64_t)t);

        buf_varint(out, i == a ? d : (int64_t)((uint64_t)d - (uint64_t)delta));
        delta = i == a ? 0 : d;
        t = row->t_ms[i];
    }
    for (size_t i = a; i < b; i++) {
        uint64_t bits = f64_bits(row->f[i]);

        buf_le64(out, bits ^ before);
        before = bits;
    }
}

static void put_texts(struct buf *out, const struct sv *texts, size_t n)
{
    buf_uvarint(out, n);
    for (size_t i = 0; i < n; i++)
        put_text(out, texts[i]);
}

bool fe_encode(struct buf *out, const struct value *v, int64_t from_ms, int64_t to_ms)
{
    struct buf body;
    size_t rows = 0, a, b, start = out->n;
    uint32_t crc;
    bool ok;

    if (v->kind == VALUE_STRING || v->kind == VALUE_NONE)
        return false;
    for (size_t i = 0; i < v->rows_n; i++) {
        if (v->rows[i].h)
            return false;
        rows += row_range(&v->rows[i], from_ms, to_ms, &a, &b);
    }
    buf_init(&body, BODY_MAX);
    buf_uvarint(&body, rows);
    for (size_t i = 0; i < v->rows_n; i++)
        if (row_range(&v->rows[i], from_ms, to_ms, &a, &b))
            put_row(&body, &v->rows[i], a, b);
    put_texts(&body, v->warnings, v->warnings_n);
    put_texts(&body, v->infos, v->infos_n);
    ok = buf_ok(&body);
    buf_str(out, MAGIC);
    buf_le32(out, 0);
    buf_u8(out, (uint8_t)v->kind);
    buf_u8(out, v->complete);
    if (ok)
        wire_snap(out, buf_view(&body));
    buf_fini(&body);
    if (!ok || !buf_ok(out))
        return false;
    crc = crc32c(0, out->p + start + 8, out->n - start - 8);
    for (size_t i = 0; i < 4; i++)
        out->p[start + 4 + i] = (char)(crc >> (8 * i));
    return true;
}

/* Views: the body lives in the arena as well. */
static bool get_text(struct cur *c, struct sv *ret)
{
    *ret = cur_uvarint_bytes(c);
    return !c->bad;
}

static bool get_row(struct cur *c, struct arena *arena, struct row *row)
{
    uint64_t n = cur_uvarint(c), before = 0;
    int64_t t = 0, delta = 0, *times;
    double *f;

    if (n > cur_left(c) / 2)
        return false;
    row->labels.p = arena_array(arena, n ? n : 1, sizeof(*row->labels.p));
    row->labels.n = n;
    for (size_t i = 0; row->labels.p && i < n; i++)
        if (!get_text(c, &row->labels.p[i].name) || !get_text(c, &row->labels.p[i].value))
            return false;
    n = cur_uvarint(c);
    if (n > cur_left(c) / 9)
        return false;
    row->t_ms = times = arena_alloc(arena, (n ? n : 1) * sizeof(*times));
    row->f = f = arena_alloc(arena, (n ? n : 1) * sizeof(*f));
    if (arena_over(arena))
        return false;
    for (size_t i = 0; i < n; i++) {
        uint64_t d = (uint64_t)cur_varint(c);

        delta = i == 0 ? (int64_t)d : (int64_t)(d + (uint64_t)delta);
        t = (int64_t)((uint64_t)t + (uint64_t)delta);
        if (i == 0)
            delta = 0;
        times[i] = t;
        if (i && t <= times[i - 1])
            return false;
    }
    for (size_t i = 0; i < n; i++) {
        before ^= cur_le64(c);
        f[i] = f64_of_bits(before);
    }
    row->n = n;
    return !c->bad;
}

static bool get_texts(struct cur *c, struct arena *arena, struct sv **ret, size_t *ret_n)
{
    uint64_t n = cur_uvarint(c);

    if (n > cur_left(c))
        return false;
    *ret = arena_array(arena, n ? n : 1, sizeof(**ret));
    *ret_n = n;
    for (size_t i = 0; *ret && i < n; i++)
        if (!get_text(c, &(*ret)[i]))
            return false;
    return !c->bad;
}

/* A scalar is one point; a row of a vector is one point. */
static bool right_shape(const struct value *v)
{
    bool ok = v->kind != VALUE_SCALAR || v->rows_n == 1;

    for (size_t i = 0; i < v->rows_n && v->kind != VALUE_MATRIX; i++)
        ok &= v->rows[i].n == 1;
    return ok;
}

static bool get_value(struct cur *c, struct arena *arena, struct value *v)
{
    uint64_t rows = cur_uvarint(c);

    if (rows > cur_left(c) / 2)
        return false;
    v->rows = arena_array(arena, rows ? rows : 1, sizeof(*v->rows));
    v->rows_n = rows;
    for (size_t i = 0; v->rows && i < rows; i++)
        if (!get_row(c, arena, &v->rows[i]))
            return false;
    return right_shape(v) && get_texts(c, arena, &v->warnings, &v->warnings_n) &&
           get_texts(c, arena, &v->infos, &v->infos_n) && cur_left(c) == 0;
}

enum status fe_decode(struct sv bytes, struct arena *arena, struct value **ret, struct err *err)
{
    struct cur c = cur_of(bytes);
    struct sv magic = cur_bytes(&c, 4), body;
    uint32_t crc = cur_le32(&c);
    struct value *v;
    uint8_t kind, complete;

    if (c.bad || !sv_is(magic, MAGIC) || crc32c(0, c.p, cur_left(&c)) != crc)
        return err_set(err, ST_CORRUPT, "cache item: bad magic or checksum");
    kind = cur_u8(&c);
    complete = cur_u8(&c);
    if (c.bad || (kind != VALUE_SCALAR && kind != VALUE_VECTOR && kind != VALUE_MATRIX))
        return err_set(err, ST_CORRUPT, "cache item: unknown kind %u", kind);
    TRY(wire_unsnap(sv_make(c.p, cur_left(&c)), BODY_MAX, arena, &body, err));
    v = arena_new(arena, struct value);
    if (!v)
        return err_set(err, ST_LIMIT, "cache item: more than %zu bytes", arena->max_bytes);
    v->kind = (enum value_kind)kind;
    v->complete = complete;
    c = cur_of(body);
    if (!get_value(&c, arena, v))
        return arena_over(arena)
                   ? err_set(err, ST_LIMIT, "cache item: more than %zu bytes", arena->max_bytes)
                   : err_set(err, ST_CORRUPT, "cache item: damaged body");
    *ret = v;
    return ST_OK;
}

bool fe_infos_sign(struct value *v, struct arena *arena, struct sv text)
{
    struct sv *infos;

    if (!v->infos_n)
        return true;
    infos = arena_array(arena, v->infos_n + 1, sizeof(*infos));
    if (!infos)
        return false;
    memcpy(infos, v->infos, v->infos_n * sizeof(*infos));
    infos[v->infos_n] = text;
    v->infos = infos;
    v->infos_n++;
    return true;
}

bool fe_infos_check(struct value *v, struct sv text)
{
    if (!v->infos_n)
        return true;
    v->infos_n--;
    return sv_eq(v->infos[v->infos_n], text);
}
