/* Histogram functions. Classic histograms: the buckets of one histogram are gathered by their
 * labels without "le", then each step is answered alone. Of native histograms: count, sum and avg;
 * the others refuse them. */
#include "promql_eval_int.h"

#include "base/dtoa.h"

#include <assert.h>
#include <stdlib.h>

#define SMALL_DELTA 1e-12 /* relative: bucket counts this close are the same */
#define QUANTILES_MAX 10

struct bucket {
    double upper, count;
};

struct family {         /* of one histogram */
    VEC(double) uppers; /* in step with columns */
    VEC(double *) columns;
    struct labels labels; /* without le */
    bool drop_name;
};

struct hist_op {
    struct op op;
    const struct expr *e, *arg; /* the call; its vector */
    enum fn_id id;
    const double *lower, *upper; /* fraction; quantile: lower is q */
    const double *qs[QUANTILES_MAX];
    size_t qs_n;
    struct labtab tab;
    VEC(struct family) families;
    VEC(struct bucket) buckets;
    struct rowset set;
    struct labbuf labs, with;
    bool filled;
};

static int by_upper(const void *a, const void *b)
{
    const struct bucket *x = a, *y = b;

    return (x->upper > y->upper) - (x->upper < y->upper);
}

static size_t coalesce(struct bucket *b, size_t n)
{
    size_t kept = 0;

    for (size_t i = 1; i < n; i++) {
        if (b[i].upper == b[kept].upper)
            b[kept].count += b[i].count;
        else
            b[++kept] = b[i];
    }
    return kept + 1;
}

static bool almost(double a, double b)
{
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);

    if ((isnan(a) && isnan(b)) || a == b)
        return true;
    if (a == 0 || b == 0 || sum < 0x1p-1022)
        return diff < SMALL_DELTA * 0x1p-1022;
    return diff / fmin(sum, 1.7976931348623157e308) < SMALL_DELTA;
}

struct forced {
    bool is;
    double min_bucket, max_bucket, max_diff;
};

/* Counts never fall from one bucket to the next: float noise is smoothed, the rest is told. */
static void make_monotonic(struct bucket *b, size_t n, struct forced *f)
{
    double prev = b[0].count;

    *f = (struct forced){false, INFINITY, -INFINITY, 0};
    for (size_t i = 1; i < n; i++) {
        double curr = b[i].count;

        if (curr == prev)
            continue;
        if (almost(prev, curr)) {
            b[i].count = prev;
        } else if (curr < prev) {
            b[i].count = prev;
            f->is = true;
            f->min_bucket = b[i].upper < f->min_bucket ? b[i].upper : f->min_bucket;
            f->max_bucket = b[i].upper > f->max_bucket ? b[i].upper : f->max_bucket;
            f->max_diff = prev - curr > f->max_diff ? prev - curr : f->max_diff;
        } else {
            prev = curr;
        }
    }
}

static double bucket_quantile(double q, struct bucket *b, size_t n, struct forced *f)
{
    double rank, start = 0, count;
    size_t lo = 0, hi;

    f->is = false;
    if (isnan(q))
        return f64_nan();
    if (q < 0 || q > 1)
        return q < 0 ? -INFINITY : INFINITY;
    qsort(b, n, sizeof(*b), by_upper);
    if (!isinf(b[n - 1].upper) || b[n - 1].upper < 0)
        return f64_nan();
    n = coalesce(b, n);
    make_monotonic(b, n, f);
    if (n < 2 || b[n - 1].count == 0)
        return f64_nan();
    rank = q * b[n - 1].count;
    for (hi = n - 1; lo < hi;) {
        size_t mid = (lo + hi) / 2;

        if (b[mid].count >= rank)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (lo == n - 1)
        return b[n - 2].upper;
    if (lo == 0 && b[0].upper <= 0)
        return b[0].upper;
    count = b[lo].count;
    if (lo > 0) {
        start = b[lo - 1].upper;
        count -= b[lo - 1].count;
        rank -= b[lo - 1].count;
    }
    return start + (b[lo].upper - start) * (rank / count);
}

/* Observations below v inside bucket [from, b->upper]; rank: those below the bucket. */
static double rank_inside(const struct bucket *b, double from, double rank, double v)
{
    if (isinf(from))
        return b->count;
    return rank + (b->count - rank) * (v - from) / (b->upper - from);
}

static double rank_of(const struct bucket *b, size_t n, double v)
{
    double rank = 0, from = b[0].upper <= 0 ? -INFINITY : 0;

    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            from = b[i - 1].upper;
        if (from >= v)
            return rank;
        if (b[i].upper > v)
            return rank_inside(&b[i], from, rank, v);
        rank = b[i].count;
    }
    return INFINITY;
}

static double bucket_fraction(double lower, double upper, struct bucket *b, size_t n)
{
    double count, lo, hi;

    qsort(b, n, sizeof(*b), by_upper);
    if (!isinf(b[n - 1].upper) || b[n - 1].upper < 0)
        return f64_nan();
    n = coalesce(b, n);
    count = b[n - 1].count;
    if (count == 0 || isnan(lower) || isnan(upper))
        return f64_nan();
    if (lower >= upper)
        return 0;
    lo = rank_of(b, n, lower);
    hi = rank_of(b, n, upper);
    lo = lo > count ? count : lo;
    hi = hi > count ? count : hi;
    return (hi - lo) / count;
}

/* --- gathering ------------------------------------------------------------------------------ */

static bool delayed(const struct hist_op *h)
{
    return h->op.ev->params->opts.delayed_name_removal;
}

static void bad_bucket(struct hist_op *h, const struct prow *row)
{
    struct sv name = labels_get(row->labels, SV(LABEL_NAME));
    struct buf b;

    buf_init(&b, 8192);
    buf_str(&b, "bucket label \"le\" is missing or has a malformed value of ");
    promql_quote(&b, labels_get(row->labels, SV("le")));
    if (delayed(h) && name.n) {
        buf_str(&b, " for metric name ");
        promql_quote(&b, name);
    }
    promql_warn(h->op.ev, h->arg, SV_FMT, SV_ARG(buf_view(&b)));
    buf_fini(&b);
}

static double native_value(enum fn_id id, const struct hist *h)
{
    double count = h->is_float ? h->fcount : (double)h->count;

    return id == FN_HISTOGRAM_COUNT ? count : id == FN_HISTOGRAM_SUM ? h->sum : h->sum / count;
}

static bool is_classic(enum fn_id id)
{
    return id == FN_HISTOGRAM_QUANTILE || id == FN_HISTOGRAM_QUANTILES ||
           id == FN_HISTOGRAM_FRACTION;
}

static enum status take_native(struct hist_op *h, struct prow *row, struct err *err)
{
    bool simple = h->id == FN_HISTOGRAM_COUNT || h->id == FN_HISTOGRAM_SUM ||
                  h->id == FN_HISTOGRAM_AVG;

    for (size_t i = 0; i < h->op.grid.n; i++) {
        if (prow_is_hist(row, i) && !simple)
            return promql_no_hist(h->e->call.fn->name, err);
        row->v[i] = prow_is_hist(row, i) ? native_value(h->id, row->h[i]) : f64_absent();
    }
    row->h = NULL;
    promql_drop_name(h->op.ev, row, &h->labs);
    return promql_rowset_add(&h->set, row, false, err);
}

static enum status take_bucket(struct hist_op *h, const struct prow *row, struct err *err)
{
    struct sv le_name = SV("le");
    struct labels ls = promql_without(row->labels, (struct sv_list){&le_name, 1}, false, &h->labs);
    struct sv le = labels_get(row->labels, le_name);
    struct family *f;
    double upper;
    void *column;
    size_t at;
    bool fresh;

    if (!dtoa_parse(le, &upper)) {
        bad_bucket(h, row);
        return ST_OK;
    }
    TRY(promql_labtab_put(&h->tab, ls, &at, &fresh, err));
    if (fresh)
        vec_add(&h->families);
    f = &h->families.p[at];
    f->labels = h->tab.keys.p[at];
    TRY(promql_hold(h->op.ev, h->op.grid.n, err));
    TRY(promql_alloc(h->op.ev, h->op.grid.n * sizeof(double), &column, err));
    memcpy(column, row->v, h->op.grid.n * sizeof(double));
    for (size_t i = 0; row->h && i < h->op.grid.n; i++)
        if (row->h[i])
            return promql_no_hist(h->e->call.fn->name, err);
    vec_push(&f->uppers, upper);
    vec_push(&f->columns, (double *)column);
    return ST_OK;
}

static bool has_floats(const struct hist_op *h, const struct prow *row)
{
    for (size_t i = 0; i < h->op.grid.n; i++)
        if (prow_has(row, i) && !prow_is_hist(row, i))
            return true;
    return false;
}

static size_t gather(struct hist_op *h, const struct family *f, size_t step)
{
    h->buckets.n = 0;
    for (size_t i = 0; i < f->columns.n; i++)
        if (!f64_is_absent(f->columns.p[i][step]))
            vec_push(&h->buckets, ((struct bucket){f->uppers.p[i], f->columns.p[i][step]}));
    return h->buckets.n;
}

static enum status put(struct hist_op *h, const struct family *f, struct labels ls, size_t step,
                       double v, struct err *err)
{
    struct prow *row;

    TRY(promql_rowset_row(&h->set, ls, true, &row, err));
    if (prow_has(row, step))
        return promql_same_labelset(err);
    row->v[step] = v;
    return ST_OK;
}

static enum status quantile_at(struct hist_op *h, const struct family *f, struct labels ls,
                               size_t step, double q, struct err *err)
{
    struct forced forced;
    size_t n = gather(h, f, step);
    double v;

    if (n == 0)
        return ST_OK;
    v = bucket_quantile(q, h->buckets.p, n, &forced);
    if (forced.is)
        promql_info_forced(h->op.ev, h->arg,
                           delayed(h) ? labels_get(f->labels, SV(LABEL_NAME)) : SV(""),
                           grid_ms(&h->op.grid, step), forced.min_bucket, forced.max_bucket,
                           forced.max_diff);
    return put(h, f, ls, step, v, err);
}

/* The label of a quantile as OpenMetrics writes floats: always with a point or an exponent. */
static void quantile_text(struct buf *out, double q)
{
    char text[DTOA_MAX];
    size_t n = dtoa_g(text, q);
    bool plain = true;

    buf_put(out, text, n);
    for (size_t i = 0; i < n; i++)
        plain = plain && ((text[i] >= '0' && text[i] <= '9') || text[i] == '-');
    if (plain)
        buf_str(out, ".0");
}

static enum status family_quantiles(struct hist_op *h, const struct family *f, struct labels ls,
                                    struct err *err)
{
    struct sv name = expr_unwrap(h->e->call.args.p[1])->string.v;
    struct buf text;
    enum status st = ST_OK;

    buf_init(&text, DTOA_MAX + 8);
    for (size_t k = 0; k < h->qs_n; k++) {
        for (size_t i = 0; i < h->op.grid.n; i++) {
            struct labels with;

            buf_clear(&text);
            quantile_text(&text, h->qs[k][i]);
            with = promql_with(ls, name, buf_view(&text), &h->with);
            TRY_GOTO(quantile_at(h, f, with, i, h->qs[k][i], err));
        }
    }
out:
    buf_fini(&text);
    return st;
}

static enum status answer(struct hist_op *h, const struct family *f, struct err *err)
{
    struct labels ls = delayed(h) ? f->labels : promql_without_meta(f->labels, &h->labs);

    if (h->id == FN_HISTOGRAM_QUANTILES)
        return family_quantiles(h, f, ls, err);
    for (size_t i = 0; i < h->op.grid.n; i++) {
        if (h->id == FN_HISTOGRAM_QUANTILE) {
            TRY(quantile_at(h, f, ls, i, h->lower[i], err));
        } else {
            size_t n = gather(h, f, i);

            if (n)
                TRY(put(h, f, ls, i, bucket_fraction(h->lower[i], h->upper[i], h->buckets.p, n),
                        err));
        }
    }
    return ST_OK;
}

static void check_quantile(struct hist_op *h, const double *q, const struct expr *at)
{
    for (size_t i = 0; i < h->op.grid.n; i++) {
        struct buf b;

        if (q[i] >= 0 && q[i] <= 1)
            continue;
        buf_init(&b, 64);
        promql_go_g(&b, q[i]);
        promql_warn(h->op.ev, at, "quantile value should be between 0 and 1, got " SV_FMT,
                    SV_ARG(buf_view(&b)));
        buf_fini(&b);
    }
}

static void check_quantiles(struct hist_op *h)
{
    const struct expr_list *args = &h->e->call.args;

    if (h->id == FN_HISTOGRAM_QUANTILE)
        check_quantile(h, h->lower, args->p[0]);
    for (size_t i = 0; i < h->qs_n; i++)
        check_quantile(h, h->qs[i], args->p[i + 2]);
}

static enum status hist_fill(struct hist_op *h, struct err *err)
{
    for (;;) {
        struct prow *row;

        TRY(promql_next(h->op.child, &row, err));
        if (!row)
            break;
        if (!is_classic(h->id) || (row->h && !has_floats(h, row)))
            TRY(take_native(h, row, err));
        else
            TRY(take_bucket(h, row, err));
    }
    check_quantiles(h);
    for (size_t i = 0; i < h->families.n; i++)
        TRY(answer(h, &h->families.p[i], err));
    return ST_OK;
}

static enum status hist_next(struct op *o, struct prow **ret, struct err *err)
{
    struct hist_op *h = (struct hist_op *)o;

    if (!h->filled)
        TRY(hist_fill(h, err));
    h->filled = true;
    *ret = promql_rowset_next(&h->set);
    return ST_OK;
}

static void hist_close(struct op *o)
{
    struct hist_op *h = (struct hist_op *)o;

    for (size_t i = 0; i < h->families.n; i++) {
        vec_free(&h->families.p[i].uppers);
        vec_free(&h->families.p[i].columns);
    }
    vec_free(&h->families);
    vec_free(&h->buckets);
    promql_labtab_fini(&h->tab);
    promql_rowset_fini(&h->set);
    promql_labbuf_free(&h->labs);
    promql_labbuf_free(&h->with);
}

static enum status hist_args(struct hist_op *h, const struct expr **ret_vector, struct err *err)
{
    const struct expr_list *args = &h->e->call.args;
    const struct grid *g = &h->op.grid;
    struct ev *ev = h->op.ev;

    *ret_vector = args->p[0];
    if (h->id == FN_HISTOGRAM_QUANTILE) {
        TRY(promql_scalar(ev, args->p[0], g, &h->lower, err));
        *ret_vector = args->p[1];
    } else if (h->id == FN_HISTOGRAM_FRACTION) {
        TRY(promql_scalar(ev, args->p[0], g, &h->lower, err));
        TRY(promql_scalar(ev, args->p[1], g, &h->upper, err));
        *ret_vector = args->p[2];
    } else if (h->id == FN_HISTOGRAM_QUANTILES) {
        for (size_t i = 2; i < args->n && h->qs_n < QUANTILES_MAX; i++) {
            TRY(promql_scalar(ev, args->p[i], g, &h->qs[h->qs_n], err));
            h->qs_n++;
        }
    }
    return ST_OK;
}

enum status promql_build_hist(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    static const struct op_ops ops = {hist_next, hist_close};
    struct hist_op *h;
    struct op *child;

    TRY(promql_op_new(ev, sizeof(*h), &ops, g, NULL, &h, err));
    *ret = &h->op;
    h->e = e;
    h->id = e->call.fn->id;
    promql_labtab_init(&h->tab, ev);
    promql_rowset_init(&h->set, ev, g->n);
    TRY(hist_args(h, &h->arg, err));
    TRY(promql_build(ev, h->arg, g, &child, err));
    h->op.child = child;
    h->op.one_name = child->one_name;
    return ST_OK;
}
