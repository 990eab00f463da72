/* Numbers as Go prints and reads them: digits from <charconv> (shim.cc), the layout from here.
 * to_chars' own fixed form is not Go's: it prints large integers exactly instead of shortest. */
#include "base/dtoa.h"

#include "shim.h"

#include <assert.h>
#include <math.h>

struct digits {
    char d[24];
    int n;   /* digits */
    int exp; /* value = 0.d1d2d3... x 10^exp */
    bool minus;
};

static struct digits digits_of(double v)
{
    struct digits r = {.minus = signbit(v) != 0};
    char sci[40];
    size_t n = shim_scientific(sci, sizeof(sci), fabs(v)), i = 0;
    int e = 0;
    bool e_minus;

    assert(n > 0);
    for (; i < n && sci[i] != 'e'; i++)
        if (sci[i] != '.')
            r.d[r.n++] = sci[i];
    e_minus = sci[i + 1] == '-';
    for (i += 2; i < n; i++)
        e = e * 10 + (sci[i] - '0');
    r.exp = (e_minus ? -e : e) + 1;
    if (r.n == 1 && r.d[0] == '0')
        r.exp = 1;
    return r;
}

static size_t special(char *out, double v)
{
    const char *z = isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf";
    size_t n = strlen(z);

    memcpy(out, z, n);
    return n;
}

static size_t layout_f(char *out, const struct digits *d)
{
    size_t n = 0;

    if (d->minus)
        out[n++] = '-';
    if (d->exp <= 0) {
        out[n++] = '0';
        out[n++] = '.';
        for (int i = d->exp; i < 0; i++)
            out[n++] = '0';
        memcpy(out + n, d->d, (size_t)d->n);
        return n + (size_t)d->n;
    }
    for (int i = 0; i < d->exp; i++)
        out[n++] = i < d->n ? d->d[i] : '0';
    if (d->n > d->exp) {
        out[n++] = '.';
        memcpy(out + n, d->d + d->exp, (size_t)(d->n - d->exp));
        n += (size_t)(d->n - d->exp);
    }
    return n;
}

static size_t layout_e(char *out, const struct digits *d)
{
    size_t n = 0;
    int e = d->exp - 1;

    if (d->minus)
        out[n++] = '-';
    out[n++] = d->d[0];
    if (d->n > 1) {
        out[n++] = '.';
        memcpy(out + n, d->d + 1, (size_t)d->n - 1);
        n += (size_t)d->n - 1;
    }
    out[n++] = 'e';
    out[n++] = e < 0 ? '-' : '+';
    if (e < 0)
        e = -e;
    if (e >= 100)
        out[n++] = (char)('0' + e / 100);
    out[n++] = (char)('0' + e / 10 % 10);
    out[n++] = (char)('0' + e % 10);
    return n;
}

static size_t small_int(char *out, double v)
{
    int64_t i = (int64_t)v;
    uint64_t u = i < 0 ? (uint64_t)-i : (uint64_t)i;
    char tmp[20];
    size_t n = 0, at = 0;

    do {
        tmp[n++] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (i < 0)
        out[at++] = '-';
    while (n)
        out[at++] = tmp[--n];
    return at;
}

/* Integers below 2^53 need no shortest-digits search; -0 is not one of them. */
static bool is_small_int(double v)
{
    return v > -9007199254740992.0 && v < 9007199254740992.0 && (double)(int64_t)v == v &&
           !(v == 0 && signbit(v));
}

size_t dtoa_f(char out[DTOA_MAX], double v)
{
    struct digits d;

    if (is_small_int(v))
        return small_int(out, v);
    if (!isfinite(v))
        return special(out, v);
    d = digits_of(v);
    return layout_f(out, &d);
}

size_t dtoa_json(char out[DTOA_MAX], double v)
{
    struct digits d;
    double a = fabs(v);

    if (is_small_int(v))
        return small_int(out, v);
    if (!isfinite(v))
        return special(out, v);
    d = digits_of(v);
    return a != 0 && (a < 1e-6 || a >= 1e21) ? layout_e(out, &d) : layout_f(out, &d);
}

size_t dtoa_g(char out[DTOA_MAX], double v)
{
    struct digits d;
    int x;

    if (!isfinite(v))
        return special(out, v);
    d = digits_of(v);
    x = d.exp - 1;
    return x < -4 || x >= (d.n > 21 ? d.n : 21) ? layout_e(out, &d) : layout_f(out, &d);
}

void buf_double(struct buf *b, double v)
{
    if (buf_reserve(b, DTOA_MAX))
        b->n += dtoa_f(b->p + b->n, v);
}

void buf_double_json(struct buf *b, double v)
{
    char tmp[DTOA_MAX];

    buf_put(b, tmp, dtoa_json(tmp, v));
}

void buf_i64(struct buf *b, int64_t v)
{
    char tmp[24];
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t at = sizeof(tmp);

    do {
        tmp[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (v < 0)
        tmp[--at] = '-';
    buf_put(b, tmp + at, sizeof(tmp) - at);
}

void buf_time_s(struct buf *b, int64_t t_ms)
{
    uint64_t u = t_ms < 0 ? 0 - (uint64_t)t_ms : (uint64_t)t_ms;
    unsigned frac = (unsigned)(u % 1000);
    char tmp[4] = {'.', (char)('0' + frac / 100), (char)('0' + frac / 10 % 10),
                   (char)('0' + frac % 10)};

    if (t_ms < 0)
        buf_ch(b, '-');
    buf_i64(b, (int64_t)(u / 1000));
    if (frac)
        buf_put(b, tmp, 4);
}

static bool ci_is(struct sv s, const char *lower)
{
    if (s.n != strlen(lower))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] | 0x20) != lower[i])
            return false;
    return true;
}

bool dtoa_parse(struct sv s, double *ret)
{
    bool minus = false, hex;
    double v;

    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) {
        minus = s.p[0] == '-';
        s = sv_sub(s, 1, s.n);
    }
    if (ci_is(s, "inf") || ci_is(s, "infinity")) {
        *ret = minus ? -INFINITY : INFINITY;
        return true;
    }
    if (ci_is(s, "nan")) {
        uint64_t bits = UINT64_C(0x7ff8000000000001); /* Go's NaN */
        memcpy(ret, &bits, sizeof(bits));
        return true;
    }
    if (s.n == 0 || !((s.p[0] >= '0' && s.p[0] <= '9') || s.p[0] == '.'))
        return false;
    hex = s.n > 2 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x';
    if (hex)
        s = sv_sub(s, 2, s.n);
    if (shim_parse(s.p, s.n, hex, &v) != s.n)
        return false;
    *ret = minus ? -v : v;
    return true;
}
