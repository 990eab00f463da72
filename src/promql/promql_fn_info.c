/* info(v, selector): labels of info metrics (target_info and the like) joined to a vector by
 * instance and job, the newest info sample of each step winning. */
#include "promql_eval_int.h"

#include <assert.h>

static const char target_info[] = "target_info";

struct info_group { /* info series with one name, instance and job */
    VEC(struct prow *) rows;
    size_t *best; /* by step: index + 1 of the newest; 0: none */
};

struct info_op {
    struct op op;
    const struct expr *e;
    struct matcher *own; /* made here when the selector names no info metric */
    VEC(struct matcher *) names, all; /* borrowed but for own */
    VEC(struct matcher *) data;       /* of labels other than the name */
    struct expr *selector;
    struct rowset base, info, out;
    struct labtab ids, groups;
    VEC(struct info_group) members;
    uint8_t *base_any;
    struct labbuf sig, with[2];
    VEC(struct label) join;
    VEC(const struct prow *) chosen, before;
    bool filled;
};

/* The time modifiers of the first selector, with those of the subqueries around it. */
static bool first_time(const struct expr *e, struct expr_time *ret)
{
    struct expr *child;

    if (e->kind == EXPR_VECTOR) {
        *ret = e->vector.time;
        return true;
    }
    for (size_t i = 0; (child = expr_child(e, i)); i++) {
        if (!first_time(child, ret))
            continue;
        if (e->kind == EXPR_SUBQUERY && ret->at == AT_NONE) {
            ret->offset_ms += e->subquery.time.offset_ms;
            ret->at = e->subquery.time.at;
            ret->at_ms = e->subquery.time.at_ms;
        }
        return true;
    }
    return false;
}

static enum status take_matchers(struct info_op *f, struct err *err)
{
    const struct expr_list *args = &f->e->call.args;
    const struct expr *v = args->n > 1 ? expr_unwrap(args->p[1]) : NULL;
    bool positive = false, any = false;

    for (size_t i = 0; v && i < v->vector.matchers_n; i++) {
        struct matcher *m = v->vector.matchers[i];

        vec_push(&f->all, m);
        if (!sv_is(m->name, LABEL_NAME)) {
            vec_push(&f->data, m);
            continue;
        }
        vec_push(&f->names, m);
        any = true;
        positive = positive || m->op == MATCH_EQ || m->op == MATCH_RE;
    }
    if (positive)
        return ST_OK;
    TRY(matcher_new(any ? MATCH_RE : MATCH_EQ, SV(LABEL_NAME),
                    any ? SV(".+_info") : sv_of(target_info), &f->own, err));
    vec_push(&f->names, f->own);
    vec_push(&f->all, f->own);
    return ST_OK;
}

static bool is_info(const struct info_op *f, struct labels ls)
{
    for (size_t i = 0; i < f->names.n; i++)
        if (!matcher_matches_labels(f->names.p[i], ls))
            return false;
    return true;
}

/* instance, job and the info metric's name: what joins. */
static struct labels join_key(struct info_op *f, struct labels ls, struct sv name)
{
    struct sv ids[] = {SV("instance"), SV("job")};
    struct labels key = promql_keep(ls, (struct sv_list){ids, 2}, &f->sig);

    return promql_with(key, SV(LABEL_NAME), name, &f->with[0]);
}

static enum status take_base(struct info_op *f, struct err *err)
{
    static const char *const ids[] = {"instance", "job"};

    TRY(promql_rowset_drain(&f->base, f->op.child, false, err));
    for (size_t k = 0; k < f->base.rows.n; k++) {
        struct prow *row = &f->base.rows.p[k];

        for (size_t i = 0; i < f->op.grid.n; i++)
            f->base_any[i] |= prow_has(row, i);
        for (size_t i = 0; !is_info(f, row->labels) && i < 2; i++) {
            struct label l = {sv_of(ids[i]), labels_get(row->labels, sv_of(ids[i]))};
            size_t at;
            bool fresh;

            if (l.value.n)
                TRY(promql_labtab_put(&f->ids, (struct labels){&l, 1}, &at, &fresh, err));
        }
    }
    return ST_OK;
}

/* Only info series whose instance and job some base series has. */
static bool wanted(const struct info_op *f, struct labels ls)
{
    bool known[2] = {false, false};
    static const char *const ids[] = {"instance", "job"};

    for (size_t i = 0; i < f->ids.keys.n; i++)
        known[sv_is(f->ids.keys.p[i].p[0].name, "job")] = true;
    for (size_t i = 0; i < 2; i++) {
        struct label l = {sv_of(ids[i]), labels_get(ls, sv_of(ids[i]))};

        if (known[i] && promql_labtab_find(&f->ids, (struct labels){&l, 1}) == LABTAB_NONE)
            return false;
    }
    return true;
}

static enum status newest(struct info_op *f, struct info_group *g, struct prow *row,
                          struct err *err)
{
    vec_push(&g->rows, row);
    for (size_t i = 0; i < f->op.grid.n; i++) {
        const struct prow *old = g->best[i] ? g->rows.p[g->best[i] - 1] : NULL;

        if (!prow_has(row, i) || !f->base_any[i])
            continue;
        if (old && old->v[i] == row->v[i]) {
            struct buf a, b;

            buf_init(&a, 512);
            buf_init(&b, 512);
            promql_go_labels(&a, old->labels);
            promql_go_labels(&b, row->labels);
            err_set(err, ST_EXEC,
                    "found duplicate series for info metric: existing " SV_FMT
                    " @ %lld, new " SV_FMT " @ %lld", SV_ARG(buf_view(&a)), (long long)old->v[i],
                    SV_ARG(buf_view(&b)), (long long)row->v[i]);
            buf_fini(&a);
            buf_fini(&b);
            return ST_EXEC;
        }
        if (!old || old->v[i] < row->v[i])
            g->best[i] = g->rows.n;
    }
    return ST_OK;
}

static enum status take_info(struct info_op *f, struct err *err)
{
    struct op *o;

    if (f->ids.keys.n == 0)
        return ST_OK;
    TRY(promql_build_info_vector(f->op.ev, f->selector, &f->op.grid, &o, err));
    for (;;) {
        struct prow *row;

        TRY(promql_next(o, &row, err));
        if (!row)
            break;
        if (wanted(f, row->labels))
            TRY(promql_rowset_add(&f->info, row, false, err));
    }
    for (size_t i = 0; i < f->info.rows.n; i++) {
        struct prow *row = &f->info.rows.p[i];
        struct labels key = join_key(f, row->labels, labels_get(row->labels, SV(LABEL_NAME)));
        size_t at;
        bool fresh;
        void *p;

        TRY(promql_labtab_put(&f->groups, key, &at, &fresh, err));
        if (fresh) {
            TRY(promql_alloc(f->op.ev, f->op.grid.n * sizeof(size_t), &p, err));
            vec_add(&f->members)->best = p;
        }
        TRY(newest(f, &f->members.p[at], row, err));
    }
    return ST_OK;
}

/* The info metrics' names, each once, in the order they came. */
static bool seen_name(const struct info_op *f, size_t at)
{
    struct sv name = labels_get(f->groups.keys.p[at], SV(LABEL_NAME));

    for (size_t i = 0; i < at; i++)
        if (sv_eq(labels_get(f->groups.keys.p[i], SV(LABEL_NAME)), name))
            return true;
    return false;
}

static bool data_wants(const struct info_op *f, struct sv name)
{
    if (f->data.n == 0)
        return true;
    for (size_t i = 0; i < f->data.n; i++)
        if (sv_eq(f->data.p[i]->name, name))
            return true;
    return false;
}

static enum status gather_labels(struct info_op *f, struct labels base, struct labels info,
                                 struct err *err)
{
    for (size_t i = 0; i < info.n; i++) {
        struct label l = info.p[i];
        bool there = false;

        if (sv_is(l.name, LABEL_NAME) || !data_wants(f, l.name))
            continue;
        for (size_t k = 0; k < f->join.n; k++) {
            if (!sv_eq(f->join.p[k].name, l.name))
                continue;
            if (!sv_eq(f->join.p[k].value, l.value))
                return err_set(err, ST_EXEC, "conflicting label: " SV_FMT, SV_ARG(l.name));
            there = true;
        }
        if (!there && !labels_get(base, l.name).n)
            vec_push(&f->join, l);
    }
    return ST_OK;
}

static bool data_may_be_empty(const struct info_op *f)
{
    for (size_t i = 0; i < f->data.n; i++)
        if (!matcher_matches_empty(f->data.p[i]))
            return false;
    return true;
}

/* The row that base's samples go to with the info series chosen; NULL: to none. */
static enum status joined_row(struct info_op *f, const struct prow *base, struct prow **ret,
                              struct err *err)
{
    struct labels ls = base->labels;

    *ret = NULL;
    f->join.n = 0;
    for (size_t i = 0; i < f->chosen.n; i++)
        TRY(gather_labels(f, base->labels, f->chosen.p[i]->labels, err));
    if (f->chosen.n == 0 && !data_may_be_empty(f))
        return ST_OK;
    for (size_t i = 0; i < f->join.n; i++)
        ls = promql_with(ls, f->join.p[i].name, f->join.p[i].value, &f->with[i % 2]);
    return promql_rowset_row(&f->out, ls, base->drop_name, ret, err);
}

static bool choose(struct info_op *f, const size_t *groups, size_t groups_n, size_t step)
{
    bool same;

    f->chosen.n = 0;
    for (size_t i = 0; i < groups_n; i++) {
        const struct info_group *g = &f->members.p[groups[i]];

        if (g->best[step])
            vec_push(&f->chosen, (const struct prow *)g->rows.p[g->best[step] - 1]);
    }
    same = f->chosen.n == f->before.n;
    for (size_t i = 0; same && i < f->chosen.n; i++)
        same = f->chosen.p[i] == f->before.p[i];
    f->before.n = 0;
    for (size_t i = 0; i < f->chosen.n; i++)
        vec_push(&f->before, f->chosen.p[i]);
    return same;
}

static enum status join_base(struct info_op *f, const struct prow *base, struct err *err)
{
    VEC(size_t) groups = {0};
    struct prow *to = NULL;
    enum status st = ST_OK;
    bool first = true;

    for (size_t i = 0; i < f->groups.keys.n; i++) {
        struct sv name = labels_get(f->groups.keys.p[i], SV(LABEL_NAME));
        size_t at;

        if (seen_name(f, i))
            continue;
        at = promql_labtab_find(&f->groups, join_key(f, base->labels, name));
        if (at != LABTAB_NONE)
            vec_push(&groups, at);
    }
    for (size_t i = 0; i < f->op.grid.n; i++) {
        if (!prow_has(base, i))
            continue;
        if (!choose(f, groups.p, groups.n, i) || first)
            TRY_GOTO(joined_row(f, base, &to, err));
        first = false;
        if (!to)
            continue;
        if (prow_has(to, i)) {
            st = promql_same_labelset(err);
            goto out;
        }
        to->v[i] = base->v[i];
        if (prow_is_hist(base, i)) {
            TRY_GOTO(promql_prow_hists(f->op.ev, to, f->op.grid.n, err));
            to->h[i] = base->h[i];
        }
    }
out:
    vec_free(&groups);
    return st;
}

static enum status info_next(struct op *o, struct prow **ret, struct err *err)
{
    struct info_op *f = (struct info_op *)o;

    if (!f->filled) {
        TRY(take_base(f, err));
        TRY(take_info(f, err));
        for (size_t i = 0; i < f->base.rows.n; i++) {
            if (is_info(f, f->base.rows.p[i].labels))
                TRY(promql_rowset_add(&f->out, &f->base.rows.p[i], false, err));
            else
                TRY(join_base(f, &f->base.rows.p[i], err));
        }
    }
    f->filled = true;
    *ret = promql_rowset_next(&f->out);
    return ST_OK;
}

static void info_close(struct op *o)
{
    struct info_op *f = (struct info_op *)o;

    matcher_free(f->own);
    for (size_t i = 0; i < f->members.n; i++)
        vec_free(&f->members.p[i].rows);
    vec_free(&f->members);
    vec_free(&f->names);
    vec_free(&f->all);
    vec_free(&f->data);
    vec_free(&f->join);
    vec_free(&f->chosen);
    vec_free(&f->before);
    promql_rowset_fini(&f->base);
    promql_rowset_fini(&f->info);
    promql_rowset_fini(&f->out);
    promql_labtab_fini(&f->ids);
    promql_labtab_fini(&f->groups);
    promql_labbuf_free(&f->sig);
    promql_labbuf_free(&f->with[0]);
    promql_labbuf_free(&f->with[1]);
}

enum status promql_build_info(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    static const struct op_ops ops = {info_next, info_close};
    struct info_op *f;
    struct op *child;
    void *p;

    TRY(promql_op_new(ev, sizeof(*f), &ops, g, NULL, &f, err));
    *ret = &f->op;
    f->e = e;
    promql_rowset_init(&f->base, ev, g->n);
    promql_rowset_init(&f->info, ev, g->n);
    promql_rowset_init(&f->out, ev, g->n);
    promql_labtab_init(&f->ids, ev);
    promql_labtab_init(&f->groups, ev);
    TRY(take_matchers(f, err));
    TRY(promql_alloc(ev, g->n, &p, err));
    f->base_any = p;
    TRY(promql_alloc(ev, sizeof(*f->selector), &p, err));
    f->selector = p;
    f->selector->kind = EXPR_VECTOR;
    f->selector->type = TYPE_VECTOR;
    f->selector->vector.matchers = f->all.p;
    f->selector->vector.matchers_n = f->all.n;
    first_time(e->call.args.p[0], &f->selector->vector.time);
    TRY(promql_build(ev, e->call.args.p[0], g, &child, err));
    f->op.child = child;
    return ST_OK;
}
