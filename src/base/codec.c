/* Cursors, checksums, hashes, ULIDs. CRC-32C uses the processor's instruction where it has one. */
#include "base/codec.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct cur cur_of(struct sv s)
{
    const uint8_t *p = (const uint8_t *)s.p;

    return (struct cur){p, p ? p + s.n : p, false};
}

static bool take(struct cur *c, size_t n)
{
    if (UNLIKELY(c->bad || cur_left(c) < n)) {
        c->bad = true;
        return false;
    }
    return true;
}

#define FIXED(name, type, swap)      \
    type name(struct cur *c)         \
    {                                \
        type v = 0;                  \
        if (!take(c, sizeof(v)))     \
            return 0;                \
        memcpy(&v, c->p, sizeof(v)); \
        c->p += sizeof(v);           \
        return swap(v);              \
    }
FIXED(cur_u8, uint8_t, )
FIXED(cur_be16, uint16_t, __builtin_bswap16)
FIXED(cur_be32, uint32_t, __builtin_bswap32)
FIXED(cur_be64, uint64_t, __builtin_bswap64)
FIXED(cur_le32, uint32_t, )
FIXED(cur_le64, uint64_t, )

uint64_t cur_uvarint(struct cur *c)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b;

        if (!take(c, 1))
            return 0;
        b = *c->p++;
        if (shift == 63 && b > 1)
            break;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    c->bad = true;
    return 0;
}

int64_t cur_varint(struct cur *c)
{
    uint64_t u = cur_uvarint(c);

    return (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
}

struct sv cur_bytes(struct cur *c, size_t n)
{
    struct sv s = {NULL, 0};

    if (!take(c, n))
        return s;
    s = sv_make(c->p, n);
    c->p += n;
    return s;
}

struct sv cur_uvarint_bytes(struct cur *c)
{
    uint64_t n = cur_uvarint(c);

    if (n > cur_left(c))
        c->bad = true;
    return c->bad ? (struct sv){NULL, 0} : cur_bytes(c, (size_t)n);
}

/* The reflected polynomial 0x1EDC6F41, a nibble at a time: only for processors without SSE 4.2. */
static uint32_t crc32c_plain(uint32_t crc, const uint8_t *p, size_t n)
{
    static const uint32_t nibble[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                        0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

    while (n--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse(uint32_t crc, const uint8_t *p,
                                                             size_t n)
{
    uint64_t c = crc;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = __builtin_ia32_crc32di(c, v);
    }
    for (; n; n--)
        c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
    return (uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t seed, const void *p, size_t n)
{
    uint32_t crc = ~seed;

#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse(crc, p, n);
#endif
    return ~crc32c_plain(crc, p, n);
}

uint64_t hash64(const void *p, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, n, seed);
}

struct hash128 hash128(const void *p, size_t n, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(p, n, seed);

    return (struct hash128){h.low64, h.high64};
}

uint64_t xxh64(const void *p, size_t n, uint64_t seed)
{
    return XXH64(p, n, seed);
}

static const char crockford[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void ulid_format(char out[ULID_LEN + 1], uint64_t wall_ms, const uint8_t entropy[10])
{
    unsigned __int128 v = wall_ms & (((uint64_t)1 << 48) - 1);

    for (int i = 0; i < 10; i++)
        v = (v << 8) | entropy[i];
    for (int i = ULID_LEN - 1; i >= 0; i--) {
        out[i] = crockford[(unsigned)(v & 31)];
        v >>= 5;
    }
    out[ULID_LEN] = 0;
}

void ulid_make(char out[ULID_LEN + 1], uint64_t wall_ms)
{
    uint8_t entropy[10];

    random_bytes(entropy, sizeof(entropy));
    ulid_format(out, wall_ms, entropy);
}

static int crockford_value(char c)
{
    const char *at = c ? strchr(crockford, c) : NULL;

    return at ? (int)(at - crockford) : -1;
}

bool ulid_valid(struct sv s)
{
    if (s.n != ULID_LEN || s.p[0] > '7')
        return false;
    for (size_t i = 0; i < ULID_LEN; i++)
        if (crockford_value(s.p[i]) < 0)
            return false;
    return true;
}

uint64_t ulid_ms(struct sv s)
{
    uint64_t v = 0;

    if (!ulid_valid(s))
        return 0;
    for (size_t i = 0; i < 10; i++)
        v = (v << 5) | (uint64_t)crockford_value(s.p[i]);
    return v;
}

void hex_encode(char *out, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = p;

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = 0;
}

void random_bytes(void *p, size_t n)
{
    uint8_t *at = p;

    while (n) {
        ssize_t got = getrandom(at, n, 0);

        if (got < 0) {
            perror("engram: getrandom");
            abort();
        }
        at += got;
        n -= (size_t)got;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof(v));
    return v;
}
