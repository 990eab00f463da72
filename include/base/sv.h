/* include/base/sv.h
 *
 * String views: a pointer and a length, borrowed, not NUL-terminated.
 * Parsing helpers take the whole view or fail; none reads past it.
 */
#ifndef ENGRAM_BASE_SV_H
#define ENGRAM_BASE_SV_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sv {
    const char *p;
    size_t n;
};

#define SV(lit) ((struct sv){("" lit), sizeof(lit) - 1})
#define SV_FMT "%.*s"
#define SV_ARG(s) (int)((s).n > 4096 ? 4096 : (s).n), (s).p

static inline struct sv sv_of(const char *z)
{
    return (struct sv){z, z ? strlen(z) : 0};
}
static inline struct sv sv_make(const void *p, size_t n)
{
    return (struct sv){(const char *)p, n};
}
static inline bool sv_eq(struct sv a, struct sv b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool sv_is(struct sv a, const char *z)
{
    return sv_eq(a, sv_of(z));
}
static inline int sv_cmp(struct sv a, struct sv b) /* byte order, as Prometheus sorts */
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}
bool sv_starts(struct sv s, struct sv prefix);
bool sv_ends(struct sv s, struct sv suffix);
/* Position of c or of needle, or SIZE_MAX. */
size_t sv_find(struct sv s, char c);
size_t sv_search(struct sv s, struct sv needle);
struct sv sv_trim(struct sv s); /* ASCII white space at both ends */
struct sv sv_sub(struct sv s, size_t off, size_t n); /* clipped to s */
/* Splits at the first sep: head is returned, *rest is what follows (empty, p NULL, at the end). */
struct sv sv_cut(struct sv s, char sep, struct sv *rest);
/* Whole-view numbers; false when anything else is there or it does not fit. */
bool sv_u64(struct sv s, uint64_t *ret);
bool sv_i64(struct sv s, int64_t *ret);
/* "64MiB", "1.5GB", "4096": bytes. */
bool sv_bytes(struct sv s, uint64_t *ret);
/* Prometheus durations: "5m", "1h30m", "15s", "100ms", "1d", "2w", "1y", "0": milliseconds. */
bool sv_duration_ms(struct sv s, int64_t *ret);
bool sv_utf8(struct sv s); /* strict: no surrogates, no overlong forms */

#endif
