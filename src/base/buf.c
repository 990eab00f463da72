/* Growing bytes with a ceiling; see the header. */
#include "base/buf.h"

#include "base/heap.h"

#include <stdio.h>

#define FIRST_BYTES 128

void buf_init(struct buf *b, size_t max_bytes)
{
    memset(b, 0, sizeof(*b));
    b->max = max_bytes;
}

void buf_fini(struct buf *b)
{
    heap_free(b->p);
    b->p = NULL;
    b->n = b->cap = 0;
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->over = false;
}

bool buf_reserve(struct buf *b, size_t more)
{
    size_t cap;

    if (UNLIKELY(b->over || more > b->max || b->n + more > b->max)) {
        b->over = true;
        return false;
    }
    if (LIKELY(b->n + more <= b->cap))
        return true;
    cap = b->cap ? b->cap * 2 : FIRST_BYTES;
    if (cap < b->n + more)
        cap = b->n + more;
    if (cap > b->max)
        cap = b->max;
    b->p = heap_realloc(b->p, cap);
    b->cap = cap;
    return true;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n && buf_reserve(b, n)) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    }
}

void buf_sv(struct buf *b, struct sv s)
{
    buf_put(b, s.p, s.n);
}

void buf_str(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z));
}

void buf_ch(struct buf *b, char c)
{
    if (buf_reserve(b, 1))
        b->p[b->n++] = c;
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *buf_detach(struct buf *b, size_t *ret_n)
{
    char *p = b->p;

    if (ret_n)
        *ret_n = b->n;
    b->p = NULL;
    b->n = b->cap = 0;
    return p;
}

void buf_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_be16(struct buf *b, uint16_t v)
{
    v = __builtin_bswap16(v);
    buf_put(b, &v, 2);
}

void buf_be32(struct buf *b, uint32_t v)
{
    v = __builtin_bswap32(v);
    buf_put(b, &v, 4);
}

void buf_be64(struct buf *b, uint64_t v)
{
    v = __builtin_bswap64(v);
    buf_put(b, &v, 8);
}

void buf_le32(struct buf *b, uint32_t v)
{
    buf_put(b, &v, 4);
}

void buf_le64(struct buf *b, uint64_t v)
{
    buf_put(b, &v, 8);
}

void buf_uvarint(struct buf *b, uint64_t v)
{
    uint8_t tmp[10];
    size_t n = 0;

    while (v >= 0x80) {
        tmp[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    tmp[n++] = (uint8_t)v;
    buf_put(b, tmp, n);
}

void buf_varint(struct buf *b, int64_t v)
{
    buf_uvarint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}
