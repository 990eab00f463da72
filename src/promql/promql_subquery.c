/* Subqueries: the inner expression on a grid of its own, each of its rows a series of a range
 * vector. And the step-invariant stage: one step evaluated, its value at every step. */
#include "promql_eval_int.h"

struct sub_source {
    struct rsource src;
    struct grid grid;
    struct op *inner; /* NULL: the grid is empty */
    VEC(int64_t) t, ht;
    VEC(double) f;
    VEC(const struct hist *) h;
};

static enum status sub_next(struct rsource *src, bool *ret_more, struct err *err)
{
    struct sub_source *s = (struct sub_source *)src;
    struct prow *row = NULL;

    if (s->inner)
        TRY(promql_next(s->inner, &row, err));
    *ret_more = row != NULL;
    if (!row)
        return ST_OK;
    TRY(query_alive(src->ev->ctx, err));
    s->t.n = s->f.n = s->ht.n = s->h.n = 0;
    for (size_t i = 0; i < s->grid.n; i++) {
        if (!prow_has(row, i))
            continue;
        if (prow_is_hist(row, i)) {
            vec_push(&s->ht, grid_ms(&s->grid, i));
            vec_push(&s->h, row->h[i]);
        } else {
            vec_push(&s->t, grid_ms(&s->grid, i));
            vec_push(&s->f, row->v[i]);
        }
    }
    src->cur = (struct rseries){.labels = row->labels, .drop_name = row->drop_name,
                                .t_ms = s->t.p, .f = s->f.p, .n = s->t.n,
                                .ht_ms = s->ht.p, .h = s->h.p, .hn = s->h.n};
    return ST_OK;
}

static void sub_close(struct rsource *src)
{
    struct sub_source *s = (struct sub_source *)src;

    vec_free(&s->t);
    vec_free(&s->f);
    vec_free(&s->ht);
    vec_free(&s->h);
}

/* Steps are multiples of the subquery's step, the first after the earliest window's begin. */
static enum status sub_grid(struct sub_source *s, const struct expr *e, const struct grid *g,
                            struct err *err)
{
    struct rsource *src = &s->src;
    const struct promql_params *params = src->ev->params;
    int64_t from, last, step = e->subquery.step_ms;

    src->range_ms = e->subquery.range_ms;
    if (e->subquery.range_expr)
        TRY(promql_duration_value(e->subquery.range_expr, params, false, &src->range_ms, err));
    if (e->subquery.step_expr)
        TRY(promql_duration_value(e->subquery.step_expr, params, false, &step, err));
    if (step == 0)
        step = SUBQUERY_STEP_DEFAULT_MS;
    TRY(promql_when(src->ev, &e->subquery.time, &src->offset_ms, &src->has_at, &src->at_ms, err));
    from = promql_ref_ms(g, 0, src->has_at, src->at_ms, src->offset_ms) - src->range_ms;
    last = promql_ref_ms(g, g->n - 1, src->has_at, src->at_ms, src->offset_ms);
    s->grid.step_ms = step;
    s->grid.start_ms = step * (from / step);
    if (s->grid.start_ms <= from)
        s->grid.start_ms += step;
    s->grid.n = last < s->grid.start_ms ? 0 : (size_t)((last - s->grid.start_ms) / step) + 1;
    return ST_OK;
}

static enum status sub_open(struct sub_source *s, const struct expr *e, const struct grid *g,
                            struct err *err)
{
    TRY(sub_grid(s, e, g, err));
    if (s->grid.n == 0)
        return ST_OK;
    TRY(promql_build(s->src.ev, e->subquery.e, &s->grid, &s->inner, err));
    s->src.one_name = s->inner->one_name;
    return ST_OK;
}

enum status promql_rsource_subquery(struct ev *ev, const struct expr *e, const struct grid *g,
                                    struct rsource **ret, struct err *err)
{
    struct sub_source *s;
    void *p;

    TRY(promql_alloc(ev, sizeof(*s), &p, err));
    s = p;
    s->src.next = sub_next;
    s->src.close = sub_close;
    s->src.ev = ev;
    vec_push(&ev->sources, &s->src);
    *ret = &s->src;
    return sub_open(s, e, g, err);
}

/* --- step-invariant parts ------------------------------------------------------------------- */

/* Functions whose value moves with the evaluation time whatever their arguments. */
static bool moves(const struct expr *e)
{
    switch ((int)e->call.fn->id) {
    case FN_DAYS_IN_MONTH:
    case FN_DAY_OF_MONTH:
    case FN_DAY_OF_WEEK:
    case FN_DAY_OF_YEAR:
    case FN_HOUR:
    case FN_MINUTE:
    case FN_MONTH:
    case FN_YEAR:
    case FN_PREDICT_LINEAR:
    case FN_TIME: return true;
    case FN_TIMESTAMP: return e->call.args.p[0]->kind != EXPR_VECTOR;
    default: return false;
    }
}

bool promql_invariant(const struct expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_STEP_INVARIANT: return true;
    case EXPR_VECTOR: return e->vector.time.at != AT_NONE;
    case EXPR_MATRIX: return promql_invariant(e->matrix.selector);
    case EXPR_SUBQUERY: return e->subquery.time.at != AT_NONE;
    case EXPR_PAREN: return promql_invariant(e->paren.e);
    case EXPR_UNARY: return promql_invariant(e->unary.e);
    case EXPR_AGGREGATE:
        return promql_invariant(e->aggregate.e) &&
               (!e->aggregate.param || promql_invariant(e->aggregate.param));
    case EXPR_BINARY: return promql_invariant(e->binary.l) && promql_invariant(e->binary.r);
    case EXPR_CALL:
        for (size_t i = 0; i < e->call.args.n; i++)
            if (!promql_invariant(e->call.args.p[i]))
                return false;
        return !moves(e);
    }
    return false;
}

struct inv_op {
    struct op op;
    struct prow row;
    const struct hist **h;
};

static enum status inv_next(struct op *o, struct prow **ret, struct err *err)
{
    struct inv_op *v = (struct inv_op *)o;
    struct prow *one;

    TRY(promql_next(o->child, &one, err));
    if (!one) {
        *ret = NULL;
        return ST_OK;
    }
    v->row.labels = one->labels;
    v->row.drop_name = one->drop_name;
    v->row.h = one->h ? v->h : NULL;
    for (size_t i = 0; i < o->grid.n; i++) {
        v->row.v[i] = one->v[0];
        if (one->h)
            v->h[i] = one->h[0];
    }
    *ret = &v->row;
    return ST_OK;
}

enum status promql_build_invariant(struct ev *ev, const struct expr *e, const struct grid *g,
                                   struct op **ret, struct err *err)
{
    static const struct op_ops ops = {inv_next, NULL};
    struct grid one = {g->start_ms, g->step_ms, 1};
    struct op *child;
    struct inv_op *v;
    void *p;

    TRY(promql_build(ev, e, &one, &child, err));
    TRY(promql_op_new(ev, sizeof(*v), &ops, g, child, &v, err));
    *ret = &v->op;
    v->op.one_name = child->one_name;
    TRY(promql_column(ev, g->n, &v->row.v, err));
    TRY(promql_alloc(ev, g->n * sizeof(*v->h), &p, err));
    v->h = p;
    return ST_OK;
}
