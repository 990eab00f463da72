/* Aggregations that fold: sum, avg, count, min, max, group, stddev, stdvar, quantile; and
 * count_values. Rows go by, the groups stay: their columns are all the memory that is needed
 * (quantile keeps the values, charged). Values are folded in the order of the rows. */
#include "promql_eval_int.h"

#include "base/dtoa.h"

#include <assert.h>
#include <stdlib.h>

struct group {
    double *v, *c, *mean, *count; /* which are used depends on the operator */
    bool *incremental;            /* avg: the sum overflowed, the mean is kept */
    double **values;              /* quantile: of each step */
    uint32_t *values_n, *values_cap;
    uint8_t *kinds;               /* sum, avg: KIND_ bits, when a histogram was seen */
    bool drop_name;
};
enum { KIND_FLOAT = 1, KIND_HIST = 2 };

struct agg_op {
    struct op op;
    const struct expr *e;
    struct labtab tab;
    VEC(struct group) groups;
    struct labbuf labs;
    const double *param;
    struct prow row;
    size_t at;
    bool filled;
};

static struct labels group_labels(const struct expr *e, struct labels ls, struct labbuf *b)
{
    if (e->aggregate.without)
        return promql_without(ls, e->aggregate.grouping, true, b);
    return promql_keep(ls, e->aggregate.grouping, b);
}

static enum status group_columns(struct agg_op *a, struct group *g, struct err *err)
{
    enum agg op = a->e->aggregate.op;
    struct ev *ev = a->op.ev;
    size_t n = a->op.grid.n;
    void *p;

    TRY(promql_hold(ev, n, err));
    TRY(promql_column(ev, n, &g->v, err));
    if (op == AGG_SUM || op == AGG_AVG)
        TRY(promql_column(ev, n, &g->c, err));
    if (op == AGG_AVG || op == AGG_STDDEV || op == AGG_STDVAR) {
        TRY(promql_column(ev, n, &g->mean, err));
        TRY(promql_column(ev, n, &g->count, err));
    }
    if (op == AGG_AVG) {
        TRY(promql_alloc(ev, n * sizeof(*g->incremental), &p, err));
        g->incremental = p;
    }
    if (op == AGG_QUANTILE) {
        TRY(promql_alloc(ev, n * sizeof(*g->values), &p, err));
        g->values = p;
        TRY(promql_alloc(ev, 2 * n * sizeof(*g->values_n), &p, err));
        g->values_n = p;
        g->values_cap = g->values_n + n;
    }
    return ST_OK;
}

static enum status group_of(struct agg_op *a, const struct prow *row, struct group **ret,
                            struct err *err)
{
    size_t i;
    bool fresh;

    TRY(promql_labtab_put(&a->tab, group_labels(a->e, row->labels, &a->labs), &i, &fresh, err));
    if (fresh)
        TRY(group_columns(a, vec_add(&a->groups), err));
    *ret = &a->groups.p[i];
    return ST_OK;
}

static void fold_sum(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (f64_is_absent(v[i]))
            continue;
        if (f64_is_absent(g->v[i])) {
            g->v[i] = v[i];
            g->c[i] = 0;
        } else {
            kahan_inc(v[i], &g->v[i], &g->c[i]);
        }
    }
}

static void avg_add(struct group *g, size_t i, double f)
{
    double n = g->count[i] += 1, q;

    if (!g->incremental[i]) {
        double sum = g->v[i], c = g->c[i];

        kahan_inc(f, &sum, &c);
        if (!isinf(sum)) {
            g->v[i] = sum;
            g->c[i] = c;
            return;
        }
        g->incremental[i] = true;
        g->mean[i] = g->v[i] / (n - 1);
        g->c[i] /= n - 1;
    }
    q = (n - 1) / n;
    g->mean[i] *= q;
    g->c[i] *= q;
    kahan_inc(f / n, &g->mean[i], &g->c[i]);
}

static void fold_avg(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (f64_is_absent(v[i]))
            continue;
        if (!f64_is_absent(g->v[i])) {
            avg_add(g, i, v[i]);
            continue;
        }
        g->v[i] = g->mean[i] = v[i];
        g->c[i] = 0;
        g->count[i] = 1;
    }
}

static void fold_min(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!f64_is_absent(v[i]) && (isnan(g->v[i]) || g->v[i] > v[i]))
            g->v[i] = v[i]; /* absent is a NaN, too */
}

static void fold_max(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!f64_is_absent(v[i]) && (isnan(g->v[i]) || g->v[i] < v[i]))
            g->v[i] = v[i];
}

static void fold_count(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!f64_is_absent(v[i]))
            g->v[i] = f64_is_absent(g->v[i]) ? 1 : g->v[i] + 1;
}

static void fold_group(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!f64_is_absent(v[i]))
            g->v[i] = 1;
}

static void fold_variance(struct group *g, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double delta;

        if (f64_is_absent(v[i]))
            continue;
        if (f64_is_absent(g->v[i])) {
            g->v[i] = isnan(v[i]) || isinf(v[i]) ? f64_nan() : 0;
            g->mean[i] = v[i];
            g->count[i] = 1;
            continue;
        }
        g->count[i] += 1;
        delta = v[i] - g->mean[i];
        g->mean[i] += delta / g->count[i];
        g->v[i] += delta * (v[i] - g->mean[i]);
    }
}

static enum status fold_values(struct agg_op *a, struct group *g, const double *v,
                               struct err *err)
{
    for (size_t i = 0; i < a->op.grid.n; i++) {
        if (f64_is_absent(v[i]))
            continue;
        if (g->values_n[i] == g->values_cap[i]) {
            uint32_t cap = g->values_cap[i] ? g->values_cap[i] * 2 : 4;
            void *p;

            TRY(promql_hold(a->op.ev, cap - g->values_cap[i], err));
            TRY(promql_alloc(a->op.ev, cap * sizeof(double), &p, err));
            if (g->values_n[i])
                memcpy(p, g->values[i], g->values_n[i] * sizeof(double));
            g->values[i] = p;
            g->values_cap[i] = cap;
        }
        g->values[i][g->values_n[i]++] = v[i];
    }
    return ST_OK;
}

static enum status fold(struct agg_op *a, struct group *g, const struct prow *row,
                        struct err *err)
{
    size_t n = a->op.grid.n;

    switch ((int)a->e->aggregate.op) {
    case AGG_SUM: fold_sum(g, row->v, n); break;
    case AGG_AVG: fold_avg(g, row->v, n); break;
    case AGG_COUNT: fold_count(g, row->v, n); break;
    case AGG_MIN: fold_min(g, row->v, n); break;
    case AGG_MAX: fold_max(g, row->v, n); break;
    case AGG_GROUP: fold_group(g, row->v, n); break;
    case AGG_STDDEV:
    case AGG_STDVAR: fold_variance(g, row->v, n); break;
    case AGG_QUANTILE: return fold_values(a, g, row->v, err);
    default: assert(!"folding aggregation");
    }
    return ST_OK;
}

/* Histograms count and group like floats; sums of them are not there yet; the others ignore them
 * and say so. */
static enum status without_hists(struct agg_op *a, struct prow *row, struct err *err)
{
    enum agg op = a->e->aggregate.op;
    bool seen = false;

    if (!row->h || op == AGG_COUNT || op == AGG_GROUP)
        return ST_OK;
    for (size_t i = 0; i < a->op.grid.n; i++) {
        if (!row->h[i])
            continue;
        seen = true;
        row->v[i] = f64_absent();
    }
    if (seen && (op == AGG_SUM || op == AGG_AVG))
        return promql_no_hist(op == AGG_SUM ? "sum" : "avg", err);
    if (seen)
        promql_info(a->op.ev, a->e->aggregate.e, "ignored histogram in %s aggregation",
                    agg_text(op));
    return ST_OK;
}

static void finish(struct agg_op *a, struct group *g)
{
    for (size_t i = 0; i < a->op.grid.n; i++) {
        double *v = &g->v[i];

        if (g->values)
            *v = g->values_n[i] ? promql_quantile(a->param[i], g->values[i], g->values_n[i])
                                : f64_absent();
        if (f64_is_absent(*v))
            continue;
        switch ((int)a->e->aggregate.op) {
        case AGG_SUM: *v += g->c[i]; break;
        case AGG_AVG:
            *v = g->incremental[i] ? g->mean[i] + g->c[i]
                                   : *v / g->count[i] + g->c[i] / g->count[i];
            break;
        case AGG_STDVAR: *v /= g->count[i]; break;
        case AGG_STDDEV: *v = sqrt(*v / g->count[i]); break;
        default: break;
        }
    }
}

static void check_quantile(struct agg_op *a)
{
    double lo = INFINITY, hi = -INFINITY;
    struct ev *ev = a->op.ev;
    const struct expr *at = a->e->aggregate.param;

    for (size_t i = 0; i < a->op.grid.n; i++) {
        if (isnan(a->param[i]))
            promql_warn(ev, at, "quantile value should be between 0 and 1, got NaN");
        lo = fmin(lo, a->param[i]);
        hi = fmax(hi, a->param[i]);
    }
    for (int k = 0; k < 2; k++) {
        double q = k ? lo : hi;
        char text[64];
        struct buf b;

        if (isinf(q) && (k ? q > 0 : q < 0))
            continue;
        if (k ? q >= 0 : q <= 1)
            continue;
        buf_init(&b, sizeof(text));
        promql_go_g(&b, q);
        promql_warn(ev, at, "quantile value should be between 0 and 1, got " SV_FMT,
                    SV_ARG(buf_view(&b)));
        buf_fini(&b);
    }
}

static enum status agg_fill(struct agg_op *a, struct err *err)
{
    for (;;) {
        struct prow *row;
        struct group *g;

        TRY(promql_next(a->op.child, &row, err));
        if (!row)
            break;
        TRY(group_of(a, row, &g, err));
        TRY(without_hists(a, row, err));
        g->drop_name = g->drop_name || row->drop_name;
        TRY(fold(a, g, row, err));
    }
    for (size_t i = 0; i < a->groups.n; i++)
        finish(a, &a->groups.p[i]);
    if (a->param)
        check_quantile(a); /* after what is inside: of equal annotations the last one's place counts */
    a->filled = true;
    return ST_OK;
}

static enum status agg_next(struct op *o, struct prow **ret, struct err *err)
{
    struct agg_op *a = (struct agg_op *)o;

    if (!a->filled)
        TRY(agg_fill(a, err));
    *ret = NULL;
    if (a->at == a->groups.n)
        return ST_OK;
    a->row = (struct prow){a->tab.keys.p[a->at], a->groups.p[a->at].drop_name,
                           a->groups.p[a->at].v, NULL};
    a->at++;
    *ret = &a->row;
    return ST_OK;
}

static void agg_close(struct op *o)
{
    struct agg_op *a = (struct agg_op *)o;

    promql_labtab_fini(&a->tab);
    promql_labbuf_free(&a->labs);
    vec_free(&a->groups);
}

static bool groups_keep_names(const struct expr *e)
{
    return !e->aggregate.without && promql_listed(e->aggregate.grouping, SV(LABEL_NAME));
}

enum status promql_build_agg(struct ev *ev, const struct expr *e, const struct grid *g,
                             struct op **ret, struct err *err)
{
    static const struct op_ops ops = {agg_next, agg_close};
    struct op *child;
    struct agg_op *a;

    TRY(promql_op_new(ev, sizeof(*a), &ops, g, NULL, &a, err));
    a->e = e;
    promql_labtab_init(&a->tab, ev);
    if (e->aggregate.param)
        TRY(promql_scalar(ev, e->aggregate.param, g, &a->param, err));
    TRY(promql_build(ev, e->aggregate.e, g, &child, err));
    a->op.child = child;
    a->op.one_name = !groups_keep_names(e) || child->one_name;
    *ret = &a->op;
    return ST_OK;
}

/* --- count_values --------------------------------------------------------------------------- */

struct values_op {
    struct op op;
    const struct expr *e;
    struct sv label;
    struct sv_list grouping; /* with the value's label among them */
    struct rowset set;
    struct labbuf with, cut;
    bool filled;
};

static enum status values_row(struct values_op *c, const struct prow *row, struct err *err)
{
    char text[DTOA_MAX];
    struct prow *to = NULL;
    double last = 0;

    for (size_t i = 0; i < c->op.grid.n; i++) {
        struct labels ls;

        if (!prow_has(row, i))
            continue;
        if (prow_is_hist(row, i))
            return promql_no_hist("count_values", err);
        if (!to || f64_bits(last) != f64_bits(row->v[i])) {
            last = row->v[i];
            ls = promql_with(row->labels, c->label, sv_make(text, dtoa_f(text, last)), &c->with);
            ls = c->e->aggregate.without ? promql_without(ls, c->grouping, true, &c->cut)
                                         : promql_keep(ls, c->grouping, &c->cut);
            TRY(promql_rowset_row(&c->set, ls, false, &to, err));
        }
        to->v[i] = prow_has(to, i) ? to->v[i] + 1 : 1;
    }
    return ST_OK;
}

static enum status values_next(struct op *o, struct prow **ret, struct err *err)
{
    struct values_op *c = (struct values_op *)o;

    while (!c->filled) {
        struct prow *row;

        TRY(promql_next(o->child, &row, err));
        if (row)
            TRY(values_row(c, row, err));
        else
            c->filled = true;
    }
    *ret = promql_rowset_next(&c->set);
    return ST_OK;
}

static void values_close(struct op *o)
{
    struct values_op *c = (struct values_op *)o;

    promql_rowset_fini(&c->set);
    promql_labbuf_free(&c->with);
    promql_labbuf_free(&c->cut);
}

static enum status bad_label(struct sv name, struct err *err)
{
    struct buf b;

    buf_init(&b, 256);
    promql_quote(&b, name);
    err_set(err, ST_EXEC, "invalid label name " SV_FMT, SV_ARG(buf_view(&b)));
    buf_fini(&b);
    return ST_EXEC;
}

enum status promql_build_count_values(struct ev *ev, const struct expr *e, const struct grid *g,
                                      struct op **ret, struct err *err)
{
    static const struct op_ops ops = {values_next, values_close};
    const struct sv_list *by = &e->aggregate.grouping;
    struct values_op *c;
    struct op *child;
    void *p;

    TRY(promql_op_new(ev, sizeof(*c), &ops, g, NULL, &c, err));
    *ret = &c->op;
    c->e = e;
    c->label = expr_unwrap(e->aggregate.param)->string.v;
    promql_rowset_init(&c->set, ev, g->n);
    if (!promql_label_name_ok(c->label))
        return bad_label(c->label, err);
    TRY(promql_alloc(ev, (by->n + 1) * sizeof(*by->p), &p, err));
    c->grouping = (struct sv_list){p, by->n};
    if (by->n)
        memcpy(p, by->p, by->n * sizeof(*by->p));
    if (!e->aggregate.without)
        c->grouping.p[c->grouping.n++] = c->label;
    TRY(promql_build(ev, e->aggregate.e, g, &child, err));
    c->op.child = child;
    c->op.one_name = !groups_keep_names(e) || child->one_name;
    return ST_OK;
}
