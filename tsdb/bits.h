/* tsdb/bits.h
 *
 * Bit streams, most significant bit first, in words: what chunk encodings are made of.
 *
 * The writer keeps up to 63 pending bits at the top of a word and stores eight bytes at a time; it
 * needs eight spare bytes behind what it has written (they are left zero). The reader looks at 57
 * bits or more at once and never touches a byte past its end: the last seven are loaded by hand.
 *
 * Threads: values on somebody's stack.
 * Errors:  the reader's `bad` is set by the first read that doesn't fit, and then stays.
 */
#ifndef ENGRAM_TSDB_BITS_H
#define ENGRAM_TSDB_BITS_H

#include "base/sv.h"

#include <assert.h>
#include <endian.h>

static inline uint64_t bits_load_be64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

static inline void bits_store_be64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
}

/* --- writing --- */

struct bits_out {
    uint8_t *p;    /* the next whole word goes here */
    uint64_t word; /* pending bits at the top, zeros below */
    unsigned fill; /* 0..63 of them */
};

/* Goes on behind `end`, whose last byte has bits_free unused low bits. */
static inline struct bits_out bits_out_at(uint8_t *end, unsigned bits_free)
{
    struct bits_out b = {end, 0, 0};

    if (bits_free) {
        b.p--;
        b.word = (uint64_t)*b.p << 56;
        b.fill = 8 - bits_free;
    }
    return b;
}

/* The low n bits of v, 1 <= n <= 64. Bits of v above n must be zero. */
static inline void bits_put(struct bits_out *b, uint64_t v, unsigned n)
{
    unsigned room = 64 - b->fill;

    if (n < room) {
        b->word |= v << (room - n);
        b->fill += n;
        return;
    }
    b->fill = n - room;
    bits_store_be64(b->p, b->word | v >> b->fill);
    b->p += 8;
    b->word = b->fill ? v << (64 - b->fill) : 0;
}

/* Writes what is pending; the end of the stream and its unused bits come back. */
static inline uint8_t *bits_out_end(const struct bits_out *b, unsigned *ret_bits_free)
{
    bits_store_be64(b->p, b->word);
    *ret_bits_free = -b->fill & 7;
    return b->p + (b->fill + 7) / 8;
}

/* --- reading --- */

struct bits_in {
    const uint8_t *p;
    uint64_t at, end; /* in bits */
    bool bad;
};

static inline struct bits_in bits_in_of(struct sv s)
{
    return (struct bits_in){(const uint8_t *)s.p, 0, (uint64_t)s.n * 8, false};
}

/* The bits from here on, at the top; at least 57 of them are real as far as the stream goes, and
 * zeros follow its end. Nothing is consumed. */
static inline uint64_t bits_peek(const struct bits_in *b)
{
    uint64_t byte = b->at / 8, left = b->end / 8 - byte, w = 0;

    if (LIKELY(left >= 8)) {
        w = bits_load_be64(b->p + byte);
    } else {
        for (unsigned i = 0; i < left; i++)
            w |= (uint64_t)b->p[byte + i] << (56 - 8 * i);
    }
    return w << (b->at & 7);
}

static inline void bits_skip(struct bits_in *b, unsigned n)
{
    if (UNLIKELY(n > b->end - b->at)) {
        b->bad = true;
        b->at = b->end;
        return;
    }
    b->at += n;
}

/* The next n bits as a number, 1 <= n <= 64; zero when they are not there. */
static inline uint64_t bits_get(struct bits_in *b, unsigned n)
{
    uint64_t v = 0;

    assert(n >= 1 && n <= 64);
    if (n > 57) {
        v = bits_peek(b) >> 32;
        bits_skip(b, 32);
        n -= 32;
        v <<= n;
    }
    v |= bits_peek(b) >> (64 - n);
    bits_skip(b, n);
    return b->bad ? 0 : v;
}

/* Go's varints, which may begin at any bit: at most 10 bytes, no overflow. */
static inline uint64_t bits_uvarint(struct bits_in *b)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t byte = bits_get(b, 8);

        if (b->bad || (shift == 63 && byte > 1))
            break;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    b->bad = true;
    return 0;
}

static inline int64_t bits_varint(struct bits_in *b)
{
    uint64_t v = bits_uvarint(b);

    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
