/* Functions of range vectors. The window slides over a series' columns, so a sample is decoded
 * once whatever the number of steps; kernels see the window as a slice. */
#include "promql_eval_int.h"

#include <assert.h>
#include <stdlib.h>

/* What a kernel sees: floats and histograms of one step's window. */
struct win {
    const int64_t *t, *st; /* st NULL: no start timestamps */
    const double *f;
    size_t n;
    const int64_t *ht;
    const struct hist *const *h;
    size_t hn;
    int64_t from_ms, end_ms; /* of the range itself, without what anchored or smoothed add */
    int64_t now_ms;
    size_t step;
    bool resets; /* a float is lower than the one before it */
};

struct range_op;
/* A value, or absent. A histogram goes into r->out_h with any value that is not absent. */
typedef double (*range_kernel)(struct range_op *r, const struct win *w);

struct range_op {
    struct op op;
    const struct expr *e, *arg; /* the call; its range vector */
    enum fn_id id;
    range_kernel kernel;
    struct rsource *src;
    const double *a, *b; /* scalar arguments over the grid */
    struct prow row;
    const struct hist **h, *out_h;
    VEC(size_t) drops;   /* where a float is lower than the one before: counter resets */
    VEC(double) scratch;
    struct labbuf labs;
    struct sv told;      /* the metric name last told not to be a counter's */
    bool told_any;
    enum status st;      /* of a kernel that failed */
    struct err *err;
};

static struct sv metric_of(const struct range_op *r)
{
    return labels_get(r->src->cur.labels, SV(LABEL_NAME));
}

static void quoted_note(struct range_op *r, bool warn, const char *text)
{
    struct buf b;

    buf_init(&b, 4096);
    promql_quote(&b, metric_of(r));
    if (warn)
        promql_warn(r->op.ev, r->arg, "%s " SV_FMT, text, SV_ARG(buf_view(&b)));
    else
        promql_info(r->op.ev, r->arg, "%s " SV_FMT, text, SV_ARG(buf_view(&b)));
    buf_fini(&b);
}

static double mixed(struct range_op *r)
{
    quoted_note(r, true, "encountered a mix of histograms and floats for metric name");
    return f64_absent();
}

/* Functions of floats alone: whether there are any; histograms beside them are told. */
static bool floats_only(struct range_op *r, const struct win *w)
{
    if (w->n && w->hn)
        quoted_note(r, false,
                    "ignored histograms in a range containing both floats and histograms for "
                    "metric name");
    return w->n > 0;
}

static double no_hists(struct range_op *r)
{
    r->st = promql_no_hist(r->e->call.fn->name, r->err);
    return f64_absent();
}

/* --- rate, increase, delta ------------------------------------------------------------------ */

/* Whether a start timestamp tells that the counter began anew between two samples. */
static bool start_reset(int64_t prev_st, int64_t prev_t, int64_t st, int64_t t)
{
    if (st == 0 || st >= t || st < prev_t)
        return false;
    if (st > prev_t)
        return true;
    return prev_st <= prev_t && prev_st != 0 && prev_st != prev_t;
}

static double with_resets(struct range_op *r, const struct win *w, double result)
{
    bool told = false;

    if (!w->resets && !w->st)
        return result;
    for (size_t i = 1; i < w->n; i++) {
        bool reset = w->f[i] < w->f[i - 1];

        if (w->st && !told && w->st[i] != 0 && w->st[i] < w->t[i - 1] &&
            w->st[i] != w->st[i - 1]) {
            told = true;
            quoted_note(r, true,
                        "sample has start time that overlaps with previous sample timestamp for "
                        "metric");
        }
        if (reset || (w->st && start_reset(w->st[i - 1], w->t[i - 1], w->st[i], w->t[i])))
            result += w->f[i - 1];
    }
    return result;
}

static bool is_counter(const struct range_op *r)
{
    return r->id != FN_DELTA;
}

static double range_s(const struct range_op *r)
{
    return (double)r->src->range_ms / 1000;
}

static double extrapolated(struct range_op *r, const struct win *w)
{
    size_t gaps = w->n - 1;
    int64_t first = w->t[0], last = w->t[gaps];
    double result = w->f[gaps] - w->f[0];
    double to_start = (double)(first - w->from_ms) / 1000;
    double to_end = (double)(w->end_ms - last) / 1000;
    double sampled = (double)(last - first) / 1000;
    double mean_gap = gaps ? sampled / (double)gaps : 0, threshold = mean_gap * 1.1, factor = 1;

    if (is_counter(r))
        result = with_resets(r, w, result);
    if (is_counter(r) && w->st && w->st[0] != 0 && w->st[0] > w->from_ms && w->st[0] < first) {
        /* The counter began at zero inside the range: nothing to guess on the left. */
        to_start = 0;
        sampled = (double)(last - w->st[0]) / 1000;
        result += w->f[0];
    } else if (gaps == 0) {
        return f64_absent();
    } else {
        if (to_start >= threshold)
            to_start = mean_gap / 2;
        if (is_counter(r)) {
            double to_zero = to_start;

            if (result > 0 && w->f[0] >= 0)
                to_zero = sampled * (w->f[0] / result);
            if (to_zero < to_start)
                to_start = to_zero;
        }
    }
    if (to_end >= threshold)
        to_end = mean_gap / 2;
    if (sampled != 0)
        factor = (sampled + to_start + to_end) / sampled;
    if (r->id == FN_RATE)
        factor /= range_s(r);
    return result * factor;
}

static double between(const struct win *w, size_t i, int64_t t, bool counter)
{
    double y1 = w->f[i], y2 = w->f[i + 1];

    if (counter && y2 < y1)
        y1 = 0;
    return y1 + (y2 - y1) * (double)(t - w->t[i]) / (double)(w->t[i + 1] - w->t[i]);
}

/* First index at or below `limit` for which t > than (or >= when or_equal), else limit. */
static size_t search(const struct win *w, size_t limit, int64_t than, bool or_equal)
{
    size_t i = 0;

    while (i < limit && !(or_equal ? w->t[i] >= than : w->t[i] > than))
        i++;
    return i;
}

static double left_value(const struct win *w, size_t first, int64_t t, bool smoothed, bool counter)
{
    return smoothed && w->t[first] < t ? between(w, first, t, counter) : w->f[first];
}

static double right_value(const struct win *w, size_t last, int64_t t, bool smoothed, bool counter)
{
    return smoothed && last > 0 && w->t[last] > t ? between(w, last - 1, t, counter) : w->f[last];
}

/* anchored and smoothed: values at the borders instead of extrapolation. */
static double extended(struct range_op *r, const struct win *w)
{
    bool smoothed = r->src->smoothed, counter = is_counter(r);
    size_t last = w->n - 1, first = search(w, last, w->from_ms, false);
    double left, right, result, prev;

    first = first ? first - 1 : 0;
    if (smoothed)
        last = search(w, last, w->end_ms, true);
    if (w->t[last] <= w->from_ms || (smoothed && w->t[first] > w->end_ms))
        return f64_absent();
    left = left_value(w, first, w->from_ms, smoothed, counter);
    right = right_value(w, last, w->end_ms, smoothed, counter);
    result = right - left;
    if (counter) {
        double correction = 0;
        size_t from = first + (w->t[first] <= w->from_ms);
        size_t end = last + (w->t[last] < w->end_ms); /* half-open */

        prev = left;
        for (size_t i = from; i < end; i++) {
            if (w->f[i] < prev)
                correction += prev;
            prev = w->f[i];
        }
        if (right < prev)
            correction += prev;
        result += correction;
    }
    return r->id == FN_RATE ? result / range_s(r) : result;
}

size_t promql_extend(const struct rsource *s, int64_t end_ms, int64_t *t_ms, double *f)
{
    int64_t from = end_ms - s->range_ms, lookback = s->ev->params->lookback_ms;
    const struct rseries *c = &s->cur;
    struct win w = {.t = c->t_ms, .f = c->f};
    size_t lo = 0, last, first, n = 0, end;

    while (lo < c->n && c->t_ms[lo] <= from - lookback)
        lo++;
    w.t += lo;
    w.f += lo;
    while (lo + w.n < c->n && w.t[w.n] <= end_ms + (s->smoothed ? lookback : 0))
        w.n++;
    if (w.n == 0)
        return 0;
    last = w.n - 1;
    first = search(&w, last, from, false);
    first = first ? first - 1 : 0;
    if (s->smoothed)
        last = search(&w, last, end_ms, true);
    if (w.t[last] <= from)
        return 0;
    t_ms[n] = from;
    f[n++] = left_value(&w, first, from, s->smoothed, false);
    end = last + (w.t[last] < end_ms);
    for (size_t i = first + (w.t[first] <= from); i < end; i++) {
        t_ms[n] = w.t[i];
        f[n++] = w.f[i];
    }
    t_ms[n] = end_ms;
    f[n++] = right_value(&w, last, end_ms, s->smoothed, false);
    return n;
}

static double k_rate(struct range_op *r, const struct win *w)
{
    if (w->n && w->hn)
        return mixed(r);
    if (w->hn)
        return w->hn > 1 || r->src->anchored || r->src->smoothed ? no_hists(r) : f64_absent();
    return r->src->anchored || r->src->smoothed ? extended(r, w) : extrapolated(r, w);
}

static double k_instant(struct range_op *r, const struct win *w)
{
    size_t i = w->n - 1;
    double v, interval;

    if (w->n + w->hn < 2)
        return f64_absent();
    if (w->n < 2 || (w->hn && w->ht[w->hn - 1] > w->t[i - 1])) {
        if (w->hn >= 2 && (w->n == 0 || w->ht[w->hn - 2] > w->t[i]))
            return no_hists(r);
        r->arg = r->e->call.args.p[0];
        return mixed(r);
    }
    interval = (double)(w->t[i] - w->t[i - 1]) / 1000;
    v = w->f[i];
    if (r->id == FN_IDELTA ||
        !(v < w->f[i - 1] ||
          (w->st && start_reset(w->st[i - 1], w->t[i - 1], w->st[i], w->t[i]))))
        v -= w->f[i - 1];
    return r->id == FN_IRATE ? v / interval : v;
}

/* --- sums, extremes, moments ---------------------------------------------------------------- */

static double k_sum(struct range_op *r, const struct win *w)
{
    double sum = 0, c = 0;

    if (w->n && w->hn)
        return mixed(r);
    if (w->hn)
        return no_hists(r);
    for (size_t i = 0; i < w->n; i++)
        kahan_inc(w->f[i], &sum, &c);
    return isinf(sum) ? sum : sum + c;
}

static double k_avg(struct range_op *r, const struct win *w)
{
    double sum, c = 0, mean = 0, n = 1;
    bool incremental = false;

    if (w->n && w->hn)
        return mixed(r);
    if (w->hn)
        return no_hists(r);
    sum = w->f[0];
    for (size_t i = 1; i < w->n; i++) {
        double q;

        n = (double)(i + 1);
        if (!incremental) {
            double next = sum, next_c = c;

            kahan_inc(w->f[i], &next, &next_c);
            if (!isinf(next)) {
                sum = next;
                c = next_c;
                continue;
            }
            incremental = true;
            mean = sum / (n - 1);
            c /= n - 1;
        }
        q = (n - 1) / n;
        mean *= q;
        c *= q;
        kahan_inc(w->f[i] / n, &mean, &c);
    }
    return incremental ? mean + c : sum / n + c / n;
}

static double k_count(struct range_op *r, const struct win *w)
{
    return (double)(w->n + w->hn);
}

static double k_present(struct range_op *r, const struct win *w)
{
    return 1;
}

static double k_extreme(struct range_op *r, const struct win *w)
{
    bool max = r->id == FN_MAX_OVER_TIME || r->id == FN_TS_OF_MAX_OVER_TIME;
    bool when = r->id == FN_TS_OF_MAX_OVER_TIME || r->id == FN_TS_OF_MIN_OVER_TIME;
    double best;
    int64_t t;

    if (!floats_only(r, w))
        return f64_absent();
    best = w->f[0];
    t = w->t[0];
    for (size_t i = 0; i < w->n; i++) {
        double v = w->f[i];

        if ((max ? v > best : v < best) || (when && v == best) || isnan(best)) {
            best = v;
            t = w->t[i];
        }
    }
    return when ? (double)t / 1000 : best;
}

static double k_variance(struct range_op *r, const struct win *w)
{
    double n = 0, mean = 0, c = 0, aux = 0, aux_c = 0, v;

    if (!floats_only(r, w))
        return f64_absent();
    for (size_t i = 0; i < w->n; i++) {
        double delta = w->f[i] - (mean + c);

        n++;
        kahan_inc(delta / n, &mean, &c);
        kahan_inc(delta * (w->f[i] - (mean + c)), &aux, &aux_c);
    }
    v = (aux + aux_c) / n;
    return r->id == FN_STDDEV_OVER_TIME ? sqrt(v) : v;
}

static double *copy_of(struct range_op *r, const struct win *w)
{
    vec_reserve(&r->scratch, w->n);
    memcpy(r->scratch.p, w->f, w->n * sizeof(double));
    return r->scratch.p;
}

static double k_quantile(struct range_op *r, const struct win *w)
{
    double q = r->a[w->step];

    if (w->n == 0)
        return f64_absent();
    if (isnan(q) || q < 0 || q > 1) {
        struct buf b;

        buf_init(&b, 64);
        promql_go_g(&b, q);
        promql_warn(r->op.ev, r->e->call.args.p[0],
                    "quantile value should be between 0 and 1, got " SV_FMT, SV_ARG(buf_view(&b)));
        buf_fini(&b);
    }
    if (w->hn) {
        r->arg = r->e->call.args.p[0];
        floats_only(r, w);
    }
    return promql_quantile(q, copy_of(r, w), w->n);
}

static double k_mad(struct range_op *r, const struct win *w)
{
    double median, *v;

    if (!floats_only(r, w))
        return f64_absent();
    for (size_t i = 0; i < w->n; i++)
        if (isnan(w->f[i]))
            return f64_nan();
    v = copy_of(r, w);
    median = promql_quantile(0.5, v, w->n);
    for (size_t i = 0; i < w->n; i++)
        v[i] = fabs(v[i] - median);
    return promql_quantile(0.5, v, w->n);
}

static double give_hist(struct range_op *r, const struct hist *h)
{
    r->out_h = h;
    return 0;
}

static double k_first(struct range_op *r, const struct win *w)
{
    bool hist = w->hn && !(w->n && w->t[0] < w->ht[0]);

    if (r->id == FN_TS_OF_FIRST_OVER_TIME)
        return (double)(hist ? w->ht[0] : w->t[0]) / 1000;
    return hist ? give_hist(r, w->h[0]) : w->f[0];
}

static double k_last(struct range_op *r, const struct win *w)
{
    bool hist = w->hn && !(w->n && w->t[w->n - 1] > w->ht[w->hn - 1]);

    if (r->id == FN_TS_OF_LAST_OVER_TIME)
        return (double)(hist ? w->ht[w->hn - 1] : w->t[w->n - 1]) / 1000;
    return hist ? give_hist(r, w->h[w->hn - 1]) : w->f[w->n - 1];
}

/* --- changes and resets --------------------------------------------------------------------- */

static bool differs(const struct range_op *r, const struct win *w, size_t i)
{
    double a = w->f[i - 1], b = w->f[i];

    if (r->id == FN_CHANGES)
        return a != b && !(isnan(a) && isnan(b));
    return b < a || (w->st && start_reset(w->st[i - 1], w->t[i - 1], w->st[i], w->t[i]));
}

/* Floats and histograms in the order of time: a change of kind is a change and a reset. */
static double count_mixed(struct range_op *r, const struct win *w)
{
    size_t i = 0, k = 0, count = 0;
    int prev = -1;

    while (i < w->n || k < w->hn) {
        int hist = !(k == w->hn || (i < w->n && w->t[i] < w->ht[k]));

        if (hist && prev == 1)
            return no_hists(r); /* comparing two histograms */
        count += (prev >= 0 && prev != hist) || (prev == 0 && !hist && i > 0 && differs(r, w, i));
        prev = hist;
        if (hist)
            k++;
        else
            i++;
    }
    return (double)count;
}

static double k_changes(struct range_op *r, const struct win *w)
{
    size_t first = 0, count = 0;

    if (w->hn)
        return count_mixed(r, w);
    if (r->src->anchored) {
        first = search(w, w->n, w->from_ms, false);
        if (first == w->n)
            return f64_absent();
        first = first ? first - 1 : 0;
    }
    for (size_t i = first + 1; i < w->n; i++)
        count += differs(r, w, i);
    return (double)count;
}

/* --- regression and smoothing --------------------------------------------------------------- */

static void regression(const struct win *w, int64_t at_ms, double *slope, double *intercept)
{
    double n = 0, x = 0, cx = 0, y = 0, cy = 0, xy = 0, cxy = 0, x2 = 0, cx2 = 0, cov, var;
    bool same = true;

    for (size_t i = 0; i < w->n; i++) {
        double dx = (double)(w->t[i] - at_ms) / 1e3;

        same = same && w->f[i] == w->f[0];
        n++;
        kahan_inc(dx, &x, &cx);
        kahan_inc(w->f[i], &y, &cy);
        kahan_inc(dx * w->f[i], &xy, &cxy);
        kahan_inc(dx * dx, &x2, &cx2);
    }
    /* The first is not compared with itself: a NaN there does not end it. */
    if (same || (w->n && isnan(w->f[0]) && w->n == 1)) {
        *slope = isinf(w->f[0]) ? f64_nan() : 0;
        *intercept = isinf(w->f[0]) ? f64_nan() : w->f[0];
        return;
    }
    x += cx;
    y += cy;
    xy += cxy;
    x2 += cx2;
    cov = xy - x * y / n;
    var = x2 - x * x / n;
    *slope = cov / var;
    *intercept = y / n - *slope * x / n;
}

static double k_linear(struct range_op *r, const struct win *w)
{
    double slope, intercept;

    if (w->n < 2) {
        if (w->n == 1)
            floats_only(r, w);
        return f64_absent();
    }
    floats_only(r, w);
    regression(w, r->id == FN_DERIV ? w->t[0] : w->now_ms, &slope, &intercept);
    return r->id == FN_DERIV ? slope : slope * r->a[w->step] + intercept;
}

static bool factor_ok(struct range_op *r, double v, const char *what, const char *letter)
{
    if (!(v <= 0 || v >= 1))
        return true;
    r->st = err_set(r->err, ST_EXEC, "invalid %s factor. Expected: 0 < %s < 1, got: %f", what,
                    letter, v);
    return false;
}

static double k_smoothing(struct range_op *r, const struct win *w)
{
    double sf = r->a[w->step], tf = r->b[w->step], s0 = 0, s1, b;

    if (!factor_ok(r, sf, "smoothing", "sf") || !factor_ok(r, tf, "trend", "tf"))
        return f64_absent();
    if (w->n < 2) {
        if (w->n == 1)
            floats_only(r, w);
        return f64_absent();
    }
    floats_only(r, w);
    s1 = w->f[0];
    b = w->f[1] - w->f[0];
    for (size_t i = 1; i < w->n; i++) {
        double x = sf * w->f[i], y;

        if (i > 1)
            b = tf * (s1 - s0) + (1 - tf) * b;
        y = (1 - sf) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    return s1;
}

/* --- sliding -------------------------------------------------------------------------------- */

static range_kernel kernel_of(enum fn_id id)
{
    switch ((int)id) {
    case FN_RATE:
    case FN_INCREASE:
    case FN_DELTA: return k_rate;
    case FN_IRATE:
    case FN_IDELTA: return k_instant;
    case FN_SUM_OVER_TIME: return k_sum;
    case FN_AVG_OVER_TIME: return k_avg;
    case FN_COUNT_OVER_TIME: return k_count;
    case FN_PRESENT_OVER_TIME:
    case FN_ABSENT_OVER_TIME: return k_present;
    case FN_MAX_OVER_TIME:
    case FN_MIN_OVER_TIME:
    case FN_TS_OF_MAX_OVER_TIME:
    case FN_TS_OF_MIN_OVER_TIME: return k_extreme;
    case FN_STDDEV_OVER_TIME:
    case FN_STDVAR_OVER_TIME: return k_variance;
    case FN_QUANTILE_OVER_TIME: return k_quantile;
    case FN_MAD_OVER_TIME: return k_mad;
    case FN_FIRST_OVER_TIME:
    case FN_TS_OF_FIRST_OVER_TIME: return k_first;
    case FN_LAST_OVER_TIME:
    case FN_TS_OF_LAST_OVER_TIME: return k_last;
    case FN_CHANGES:
    case FN_RESETS: return k_changes;
    case FN_DERIV:
    case FN_PREDICT_LINEAR: return k_linear;
    case FN_DOUBLE_EXPONENTIAL_SMOOTHING: return k_smoothing;
    default: break;
    }
    assert(!"range function");
    return NULL;
}

static void find_drops(struct range_op *r)
{
    const struct rseries *c = &r->src->cur;

    r->drops.n = 0;
    if (r->kernel != k_rate)
        return;
    for (size_t i = 1; i < c->n; i++)
        if (c->f[i] < c->f[i - 1])
            vec_push(&r->drops, i);
}

static bool uses_start(enum fn_id id)
{
    return id == FN_RATE || id == FN_IRATE || id == FN_INCREASE || id == FN_RESETS;
}

/* Whether any step has a value. */
static bool slide(struct range_op *r)
{
    const struct rsource *s = r->src;
    const struct rseries *c = &s->cur;
    int64_t lookback = r->op.ev->params->lookback_ms;
    int64_t before = s->anchored || s->smoothed ? lookback : 0, after = s->smoothed ? lookback : 0;
    const int64_t *st = r->op.ev->params->opts.start_timestamps && uses_start(r->id) ? c->st_ms
                                                                                     : NULL;
    size_t lo = 0, hi = 0, hlo = 0, hhi = 0, drop = 0;
    bool any = false;

    find_drops(r);
    r->row.h = NULL;
    for (size_t i = 0; i < r->op.grid.n && r->st == ST_OK; i++) {
        int64_t end = promql_ref_ms(&r->op.grid, i, s->has_at, s->at_ms, s->offset_ms);
        int64_t from = end - s->range_ms;
        struct win w;

        while (lo < c->n && c->t_ms[lo] <= from - before)
            lo++;
        while (hi < c->n && c->t_ms[hi] <= end + after)
            hi++;
        while (hlo < c->hn && c->ht_ms[hlo] <= from - before)
            hlo++;
        while (hhi < c->hn && c->ht_ms[hhi] <= end + after)
            hhi++;
        while (drop < r->drops.n && r->drops.p[drop] <= lo)
            drop++;
        r->row.v[i] = f64_absent();
        if (lo >= hi && hlo >= hhi)
            continue;
        w = (struct win){.t = c->t_ms + lo, .st = st ? st + lo : NULL, .f = c->f + lo,
                         .n = hi > lo ? hi - lo : 0, .ht = c->ht_ms + hlo, .h = c->h + hlo,
                         .hn = hhi > hlo ? hhi - hlo : 0, .from_ms = from, .end_ms = end,
                         .now_ms = grid_ms(&r->op.grid, i), .step = i,
                         .resets = drop < r->drops.n && r->drops.p[drop] < hi};
        r->out_h = NULL;
        r->row.v[i] = r->kernel(r, &w);
        if (r->out_h && !r->row.h) {
            r->row.h = r->h;
            memset(r->h, 0, r->op.grid.n * sizeof(*r->h));
        }
        if (r->out_h)
            r->h[i] = r->out_h;
        any = any || prow_has(&r->row, i);
    }
    return any;
}

/* rate() and increase() of what does not look like a counter. */
static void tell_no_counter(struct range_op *r)
{
    static const char *const ends[] = {"_total", "_sum", "_count", "_bucket"};
    struct sv name;

    if (r->id != FN_RATE && r->id != FN_INCREASE)
        return;
    name = metric_of(r);
    if (name.n == 0 || (r->told_any && sv_eq(name, r->told)))
        return;
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        if (sv_ends(name, sv_of(ends[i])))
            return;
    quoted_note(r, false,
                "metric might not be a counter, name does not end in "
                "_total/_sum/_count/_bucket:");
    r->told = arena_sv(&r->op.ev->arena, name);
    r->told_any = r->told.p != NULL;
}

static enum status range_next(struct op *o, struct prow **ret, struct err *err)
{
    struct range_op *r = (struct range_op *)o;
    bool more;

    r->err = err;
    do {
        TRY(r->src->next(r->src, &more, err));
        if (!more) {
            *ret = NULL;
            return ST_OK;
        }
    } while (!slide(r) && r->st == ST_OK);
    TRY(r->st);
    tell_no_counter(r);
    r->row.labels = r->src->cur.labels;
    r->row.drop_name = r->src->cur.drop_name;
    if (r->id != FN_LAST_OVER_TIME && r->id != FN_FIRST_OVER_TIME)
        promql_drop_name(o->ev, &r->row, &r->labs);
    *ret = &r->row;
    return ST_OK;
}

static void range_close(struct op *o)
{
    struct range_op *r = (struct range_op *)o;

    vec_free(&r->drops);
    vec_free(&r->scratch);
    promql_labbuf_free(&r->labs);
}

static enum status check_modifiers(const struct range_op *r, struct err *err)
{
    enum fn_id id = r->id;
    bool rates = id == FN_RATE || id == FN_INCREASE || id == FN_DELTA;

    if (r->src->anchored && !rates && id != FN_RESETS && id != FN_CHANGES)
        return err_set(err, ST_EXEC,
                       "anchored modifier can only be used with: changes, delta, increase, rate, "
                       "resets - not with %s", r->e->call.fn->name);
    if (r->src->smoothed && !rates)
        return err_set(err, ST_EXEC,
                       "smoothed modifier can only be used with: delta, increase, rate - not "
                       "with %s", r->e->call.fn->name);
    return ST_OK;
}

static enum status range_args(struct range_op *r, struct err *err)
{
    const struct expr_list *args = &r->e->call.args;
    struct ev *ev = r->op.ev;

    for (size_t i = 0; i < args->n; i++) {
        const struct expr *arg = args->p[i];

        if (arg->type == TYPE_MATRIX) {
            r->arg = arg;
            TRY(promql_rsource(ev, expr_unwrap(args->p[i]), &r->op.grid,
                               sv_of(r->e->call.fn->name), &r->src, err));
        } else {
            TRY(promql_scalar(ev, arg, &r->op.grid, r->a ? &r->b : &r->a, err));
        }
    }
    return ST_OK;
}

enum status promql_build_range(struct ev *ev, const struct expr *e, const struct grid *g,
                               struct op **ret, struct err *err)
{
    static const struct op_ops ops = {range_next, range_close};
    struct range_op *r;
    bool keeps_name;
    void *p;

    TRY(promql_op_new(ev, sizeof(*r), &ops, g, NULL, &r, err));
    *ret = &r->op;
    r->e = e;
    r->id = e->call.fn->id;
    r->kernel = kernel_of(r->id);
    TRY(range_args(r, err));
    TRY(check_modifiers(r, err));
    TRY(promql_column(ev, g->n, &r->row.v, err));
    TRY(promql_alloc(ev, g->n * sizeof(*r->h), &p, err));
    r->h = p;
    r->op.one_name = r->src->one_name;
    keeps_name = r->id == FN_LAST_OVER_TIME || r->id == FN_FIRST_OVER_TIME;
    if (keeps_name || r->id == FN_ABSENT_OVER_TIME || ev->params->opts.delayed_name_removal)
        return ST_OK;
    return promql_build_merge(ev, &r->op, true, ret, err);
}
