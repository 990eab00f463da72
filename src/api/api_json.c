/* Values as Prometheus's API writes them, byte for byte (web/api/v1/json_codec.go, util/jsonutil):
 * points as [seconds, "value"], with milliseconds only where there are some; values shortest, with an
 * exponent below 1e-6 and from 1e21 on; histograms with the bounds of their buckets. Scalars and
 * strings come from another encoder there, which always writes 'f' and trims the time. Texts that go
 * through Go's reflection have < > & escaped, labels have not. */
#include "api_int.h"

#include "base/dtoa.h"
#include "base/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

void api_json_begin(struct buf *b)
{
    buf_str(b, "{\"status\":\"success\",\"data\":");
}

void api_json_strings(struct buf *b, const struct sv *p, size_t n)
{
    buf_ch(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_ch(b, ',');
        json_str_html(b, p[i]);
    }
    buf_ch(b, ']');
}

void api_json_end(struct buf *b, const struct sv *warnings, size_t warnings_n,
                  const struct sv *infos, size_t infos_n)
{
    if (warnings_n) {
        buf_str(b, ",\"warnings\":");
        api_json_strings(b, warnings, warnings_n);
    }
    if (infos_n) {
        buf_str(b, ",\"infos\":");
        api_json_strings(b, infos, infos_n);
    }
    buf_ch(b, '}');
}

void api_json_labels(struct buf *b, struct labels ls)
{
    buf_ch(b, '{');
    for (size_t i = 0; i < ls.n; i++) {
        if (i)
            buf_ch(b, ',');
        json_str(b, ls.p[i].name);
        buf_ch(b, ':');
        json_str(b, ls.p[i].value);
    }
    buf_ch(b, '}');
}

static void number(struct buf *b, double v)
{
    buf_ch(b, '"');
    buf_double_json(b, v);
    buf_ch(b, '"');
}

/* 2^(part / 2^schema) / 2 for part below 2^schema. Prometheus has these in a table whose last digits
 * are not the nearest; this product of roots, the highest bit first, gives all 511 of its numbers. */
static double fraction_of(int64_t part, int schema)
{
    double x = 0.5, root = sqrt(2);

    for (int bit = schema - 1; bit >= 0; bit--) {
        if (part >> bit & 1)
            x = bit == schema - 1 ? 1 / root : x * root;
        root = sqrt(root);
    }
    return x;
}

static int clamp_exponent(int64_t e)
{
    return (int)(e > 5000 ? 5000 : e < -5000 ? -5000 : e);
}

/* Upper bound of a bucket; the one before it is its lower bound. */
static double bound_of(const struct hist *h, int64_t i)
{
    int64_t e;
    double x;

    if (h->schema == HIST_CUSTOM_SCHEMA) {
        if (i < 0)
            return -INFINITY;
        return i >= (int64_t)h->custom_n ? INFINITY : h->custom[i];
    }
    if (h->schema < 0) {
        e = clamp_exponent(i) * (INT64_C(1) << -h->schema);
        return e == 1024 ? DBL_MAX : ldexp(1, clamp_exponent(e));
    }
    x = fraction_of(i & ((INT64_C(1) << h->schema) - 1), h->schema);
    e = (i >> h->schema) + 1;
    return x == 0.5 && e == 1025 ? DBL_MAX : ldexp(x, clamp_exponent(e));
}

struct bucket {
    double lower, upper, count;
    bool lower_in, upper_in;
};

static void put_bucket(struct buf *b, const struct bucket *k, bool *first)
{
    if (k->count == 0) /* also what isn't there */
        return;
    buf_str(b, *first ? ",\"buckets\":[[" : ",[");
    *first = false;
    buf_ch(b, k->lower_in ? (k->upper_in ? '3' : '1') : k->upper_in ? '0' : '2');
    buf_ch(b, ',');
    number(b, k->lower);
    buf_ch(b, ',');
    number(b, k->upper);
    buf_ch(b, ',');
    number(b, k->count);
    buf_ch(b, ']');
}

static double count_of(const struct hist *h, const struct hist_side *s, size_t i)
{
    return h->is_float ? s->fcounts[i] : (double)s->counts[i];
}

static double zero_count(const struct hist *h)
{
    return h->is_float ? h->fzero_count : (double)h->zero_count;
}

static void positive(struct buf *b, const struct hist *h, bool *first)
{
    bool custom = h->schema == HIST_CUSTOM_SCHEMA;
    int64_t at = 0;
    size_t n = 0;

    for (uint32_t s = 0; s < h->pos.spans_n; s++) {
        at += h->pos.spans[s].offset;
        for (uint32_t j = 0; j < h->pos.spans[s].length && n < h->pos.buckets_n; j++, at++) {
            struct bucket k = {.lower = bound_of(h, at - 1),
                               .upper = bound_of(h, at),
                               .count = count_of(h, &h->pos, n++)};

            k.lower_in = custom ? at == 0 : k.lower < 0;
            k.upper_in = custom || k.upper > 0;
            if (!custom && k.lower > 0 && k.lower < h->zero_threshold)
                k.lower = h->zero_threshold;
            put_bucket(b, &k, first);
        }
    }
}

/* From the most negative on: spans backwards. */
static void negative(struct buf *b, const struct hist *h, bool *first)
{
    int64_t at = 0;
    size_t n = 0;

    for (uint32_t s = 0; s < h->neg.spans_n; s++) {
        at += (int64_t)h->neg.spans[s].offset + h->neg.spans[s].length;
        n += h->neg.spans[s].length;
    }
    if (n > h->neg.buckets_n)
        return;
    for (uint32_t s = h->neg.spans_n; s-- > 0; at -= h->neg.spans[s].offset)
        for (uint32_t j = 0; j < h->neg.spans[s].length; j++) {
            struct bucket k = {.count = count_of(h, &h->neg, --n)};

            at--;
            k.lower = -bound_of(h, at);
            k.upper = -bound_of(h, at - 1);
            k.lower_in = k.lower < 0;
            k.upper_in = k.upper > 0;
            if (k.upper < 0 && k.upper > -h->zero_threshold)
                k.upper = -h->zero_threshold;
            put_bucket(b, &k, first);
        }
}

void api_json_hist(struct buf *b, const struct hist *h)
{
    struct bucket zero = {-h->zero_threshold, h->zero_threshold, zero_count(h), true, true};
    bool first = true;

    buf_str(b, "{\"count\":");
    number(b, h->is_float ? h->fcount : (double)h->count);
    buf_str(b, ",\"sum\":");
    number(b, h->sum);
    if (h->schema != HIST_CUSTOM_SCHEMA) {
        negative(b, h, &first);
        if (zero.count > 0)
            put_bucket(b, &zero, &first);
    }
    positive(b, h, &first);
    buf_str(b, first ? "}" : "]}");
}

static bool is_hist(const struct row *r, size_t i)
{
    return r->h && r->h[i];
}

static void put_point(struct buf *b, const struct row *r, size_t i)
{
    buf_ch(b, '[');
    buf_time_s(b, r->t_ms[i]);
    buf_ch(b, ',');
    if (is_hist(r, i))
        api_json_hist(b, r->h[i]);
    else
        number(b, r->f[i]);
    buf_ch(b, ']');
}

/* The row's floats, or its histograms, as ,"name":[...]; nothing when it has none. */
static void put_points(struct buf *b, const struct row *r, const char *name, bool hists)
{
    bool first = true;

    for (size_t i = 0; i < r->n && buf_ok(b); i++) {
        if (is_hist(r, i) != hists)
            continue;
        if (first)
            buf_printf(b, ",\"%s\":[", name);
        else
            buf_ch(b, ',');
        first = false;
        put_point(b, r, i);
    }
    if (!first)
        buf_ch(b, ']');
}

static void put_row(struct buf *b, const struct row *r, enum value_kind kind)
{
    buf_str(b, "{\"metric\":");
    api_json_labels(b, r->labels);
    if (kind == VALUE_MATRIX) {
        put_points(b, r, "values", false);
        put_points(b, r, "histograms", true);
    } else if (r->n) {
        buf_str(b, is_hist(r, 0) ? ",\"histogram\":" : ",\"value\":");
        put_point(b, r, 0);
    }
    buf_ch(b, '}');
}

/* Charges what b has grown since the last time. */
static enum status charge(struct buf *b, size_t *charged, struct account *mem, struct err *err)
{
    if (b->cap > *charged) {
        TRY(account_charge(mem, (int64_t)(b->cap - *charged), err));
        *charged = b->cap;
    }
    return ST_OK;
}

/* Go's JSON of float64(t)/1000 and of a string. */
static void put_plain_time(struct buf *b, int64_t t_ms)
{
    buf_double_json(b, (double)t_ms / 1000);
    buf_ch(b, ',');
}

static void put_scalar(struct buf *b, const struct value *v)
{
    buf_ch(b, '[');
    put_plain_time(b, v->rows_n && v->rows[0].n ? v->rows[0].t_ms[0] : v->t_ms);
    buf_ch(b, '"');
    buf_double(b, v->rows_n && v->rows[0].n ? v->rows[0].f[0] : NAN);
    buf_str(b, "\"]");
}

enum status api_json_value(struct buf *b, const struct value *v, struct account *mem,
                           struct err *err)
{
    static const char *const names[] = {[VALUE_NONE] = "vector",
                                        [VALUE_SCALAR] = "scalar",
                                        [VALUE_VECTOR] = "vector",
                                        [VALUE_MATRIX] = "matrix",
                                        [VALUE_STRING] = "string"};
    size_t charged = b->cap;

    buf_printf(b, "{\"resultType\":\"%s\",\"result\":", names[v->kind]);
    if (v->kind == VALUE_SCALAR) {
        put_scalar(b, v);
    } else if (v->kind == VALUE_STRING) {
        buf_ch(b, '[');
        put_plain_time(b, v->t_ms);
        json_str_html(b, v->string);
        buf_ch(b, ']');
    } else {
        buf_ch(b, '[');
        for (size_t i = 0; i < v->rows_n && buf_ok(b); i++) {
            if (i)
                buf_ch(b, ',');
            put_row(b, &v->rows[i], v->kind);
            TRY(charge(b, &charged, mem, err));
        }
        buf_ch(b, ']');
    }
    buf_ch(b, '}');
    return ST_OK;
}
