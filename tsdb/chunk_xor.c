/* XOR chunks: Prometheus's encoding 1, bit for bit.
 *
 *   +----------------+---------------------------------------------------------------+
 *   | count  be16    | bit stream, most significant bit first, last byte zero-filled |
 *   +----------------+---------------------------------------------------------------+
 *
 *   sample 0   varint t (Go's zig-zag)     64 bits of the value
 *   sample 1   uvarint t - t'              value step
 *   sample n   step of the time step       value step
 *
 *   dod = (t - t') - (t' - t'')                        value step: x = bits(v) ^ bits(v')
 *     0                       0                          0                            x == 0
 *     10   14 bits            -8191 .. 8192              10  x >> trailing            inside the window
 *     110  17 bits           -65535 .. 65536             11  leading:5  width:6  bits new window
 *     1110 20 bits          -524287 .. 524288
 *     1111 64 bits            else
 *
 * Of an n-bit dod a value above 1 << (n - 1) means itself minus 1 << n. leading is clamped to 31;
 * width 0 means 64. The window (leading, trailing) is kept until a value does not fit into it.
 *
 * A time step is computed modulo 2^64, as Go does; the decoder refuses times that do not ascend,
 * because everything above relies on it.
 */
#include "tsdb/chunk.h"

#include "bits.h"

#include <assert.h>

enum { NO_WINDOW = 0xff }; /* leading before the first value step that opens a window */

static void put_varint(struct bits_out *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        bits_put(b, (v & 0x7f) | 0x80, 8);
    bits_put(b, v, 8);
}

/* In range of an n-bit dod? Prometheus's range is lopsided: -(2^(n-1) - 1) .. 2^(n-1). */
static inline bool fits(int64_t dod, unsigned n)
{
    return dod > -(INT64_C(1) << (n - 1)) && dod <= INT64_C(1) << (n - 1);
}

static inline void put_dod(struct bits_out *b, int64_t dod)
{
    uint64_t u = (uint64_t)dod;

    if (dod == 0) {
        bits_put(b, 0, 1);
    } else if (fits(dod, 14)) {
        bits_put(b, UINT64_C(2) << 14 | (u & 0x3fff), 16);
    } else if (fits(dod, 17)) {
        bits_put(b, UINT64_C(6) << 17 | (u & 0x1ffff), 20);
    } else if (fits(dod, 20)) {
        bits_put(b, UINT64_C(14) << 20 | (u & 0xfffff), 24);
    } else {
        bits_put(b, 15, 4);
        bits_put(b, u, 64);
    }
}

static inline void put_value(struct chunk_xor *c, struct bits_out *b, double v)
{
    uint64_t x = f64_bits(v) ^ f64_bits(c->v);
    unsigned leading, trailing, width;

    if (x == 0) {
        bits_put(b, 0, 1);
        return;
    }
    leading = (unsigned)__builtin_clzll(x);
    trailing = (unsigned)__builtin_ctzll(x);
    if (leading > 31)
        leading = 31;
    if (c->leading != NO_WINDOW && leading >= c->leading && trailing >= c->trailing) {
        bits_put(b, 2, 2);
        bits_put(b, x >> c->trailing, 64u - c->leading - c->trailing);
        return;
    }
    c->leading = (uint8_t)leading;
    c->trailing = (uint8_t)trailing;
    width = 64 - leading - trailing;
    bits_put(b, UINT64_C(3) << 11 | (uint64_t)leading << 6 | (width & 63), 13);
    bits_put(b, x >> trailing, width);
}

void chunk_xor_begin(struct chunk_xor *c, uint8_t *p, uint16_t cap)
{
    assert(cap >= CHUNK_XOR_NEED);
    *c = (struct chunk_xor){.p = p, .n_bytes = 2, .cap = cap, .leading = NO_WINDOW};
    p[0] = p[1] = 0;
}

void chunk_xor_append(struct chunk_xor *c, int64_t t_ms, double v)
{
    struct bits_out b = bits_out_at(c->p + c->n_bytes, c->bits_free);
    uint64_t delta = (uint64_t)t_ms - (uint64_t)c->t_ms;
    unsigned bits_free;
    uint8_t *end;

    assert(c->cap - c->n_bytes >= CHUNK_XOR_NEED && c->count < UINT16_MAX);
    assert(c->count == 0 || t_ms > c->t_ms);
    if (c->count == 0) {
        put_varint(&b, (uint64_t)t_ms << 1 ^ (uint64_t)(t_ms >> 63));
        bits_put(&b, f64_bits(v), 64);
        delta = 0;
    } else {
        if (c->count == 1)
            put_varint(&b, delta);
        else
            put_dod(&b, (int64_t)(delta - (uint64_t)c->delta_ms));
        put_value(c, &b, v);
    }
    end = bits_out_end(&b, &bits_free);
    assert(end <= c->p + c->cap);
    c->n_bytes = (uint16_t)(end - c->p);
    c->bits_free = (uint8_t)bits_free;
    c->t_ms = t_ms;
    c->delta_ms = (int64_t)delta;
    c->v = v;
    c->count++;
    c->p[0] = (uint8_t)(c->count >> 8);
    c->p[1] = (uint8_t)c->count;
}

/* --- decoding --- */

struct dec {
    struct bits_in b;
    unsigned left;   /* samples not yet decoded */
    unsigned count;  /* of the header */
    unsigned leading, trailing;
    int64_t t_ms;
    uint64_t delta, v;
};

/* The wide dods, which begin with "11". Out of line: they are rare. */
static uint64_t get_wide_dod(struct bits_in *b)
{
    static const uint8_t width[] = {17, 20, 64};
    /* the number of leading ones, at most four, is the size code */
    unsigned ones = (unsigned)__builtin_clzll(~bits_peek(b) | UINT64_C(1) << 59), n;
    uint64_t u;

    assert(ones >= 2 && ones <= 4);
    n = width[ones - 2];
    bits_skip(b, ones < 4 ? ones + 1 : 4);
    u = bits_get(b, n);
    if (n < 64 && u > UINT64_C(1) << (n - 1))
        u -= UINT64_C(1) << n;
    return u;
}

/* The dod when it is short, from the word at hand; *used is what it took, 0 when it is wide. */
static inline uint64_t short_dod(uint64_t w, unsigned *used)
{
    uint64_t u;

    if (!(w >> 63)) {
        *used = 1;
        return 0;
    }
    if (w >> 62 != 2) {
        *used = 0;
        return 0;
    }
    *used = 16;
    u = w >> 48 & 0x3fff;
    return u > 1 << 13 ? u - (1 << 14) : u;
}

/* The value step. `used` bits (16 at most) of the word w at the stream's place are behind us; as much
 * as possible is taken out of the same word. */
static inline void get_value(struct dec *d, uint64_t w, unsigned used)
{
    unsigned width;

    w <<= used;
    if (!(w >> 63)) {
        bits_skip(&d->b, used + 1);
        return;
    }
    if (w >> 62 == 2) {
        if (UNLIKELY(d->leading == NO_WINDOW)) {
            d->b.bad = true;
            return;
        }
        used += 2;
        w <<= 2;
        width = 64 - d->leading - d->trailing;
    } else {
        width = w >> 51 & 63;
        width = width ? width : 64;
        d->leading = w >> 57 & 31;
        if (UNLIKELY(d->leading + width > 64)) {
            d->b.bad = true;
            return;
        }
        d->trailing = 64 - d->leading - width;
        used += 13;
        w <<= 13;
    }
    if (LIKELY(used + width <= 57)) {
        d->v ^= w >> (64 - width) << d->trailing;
        bits_skip(&d->b, used + width);
        return;
    }
    bits_skip(&d->b, used);
    d->v ^= bits_get(&d->b, width) << d->trailing;
}

static bool dec_begin(struct dec *d, struct sv data)
{
    const uint8_t *p = (const uint8_t *)data.p;

    if (data.n < 2)
        return false;
    *d = (struct dec){.leading = NO_WINDOW, .count = (unsigned)p[0] << 8 | p[1]};
    d->left = d->count;
    d->b = bits_in_of(sv_make(p + 2, data.n - 2));
    return true;
}

/* The next sample into d->t_ms and d->v. false: the bytes are not sound. d->left is the caller's. */
static inline bool dec_next(struct dec *d)
{
    int64_t before = d->t_ms;
    unsigned used = 0;
    uint64_t w;

    if (UNLIKELY(d->left == d->count)) {
        d->t_ms = bits_varint(&d->b);
        d->v = bits_get(&d->b, 64);
        return !d->b.bad;
    }
    if (UNLIKELY(d->left == d->count - 1)) {
        d->delta = bits_uvarint(&d->b);
        w = bits_peek(&d->b);
    } else {
        w = bits_peek(&d->b);
        d->delta += short_dod(w, &used);
        if (UNLIKELY(used == 0)) {
            d->delta += get_wide_dod(&d->b);
            w = bits_peek(&d->b);
        }
    }
    d->t_ms = (int64_t)((uint64_t)before + d->delta);
    get_value(d, w, used);
    return !d->b.bad && d->t_ms > before;
}

static enum status unsound(const struct dec *d, struct err *err)
{
    return err_set(err, ST_CORRUPT, "XOR chunk: sample %u of %u is damaged at bit %llu",
                   d->count - d->left, d->count, (unsigned long long)d->b.at + 16);
}

enum status chunk_xor_decode(struct sv data, struct trange range, struct samples *out,
                             struct err *err)
{
    struct dec d;
    size_t n = out->n;

    if (!dec_begin(&d, data))
        return err_set(err, ST_CORRUPT, "XOR chunk of %zu bytes", data.n);
    if (d.count / 4 > data.n) /* a sample takes two bits at least */
        return err_set(err, ST_CORRUPT, "XOR chunk: %u samples in %zu bytes", d.count, data.n);
    samples_reserve(out, n + d.count);
    for (; d.left; d.left--) {
        if (UNLIKELY(!dec_next(&d))) {
            out->n = n;
            return unsound(&d, err);
        }
        if (d.t_ms >= range.to_ms)
            break;
        out->t_ms[n] = d.t_ms;
        out->f[n] = f64_of_bits(d.v);
        n += d.t_ms >= range.from_ms;
    }
    out->n = n;
    return ST_OK;
}

enum status chunk_xor_check(struct sv data, int64_t *ret_first_ms, int64_t *ret_last_ms,
                            unsigned *ret_count, struct err *err)
{
    int64_t first = 0;
    struct dec d;

    if (!dec_begin(&d, data))
        return err_set(err, ST_CORRUPT, "XOR chunk of %zu bytes", data.n);
    if (d.count == 0)
        return err_set(err, ST_CORRUPT, "XOR chunk without samples");
    for (; d.left; d.left--) {
        if (!dec_next(&d))
            return unsound(&d, err);
        if (d.left == d.count)
            first = d.t_ms;
    }
    if (d.b.end - d.b.at >= 8)
        return err_set(err, ST_CORRUPT, "XOR chunk: %llu bits behind the last sample",
                       (unsigned long long)(d.b.end - d.b.at));
    *ret_first_ms = first;
    *ret_last_ms = d.t_ms;
    *ret_count = d.count;
    return ST_OK;
}
