/* Arithmetic and comparison. Between vectors: the "one" side is stored by match group, the "many"
 * side streams past it; that a group has one series is checked step by step, as in Prometheus. */
#include "promql_eval_int.h"

#include <assert.h>

static bool changes_schema(enum binop op)
{
    return op <= OP_ATAN2;
}

static const char *sample_kind(bool hist)
{
    return hist ? "histogram" : "float";
}

static void told_types(struct ev *ev, const struct expr *e, bool l, bool r)
{
    const char *op = binop_text(e->binary.op);

    promql_info(ev, e, "incompatible sample types encountered for binary operator \"%s\": %s %s %s",
                op, sample_kind(l), op, sample_kind(r));
}

/* One pair of samples. hl, hr: it is a histogram. *ret_keep false: no sample in the result (unless
 * bool asks for a 0). */
static enum status pair(struct ev *ev, const struct expr *e, double l, double r, bool hl, bool hr,
                        double *ret, bool *ret_keep, bool *ret_drop, struct err *err)
{
    enum binop op = e->binary.op;
    bool trims = op == OP_TRIM_UPPER || op == OP_TRIM_LOWER;

    *ret_drop = false;
    *ret_keep = true;
    if (!hl && !hr && !trims) {
        if (!binop_is_comparison(op)) {
            *ret = promql_arith(op, l, r);
            return ST_OK;
        }
        *ret_keep = promql_compare(op, l, r);
        *ret = e->binary.return_bool ? (double)*ret_keep : l;
        return ST_OK;
    }
    if ((hl && hr && (op == OP_ADD || op == OP_SUB || op == OP_EQ || op == OP_NE)) ||
        (op == OP_MUL && hl != hr) || (hl && !hr && (op == OP_DIV || trims)))
        return promql_no_hist("arithmetic between vectors", err);
    told_types(ev, e, hl, hr);
    *ret_drop = true;
    return ST_OK;
}

/* --- scalars -------------------------------------------------------------------------------- */

static enum status build_scalars(struct ev *ev, const struct expr *e, const struct grid *g,
                                 struct op **ret, struct err *err)
{
    enum binop op = e->binary.op;
    const double *l, *r;
    double *v;

    TRY(promql_column(ev, g->n, &v, err));
    TRY(promql_scalar(ev, e->binary.l, g, &l, err));
    TRY(promql_scalar(ev, e->binary.r, g, &r, err));
    for (size_t i = 0; i < g->n; i++)
        v[i] = binop_is_comparison(op) ? (double)promql_compare(op, l[i], r[i])
                                       : promql_arith(op, l[i], r[i]);
    return promql_build_scalar_row(ev, g, v, ret, err);
}

struct vs_op { /* a vector and a scalar */
    struct op op;
    const struct expr *e;
    const double *scalar;
    bool swap; /* the scalar stands on the left */
    struct labbuf labs;
};

static enum status vs_value(struct vs_op *b, struct prow *row, size_t i, struct err *err)
{
    bool hist = prow_is_hist(row, i), keep, drop;
    double v = row->v[i], s = b->scalar[i];

    TRY(pair(b->op.ev, b->e, b->swap ? s : v, b->swap ? v : s, hist && !b->swap, hist && b->swap,
             &row->v[i], &keep, &drop, err));
    if (drop || (!keep && !b->e->binary.return_bool))
        row->v[i] = f64_absent();
    else if (binop_is_comparison(b->e->binary.op) && !b->e->binary.return_bool)
        row->v[i] = v; /* the vector's value, whichever side it is on */
    return ST_OK;
}

static enum status vs_next(struct op *o, struct prow **ret, struct err *err)
{
    struct vs_op *b = (struct vs_op *)o;
    struct prow *row;

    TRY(promql_next(o->child, ret, err));
    row = *ret;
    if (!row)
        return ST_OK;
    for (size_t i = 0; i < o->grid.n; i++)
        if (prow_has(row, i))
            TRY(vs_value(b, row, i, err));
    row->h = NULL;
    if (changes_schema(b->e->binary.op) || b->e->binary.return_bool)
        promql_drop_name(o->ev, row, &b->labs);
    return ST_OK;
}

static void vs_close(struct op *o)
{
    promql_labbuf_free(&((struct vs_op *)o)->labs);
}

static enum status build_vs(struct ev *ev, const struct expr *e, const struct grid *g,
                            struct op **ret, struct err *err)
{
    static const struct op_ops ops = {vs_next, vs_close};
    bool swap = e->binary.l->type == TYPE_SCALAR, drops;
    struct vs_op *b;
    struct op *child;

    TRY(promql_op_new(ev, sizeof(*b), &ops, g, NULL, &b, err));
    *ret = &b->op;
    b->e = e;
    b->swap = swap;
    TRY(promql_scalar(ev, swap ? e->binary.l : e->binary.r, g, &b->scalar, err));
    TRY(promql_build(ev, swap ? e->binary.r : e->binary.l, g, &child, err));
    b->op.child = child;
    b->op.one_name = child->one_name;
    drops = changes_schema(e->binary.op) || e->binary.return_bool;
    if (!drops || ev->params->opts.delayed_name_removal)
        return ST_OK;
    return promql_build_merge(ev, &b->op, false, ret, err);
}

/* --- vectors -------------------------------------------------------------------------------- */

struct side { /* of the "one" side: the series of one match group */
    VEC(struct prow *) rows;
    struct labels sig;
    uint8_t *matched; /* by step: the group has had its partner */
};

struct outrow {
    uint8_t *tried; /* by step: a pair made this series, kept or not; group_x only */
};

struct vv_op {
    struct op op;
    const struct expr *e;
    struct op *many, *one;
    bool swapped; /* the one side is the left */
    struct rowset stored;
    struct labtab sigs;
    VEC(struct side) sides;
    struct rowset out;
    VEC(struct outrow) tried;
    struct labbuf sig, drop, cut, inc[2];
    uint8_t *many_any, *one_any;
    size_t *dup; /* by step: index + 1 of the later of two stored rows in one group */
    struct prow filler;
    bool filled;
};

static struct labels signature(struct vv_op *b, struct labels ls)
{
    if (b->e->binary.on)
        return promql_keep(ls, b->e->binary.labels, &b->sig);
    return promql_without(ls, b->e->binary.labels, true, &b->sig);
}

/* As in Prometheus the "many" side counts as the left one here, also for group_right. */
static bool fills(const struct vv_op *b, bool one_side, double *ret)
{
    bool left = !one_side;

    *ret = left ? b->e->binary.fill_l : b->e->binary.fill_r;
    return left ? b->e->binary.fill_l_set : b->e->binary.fill_r_set;
}

static enum status store_one(struct vv_op *b, struct err *err)
{
    size_t n = b->op.grid.n;

    TRY(promql_rowset_drain(&b->stored, b->one, false, err));
    for (size_t i = 0; i < b->stored.rows.n; i++) {
        struct prow *row = &b->stored.rows.p[i];
        struct side *s;
        size_t at;
        bool fresh;

        TRY(promql_labtab_put(&b->sigs, signature(b, row->labels), &at, &fresh, err));
        s = fresh ? vec_add(&b->sides) : &b->sides.p[at];
        s->sig = b->sigs.keys.p[at];
        for (size_t k = 0; k < n; k++) {
            if (!prow_has(row, k))
                continue;
            b->one_any[k] = 1;
            for (size_t j = 0; j < s->rows.n && !b->dup[k]; j++)
                if (prow_has(s->rows.p[j], k))
                    b->dup[k] = i + 1;
        }
        vec_push(&s->rows, row);
        if (fresh) {
            void *p;

            TRY(promql_alloc(b->op.ev, n, &p, err));
            s->matched = p;
        }
    }
    return ST_OK;
}

/* Prometheus's MatchLabels(): of a sample, the labels that matched. */
static struct labels match_labels(struct vv_op *b, struct labels ls)
{
    return signature(b, ls);
}

static enum status many_to_many(struct vv_op *b, size_t step, struct err *err)
{
    struct prow *last = &b->stored.rows.p[b->dup[step] - 1], *first = NULL;
    size_t at = promql_labtab_find(&b->sigs, signature(b, last->labels));
    struct side *s = &b->sides.p[at];
    struct buf group, x, y;
    enum status st;
    bool ordered;

    for (size_t j = 0; j < s->rows.n && !first; j++)
        if (s->rows.p[j] != last && prow_has(s->rows.p[j], step))
            first = s->rows.p[j];
    buf_init(&group, SIZE_MAX);
    buf_init(&x, SIZE_MAX);
    buf_init(&y, SIZE_MAX);
    promql_go_labels(&group, match_labels(b, last->labels));
    promql_go_labels(&x, last->labels);
    promql_go_labels(&y, first->labels);
    ordered = sv_cmp(buf_view(&x), buf_view(&y)) <= 0;
    st = err_set(err, ST_EXEC,
                 "found duplicate series for the match group " SV_FMT " on the %s hand-side of "
                 "the operation: [" SV_FMT ", " SV_FMT "];many-to-many matching not allowed: "
                 "matching labels must be unique on one side",
                 SV_ARG(buf_view(&group)), b->swapped ? "left" : "right",
                 SV_ARG(buf_view(ordered ? &x : &y)), SV_ARG(buf_view(ordered ? &y : &x)));
    buf_fini(&group);
    buf_fini(&x);
    buf_fini(&y);
    return st;
}

/* Labels of the result of a pair. */
static struct labels result_labels(struct vv_op *b, const struct prow *many,
                                   const struct prow *one)
{
    const struct expr *e = b->e;
    struct labels ls = many->labels;
    bool gone = changes_schema(e->binary.op) ||
                (e->binary.return_bool && !b->op.ev->params->opts.delayed_name_removal);

    if (gone)
        ls = promql_without_meta(ls, &b->drop);
    if (e->binary.card == CARD_ONE_ONE)
        return e->binary.on ? promql_keep(ls, e->binary.labels, &b->cut)
                            : promql_without(ls, e->binary.labels, false, &b->cut);
    for (size_t i = 0; i < e->binary.include.n; i++)
        ls = promql_with(ls, e->binary.include.p[i],
                         labels_get(one->labels, e->binary.include.p[i]), &b->inc[i % 2]);
    return ls;
}

static enum status out_row(struct vv_op *b, const struct prow *many, const struct prow *one,
                           struct prow **ret, struct outrow **ret_tried, struct err *err)
{
    size_t at;
    void *p;

    TRY(promql_rowset_row(&b->out, result_labels(b, many, one), b->e->binary.return_bool, ret,
                          err));
    at = (size_t)(*ret - b->out.rows.p);
    if (at == b->tried.n) {
        vec_add(&b->tried);
        if (b->e->binary.card != CARD_ONE_ONE) {
            TRY(promql_alloc(b->op.ev, b->op.grid.n, &p, err));
            b->tried.p[at].tried = p;
        }
    }
    *ret_tried = &b->tried.p[at];
    return ST_OK;
}

struct match {
    struct prow *many, *one, *out;
    struct side *side; /* NULL: the group has no series on the one side */
    struct outrow *tried;
};

static enum status match_step(struct vv_op *b, struct match *m, size_t i, double many, double one,
                              struct err *err)
{
    bool hm = m->many && prow_is_hist(m->many, i), ho = m->one && prow_is_hist(m->one, i);
    bool keep, drop, sw = b->swapped;
    double v = 0;

    TRY(pair(b->op.ev, b->e, sw ? one : many, sw ? many : one, sw ? ho : hm, sw ? hm : ho, &v,
             &keep, &drop, err));
    if (drop)
        return ST_OK;
    if (b->e->binary.card == CARD_ONE_ONE) {
        if (m->side && m->side->matched[i])
            return err_set(err, ST_EXEC,
                           "multiple matches for labels: many-to-one matching must be explicit "
                           "(group_left/group_right)");
    } else {
        if (m->tried->tried[i])
            return err_set(err, ST_EXEC,
                           "multiple matches for labels: grouping labels must ensure unique "
                           "matches");
        m->tried->tried[i] = 1;
    }
    if (m->side)
        m->side->matched[i] = 1;
    if (!keep && !b->e->binary.return_bool)
        return ST_OK;
    if (prow_has(m->out, i))
        return promql_same_labelset(err);
    m->out->v[i] = v;
    return ST_OK;
}

/* A row of the many side with one row of the one side. */
static enum status match_rows(struct vv_op *b, struct prow *many, struct prow *one,
                              struct side *side, struct err *err)
{
    struct match m = {.many = many, .one = one, .side = side};

    for (size_t i = 0; i < b->op.grid.n; i++) {
        if (!prow_has(many, i) || !prow_has(one, i))
            continue;
        if (!m.out)
            TRY(out_row(b, many, one, &m.out, &m.tried, err));
        TRY(match_step(b, &m, i, many->v[i], one->v[i], err));
    }
    return ST_OK;
}

/* Steps where the one side has nothing for this row, and its fill value stands in. */
static enum status match_fill(struct vv_op *b, struct prow *many, struct side *side, double fill,
                              struct err *err)
{
    struct match m = {.many = many, .side = side};
    struct labbuf kept = {0};
    struct labels sig = match_labels(b, many->labels);
    struct prow one = {.labels = {promql_labbuf(&kept, sig.n), sig.n}};
    enum status st = ST_OK;

    if (sig.n)
        memcpy(kept.p, sig.p, sig.n * sizeof(*sig.p));
    for (size_t i = 0; i < b->op.grid.n; i++) {
        bool there = false;

        if (!prow_has(many, i))
            continue;
        for (size_t j = 0; side && j < side->rows.n && !there; j++)
            there = prow_has(side->rows.p[j], i);
        if (there)
            continue;
        if (!m.out)
            TRY_GOTO(out_row(b, many, &one, &m.out, &m.tried, err));
        TRY_GOTO(match_step(b, &m, i, many->v[i], fill, err));
    }
out:
    promql_labbuf_free(&kept);
    return st;
}

static enum status many_row(struct vv_op *b, struct prow *row, struct err *err)
{
    size_t at = promql_labtab_find(&b->sigs, signature(b, row->labels));
    double fill;

    for (size_t i = 0; i < b->op.grid.n; i++)
        b->many_any[i] |= prow_has(row, i);
    for (size_t i = 0; at != LABTAB_NONE && i < b->sides.p[at].rows.n; i++)
        TRY(match_rows(b, row, b->sides.p[at].rows.p[i], &b->sides.p[at], err));
    if (!fills(b, true, &fill))
        return ST_OK;
    if (at == LABTAB_NONE) {
        bool fresh;
        void *p;

        /* Of two such rows in one group the second has no partner left either. */
        TRY(promql_labtab_put(&b->sigs, signature(b, row->labels), &at, &fresh, err));
        TRY(promql_alloc(b->op.ev, b->op.grid.n, &p, err));
        *vec_add(&b->sides) = (struct side){.sig = b->sigs.keys.p[at], .matched = p};
    }
    return match_fill(b, row, &b->sides.p[at], fill, err);
}

/* Rows of the one side that found no partner, with the many side's fill value. */
static enum status fill_many(struct vv_op *b, double fill, struct err *err)
{
    for (size_t k = 0; k < b->sides.n; k++) {
        struct side *s = &b->sides.p[k];

        for (size_t j = 0; j < s->rows.n; j++) {
            struct prow *one = s->rows.p[j], many = {.labels = s->sig};
            struct match m = {.one = one, .side = s};

            for (size_t i = 0; i < b->op.grid.n; i++) {
                if (!prow_has(one, i) || s->matched[i])
                    continue;
                if (!m.out)
                    TRY(out_row(b, &many, one, &m.out, &m.tried, err));
                TRY(match_step(b, &m, i, fill, one->v[i], err));
            }
        }
    }
    return ST_OK;
}

static enum status check_dups(struct vv_op *b, bool filling, struct err *err)
{
    for (size_t i = 0; i < b->op.grid.n; i++)
        if (b->dup[i] && (b->many_any[i] || filling))
            return many_to_many(b, i, err);
    return ST_OK;
}

static enum status vv_fill(struct vv_op *b, struct err *err)
{
    double fill, other;
    bool filling = fills(b, true, &other), many_fills = fills(b, false, &fill);
    struct err late = ERR_INIT;
    enum status st = ST_OK;

    TRY(store_one(b, err));
    while (st == ST_OK) {
        struct prow *row;

        TRY(promql_next(b->many, &row, err));
        if (!row)
            break;
        st = many_row(b, row, &late);
    }
    TRY(check_dups(b, filling || many_fills, err));
    if (st != ST_OK) {
        *err = late;
        return st;
    }
    return many_fills ? fill_many(b, fill, err) : ST_OK;
}

static enum status vv_next(struct op *o, struct prow **ret, struct err *err)
{
    struct vv_op *b = (struct vv_op *)o;

    if (!b->filled)
        TRY(vv_fill(b, err));
    b->filled = true;
    *ret = promql_rowset_next(&b->out);
    return ST_OK;
}

static void vv_close(struct op *o)
{
    struct vv_op *b = (struct vv_op *)o;

    for (size_t i = 0; i < b->sides.n; i++)
        vec_free(&b->sides.p[i].rows);
    vec_free(&b->sides);
    vec_free(&b->tried);
    promql_labtab_fini(&b->sigs);
    promql_rowset_fini(&b->stored);
    promql_rowset_fini(&b->out);
    promql_labbuf_free(&b->sig);
    promql_labbuf_free(&b->drop);
    promql_labbuf_free(&b->cut);
    promql_labbuf_free(&b->inc[0]);
    promql_labbuf_free(&b->inc[1]);
}

static enum status build_vv(struct ev *ev, const struct expr *e, const struct grid *g,
                            struct op **ret, struct err *err)
{
    static const struct op_ops ops = {vv_next, vv_close};
    struct op *l, *r;
    struct vv_op *b;
    void *p;

    TRY(promql_op_new(ev, sizeof(*b), &ops, g, NULL, &b, err));
    *ret = &b->op;
    b->e = e;
    b->swapped = e->binary.card == CARD_ONE_MANY;
    promql_labtab_init(&b->sigs, ev);
    promql_rowset_init(&b->stored, ev, g->n);
    promql_rowset_init(&b->out, ev, g->n);
    TRY(promql_alloc(ev, 2 * g->n, &p, err));
    b->many_any = p;
    b->one_any = b->many_any + g->n;
    TRY(promql_alloc(ev, g->n * sizeof(*b->dup), &p, err));
    b->dup = p;
    TRY(promql_build(ev, e->binary.l, g, &l, err));
    TRY(promql_build(ev, e->binary.r, g, &r, err));
    b->many = b->swapped ? r : l;
    b->one = b->swapped ? l : r;
    b->op.one_name = changes_schema(e->binary.op);
    return ST_OK;
}

enum status promql_build_binary(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err)
{
    bool l = e->binary.l->type == TYPE_SCALAR, r = e->binary.r->type == TYPE_SCALAR;

    if (l && r)
        return build_scalars(ev, e, g, ret, err);
    if (l || r)
        return build_vs(ev, e, g, ret, err);
    if (binop_is_set(e->binary.op))
        return promql_build_set(ev, e, g, ret, err);
    return build_vv(ev, e, g, ret, err);
}
