/* include/base/codec.h
 *
 * Bounded reading of bytes, and the checksums and ids of the formats we write.
 *
 * A struct cur is a cursor over foreign bytes. Every read checks what is left; the first read
 * that does not fit sets `bad`, and from then on every read gives zero: decode a whole record,
 * then ask once.
 */
#ifndef ENGRAM_BASE_CODEC_H
#define ENGRAM_BASE_CODEC_H

#include "base/sv.h"

struct cur {
    const uint8_t *p, *end;
    bool bad;
};

struct cur cur_of(struct sv s);
static inline size_t cur_left(const struct cur *c)
{
    return (size_t)(c->end - c->p);
}
uint8_t cur_u8(struct cur *c);
uint16_t cur_be16(struct cur *c);
uint32_t cur_be32(struct cur *c);
uint64_t cur_be64(struct cur *c);
uint32_t cur_le32(struct cur *c);
uint64_t cur_le64(struct cur *c);
uint64_t cur_uvarint(struct cur *c); /* at most 10 bytes */
int64_t cur_varint(struct cur *c);   /* zig-zag */
struct sv cur_bytes(struct cur *c, size_t n);
/* uvarint length, then that many bytes */
struct sv cur_uvarint_bytes(struct cur *c);

/* CRC-32C (Castagnoli); seed 0 to begin, the last result to go on. */
uint32_t crc32c(uint32_t seed, const void *p, size_t n);

uint64_t hash64(const void *p, size_t n, uint64_t seed);  /* XXH3; never stored in files others read */
struct hash128 {
    uint64_t lo, hi;
};
struct hash128 hash128(const void *p, size_t n, uint64_t seed);
uint64_t xxh64(const void *p, size_t n, uint64_t seed);   /* where Prometheus's own hash must match */

#define ULID_LEN 26 /* characters, Crockford base32, without NUL */
/* out gets 27 bytes. entropy: 10 random bytes. wall_ms: 0 .. 2^48-1. */
void ulid_format(char out[ULID_LEN + 1], uint64_t wall_ms, const uint8_t entropy[10]);
void ulid_make(char out[ULID_LEN + 1], uint64_t wall_ms); /* entropy from the kernel */
bool ulid_valid(struct sv s);
uint64_t ulid_ms(struct sv s); /* its time; 0 when not valid */

void hex_encode(char *out /* 2n+1 */, const void *p, size_t n);
void random_bytes(void *p, size_t n);
uint64_t random_u64(void);

#endif
