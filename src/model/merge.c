/* Several series_sets as one. A small set of leaves (tiers, blocks): the next series is found by
 * looking at every leaf's current labels, which for a handful beats a heap. */
#include "model/merge.h"

#include "base/heap.h"

#include <stdlib.h>

struct merge_leaf {
    struct series_set *set;
    bool live;    /* set->labels is a series not yet handed out */
    bool current; /* it belongs to the series handed out last */
};

struct merge {
    struct series_set base;
    const struct query_ctx *ctx; /* borrowed: outlives the set */
    struct merge_leaf *leaves;
    size_t n;
    bool started, ended;
    struct samples more;
};

static void gather_outcome(struct merge *m)
{
    m->base.outcome.complete = true;
    for (size_t i = 0; i < m->n; i++) {
        struct select_outcome *o = &m->leaves[i].set->outcome;

        m->base.outcome.complete &= o->complete;
        for (size_t w = 0; w < o->warnings.n; w++)
            vec_push(&m->base.outcome.warnings, o->warnings.p[w]);
    }
}

static enum status merge_next(struct series_set *s, bool *ret_more, struct err *err)
{
    struct merge *m = (struct merge *)s;
    const struct labels *least = NULL;

    for (size_t i = 0; i < m->n; i++) {
        struct merge_leaf *l = &m->leaves[i];

        if (!m->started || l->current)
            TRY(series_set_next(l->set, &l->live, err));
        l->current = false;
    }
    m->started = true;
    for (size_t i = 0; i < m->n; i++)
        if (m->leaves[i].live && (!least || labels_cmp(m->leaves[i].set->labels, *least) < 0))
            least = &m->leaves[i].set->labels;
    *ret_more = least != NULL;
    if (!least) {
        if (!m->ended)
            gather_outcome(m);
        m->ended = true;
        return ST_OK;
    }
    m->base.labels = *least;
    for (size_t i = 0; i < m->n; i++)
        m->leaves[i].current =
            m->leaves[i].live && labels_eq(m->leaves[i].set->labels, m->base.labels);
    return ST_OK;
}

static enum status merge_read(struct series_set *s, struct samples *out, struct err *err)
{
    struct merge *m = (struct merge *)s;
    bool first = true;

    for (size_t i = 0; i < m->n; i++) {
        if (!m->leaves[i].current)
            continue;
        TRY(series_set_read(m->leaves[i].set, first ? out : &m->more, err));
        if (!first)
            samples_merge(out, &m->more);
        first = false;
    }
    return ST_OK;
}

static void merge_close(struct series_set *own_s)
{
    struct merge *m = (struct merge *)own_s;

    for (size_t i = 0; i < m->n; i++)
        series_set_close(m->leaves[i].set);
    vec_free(&m->base.outcome.warnings);
    samples_fini(&m->more);
    heap_free(m->leaves);
    heap_free(m);
}

enum status merge_sets(const struct query_ctx *ctx, struct series_set **own_sets, size_t n,
                       struct series_set **ret, struct err *err)
{
    static const struct series_set_ops ops = {merge_next, merge_read, merge_close};
    struct merge *m;

    (void)err;
    if (n == 1) {
        *ret = own_sets[0];
        return ST_OK;
    }
    if (n == 0) {
        *ret = merge_empty();
        return ST_OK;
    }
    m = heap_new(struct merge);
    m->base.ops = &ops;
    m->ctx = ctx;
    m->n = n;
    m->leaves = heap_array(n, sizeof(*m->leaves));
    for (size_t i = 0; i < n; i++)
        m->leaves[i].set = own_sets[i];
    samples_init(&m->more);
    *ret = &m->base;
    return ST_OK;
}

static enum status empty_next(struct series_set *s, bool *ret_more, struct err *err)
{
    (void)err;
    s->outcome.complete = true;
    *ret_more = false;
    return ST_OK;
}

static enum status empty_read(struct series_set *s, struct samples *out, struct err *err)
{
    (void)s;
    samples_clear(out);
    return err_set(err, ST_BUG, "BUG: read from a set without series");
}

static void empty_close(struct series_set *own_s)
{
    heap_free(own_s);
}

struct series_set *merge_empty(void)
{
    static const struct series_set_ops ops = {empty_next, empty_read, empty_close};
    struct series_set *s = heap_new(struct series_set);

    s->ops = &ops;
    return s;
}

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const struct sv *)a, *(const struct sv *)b);
}

enum status merge_names(const struct query_ctx *ctx, const struct names *lists, size_t n,
                        size_t limit, struct names *ret, struct err *err)
{
    struct names r = {.complete = true};
    size_t total = 0, kept = 0;

    for (size_t i = 0; i < n; i++) {
        total += lists[i].n;
        r.complete &= lists[i].complete;
        r.truncated |= lists[i].truncated;
    }
    r.p = arena_array(ctx->arena, total ? total : 1, sizeof(*r.p));
    if (!r.p)
        return err_set(err, ST_LIMIT, "names: more than %zu bytes in one answer",
                       ctx->arena->max_bytes);
    for (size_t i = 0; i < n; i++) {
        if (lists[i].n)
            memcpy(r.p + r.n, lists[i].p, lists[i].n * sizeof(*r.p));
        r.n += lists[i].n;
    }
    qsort(r.p, r.n, sizeof(*r.p), by_bytes);
    for (size_t i = 0; i < r.n; i++)
        if (i == 0 || !sv_eq(r.p[i], r.p[i - 1]))
            r.p[kept++] = r.p[i];
    r.n = kept;
    if (limit && r.n > limit) {
        r.n = limit;
        r.truncated = true;
    }
    *ret = r;
    return ST_OK;
}
