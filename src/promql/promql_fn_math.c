/* Calls: which family evaluates which function; functions of one value at a time; scalars. */
#include "promql_eval_int.h"

#include <assert.h>

/* --- value by value ------------------------------------------------------------------------- */

struct math_op {
    struct op op;
    enum fn_id id;
    const double *a, *b; /* scalar arguments over the grid */
    struct labbuf labs;
};

static double sgn(double v)
{
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

static double (*plain_of(enum fn_id id))(double)
{
    switch ((int)id) {
    case FN_ABS: return fabs;
    case FN_ACOS: return acos;
    case FN_ACOSH: return acosh;
    case FN_ASIN: return asin;
    case FN_ASINH: return asinh;
    case FN_ATAN: return atan;
    case FN_ATANH: return atanh;
    case FN_CEIL: return ceil;
    case FN_COS: return cos;
    case FN_COSH: return cosh;
    case FN_EXP: return exp;
    case FN_FLOOR: return floor;
    case FN_LN: return log;
    case FN_LOG10: return log10;
    case FN_LOG2: return log2;
    case FN_SGN: return sgn;
    case FN_SIN: return sin;
    case FN_SINH: return sinh;
    case FN_SQRT: return sqrt;
    case FN_TAN: return tan;
    case FN_TANH: return tanh;
    default: return NULL;
    }
}

/* Go's Min and Max: a NaN on either side wins. */
static double go_min(double a, double b)
{
    if (isnan(a) || isnan(b))
        return (isinf(a) && a < 0) || (isinf(b) && b < 0) ? -INFINITY : f64_nan();
    return a == 0 && b == 0 ? (signbit(a) ? a : b) : a < b ? a : b;
}

static double go_max(double a, double b)
{
    if (isnan(a) || isnan(b))
        return (isinf(a) && a > 0) || (isinf(b) && b > 0) ? INFINITY : f64_nan();
    return a == 0 && b == 0 ? (signbit(a) ? b : a) : a > b ? a : b;
}

static double clamp(double v, double lo, double hi)
{
    return hi < lo ? f64_absent() : go_max(lo, go_min(hi, v));
}

static double value_of(const struct math_op *m, double v, size_t i)
{
    switch ((int)m->id) {
    case FN_RAD: return v * M_PI / 180;
    case FN_DEG: return v * 180 / M_PI;
    case FN_CLAMP: return clamp(v, m->a[i], m->b[i]);
    case FN_CLAMP_MAX: return clamp(v, -INFINITY, m->a[i]);
    case FN_CLAMP_MIN: return clamp(v, m->a[i], INFINITY);
    case FN_TIMESTAMP: return (double)grid_ms(&m->op.grid, i) / 1000;
    case FN_START_TIMESTAMP: return f64_absent(); /* known of selectors only */
    case FN_ROUND: {
        double inverse = 1.0 / (m->a ? m->a[i] : 1.0);

        return floor(v * inverse + 0.5) / inverse;
    }
    default: break;
    }
    assert(!"function of one value");
    return 0;
}

static enum status math_next(struct op *o, struct prow **ret, struct err *err)
{
    struct math_op *m = (struct math_op *)o;
    double (*plain)(double) = plain_of(m->id);
    struct prow *row;

    TRY(promql_next(o->child, ret, err));
    row = *ret;
    if (!row)
        return ST_OK;
    for (size_t i = 0; i < o->grid.n; i++) {
        if (!prow_has(row, i))
            continue;
        if (prow_is_hist(row, i) && m->id != FN_TIMESTAMP)
            row->v[i] = f64_absent();
        else
            row->v[i] = plain ? plain(row->v[i]) : value_of(m, row->v[i], i);
    }
    row->h = NULL;
    promql_drop_name(o->ev, row, &m->labs);
    return ST_OK;
}

static void math_close(struct op *o)
{
    promql_labbuf_free(&((struct math_op *)o)->labs);
}

static enum status build_math(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    static const struct op_ops ops = {math_next, math_close};
    const struct expr_list *args = &e->call.args;
    struct op *child;
    struct math_op *m;

    TRY(promql_build(ev, args->p[0], g, &child, err));
    TRY(promql_op_new(ev, sizeof(*m), &ops, g, child, &m, err));
    m->id = e->call.fn->id;
    m->op.one_name = child->one_name;
    if (args->n > 1)
        TRY(promql_scalar(ev, args->p[1], g, &m->a, err));
    if (args->n > 2)
        TRY(promql_scalar(ev, args->p[2], g, &m->b, err));
    *ret = &m->op;
    if (ev->params->opts.delayed_name_removal)
        return ST_OK;
    return promql_build_merge(ev, &m->op, false, ret, err);
}

/* --- scalars -------------------------------------------------------------------------------- */

/* scalar(v): the one float of each step, else NaN. */
static enum status build_scalar(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err)
{
    struct op *child;
    double *v;
    void *p;
    uint8_t *found; /* 0, 1, 2: more than one */

    TRY(promql_column(ev, g->n, &v, err));
    TRY(promql_alloc(ev, g->n, &p, err));
    found = p;
    TRY(promql_build(ev, e->call.args.p[0], g, &child, err));
    for (;;) {
        struct prow *row;

        TRY(promql_next(child, &row, err));
        if (!row)
            break;
        for (size_t i = 0; i < g->n; i++) {
            if (!prow_has(row, i) || prow_is_hist(row, i))
                continue;
            v[i] = row->v[i];
            found[i] = found[i] ? 2 : 1;
        }
    }
    for (size_t i = 0; i < g->n; i++)
        if (found[i] != 1)
            v[i] = f64_nan();
    return promql_build_scalar_row(ev, g, v, ret, err);
}

static enum status build_two(struct ev *ev, const struct expr *e, const struct grid *g,
                             struct op **ret, struct err *err)
{
    const double *a, *b;
    double *v;

    TRY(promql_column(ev, g->n, &v, err));
    TRY(promql_scalar(ev, e->call.args.p[0], g, &a, err));
    TRY(promql_scalar(ev, e->call.args.p[1], g, &b, err));
    for (size_t i = 0; i < g->n; i++)
        v[i] = e->call.fn->id == FN_MAX_OF ? go_max(a[i], b[i]) : go_min(a[i], b[i]);
    return promql_build_scalar_row(ev, g, v, ret, err);
}

static double constant_of(const struct ev *ev, enum fn_id id, int64_t t_ms)
{
    const struct promql_params *p = ev->params;

    switch ((int)id) {
    case FN_TIME: return (double)t_ms / 1000;
    case FN_PI: return M_PI;
    case FN_START: return (double)p->start_ms / 1000;
    case FN_END: return (double)promql_end_ms(p) / 1000;
    case FN_RANGE: return (double)(promql_end_ms(p) - p->start_ms) / 1000;
    case FN_STEP: return (double)p->step_ms / 1000;
    default: break;
    }
    assert(!"function without arguments");
    return 0;
}

static enum status build_constant(struct ev *ev, const struct expr *e, const struct grid *g,
                                  struct op **ret, struct err *err)
{
    double *v;

    TRY(promql_column(ev, g->n, &v, err));
    for (size_t i = 0; i < g->n; i++)
        v[i] = constant_of(ev, e->call.fn->id, grid_ms(g, i));
    return promql_build_scalar_row(ev, g, v, ret, err);
}

/* --- which family --------------------------------------------------------------------------- */

static bool has_range_arg(const struct expr *e)
{
    return strchr(e->call.fn->types, 'm') != NULL;
}

static enum status build_timestamp(struct ev *ev, const struct expr *e, const struct grid *g,
                                   struct op **ret, struct err *err)
{
    if (expr_unwrap(e->call.args.p[0])->kind == EXPR_VECTOR)
        return promql_build_timestamp(ev, e, g, ret, err);
    return build_math(ev, e, g, ret, err);
}

enum status promql_build_call(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    switch ((int)e->call.fn->id) {
    case FN_ABSENT:
    case FN_ABSENT_OVER_TIME: return promql_build_absent(ev, e, g, ret, err);
    case FN_TIME:
    case FN_PI:
    case FN_START:
    case FN_END:
    case FN_RANGE:
    case FN_STEP: return build_constant(ev, e, g, ret, err);
    case FN_MAX_OF:
    case FN_MIN_OF: return build_two(ev, e, g, ret, err);
    case FN_SCALAR: return build_scalar(ev, e, g, ret, err);
    case FN_VECTOR: return promql_build(ev, e->call.args.p[0], g, ret, err);
    case FN_TIMESTAMP:
    case FN_START_TIMESTAMP: return build_timestamp(ev, e, g, ret, err);
    case FN_LABEL_JOIN:
    case FN_LABEL_REPLACE: return promql_build_label(ev, e, g, ret, err);
    case FN_SORT:
    case FN_SORT_DESC:
    case FN_SORT_BY_LABEL:
    case FN_SORT_BY_LABEL_DESC: return promql_build_sort(ev, e, g, ret, err);
    case FN_INFO: return promql_build_info(ev, e, g, ret, err);
    case FN_HISTOGRAM_AVG:
    case FN_HISTOGRAM_COUNT:
    case FN_HISTOGRAM_SUM:
    case FN_HISTOGRAM_STDDEV:
    case FN_HISTOGRAM_STDVAR:
    case FN_HISTOGRAM_FRACTION:
    case FN_HISTOGRAM_QUANTILE:
    case FN_HISTOGRAM_QUANTILES: return promql_build_hist(ev, e, g, ret, err);
    case FN_DAYS_IN_MONTH:
    case FN_DAY_OF_MONTH:
    case FN_DAY_OF_WEEK:
    case FN_DAY_OF_YEAR:
    case FN_HOUR:
    case FN_MINUTE:
    case FN_MONTH:
    case FN_YEAR: return promql_build_date(ev, e, g, ret, err);
    default: break;
    }
    if (has_range_arg(e))
        return promql_build_range(ev, e, g, ret, err);
    return build_math(ev, e, g, ret, err);
}
