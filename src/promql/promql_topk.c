/* Aggregations that choose series: topk, bottomk, limitk, limit_ratio. A heap of at most k entries
 * for each group and step; a series' labels stay only when it ever entered one. The heaps are Go's
 * (container/heap), so that ties fall as they do in Prometheus. */
#include "promql_eval_int.h"

#include <assert.h>
#include <stdlib.h>

struct entry {
    double v;
    const struct hist *h;
    uint32_t series;
};
struct kheap {
    struct entry *p;
    uint32_t n, cap;
};

struct topk_op {
    struct op op;
    const struct expr *e;
    enum agg kind;
    const double *param;
    struct labtab groups;
    VEC(struct kheap *) heaps; /* of each group: one a step */
    VEC(struct prow) series;   /* v NULL until it is part of the result */
    VEC(size_t) order;         /* of the result's rows */
    struct labbuf labs;
    size_t at;
    bool filled, none;
};

static bool less(const struct topk_op *t, const struct kheap *h, size_t i, size_t j)
{
    return promql_less_value(h->p[i].v, h->p[j].v, t->kind == AGG_BOTTOMK);
}

static void swap(struct kheap *h, size_t i, size_t j)
{
    struct entry e = h->p[i];

    h->p[i] = h->p[j];
    h->p[j] = e;
}

static void sift_up(const struct topk_op *t, struct kheap *h)
{
    for (size_t j = h->n - 1; j > 0;) {
        size_t i = (j - 1) / 2;

        if (!less(t, h, j, i))
            break;
        swap(h, i, j);
        j = i;
    }
}

static void sift_down(const struct topk_op *t, struct kheap *h)
{
    for (size_t i = 0;;) {
        size_t j = 2 * i + 1;

        if (j >= h->n)
            break;
        if (j + 1 < h->n && less(t, h, j + 1, j))
            j++;
        if (!less(t, h, j, i))
            break;
        swap(h, i, j);
        i = j;
    }
}

static enum status heap_add(struct topk_op *t, struct kheap *h, const struct entry *e,
                            struct err *err)
{
    if (h->n == h->cap) {
        uint32_t cap = h->cap ? h->cap * 2 : 4;
        void *p;

        TRY(promql_hold(t->op.ev, cap - h->cap, err));
        TRY(promql_alloc(t->op.ev, cap * sizeof(*h->p), &p, err));
        if (h->n)
            memcpy(p, h->p, h->n * sizeof(*h->p));
        h->p = p;
        h->cap = cap;
    }
    h->p[h->n++] = *e;
    sift_up(t, h);
    return ST_OK;
}

/* Prometheus's labels.Hash() of the standard build: sizes and bytes of names and values. */
static uint64_t prom_hash(struct labels ls)
{
    struct buf b;
    uint64_t h;

    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < ls.n * 2; i++) {
        struct sv s = i % 2 ? ls.p[i / 2].value : ls.p[i / 2].name;

        if (s.n < 255) {
            buf_u8(&b, (uint8_t)s.n);
        } else {
            buf_u8(&b, 255);
            buf_u8(&b, (uint8_t)s.n);
            buf_u8(&b, (uint8_t)(s.n >> 8));
            buf_u8(&b, (uint8_t)(s.n >> 16));
        }
        buf_sv(&b, s);
    }
    h = xxh64(b.p, b.n, 0);
    buf_fini(&b);
    return h;
}

static bool in_ratio(double ratio, double at)
{
    ratio = ratio > 1 ? 1 : ratio < -1 ? -1 : ratio;
    return (ratio >= 0 && at < ratio) || (ratio < 0 && at >= 1.0 + ratio);
}

/* Whether the entry stays. */
static enum status offer(struct topk_op *t, struct kheap *h, const struct entry *e, double param,
                         double ratio_at, bool *ret_kept, struct err *err)
{
    int64_t k = t->kind == AGG_LIMIT_RATIO ? 0 : (int64_t)param;

    *ret_kept = true;
    if (t->kind == AGG_LIMIT_RATIO) {
        *ret_kept = in_ratio(param, ratio_at);
        return *ret_kept ? heap_add(t, h, e, err) : ST_OK;
    }
    if (k >= 1 && (int64_t)h->n < k)
        return heap_add(t, h, e, err);
    *ret_kept = false;
    if (k < 1 || t->kind == AGG_LIMITK)
        return ST_OK;
    if (t->kind == AGG_TOPK ? h->p[0].v < e->v : h->p[0].v > e->v)
        *ret_kept = true;
    if (isnan(h->p[0].v) && !isnan(e->v))
        *ret_kept = true;
    if (*ret_kept) {
        h->p[0] = *e;
        sift_down(t, h);
    }
    return ST_OK;
}

static enum status keep_series(struct topk_op *t, const struct prow *row, uint32_t *ret,
                               struct err *err)
{
    struct prow kept = {.drop_name = row->drop_name};

    if (*ret != UINT32_MAX)
        return ST_OK;
    TRY(promql_labels_keep(t->op.ev, row->labels, &kept.labels, err));
    *ret = (uint32_t)t->series.n;
    vec_push(&t->series, kept);
    return ST_OK;
}

static enum status topk_hist(struct topk_op *t, const struct prow *row, size_t i,
                             struct entry *e, bool *ret_skip, struct err *err)
{
    *ret_skip = false;
    if (!prow_is_hist(row, i))
        return ST_OK;
    if (t->kind == AGG_TOPK || t->kind == AGG_BOTTOMK) {
        promql_info(t->op.ev, t->e, "ignored histogram in %s aggregation", agg_text(t->kind));
        *ret_skip = true;
        return ST_OK;
    }
    e->h = promql_hist_dup(&t->op.ev->arena, row->h[i]);
    e->v = 0;
    return e->h ? ST_OK : err_set(err, ST_LIMIT, "query: no memory left");
}

static enum status topk_row(struct topk_op *t, const struct prow *row, struct err *err)
{
    struct labels ls = t->e->aggregate.without
                           ? promql_without(row->labels, t->e->aggregate.grouping, true, &t->labs)
                           : promql_keep(row->labels, t->e->aggregate.grouping, &t->labs);
    double ratio_at = t->kind == AGG_LIMIT_RATIO
                          ? (double)prom_hash(row->labels) / (double)UINT64_MAX
                          : 0;
    uint32_t id = UINT32_MAX;
    size_t g;
    bool fresh;

    TRY(promql_labtab_put(&t->groups, ls, &g, &fresh, err));
    if (fresh) {
        void *p;

        TRY(promql_alloc(t->op.ev, t->op.grid.n * sizeof(struct kheap), &p, err));
        vec_push(&t->heaps, p);
    }
    for (size_t i = 0; i < t->op.grid.n; i++) {
        struct entry e = {row->v[i], NULL, (uint32_t)t->series.n};
        bool skip, kept;

        if (!prow_has(row, i))
            continue;
        TRY(topk_hist(t, row, i, &e, &skip, err));
        if (skip)
            continue;
        if (id != UINT32_MAX)
            e.series = id;
        TRY(offer(t, &t->heaps.p[g][i], &e, t->param[i], ratio_at, &kept, err));
        if (kept)
            TRY(keep_series(t, row, &id, err));
    }
    return ST_OK;
}

/* Best first: sort.Sort(sort.Reverse(heap)), stable. */
static void sort_heap(const struct topk_op *t, struct kheap *h)
{
    for (size_t i = 1; i < h->n; i++)
        for (size_t j = i; j > 0 && less(t, h, j - 1, j); j--)
            swap(h, j, j - 1);
}

static enum status topk_result(struct topk_op *t, struct err *err)
{
    for (size_t g = 0; g < t->heaps.n; g++) {
        for (size_t i = 0; i < t->op.grid.n; i++) {
            struct kheap *h = &t->heaps.p[g][i];

            if (t->op.grid.n == 1 && (t->kind == AGG_TOPK || t->kind == AGG_BOTTOMK))
                sort_heap(t, h);
            for (size_t k = 0; k < h->n; k++) {
                struct prow *row = &t->series.p[h->p[k].series];

                if (!row->v) {
                    TRY(promql_hold(t->op.ev, t->op.grid.n, err));
                    TRY(promql_column(t->op.ev, t->op.grid.n, &row->v, err));
                    vec_push(&t->order, (size_t)h->p[k].series);
                }
                row->v[i] = h->p[k].v;
                if (h->p[k].h) {
                    TRY(promql_prow_hists(t->op.ev, row, t->op.grid.n, err));
                    row->h[i] = h->p[k].h;
                }
            }
        }
    }
    return ST_OK;
}

static enum status topk_next(struct op *o, struct prow **ret, struct err *err)
{
    struct topk_op *t = (struct topk_op *)o;

    while (!t->filled) {
        struct prow *row;

        TRY(promql_next(o->child, &row, err));
        if (row && !t->none) /* also of no series the errors and annotations are told */
            TRY(topk_row(t, row, err));
        else if (!row)
            t->filled = true;
        if (t->filled)
            TRY(topk_result(t, err));
    }
    *ret = t->at < t->order.n ? &t->series.p[t->order.p[t->at++]] : NULL;
    return ST_OK;
}

static void topk_close(struct op *o)
{
    struct topk_op *t = (struct topk_op *)o;

    promql_labtab_fini(&t->groups);
    vec_free(&t->heaps);
    vec_free(&t->series);
    vec_free(&t->order);
    promql_labbuf_free(&t->labs);
}

static void told_ratio(struct topk_op *t, double v, double to)
{
    struct buf b;

    buf_init(&b, 128);
    promql_go_g(&b, v);
    promql_warn(t->op.ev, t->e->aggregate.param,
                "ratio value should be between -1 and 1, got " SV_FMT ", capping to %g",
                SV_ARG(buf_view(&b)), to);
    buf_fini(&b);
}

static enum status check_param(struct topk_op *t, struct err *err)
{
    double lo = INFINITY, hi = -INFINITY;
    bool nan = false;

    for (size_t i = 0; i < t->op.grid.n; i++) {
        nan = nan || isnan(t->param[i]);
        lo = fmin(lo, t->param[i]);
        hi = fmax(hi, t->param[i]);
    }
    if (t->kind == AGG_LIMIT_RATIO) {
        t->none = hi == 0 && lo == 0;
        if (nan)
            return err_set(err, ST_EXEC, "Ratio value is NaN");
        if (hi > 1)
            told_ratio(t, hi, 1);
        if (lo < -1)
            told_ratio(t, lo, -1);
        return ST_OK;
    }
    t->none = hi < 1 && !(nan && isinf(hi));
    if (t->none)
        return ST_OK;
    if (nan)
        return err_set(err, ST_EXEC, "Parameter value is NaN");
    if (lo <= -9223372036854775808.0)
        return err_set(err, ST_EXEC, "Scalar value %g underflows int64", lo);
    if (hi >= 9223372036854775808.0)
        return err_set(err, ST_EXEC, "Scalar value %g overflows int64", hi);
    return ST_OK;
}

enum status promql_build_topk(struct ev *ev, const struct expr *e, const struct grid *g,
                              struct op **ret, struct err *err)
{
    static const struct op_ops ops = {topk_next, topk_close};
    struct topk_op *t;
    struct op *child;

    TRY(promql_op_new(ev, sizeof(*t), &ops, g, NULL, &t, err));
    *ret = &t->op;
    t->e = e;
    t->kind = e->aggregate.op;
    promql_labtab_init(&t->groups, ev);
    TRY(promql_scalar(ev, e->aggregate.param, g, &t->param, err));
    TRY(check_param(t, err));
    TRY(promql_build(ev, e->aggregate.e, g, &child, err));
    t->op.child = child;
    t->op.one_name = child->one_name;
    return ST_OK;
}
