/* Walking protobuf bytes, shared by the decoders of this room.
 *
 * What counts as well-formed is what protobuf-c takes, so that it can be the oracle: tags and lengths
 * of at most 5 bytes, varints of at most 10 whose surplus bits are dropped, no groups, no field 0,
 * unknown fields skipped. A known field of the wrong wire type is malformed. */
#ifndef ENGRAM_WIRE_INT_H
#define ENGRAM_WIRE_INT_H

#include "wire/wire.h"

enum { PB_VARINT = 0, PB_I64 = 1, PB_LEN = 2, PB_I32 = 5 };

struct walk {
    const uint8_t *p, *end;
};

/* One field: v for varints and fixed widths, bytes for PB_LEN. */
struct field {
    uint32_t no;
    unsigned type;
    uint64_t v;
    struct sv bytes;
};

static inline struct walk walk_of(struct sv s)
{
    const uint8_t *p = (const uint8_t *)s.p;

    return (struct walk){p, p ? p + s.n : p};
}

static inline size_t walk_left(const struct walk *w)
{
    return (size_t)(w->end - w->p);
}

/* A varint of at most max_bytes. */
static inline bool walk_number(struct walk *w, unsigned max_bytes, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < max_bytes && w->p < w->end; i++) {
        uint8_t b = *w->p++;

        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (LIKELY(!(b & 0x80))) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static inline bool walk_varint(struct walk *w, uint64_t *ret)
{
    return walk_number(w, 10, ret);
}

static inline bool walk_bytes(struct walk *w, struct sv *ret)
{
    uint64_t n;

    /* Nearly every length is one byte. */
    if (LIKELY(w->p < w->end && *w->p < 0x80 && *w->p < walk_left(w))) {
        n = *w->p;
        *ret = sv_make(w->p + 1, (size_t)n);
        w->p += 1 + n;
        return true;
    }
    if (UNLIKELY(!walk_number(w, 5, &n) || n > walk_left(w) || n > INT32_MAX))
        return false;
    *ret = sv_make(w->p, (size_t)n);
    w->p += n;
    return true;
}

static inline bool walk_fixed(struct walk *w, size_t n, uint64_t *ret)
{
    *ret = 0;
    if (UNLIKELY(walk_left(w) < n))
        return false;
    memcpy(ret, w->p, n);
    w->p += n;
    return true;
}

static inline bool walk_field(struct walk *w, struct field *f)
{
    uint64_t tag;

    /* A known message, text or array: fields 1 to 15, length-prefixed. */
    if (LIKELY(w->p < w->end && *w->p < 0x80 && (*w->p & 7) == PB_LEN && *w->p > 7)) {
        f->no = *w->p++ >> 3;
        f->type = PB_LEN;
        return walk_bytes(w, &f->bytes);
    }
    if (UNLIKELY(!walk_number(w, 5, &tag)))
        return false;
    f->no = (uint32_t)(tag >> 3);
    f->type = (unsigned)(tag & 7);
    if (UNLIKELY(!f->no))
        return false;
    switch (f->type) {
    case PB_VARINT: return walk_varint(w, &f->v);
    case PB_I64: return walk_fixed(w, 8, &f->v);
    case PB_LEN: return walk_bytes(w, &f->bytes);
    case PB_I32: return walk_fixed(w, 4, &f->v);
    default: return false;
    }
}

static inline int64_t unzigzag64(uint64_t u)
{
    return (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
}

static inline int32_t unzigzag32(uint32_t u)
{
    return (int32_t)(u >> 1) ^ -(int32_t)(u & 1);
}

static inline double double_of(uint64_t bits)
{
    return f64_of_bits(bits);
}

/* A Histogram message into a cleared row, whose h stays NULL when it is well-formed but no valid
 * histogram. */
enum status wire_hist(struct sv msg, struct arena *arena, struct batch_hist *to, struct err *err);
/* Do spans, counts and bounds fit each other, as Prometheus's Validate() has it? */
bool wire_hist_valid(const struct hist *h);
void wire_hist_encode(struct buf *out, const struct hist *h, int64_t t_ms);
/* Unknown numbers of later versions count as unknown. */
enum hist_reset wire_reset_of(int64_t v);
uint32_t wire_metadata_type_of(int64_t v);

/* The family a series of this name and metadata type belongs to: a classic histogram's and a summary's
 * series have suffixes. */
struct sv wire_family_of(struct sv name, uint32_t type);

enum status wire_bad(struct err *err, const char *what);
enum status wire_over(const struct arena *arena, struct err *err);

#endif
