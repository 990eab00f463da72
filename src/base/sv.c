/* String views: searching, cutting, and numbers out of text. */
#include "base/sv.h"

#include <ctype.h>

bool sv_starts(struct sv s, struct sv prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool sv_ends(struct sv s, struct sv suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

size_t sv_find(struct sv s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

size_t sv_search(struct sv s, struct sv needle)
{
    const char *at;

    if (needle.n == 0)
        return 0;
    at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

static bool space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct sv sv_trim(struct sv s)
{
    while (s.n && space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && space(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct sv sv_sub(struct sv s, size_t off, size_t n)
{
    if (off > s.n)
        off = s.n;
    if (n > s.n - off)
        n = s.n - off;
    return (struct sv){s.p + off, n};
}

struct sv sv_cut(struct sv s, char sep, struct sv *rest)
{
    size_t at = sv_find(s, sep);

    if (at == SIZE_MAX) {
        *rest = (struct sv){NULL, 0};
        return s;
    }
    *rest = (struct sv){s.p + at + 1, s.n - at - 1};
    return (struct sv){s.p, at};
}

bool sv_u64(struct sv s, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

bool sv_i64(struct sv s, int64_t *ret)
{
    bool minus = s.n && s.p[0] == '-';
    uint64_t u;

    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = sv_sub(s, 1, s.n);
    if (!sv_u64(s, &u) || u > (uint64_t)INT64_MAX + (minus ? 1 : 0))
        return false;
    *ret = minus ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

/* Digits with at most one point, as a double; the rest of the text stays in *s. */
static bool decimal(struct sv *s, double *ret)
{
    double v = 0, scale = 1;
    bool point = false, any = false;

    while (s->n && ((s->p[0] >= '0' && s->p[0] <= '9') || (s->p[0] == '.' && !point))) {
        if (s->p[0] == '.') {
            point = true;
        } else {
            any = true;
            v = v * 10 + (s->p[0] - '0');
            if (point)
                scale *= 10;
        }
        *s = sv_sub(*s, 1, s->n);
    }
    *ret = v / scale;
    return any;
}

bool sv_bytes(struct sv s, uint64_t *ret)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"KiB", 1024.0},
                 {"MiB", 1048576.0},
                 {"GiB", 1073741824.0},
                 {"TiB", 1099511627776.0},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12},
                 {"K", 1024.0},
                 {"M", 1048576.0},
                 {"G", 1073741824.0}};
    double v;

    if (!decimal(&s, &v))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (sv_is(s, units[i].unit)) {
            v *= units[i].factor;
            if (v >= 9e18)
                return false;
            *ret = (uint64_t)v;
            return true;
        }
    return false;
}

bool sv_duration_ms(struct sv s, int64_t *ret)
{
    static const struct {
        struct sv unit;
        int64_t ms;
    } units[] = {{SV("ms"), 1},       {SV("y"), 31536000000}, {SV("w"), 604800000},
                 {SV("d"), 86400000}, {SV("h"), 3600000},     {SV("m"), 60000},
                 {SV("s"), 1000}};
    int64_t total = 0, last = INT64_MAX;

    if (sv_is(s, "0")) {
        *ret = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    while (s.n) {
        size_t digits = 0, u;
        uint64_t v;
        int64_t ms;

        while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
            digits++;
        if (!sv_u64(sv_sub(s, 0, digits), &v) || v > INT64_MAX)
            return false;
        s = sv_sub(s, digits, s.n);
        for (u = 0; u < sizeof(units) / sizeof(units[0]); u++)
            if (sv_starts(s, units[u].unit))
                break;
        if (u == sizeof(units) / sizeof(units[0]) || units[u].ms >= last)
            return false; /* unknown, or not in falling order */
        last = units[u].ms;
        s = sv_sub(s, units[u].unit.n, s.n);
        if (__builtin_mul_overflow((int64_t)v, units[u].ms, &ms) ||
            __builtin_add_overflow(total, ms, &total))
            return false;
    }
    *ret = total;
    return true;
}

bool sv_utf8(struct sv s)
{
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;

    while (p < end) {
        uint32_t c = *p++, need, min;

        if (c < 0x80)
            continue;
        if (c >= 0xc2 && c <= 0xdf) {
            need = 1, min = 0x80, c &= 0x1f;
        } else if (c >= 0xe0 && c <= 0xef) {
            need = 2, min = 0x800, c &= 0x0f;
        } else if (c >= 0xf0 && c <= 0xf4) {
            need = 3, min = 0x10000, c &= 0x07;
        } else {
            return false;
        }
        if ((size_t)(end - p) < need)
            return false;
        for (; need; need--, p++) {
            if ((*p & 0xc0) != 0x80)
                return false;
            c = (c << 6) | (*p & 0x3f);
        }
        if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
    }
    return true;
}
