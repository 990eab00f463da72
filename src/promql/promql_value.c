/* Label lists cut and changed, tables of label sets, rows kept. */
#include "promql_eval_int.h"

#include <assert.h>
#include <stdlib.h>

#define LABTAB_SLOTS_MIN 64

struct label *promql_labbuf(struct labbuf *b, size_t n)
{
    if (n > b->cap) {
        b->cap = n + 8;
        b->p = heap_realloc(b->p, b->cap * sizeof(*b->p));
    }
    return b->p;
}

void promql_labbuf_free(struct labbuf *b)
{
    heap_free(b->p);
    b->p = NULL;
    b->cap = 0;
}

bool promql_is_meta(struct sv l)
{
    return l.n > 2 && l.p[0] == '_' &&
           (sv_is(l, LABEL_NAME) || sv_is(l, "__type__") || sv_is(l, "__unit__"));
}

struct labels promql_without_meta(struct labels ls, struct labbuf *b)
{
    struct label *p = promql_labbuf(b, ls.n);
    size_t n = 0;

    for (size_t i = 0; i < ls.n; i++)
        if (!promql_is_meta(ls.p[i].name))
            p[n++] = ls.p[i];
    return (struct labels){p, n};
}

bool promql_listed(struct sv_list l, struct sv name)
{
    for (size_t i = 0; i < l.n; i++)
        if (sv_eq(l.p[i], name))
            return true;
    return false;
}

struct labels promql_keep(struct labels ls, struct sv_list names, struct labbuf *b)
{
    struct label *p = promql_labbuf(b, ls.n);
    size_t n = 0;

    for (size_t i = 0; i < ls.n; i++)
        if (promql_listed(names, ls.p[i].name))
            p[n++] = ls.p[i];
    return (struct labels){p, n};
}

struct labels promql_without(struct labels ls, struct sv_list names, bool drop_name,
                             struct labbuf *b)
{
    struct label *p = promql_labbuf(b, ls.n);
    size_t n = 0;

    for (size_t i = 0; i < ls.n; i++)
        if (!promql_listed(names, ls.p[i].name) &&
            !(drop_name && sv_is(ls.p[i].name, LABEL_NAME)))
            p[n++] = ls.p[i];
    return (struct labels){p, n};
}

struct labels promql_with(struct labels ls, struct sv name, struct sv value, struct labbuf *b)
{
    struct label *p = promql_labbuf(b, ls.n + 1);
    size_t n = 0, i = 0;

    for (; i < ls.n && sv_cmp(ls.p[i].name, name) < 0; i++)
        p[n++] = ls.p[i];
    if (value.n)
        p[n++] = (struct label){name, value};
    if (i < ls.n && sv_eq(ls.p[i].name, name))
        i++;
    for (; i < ls.n; i++)
        p[n++] = ls.p[i];
    return (struct labels){p, n};
}

void promql_drop_name(struct ev *ev, struct prow *row, struct labbuf *b)
{
    row->drop_name = true;
    if (!ev->params->opts.delayed_name_removal)
        row->labels = promql_without_meta(row->labels, b);
}

enum status promql_labels_keep(struct ev *ev, struct labels ls, struct labels *ret,
                               struct err *err)
{
    size_t bytes = ls.n * sizeof(*ls.p);
    void *at;
    char *text;
    struct label *p;

    for (size_t i = 0; i < ls.n; i++)
        bytes += ls.p[i].name.n + ls.p[i].value.n;
    TRY(promql_alloc(ev, bytes, &at, err));
    p = at;
    text = (char *)(p + ls.n);
    for (size_t i = 0; i < ls.n; i++) {
        memcpy(text, ls.p[i].name.p, ls.p[i].name.n);
        p[i].name = sv_make(text, ls.p[i].name.n);
        text += ls.p[i].name.n;
        memcpy(text, ls.p[i].value.p, ls.p[i].value.n);
        p[i].value = sv_make(text, ls.p[i].value.n);
        text += ls.p[i].value.n;
    }
    *ret = (struct labels){p, ls.n};
    return ST_OK;
}

/* --- label tables --------------------------------------------------------------------------- */

void promql_labtab_init(struct labtab *t, struct ev *ev)
{
    memset(t, 0, sizeof(*t));
    t->ev = ev;
}

void promql_labtab_fini(struct labtab *t)
{
    vec_free(&t->keys);
    vec_free(&t->hashes);
    heap_free(t->slots);
    t->slots = NULL;
    t->slots_n = 0;
}

static size_t labtab_slot(const struct labtab *t, uint64_t hash, struct labels ls)
{
    size_t at = hash & (t->slots_n - 1);

    for (;; at = (at + 1) & (t->slots_n - 1)) {
        uint32_t i = t->slots[at];

        if (i == 0 || (t->hashes.p[i - 1] == hash && labels_eq(t->keys.p[i - 1], ls)))
            return at;
    }
}

static void labtab_grow(struct labtab *t)
{
    size_t n = t->slots_n ? t->slots_n * 2 : LABTAB_SLOTS_MIN;

    heap_free(t->slots);
    t->slots = heap_array(n, sizeof(*t->slots));
    t->slots_n = n;
    for (size_t i = 0; i < t->keys.n; i++) {
        size_t at = t->hashes.p[i] & (n - 1);

        while (t->slots[at])
            at = (at + 1) & (n - 1);
        t->slots[at] = (uint32_t)(i + 1);
    }
}

size_t promql_labtab_find(const struct labtab *t, struct labels ls)
{
    size_t at;

    if (!t->slots_n)
        return LABTAB_NONE;
    at = labtab_slot(t, labels_hash(ls, t->ev->seed).lo, ls);
    return t->slots[at] ? t->slots[at] - 1 : LABTAB_NONE;
}

enum status promql_labtab_put(struct labtab *t, struct labels ls, size_t *ret, bool *ret_new,
                              struct err *err)
{
    uint64_t hash = labels_hash(ls, t->ev->seed).lo;
    struct labels kept;
    size_t at;

    if (t->slots_n <= t->keys.n * 2)
        labtab_grow(t);
    at = labtab_slot(t, hash, ls);
    *ret_new = t->slots[at] == 0;
    if (!*ret_new) {
        *ret = t->slots[at] - 1;
        return ST_OK;
    }
    if (t->keys.n >= UINT32_MAX - 1)
        return err_set(err, ST_LIMIT, "more than %u series in one operation", UINT32_MAX - 1);
    TRY(promql_labels_keep(t->ev, ls, &kept, err));
    vec_push(&t->keys, kept);
    vec_push(&t->hashes, hash);
    t->slots[at] = (uint32_t)t->keys.n;
    *ret = t->keys.n - 1;
    return ST_OK;
}

/* --- histograms ----------------------------------------------------------------------------- */

static void *dup_bytes(struct arena *a, const void *p, size_t n)
{
    void *r = arena_alloc(a, n ? n : 1);

    if (r && n)
        memcpy(r, p, n);
    return r;
}

static bool side_dup(struct arena *a, struct hist_side *s)
{
    s->spans = dup_bytes(a, s->spans, s->spans_n * sizeof(*s->spans));
    if (s->counts)
        s->counts = dup_bytes(a, s->counts, s->buckets_n * sizeof(*s->counts));
    if (s->fcounts)
        s->fcounts = dup_bytes(a, s->fcounts, s->buckets_n * sizeof(*s->fcounts));
    return !arena_over(a);
}

const struct hist *promql_hist_dup(struct arena *a, const struct hist *h)
{
    struct hist *r = dup_bytes(a, h, sizeof(*h));

    if (!r || !side_dup(a, &r->pos) || !side_dup(a, &r->neg))
        return NULL;
    if (h->custom)
        r->custom = dup_bytes(a, h->custom, h->custom_n * sizeof(*h->custom));
    return arena_over(a) ? NULL : r;
}

enum status promql_no_hist(const char *what, struct err *err)
{
    return err_set(err, ST_EXEC, "native histograms are not supported in %s", what);
}

/* --- stored rows ---------------------------------------------------------------------------- */

enum status promql_same_labelset(struct err *err)
{
    return err_set(err, ST_EXEC, "vector cannot contain metrics with the same labelset");
}

void promql_rowset_init(struct rowset *s, struct ev *ev, size_t n)
{
    memset(s, 0, sizeof(*s));
    s->ev = ev;
    s->n = n;
    promql_labtab_init(&s->tab, ev);
}

void promql_rowset_fini(struct rowset *s)
{
    promql_labtab_fini(&s->tab);
    vec_free(&s->rows);
}

enum status promql_prow_hists(struct ev *ev, struct prow *row, size_t n, struct err *err)
{
    void *p;

    if (row->h)
        return ST_OK;
    TRY(promql_alloc(ev, n * sizeof(*row->h), &p, err));
    row->h = p;
    return ST_OK;
}

enum status promql_rowset_row(struct rowset *s, struct labels ls, bool drop_name,
                              struct prow **ret, struct err *err)
{
    struct prow *row;
    size_t i;
    bool fresh;

    TRY(promql_labtab_put(&s->tab, ls, &i, &fresh, err));
    if (!fresh) {
        *ret = &s->rows.p[i];
        return ST_OK;
    }
    row = vec_add(&s->rows);
    row->labels = s->tab.keys.p[i];
    row->drop_name = drop_name;
    TRY(promql_hold(s->ev, s->n, err));
    TRY(promql_column(s->ev, s->n, &row->v, err));
    *ret = row;
    return ST_OK;
}

static enum status keep_hist(struct ev *ev, struct prow *to, size_t n, size_t i,
                             const struct hist *h, struct err *err)
{
    TRY(promql_prow_hists(ev, to, n, err));
    to->h[i] = promql_hist_dup(&ev->arena, h);
    return to->h[i] ? ST_OK : err_set(err, ST_LIMIT, "query: no memory left");
}

enum status promql_rowset_add(struct rowset *s, const struct prow *row, bool strict,
                              struct err *err)
{
    size_t before = s->rows.n;
    struct prow *to;

    TRY(promql_rowset_row(s, row->labels, row->drop_name, &to, err));
    if (s->rows.n > before && !row->h) {
        memcpy(to->v, row->v, s->n * sizeof(*to->v));
        return ST_OK;
    }
    if (strict && s->rows.n == before)
        return promql_same_labelset(err);
    for (size_t i = 0; i < s->n; i++) {
        if (!prow_has(row, i))
            continue;
        if (prow_has(to, i))
            return promql_same_labelset(err);
        to->v[i] = row->v[i];
        if (prow_is_hist(row, i))
            TRY(keep_hist(s->ev, to, s->n, i, row->h[i], err));
    }
    return ST_OK;
}

enum status promql_rowset_drain(struct rowset *s, struct op *o, bool strict, struct err *err)
{
    for (;;) {
        struct prow *row;

        TRY(promql_next(o, &row, err));
        if (!row)
            return ST_OK;
        TRY(promql_rowset_add(s, row, strict, err));
    }
}

struct prow *promql_rowset_next(struct rowset *s)
{
    while (s->at < s->rows.n) {
        struct prow *row = &s->rows.p[s->at++];

        for (size_t i = 0; i < s->n; i++)
            if (prow_has(row, i))
                return row;
    }
    return NULL;
}

/* --- merging equal labels ------------------------------------------------------------------- */

/* Digests of the label sets that passed: 16 bytes a series. The seed is random, so that nobody
 * can make two sets meet. */
struct digests {
    struct hash128 *slots; /* all zero: empty */
    size_t n, cap;         /* cap: a power of two */
};

struct merge_op {
    struct op op;
    struct rowset set;
    bool strict, filled;
    struct digests seen; /* when rows pass through */
};

static bool digest_put(struct hash128 *slots, size_t cap, struct hash128 h)
{
    size_t at = h.lo & (cap - 1);

    for (; slots[at].lo || slots[at].hi; at = (at + 1) & (cap - 1))
        if (slots[at].lo == h.lo && slots[at].hi == h.hi)
            return false;
    slots[at] = h;
    return true;
}

static enum status digests_grow(struct ev *ev, struct digests *d, struct err *err)
{
    size_t cap = d->cap ? d->cap * 2 : LABTAB_SLOTS_MIN;
    struct hash128 *slots;
    void *p;

    TRY(promql_alloc(ev, cap * sizeof(*slots), &p, err));
    slots = p;
    for (size_t i = 0; i < d->cap; i++)
        if (d->slots[i].lo || d->slots[i].hi)
            digest_put(slots, cap, d->slots[i]);
    d->slots = slots;
    d->cap = cap;
    return ST_OK;
}

/* With one metric name a dropped name makes no two series equal, unless type or unit labels told
 * them apart: rows pass through, and the digests of what passed tell that rare case. */
static enum status merge_pass(struct merge_op *m, struct prow **ret, struct err *err)
{
    struct digests *d = &m->seen;

    TRY(promql_next(m->op.child, ret, err));
    if (!*ret)
        return ST_OK;
    if (d->cap <= d->n * 2)
        TRY(digests_grow(m->op.ev, d, err));
    d->n++;
    return digest_put(d->slots, d->cap, labels_hash((*ret)->labels, m->op.ev->seed))
               ? ST_OK
               : promql_same_labelset(err);
}

static enum status merge_next(struct op *o, struct prow **ret, struct err *err)
{
    struct merge_op *m = (struct merge_op *)o;

    if (o->one_name)
        return merge_pass(m, ret, err);
    if (!m->filled)
        TRY(promql_rowset_drain(&m->set, o->child, m->strict, err));
    m->filled = true;
    *ret = promql_rowset_next(&m->set);
    return ST_OK;
}

static void merge_close(struct op *o)
{
    struct merge_op *m = (struct merge_op *)o;

    promql_rowset_fini(&m->set);
}

enum status promql_build_merge(struct ev *ev, struct op *child, bool strict, struct op **ret,
                               struct err *err)
{
    static const struct op_ops ops = {merge_next, merge_close};
    struct merge_op *m;

    TRY(promql_op_new(ev, sizeof(*m), &ops, &child->grid, child, &m, err));
    m->strict = strict;
    m->op.one_name = child->one_name;
    promql_rowset_init(&m->set, ev, child->grid.n);
    *ret = &m->op;
    return ST_OK;
}

/* --- numbers -------------------------------------------------------------------------------- */

bool promql_less_value(double a, double b, bool reverse)
{
    if (isnan(a))
        return true;
    return reverse ? a > b : a < b;
}

static int by_value_nan_first(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    if (isnan(x) || isnan(y))
        return (int)isnan(y) - (int)isnan(x);
    return (x > y) - (x < y);
}

double promql_quantile(double q, double *v, size_t n)
{
    double rank, lower, weight;
    size_t lo, hi;

    if (n == 0 || isnan(q))
        return f64_nan();
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    qsort(v, n, sizeof(*v), by_value_nan_first);
    rank = q * (double)(n - 1);
    lower = fmax(0, floor(rank));
    lo = (size_t)lower;
    hi = lo + 1 < n ? lo + 1 : n - 1;
    weight = rank - floor(rank);
    return v[lo] * (1 - weight) + v[hi] * weight;
}

double promql_arith(enum binop op, double l, double r)
{
    switch ((int)op) {
    case OP_ADD: return l + r;
    case OP_SUB: return l - r;
    case OP_MUL: return l * r;
    case OP_DIV: return l / r;
    case OP_MOD: return fmod(l, r);
    case OP_POW: return pow(l, r);
    case OP_ATAN2: return atan2(l, r);
    default: break;
    }
    assert(!"arithmetic operator");
    return 0;
}

bool promql_compare(enum binop op, double l, double r)
{
    switch ((int)op) {
    case OP_EQ: return l == r;
    case OP_NE: return l != r;
    case OP_GT: return l > r;
    case OP_LT: return l < r;
    case OP_GE: return l >= r;
    case OP_LE: return l <= r;
    default: break;
    }
    assert(!"comparison operator");
    return false;
}

bool promql_label_name_ok(struct sv s)
{
    return s.n > 0 && sv_utf8(s);
}
