/* and, or, unless. The side that only decides is held as one bit a step and match group; the
 * other streams by. */
#include "promql_eval_int.h"

struct set_op {
    struct op op;
    const struct expr *e;
    struct op *l, *r;
    struct labtab sigs;
    VEC(uint8_t *) present; /* of each signature: a byte a step */
    struct rowset out;      /* or: rows of both sides with the same labels are one */
    struct labbuf labs;
    bool filled;
};

static struct labels signature(struct set_op *s, struct labels ls)
{
    if (s->e->binary.on)
        return promql_keep(ls, s->e->binary.labels, &s->labs);
    return promql_without(ls, s->e->binary.labels, true, &s->labs);
}

static enum status mark(struct set_op *s, const struct prow *row, struct err *err)
{
    size_t at;
    bool fresh;
    void *p;

    TRY(promql_labtab_put(&s->sigs, signature(s, row->labels), &at, &fresh, err));
    if (fresh) {
        TRY(promql_alloc(s->op.ev, s->op.grid.n, &p, err));
        vec_push(&s->present, p);
    }
    for (size_t i = 0; i < s->op.grid.n; i++)
        s->present.p[at][i] |= prow_has(row, i);
    return ST_OK;
}

/* Keeps the steps where the group is present (or is not); whether any is left. */
static bool mask(struct set_op *s, struct prow *row, bool keep_present)
{
    size_t at = promql_labtab_find(&s->sigs, signature(s, row->labels));
    bool any = false;

    for (size_t i = 0; i < s->op.grid.n; i++) {
        bool present = at != LABTAB_NONE && s->present.p[at][i];

        if (present != keep_present)
            row->v[i] = f64_absent();
        any = any || prow_has(row, i);
    }
    return any;
}

static enum status fill_or(struct set_op *s, struct err *err)
{
    for (;;) {
        struct prow *row;

        TRY(promql_next(s->l, &row, err));
        if (!row)
            break;
        TRY(mark(s, row, err));
        TRY(promql_rowset_add(&s->out, row, false, err));
    }
    for (;;) {
        struct prow *row;

        TRY(promql_next(s->r, &row, err));
        if (!row)
            return ST_OK;
        if (mask(s, row, false))
            TRY(promql_rowset_add(&s->out, row, false, err));
    }
}

static enum status fill_right(struct set_op *s, struct err *err)
{
    for (;;) {
        struct prow *row;

        TRY(promql_next(s->r, &row, err));
        if (!row)
            return ST_OK;
        TRY(mark(s, row, err));
    }
}

static enum status set_next(struct op *o, struct prow **ret, struct err *err)
{
    struct set_op *s = (struct set_op *)o;
    bool is_or = s->e->binary.op == OP_OR;

    if (!s->filled)
        TRY(is_or ? fill_or(s, err) : fill_right(s, err));
    s->filled = true;
    if (is_or) {
        *ret = promql_rowset_next(&s->out);
        return ST_OK;
    }
    do {
        TRY(promql_next(s->l, ret, err));
    } while (*ret && !mask(s, *ret, s->e->binary.op == OP_AND));
    return ST_OK;
}

static void set_close(struct op *o)
{
    struct set_op *s = (struct set_op *)o;

    promql_labtab_fini(&s->sigs);
    vec_free(&s->present);
    promql_rowset_fini(&s->out);
    promql_labbuf_free(&s->labs);
}

enum status promql_build_set(struct ev *ev, const struct expr *e, const struct grid *g,
                             struct op **ret, struct err *err)
{
    static const struct op_ops ops = {set_next, set_close};
    struct set_op *s;

    TRY(promql_op_new(ev, sizeof(*s), &ops, g, NULL, &s, err));
    *ret = &s->op;
    s->e = e;
    promql_labtab_init(&s->sigs, ev);
    promql_rowset_init(&s->out, ev, g->n);
    TRY(promql_build(ev, e->binary.l, g, &s->l, err));
    TRY(promql_build(ev, e->binary.r, g, &s->r, err));
    s->op.one_name = e->binary.op != OP_OR && s->l->one_name;
    return ST_OK;
}
