/* include/tsdb/chunk.h
 *
 * Chunks: a run of samples of one series in Prometheus's encodings. XOR (Gorilla, encoding 1) is
 * written and read; the histogram encodings (2, 3) and XOR2 come later and are refused by name.
 *
 * A chunk's bytes are what Prometheus calls chunk data: 2 bytes big-endian sample count, then the
 * bit stream. The encoding byte, length and checksum belong to the files (block.h).
 *
 * Threads: an appender belongs to one thread at a time; bytes already written don't move inside
 *          one chunk unless chunk_xor_append() says so. Iterators are values.
 * Errors:  ST_CORRUPT from decoding; no read passes the given length.
 * Format:  drawn at the top of tsdb/chunk_xor.c.
 */
#ifndef ENGRAM_TSDB_CHUNK_H
#define ENGRAM_TSDB_CHUNK_H

#include "base/arena.h"
#include "base/err.h"
#include "base/sv.h"
#include "model/samples.h"
#include "model/trange.h"

enum chunk_enc { CHUNK_NONE = 0, CHUNK_XOR = 1, CHUNK_HIST = 2, CHUNK_FLOAT_HIST = 3, CHUNK_XOR2 = 4 };

#define CHUNK_SAMPLES 120      /* what Prometheus aims at, and so do we */
#define CHUNK_XOR_MAX_BYTES (2 + 9 + 8 + 10 * 2 + CHUNK_SAMPLES * 20)

/* State of an open XOR chunk. `p` has room for cap bytes; the owner grows it (chunk_xor_need). */
struct chunk_xor {
    uint8_t *p;
    uint16_t n_bytes, cap;
    uint16_t count;
    uint8_t bits_free; /* unused low bits of the last byte */
    uint8_t leading, trailing;
    int64_t t_ms, delta_ms; /* of the last sample */
    double v;
};

#define CHUNK_XOR_NEED 40 /* spare bytes that make any append fit */

/* p has cap >= CHUNK_XOR_NEED bytes. */
void chunk_xor_begin(struct chunk_xor *c, uint8_t *p, uint16_t cap);
/* t_ms greater than the last; the caller made sure that cap - n_bytes >= CHUNK_XOR_NEED.
 * Stores NaN payloads and -0 bit for bit. */
void chunk_xor_append(struct chunk_xor *c, int64_t t_ms, double v);

/* Decodes a whole XOR chunk, appending the samples that lie in range to *out. */
enum status chunk_xor_decode(struct sv data, struct trange range, struct samples *out,
                             struct err *err);
/* First and last time and the count, by decoding; also proves that the bytes are sound. */
enum status chunk_xor_check(struct sv data, int64_t *ret_first_ms, int64_t *ret_last_ms,
                            unsigned *ret_count, struct err *err);

/* Samples (floats, ascending) cut into XOR chunks of at most CHUNK_SAMPLES. */
struct chunk {
    int64_t first_ms, last_ms; /* inclusive, as block indexes keep them */
    enum chunk_enc enc;
    struct sv data;
};
struct chunk_list {
    struct chunk *p;
    size_t n, cap;
};
/* Bytes and list in arena. */
enum status chunk_encode(const struct samples *s, struct arena *arena, struct chunk_list *ret,
                         struct err *err);

#endif
