/* Evaluation: the tree of operators is built, its rows are pulled and become the result. */
#include "promql_eval_int.h"

#include <assert.h>
#include <stdlib.h>

#define NOTE_TEXT_MAX 8192

/* --- memory --------------------------------------------------------------------------------- */

enum status promql_alloc(struct ev *ev, size_t bytes, void **ret, struct err *err)
{
    TRY(account_charge(ev->ctx->mem, (int64_t)bytes, err));
    ev->charged += (int64_t)bytes;
    *ret = arena_zalloc(&ev->arena, bytes ? bytes : 1);
    return *ret ? ST_OK : err_set(err, ST_LIMIT, "query: no memory left");
}

enum status promql_column(struct ev *ev, size_t n, double **ret, struct err *err)
{
    void *p;

    TRY(promql_alloc(ev, n * sizeof(double), &p, err));
    *ret = p;
    for (size_t i = 0; i < n; i++)
        (*ret)[i] = f64_absent();
    return ST_OK;
}

enum status promql_hold(struct ev *ev, size_t samples, struct err *err)
{
    ev->held += samples;
    if (ev->held > ev->peak)
        ev->peak = ev->held;
    if (ev->params->max_samples && ev->held > ev->params->max_samples)
        return err_set(err, ST_LIMIT,
                       "query processing would load too many samples into memory in query "
                       "execution");
    return ST_OK;
}

void promql_release(struct ev *ev, size_t samples)
{
    assert(samples <= ev->held);
    ev->held -= samples;
}

/* --- building ------------------------------------------------------------------------------- */

enum status promql_op_new(struct ev *ev, size_t size, const struct op_ops *ops,
                          const struct grid *g, struct op *child, void *ret, struct err *err)
{
    struct op *o;
    void *p;

    TRY(promql_alloc(ev, size, &p, err));
    o = p;
    o->ops = ops;
    o->ev = ev;
    o->grid = *g;
    o->child = child;
    vec_push(&ev->ops, o);
    *(void **)ret = o;
    return ST_OK;
}

enum status promql_scalar(struct ev *ev, const struct expr *e, const struct grid *g,
                          const double **ret, struct err *err)
{
    struct prow *row;
    struct op *o;

    TRY(promql_build(ev, e, g, &o, err));
    TRY(promql_next(o, &row, err));
    assert(row);
    *ret = row->v;
    return ST_OK;
}

struct const_op {
    struct op op;
    struct prow row;
    bool done;
};

static enum status const_next(struct op *o, struct prow **ret, struct err *err)
{
    struct const_op *c = (struct const_op *)o;

    *ret = c->done ? NULL : &c->row;
    c->done = true;
    return ST_OK;
}

enum status promql_build_scalar_row(struct ev *ev, const struct grid *g, double *own_v,
                                    struct op **ret, struct err *err)
{
    static const struct op_ops ops = {const_next, NULL};
    struct const_op *c;

    TRY(promql_op_new(ev, sizeof(*c), &ops, g, NULL, &c, err));
    c->row.v = own_v;
    c->op.one_name = true;
    *ret = &c->op;
    return ST_OK;
}

static enum status build_number(struct ev *ev, double v, const struct grid *g, struct op **ret,
                                struct err *err)
{
    double *column;

    TRY(promql_column(ev, g->n, &column, err));
    for (size_t i = 0; i < g->n; i++)
        column[i] = v;
    return promql_build_scalar_row(ev, g, column, ret, err);
}

struct minus_op {
    struct op op;
    struct labbuf labs;
};

static enum status minus_next(struct op *o, struct prow **ret, struct err *err)
{
    struct minus_op *m = (struct minus_op *)o;

    TRY(promql_next(o->child, ret, err));
    if (!*ret)
        return ST_OK;
    for (size_t i = 0; i < o->grid.n; i++) {
        if (prow_is_hist(*ret, i))
            return promql_no_hist("unary minus", err);
        if (prow_has(*ret, i))
            (*ret)->v[i] = -(*ret)->v[i];
    }
    promql_drop_name(o->ev, *ret, &m->labs);
    return ST_OK;
}

static void minus_close(struct op *o)
{
    promql_labbuf_free(&((struct minus_op *)o)->labs);
}

static enum status build_unary(struct ev *ev, const struct expr *e, const struct grid *g,
                               struct op **ret, struct err *err)
{
    static const struct op_ops ops = {minus_next, minus_close};
    struct op *child;
    struct minus_op *m;

    TRY(promql_build(ev, e->unary.e, g, &child, err));
    *ret = child;
    if (!e->unary.minus)
        return ST_OK;
    TRY(promql_op_new(ev, sizeof(*m), &ops, g, child, &m, err));
    m->op.one_name = child->one_name;
    *ret = &m->op;
    if (e->type == TYPE_VECTOR && !ev->params->opts.delayed_name_removal)
        return promql_build_merge(ev, &m->op, false, ret, err);
    return ST_OK;
}

static enum status build_aggregate(struct ev *ev, const struct expr *e, const struct grid *g,
                                   struct op **ret, struct err *err)
{
    switch ((int)e->aggregate.op) {
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_LIMITK:
    case AGG_LIMIT_RATIO: return promql_build_topk(ev, e, g, ret, err);
    case AGG_COUNT_VALUES: return promql_build_count_values(ev, e, g, ret, err);
    default: return promql_build_agg(ev, e, g, ret, err);
    }
}

static enum status build_node(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    switch (e->kind) {
    case EXPR_NUMBER: return build_number(ev, e->number.v, g, ret, err);
    case EXPR_VECTOR: return promql_build_vector(ev, e, g, ret, err);
    case EXPR_CALL: return promql_build_call(ev, e, g, ret, err);
    case EXPR_AGGREGATE: return build_aggregate(ev, e, g, ret, err);
    case EXPR_BINARY: return promql_build_binary(ev, e, g, ret, err);
    case EXPR_UNARY: return build_unary(ev, e, g, ret, err);
    case EXPR_STRING:
    case EXPR_MATRIX:
    case EXPR_SUBQUERY:
    case EXPR_PAREN:
    case EXPR_STEP_INVARIANT: break;
    }
    assert(!"an operator's expression");
    return ST_BUG;
}

enum status promql_build(struct ev *ev, const struct expr *e, const struct grid *g,
                         struct op **ret, struct err *err)
{
    while (e->kind == EXPR_PAREN || e->kind == EXPR_STEP_INVARIANT)
        e = e->kind == EXPR_PAREN ? e->paren.e : e->invariant.e;
    TRY(query_alive(ev->ctx, err));
    if (g->n > 1 && e->kind != EXPR_NUMBER && promql_invariant(e))
        return promql_build_invariant(ev, e, g, ret, err);
    return build_node(ev, e, g, ret, err);
}

/* --- the result ----------------------------------------------------------------------------- */

struct result {
    struct ev *ev;
    struct arena *arena; /* of the value */
    VEC(struct row) rows;
    struct labtab names; /* labels of the rows after the names have gone, when they go late */
    struct labbuf labs;
    const int64_t *times; /* of a row that has every step */
};

static enum status no_room(struct result *r, struct err *err)
{
    return err_set(err, ST_LIMIT, "query: the result needs more than %zu bytes",
                   r->arena->max_bytes);
}

static enum status put_row(struct result *r, struct row *row, bool drop, struct err *err)
{
    struct labels ls = row->labels;

    if (drop && r->ev->params->opts.delayed_name_removal)
        ls = promql_without_meta(ls, &r->labs);
    row->labels = labels_dup(r->arena, ls);
    if (arena_over(r->arena))
        return no_room(r, err);
    vec_push(&r->rows, *row);
    return promql_hold(r->ev, row->n, err);
}

static enum status row_of_steps(struct result *r, const struct prow *p, const struct grid *g,
                                struct err *err)
{
    struct row row = {p->labels};
    const struct hist **h = NULL;
    int64_t *t;
    double *f;

    for (size_t i = 0; i < g->n; i++)
        row.n += prow_has(p, i);
    if (row.n == 0)
        return ST_OK;
    f = arena_alloc(r->arena, row.n * sizeof(*f));
    t = row.n == g->n && r->times ? (int64_t *)(uintptr_t)r->times
                                  : arena_alloc(r->arena, row.n * sizeof(*t));
    if (p->h)
        h = arena_array(r->arena, row.n, sizeof(*h));
    if (arena_over(r->arena))
        return no_room(r, err);
    for (size_t i = 0, n = 0; i < g->n; i++) {
        if (!prow_has(p, i))
            continue;
        t[n] = grid_ms(g, i);
        f[n] = p->v[i];
        if (prow_is_hist(p, i))
            h[n] = promql_hist_dup(r->arena, p->h[i]);
        n++;
    }
    if (row.n == g->n)
        r->times = t;
    row.t_ms = t;
    row.f = f;
    row.h = h;
    return put_row(r, &row, p->drop_name, err);
}

static enum status rows_of_steps(struct result *r, const struct expr *e, const struct grid *g,
                                 struct err *err)
{
    struct op *o;

    TRY(promql_build(r->ev, e, g, &o, err));
    for (;;) {
        struct prow *row;

        TRY(promql_next(o, &row, err));
        if (!row)
            return ST_OK;
        TRY(row_of_steps(r, row, g, err));
    }
}

/* A window with its borders as samples: anchored and smoothed selectors. */
static enum status row_extended(struct result *r, const struct rsource *s, int64_t end_ms,
                                struct err *err)
{
    const struct rseries *c = &s->cur;
    struct row row = {c->labels};
    int64_t *t;
    double *f;

    if (c->hn)
        return err_set(err, ST_EXEC, "%s modifier is not supported with histograms",
                       s->anchored ? "anchored" : "smoothed");
    t = arena_array(r->arena, c->n + 2, sizeof(*t));
    f = arena_array(r->arena, c->n + 2, sizeof(*f));
    if (arena_over(r->arena))
        return no_room(r, err);
    row.n = promql_extend(s, end_ms, t, f);
    row.t_ms = t;
    row.f = f;
    return row.n ? put_row(r, &row, false, err) : ST_OK;
}

/* One series of a range vector: its window at the query's time, floats and histograms merged. */
static enum status row_of_window(struct result *r, const struct rsource *s, int64_t end_ms,
                                 struct err *err)
{
    const struct rseries *c = &s->cur;
    int64_t from = end_ms - s->range_ms;
    struct row row = {c->labels};
    int64_t *t = arena_array(r->arena, c->n + c->hn + 1, sizeof(*t));
    double *f = arena_array(r->arena, c->n + c->hn + 1, sizeof(*f));
    const struct hist **h = c->hn ? arena_array(r->arena, c->n + c->hn, sizeof(*h)) : NULL;

    if (arena_over(r->arena))
        return no_room(r, err);
    for (size_t i = 0, k = 0; i < c->n || k < c->hn;) {
        bool is_float = k == c->hn || (i < c->n && c->t_ms[i] <= c->ht_ms[k]);

        t[row.n] = is_float ? c->t_ms[i] : c->ht_ms[k];
        f[row.n] = is_float ? c->f[i] : c->h[k]->sum;
        if (!is_float)
            h[row.n] = promql_hist_dup(r->arena, c->h[k]);
        if (t[row.n] > from && t[row.n] <= end_ms)
            row.n++;
        else if (h)
            h[row.n] = NULL;
        if (is_float)
            i++;
        else
            k++;
    }
    if (row.n == 0)
        return ST_OK;
    row.t_ms = t;
    row.f = f;
    row.h = h;
    return put_row(r, &row, c->drop_name, err);
}

static enum status rows_of_window(struct result *r, const struct expr *e, const struct grid *g,
                                  struct err *err)
{
    struct rsource *s;

    TRY(promql_rsource(r->ev, e, g, SV(""), &s, err));
    for (;;) {
        int64_t end;
        bool more;

        TRY(s->next(s, &more, err));
        if (!more)
            return ST_OK;
        end = promql_ref_ms(g, 0, s->has_at, s->at_ms, s->offset_ms);
        if (s->anchored || s->smoothed)
            TRY(row_extended(r, s, end, err));
        else
            TRY(row_of_window(r, s, end, err));
    }
}

/* Two rows that lost their names and are the same now: one row, or an error where both have a
 * sample at one time. */
static enum status merge_rows(struct result *r, struct row *a, const struct row *b,
                              struct err *err)
{
    size_t n = a->n + b->n, i = 0, k = 0;
    int64_t *t = arena_array(r->arena, n, sizeof(*t));
    double *f = arena_array(r->arena, n, sizeof(*f));
    const struct hist **h = a->h || b->h ? arena_array(r->arena, n, sizeof(*h)) : NULL;

    if (arena_over(r->arena))
        return no_room(r, err);
    for (size_t at = 0; at < n; at++) {
        bool first = k == b->n || (i < a->n && a->t_ms[i] < b->t_ms[k]);
        const struct row *from = first ? a : b;
        size_t j = first ? i++ : k++;

        if (!first && i < a->n && a->t_ms[i] == b->t_ms[j])
            return promql_same_labelset(err);
        t[at] = from->t_ms[j];
        f[at] = from->f[j];
        if (h && from->h)
            h[at] = from->h[j];
    }
    *a = (struct row){a->labels, t, f, h, n};
    return ST_OK;
}

static enum status unite(struct result *r, struct err *err)
{
    size_t kept = 0;

    promql_labtab_init(&r->names, r->ev);
    for (size_t i = 0; i < r->rows.n; i++) {
        size_t at;
        bool fresh;

        TRY(promql_labtab_put(&r->names, r->rows.p[i].labels, &at, &fresh, err));
        if (fresh)
            r->rows.p[kept++] = r->rows.p[i];
        else
            TRY(merge_rows(r, &r->rows.p[at], &r->rows.p[i], err));
    }
    r->rows.n = kept;
    return ST_OK;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(((const struct row *)a)->labels, ((const struct row *)b)->labels);
}

static enum status take_notes(struct ev *ev, struct arena *arena, struct value *v,
                              struct err *err)
{
    struct buf b;

    v->warnings = arena_array(arena, ev->notes.n + ev->storage_warnings.n + 1, sizeof(struct sv));
    v->infos = arena_array(arena, ev->notes.n + 1, sizeof(struct sv));
    if (arena_over(arena))
        return err_set(err, ST_LIMIT, "query: no memory left for annotations");
    for (size_t i = 0; i < ev->storage_warnings.n; i++)
        v->warnings[v->warnings_n++] = arena_sv(arena, ev->storage_warnings.p[i]);
    buf_init(&b, NOTE_TEXT_MAX);
    for (size_t i = 0; i < ev->notes.n; i++) {
        const struct note *n = &ev->notes.p[i];

        buf_clear(&b);
        promql_note_print(&b, n, ev->params->text);
        if (n->warn)
            v->warnings[v->warnings_n++] = arena_sv(arena, buf_view(&b));
        else
            v->infos[v->infos_n++] = arena_sv(arena, buf_view(&b));
    }
    buf_fini(&b);
    return arena_over(arena) ? err_set(err, ST_LIMIT, "query: no memory left for annotations")
                             : ST_OK;
}

static enum value_kind kind_of(const struct expr *e, bool instant)
{
    if (!instant)
        return VALUE_MATRIX;
    switch (e->type) {
    case TYPE_SCALAR: return VALUE_SCALAR;
    case TYPE_VECTOR: return VALUE_VECTOR;
    case TYPE_MATRIX: return VALUE_MATRIX;
    case TYPE_STRING: return VALUE_STRING;
    case TYPE_NONE: break;
    }
    return VALUE_NONE;
}

static enum status result_rows(struct result *r, const struct expr *e, const struct grid *g,
                               struct value *v, struct err *err)
{
    const struct expr *inner = expr_unwrap((struct expr *)(uintptr_t)e);

    if (inner->kind == EXPR_STRING) {
        v->string = arena_sv(r->arena, inner->string.v);
        v->t_ms = g->start_ms;
        return v->string.p ? ST_OK : no_room(r, err);
    }
    if (inner->kind == EXPR_MATRIX || inner->kind == EXPR_SUBQUERY)
        TRY(rows_of_window(r, inner, g, err));
    else
        TRY(rows_of_steps(r, e, g, err));
    if (r->ev->params->opts.delayed_name_removal)
        TRY(unite(r, err));
    if (v->kind == VALUE_MATRIX && r->rows.n)
        qsort(r->rows.p, r->rows.n, sizeof(*r->rows.p), by_labels);
    v->rows_n = r->rows.n;
    v->rows = arena_array(r->arena, r->rows.n + 1, sizeof(*v->rows));
    if (!v->rows)
        return no_room(r, err);
    if (r->rows.n)
        memcpy(v->rows, r->rows.p, r->rows.n * sizeof(*v->rows));
    return ST_OK;
}

static void ev_fini(struct ev *ev)
{
    for (size_t i = ev->ops.n; i > 0; i--)
        if (ev->ops.p[i - 1]->ops->close)
            ev->ops.p[i - 1]->ops->close(ev->ops.p[i - 1]);
    for (size_t i = ev->sources.n; i > 0; i--)
        ev->sources.p[i - 1]->close(ev->sources.p[i - 1]);
    vec_free(&ev->ops);
    vec_free(&ev->sources);
    vec_free(&ev->notes);
    vec_free(&ev->storage_warnings);
    arena_fini(&ev->arena);
    account_release(ev->ctx->mem, ev->charged);
}

static enum status check_grid(const struct expr *e, const struct promql_params *params,
                              struct grid *ret, struct err *err)
{
    *ret = (struct grid){params->start_ms, 1, 1};
    if (params->step_ms == 0)
        return ST_OK;
    if (params->step_ms < 0 || params->end_ms < params->start_ms)
        return err_set(err, ST_INVALID, "end timestamp must not be before start time");
    if (e->type != TYPE_VECTOR && e->type != TYPE_SCALAR)
        return err_set(err, ST_INVALID,
                       "invalid expression type \"%s\" for range query, must be Scalar or "
                       "instant Vector", expr_type_name(e->type));
    ret->step_ms = params->step_ms;
    ret->n = (size_t)((params->end_ms - params->start_ms) / params->step_ms) + 1;
    return ST_OK;
}

enum status promql_eval(const struct storage *storage, const struct query_ctx *ctx,
                        const struct expr *e, const struct promql_params *params,
                        struct value **ret, struct promql_stats *ret_stats, struct err *err)
{
    struct ev ev = {.storage = storage, .ctx = ctx, .params = params, .complete = true};
    struct result r = {.ev = &ev, .arena = ctx->arena};
    struct value *v = arena_new(ctx->arena, struct value);
    struct grid g;
    enum status st;

    arena_init(&ev.arena, SIZE_MAX);
    ev.seed = random_u64();
    TRY_GOTO(check_grid(e, params, &g, err));
    if (!v) {
        st = no_room(&r, err);
        goto out;
    }
    v->kind = kind_of(e, params->step_ms == 0);
    TRY_GOTO(result_rows(&r, e, &g, v, err));
    TRY_GOTO(take_notes(&ev, ctx->arena, v, err));
    v->complete = ev.complete;
    *ret = v;
    if (ret_stats)
        *ret_stats = (struct promql_stats){ev.samples, ev.series, ev.peak};
out:
    vec_free(&r.rows);
    promql_labtab_fini(&r.names);
    promql_labbuf_free(&r.labs);
    ev_fini(&ev);
    return st;
}
