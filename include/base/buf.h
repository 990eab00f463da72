/* include/base/buf.h
 *
 * Growing bytes with a ceiling given at birth. Appends past the ceiling do nothing and set `over`,
 * which stays: write everything, then ask buf_ok() once.
 *
 * Threads: one at a time. Memory: buf_fini() frees; buf_detach() hands the bytes out
 * (heap_free() them) and leaves the buffer empty.
 */
#ifndef ENGRAM_BASE_BUF_H
#define ENGRAM_BASE_BUF_H

#include "base/sv.h"

#include <stdarg.h>

struct buf {
    char *p;
    size_t n, cap, max;
    bool over;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory and the ceiling */
bool buf_reserve(struct buf *b, size_t more); /* room for `more` further bytes */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_sv(struct buf *b, struct sv s);
void buf_str(struct buf *b, const char *z);
void buf_ch(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
char *buf_detach(struct buf *b, size_t *ret_n);
static inline bool buf_ok(const struct buf *b)
{
    return !b->over;
}
static inline struct sv buf_view(const struct buf *b)
{
    return (struct sv){b->p, b->n};
}
/* Fixed-width and variable-length integers. be: big-endian, le: little-endian. */
void buf_u8(struct buf *b, uint8_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_le32(struct buf *b, uint32_t v);
void buf_le64(struct buf *b, uint64_t v);
void buf_uvarint(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, int64_t v); /* zig-zag, as Go's PutVarint */

#endif
