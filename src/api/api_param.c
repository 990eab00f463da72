/* Parameters as Prometheus reads them (web/api/v1/api.go), with its texts: people and tests grep for
 * them. Times are floats of seconds or RFC 3339, durations floats of seconds or 5m. */
#include "api_int.h"

#include "base/dtoa.h"

#include <math.h>
#include <stdio.h>

#define POINTS_MAX 11000
#define NS_PER_S   1e9

/* `"text"` as Go's %q prints it, for plain text; what else is in it is escaped by its bytes. */
static const char *quoted(struct sv s, char *out, size_t out_n)
{
    size_t at = 0;

    out[at++] = '"';
    for (size_t i = 0; i < s.n && at + 8 < out_n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '"' || c == '\\')
            at += (size_t)snprintf(out + at, out_n - at, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !sv_utf8(s)))
            at += (size_t)snprintf(out + at, out_n - at, "\\x%02x", c);
        else
            out[at++] = (char)c;
    }
    snprintf(out + at, out_n - at, "\"");
    return out;
}

/* The same steps on the same doubles as parseTime, so that the same text is the same millisecond. */
static bool time_of_double(double v, int64_t *ret_ms)
{
    double whole, frac;
    int64_t s, ns;

    if (!(v > -9.3e15 && v < 9.3e15)) /* NaN as well */
        return false;
    frac = modf(v, &whole);
    frac = round(frac * 1000) / 1000;
    s = (int64_t)whole;
    ns = (int64_t)(frac * NS_PER_S);
    if (ns < 0) {
        s -= 1;
        ns += 1000000000;
    }
    s += ns / 1000000000;
    ns %= 1000000000;
    if (s < API_TIME_MIN_MS / 1000 || s > API_TIME_MAX_MS / 1000)
        return false;
    *ret_ms = s * 1000 + ns / 1000000;
    return true;
}

static bool digits(struct sv *s, size_t n, unsigned *ret)
{
    unsigned v = 0;

    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s->p[i] - '0');
    }
    *s = sv_sub(*s, n, s->n);
    *ret = v;
    return true;
}

static bool skip(struct sv *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = sv_sub(*s, 1, s->n);
    return true;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar (H. Hinnant's algorithm). */
static int64_t days_of(unsigned y, unsigned m, unsigned d)
{
    int64_t year = (int64_t)y - (m <= 2), era = (year >= 0 ? year : year - 399) / 400;
    unsigned yoe = (unsigned)(year - era * 400);
    unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;

    return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

static unsigned days_in(unsigned y, unsigned m)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return m == 2 && (y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)) ? 29 : days[m - 1];
}

/* ".5" -> 500 milliseconds; what is finer is cut. */
static bool fraction(struct sv *s, unsigned *ret_ms)
{
    unsigned weight = 100;

    *ret_ms = 0;
    if (!skip(s, '.'))
        return true;
    if (!s->n || s->p[0] < '0' || s->p[0] > '9')
        return false;
    for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; *s = sv_sub(*s, 1, s->n)) {
        *ret_ms += (unsigned)(s->p[0] - '0') * weight;
        weight /= 10;
    }
    return true;
}

static bool zone(struct sv *s, int64_t *ret_s)
{
    unsigned h, m;
    bool minus = s->n && s->p[0] == '-';

    *ret_s = 0;
    if (skip(s, 'Z'))
        return true;
    if (!(skip(s, '+') || skip(s, '-')) || !digits(s, 2, &h) || !skip(s, ':') ||
        !digits(s, 2, &m) || h > 24 || m > 60)
        return false;
    *ret_s = (minus ? -1 : 1) * (int64_t)(h * 3600 + m * 60);
    return true;
}

static bool time_of_rfc3339(struct sv s, int64_t *ret_ms)
{
    unsigned y, mo, d, h, mi, sec, ms;
    int64_t off;

    if (!digits(&s, 4, &y) || !skip(&s, '-') || !digits(&s, 2, &mo) || !skip(&s, '-') ||
        !digits(&s, 2, &d) || !skip(&s, 'T') || !digits(&s, 2, &h) || !skip(&s, ':') ||
        !digits(&s, 2, &mi) || !skip(&s, ':') || !digits(&s, 2, &sec) || !fraction(&s, &ms) ||
        !zone(&s, &off) || s.n)
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > days_in(y, mo) || h > 23 || mi > 59 || sec > 59)
        return false;
    *ret_ms = ((days_of(y, mo, d) * 24 + h) * 60 + mi) * 60000 + (int64_t)sec * 1000 + ms -
              off * 1000;
    return true;
}

enum status api_parse_time(struct sv s, int64_t *ret_ms, struct err *err)
{
    double v;
    char q[256];

    if (dtoa_parse(s, &v)) {
        if (time_of_double(v, ret_ms))
            return ST_OK;
    } else if (time_of_rfc3339(s, ret_ms)) {
        return ST_OK;
    } else if (sv_is(s, "-292273086-05-16T16:47:06Z")) { /* how Prometheus writes its MinTime */
        *ret_ms = API_TIME_MIN_MS;
        return ST_OK;
    } else if (sv_is(s, "292277025-08-18T07:12:54.999999999Z")) { /* and MaxTime */
        *ret_ms = API_TIME_MAX_MS;
        return ST_OK;
    }
    return err_set(err, ST_INVALID, "cannot parse %s to a valid timestamp",
                   quoted(s, q, sizeof(q)));
}

enum status api_parse_duration(struct sv s, int64_t *ret_ns, struct err *err)
{
    double v;
    int64_t ms;
    char q[256];

    if (dtoa_parse(s, &v) && !isnan(v)) {
        v *= NS_PER_S;
        if (v >= 9223372036854775808.0 || v < -9223372036854775808.0)
            return err_set(err, ST_INVALID,
                           "cannot parse %s to a valid duration. It overflows int64",
                           quoted(s, q, sizeof(q)));
        *ret_ns = (int64_t)v;
        return ST_OK;
    }
    if (!sv_duration_ms(s, &ms) || ms > INT64_MAX / 1000000)
        return err_set(err, ST_INVALID, "cannot parse %s to a valid duration",
                       quoted(s, q, sizeof(q)));
    *ret_ns = ms * 1000000;
    return ST_OK;
}

static enum status invalid(const char *name, struct err *err)
{
    return err_wrap(err, "invalid parameter \"%s\"", name);
}

enum status api_param_time(const struct http_req *r, const char *name, bool doubled,
                           int64_t *ret_ms, struct err *err)
{
    struct sv s;

    if (!http_req_param(r, name, 0, &s) || (s.n == 0 && doubled))
        return ST_OK;
    if (api_parse_time(s, ret_ms, err) == ST_OK)
        return ST_OK;
    if (doubled)
        err_wrap(err, "invalid time value for '%s'", name);
    return invalid(name, err);
}

enum status api_param_limit(const struct http_req *r, uint64_t *ret, struct err *err)
{
    struct sv s;
    int64_t v;
    char q[256];

    *ret = 0;
    if (!http_req_param(r, "limit", 0, &s) || s.n == 0)
        return ST_OK;
    if (s.n > 1 && s.p[0] == '+')
        s = sv_sub(s, 1, s.n);
    if (!sv_i64(s, &v)) {
        err_set(err, ST_INVALID, "strconv.Atoi: parsing %s: invalid syntax",
                quoted(s, q, sizeof(q)));
        return invalid("limit", err);
    }
    if (v < 0) {
        err_set(err, ST_INVALID, "limit must be non-negative");
        return invalid("limit", err);
    }
    *ret = (uint64_t)v;
    return ST_OK;
}

enum status api_check_range(struct sv start, struct sv end, struct sv step, struct api_range *ret,
                            struct err *err)
{
    int64_t step_ns;
    struct api_range g = {0};

    if (api_parse_time(start, &g.start_ms, err) != ST_OK)
        return invalid("start", err);
    if (api_parse_time(end, &g.end_ms, err) != ST_OK)
        return invalid("end", err);
    if (g.end_ms < g.start_ms) {
        err_set(err, ST_INVALID, "end timestamp must not be before start time");
        return invalid("end", err);
    }
    if (api_parse_duration(step, &step_ns, err) != ST_OK)
        return invalid("step", err);
    g.step_ms = step_ns / 1000000;
    if (g.step_ms <= 0) {
        err_set(err, ST_INVALID, "zero or negative query resolution step widths are not accepted. "
                                 "Try a positive integer");
        return invalid("step", err);
    }
    if (((__int128)g.end_ms - g.start_ms) * 1000000 / step_ns > POINTS_MAX)
        return err_set(err, ST_INVALID, "exceeded maximum resolution of 11,000 points per "
                                        "timeseries. Try decreasing the query resolution "
                                        "(?step=XX)");
    *ret = g;
    return ST_OK;
}
