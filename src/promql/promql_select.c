/* Selectors: an instant vector as rows over the grid, a range vector as a source of series; the
 * step-invariant stage that evaluates a part once. Each sample is decoded once. */
#include "promql_eval_int.h"

#include <assert.h>

enum sel_mode { SEL_VALUE, SEL_TIME, SEL_START_TIME, SEL_TIME_MS };

struct sel_op {
    struct op op;
    const struct expr *e;
    struct series_set *set;
    struct samples buf;
    struct prow row;
    const struct hist **h; /* room for row.h */
    enum sel_mode mode;
    struct sv func;
    int64_t offset_ms, at_ms;
    bool has_at, opened;
    struct labbuf labs;
};

enum status promql_when(struct ev *ev, const struct expr_time *t, int64_t *ret_offset_ms,
                        bool *ret_has_at, int64_t *ret_at_ms, struct err *err)
{
    *ret_offset_ms = t->offset_ms;
    if (t->offset_expr)
        TRY(promql_duration_value(t->offset_expr, ev->params, true, ret_offset_ms, err));
    *ret_has_at = t->at != AT_NONE;
    /* `@` pins the time; offsets are relative to it. */
    *ret_at_ms = t->at == AT_START ? ev->params->start_ms
                 : t->at == AT_END ? promql_end_ms(ev->params)
                                   : t->at_ms;
    return ST_OK;
}

bool promql_name_fixed(const struct expr *vector)
{
    for (size_t i = 0; i < vector->vector.matchers_n; i++) {
        const struct matcher *m = vector->vector.matchers[i];

        if (m->op == MATCH_EQ && sv_is(m->name, LABEL_NAME))
            return true;
    }
    return false;
}

enum status promql_select(struct ev *ev, const struct expr *vector, int64_t from_ms,
                          int64_t last_ms, int64_t step_ms, int64_t range_ms, struct sv func,
                          struct series_set **ret, struct err *err)
{
    struct select_req req = {0};

    req.matchers = (const struct matcher *const *)vector->vector.matchers;
    req.matchers_n = vector->vector.matchers_n;
    req.range = trange_closed(from_ms, last_ms);
    req.hints.step_ms = step_ms;
    req.hints.range_ms = range_ms;
    req.hints.func = func;
    return ev->storage->ops->select(ev->storage, ev->ctx, &req, ret, err);
}

enum status promql_series_next(struct ev *ev, struct series_set *s, bool *ret_more,
                               struct err *err)
{
    TRY(query_alive(ev->ctx, err));
    TRY(series_set_next(s, ret_more, err));
    if (*ret_more) {
        ev->series++;
        return ST_OK;
    }
    ev->complete = ev->complete && s->outcome.complete;
    for (size_t i = 0; i < s->outcome.warnings.n; i++)
        vec_push(&ev->storage_warnings, sv_of(s->outcome.warnings.p[i]));
    return ST_OK;
}

/* The series' samples; while they are looked at they are held. */
static enum status series_read(struct ev *ev, struct series_set *s, struct samples *out,
                                      struct err *err)
{
    TRY(series_set_read(s, out, err));
    TRY(promql_hold(ev, out->n, err));
    promql_release(ev, out->n);
    return ST_OK;
}

static int64_t ref_at(const struct sel_op *s, size_t i)
{
    return promql_ref_ms(&s->op.grid, i, s->has_at, s->at_ms, s->offset_ms);
}

static enum status sel_open(struct sel_op *s, struct err *err)
{
    int64_t lookback = s->op.ev->params->lookback_ms;
    int64_t from = ref_at(s, 0) - lookback + 1, last = ref_at(s, s->op.grid.n - 1);

    s->opened = true;
    if (s->e->vector.smoothed) {
        from -= 1;
        last += lookback;
    }
    return promql_select(s->op.ev, s->e, from, last, s->op.grid.step_ms, 0, s->func, &s->set, err);
}

static double sel_value(const struct sel_op *s, const struct samples *b, size_t i)
{
    switch (s->mode) {
    case SEL_VALUE: return b->f[i];
    case SEL_TIME: return (double)b->t_ms[i] / 1000;
    case SEL_TIME_MS: return (double)b->t_ms[i];
    case SEL_START_TIME: return b->st_ms ? (double)b->st_ms[i] / 1000 : 0;
    }
    assert(!"selector mode");
    return 0;
}

/* Whether the row has any sample. */
static bool sel_fill(struct sel_op *s)
{
    const struct samples *b = &s->buf;
    int64_t lookback = s->op.ev->params->lookback_ms;
    size_t i = 0, seen = 0;

    s->row.h = b->h && s->mode == SEL_VALUE ? s->h : NULL;
    for (size_t k = 0; k < s->op.grid.n; k++) {
        int64_t ref = ref_at(s, k);

        while (i < b->n && b->t_ms[i] <= ref)
            i++;
        s->row.v[k] = f64_absent();
        if (s->row.h)
            s->row.h[k] = NULL;
        if (i == 0 || b->t_ms[i - 1] <= ref - lookback || f64_is_stale(b->f[i - 1]))
            continue;
        s->row.v[k] = sel_value(s, b, i - 1);
        if (s->row.h)
            s->row.h[k] = b->h[i - 1];
        seen++;
    }
    s->op.ev->samples += seen;
    return seen > 0;
}

/* Values on the line between the samples around each step. */
static bool sel_fill_smoothed(struct sel_op *s)
{
    const struct samples *b = &s->buf;
    int64_t lookback = s->op.ev->params->lookback_ms;
    size_t n = 0, i = 0;
    bool any = false;

    for (size_t k = 0; k < b->n; k++) {
        if (f64_is_stale(b->f[k]) || (b->h && b->h[k]))
            continue;
        b->t_ms[n] = b->t_ms[k];
        b->f[n++] = b->f[k];
    }
    s->row.h = NULL;
    for (size_t k = 0; k < s->op.grid.n; k++) {
        int64_t ref = ref_at(s, k);
        bool prev, next;

        while (i < n && b->t_ms[i] < ref)
            i++;
        prev = i > 0 && b->t_ms[i - 1] > ref - lookback;
        next = i < n && b->t_ms[i] <= ref + lookback;
        s->row.v[k] = f64_absent();
        if (next && b->t_ms[i] == ref)
            s->row.v[k] = b->f[i];
        else if (prev && next)
            s->row.v[k] = b->f[i - 1] + (b->f[i] - b->f[i - 1]) *
                                            (double)(ref - b->t_ms[i - 1]) /
                                            (double)(b->t_ms[i] - b->t_ms[i - 1]);
        else if (prev)
            s->row.v[k] = b->f[i - 1];
        any = any || prow_has(&s->row, k);
    }
    s->op.ev->samples += s->op.grid.n;
    return any;
}

static bool has_hist(const struct samples *b)
{
    for (size_t i = 0; b->h && i < b->n; i++)
        if (b->h[i])
            return true;
    return false;
}

static enum status info_is_hist(const struct sel_op *s, struct err *err)
{
    struct buf b;

    buf_init(&b, 512);
    promql_go_labels(&b, s->set->labels);
    err_set(err, ST_EXEC, "this should be an info metric, with float samples: " SV_FMT,
            SV_ARG(buf_view(&b)));
    buf_fini(&b);
    return ST_EXEC;
}

static enum status sel_next(struct op *o, struct prow **ret, struct err *err)
{
    struct sel_op *s = (struct sel_op *)o;

    if (!s->opened)
        TRY(sel_open(s, err));
    for (;;) {
        bool more;

        TRY(promql_series_next(o->ev, s->set, &more, err));
        if (!more) {
            *ret = NULL;
            return ST_OK;
        }
        TRY(series_set_read(s->set, &s->buf, err));
        if (s->e->vector.smoothed && has_hist(&s->buf))
            return promql_no_hist("smoothed selectors", err);
        if (s->mode == SEL_TIME_MS && has_hist(&s->buf))
            return info_is_hist(s, err);
        if (s->e->vector.smoothed ? sel_fill_smoothed(s) : sel_fill(s))
            break;
    }
    s->row.labels = s->set->labels;
    s->row.drop_name = false;
    if (s->mode == SEL_TIME || s->mode == SEL_START_TIME)
        promql_drop_name(o->ev, &s->row, &s->labs);
    *ret = &s->row;
    return ST_OK;
}

static void sel_close(struct op *o)
{
    struct sel_op *s = (struct sel_op *)o;

    series_set_close(s->set);
    samples_fini(&s->buf);
    promql_labbuf_free(&s->labs);
}

static struct sv sel_func(enum sel_mode mode)
{
    switch (mode) {
    case SEL_VALUE: return SV("");
    case SEL_TIME: return SV("timestamp");
    case SEL_START_TIME: return SV("start_timestamp");
    case SEL_TIME_MS: return SV("info");
    }
    assert(!"selector mode");
    return SV("");
}

static enum status build_sel(struct ev *ev, const struct expr *e, const struct grid *g,
                             enum sel_mode mode, struct op **ret, struct err *err)
{
    static const struct op_ops ops = {sel_next, sel_close};
    struct sel_op *s;
    void *p;

    TRY(promql_op_new(ev, sizeof(*s), &ops, g, NULL, &s, err));
    *ret = &s->op;
    s->e = e;
    s->mode = mode;
    s->func = sel_func(mode);
    s->op.one_name = promql_name_fixed(e);
    samples_init(&s->buf);
    TRY(promql_when(ev, &e->vector.time, &s->offset_ms, &s->has_at, &s->at_ms, err));
    TRY(promql_column(ev, g->n, &s->row.v, err));
    TRY(promql_alloc(ev, g->n * sizeof(*s->h), &p, err));
    s->h = p;
    return ST_OK;
}

enum status promql_build_vector(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err)
{
    return build_sel(ev, e, g, SEL_VALUE, ret, err);
}

enum status promql_build_info_vector(struct ev *ev, const struct expr *e, const struct grid *g,
                                     struct op **ret, struct err *err)
{
    return build_sel(ev, e, g, SEL_TIME_MS, ret, err);
}

enum status promql_build_timestamp(struct ev *ev, const struct expr *call, const struct grid *g,
                                   struct op **ret, struct err *err)
{
    bool start = call->call.fn->id == FN_START_TIMESTAMP;
    const struct expr *arg = expr_unwrap(call->call.args.p[0]);
    enum status st = build_sel(ev, arg, g, start ? SEL_START_TIME : SEL_TIME, ret, err);

    if (st == ST_OK && !ev->params->opts.delayed_name_removal)
        st = promql_build_merge(ev, *ret, false, ret, err);
    return st;
}

/* --- range vectors of selectors ------------------------------------------------------------- */

struct sel_source {
    struct rsource src;
    const struct expr *vector;
    struct series_set *set;
    struct samples buf;
    VEC(int64_t) ht, hst;
    VEC(const struct hist *) h;
};

/* Stale markers go, histograms move to columns of their own. */
static void split(struct sel_source *s)
{
    struct samples *b = &s->buf;
    struct rseries *c = &s->src.cur;
    size_t n = 0, i = 0;

    s->ht.n = s->hst.n = s->h.n = 0;
    if (!b->h)
        while (i < b->n && !f64_is_stale(b->f[i]))
            i++;
    for (n = i; i < b->n; i++) {
        if (f64_is_stale(b->f[i]))
            continue;
        if (b->h && b->h[i]) {
            vec_push(&s->ht, b->t_ms[i]);
            vec_push(&s->h, b->h[i]);
            if (b->st_ms)
                vec_push(&s->hst, b->st_ms[i]);
            continue;
        }
        b->t_ms[n] = b->t_ms[i];
        b->f[n] = b->f[i];
        if (b->st_ms)
            b->st_ms[n] = b->st_ms[i];
        n++;
    }
    c->t_ms = b->t_ms;
    c->f = b->f;
    c->st_ms = b->st_ms;
    c->n = n;
    c->ht_ms = s->ht.p;
    c->h = s->h.p;
    c->hst_ms = s->hst.n ? s->hst.p : NULL;
    c->hn = s->h.n;
}

static enum status source_next(struct rsource *src, bool *ret_more, struct err *err)
{
    struct sel_source *s = (struct sel_source *)src;

    TRY(promql_series_next(src->ev, s->set, ret_more, err));
    if (!*ret_more)
        return ST_OK;
    TRY(series_read(src->ev, s->set, &s->buf, err));
    src->ev->samples += s->buf.n;
    split(s);
    src->cur.labels = s->set->labels;
    src->cur.drop_name = false;
    return ST_OK;
}

static void source_close(struct rsource *src)
{
    struct sel_source *s = (struct sel_source *)src;

    series_set_close(s->set);
    samples_fini(&s->buf);
    vec_free(&s->ht);
    vec_free(&s->hst);
    vec_free(&s->h);
}

static enum status source_open(struct sel_source *s, const struct expr *e, const struct grid *g,
                               struct sv func, struct err *err)
{
    struct rsource *src = &s->src;
    struct ev *ev = src->ev;
    int64_t from, last, lookback = ev->params->lookback_ms;

    src->range_ms = e->matrix.range_ms;
    if (e->matrix.range_expr)
        TRY(promql_duration_value(e->matrix.range_expr, ev->params, false, &src->range_ms, err));
    TRY(promql_when(ev, &s->vector->vector.time, &src->offset_ms, &src->has_at, &src->at_ms, err));
    from = promql_ref_ms(g, 0, src->has_at, src->at_ms, src->offset_ms) - src->range_ms + 1;
    last = promql_ref_ms(g, g->n - 1, src->has_at, src->at_ms, src->offset_ms);
    if (src->anchored || src->smoothed)
        from -= lookback;
    if (src->smoothed)
        last += lookback;
    return promql_select(ev, s->vector, from, last, g->step_ms, src->range_ms, func, &s->set, err);
}

enum status promql_rsource(struct ev *ev, const struct expr *e, const struct grid *g,
                           struct sv func, struct rsource **ret, struct err *err)
{
    struct sel_source *s;
    void *p;

    if (e->kind == EXPR_SUBQUERY)
        return promql_rsource_subquery(ev, e, g, ret, err);
    assert(e->kind == EXPR_MATRIX);
    TRY(promql_alloc(ev, sizeof(*s), &p, err));
    s = p;
    s->src.next = source_next;
    s->src.close = source_close;
    s->src.ev = ev;
    s->vector = expr_unwrap(e->matrix.selector);
    s->src.anchored = s->vector->vector.anchored;
    s->src.smoothed = s->vector->vector.smoothed;
    s->src.one_name = promql_name_fixed(s->vector);
    samples_init(&s->buf);
    vec_push(&ev->sources, &s->src);
    *ret = &s->src;
    return source_open(s, e, g, func, err);
}
