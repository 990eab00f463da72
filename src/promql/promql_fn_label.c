/* Functions of labels: label_replace, label_join; and those that look at all rows: the sorts,
 * absent, absent_over_time. */
#include "promql_eval_int.h"

#include "base/regex.h"

#include <assert.h>
#include <stdlib.h>

#define LABEL_VALUE_MAX (1 << 20) /* bytes that label_replace or label_join may make */
#define GROUPS_MAX 100

struct label_op {
    struct op op;
    const struct expr *e;
    struct regex *re;
    struct rowset set;
    struct labbuf labs;
    struct buf value;
    bool filled;
};

static struct sv text_arg(const struct expr *e, size_t i)
{
    return expr_unwrap(e->call.args.p[i])->string.v;
}

/* --- label_replace -------------------------------------------------------------------------- */

static bool word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static struct sv group_text(const struct label_op *l, struct sv name, const struct sv *groups,
                            unsigned n)
{
    uint64_t i;

    if (name.n && name.p[0] >= '0' && name.p[0] <= '9')
        return sv_u64(name, &i) && i < n && groups[i].p ? groups[i] : SV("");
    i = regex_group_named(l->re, name);
    return i && i < n && groups[i].p ? groups[i] : SV("");
}

/* Go's Regexp.Expand: $1, $name, ${name}, $$. */
static void expand(struct label_op *l, struct sv tmpl, const struct sv *groups, unsigned n)
{
    for (size_t i = 0; i < tmpl.n; i++) {
        size_t from = i + 1, to;
        bool brace;

        if (tmpl.p[i] != '$' || from == tmpl.n) {
            buf_ch(&l->value, tmpl.p[i]);
            continue;
        }
        if (tmpl.p[from] == '$') {
            buf_ch(&l->value, '$');
            i++;
            continue;
        }
        brace = tmpl.p[from] == '{';
        from += brace;
        for (to = from; to < tmpl.n && word(tmpl.p[to]); to++)
            ;
        if (to == from || (brace && (to == tmpl.n || tmpl.p[to] != '}'))) {
            buf_ch(&l->value, '$'); /* malformed: it stands for itself */
            continue;
        }
        buf_sv(&l->value, group_text(l, sv_sub(tmpl, from, to - from), groups, n));
        i = to - 1 + brace;
    }
}

static bool replaced(struct label_op *l, const struct prow *row)
{
    struct sv groups[GROUPS_MAX];
    unsigned n = regex_groups(l->re) + 1;

    n = n < GROUPS_MAX ? n : GROUPS_MAX;
    if (!regex_match_groups(l->re, labels_get(row->labels, text_arg(l->e, 3)), groups, n))
        return false;
    expand(l, text_arg(l->e, 2), groups, n);
    return true;
}

static bool joined(struct label_op *l, const struct prow *row)
{
    for (size_t i = 3; i < l->e->call.args.n; i++) {
        if (i > 3)
            buf_sv(&l->value, text_arg(l->e, 2));
        buf_sv(&l->value, labels_get(row->labels, text_arg(l->e, i)));
    }
    return true;
}

static enum status label_fill(struct label_op *l, struct err *err)
{
    struct sv dst = text_arg(l->e, 1);

    for (;;) {
        struct prow *row;

        TRY(promql_next(l->op.child, &row, err));
        if (!row)
            return ST_OK;
        buf_clear(&l->value);
        if (l->e->call.fn->id == FN_LABEL_REPLACE ? replaced(l, row) : joined(l, row)) {
            if (!buf_ok(&l->value))
                return err_set(err, ST_LIMIT, "%s: a label value of more than %d bytes",
                               l->e->call.fn->name, LABEL_VALUE_MAX);
            row->labels = promql_with(row->labels, dst, buf_view(&l->value), &l->labs);
            if (sv_is(dst, LABEL_NAME))
                row->drop_name = false;
        }
        TRY(promql_rowset_add(&l->set, row, false, err));
    }
}

static enum status label_next(struct op *o, struct prow **ret, struct err *err)
{
    struct label_op *l = (struct label_op *)o;

    if (!l->filled)
        TRY(label_fill(l, err));
    l->filled = true;
    *ret = promql_rowset_next(&l->set);
    return ST_OK;
}

static void label_close(struct op *o)
{
    struct label_op *l = (struct label_op *)o;

    regex_free(l->re);
    promql_rowset_fini(&l->set);
    promql_labbuf_free(&l->labs);
    buf_fini(&l->value);
}

static enum status check_label_args(struct label_op *l, struct err *err)
{
    const char *name = l->e->call.fn->name;
    struct sv dst = text_arg(l->e, 1);

    if (l->e->call.fn->id == FN_LABEL_REPLACE) {
        struct sv pattern = text_arg(l->e, 4);
        struct err sub = ERR_INIT;

        if (regex_new(pattern, &l->re, &sub) != ST_OK) {
            l->re = NULL;
            return err_set(err, ST_EXEC,
                           "invalid regular expression in label_replace(): " SV_FMT,
                           SV_ARG(pattern));
        }
    }
    for (size_t i = 3; l->e->call.fn->id == FN_LABEL_JOIN && i < l->e->call.args.n; i++)
        if (!promql_label_name_ok(text_arg(l->e, i)))
            return err_set(err, ST_EXEC, "invalid source label name in %s(): " SV_FMT, name,
                           SV_ARG(text_arg(l->e, i)));
    if (!promql_label_name_ok(dst))
        return err_set(err, ST_EXEC, "invalid destination label name in %s(): " SV_FMT, name,
                       SV_ARG(dst));
    return ST_OK;
}

enum status promql_build_label(struct ev *ev, const struct expr *e, const struct grid *g,
                               struct op **ret, struct err *err)
{
    static const struct op_ops ops = {label_next, label_close};
    struct label_op *l;
    struct op *child;

    TRY(promql_op_new(ev, sizeof(*l), &ops, g, NULL, &l, err));
    *ret = &l->op;
    l->e = e;
    promql_rowset_init(&l->set, ev, g->n);
    buf_init(&l->value, LABEL_VALUE_MAX);
    TRY(check_label_args(l, err));
    TRY(promql_build(ev, e->call.args.p[0], g, &child, err));
    l->op.child = child;
    l->op.one_name = child->one_name && !sv_is(text_arg(e, 1), LABEL_NAME);
    return ST_OK;
}

/* --- sorts ---------------------------------------------------------------------------------- */

struct sort_op {
    struct op op;
    const struct expr *e;
    struct rowset set;
    bool filled;
};

/* A number inside a text compares as a number: "a9" before "a10". */
static int natural_cmp(struct sv a, struct sv b)
{
    size_t i = 0, k = 0;

    while (i < a.n && k < b.n) {
        bool da = a.p[i] >= '0' && a.p[i] <= '9', db = b.p[k] >= '0' && b.p[k] <= '9';
        size_t ai = i, bk = k;

        if (!da || !db) {
            if (a.p[i] != b.p[k])
                return (unsigned char)a.p[i] < (unsigned char)b.p[k] ? -1 : 1;
            i++;
            k++;
            continue;
        }
        while (ai < a.n && a.p[ai] == '0')
            ai++;
        while (bk < b.n && b.p[bk] == '0')
            bk++;
        for (i = ai; i < a.n && a.p[i] >= '0' && a.p[i] <= '9';)
            i++;
        for (k = bk; k < b.n && b.p[k] >= '0' && b.p[k] <= '9';)
            k++;
        if (i - ai != k - bk)
            return i - ai < k - bk ? -1 : 1;
        if (i > ai && memcmp(a.p + ai, b.p + bk, i - ai))
            return memcmp(a.p + ai, b.p + bk, i - ai);
    }
    if (i < a.n || k < b.n)
        return i < a.n ? 1 : -1;
    return sv_cmp(a, b);
}

static int row_cmp(const struct prow *a, const struct prow *b, const struct expr *e)
{
    enum fn_id id = e->call.fn->id;
    int c = 0;

    if (id == FN_SORT || id == FN_SORT_DESC) { /* NaNs last, either way */
        double x = a->v[0], y = b->v[0];

        if (isnan(x) || isnan(y))
            return (int)isnan(x) - (int)isnan(y);
        c = (x > y) - (x < y);
        return id == FN_SORT ? c : -c;
    }
    for (size_t i = 1; i < e->call.args.n && c == 0; i++) {
        struct sv name = text_arg(e, i);
        struct sv x = labels_get(a->labels, name), y = labels_get(b->labels, name);

        c = sv_eq(x, y) ? 0 : natural_cmp(x, y);
    }
    if (c == 0)
        c = labels_cmp(a->labels, b->labels);
    return id == FN_SORT_BY_LABEL ? c : -c;
}

static int sort_cmp(const void *a, const void *b, void *e)
{
    const struct prow *x = a, *y = b;
    int c = row_cmp(x, y, e);

    return c ? c : (x->v > y->v) - (x->v < y->v); /* columns ascend: stable */
}

static enum status sort_next(struct op *o, struct prow **ret, struct err *err)
{
    struct sort_op *s = (struct sort_op *)o;
    bool by_value = s->e->call.fn->id == FN_SORT || s->e->call.fn->id == FN_SORT_DESC;

    while (!s->filled) {
        struct prow *row;

        TRY(promql_next(o->child, &row, err));
        if (!row) {
            s->filled = true;
            if (o->grid.n == 1 && s->set.rows.n)
                qsort_r(s->set.rows.p, s->set.rows.n, sizeof(*s->set.rows.p), sort_cmp,
                        (void *)(uintptr_t)s->e);
            break;
        }
        for (size_t i = 0; by_value && row->h && i < o->grid.n; i++)
            if (row->h[i])
                row->v[i] = f64_absent();
        if (by_value)
            row->h = NULL;
        TRY(promql_rowset_add(&s->set, row, false, err));
    }
    *ret = promql_rowset_next(&s->set);
    return ST_OK;
}

static void sort_close(struct op *o)
{
    promql_rowset_fini(&((struct sort_op *)o)->set);
}

enum status promql_build_sort(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    static const struct op_ops ops = {sort_next, sort_close};
    struct sort_op *s;
    struct op *child;

    if (g->n > 1)
        promql_warn(ev, e,
                    "sort is ineffective for range queries since results are always ordered by "
                    "labels");
    TRY(promql_build(ev, e->call.args.p[0], g, &child, err));
    TRY(promql_op_new(ev, sizeof(*s), &ops, g, child, &s, err));
    s->e = e;
    s->op.one_name = child->one_name;
    promql_rowset_init(&s->set, ev, g->n);
    *ret = &s->op;
    return ST_OK;
}

/* --- absent --------------------------------------------------------------------------------- */

/* The labels that the selector's equalities demand, each name once. */
static struct labels absent_labels(const struct expr *arg, struct labbuf *b)
{
    struct labels ls = {promql_labbuf(b, 0), 0};
    struct labbuf other = {0};
    const struct expr *v = arg->kind == EXPR_MATRIX ? expr_unwrap(arg->matrix.selector) : arg;

    if (v->kind != EXPR_VECTOR)
        return ls;
    for (size_t i = 0; i < v->vector.matchers_n; i++) {
        const struct matcher *m = v->vector.matchers[i];
        bool once = m->op == MATCH_EQ;
        struct labels next;

        if (sv_is(m->name, LABEL_NAME))
            continue;
        for (size_t k = 0; k < i; k++)
            if (sv_eq(v->vector.matchers[k]->name, m->name) &&
                v->vector.matchers[k]->op == MATCH_EQ)
                once = false;
        next = promql_with(ls, m->name, once ? m->value : SV(""), &other);
        promql_labbuf(b, next.n + 1);
        if (next.n)
            memcpy(b->p, next.p, next.n * sizeof(*next.p));
        ls = (struct labels){b->p, next.n};
    }
    promql_labbuf_free(&other);
    return ls;
}

struct absent_op {
    struct op op;
    const struct expr *e;
    struct prow row;
    struct labbuf labs;
    bool done;
};

static enum status absent_next(struct op *o, struct prow **ret, struct err *err)
{
    struct absent_op *a = (struct absent_op *)o;
    bool any = false;

    *ret = NULL;
    if (a->done)
        return ST_OK;
    a->done = true;
    for (size_t i = 0; i < o->grid.n; i++)
        a->row.v[i] = 1;
    for (;;) {
        struct prow *row;

        TRY(promql_next(o->child, &row, err));
        if (!row)
            break;
        for (size_t i = 0; i < o->grid.n; i++)
            if (prow_has(row, i))
                a->row.v[i] = f64_absent();
    }
    for (size_t i = 0; i < o->grid.n && !any; i++)
        any = prow_has(&a->row, i);
    if (!any)
        return ST_OK;
    a->row.labels = absent_labels(expr_unwrap(a->e->call.args.p[0]), &a->labs);
    *ret = &a->row;
    return ST_OK;
}

static void absent_close(struct op *o)
{
    promql_labbuf_free(&((struct absent_op *)o)->labs);
}

enum status promql_build_absent(struct ev *ev, const struct expr *e, const struct grid *g,
                                struct op **ret, struct err *err)
{
    static const struct op_ops ops = {absent_next, absent_close};
    struct absent_op *a;
    struct op *child;

    if (e->call.fn->id == FN_ABSENT)
        TRY(promql_build(ev, e->call.args.p[0], g, &child, err));
    else
        TRY(promql_build_range(ev, e, g, &child, err));
    TRY(promql_op_new(ev, sizeof(*a), &ops, g, child, &a, err));
    a->e = e;
    a->op.one_name = true;
    TRY(promql_column(ev, g->n, &a->row.v, err));
    *ret = &a->op;
    return ST_OK;
}
