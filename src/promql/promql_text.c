/* Text as Go reads and writes it: quoted strings and runes, numbers, Prometheus's durations. The
 * printed form of a query and the texts of errors are compared byte by byte with Prometheus's. */
#include "promql_lang_int.h"

#include "base/dtoa.h"

#include <assert.h>
#include <math.h>

#define RUNE_MAX 0x10ffff

int32_t promql_rune_at(struct sv s, size_t i, unsigned *ret_width)
{
    const uint8_t *p = (const uint8_t *)s.p + i;
    unsigned w = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    int32_t r;

    *ret_width = w;
    if (w == 1)
        return *p;
    if (w > s.n - i || !sv_utf8(sv_make(p, w))) {
        *ret_width = 1;
        return PROMQL_RUNE_ERROR;
    }
    r = *p & (0xff >> (w + 1));
    for (unsigned k = 1; k < w; k++)
        r = (r << 6) | (p[k] & 0x3f);
    return r;
}

static void put_rune(struct buf *out, int32_t r)
{
    if (r < 0x80) {
        buf_ch(out, (char)r);
    } else if (r < 0x800) {
        buf_u8(out, (uint8_t)(0xc0 | (r >> 6)));
        buf_u8(out, (uint8_t)(0x80 | (r & 0x3f)));
    } else if (r < 0x10000) {
        buf_u8(out, (uint8_t)(0xe0 | (r >> 12)));
        buf_u8(out, (uint8_t)(0x80 | ((r >> 6) & 0x3f)));
        buf_u8(out, (uint8_t)(0x80 | (r & 0x3f)));
    } else {
        buf_u8(out, (uint8_t)(0xf0 | (r >> 18)));
        buf_u8(out, (uint8_t)(0x80 | ((r >> 12) & 0x3f)));
        buf_u8(out, (uint8_t)(0x80 | ((r >> 6) & 0x3f)));
        buf_u8(out, (uint8_t)(0x80 | (r & 0x3f)));
    }
}

/* What Go holds for printable, by the ranges that occur in names: controls, spaces other than the
 * ASCII one, format characters, private use and noncharacters are not. */
static bool printable(int32_t r)
{
    static const struct {
        int32_t from, to;
    } hidden[] = {
        {0x00, 0x1f},     {0x7f, 0xa0},     {0xad, 0xad},     {0x600, 0x605},   {0x61c, 0x61c},
        {0x6dd, 0x6dd},   {0x70f, 0x70f},   {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f},
        {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0xd800, 0xf8ff}, {0xfeff, 0xfeff},
        {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe00ff}, {0xe01f0, INT32_MAX},
    };

    if (r < 0)
        return false;
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        if (r >= hidden[i].from && r <= hidden[i].to)
            return false;
    return true;
}

static void put_escaped(struct buf *out, int32_t r, char quote)
{
    static const char named[] = "\a\b\f\n\r\t\v", letters[] = "abfnrtv";
    const char *at;

    if (r == quote || r == '\\') {
        buf_ch(out, '\\');
        buf_ch(out, (char)r);
    } else if (printable(r)) {
        put_rune(out, r);
    } else if (r > 0 && r < 0x20 && (at = strchr(named, (char)r))) {
        buf_ch(out, '\\');
        buf_ch(out, letters[at - named]);
    } else if (r < 0x20 || r == 0x7f) {
        buf_printf(out, "\\x%02x", (unsigned)r);
    } else {
        buf_printf(out, r < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)r);
    }
}

void promql_quote(struct buf *out, struct sv s)
{
    unsigned width;

    buf_ch(out, '"');
    for (size_t i = 0; i < s.n; i += width) {
        int32_t r = promql_rune_at(s, i, &width);

        if (r == PROMQL_RUNE_ERROR && width == 1)
            buf_printf(out, "\\x%02x", (uint8_t)s.p[i]);
        else
            put_escaped(out, r, '"');
    }
    buf_ch(out, '"');
}

void promql_quote_rune(struct buf *out, int32_t r)
{
    buf_ch(out, '\'');
    put_escaped(out, r < 0 ? PROMQL_RUNE_ERROR : r, '\'');
    buf_ch(out, '\'');
}

void promql_print_rune_u(struct buf *out, int32_t r)
{
    buf_printf(out, "U+%04X", (unsigned)r);
    if (printable(r)) {
        buf_str(out, " '");
        put_rune(out, r);
        buf_ch(out, '\'');
    }
}

static unsigned digit(char c)
{
    return c >= '0' && c <= '9'   ? (unsigned)(c - '0')
           : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                  : (unsigned)(c - 'A' + 10);
}

/* The escape after a backslash at s.p[*i]; *i moves behind it. */
static void put_unescaped(struct buf *out, struct sv s, size_t *i)
{
    static const char letters[] = "abfnrtv", named[] = "\a\b\f\n\r\t\v";
    char c = s.p[(*i)++];
    const char *at = strchr(letters, c);
    unsigned n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, base = 16;
    uint32_t v = 0;

    if (at) {
        buf_ch(out, named[at - letters]);
        return;
    }
    if (c >= '0' && c <= '7') {
        n = 3;
        base = 8;
        (*i)--;
    }
    if (!n) {
        buf_ch(out, c); /* a quote or a backslash */
        return;
    }
    for (; n; n--)
        v = v * base + digit(s.p[(*i)++]);
    if (c == 'u' || c == 'U')
        put_rune(out, (int32_t)v);
    else
        buf_u8(out, (uint8_t)v);
}

/* The lexer has proved every escape whole and in range. */
bool promql_unquote(struct arena *a, struct sv quoted, struct sv *ret)
{
    struct sv s = sv_sub(quoted, 1, quoted.n - 2);
    struct buf out;

    assert(quoted.n >= 2);
    if (quoted.p[0] == '`' || sv_find(s, '\\') == SIZE_MAX) {
        *ret = arena_sv(a, s);
        return ret->p || !s.n;
    }
    buf_init(&out, s.n);
    for (size_t i = 0; i < s.n;) {
        char c = s.p[i++];

        if (c == '\\')
            put_unescaped(&out, s, &i);
        else
            buf_ch(&out, c);
    }
    assert(buf_ok(&out)); /* an escape is never shorter than what it stands for */
    *ret = arena_sv(a, buf_view(&out));
    buf_fini(&out);
    return ret->p || !ret->n;
}

/* Biggest first, as they must be written; exact: only when nothing remains, so that 90d stays. */
static const struct unit {
    char name[3];
    bool exact;
    int64_t ms; /* milliseconds */
} units[] = {
    {"y", true, 365 * 86400000LL}, {"w", true, 7 * 86400000LL}, {"d", false, 86400000},
    {"h", false, 3600000},         {"m", false, 60000},         {"s", false, 1000},
    {"ms", false, 1},
};
#define UNITS (sizeof(units) / sizeof(units[0]))

void promql_print_duration(struct buf *out, int64_t ms)
{
    uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;

    if (!left)
        buf_str(out, "0s");
    if (ms < 0)
        buf_ch(out, '-');
    for (size_t i = 0; i < UNITS; i++) {
        uint64_t mult = (uint64_t)units[i].ms;

        if (left < mult || (units[i].exact && left % mult))
            continue;
        buf_printf(out, "%llu%s", (unsigned long long)(left / mult), units[i].name);
        left %= mult;
    }
}

static bool bad_duration(struct buf *msg, struct sv s)
{
    buf_str(msg, "not a valid duration string: ");
    promql_quote(msg, s);
    return false;
}

static bool out_of_range(struct buf *msg)
{
    buf_str(msg, "duration out of range");
    return false;
}

bool promql_duration_ns(struct sv s, int64_t *ret_ns, struct buf *msg)
{
    size_t i = 0, last = 0;
    uint64_t sum = 0;

    buf_clear(msg);
    while (i < s.n) {
        size_t from = i, unit = 0;
        uint64_t v, mult;
        struct sv name;

        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        if (!sv_u64(sv_sub(s, from, i - from), &v))
            return bad_duration(msg, s);
        from = i;
        while (i < s.n && (s.p[i] < '0' || s.p[i] > '9'))
            i++;
        name = sv_sub(s, from, i - from);
        if (!name.n)
            return bad_duration(msg, s);
        while (unit < UNITS && !sv_is(name, units[unit].name))
            unit++;
        if (unit == UNITS) {
            buf_str(msg, "unknown unit ");
            promql_quote(msg, name);
            buf_str(msg, " in duration ");
            promql_quote(msg, s);
            return false;
        }
        if (unit < last)
            return bad_duration(msg, s);
        last = unit + 1;
        mult = (uint64_t)units[unit].ms * 1000000;
        if (v > ((uint64_t)1 << 63) / mult || (sum += v * mult) > INT64_MAX)
            return out_of_range(msg);
    }
    *ret_ns = (int64_t)sum;
    return true;
}

/* Go's rule: an underscore stands behind a digit or the prefix, and before a digit. */
static bool underscores_fit(struct sv s, bool hex)
{
    const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
    char seen = hex ? '0' : '^'; /* the kind of the character before: 0 a digit */

    for (size_t i = hex ? 2 : 0; i < s.n; i++) {
        char kind = s.p[i] == '_' ? '_' : strchr(digits, s.p[i]) ? '0' : '!';

        if ((kind == '_' && seen != '0') || (kind == '!' && seen == '_'))
            return false;
        seen = kind;
    }
    return seen != '_';
}

/* ParseInt with base 0: decimal, 0x and leading-0 octal, underscores between digits. */
static bool integer(struct sv s, int64_t *ret)
{
    bool hex = s.n > 2 && s.p[0] == '0' && (s.p[1] | 32) == 'x';
    bool octal = !hex && s.n > 1 && s.p[0] == '0';
    unsigned base = hex ? 16 : octal ? 8 : 10;
    uint64_t v = 0;

    if (!s.n || !underscores_fit(s, hex))
        return false;
    for (size_t i = hex ? 2 : 0; i < s.n; i++) {
        unsigned d;

        if (s.p[i] == '_')
            continue;
        if (!strchr("0123456789abcdefABCDEF", s.p[i]) || (d = digit(s.p[i])) >= base)
            return false;
        if (v > ((uint64_t)INT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *ret = (int64_t)v;
    return true;
}

/* ParseFloat: underscores as above; hexadecimal would need an exponent, which no token has. */
static bool floating(struct sv s, double *ret)
{
    bool hex = s.n > 1 && s.p[0] == '0' && (s.p[1] | 32) == 'x', ok;
    struct buf plain;

    if (hex || !underscores_fit(s, false))
        return false;
    buf_init(&plain, s.n);
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            buf_ch(&plain, s.p[i]);
    ok = dtoa_parse(buf_view(&plain), ret);
    buf_fini(&plain);
    return ok;
}

bool promql_number(struct sv s, double *ret, struct buf *msg)
{
    bool word = s.n && (s.p[0] | 32) >= 'a', known;
    int64_t i;
    double v = 0;

    if (integer(s, &i)) {
        *ret = (double)i;
        return true;
    }
    known = floating(s, &v);
    if (known && (word || !isinf(v))) {
        *ret = v;
        return true;
    }
    buf_clear(msg);
    buf_str(msg, "error parsing number: strconv.ParseFloat: parsing ");
    promql_quote(msg, s);
    buf_str(msg, known ? ": value out of range" : ": invalid syntax");
    return false;
}
